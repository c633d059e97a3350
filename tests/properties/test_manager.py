"""StrategyManager against a naive model: random events, time, tickets and detections, one caller at a time.

The invariants of the specification (section 7), by the name of what checks them here:

- I1 `i1_coherent`, I3 `start`, I4 `i4_active_moves_at_safe_points`, I5 `i5_accounted`, I6 `i6_version` and
  `stale_news`, I7 `rollback`, I8 `start` and `i8_each_strategy_once`, I10 `_send`, I12 `i12_deterministic`.
- I2: that a ticket cannot change, and that the sessions of an open ticket are not ended. That every RPC of a
  query carries it is the channel's.
- I9: that a caller who is alone never proves two strategies at once. Many callers are in the tests with
  threads and tasks.
- I11 is the query machine's and the channel's: there is no statement here.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import suppress
from itertools import product
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden, Refusal, StrategyUnavailable
from bluegreen.machines.strategy.events import (
    EVENTS,
    AuthFailure,
    AuthSuccess,
    CacheExpired,
    CacheInvalidated,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import Record
from bluegreen.table.step import step
from bluegreen.types import Scope, Strategy, Ticket
from bluegreen.verify.exploration.single_table import news as variants
from support.clock import FakeClock
from support.naive import Crashed, Forbidden, NaiveManager, Unavailable

BOTH = st.sampled_from(Strategy)


class OfOne:
    """A kind of refusal, while others are served there."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind, self.name = kind, kind.name

    def __call__(self, strategy: Strategy, version: int) -> Any:
        return self.kind(strategy, version, served_since=True)


NEWS = (StrategyAnnounced, Error456, AuthSuccess, AuthFailure, PersistentFailure)
SAID = (*NEWS, OfOne(AuthFailure), OfOne(PersistentFailure))
BARE = (
    ConnectionOpened, CacheExpired, CacheInvalidated, DetectionTimedOut, CooldownEnded, DrainTimedOut,
    RollbackRequested, Reset,
)  # fmt: skip
ENDINGS = (QueryCompleted, QueryCancelled, QueryFailed)
SAFE_POINTS = (ConnectionOpened, CacheInvalidated, *ENDINGS)
SECONDS = st.sampled_from([0.0, 0.06, 0.25, 0.5, 1.0, 2.0, 20.0, 31.0, 150.0, 301.0, 3601.0])

FRESH_NEWS = st.tuples(st.sampled_from(SAID), BOTH, st.just(0))
STALE_NEWS = st.tuples(st.sampled_from(SAID), BOTH, st.integers(1, 3))
ANY_NEWS = st.one_of(FRESH_NEWS, STALE_NEWS, st.tuples(st.sampled_from(BARE), BOTH, st.just(0)))
PROVES = st.lists(
    st.tuples(
        st.sampled_from(["accept", "456", "refuse", "456", "silent", "crash"]),
        st.sampled_from([0.0, 0.0, 0.5, 20.0, 31.0]),
        st.lists(ANY_NEWS, max_size=2),
    ),
    max_size=5,
)
"""What strategies say to a caller that detects, how long that takes, and what others report meanwhile."""


class OwnFault(Exception):
    """The caller of a detection fails, not a strategy."""


def faulty_observer(record: Record) -> None:
    raise OwnFault(f"an observer that harms nothing ({record.sequence})")


