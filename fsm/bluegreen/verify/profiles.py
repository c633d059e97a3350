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
from hypothesis import Phase, settings

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
        return settings(max_examples=self.runs, stateful_step_count=self.steps, phases=PHASES)

    def on_a_wire(self) -> settings:
        """Return the settings for a subject that speaks to a server."""
        return settings(max_examples=self.wire_runs, stateful_step_count=self.wire_steps, phases=PHASES)


@attrs.frozen
class Profile:
    """A profile of Hypothesis, and the effort that goes with it.

    Args:
        name: what `HYPOTHESIS_PROFILE` says.
        effort: for state machines. Their counts are not the profile's own, which is for every other test too.
        max_examples: for a test that does not say it.
    """

    name: str
    effort: Effort
    max_examples: int = 100


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("dev", Effort(runs=500, steps=30, wire_runs=60, wire_steps=15)),
        Profile("ci", Effort(runs=10_000, steps=20, wire_runs=2_000, wire_steps=10)),
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
    kept: dict[str, Any] = {"deadline": None, "print_blob": True}
    for profile in PROFILES.values():
        settings.register_profile(profile.name, max_examples=profile.max_examples, **kept)
    profile = chosen(environment)
    settings.load_profile(profile.name)
    return profile
