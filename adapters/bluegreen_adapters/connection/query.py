"""One query of a connection: the ids that the application holds, where it runs, its machine."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import attrs

from bluegreen.errors import unreachable
from bluegreen.machines.query import (
    QUERY,
    DiscardRows,
    EndTicket,
    Errored,
    Lose,
    QueryContext,
    QueryEffect,
    QueryEvent,
    Refused456,
    Replay,
    RowsHandedOut,
    is_replayed,
)
from bluegreen.machines.retry import RETRY, Attempts, RetryEffect, RetryEvent
from bluegreen.table.step import step
from bluegreen.types import Strategy, Ticket
from bluegreen_adapters.connection.evidence import Then
from bluegreen_adapters.connection.protocol import Metadata, Method
from bluegreen_adapters.connection.session_pool import Session


@attrs.define(eq=False)
class StreamHold:
    """Holder of the ticket of a stream that belongs to no query, until the stream has ended."""

    query: Query | None = None


@attrs.define(eq=False)
class RequestRetries:
    """The retry machine of one request of the application, for all RPCs that are sent on its behalf.

    Only the flow that carries out the request touches it, so it has no lock.
    """

    state: str = RETRY.initial
    attempts: Attempts = attrs.field(factory=Attempts)

    def advance(self, event: RetryEvent) -> RetryEffect | None:
        """Take one step; return its effect, or None if it has none."""
        taken = step(RETRY, self.state, self.attempts, event)
        self.state, self.attempts = taken.state, taken.context
        return next(iter(taken.effects), None)


@attrs.frozen
class Rpc:
    """One RPC as the application called it.

    Args:
        name: bare name of the method.
        method: what the protocol says of it.
        request: the message; it is the application's, and is never changed.
        metadata: pairs of key and value.
        deadline_s: monotonic seconds at which the application gives up, or none.
        options: whatever else the application gave to the call.
        state_version: version of the machine when the application called: what the answers of a stream say is as
            old as that. If it was begun anew since, they are taken for stale, which loses nothing: answers to
            the next RPC say it again.
        withheld: metadata keys that another RPC has to bring if this one is sent again.
        stream: if it answers with a stream, what holds the ticket of one that belongs to no query.
        is_owned: whether the request is a copy of ours, which may be changed in place: a long statement is copied once.
        retries: what the application's request may still be sent again; RPCs that are sent on its behalf share it.
    """

    name: str
    method: Method
    request: Any = attrs.field(repr=False)
    metadata: Metadata = attrs.field(default=(), repr=False)
    deadline_s: float | None = None
    options: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=False)
    state_version: int = 0
    withheld: tuple[str, ...] = ()
    stream: StreamHold | None = attrs.field(default=None, eq=False, repr=False)
    is_owned: bool = attrs.field(default=False, eq=False, repr=False)
    retries: RequestRetries = attrs.field(factory=RequestRetries, eq=False, repr=False)

    @property
    def left_s(self) -> float | None:
        """Seconds until the application gives up; none: never."""
        return None if self.deadline_s is None else max(self.deadline_s - time.monotonic(), 0.001)

    def kept(self, withheld: tuple[str, ...]) -> Rpc:
        """Return this RPC as it may be kept: without what proves who the application is, and with a request of its own,
        since the application may use its message again.

        Args:
            withheld: metadata keys, in lower case, whose values are not kept.
        """
        metadata = tuple(pair for pair in self.metadata if pair[0].lower() not in withheld)
        request = copy.deepcopy(self.request)
        return attrs.evolve(self, request=request, metadata=metadata, withheld=withheld, is_owned=True)

    def on_behalf_of(self, rpc: Rpc) -> Rpc:
        """Return this RPC as it is sent again for another one: with that one's deadline, retries and fresh metadata.

        A key may have several values. Of keys that both have, all values are the other one's; what was withheld is
        the other one's alone.
        """
        mine, fresh = {key for key, _ in self.metadata}, {key for key, _ in rpc.metadata}
        taken = (pair for pair in rpc.metadata if pair[0] in mine or pair[0].lower() in self.withheld)
        own = (pair for pair in self.metadata if pair[0] not in fresh)
        metadata = (*taken, *own)
        return attrs.evolve(self, metadata=metadata, deadline_s=rpc.deadline_s, retries=rpc.retries)


class QueryId(str):
    """A query's id in the hands of the application. Unlike a plain string it can be watched: when nothing
    refers to it any more, the application has let the query go."""

    __slots__ = ("__weakref__",)


class BeginReply:
    """The answer to a begin, with an id that can be watched. Everything else is the server's message."""

    def __init__(self, message: Any, field: str, query_id: QueryId) -> None:
        self._message, self._field, self._query_id = message, field, query_id

    @property
    def plain(self) -> Any:
        """The server's message: its id is a string, and nobody watches it."""
        return self._message

    def __getattr__(self, name: str) -> Any:
        if name == "_field" or name.startswith("__"):  # asked for by `copy` before there is a message
            raise AttributeError(name)
        return self._query_id if name == self._field else getattr(self._message, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._message == (other._message if isinstance(other, BeginReply) else other))

    __hash__ = None  # type: ignore[assignment]  # as of any message

    def __deepcopy__(self, memo: dict[int, Any]) -> BeginReply:
        return BeginReply(copy.deepcopy(self._message, memo), self._field, self._query_id)

    def __repr__(self) -> str:
        return repr(self._message)