class ManagerMachine(RuleBasedStateMachine):
    seen: ClassVar[Counter[str]] = Counter()
    """Which rows of the table were taken, over all runs."""

    @initialize(
        commit_when=st.sampled_from(["drained", "first_safe_point"]),
        default=st.sampled_from([None, None, Strategy.BLUE, Strategy.GREEN]),
    )
    def begin(self, commit_when: str, default: Strategy | None) -> None:
        self.clock = FakeClock(0.0)
        chosen = Settings(commit_when=commit_when, default_strategy=default)
        self.manager = StrategyManager(Scope("naive:1"), chosen, clock=self.clock)
        self.naive = NaiveManager(commit_when=commit_when, default=default.value if default else None)
        self.records: list[Record] = []
        self.checked = 0
        self.manager.subscribe(faulty_observer)
        self.manager.subscribe(self.records.append)
        self.issued: dict[int, tuple[Ticket, Strategy, int]] = {}
        self.ended: list[Ticket] = []
        self.abandoned: list[Ticket] = []
        self.heard: dict[int, list[Strategy]] = {}
        self.proving = False
        self.last_version = 0
        self.last_active: Strategy | None = None

    # One event, to both.

    def _send(self, event: Any) -> str:
        """I10: whatever is refused leaves everything as it was."""
        manager = self.manager
        before = manager.snapshot, [manager.session_generation(one) for one in Strategy], len(self.records)
        row = STRATEGY.row(before[0].state, before[0].context, event)
        try:
            taken = manager.send(event)
        except EventForbidden:
            after = manager.snapshot, [manager.session_generation(one) for one in Strategy], len(self.records)
            assert after == before
            assert after[0] is before[0]
            return "forbidden"
        except StrategyUnavailable:
            self.seen[str(row)] += 1
            return "unavailable"
        assert taken.row is row
        self.seen[str(row)] += 1
        return "accepted"

    def _send_naive(self, name: str, *args: Any) -> str:
        try:
            getattr(self.naive, name)(*args)
        except Forbidden:
            return "forbidden"
        except Unavailable:
            return "unavailable"
        return "accepted"

    def _event(self, news: tuple[Any, Strategy, int]) -> tuple[Any, tuple[Any, ...]]:
        """Return the event, and what the model is to be called with."""
        kind, strategy, age = news
        if kind in BARE:
            return kind(), (kind.name,)
        version = self.manager.state_version - age
        others_served = (True,) if isinstance(kind, OfOne) else ()
        return kind(strategy, version), (kind.name, strategy.value, version, *others_served)

    def _both(self, news: tuple[Any, Strategy, int]) -> str:
        event, call = self._event(news)
        outcome = self._send(event)
        assert self._send_naive(*call) == outcome, event
        return outcome

    # Rules.

    @rule(news=FRESH_NEWS)
    def fresh_news(self, news: tuple[Any, Strategy, int]) -> None:
        self._both(news)

    @precondition(lambda self: self.manager.state == "Stable")
    @rule()
    def announcement_of_the_other_one(self) -> None:
        self._both((StrategyAnnounced, self.manager.active.other, 0))

    @precondition(lambda self: self.manager.state == "PendingTransition")
    @rule(kind=st.sampled_from([Error456, AuthFailure, PersistentFailure]), of_pending=st.booleans())
    def refusal_in_transition(self, kind: Any, of_pending: bool) -> None:
        self._both((kind, self.manager.pending if of_pending else self.manager.active, 0))

    @rule(news=STALE_NEWS)
    def stale_news(self, news: tuple[Any, Strategy, int]) -> None:
        """I6: stale news changes nothing."""
        before = self.manager.snapshot
        self._both(news)
        assert self.manager.snapshot is before

    @rule(kind=st.sampled_from([one for one in BARE if one is not RollbackRequested]))
    def bare_event(self, kind: Any) -> None:
        self._both((kind, Strategy.BLUE, 0))

    @rule()
    def rollback(self) -> None:
        """I7: the state before the announcement, version and hold-down aside."""
        pending = self.manager.state == "PendingTransition"
        entered = next((one for one in reversed(self.records) if one.step.state == "PendingTransition"), None)
        outcome = self._both((RollbackRequested, Strategy.BLUE, 0))
        if pending:
            assert outcome == "accepted"
            assert entered is not None
            assert entered.before.state == self.manager.state
            now, then = self.manager.snapshot.context, entered.before.context
            assert (now.active, now.pending, now.previous) == (then.active, then.pending, then.previous)
            assert (now.held_down, now.rolled_back) == (entered.step.context.pending, True)

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.naive.now += seconds

    @rule(strategy=BOTH)
    def proved(self, strategy: Strategy) -> None:
        before = self.manager.snapshot
        self.manager.proved(strategy)
        self.naive.proved(strategy.value)
        assert self.manager.snapshot is before

    @rule(proves=PROVES)
    def start(self, proves: list[tuple[str, float, list[Any]]]) -> None:
        script = list(proves)
        said: list[tuple[Strategy, str, float, list[tuple[tuple[Any, ...], str]]]] = []

        def prove(strategy: Strategy, left_s: float) -> None:
            assert not self.proving  # I9
            assert 0 < left_s < self.manager.settings.detection_timeout_s + 1e-6  # but for rounding
            version = self.manager.state_version
            answer, elapsed, meanwhile = script.pop(0) if script else ("accept", 0.0, [])
            self.proving = True
            self.clock.advance(elapsed)
            others = []
            for news in meanwhile:
                event, call = self._event(news)
                others.append((call, self._send(event)))
            self.proving = False
            said.append((strategy, answer, elapsed, others))
            if answer == "crash":
                raise OwnFault
            if answer == "silent":  # nothing was heard: whoever leads next may ask it again
                raise Refusal(answer, wrong_strategy=False, answered=False)
            self.heard.setdefault(version, []).append(strategy)  # I8
            if answer != "accept":
                raise Refusal(answer, wrong_strategy=answer == "456")

        ticket: Ticket | None = None
        try:
            ticket = self.manager.start(prove)
            outcome = "started"
        except StrategyUnavailable:
            outcome = "unavailable"
        except OwnFault:
            outcome = "crashed"

        after = self.manager.snapshot
        if ticket is not None:  # I3
            route = {"Stable": after.context.active, "PendingTransition": after.context.pending}[after.state]
            assert ticket.strategy is route
            assert ticket.state_version == after.context.state_version
            self.seen[str(STRATEGY.cell(after.state, QueryStarted)[0])] += 1
            self.issued[ticket.query] = (
                ticket,
                ticket.strategy,
                self.manager.session_generation(ticket.strategy),
            )
        if outcome != "crashed":  # I8: a detection ends in Stable or Failed
            assert after.state != "Detecting"

        assert self._start_naive(said, ticket) == (outcome, ticket.strategy.value if ticket else None)

    @rule(strategy=BOTH)
    def start_alone(self, strategy: Strategy) -> None:
        """I3, I13: a query whose connection is accepted only there begins there, and nobody follows it."""
        ticket: Ticket | None = None
        with suppress(StrategyUnavailable):
            ticket = self.manager.try_start(alone=strategy)
        self._end_abandoned()
        self.naive.tick()
        if ticket is None:
            assert self.naive.state == "Failed"
            return
        assert self.naive.query_started(ticket.query, strategy.value) == ticket.strategy.value
        self.seen[str(STRATEGY.cell(self.manager.state, QueryStarted)[1])] += 1
        self.issued[ticket.query] = ticket, ticket.strategy, self.manager.session_generation(ticket.strategy)

    def _start_naive(self, said: list[Any], ticket: Ticket | None) -> tuple[str, str | None]:
        self._end_abandoned()

        def prove(strategy: str) -> str:
            expected, answer, elapsed, others = said.pop(0)
            assert strategy == expected.value
            self.naive.now += elapsed
            for call, outcome in others:
                assert self._send_naive(*call) == outcome, call
            assert isinstance(answer, str)
            return answer

        try:
            strategy = self.naive.start(ticket.query if ticket else -1, prove)
        except Unavailable:
            return "unavailable", None
        except Crashed:
            return "crashed", None
        assert not said
        return "started", strategy

    def _end_abandoned(self) -> None:
        for ticket in self.abandoned:
            self.naive.query_ended(ticket.query)
            self._forget(ticket)
        self.abandoned.clear()

    def _forget(self, ticket: Ticket) -> None:
        self.issued.pop(ticket.query)
        self.ended.append(ticket)

    @precondition(lambda self: self.issued)
    @rule(kind=st.sampled_from(ENDINGS), pick=st.integers(0, 50))
    def end(self, kind: Any, pick: int) -> None:
        ticket = list(self.issued.values())[pick % len(self.issued)][0]
        if ticket in self.abandoned:
            self.abandoned.remove(ticket)
        before = self.manager.snapshot
        self.seen[str(STRATEGY.row(before.state, before.context, kind(ticket)))] += 1
        assert self.manager.end(kind(ticket))
        assert self.naive.query_ended(ticket.query)
        self._forget(ticket)

    @precondition(lambda self: self.ended)
    @rule(kind=st.sampled_from(ENDINGS), pick=st.integers(0, 50), directly=st.booleans())
    def end_twice(self, kind: Any, pick: int, directly: bool) -> None:
        ticket = self.ended[pick % len(self.ended)]
        before = self.manager.snapshot
        if directly:
            assert self._send(kind(ticket)) == "forbidden"
        else:
            assert not self.manager.end(kind(ticket))
        assert self.manager.snapshot is before

    @precondition(lambda self: len(self.issued) > len(self.abandoned))
    @rule(pick=st.integers(0, 50))
    def abandon(self, pick: int) -> None:
        left = [one[0] for one in self.issued.values() if one[0] not in self.abandoned]
        ticket = left[pick % len(left)]
        before = self.manager.snapshot
        self.manager.abandon(ticket)
        self.abandoned.append(ticket)
        assert self.manager.snapshot is before

    @rule()
    def look_at_the_tickets(self) -> None:
        open_now = self.manager.open_tickets
        self._end_abandoned()
        assert open_now == tuple(one[0] for one in self.issued.values())

    # Invariants.

    @invariant()
    def agrees_with_the_naive_model(self) -> None:
        state, context, _ = self.manager.snapshot
        assert self.naive.view() == {
            "state": state,
            "active": context.active,
            "pending": context.pending,
            "previous": context.previous,
            "untried": context.untried,
            "held_down": context.held_down,
            "state_version": context.state_version,
            "verified": context.verified,
            "proved": context.proved,
            "failed_in_a_row": context.failed_in_a_row,
            "refused_in_a_row": {"blue": context.refused_blue, "green": context.refused_green},
            "rolled_back": context.rolled_back,
            "open": (context.open_blue, context.open_green),
        }

    @invariant()
    def i1_coherent(self) -> None:
        state, context, _ = self.manager.snapshot
        assert STRATEGY.holds(state, context)
        if state == "Stable":
            assert context.active is not None
            assert context.pending is None
        elif state == "PendingTransition":
            assert {context.active, context.pending} == set(Strategy)
        elif state == "Detecting":
            assert context.untried
            assert context.pending is None
        else:
            assert context.pending is None

    @invariant()
    def i2_isolated(self) -> None:
        for ticket, strategy, epoch in self.issued.values():
            assert ticket.strategy is strategy
            assert self.manager.session_generation(strategy) == epoch, (
                "the session of an open ticket was ended"
            )
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                ticket.strategy = strategy.other

    @invariant()
    def i4_active_moves_at_safe_points(self) -> None:
        while self.checked < len(self.records):
            record = self.records[self.checked]
            self.checked += 1
            before, after = record.before.context.active, record.step.context.active
            assert before is self.last_active, "active was replaced by a step that nobody was told about"
            if after is not before and record.before.state != "Detecting":
                assert isinstance(record.event, (*SAFE_POINTS, DrainTimedOut)), record.event
            self.last_active = after
        assert self.manager.active is self.last_active

    @invariant()
    def i5_accounted(self) -> None:
        left = [strategy for _, strategy, _ in self.issued.values()]
        for ticket in self.abandoned:
            assert ticket.query in self.issued
        context = self.manager.snapshot.context
        assert (context.open_blue, context.open_green) == (
            left.count(Strategy.BLUE),
            left.count(Strategy.GREEN),
        )

    @invariant()
    def i6_version(self) -> None:
        assert self.manager.state_version >= self.last_version
        self.last_version = self.manager.state_version

    @invariant()
    def i8_each_strategy_once(self) -> None:
        for version, strategies in self.heard.items():
            assert len(strategies) == len(set(strategies)), (
                f"asked twice in the detection of version {version}"
            )

    @invariant()
    def i12_deterministic(self) -> None:
        state, context, _ = self.manager.snapshot
        for kind in EVENTS:
            if kind in ENDINGS:
                events = [kind(Ticket(1, one, 0)) for one in Strategy]
            elif kind in NEWS:
                ages = product(Strategy, (0, 1))
                events = [
                    event for one, age in ages for event in variants(kind, one, context.state_version - age)
                ]
            elif kind is QueryStarted:
                events = [QueryStarted(alone) for alone in (None, *Strategy)]
            else:
                events = [kind()]
            for event in events:
                facts = STRATEGY.facts(state, context, event)
                enabled = [row for row in STRATEGY.cell(state, kind) if row.guard.holds(facts)]
                assert enabled == [STRATEGY.row(state, context, event)], event
                if enabled[0].outcome.value != "forbid":
                    assert step(STRATEGY, state, context, event) == step(STRATEGY, state, context, event)

    def teardown(self) -> None:
        if not hasattr(self, "manager"):
            return
        for ticket, *_ in self.issued.values():
            self.manager.abandon(ticket)
        assert self.manager.open_tickets == ()
        context = self.manager.snapshot.context
        assert (context.open_blue, context.open_green) == (0, 0)


def test_the_manager_does_what_the_naive_model_does_and_keeps_every_invariant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("bluegreen"), "disabled", True)  # it tells of every faulty observer
    ManagerMachine.seen.clear()
    run_state_machine_as_test(
        ManagerMachine, settings=settings(max_examples=300, stateful_step_count=50, deadline=None)
    )
    rows = {str(row) for row in STRATEGY.rows if row.outcome.value != "forbid"}
    missed = sorted(rows - set(ManagerMachine.seen))
    taken = sum(ManagerMachine.seen.values())
    print(f"{taken} steps, {len(rows) - len(missed)} of {len(rows)} rows; not: {missed}")
    assert len(missed) < len(rows) // 4, missed
