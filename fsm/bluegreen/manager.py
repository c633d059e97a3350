"""StrategyManager: the strategy machine of one scope, shared by all threads and tasks of a process.

It adds what a table cannot have: a lock, a clock, tickets, and one detection at a time. It takes no
decision: it sends events, and carries out what the rows answered.

The lock is held for one step, never around I/O or code of the caller. Reads take no lock: the machine's
state is one immutable value, replaced at once. There is no thread: what is due is looked at when a query
starts. So a forked child can go on with what its parent read.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import attrs

from bluegreen.alphabet import (
    Audit,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    CacheExpired,
    CacheStrategy,
    ClearCache,
    CloseSessions,
    DetectionTimedOut,
    Error456,
    IssueTicket,
    Publish,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Raise,
    StrategyEffect,
    StrategyEvent,
)
from bluegreen.errors import DetectionTimedOutError, EventForbidden, Refusal, StrategyUnavailable, unreachable
from bluegreen.flow import Call, Flow, Wait, run
from bluegreen.machine import Step, step
from bluegreen.rows import Outcome
from bluegreen.settings import Settings
from bluegreen.strategy import STRATEGY, TIMERS, Context, Timer
from bluegreen.vocabulary import Scope, Strategy, Ticket

Ending = QueryCompleted | QueryCancelled | QueryFailed
Prove = Callable[[Strategy, float], Generator[Any, Any, None]]
"""(strategy, seconds left) -> a flow that returns if the strategy accepts this caller, raises `Refusal` if not."""

_log = logging.getLogger("bluegreen")
_WAITS: Final = frozenset(state.name for state in STRATEGY.states if "waits" in state.tags)


class Snapshot(NamedTuple):
    """The machine's state at one moment; `sequence` counts the steps that changed something."""

    state: str
    context: Context
    sequence: int


@attrs.frozen
class Record:
    """What observers get: one step that changed something, in the order of `sequence` within a scope."""

    scope: Scope
    sequence: int
    at_s: float
    before: Snapshot
    event: StrategyEvent
    step: Step


Observer = Callable[[Record], None]


@attrs.define(eq=False)
class _Flight:
    """One detection: who comes later waits for `landed`."""

    deadline_s: float
    landed: Future[None] = attrs.field(factory=Future)