@attrs.frozen
class StepResult:
    """Result of a step of the query machine: a replay, or a loss with its reason, or neither."""

    replay: Replay | None = None
    lost: str | None = None


@attrs.frozen
class Placement:
    """Location of a query: everything that an RPC needs to reach it. Immutable, so no RPC sees half of a move.

    Args:
        ticket: the ticket, which says which stack.
        session: the session on that stack.
        generation: how often the query had been begun; what fails in an older one is sent again.
        query_id: the query's id on that stack, once it has one.
        engine: its engine's address there; empty if it has none.
    """

    ticket: Ticket
    session: Session
    generation: int
    query_id: str | None = None
    engine: str = ""

    def within(self, session: Session) -> Placement:
        """Return the same place in another session."""
        return attrs.evolve(self, session=session)


@attrs.define(eq=False)
class RowCollection:
    """Rows of one run of a query that a connector collects before it returns any of them to the application.

    An RPC that fetches belongs to the collection that the query has when the RPC begins. If the query begins again, the
    collection is void, and so is whatever its RPCs may still bring: none of them reaches the new run.

    Attributes:
        is_open: true until its rows are handed out or void. Written under the query's lock.
        is_void: true once the connector has to throw its rows away and to fetch from the beginning. Likewise.
    """

    is_open: bool = True
    is_void: bool = False


