"""The strategy manager as a subject of a state machine: what happens to it comes from callers, a clock, detections."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden, Refusal, StrategyUnavailable
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    DetectionTimedOut,
    Error456,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
)
from bluegreen.machines.strategy.timers import TIMERS
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import Record, Snapshot
from bluegreen.table.step import Step
from bluegreen.types import Scope, Strategy, Ticket
from bluegreen.verify.hypothesis.systems_under_test import Did, ManagerSubject
from support.clock import FakeClock
from support.managing import nobody

SETTINGS = (
    Settings(),
    Settings(commit_when="first_safe_point"),
    Settings(default_strategy=Strategy.GREEN),
)
ARGUMENTS = {"settings": st.sampled_from(SETTINGS)}
ENDINGS = (QueryCompleted, QueryCancelled, QueryFailed)
ANSWERS = (AuthSuccess, AuthFailure, Error456)


class Gone(Exception):
    """Whoever detects is gone: somebody else has to."""


class WatchedManager(StrategyManager):
    """Notes each event that it is asked about, and where that led; also what is ignored, or forbidden."""

    def __init__(self, scope: Scope, settings: Settings, clock: FakeClock) -> None:
        self._noted: list[tuple[Did, bool]] = []
        self._records: list[Record] = []
        self.issued: tuple[Ticket, ...] = ()
        super().__init__(scope, settings, clock=clock)
        self.subscribe(self._records.append, every_step=True)

    def _step(self, before: Snapshot, event: Any) -> Step:
        try:
            taken = super()._step(before, event)
        except EventForbidden:
            self._noted.append((Did(event, before.state, before.context), False))
            raise
        changed = taken.state != before.state or taken.context is not before.context
        self._noted.append((Did(event, taken.state, taken.context), changed))
        return taken

    def told(self) -> list[Did]:
        """Return what was noted since the last time, and keep the tickets that were `issued` meanwhile.

        Observers must have been told all of it that changed something.
        """
        noted, records = tuple(self._noted), tuple(self._records)
        self._noted.clear()
        self._records.clear()
        self.issued = tuple(one.ticket for one in records if one.ticket is not None)
        heard = [Did(one.event, one.step.state, one.step.context) for one in records]
        assert heard == [one for one, changed in noted if changed]
        return [one for one, _ in noted]


def due_s(manager: StrategyManager, event: Any) -> float | None:
    """Return after how many seconds this event comes from the clock, if it does in this state."""
    state, context, _ = manager.snapshot
    for timer in TIMERS:
        facts = () if timer.armed is None else timer.armed.facts
        armed = timer.armed is None or timer.armed.holds({one.name: one.of(context, None) for one in facts})
        if armed and timer.event == event and state in timer.states:
            return timer.delay_s(context)
    return None


class BusyManager(ManagerSubject):
    """A manager with callers that start, end and abandon queries, lead detections, and let time pass."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.clock = FakeClock(0.0)
        self.manager: WatchedManager = WatchedManager(Scope("subject.example:443"), settings, self.clock)

    def send(self, event: Any) -> list[Did]:
        try:
            with suppress(StrategyUnavailable, Gone):
                self._bring(event)
        except EventForbidden:
            told = self.manager.told()
            assert [one.event for one in told] == [event]
            raise
        return self.manager.told()

    def close(self) -> None:
        """Every ticket can be ended, and is then gone."""
        for ticket in self.manager.open_tickets:
            self.manager.abandon(ticket)
        assert self.manager.open_tickets == ()
        context = self.context
        assert (context.open_blue, context.open_green) == (0, 0)

    def _bring(self, event: Any) -> None:
        """Let the event come about as it does in earnest, if there is such a way; else send it as it is."""
        manager, context = self.manager, self.context
        if isinstance(event, ENDINGS) and event.ticket in manager.open_tickets:
            self._end(event)
        elif isinstance(event, ENDINGS):
            assert not manager.end(event)  # harmless, and nobody is told
            manager.send(event)
        elif isinstance(event, QueryStarted) and event.alone is not None and self.state != "Failed":
            manager.try_start(alone=event.alone)
        elif isinstance(event, QueryStarted) and self.state in ("Stable", "PendingTransition"):
            manager.start(nobody)
        elif self.state == "Detecting" and isinstance(event, ANSWERS) and self._is_due(event):
            manager.start(self._answering(event))
        elif self.state == "Detecting" and isinstance(event, DetectionTimedOut) and len(context.untried) > 1:
            manager.start(self._late)
        elif (seconds := due_s(manager, event)) is not None:
            self.clock.advance(seconds)
            self._start_one(self._gone)
        else:
            manager.send(event)

    def _end(self, event: Any) -> None:
        if isinstance(event, QueryCancelled):  # let go rather than ended
            self.manager.abandon(event.ticket)
            assert event.ticket not in self.manager.open_tickets
        else:
            assert self.manager.end(event)
            assert not self.manager.end(event)

    def _is_due(self, event: Any) -> bool:
        of_one = getattr(event, "served_since", False)  # then its leader leaves the detection
        due = event.state_version == self.context.state_version and event.strategy is self.context.untried[0]
        return bool(due and not of_one)

    def _start_one(self, prove: Any) -> None:
        ticket = self.manager.start(prove)
        if len(self.manager.open_tickets) > 3:
            self.manager.end(QueryCompleted(ticket))

    # What strategies say to whoever detects.

    def _answering(self, event: Any) -> Any:
        answers = iter([event])

        def prove(strategy: Strategy, left_s: float) -> None:
            answer = next(answers, None)
            if answer is None:
                raise Gone
            assert strategy is answer.strategy
            if not isinstance(answer, AuthSuccess):
                raise Refusal("refused", wrong_strategy=isinstance(answer, Error456))

        return prove

    def _late(self, strategy: Strategy, left_s: float) -> None:
        self.clock.advance(left_s)
        raise Refusal("too late", answered=False)

    def _gone(self, strategy: Strategy, left_s: float) -> None:
        raise Gone
