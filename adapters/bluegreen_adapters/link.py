"""A connection to which its cluster appears never to switch: the decisions of the channels, without I/O.

Every method of a `Link` is a flow: `grpc_sync` and `grpc_aio` drive it. What may be repaired is decided by
the query machine; here its answers are carried out, behind the ids that the application already holds.

Source: spec, section 3, and the protocol description.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import attrs

from bluegreen.alphabet import ConnectionOpened, Error456, PersistentFailure
from bluegreen.errors import EventForbidden, QueryLost, Refusal, StrategyUnavailable
from bluegreen.flow import Flow, Wait
from bluegreen.manager import StrategyManager
from bluegreen.query import (
    BatchFetched,
    Cancelled,
    Cleared,
    Doubt,
    Errored,
    Executed,
    Exhausted,
    Prepared,
    QueryEvent,
    Refused456,
    Replay,
)
from bluegreen.vocabulary import Strategy, Ticket
from bluegreen_adapters.protocol import Credentials, Fault, Protocol, Role, only_reads, read
from bluegreen_adapters.queries import Query, QueryId, Rpc, Settled
from bluegreen_adapters.sessions import Failure, NotAccepted, Outcome, Reply, Session
from bluegreen_adapters.wire import Wire


@attrs.frozen
class Blank:
    """Make an empty response of a method: a command for the driver. The answer is none if it cannot."""

    method: str


@attrs.frozen
class Raised:
    """Which exceptions the application gets; an adapter derives its own from ours and from its driver's."""

    lost: type[QueryLost] = QueryLost
    unavailable: type[StrategyUnavailable] = StrategyUnavailable