@attrs.define(eq=False)
class Query:
    """A query between its begin and its end.

    Args:
        begin: the RPC that began it.
        classify: returns whether the request of a begin only reads. It is called once, and only if a replay is
            considered: a query that succeeds never pays for it.
        replay: the setting of that name.

    Attributes:
        left: where it ran before the transport failed, and may still run; the stack is to free it there.
        alone: the stack on which it begins whatever others do, since its connection is accepted only there.
        answer: what the application gets if it cannot begin there either; None: what happens there.
        suspected: the answer to its begin that a probe took for a refusal; what the application gets if no stack takes
            the query, since it may be the server's own answer all the same.
        accused: the stack that denied it, and the version then, to be reported once the other one has accepted it.
        public_id: its id in the application's hands.
        place: where it runs; none while it is being moved, and if that has failed.
        execution: the RPC that executed it, once it was accepted.
        generation: how often it was begun.
        collection: the last collection of its rows; None: each batch reaches the application at once.
        cleared: whether the server has freed it.
        place_by_s: until when the present call of the application waits for a strategy and a session, by the manager's
            clock. One value for all waits of the call; the time that its requests take is added to it.
    """

    begin: Rpc
    classify: Callable[[Any], bool] = attrs.field(repr=False)
    replay: str
    state: str = QUERY.initial
    context: QueryContext | None = None
    public_id: str | None = None
    place: Placement | None = None
    execution: Rpc | None = None
    generation: int = 0
    collection: RowCollection | None = None
    cleared: bool = False
    place_by_s: float = math.inf
    left: Placement | None = None
    alone: Strategy | None = None
    answer: BaseException | None = attrs.field(default=None, repr=False)
    suspected: BaseException | None = attrs.field(default=None, repr=False)
    accused: tuple[Strategy, int] | None = None
    _reads: bool | None = None
    _claimed: Future[None] | None = None
    _executing: list[Future[None]] = attrs.field(factory=list[Future[None]])
    # Reentrant: a flow that nobody drives to its end is closed by the garbage collector, wherever that runs.
    _lock: Any = attrs.field(factory=threading.RLock, repr=False)

    @property
    def ticket(self) -> Ticket | None:
        """The ticket under which it runs now."""
        return self.context.ticket if self.context is not None else None

    @property
    def reads(self) -> bool:
        """True if the statement provably only reads. It is classified once, when a replay is considered."""
        if self._reads is None:
            self._reads = self.classify(self.begin.request)
        return self._reads

    @property
    def occupied(self) -> Placement | None:
        """Place where a stack may hold it: where it runs, else where the transport failed it; None: nowhere."""
        place = self.place
        return place if place is not None and place.query_id is not None else self.left

    @property
    def over(self) -> bool:
        """True once it has ended."""
        return QUERY.state(self.state).final

    def goes_alone(self, strategy: Strategy, answer: BaseException) -> None:
        """Begin on `strategy` whatever others do; if that fails, `answer` is what the application gets."""
        self.alone, self.answer = strategy, answer

    def takes(self, ticket: Ticket) -> bool:
        """Run under this ticket from now on; return false, and do not, if the query has been ended."""
        with self._lock:
            if self.over:
                return False
            if self.context is None:
                self.context = QueryContext(ticket, replay=self.replay)
            else:
                self.context = attrs.evolve(self.context, ticket=ticket)
            self.place = None
            self.generation += 1
            return True

    def settles(self, session: Session) -> Placement:
        """Run in this session; return the place."""
        with self._lock:
            assert self.context is not None
            self.place = Placement(self.context.ticket, session, self.generation)
            return self.place

    def is_known_as(self, query_id: str, engine: str) -> None:
        """Take note of the id and the engine that its stack has given it."""
        with self._lock:
            assert self.place is not None
            self.place = attrs.evolve(self.place, query_id=query_id, engine=engine)

    def renews(self, expired: Session, session: Session) -> None:
        """Use a new session instead of one that has expired."""
        with self._lock:
            if self.place is not None and self.place.session is expired:
                self.place = attrs.evolve(self.place, session=session)

    def look(self) -> Placement | Future[None] | None:
        """Return where it runs, or what to wait for before it can be told, or none: it runs nowhere."""
        with self._lock:
            return self._claimed or self.place

    @contextmanager
    def held_at(self, place: Placement) -> Generator[bool, None, None]:
        """Hold the query while an answer from `place` is taken note of; the value is whether that still
        counts: false if the query has been moved since, or is being moved or ended."""
        with self._lock:
            yield self._claimed is None and self.generation == place.generation

    # What its connector collects before the application sees it.

    @property
    def is_collectable(self) -> bool:
        """True as long as the application has seen no row, so that collecting rows makes a difference."""
        return self.context is not None and not self.context.rows

    @property
    def is_void(self) -> bool:
        """True if rows that its connector has collected are void, until it collects from the beginning."""
        return self.collection is not None and self.collection.is_void

    def collect(self) -> RowCollection:
        """Begin to collect rows before the application sees any. The caller must call `hand_out` in the end.

        If another caller is collecting rows of the same query, the rows of the two cannot be told apart: all of them
        count as handed out.
        """
        with self._lock:
            if self.collection is not None and self.collection.is_open:
                self.hand_out(self.collection)
            else:
                self.collection = RowCollection()
            return self.collection

    def hand_out(self, collection: RowCollection) -> bool:
        """Record that the application gets the rows of a collection; return True.

        Return False if the query has begun again: the rows are void, and the application must not get them.
        """
        with self._lock:
            if collection.is_void:
                return False
            collection.is_open = False
            if self.context is not None and self.context.received:
                self.advance(RowsHandedOut())
            return True

    def claim(self, *, whoever_executes: bool) -> Future[None] | None:
        """Claim the query, to repair or to end it. Return none, or what to wait for before trying again.

        Args:
            whoever_executes: claim it even while an RPC is under way that executes it. A repair must not:
                whether there is something to repeat is only known when that one has been answered.
        """
        with self._lock:
            executing = () if whoever_executes else self._executing
            blocked_by = self._claimed or next(iter(executing), None)
            if blocked_by is None:
                self._claimed = Future()
            return blocked_by

    def release(self) -> None:
        """Undo `claim`."""
        with self._lock:
            done, self._claimed = self._claimed, None
        if done is not None:
            done.set_result(None)

    @contextmanager
    def executing(self) -> Generator[None, None, None]:
        """Mark that an RPC is under way that executes it."""
        mine: Future[None] = Future()
        with self._lock:
            self._executing.append(mine)
        try:
            yield
        finally:
            with self._lock:
                self._executing.remove(mine)
            mine.set_result(None)

    def event_of(self, then: Then, *, may_resend: bool = True) -> QueryEvent:
        """Return the event of the query machine for a consequence.

        Args:
            then: the consequence, other than `elsewhere`: the connection itself deals with that.
            may_resend: whether the request of the application that has failed may be sent again.
        """
        match then:
            case "refused":
                return Refused456()
            case "harmless":
                return Errored("harmless", may_resend)
            case "ambiguous":
                return Errored("execute", may_resend)
            case "gone":
                return Errored("gone")
            case "given_up":  # the caller has gone: a read is not replayed; a write may have been executed
                return Errored("none" if self.reads else "execute")
            case "answer" | "continue" | "ended" | "elsewhere":  # of a replay: there is nothing to go on with
                return Errored("none")

    def can_move(self, place: Placement, then: Then) -> bool:
        """Return whether a request that has failed at `place` can be placed anew. Nothing changes.

        It can if the query has been moved meanwhile, or if its machine would begin it again.
        """
        event = self.event_of(then)
        reads = self._may_run_again(event) and self.reads
        with self._lock:
            if self.generation != place.generation:
                return True
            if self.context is None or self.answer is not None:  # begun alone: no other stack takes it
                return False
            context = attrs.evolve(self.context, reads=True) if reads else self.context
            return is_replayed(self.state, context, event)

    def _may_run_again(self, event: QueryEvent) -> bool:
        """Return whether a row for `event` looks at whether the statement only reads."""
        executed = "executed" in QUERY.state(self.state).tags
        if self.context is None or self.context.rows:
            return False
        if isinstance(event, Errored):
            return event.doubt != "none" and (executed or event.doubt != "harmless")
        return isinstance(event, Refused456) and executed

    def advance(self, event: QueryEvent) -> tuple[StepResult, tuple[EndTicket, ...]]:
        """Take one step; return what it asks for, and the tickets that it ends.

        Raises:
            EventForbidden: the query is not in a state for it; nothing has changed.
        """
        # The statement is parsed before the lock is taken, and only for an event that may lead to running it again.
        reads = self._may_run_again(event) and self.reads
        with self._lock:
            assert self.context is not None
            context = attrs.evolve(self.context, reads=True) if reads else self.context
            taken = step(QUERY, self.state, context, event)
            self.state, self.context = taken.state, taken.context
            if any(isinstance(effect, DiscardRows) for effect in taken.effects):
                assert self.collection is not None  # otherwise each batch counts as handed out
                self.collection.is_open, self.collection.is_void = False, True
        ends, result = list[EndTicket](), StepResult()
        effects: tuple[QueryEffect, ...] = taken.effects
        for effect in effects:
            match effect:
                case EndTicket():
                    ends.append(effect)
                case Replay():
                    result = attrs.evolve(result, replay=effect)
                case DiscardRows():
                    pass  # done under the lock
                case Lose():
                    result = attrs.evolve(result, lost=effect.reason)
                case _:
                    unreachable(effect)
        return result, tuple(ends)
