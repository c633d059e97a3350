"""What a log is held against beside the table: what can be said of one step, and what must follow it.

A log written by a table that is itself wrong agrees with that table. What is here does not.
"""

from __future__ import annotations

from typing import Final

from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE
from bluegreen.machines.strategy.events import SAFE_POINTS, CacheInvalidated, StrategyAnnounced
from bluegreen.verify.properties.base import STRATEGY_ALWAYS, Always, Eventually, Taken

_COMMITTING: Final = tuple(one for one in SAFE_POINTS if one is not CacheInvalidated)
"""The safe points that commit; the one that is left out detects."""


def _progresses(taken: Taken) -> bool:
    """A safe point at which nothing is open on the old strategy is not let go by, whatever else is open."""
    if taken.state != PENDING or not isinstance(taken.event, _COMMITTING):
        return True
    old, new = taken.context.active, taken.context.pending
    if old is None or taken.step.context.open_on(old) > 0:
        return True
    return taken.step.state == STABLE and taken.step.context.active is new


def _held_down(taken: Taken) -> bool:
    if not isinstance(taken.event, StrategyAnnounced) or taken.event.strategy is not taken.context.held_down:
        return True
    return taken.step.context.pending is not taken.event.strategy or taken.state == PENDING


LOG_ALWAYS: Final = (
    *STRATEGY_ALWAYS,
    Always("L1 progress", "a safe point with nothing open on the old strategy ends the transition", _progresses),
    Always("L4 no flapping", "what is held down does not become pending by being announced", _held_down),
)  # fmt: skip
"""What holds of each step in a log."""

LOG_EVENTUALLY: Final = (
    Eventually(
        "L2 detection ends",
        "from Detecting, Stable or Failed is reached",
        when=lambda taken: taken.step.state == DETECTING,
        then=lambda taken: taken.step.state in (STABLE, FAILED),
        of="step",
    ),
    Eventually(
        "L1 transition ends",
        "a pending transition is committed, dropped or given up",
        when=lambda taken: taken.step.state == PENDING,
        then=lambda taken: taken.step.state != PENDING,
        of="step",
    ),
)
"""What follows in a log, unless the log ends before: then it is reported as not yet there."""
