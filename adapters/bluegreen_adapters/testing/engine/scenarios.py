"""Whole switches as scripts: which phase follows which, and for how long. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

from bluegreen_adapters.testing.engine.phases import Strategy, other

Kind = Literal[
    "graceful",
    "announced_abrupt",
    "silent_drain",
    "abrupt",
    "rollback",
    "withdrawn",
    "double",
    "not_ready",
    "outage",
    "down",
    "unanswered",
    "hung",
]
"""The switches that can be played.

`graceful`: announced, cut over, drained, retired. `announced_abrupt`: announced, then the old stack
vanishes with all that runs on it. `silent_drain`: never announced; the old stack refuses new work, and
drains. `abrupt`: neither announced nor drained. `rollback`: announced and cut over, then taken back.
`withdrawn`: announced, then taken back before the cutover. `double`: the switch back begins before the old
stack is drained. `not_ready`: announced long before the new stack serves. `outage`: both stacks refuse for a
while; no switch. `down`: the same, but both are UNAVAILABLE. `unanswered`: the announced stack accepts and never
answers, and the announcement is dropped. `hung`: the old stack stops answering, and is taken down after a while.
"""


@attrs.frozen
class ScenarioStep:
    """One phase of a script.

    Args:
        phase: name of the phase.
        share: how long it lasts, as a share of the grace of the whole script.
        back: the phase belongs to the switch back: origin and target have changed places.
        drains: where to wait for running queries to end, once the share is over: at the `origin` or the
            `target` of the step; the grace bounds the wait.
        variant: options of the phase.
    """

    phase: str
    share: float = 0.0
    back: bool = False
    drains: Literal["origin", "target"] | None = None
    variant: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


_UNTOLD = {"announces": False}

SCRIPTS: Mapping[Kind, tuple[ScenarioStep, ...]] = {
    "graceful": (
        ScenarioStep("announce", 0.5),
        ScenarioStep("cutover", 0.3),
        ScenarioStep("drain", 0.2, drains="origin"),
        ScenarioStep("retire"),
    ),
    "announced_abrupt": (ScenarioStep("announce", 0.5), ScenarioStep("abrupt")),
    "silent_drain": (
        ScenarioStep("cutover", 0.5, variant=_UNTOLD),
        ScenarioStep("drain", 0.5, drains="origin", variant=_UNTOLD),
        ScenarioStep("retire"),
    ),
    "abrupt": (ScenarioStep("abrupt"),),
    "rollback": (
        ScenarioStep("announce", 0.4),
        ScenarioStep("cutover", 0.3),
        ScenarioStep("rollback", 0.3, drains="target"),
        ScenarioStep("steady"),
    ),
    "withdrawn": (
        ScenarioStep("announce", 0.5),
        ScenarioStep("withdraw", 0.5, drains="target"),
        ScenarioStep("steady"),
    ),
    "double": (
        ScenarioStep("announce", 0.3),
        ScenarioStep("cutover", 0.2),
        ScenarioStep("announce", 0.2, back=True),
        ScenarioStep("cutover", 0.2, back=True),
        ScenarioStep("drain", 0.1, back=True, drains="origin"),
        ScenarioStep("retire", back=True),
    ),
    "not_ready": (
        ScenarioStep("not_ready", 0.4),
        ScenarioStep("announce", 0.2),
        ScenarioStep("cutover", 0.2),
        ScenarioStep("drain", 0.2, drains="origin"),
        ScenarioStep("retire"),
    ),
    "outage": (ScenarioStep("both_down", 1.0), ScenarioStep("steady")),
    "down": (ScenarioStep("both_down", 1.0, variant={"unavailable": True}), ScenarioStep("steady")),
    "unanswered": (ScenarioStep("silent", 1.0, variant={"announces": True}), ScenarioStep("steady")),
    "hung": (ScenarioStep("hung", 1.0), ScenarioStep("retire")),
}
"""The steps of each switch."""


def script(kind: str) -> tuple[ScenarioStep, ...]:
    """Return the steps of a switch.

    Raises:
        ValueError: there is no such switch.

    >>> [step.phase for step in script("announced_abrupt")]
    ['announce', 'abrupt']
    """
    for known, steps in SCRIPTS.items():
        if kind == known:
            return steps
    raise ValueError(f"{kind!r} is no switch; accepted: {', '.join(get_args(Kind))}")


def ends_on(kind: str, active: Strategy) -> Strategy:
    """Return the stack that is active after a switch that began with `active`.

    >>> ends_on("graceful", "blue"), ends_on("rollback", "blue"), ends_on("double", "blue")
    ('green', 'blue', 'blue')
    """
    last = script(kind)[-1]
    return active if last.phase == "steady" or last.back else other(active)