class StrategyManager:
    """The strategy machine of one scope, for threads. Get it with `managed`, so that a scope has only one.

    Args:
        scope: the cluster.
        settings: the scope's settings; read from the environment by default.
        clock: monotonic seconds; tests pass their own.

    >>> manager = StrategyManager(Scope("db.example:443"))
    >>> ticket = manager.start(lambda strategy, seconds_left: None)   # proves any strategy
    >>> ticket.strategy, manager.state
    (<Strategy.BLUE: 'blue'>, 'Stable')
    >>> manager.end(QueryCompleted(ticket)), manager.end(QueryCompleted(ticket))
    (True, False)

    Source: spec, sections 2, 4 and 7.
    """

    def __init__(
        self, scope: Scope, settings: Settings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.scope = scope
        self.settings = Settings.from_environment() if settings is None else settings
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot = Snapshot(STRATEGY.initial, Context.initial(self.settings), 0)
        self._tickets: dict[int, Ticket] = {}
        self._numbers = itertools.count(1)
        self._abandoned: deque[Ending] = deque()
        self._flight: _Flight | None = None
        self._failures: dict[str, str] = {}
        self._armed: dict[Timer, float] = {}
        self._next_due_s = float("inf")
        self._session_epochs = dict.fromkeys(Strategy, 0)
        self._observers: tuple[Observer, ...] = ()
        _log.setLevel(self.settings.logging_level)
        _managers.add(self)

    # Reads: no lock, no side effects.

    @property
    def snapshot(self) -> Snapshot:
        """The machine's state now, as one immutable value."""
        return self._snapshot

    @property
    def state(self) -> str:
        """The name of the machine's state now."""
        return self._snapshot.state

    @property
    def version(self) -> int:
        """What a request must remember, so that the news it brings back can be told from stale news."""
        return self._snapshot.context.version

    @property
    def active(self) -> Strategy | None:
        """The strategy that new queries get when no transition is pending."""
        return self._snapshot.context.active

    @property
    def pending(self) -> Strategy | None:
        """The strategy that the server announced, while a transition is pending."""
        return self._snapshot.context.pending

    @property
    def open_tickets(self) -> tuple[Ticket, ...]:
        """The tickets that are open now, oldest first."""
        self._reap()
        return tuple(self._tickets.copy().values())

    def session_epoch(self, strategy: Strategy) -> int:
        """Return a number that changes whenever the sessions on `strategy` are to be ended.

        A connection keeps it beside a session; a session whose number is not the current one is over.
        """
        return self._session_epochs[strategy]

    # Events.

    def send(self, event: StrategyEvent) -> Step:
        """Take one step and carry out its effects.

        Returns:
            The step, with its effects: `Authenticate` is for the caller, who has the connection.

        Raises:
            EventForbidden: the state does not accept the event; nothing has changed.
            StrategyUnavailable: the step led to Failed; that is committed.
        """
        taken = self._take(event)
        assert taken is not None
        return taken

    def proved(self, strategy: Strategy) -> None:
        """Renew the cache: an answer has just shown that `strategy` serves. Cheap enough for every answer."""
        if strategy is self._snapshot.context.active and _CACHE in self._armed:
            self._armed[_CACHE] = self._clock()

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call `observer` with a `Record` for each step that changed something; returns what undoes it.

        It is called in the thread that sent the event, after the lock was released. If it raises, that is
        logged and harms nothing.
        """
        with self._lock:
            self._observers = (*self._observers, observer)

        def unsubscribe() -> None:
            with self._lock:
                self._observers = tuple(other for other in self._observers if other is not observer)

        return unsubscribe

    # Tickets.

    def start(self, prove: Callable[[Strategy, float], object], session: object = None) -> Ticket:
        """Start a query: return its ticket, after a detection if no strategy is known.

        Args:
            prove: called with (strategy, seconds left) if this caller is the one that detects. It returns
                if the strategy accepts the caller, and raises `Refusal` if not. Any other exception ends
                this caller's part only: somebody else detects.
            session: what the ticket is to carry for its connection.

        Raises:
            StrategyUnavailable: both strategies failed, now or within the last `failed_cooldown_s`.
            DetectionTimedOutError: no strategy was found within `detection_timeout_s`.

        Source: spec, section 2; business logic, "Strategy Selection Rules".
        """
        ticket = self.start_now(session)
        return ticket if ticket is not None else run(self.starting(_calling(prove), session))

    def start_now(self, session: object = None) -> Ticket | None:
        """Start a query if that needs no detection; otherwise return none.

        Raises:
            StrategyUnavailable: both strategies failed within the last `failed_cooldown_s`.
        """
        self._reap()
        self._tick()
        try:
            taken = self.send(QueryStarted())
        except EventForbidden as refused:
            if refused.state in _WAITS:
                return None
            raise StrategyUnavailable(self.scope, refused.reason, self._failures) from None
        issued = next(effect for effect in taken.effects if isinstance(effect, IssueTicket))
        ticket = Ticket(next(self._numbers), issued.strategy, issued.version, session)
        self._tickets[ticket.query] = ticket
        return ticket

    def starting(self, prove: Prove, session: object = None) -> Flow[Ticket]:
        """`start` as a flow, for drivers of other kinds."""
        deadline_s = self._clock() + self.settings.detection_timeout_s
        while True:
            ticket = self.start_now(session)
            if ticket is not None:
                return ticket
            if self._clock() >= deadline_s:
                raise DetectionTimedOutError(
                    self.scope, f"no strategy within {self.settings.detection_timeout_s:g} s", self._failures
                )
            yield from self.settling(prove, deadline_s)

    def settling(self, prove: Prove, deadline_s: float) -> Flow[None]:
        """Lead the detection, or wait for the one that is under way. Single flight (invariant I9)."""
        with self._lock:
            flight = self._flight
            leads = flight is None
            if flight is None:
                flight = self._flight = _Flight(self._clock() + self.settings.detection_timeout_s)
        if leads:
            try:
                yield from self._detect(flight, prove)
            finally:
                self._land(flight)
            return
        landed = yield Wait(flight.landed, deadline_s - self._clock())
        if not landed and self._clock() >= flight.deadline_s:
            self._land(flight)
            self.send(DetectionTimedOut())

    def end(self, event: Ending) -> bool:
        """End a ticket. Return whether it was open: ending it twice is harmless."""
        if self._tickets.pop(event.ticket.query, None) is None:
            return False
        self.send(event)
        return True

    def abandon(self, ticket: Ticket) -> None:
        """End a ticket from a place that must not take a lock, such as a finalizer; it takes effect at the
        next look at the tickets, at the latest when the next query starts."""
        self._abandoned.append(QueryCancelled(ticket))

    # Inside.

    def _detect(self, flight: _Flight, prove: Prove) -> Flow[None]:
        """Try what is untried, in order, until the machine has settled. Each strategy once (invariant I8)."""
        self._failures = {}
        while True:
            state, context, _ = self._snapshot
            if state not in _WAITS:
                return
            left_s = flight.deadline_s - self._clock()
            if left_s <= 0:
                self.send(DetectionTimedOut())
                return
            strategy = context.untried[0]
            event: StrategyEvent = AuthSuccess(strategy, context.version)
            try:
                yield from prove(strategy, left_s)
            except Refusal as refusal:
                self._failures[strategy.value] = refusal.reason
                refused = Error456 if refusal.wrong_strategy else AuthFailure
                event = refused(strategy, context.version)
            self.send(event)

    def _land(self, flight: _Flight) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight = None
            if not flight.landed.done():
                flight.landed.set_result(None)

    def _reap(self) -> None:
        while self._abandoned:
            try:
                ending = self._abandoned.popleft()
            except IndexError:  # another thread was faster
                return
            self.end(ending)

    def _tick(self) -> None:
        """Send what is due, in the order of the timers."""
        now = self._clock()
        if now < self._next_due_s:
            return
        seen = self._snapshot
        for timer, since_s in tuple(self._armed.items()):
            if now >= since_s + getattr(self.settings, timer.after):
                self._take(timer.event, only_from=seen)
                seen = self._snapshot
        self._set_next_due()

    def _take(self, event: StrategyEvent, only_from: Snapshot | None = None) -> Step | None:
        """Take one step under the lock, then carry out its effects without it."""
        with self._lock:
            before = self._snapshot
            if only_from is not None and before is not only_from:
                return None
            taken = step(STRATEGY, before.state, before.context, event)
            changed = taken.context is not before.context or taken.state != before.state
            if changed:
                self._snapshot = Snapshot(taken.state, taken.context, before.sequence + 1)
                if taken.row.outcome is Outcome.GO or event in _TIMED:
                    self._arm()
            after = self._snapshot
        failure: StrategyUnavailable | None = None
        for effect in taken.effects:
            failure = self._carry_out(effect, before, after, taken) or failure
        if failure is not None:
            raise failure
        return taken

    def _carry_out(
        self, effect: StrategyEffect, before: Snapshot, after: Snapshot, taken: Step
    ) -> StrategyUnavailable | None:
        """Carry out one effect; an error is returned, so that the effects after it are carried out too."""
        match effect:
            case IssueTicket() | Authenticate() | ClearCache():
                pass  # the caller's: it has the query and the connection; nothing is cached but in the state
            case CacheStrategy():
                self.proved(effect.strategy)
            case CloseSessions():
                self._session_epochs[effect.strategy] += 1
            case Publish():
                _log.debug("%s: publish %s, version %d", self.scope, effect.strategy, effect.version)
            case Raise():
                return StrategyUnavailable(self.scope, effect.reason, self._failures)
            case Audit():
                self._tell(Record(self.scope, after.sequence, self._clock(), before, effect.event, taken))
            case _:
                unreachable(effect)
        return None

    def _tell(self, record: Record) -> None:
        before, after = record.before.context, record.step.context
        _log.info(
            "%s: %s -> %s on %s; active %s -> %s, pending %s, version %d",
            self.scope, record.before.state, record.step.state, record.step.row.event.name,
            before.active, after.active, after.pending, after.version,
        )  # fmt: skip
        for observer in self._observers:
            try:
                observer(record)
            except Exception:  # noqa: BLE001  an observer's fault must not become the query's
                _log.exception("%s: an observer raised", self.scope)

    def _arm(self) -> None:
        """Start the timers whose condition has become true, forget those whose condition is over."""
        now, (state, context, _) = self._clock(), self._snapshot
        for timer in TIMERS:
            armed = state in timer.states and (
                timer.armed is None
                or timer.armed.holds({fact.name: fact.of(context, None) for fact in timer.armed.facts})
            )
            if not armed:
                self._armed.pop(timer, None)
            else:
                self._armed.setdefault(timer, now)
        self._set_next_due()

    def _set_next_due(self) -> None:
        due = (since_s + getattr(self.settings, timer.after) for timer, since_s in tuple(self._armed.items()))
        self._next_due_s = min(due, default=float("inf"))

    def _after_fork(self) -> None:
        """In a forked child: nobody else is here. Keep what was read; no lock, ticket or detection survives."""
        self._lock = threading.Lock()
        self._tickets = {}
        self._abandoned = deque()
        self._flight = None
        state, context, sequence = self._snapshot
        self._snapshot = Snapshot(state, attrs.evolve(context, open_blue=0, open_green=0), sequence)


def _calling(prove: Callable[[Strategy, float], object]) -> Prove:
    def proving(strategy: Strategy, left_s: float) -> Flow[None]:
        yield Call(prove, (strategy, left_s))

    return proving


_CACHE: Final = next(timer for timer in TIMERS if isinstance(timer.event, CacheExpired))
_TIMED: Final = frozenset(timer.event for timer in TIMERS)
_managers: weakref.WeakSet[StrategyManager] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for manager in tuple(_managers):
        manager._after_fork()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
