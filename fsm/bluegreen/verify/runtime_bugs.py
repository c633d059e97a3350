"""Bugs of the field that no table can have, because they are beside it: in who shares it, and in who is woken.

>>> [bug.verdict().killer for bug in RUNTIME_BUGS]
['I5 apart', 'L2 woken', 'I9 single flight']
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

import attrs

from bluegreen.flow import Flow, Wait
from bluegreen.manager import StrategyManager
from bluegreen.settings import Settings
from bluegreen.verify.counterexample import told
from bluegreen.verify.flights import FLIGHT_ALWAYS, explore_flights
from bluegreen.verify.mutants import Verdict
from bluegreen.verify.scopes import SCOPES_APART, Clusters, first_shared
from bluegreen.vocabulary import Scope


@attrs.frozen
class RuntimeBug:
    """One bug: its name, and what notices it."""

    name: str
    verdict: Callable[[], Verdict]


def _shared() -> Verdict:
    name = "state shared between clusters"
    news = first_shared(Clusters(key=lambda scope: scope.target))
    if not news:
        return Verdict(name, "")
    path = tuple(f"{scope.cluster}: {told(event)}" for scope, event in news)
    return Verdict(name, SCOPES_APART.name, SCOPES_APART.text, tuple(event for _, event in news), path)


class Forgetful(StrategyManager):
    """A manager that wakes nobody: who leads a detection lands where nobody who waits looks."""

    def settling(self, prove: Any, deadline_s: float) -> Flow[None]:
        """As in `StrategyManager`, but what others wait for is replaced while they wait for it."""
        flow, answer = super().settling(prove, deadline_s), None
        while True:
            try:
                command = flow.send(answer)
            except StopIteration:
                return
            answer = yield command
            if self._flight is not None and not isinstance(command, Wait):
                self._flight.landed = Future()


def _forgetful() -> StrategyManager:
    return Forgetful(Scope("flights.example:443"), Settings(), clock=lambda: 0.0)


class Crowded(StrategyManager):
    """A manager in which each caller leads a detection of its own."""

    def settling(self, prove: Any, deadline_s: float) -> Flow[None]:
        """As in `StrategyManager`, but nobody looks whether one is under way."""
        self._flight = None
        return super().settling(prove, deadline_s)


def _crowded() -> StrategyManager:
    return Crowded(Scope("flights.example:443"), Settings(), clock=lambda: 0.0)


def _flown(name: str, make: Callable[[], StrategyManager]) -> Verdict:
    found = explore_flights(make)
    if not found.violations:
        return Verdict(name, "")
    broken, flown = found.violations[0]
    asleep = tuple(f"caller {one} sleeps until its time-out" for one in flown.asleep)
    path = (*(f"caller {one} goes on" for one in flown.schedule), *asleep)
    return Verdict(name, broken.name, broken.text, path=path)


RUNTIME_BUGS: Final = (
    RuntimeBug("state shared between clusters", _shared),
    RuntimeBug("lost wake-up in single flight", partial(_flown, "lost wake-up in single flight", _forgetful)),
    RuntimeBug("every caller detects", partial(_flown, "every caller detects", _crowded)),
)
"""Each is tried in a model or a manager of its own; `FIELD_BUGS` has those that a table can have."""

RUNTIME_PROPERTIES: Final = (SCOPES_APART, *FLIGHT_ALWAYS)
"""What they are held against."""