class Link:
    """What one connection knows: its sessions and its queries.

    Args:
        manager: the manager of the connection's scope.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default the application's last one is kept.
        raised: the exceptions that the application gets.
    """

    def __init__(
        self,
        manager: StrategyManager,
        protocol: Protocol,
        *,
        credentials: Credentials | None = None,
        raised: Raised | None = None,
    ) -> None:
        self.manager = manager
        self.protocol = protocol
        self.raised = raised or Raised()
        self._wire = Wire(manager, protocol, credentials)
        self._sessions = self._wire.sessions
        self._queries: dict[str, Query] = {}
        self._open: dict[int, Ticket] = {}
        weakref.finalize(self, _abandon_all, manager, self._open).atexit = False

    @property
    def queries(self) -> tuple[str, ...]:
        """The ids, as the application knows them, of the queries that have begun and not ended."""
        return tuple(self._queries)

    def call(self, rpc: Rpc) -> Flow[Any]:
        """Carry out one RPC of the application; the result is the message for it.

        Raises:
            QueryLost: the query cannot be finished, and must not be run again.
            StrategyUnavailable: neither strategy can be used.

        Any other status of the server is raised as the driver got it.
        """
        query = self._query_of(rpc)
        try:
            match rpc.method.role:
                case Role.AUTHENTICATE:
                    return (yield from self._authenticate(rpc))
                case Role.BEGIN:
                    return (yield from self._begin(rpc))
                case Role.USE if query is not None:
                    return (yield from self._use(rpc, query))
                case Role.END if query is not None:
                    return (yield from self._end(rpc, query))
                case _:  # of no query, or of one that this connection does not know
                    return (yield from self._free(rpc))
        except NotAccepted as refused:
            if isinstance(refused.outcome, Failure):
                raise refused.outcome.cause from None
            raise self._unavailable("the credentials are not accepted") from None
        except StrategyUnavailable as error:
            if isinstance(error, self.raised.unavailable):
                raise
            raise self.raised.unavailable(error.scope, error.reason, error.failures) from error

    def streamed(self, rpc: Rpc, message: Any) -> Any:
        """Take note of a further message of a stream that `call` began; return it for the application."""
        query = self._query_of(rpc)
        if query is not None and query.session is not None:
            self._wire.learned(message, query.session, self.manager.version)
            self._progress(rpc, query, message)
        return self._wire.masked(message)

    def broken(self, rpc: Rpc, failure: Failure) -> Flow[Any]:
        """A stream that `call` began has failed: begin it again if the query's machine allows it.

        Raises as `call` does.
        """
        query = self._query_of(rpc)
        if query is None:
            raise failure.cause
        fault = self._wire.fault(failure)
        if fault is Fault.WRONG_STRATEGY and query.ticket is not None:
            self._wire.report(Error456(query.ticket.strategy, self.manager.version))
        return (yield from self._use(rpc, query, failure))

    def close(self) -> None:
        """End every ticket of this connection: nobody can use them any more."""
        for query in tuple(self._queries.values()):
            self._finish(query, Cancelled())
        self._queries.clear()
        self._sessions.forget()

    # Roles.

    def _authenticate(self, rpc: Rpc) -> Flow[Any]:
        """The application authenticates: open a session where new queries go, and hide which one it is."""
        self._sessions.authenticate_with(rpc.request, rpc.metadata)
        self.manager.send(ConnectionOpened())
        query = self._query(rpc)
        try:
            yield from self._placed(query)
        except NotAccepted as refused:
            if isinstance(refused.outcome, Reply):  # the server said no in a message: that is the answer
                return refused.outcome.message
            raise
        assert query.session is not None
        self._finish(query, Cleared())
        return self._wire.masked(query.session.answer)

    def _begin(self, rpc: Rpc) -> Flow[Any]:
        """A query begins. Until it has its id, a refusal means that it begins again elsewhere."""
        query = self._query(rpc)
        message = yield from self._prepared(query)
        number = query.ticket.query if query.ticket is not None else 0
        real = read(message, self.protocol.query)
        # Both stacks may count from one: an id that is in use here is made different.
        query.public_id = real if real not in self._queries else f"{real}~{number}"
        watched = QueryId(query.public_id)
        self._queries[query.public_id] = query
        weakref.finalize(watched, _let_go, weakref.ref(self), query.public_id).atexit = False
        yield from self._sessions.warmed()
        return Begun(self._wire.masked(message), self.protocol.query, watched)

    def _use(self, rpc: Rpc, query: Query, broken: Failure | None = None) -> Flow[Any]:
        """An RPC of a query: to its own stack, whatever has happened to the cluster since."""
        while True:
            if query.repairing is not None:
                yield Wait(query.repairing, self.manager.settings.detection_timeout_s)
                continue
            if query.session is None:
                raise self._lost(query, "it could not be begun again")
            generation = query.generation
            outcome: Outcome = broken or (yield from self._wire.sent(rpc, query))
            broken = None
            if isinstance(outcome, Reply):
                self._progress(rpc, query, outcome.message)
                yield from self._sessions.warmed()
                return self._wire.masked(outcome.message)
            if not query.claims(generation):
                continue
            try:
                replay = self._failed(query, outcome, rpc)
                yield from self._replayed(query, replay)
            finally:
                query.repaired()

    def _end(self, rpc: Rpc, query: Query) -> Flow[Any]:
        """The application frees the query. If its stack is gone, so is the query: that is no error."""
        gone = RuntimeError(f"query {query.public_id} is not on any stack")
        outcome: Outcome = Failure("NOT_FOUND", "", gone)
        fault = Fault.WRONG_STRATEGY
        if query.session is not None:
            outcome = yield from self._wire.sent(rpc, query)
        if isinstance(outcome, Failure) and query.session is not None:
            fault = self._wire.fault(outcome)
            if fault in (Fault.ANSWER, Fault.AMBIGUOUS):
                self._finish(query, Errored())
                raise outcome.cause
        self._finish(query, Cancelled() if rpc.method.effect == "cancelled" else Cleared())
        self._queries.pop(query.public_id or "", None)
        if isinstance(outcome, Reply):
            yield from self._sessions.warmed()
            return self._wire.masked(outcome.message)
        blank = yield Blank(rpc.name)
        if blank is None:
            raise outcome.cause
        return blank

    def _free(self, rpc: Rpc) -> Flow[Any]:
        """An RPC without a query is a query of one RPC: it has a ticket while it runs."""
        query = self._query(rpc)
        try:
            while True:
                yield from self._placed(query)
                outcome = yield from self._wire.sent(rpc, query)
                if isinstance(outcome, Reply):
                    yield from self._sessions.warmed()
                    return self._wire.masked(outcome.message)
                self._failed(query, outcome, rpc)
        finally:
            self._finish(query, Cleared())

    # Steps of those.

    def _query_of(self, rpc: Rpc) -> Query | None:
        return self._queries.get(read(rpc.request, self.protocol.query) or "")

    def _query(self, rpc: Rpc) -> Query:
        statement = read(rpc.request, self.protocol.statement)
        reads = isinstance(statement, str) and only_reads(statement)
        return Query(rpc, reads, self.manager.settings.replay)

    def _prepared(self, query: Query) -> Flow[Any]:
        """Begin the query where new queries go, and again elsewhere as long as its machine allows it."""
        try:
            while True:
                yield from self._placed(query)
                outcome = yield from self._wire.sent(query.begin, query)
                if isinstance(outcome, Reply):
                    query.engine = read(outcome.message, self.protocol.engine) or None
                    self._stepped(query, Prepared(read(outcome.message, self.protocol.query)))
                    return outcome.message
                self._failed(query, outcome, query.begin)
        except BaseException:
            self._finish(query, Errored())
            raise

    def _placed(self, query: Query) -> Flow[None]:
        """Give the query a ticket, and a session on the ticket's strategy.

        Raises:
            StrategyUnavailable: no strategy can be used.
            NotAccepted: no strategy accepts the connection's credentials.
        """
        while True:
            ticket = yield from self.manager.starting(self._sessions.proved)
            self._open[ticket.query] = ticket
            query.takes(ticket)
            strategy, version = ticket.strategy, self.manager.version
            try:
                query.session = self._sessions.on(strategy) or (yield from self._session(strategy, query.begin))
                return
            except Refusal as refusal:
                wrong = refusal.wrong_strategy
                self._wire.report((Error456 if wrong else PersistentFailure)(strategy, version))
                settled = self._stepped(query, Refused456() if wrong else Errored("harmless"))
                if settled.replay is None:
                    raise self._unavailable(f"{strategy} accepts no session: {refusal}") from refusal
            except BaseException:
                self._finish(query, Errored())
                raise

    def _session(self, strategy: Strategy, rpc: Rpc) -> Flow[Session]:
        left_s = self.manager.settings.detection_timeout_s
        if rpc.left_s is not None:
            left_s = min(left_s, rpc.left_s)
        try:
            return (yield from self._sessions.opened(strategy, left_s))
        except NotAccepted as refused:
            if not refused.by_credentials:
                raise refused.refusal from None
        yield from self._sessions.proved(strategy, left_s)
        return (yield from self._sessions.opened(strategy, left_s))

    def _replayed(self, query: Query, replay: Replay) -> Flow[None]:
        """Bring the query to where it was, on the right strategy, behind the id that the application holds."""
        while True:
            yield from self._prepared(query)
            if not replay.execute:
                return
            assert query.execution is not None
            outcome = yield from self._wire.sent(query.execution, query)
            if isinstance(outcome, Reply):
                self._stepped(query, Executed())
                return
            self._failed(query, outcome, query.execution)

    def _failed(self, query: Query, failure: Failure, rpc: Rpc) -> Replay:
        """Ask the query's machine what a failure means: return the replay that it allows, or raise.

        Raises:
            QueryLost: nothing may be done about it.

        Or the server's own answer, as the driver got it.
        """
        fault = self._wire.fault(failure)
        if fault is Fault.AMBIGUOUS and query.public_id is not None and rpc.method.effect != "executed":
            raise failure.cause  # the application's own deadline, or its own cancellation: the query goes on
        event = Refused456() if fault is Fault.WRONG_STRATEGY else Errored(_doubt(fault, rpc, query))
        settled = self._stepped(query, event)
        if settled.replay is not None:
            return settled.replay
        if settled.lost is not None:
            raise self._lost(query, settled.lost) from failure.cause
        if fault is Fault.WRONG_STRATEGY or (fault is Fault.NOT_AUTHENTICATED and query.session_id is not None):
            # Never the status itself: who sees it above might run the whole query again.
            raise self._lost(query, f"its stack answers: {fault.value}") from failure.cause
        raise failure.cause

    def _stepped(self, query: Query, event: QueryEvent) -> Settled:
        """Take a step of the query's machine, and end the tickets that it ends."""
        settled, ends = query.advance(event)
        for end in ends:
            self._open.pop(end.event.ticket.query, None)
            self.manager.end(end.event)
        return settled

    def _finish(self, query: Query, event: QueryEvent) -> None:
        """End a query, unless it has ended."""
        if query.context is not None and not query.over:
            with contextlib.suppress(EventForbidden):  # two threads may end it at once: one of them does
                self._stepped(query, event)

    def _progress(self, rpc: Rpc, query: Query, message: Any) -> None:
        """Tell the query's machine what an answer means."""
        method = rpc.method
        with contextlib.suppress(EventForbidden):  # an order that only the server can judge: it has answered
            if method.effect == "executed":
                query.execution = rpc
                self._stepped(query, Executed())
            elif method.effect == "fetched":
                rows = any(read(message, field) for field in method.rows)
                self._stepped(query, BatchFetched(rows))
                if read(message, method.done) if method.done else not rows:
                    self._stepped(query, Exhausted())

    def _unavailable(self, reason: str) -> StrategyUnavailable:
        return self.raised.unavailable(self.manager.scope, reason)

    def _lost(self, query: Query, reason: str) -> QueryLost:
        ticket = query.ticket
        assert ticket is not None
        return self.raised.lost(query.public_id, ticket.strategy.value, ticket.version, reason)


