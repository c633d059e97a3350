"""Single flight, explored over the real `StrategyManager`: callers that detect together, in every order.

A caller is the manager's own flow, and may be halted wherever it waits for something. Every schedule is run
from the beginning, so that nothing is left of the one before. No time passes: whoever is still waiting when
everybody else is done would wait for its time-out.

    >>> explore_flights(callers=2).violations
    ()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from bluegreen.errors import StrategyUnavailable
from bluegreen.flow import Call, Wait
from bluegreen.manager import StrategyManager
from bluegreen.settings import Settings
from bluegreen.verify.properties import Always
from bluegreen.vocabulary import Scope, Strategy

Make = Callable[[], StrategyManager]


@attrs.frozen
class Flown:
    """How one schedule ended.

    Args:
        schedule: who went on, in order.
        asleep: callers that wait for a detection that is over.
        detections: the most detections that were under way at a time.
        state: the manager's state.
    """

    schedule: tuple[int, ...]
    asleep: tuple[int, ...]
    detections: int
    state: str


FLIGHT_ALWAYS: Final = (
    Always("L2 woken", "who waits for a detection is woken when it is over", lambda flown: not flown.asleep, "world"),
    Always("I9 single flight", "at most one detection at a time", lambda flown: flown.detections <= 1, "world"),
)  # fmt: skip
"""What holds of every schedule."""


@attrs.frozen
class Flights:
    """What was found: schedules, and the first that breaks each property."""

    schedules: int
    violations: tuple[tuple[Always, Flown], ...]


def _manager() -> StrategyManager:
    return StrategyManager(Scope("flights.example:443"), Settings(), clock=lambda: 0.0)


def explore_flights(make: Make = _manager, callers: int = 2, schedules: int = 20_000) -> Flights:
    """Run every schedule of some callers that begin together in Detecting.

    Args:
        make: returns a new manager, whose clock stands still.
        schedules: how many are run at most.
    """
    waiting: list[tuple[int, ...]] = [()]
    found: dict[str, tuple[Always, Flown]] = {}
    count = 0
    while waiting and count < schedules:
        flown, choices = _fly(make(), callers, waiting.pop(0))
        if choices:
            waiting += [(*flown.schedule, one) for one in choices]
            continue
        count += 1
        for one in FLIGHT_ALWAYS:
            if one.name not in found and not one.holds(flown):
                found[one.name] = one, flown
    return Flights(count, tuple(found.values()))


def _fly(manager: StrategyManager, callers: int, schedule: tuple[int, ...]) -> tuple[Flown, list[int]]:
    """Run a schedule; return how it stands then, and who can go on."""
    flows: dict[int, Any] = {one: manager.starting(_accepts) for one in range(callers)}
    at: dict[int, Any] = dict.fromkeys(flows)
    most = 0
    try:
        for one in schedule:
            try:
                at[one] = flows[one].send(True if isinstance(at[one], Wait) else None)
            except (StopIteration, StrategyUnavailable):
                del flows[one], at[one]
            most = max(most, sum(isinstance(command, Call) for command in at.values()))
        able = [one for one, command in at.items() if not isinstance(command, Wait) or command.future.done()]
        asleep = () if able else tuple(at)
        return Flown(schedule, asleep, most, manager.state), able
    finally:
        for flow in flows.values():
            flow.close()


def _accepts(strategy: Strategy, _: float) -> Any:
    yield Call(print)  # where a real caller is halted: it is about to send its authentication
    del strategy
