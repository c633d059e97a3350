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
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple

import attrs

from bluegreen.config.loader import configured
from bluegreen.config.settings import CHANGEABLE, Settings
from bluegreen.errors import (
    DetectionTimedOutError,
    EventForbidden,
    Refusal,
    SettingsError,
    StrategyUnavailable,
    unreachable,
)
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.effects import (
    Audit,
    Authenticate,
    CacheStrategy,
    ClearCache,
    CloseSessions,
    IssueTicket,
    Publish,
    Raise,
    StrategyEffect,
)
from bluegreen.machines.strategy.events import (
    ENDINGS,
    AuthFailure,
    AuthSuccess,
    CacheExpired,
    ConnectionOpened,
    DetectionTimedOut,
    Ending,
    Error456,
    QueryCancelled,
    QueryStarted,
    StrategyAnnounced,
    StrategyEvent,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.machines.strategy.timers import TIMERS, Timer
from bluegreen.runtime.consistency import Inconsistency, ManagerView, corrected, examined
from bluegreen.runtime.detection import Detection
from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.observers import ObserverRegistry
from bluegreen.runtime.sansio import Call, Flow, Sleep, Wait, run
from bluegreen.runtime.store_synchroniser import LOOK_AGAIN_S, PATIENCE, StoreSynchroniser
from bluegreen.runtime.telemetry import (
    CacheMissed,
    Corrected,
    DetectionEnded,
    EventSubscriber,
    LockWaited,
    Reconfigured,
    Record,
    Snapshot,
    StepSubscriber,
    StoreBack,
    StoreLost,
    TelemetryEvent,
)
from bluegreen.store import Store
from bluegreen.table.rows import RowKind
from bluegreen.table.step import Step, step
from bluegreen.types import Scope, Strategy, Ticket

Prove = Callable[[Strategy, float], Generator[Any, Any, None]]
"""(strategy, seconds left) -> a flow that returns if the strategy accepts, and raises `Refusal` if not."""

_WAITS: Final = frozenset(state.name for state in STRATEGY.states if "waits" in state.tags)
_ROUTES: Final = frozenset(state.name for state in STRATEGY.states if "routes" in state.tags)


class _Taken(NamedTuple):
    """One step that was committed, with the ticket that it issued."""

    step: Step
    ticket: Ticket | None


class _ImpossibleState(Exception):
    """What is kept is not what the last step has left. Never leaves this module."""


class StrategyManager:
    """The strategy machine of one scope, for threads. Get it with `managed`, so that a scope has only one.

    Args:
        scope: the cluster.
        settings: the scope's settings; by default from the environment and a file, see `sources`.
        clock: monotonic seconds; tests pass their own.

    >>> from bluegreen.machines.strategy.events import QueryCompleted
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
        self.settings = configured().settings if settings is None else settings
        self._clock = clock
        self._lock = threading.Lock()
        self._snapshot = Snapshot(STRATEGY.initial, Context.initial(self.settings), 0)
        # The last snapshot that a step or a correction has left, and in which its state's condition holds. A step that
        # finds another one has it examined first, so that no query meets an impossible state. Written with the lock.
        self._sound: Snapshot = self._snapshot
        self._tickets: dict[int, Ticket] = {}
        self._numbers = itertools.count(1)
        self._asked = itertools.count(1)
        self.requests = 0
        self._abandoned: dict[Ticket, Ending] = {}
        self._detection: Detection | None = None
        # Whatever readers iterate over is replaced as a whole, never changed.
        self._failures: Mapping[str, str] = {}
        self._armed: Mapping[Timer, float] = {}
        self._next_due_s = float("inf")
        self._since_s = clock()
        self._proved_s = float("-inf")
        self._epochs = itertools.count(1)
        self._session_generations = dict.fromkeys(Strategy, 0)
        self._audience = ObserverRegistry(scope, self.settings.logging_level)
        self._exchange: StoreSynchroniser | None = None
        reborn_in_children(self)

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
    def state_version(self) -> int:
        """What a request must remember, so that the news it brings back can be told from stale news."""
        return self._snapshot.context.state_version

    @property
    def active(self) -> Strategy | None:
        """The strategy that new queries get when no transition is pending."""
        return self._snapshot.context.active

    @property
    def pending(self) -> Strategy | None:
        """The strategy that the server announced, while a transition is pending.

        A connection opens a session there ahead of time: so the effect `Authenticate` is carried out.
        """
        return self._snapshot.context.pending

    @property
    def failures(self) -> Mapping[str, str]:
        """What each strategy answered that the last detection has tried in vain."""
        return self._failures

    @property
    def since_s(self) -> float:
        """When the machine came into the state that it has now, by the manager's clock."""
        return self._since_s

    @property
    def exchange(self) -> StoreSynchroniser | None:
        """What is known of the store that this scope shares with other processes, if it has joined one."""
        return self._exchange

    def session_generation(self, strategy: Strategy) -> int:
        """Return a number that changes whenever the sessions on `strategy` are to be ended.

        A connection keeps it beside a session; a session whose number is not the current one is over.
        """
        return self._session_generations[strategy]

    # Events.

    def send(self, event: StrategyEvent) -> Step:
        """Take one step and carry out its effects. For tickets there are `start` and `end`.

        Returns:
            The step, with its effects.

        Raises:
            EventForbidden: the state does not accept the event, or it ends a ticket that is not open;
                nothing has changed.
            StrategyUnavailable: the step led to Failed; that is committed.
        """
        taken = self._apply(event)
        assert taken is not None
        return taken.step

    def proved(self, strategy: Strategy) -> None:
        """Renew the cache: an answer has just shown that `strategy` serves. Cheap enough for every answer."""
        if strategy is self._snapshot.context.active:
            self._proved_s = self._clock()

    def subscribe(self, observer: StepSubscriber, *, every_step: bool = False) -> Callable[[], None]:
        """Call `observer` with a `Record` for each step that the table audits; returns what undoes it.

        It is called in the thread that sent the event, after the lock was released. If it raises, that is
        logged and harms nothing.

        Args:
            every_step: call it for each step that changed something, starts and ends of queries too: records
                whose sequence has no gap. It is then called before the effects of the step are carried out.
        """
        return self._audience.subscribe(observer, every_step=every_step)

    def observe(self, witness: EventSubscriber) -> Callable[[], None]:
        """Call `witness` with everything that happens, see `telemetry`; returns what undoes it.

        It gets a `Record` for each step that changed something, and what is no step: failed requests, retries,
        replays, losses, detections. It is called as `subscribe` says.
        """
        return self._audience.observe(witness)

    @property
    def observed(self) -> bool:
        """Whether anybody observes: what nobody would get need not be made."""
        return bool(self._audience.witnesses)

    def report(self, happening: TelemetryEvent) -> None:
        """Tell who observes what has happened around this scope."""
        self._audience.report(happening)

    def warn_once(self, key: str, text: str, *facts: object) -> None:
        """Log a warning about this scope, once for each `key`. After 100 keys nothing more is logged.

        Args:
            key: names what the warning is about.
            text: what is logged after the scope, with `facts` filled in as `logging` does.
        """
        self._audience.warn_once(key, text, *facts)

    def count_request(self) -> None:
        """Count a request that is sent to a stack, in `requests`. No lock: it may be late by one for each thread."""
        self.requests = next(self._asked)

    def now_s(self) -> float:
        """Return the time of the manager's clock, in seconds."""
        return self._clock()

    def reconfigure(self, **changes: Any) -> None:
        """Change settings of this scope, from its next step on; timers that run are counted anew with them.

        Raises:
            SettingsError: a value is wrong, or not to be changed at run time; nothing has changed.

        Source: business logic, "Configuration Management".
        """
        fixed = sorted(set(changes) - set(CHANGEABLE))
        if fixed:
            accepted = ", ".join(CHANGEABLE)
            raise SettingsError(
                [f"{name} cannot be changed at run time; accepted: {accepted}" for name in fixed]
            )
        with self._lock:
            before, (state, context, sequence) = self.settings, self._snapshot
            settings = attrs.evolve(before, **changes)
            snapshot = Snapshot(state, attrs.evolve(context, settings=settings), sequence)
            sound = snapshot if self._snapshot is self._sound else self._sound
            self.settings, self._snapshot, self._sound = settings, snapshot, sound
            self._audience.least(settings.logging_level)
            self._next_due_s = self._first_due(self._armed, snapshot.context)
        changed = {
            name: (getattr(before, name), getattr(settings, name))
            for name in changes
            if getattr(before, name) != getattr(settings, name)
        }
        if changed:
            self._audience.say(logging.INFO, "%s: settings changed: %s", self.scope, changed)
            self.report(Reconfigured(self.scope, self._clock(), changed))

    # Integrity.

    def examine(self) -> tuple[Inconsistency, ...]:
        """Return what does not agree in what is kept here; nothing: all of it does. Changes nothing, and does no I/O.

        Source: business logic, "State Validation Rules".
        """
        with self._lock:
            return examined(self._kept())

    def repair(self) -> tuple[Inconsistency, ...]:
        """Correct what does not agree; return what was found. Each correction is logged, and told who observes.

        Open queries stay where they are. What cannot be told from what is kept is found out by a detection, with the
        next query. If all agrees, nothing is changed.

        Source: business logic, "State Validation Rules".
        """
        self._end_abandoned()
        return self._correct()

    def _correct(self) -> tuple[Inconsistency, ...]:
        """Do what `repair` says, without a look at abandoned tickets: to end one is a step, which may come here."""
        with self._lock:
            kept = self._kept()
            findings = examined(kept)
            if findings:
                self._restore(corrected(kept, findings))
            self._sound = self._snapshot
        for one in findings:
            self._audience.say(
                logging.WARNING, "%s: %s: %s: %s", self.scope, one.check, one.found, one.correction
            )
            self.report(Corrected(self.scope, self._clock(), one.check, one.found, one.correction))
        if findings:
            self._agree(kept.heard)
            self._apply(
                ConnectionOpened()
            )  # a transition that has waited for queries that there were not goes on
        return findings

    def _kept(self) -> ManagerView:
        """Return what is kept. The lock is held."""
        (state, context, _), exchange, now_s = self._snapshot, self._exchange, self._clock()
        known = [one.name for one in STRATEGY.states]
        due = [timer for timer in TIMERS if state in known and _runs(timer, self._snapshot)]
        return ManagerView(
            state,
            context,
            self._tickets.copy(),
            timers=frozenset(timer.event.name for timer in self._armed),
            due=frozenset(timer.event.name for timer in due),
            proved_ago_s=now_s - self._proved_s,
            heard=None if exchange is None else exchange.store_route(now_s),
            told=None if exchange is None else exchange.own_route(now_s),
        )

    def _restore(self, kept: ManagerView) -> None:
        """Keep something else from now on. The lock is held."""
        now_s, before = self._clock(), self._snapshot
        after = Snapshot(kept.state, kept.context, before.sequence)
        self._proved_s = min(self._proved_s, now_s)
        self._tickets = dict(kept.tickets)
        self._since_s = self._since_s if kept.state == before.state else now_s
        self._snapshot = after
        self._armed = self._arm(after, now_s)
        self._next_due_s = self._first_due(self._armed, after.context)

    def _agree(self, heard: Strategy | None) -> None:
        """Hear what the store has said, which may not have come through; and tell it where new queries go from here."""
        if heard is not None and heard is not self._snapshot.context.route:
            self._adopt_news(heard)
        exchange, (state, context, _) = self._exchange, self._snapshot
        if exchange is None:
            return
        if state in _ROUTES and context.route is not None:
            exchange.decided(context.route, verified=context.route_verified)
        else:
            exchange.undecided()

    # The store.

    def join(self, store: Store | None) -> None:
        """Share news with other processes through `store`, from the next query on; with none, stop that.

        Source: spec, section 4 (Publish).
        """
        if store is None:
            self._exchange = None
            return
        exchange = StoreSynchroniser(
            self.scope, store, self._adopt_news, partial(self._report_store, store.name), self._clock
        )
        context = self._snapshot.context
        if self._snapshot.state in _ROUTES and context.route is not None:
            exchange.decided(context.route, verified=context.route_verified)
        self._exchange = exchange

    def attend(self) -> None:
        """Look at the store, if this scope has joined one and there may be something to read: as each query does."""
        exchange = self._exchange
        if exchange is not None and exchange.is_due:
            exchange.attend()

    def _adopt_news(self, strategy: Strategy) -> None:
        self._apply(StrategyAnnounced(strategy, self.state_version))

    def _report_store(self, name: str, reason: str | None) -> None:
        now = self._clock()
        if reason is None:
            self._audience.say(logging.INFO, "%s: %s is back", self.scope, name)
            self.report(StoreBack(self.scope, now, name))
        else:
            self._audience.say(
                logging.INFO, "%s: %s has failed, going on without: %s", self.scope, name, reason
            )
            self.report(StoreLost(self.scope, now, name, reason))

    # Tickets.

    @property
    def open_tickets(self) -> tuple[Ticket, ...]:
        """The tickets that are open now, oldest first. Those that were abandoned are ended first."""
        self._end_abandoned()
        return tuple(self._tickets.copy().values())

    def start(self, prove: Callable[[Strategy, float], object], session: object = None) -> Ticket:
        """Start a query: return its ticket, after a detection if no strategy is known.

        Args:
            prove: called with (strategy, seconds left) if this caller is the one that detects. It returns
                if the strategy accepts the caller, and raises `Refusal` if not; `Refusal(..., answered=False)` if
                there was no answer in time. Any other exception ends this caller's part only: somebody else detects.
            session: what the ticket is to carry for its connection.

        Raises:
            StrategyUnavailable: both strategies failed, now or within the cool-down.
            DetectionTimedOutError: no strategy was found within `detection_timeout_s`.

        Source: spec, section 2; business logic, "Strategy Selection Rules".
        """
        ticket = self.try_start(session)
        return ticket if ticket is not None else run(self.start_flow(_calling(prove), session))

    def try_start(self, session: object = None, alone: Strategy | None = None) -> Ticket | None:
        """Start a query if that needs no detection; otherwise return none.

        Args:
            session: what the ticket is to carry for its connection.
            alone: a strategy that accepts this connection, while new queries go to one that does not: the query
                begins there, and waits for no detection.

        Raises:
            StrategyUnavailable: both strategies failed, and the cool-down has not passed.
        """
        self._end_abandoned()
        self._fire_due_timers()
        self.attend()
        try:
            taken = self._apply(_STARTED if alone is None else QueryStarted(alone), session)
        except EventForbidden as refused:
            if refused.state in _WAITS:
                return None
            raise StrategyUnavailable(self.scope, refused.reason, self._failures) from None
        assert taken is not None
        return taken.ticket

    def start_flow(
        self,
        prove: Prove,
        session: object = None,
        alone: Strategy | None = None,
        deadline_s: float | None = None,
    ) -> Flow[Ticket]:
        """`start` as a flow, for drivers of other kinds.

        Args:
            prove, session, alone: as in `start` and `try_start`.
            deadline_s: until when the caller waits, by the manager's clock; by default for `detection_timeout_s`.
        """
        if deadline_s is None:
            deadline_s = self._clock() + self.settings.detection_timeout_s
        missed = False
        while True:
            ticket = self.try_start(session, alone)
            if ticket is not None:
                return ticket
            if self._audience.witnesses and not missed:
                missed = True
                self.report(CacheMissed(self.scope, self._clock()))
            if self._clock() >= deadline_s:
                raise self._timed_out()
            yield from self.detect_or_wait(prove, deadline_s)

    def detect_or_wait(self, prove: Prove, deadline_s: float) -> Flow[None]:
        """Lead the detection until `deadline_s`, or wait for the one that is under way until one of the two
        ends. Single flight (invariant I9)."""
        mine = self._new_detection(deadline_s)
        least_s = min(self.settings.probe_after_s, self.settings.detection_timeout_s / len(Strategy))
        if deadline_s - self._clock() < least_s:
            mine.decides = False
        try:
            with self._lock:
                if self._detection is None or self._detection.finished:
                    self._detection = mine
                detection = self._detection
            if detection is mine:
                yield from self._detect(mine, prove)
                return
        finally:
            mine.finished = True  # before any call: that is where a second signal could come
            mine.finish()
        is_done = yield Wait(detection.done, min(deadline_s, detection.deadline_s) - self._clock())
        if not is_done and self._clock() >= detection.deadline_s:
            self._time_out(detection)

    def end(self, event: Ending) -> bool:
        """End a ticket. Return whether it was open: ending it twice is harmless."""
        return self._apply(event, still=partial(self._is_open, event.ticket)) is not None

    def abandon(self, ticket: Ticket) -> None:
        """End a ticket from a place that must not take a lock, such as a finalizer; it takes effect at the
        next look at the tickets, at the latest when the next query starts."""
        self._abandoned[ticket] = QueryCancelled(ticket)

    # Inside.

    def _new_detection(self, deadline_s: float) -> Detection:
        return Detection(deadline_s)  # a method, so that `verify` can watch who touches it

    def _detect(self, detection: Detection, prove: Prove) -> Flow[None]:
        """Detect, after whoever detects for other processes has, and tell how it went."""
        began_s, tried = self._clock() if self._audience.witnesses else None, list[Strategy]()
        exchange, leads = self._exchange, True
        try:
            leads = exchange is None or (yield from self._leading(exchange, detection))
            yield from self._try(detection, prove, tried)
        except StrategyUnavailable:
            if began_s is not None:
                self._tell_detection(began_s, tuple(tried), followed=not leads)
            raise
        finally:
            if exchange is not None:
                exchange.done()
        if began_s is not None:
            self._tell_detection(began_s, tuple(tried), followed=not leads)

    def _tell_detection(self, began_s: float, tried: tuple[Strategy, ...], *, followed: bool) -> None:
        state, context, _ = self._snapshot
        found = context.active if state in _ROUTES and context.active in tried else None
        now = self._clock()
        self.report(DetectionEnded(self.scope, now, now - began_s, tried, found, self._failures, followed))

    def _leading(self, exchange: StoreSynchroniser, detection: Detection) -> Flow[bool]:
        """Wait until this process may detect for all, and return true; or until the store names what is to be
        tried first, since somebody has found that it serves (invariant I9, between processes)."""
        asked = 0
        while (
            not detection.finished and self._snapshot.state in _WAITS and self._clock() < detection.deadline_s
        ):
            leads = exchange.leads()
            asked += leads is None
            exchange.attend()  # after that: who had the lease before may have found it just now
            if exchange.known.verified in self._snapshot.context.untried[:1]:
                return False
            if leads or asked == PATIENCE:
                return True
            yield Sleep(LOOK_AGAIN_S)
        return False

    def _try(self, detection: Detection, prove: Prove, tried: list[Strategy]) -> Flow[None]:
        """Try what is untried, in order, until the machine has settled. Each strategy once (invariant I8)."""
        # Tries that were not answered, each with the version under which it was made: no refusals, so that the machine
        # does not hear of them, and its `untried` still has the strategy to fall back to.
        silent: set[tuple[Strategy, int]] = set()
        while not detection.finished:  # somebody may have timed it out, and lead another one by now
            state, context, _ = self._snapshot
            if state not in _WAITS:
                return
            left_s = detection.deadline_s - self._clock()
            untried = [one for one in context.untried if (one, context.state_version) not in silent]
            if left_s <= 0 or not untried:
                self._time_out(detection)
                if not detection.decides:
                    raise self._timed_out()
                return
            if len(untried) == len(Strategy):
                self._failures = {}
            strategy = untried[0]
            tried.append(strategy)
            event: StrategyEvent = AuthSuccess(strategy, context.state_version)
            try:
                yield from prove(strategy, left_s)
            except Refusal as refusal:
                self._failures = {**self._failures, strategy.value: refusal.reason}
                if not refusal.answered:
                    silent.add((strategy, context.state_version))
                    continue
                refused = Error456 if refusal.wrong_strategy else AuthFailure
                event = refused(strategy, context.state_version)
            self.send(event)

    def _time_out(self, detection: Detection) -> None:
        """Give a detection up, unless it is over: then another one may be under way, which goes on."""
        try:
            if detection.decides:
                self._apply(DetectionTimedOut(), still=detection.close)
        finally:
            detection.finish()

    def _timed_out(self) -> DetectionTimedOutError:
        return DetectionTimedOutError(
            self.scope, f"no strategy within {self.settings.detection_timeout_s:g} s", self._failures
        )

    def _is_open(self, ticket: Ticket) -> bool:
        held = self._tickets.get(ticket.query)
        return held is ticket or held == ticket

    def _end_abandoned(self) -> None:
        """End what was abandoned; forget it only then, so that an interrupt loses nothing."""
        while self._abandoned:
            for ticket, ending in self._abandoned.copy().items():
                self.end(ending)
                self._abandoned.pop(ticket, None)

    def _fire_due_timers(self) -> None:
        """Send what is due, in the order of the timers."""
        now = self._clock()
        if now < self._next_due_s:
            return
        if self._snapshot is not self._sound:
            self._correct()
        for timer in TIMERS:
            if self._is_due(timer, now):
                self._apply(timer.event, still=partial(self._is_due, timer, now))
        with self._lock:
            self._next_due_s = self._first_due(self._armed, self._snapshot.context)

    def _apply(
        self, event: StrategyEvent, session: object = None, *, still: Callable[[], bool] | None = None
    ) -> _Taken | None:
        """Take one step under the lock, if `still` holds there; then carry out its effects without the lock.

        An impossible state is corrected first: the step is then taken in a detection.
        """
        try:
            return self._take(event, session, still)
        except _ImpossibleState:
            self._correct()
            return self._take(event, session, still)

    def _take(self, event: StrategyEvent, session: object, still: Callable[[], bool] | None) -> _Taken | None:
        """Do what `_apply` says.

        All that a step changes is changed under the lock, tickets and session epochs too, or nothing is:
        not even an interrupt between two lines leaves a part of it.
        """
        ticket: Ticket | None = None
        audience = self._audience
        contended = audience.witnesses and self._lock.locked()
        began_s = self._clock() if audience.witnesses else None
        try:
            with self._lock:
                waited_s = self._clock() - began_s if contended and began_s is not None else 0.0
                before = self._snapshot
                if before is not self._sound:
                    raise _ImpossibleState
                if still is not None and not still():
                    return None
                taken = self._step(before, event)
                for effect in taken.effects:
                    if isinstance(effect, IssueTicket):
                        ticket = Ticket(
                            next(self._numbers), effect.strategy, effect.state_version, session, self._clock()
                        )
                    elif isinstance(effect, CloseSessions):
                        self._session_generations[effect.strategy] = next(self._epochs)
                after = self._commit(before, event, taken, ticket)
            if after is not before and (audience.followers or audience.witnesses):
                now_s = self._clock()
                took_s = 0.0 if began_s is None else now_s - began_s
                audience.stepped(
                    Record(self.scope, after.sequence, now_s, before, event, taken, ticket, took_s)
                )
            if waited_s:
                self.report(LockWaited(self.scope, self._clock(), waited_s))
            if taken.effects:
                self._run_effects(before, after, taken)
            return _Taken(taken, ticket)
        except BaseException:
            if ticket is not None:
                self.abandon(ticket)  # nobody gets it
            raise

    def _step(self, before: Snapshot, event: StrategyEvent) -> Step:
        if isinstance(event, ENDINGS) and not self._is_open(event.ticket):
            accepted = [name for name in STRATEGY.accepted(before.state) if name != event.name]
            raise EventForbidden(event.name, before.state, "the ticket is not open", accepted)
        return step(STRATEGY, before.state, before.context, event)

    def _commit(self, before: Snapshot, event: StrategyEvent, taken: Step, ticket: Ticket | None) -> Snapshot:
        if taken.context is before.context and taken.state == before.state:
            return before
        after = Snapshot(taken.state, taken.context, before.sequence + 1)
        armed, next_due_s, since_s = self._armed, self._next_due_s, self._since_s
        # Only a row that leads somewhere can lead to an impossible state; the others count tickets and news.
        is_sound = taken.row.outcome is not RowKind.GO or STRATEGY.holds(after.state, after.context)
        sound = after if is_sound else self._sound
        if taken.row.outcome is RowKind.GO or type(event) in _TIMED:
            now_s = self._clock()
            armed = self._arm(after, now_s)
            since_s = since_s if taken.state == before.state else now_s
            next_due_s = self._first_due(armed, taken.context)
        ended = event.ticket if isinstance(event, ENDINGS) else None
        # No call from here to the end: signals come at calls, and would find one part without the other.
        if ticket is not None:
            self._tickets[ticket.query] = ticket
        elif ended is not None:
            del self._tickets[ended.query]
        self._armed, self._next_due_s, self._since_s = armed, next_due_s, since_s
        self._snapshot, self._sound = after, sound
        return after

    def _run_effects(self, before: Snapshot, after: Snapshot, taken: Step) -> None:
        """Carry out the effects in their order; an error is raised after all of them."""
        failure: StrategyUnavailable | None = None
        for effect in taken.effects:
            failure = self._effect(effect, before, after, taken) or failure
        if failure is not None:
            raise failure

    def _effect(
        self, effect: StrategyEffect, before: Snapshot, after: Snapshot, taken: Step
    ) -> StrategyUnavailable | None:
        match effect:
            case IssueTicket() | CloseSessions():
                pass  # done under the lock
            case Authenticate():
                pass  # done by the next caller that has a connection: see `_try`, and `pending`
            case ClearCache():
                if self._exchange is not None:
                    self._exchange.undecided()
            case CacheStrategy():
                self.proved(effect.strategy)
            case Publish():
                self._audience.say(
                    logging.DEBUG,
                    "%s: publish %s, version %d",
                    self.scope,
                    effect.strategy,
                    effect.state_version,
                )
                if self._exchange is not None:
                    self._exchange.decided(effect.strategy, verified=effect.verified)
            case Raise():
                return _ERRORS[effect.error](self.scope, effect.reason, self._failures)
            case Audit():
                now_s = self._clock()
                self._audience.audited(Record(self.scope, after.sequence, now_s, before, effect.event, taken))
            case _:
                unreachable(effect)
        return None

    def _arm(self, after: Snapshot, now_s: float) -> Mapping[Timer, float]:
        """Return since when each timer runs: since now if its condition has just become true."""
        return {timer: self._armed.get(timer, now_s) for timer in TIMERS if _runs(timer, after)}

    def _due_s(self, timer: Timer, since_s: float, context: Context) -> float:
        if timer is _CACHE:
            since_s = max(since_s, self._proved_s)
        return since_s + timer.delay_s(context)

    def _is_due(self, timer: Timer, now: float) -> bool:
        since_s = self._armed.get(timer)
        return since_s is not None and now >= self._due_s(timer, since_s, self._snapshot.context)

    def _first_due(self, armed: Mapping[Timer, float], context: Context) -> float:
        due_s = (self._due_s(timer, since_s, context) for timer, since_s in armed.items())
        return min(due_s, default=float("inf"))

    def after_fork(self) -> None:
        """In a forked child: nobody else is here. Keep what was read, but no lock, ticket or detection."""
        self._lock = threading.Lock()
        self._audience.after_fork()
        self._tickets = {}
        self._abandoned = {}
        if self._detection is not None:  # it is led elsewhere, or by the very thread that forked
            self._detection.finished = True
            self._detection.done = Future()  # the lock inside of the old one may be held
            self._detection = None
        state, context, sequence = self._snapshot
        was_sound = self._snapshot is self._sound
        self._snapshot = Snapshot(state, attrs.evolve(context, open_blue=0, open_green=0), sequence)
        self._sound = self._snapshot if was_sound else self._sound
        self._armed = self._arm(self._snapshot, self._clock())
        self._next_due_s = self._first_due(self._armed, self._snapshot.context)
        if self._exchange is not None:
            self._exchange.after_fork()


def _runs(timer: Timer, moment: Snapshot) -> bool:
    if moment.state not in timer.states:
        return False
    guard = timer.armed
    return guard is None or guard.holds({fact.name: fact.of(moment.context, None) for fact in guard.facts})


def _calling(prove: Callable[[Strategy, float], object]) -> Prove:
    def proving(strategy: Strategy, left_s: float) -> Flow[None]:
        yield Call(prove, (strategy, left_s))

    return proving


_CACHE: Final = next(timer for timer in TIMERS if isinstance(timer.event, CacheExpired))
_TIMED: Final = frozenset(type(timer.event) for timer in TIMERS)
_STARTED: Final = QueryStarted()
_ERRORS: Final = {"unavailable": StrategyUnavailable, "timed_out": DetectionTimedOutError}
"""The errors that the effect `Raise` names."""