def _doubt(fault: Fault, rpc: Rpc, query: Query) -> Doubt:
    """Return what a failed RPC leaves open."""
    if fault is Fault.AMBIGUOUS:  # a read is not replayed once the application's deadline has passed
        return "execute" if rpc.method.effect == "executed" and not query.reads else "none"
    if fault is not Fault.TRANSIENT:
        return "none"
    if rpc.method.effect == "executed":
        return "execute"
    nothing_done = rpc.method.repeatable or rpc.method.role in (Role.BEGIN, Role.USE)
    return "harmless" if nothing_done else "none"


class Begun:
    """The answer to a begin, with an id that can be watched. Everything else is the server's message."""

    def __init__(self, message: Any, field: str, query_id: QueryId) -> None:
        self._message, self._field, self._query_id = message, field, query_id

    def __getattr__(self, name: str) -> Any:
        return self._query_id if name == self._field else getattr(self._message, name)

    def __repr__(self) -> str:
        return repr(self._message)


def _let_go(owner: Callable[[], Link | None], public_id: str) -> None:
    """The application has let a query go. Runs in a finalizer, so it takes no lock and sends nothing."""
    link = owner()
    query = link._queries.pop(public_id, None) if link is not None else None  # noqa: SLF001
    if link is not None and query is not None and query.ticket is not None:
        link._open.pop(query.ticket.query, None)  # noqa: SLF001
        link.manager.abandon(query.ticket)


def _abandon_all(manager: StrategyManager, tickets: dict[int, Ticket]) -> None:
    """A connection was let go with everything that it had open."""
    for ticket in tuple(tickets.values()):
        manager.abandon(ticket)
