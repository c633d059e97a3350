"""Profiles: how much Hypothesis tries, `dev` at a desk, `ci` for each change, `nightly` for a long run.

    register_profiles()                    # in conftest.py; HYPOTHESIS_PROFILE chooses another one
    effort = chosen().effort               # how many runs of a state machine that is

>>> chosen({}).name, chosen({"CI": "true"}).name, chosen({"HYPOTHESIS_PROFILE": "nightly"}).name
('dev', 'ci', 'nightly')
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import attrs
from hypothesis import HealthCheck, Phase, settings

PHASES: Final = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
"""Without `explain`: of a state machine it explains nothing, and takes ten times as long as the rest."""


@attrs.frozen
class Effort:
    """How much is tried of a state machine.

    Args:
        runs: runs of a subject in memory.
        steps: events in each of them, at most.
        wire_runs: runs of a subject that speaks to a server.
        wire_steps: events in each of them, at most.
    """

    runs: int
    steps: int
    wire_runs: int
    wire_steps: int

    def in_memory(self) -> settings:
        """Return the settings for a subject in memory."""
        return _of_a_machine(self.runs, self.steps)

    def on_a_wire(self) -> settings:
        """Return the settings for a subject that speaks to a server."""
        return _of_a_machine(self.wire_runs, self.wire_steps)


def _of_a_machine(runs: int, steps: int) -> settings:
    slow = [HealthCheck.too_slow]  # as for deadlines: a busy machine is not a bug
    return settings(max_examples=runs, stateful_step_count=steps, phases=PHASES, suppress_health_check=slow)


@attrs.frozen
class Profile:
    """A profile of Hypothesis, and the effort that goes with it.

    Args:
        name: what `HYPOTHESIS_PROFILE` says.
        effort: for state machines. Their counts are not the profile's own, which is for every other test too.
        max_examples: for a test that does not say it.
        derandomize: try the same each time, so that a change is not refused for what it did not do.
    """

    name: str
    effort: Effort
    max_examples: int = 100
    derandomize: bool = False


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("dev", Effort(runs=500, steps=30, wire_runs=150, wire_steps=12)),
        Profile("ci", Effort(runs=10_000, steps=15, wire_runs=2_000, wire_steps=10), derandomize=True),
        Profile(
            "nightly", Effort(runs=100_000, steps=50, wire_runs=20_000, wire_steps=30), max_examples=2_000
        ),
    )
}
"""The profiles by name."""


def chosen(environment: Mapping[str, str] = os.environ) -> Profile:
    """Return the profile that `HYPOTHESIS_PROFILE` names; without it `ci` if `CI` is set, else `dev`.

    Raises:
        ValueError: there is no such profile.
    """
    name = environment.get("HYPOTHESIS_PROFILE") or ("ci" if environment.get("CI") else "dev")
    if name not in PROFILES:
        raise ValueError(f"HYPOTHESIS_PROFILE={name!r}; accepted: {', '.join(PROFILES)}")
    return PROFILES[name]


def register_profiles(environment: Mapping[str, str] = os.environ) -> Profile:
    """Register the profiles with Hypothesis, load the one that is chosen, and return it.

    None of them has a deadline, because a busy machine is not a bug, and each prints a failing example as a line
    that reproduces it.

    Raises:
        ValueError: `HYPOTHESIS_PROFILE` names none of them; they are registered, and none is loaded.
    """
    for profile in PROFILES.values():
        same: dict[str, Any] = {"derandomize": True, "database": None} if profile.derandomize else {}
        settings.register_profile(
            profile.name,
            settings.get_profile("default"),
            max_examples=profile.max_examples,
            deadline=None,
            print_blob=True,
            **same,
        )
    profile = chosen(environment)
    settings.load_profile(profile.name)
    return profile
