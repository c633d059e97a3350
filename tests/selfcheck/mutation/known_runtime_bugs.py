"""Bugs of the field that no table can have, because they are beside it: in who shares it, who locks, and who is woken.

>>> [bug.name for bug in RUNTIME_BUGS][:2]
['state shared between clusters', 'lost wake-up in single flight']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import attrs

from bluegreen.errors import EventForbidden
from bluegreen.machines.strategy.events import DetectionTimedOut
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.detection import Detection
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Flow
from bluegreen.table.step import Step, step
from bluegreen.verify.exploration.counterexample import describe_event
from bluegreen.verify.mutation.operators import MutantResult
from selfcheck.interleaving.execution import INTERLEAVED_ALWAYS
from selfcheck.interleaving.explorer import InterleavingResult, as_test, explore, retold
from selfcheck.interleaving.programs import PROGRAMS, Program
from selfcheck.model.scope_isolation import SCOPES_APART, Clusters, first_shared


@attrs.frozen
class RuntimeBug:
    """One bug: its name, and what notices it."""

    name: str
    verdict: Callable[[], MutantResult]


def _shared() -> MutantResult:
    name = "state shared between clusters"
    news = first_shared(Clusters(key=lambda scope: scope.target))
    if not news:
        return MutantResult(name, "")
    path = tuple(f"{scope.cluster}: {describe_event(event)}" for scope, event in news)
    return MutantResult(name, SCOPES_APART.name, SCOPES_APART.text, tuple(event for _, event in news), path)


class Silent(Detection):
    """A detection that is over, and wakes nobody."""

    def finish(self) -> None:
        """As in `Detection`, but who waits is forgotten."""
        self.finished = True


class Forgetful(StrategyManager):
    """A manager whose detections wake nobody."""

    def _new_detection(self, deadline_s: float) -> Detection:
        return Silent(deadline_s)


class Crowded(StrategyManager):
    """A manager in which each caller leads a detection of its own."""

    def detect_or_wait(self, prove: Any, deadline_s: float) -> Flow[None]:
        """As in `StrategyManager`, but nobody looks whether one is under way."""
        self._detection = None
        return super().detect_or_wait(prove, deadline_s)


class Blind(StrategyManager):
    """A manager that gives up the detection that is under way, whichever it was that took too long."""

    def _time_out(self, detection: Detection) -> None:
        try:
            self._apply(DetectionTimedOut())
        finally:
            detection.finish()


class Hasty(StrategyManager):
    """A manager that lets go of the lock between the look at its state and the commit."""

    def _step(self, before: Any, event: Any) -> Step:
        taken = super()._step(before, event)
        self._lock.release()
        self._lock.acquire()
        return taken


class Trusting(StrategyManager):
    """A manager that looks whether a ticket is open before it takes the lock, and not again."""

    def _apply(self, event: Any, session: object = None, *, still: Callable[[], bool] | None = None) -> Any:
        return None if still is not None and not still() else super()._apply(event, session)

    def _step(self, before: Any, event: Any) -> Step:
        return step(STRATEGY, before.state, before.context, event)

    def _commit(self, before: Any, event: Any, taken: Step, ticket: Any) -> Any:
        if hasattr(event, "ticket"):
            self._tickets[event.ticket.query] = event.ticket  # that it has gone is nobody's error
        return super()._commit(before, event, taken, ticket)


class Busy(StrategyManager):
    """A manager that carries out effects while it holds the lock."""

    def _run_effects(self, before: Any, after: Any, taken: Step) -> None:
        with self._lock:
            super()._run_effects(before, after, taken)


class Keeping(StrategyManager):
    """A manager that keeps the lock when an event is refused."""

    def _apply(self, event: Any, session: object = None, *, still: Callable[[], bool] | None = None) -> Any:
        try:
            return super()._apply(event, session, still=still)
        except EventForbidden:
            self._lock.acquire()
            raise


def first_broken(
    kind: type[StrategyManager], programs: Sequence[Program], chances: int = 0
) -> InterleavingResult | None:
    """Return what was found in the first program in which a wrong manager shows, or none.

    Args:
        chances: schedules of a program that are drawn at random after the first 200.
    """
    found = (explore(program, kind, schedules=200, chances=chances) for program in programs)
    return next((explored for explored in found if explored.broken), None)


def _interleaved(
    name: str, kind: type[StrategyManager], programs: Sequence[Program], chances: int
) -> MutantResult:
    explored = first_broken(kind, programs, chances)
    if explored is None:
        return MutantResult(name, "")
    broken, ran = min(explored.broken, key=lambda found: found[1].switches)
    also = tuple(one.name for one, _ in explored.broken)
    test = as_test(broken, ran, kind)
    return MutantResult(name, broken.name, broken.text, path=retold(ran), also=also, test=test)


def _bug(
    name: str, kind: type[StrategyManager], programs: Sequence[Program] = PROGRAMS, chances: int = 0
) -> RuntimeBug:
    return RuntimeBug(name, partial(_interleaved, name, kind, programs, chances))


RUNTIME_BUGS: Final = (
    RuntimeBug("state shared between clusters", _shared),
    _bug("lost wake-up in single flight", Forgetful),
    _bug("every caller detects", Crowded),
    _bug("a time-out ends another detection", Blind, PROGRAMS[-1:], chances=300),
    _bug("the lock is released early", Hasty),
    _bug("a ticket is ended twice", Trusting),
    _bug("effects are carried out under the lock", Busy),
    _bug("the lock is kept when an event is refused", Keeping),
)
"""Each is tried in a model or a manager of its own; `FIELD_BUGS` has those that a table can have."""

RUNTIME_PROPERTIES: Final = (SCOPES_APART, *INTERLEAVED_ALWAYS)
"""What they are held against."""
