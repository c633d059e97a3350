"""A connection to which its cluster appears never to switch: what its channel does, without I/O.

Every method of a `Link` is a flow, or takes no time: `grpc_sync` and `grpc_aio` drive it. What may be
repaired is decided by the query machine.

Source: spec, section 3, and the protocol description.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from bluegreen.alphabet import ConnectionOpened, Error456
from bluegreen.errors import StrategyUnavailable
from bluegreen.flow import Flow
from bluegreen.happenings import QueryBegun
from bluegreen.manager import StrategyManager
from bluegreen.query import Cancelled, Cleared, Errored
from bluegreen_adapters import running, statements
from bluegreen_adapters.commands import Blank, Failure, Outcome, Reply
from bluegreen_adapters.protocol import Credentials, Fault, Protocol, Role, only_reads, read
from bluegreen_adapters.queries import Begun, Place, Query, QueryId, Rpc
from bluegreen_adapters.repair import Raised, Repairs
from bluegreen_adapters.sessions import NotAccepted
from bluegreen_adapters.wire import TooLate, Wire, in_time

__all__ = ["Blank", "Link", "Raised"]


class Link:
    """What one connection knows: its sessions and its queries.

    Args:
        manager: the manager of the connection's scope.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default the application's last one is kept.
        raised: the exceptions that the application gets.
    """

    __slots__ = (
        "__weakref__", "_closed", "_sessions", "_wire", "bound", "manager", "protocol", "raised", "repairs",
    )  # fmt: skip  # an application may have many connections

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
        self.raised = raised or _RAISED
        self._wire = Wire(manager, protocol, credentials)
        self._sessions = self._wire.sessions
        self.repairs = Repairs(self._wire, self.raised)
        self.bound: dict[str, Query] = {}
        self._closed = False

    @property
    def queries(self) -> tuple[str, ...]:
        """The ids, as the application knows them, of the queries that have begun and not ended."""
        return tuple(query_id for query_id, query in self.bound.copy().items() if not query.over)

    def call(self, rpc: Rpc) -> Flow[Any]:
        """Carry out one RPC of the application; the result is the message for it.

        Raises:
            QueryLost: the query cannot be finished, and must not be run again.
            StrategyUnavailable: neither strategy can be used, or not within the application's deadline.
            ValueError: the link is closed.

        Any other status of the server is raised as the driver got it.
        """
        return (yield from self._raising(self._called(rpc), rpc))

    def streamed(self, rpc: Rpc, message: Any) -> Any:
        """Take note of a further message of a stream that `call` began; return it for the application."""
        query = self._query_of(rpc)
        place = query.place if query is not None else None
        if query is not None and place is not None:
            self._wire.learned(message, place.session, rpc.version)
            self.repairs.progressed(rpc, query, message)
        return self._wire.masked(message)

    def broken(self, rpc: Rpc, failure: Failure) -> Flow[Any]:
        """A stream that `call` began has failed: begin it again if the query's machine allows it.

        Raises as `call` does.
        """
        return (yield from self._raising(self._broken(rpc, failure), rpc))

    def enter(self, rpc: Rpc) -> None:
        """Take note of which query the thread or task that calls works with; see `running`."""
        if rpc.method.role is Role.BEGIN:
            running.works_with(self.manager.scope)
        elif rpc.method.role in (Role.USE, Role.END) and (query := self._query_of(rpc)) is not None:
            running.works_with(self.manager.scope, query)

    def close(self) -> None:
        """End every ticket of this connection: nobody can use them any more."""
        self._closed = True
        for query in tuple(self.bound.values()):
            self.repairs.finish(query, Cancelled())
        self.bound.clear()
        self._sessions.forget()

    # Roles.

    def _called(self, rpc: Rpc) -> Flow[Any]:
        if self._closed:
            raise ValueError("Cannot invoke RPC: the channel is closed")
        query = self._query_of(rpc)
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

    def _authenticate(self, rpc: Rpc) -> Flow[Any]:
        """The application authenticates: open a session where new queries go, and hide which one it is."""
        self._sessions.authenticate_with(copy.deepcopy(rpc.request), rpc.metadata)
        self.manager.send(ConnectionOpened())
        with self._momentary(rpc) as query:
            try:
                place = yield from self.repairs.placed(query)
            except NotAccepted as refused:
                if isinstance(refused.outcome, Reply):  # the server said no in a message: that is the answer
                    return self._wire.masked(refused.outcome.message)
                raise
            yield from self._sessions.warmed()
            return self._wire.masked(place.session.answer)

    def _begin(self, rpc: Rpc) -> Flow[Any]:
        """A query begins. Until it has its id, a refusal means that it begins again elsewhere."""
        query = self._query(rpc.kept(self.protocol.proof_keys))
        if running.is_asked():
            running.begun(query)
        with self.repairs.guarded(query):
            message = yield from self.repairs.prepared(query, rpc)
        real = read(message, self.protocol.query)
        if not real:  # the server has answered, but has begun nothing
            self.repairs.finish(query, Cleared())
            return self._wire.masked(message)
        watched = self._registered(query, real)
        if self.manager.observed and statements.is_told():
            self._told(query)
        yield from self._sessions.warmed()
        setattr(message, self.protocol.query, watched)
        return Begun(self._wire.masked(message), self.protocol.query, watched)

    def _registered(self, query: Query, real: str) -> QueryId:
        """Make the query known under an id of its own, and notice when the application lets that go."""
        query.public_id = real
        if self.bound.setdefault(real, query) is not query:  # both stacks may count from one
            query.public_id = f"{real}~{query.ticket.query if query.ticket is not None else 0}"
            self.bound[query.public_id] = query
        watched = QueryId(query.public_id)
        weakref.finalize(watched, _let_go, weakref.ref(self), query.public_id).atexit = False
        return watched

    def _told(self, query: Query) -> None:
        """Tell what the query runs, where the application has asked for that."""
        statement = statements.shown(read(query.begin.request, self.protocol.statement))
        if statement is not None and query.ticket is not None and query.public_id is not None:
            manager = self.manager
            manager.report(
                QueryBegun(manager.scope, manager.now_s(), query.public_id, query.ticket, statement)
            )

    def _use(self, rpc: Rpc, query: Query, failed: Failure | None = None) -> Flow[Any]:
        """An RPC of a query: to its own stack, whatever has happened to the cluster since."""
        while True:
            with self.repairs.executing(rpc, query):
                place = yield from self.repairs.place_of(query)
                outcome: Outcome = failed or (yield from self._wire.sent(rpc, query, place))
                done = yield from self._answered(rpc, query, place, outcome)
            if done is not None:
                yield from self._sessions.warmed()
                return self._wire.masked(done.message)
            failed = None

    def _answered(self, rpc: Rpc, query: Query, place: Place, outcome: Outcome) -> Flow[Reply | None]:
        """Take note of an answer, and return it; return none if the RPC is to be sent again: if the query
        had to be begun anew after a failure, or has been meanwhile, so that rows would be handed out twice.
        """
        if isinstance(outcome, Reply):
            with query.held_at(place) as unmoved:
                if unmoved or rpc.method.effect != "fetched":
                    self.repairs.progressed(rpc, query, outcome.message)
                    return outcome
            return None
        if self.repairs.goes_on(outcome, rpc):
            raise outcome.cause
        executes = rpc.method.effect == "executed"
        yield from self.repairs.claimed(
            query, whoever_executes=executes or not self.repairs.repairable(outcome)
        )
        try:
            if query.generation == place.generation:  # otherwise another thread has repaired it
                replay = self.repairs.replay_of(query, outcome, rpc)
                with self.repairs.guarded(query):
                    yield from self.repairs.replayed(query, replay, rpc)
        finally:
            query.release()
        return None

    def _end(self, rpc: Rpc, query: Query) -> Flow[Any]:
        """The application frees the query. If its stack is gone, so is the query: that is no error."""
        yield from self.repairs.claimed(query, whoever_executes=True)
        try:
            place, outcome = query.place, None
            if place is not None and place.query_id is not None and not query.cleared:
                outcome = yield from self._wire.sent(rpc, query, place)
            if isinstance(outcome, Failure):
                fault = self._wire.fault(outcome)
                if fault in (Fault.ANSWER, Fault.AMBIGUOUS):
                    self.repairs.finish(query, Errored())
                if fault in (Fault.ANSWER, Fault.AMBIGUOUS, Fault.UNSUPPORTED):
                    raise outcome.cause
            yield from self._sessions.warmed()  # before the ticket ends, and with it the transition
            cancelled = rpc.method.effect == "cancelled"
            self.repairs.finish(query, Cancelled() if cancelled else Cleared())
            query.cleared = query.cleared or not cancelled
        finally:
            query.release()
        if isinstance(outcome, Reply):
            return self._wire.masked(outcome.message)
        blank = yield Blank(rpc.name)
        if blank is None:
            raise self.repairs.lost(query, "it is not on any stack")
        return blank

    def _free(self, rpc: Rpc) -> Flow[Any]:
        """An RPC without a query is a query of one RPC: it has a ticket while it runs."""
        with self._momentary(rpc) as query:
            while True:
                place = yield from self.repairs.placed(query)
                outcome = yield from self._wire.sent(rpc, query, place)
                if isinstance(outcome, Reply):
                    yield from self._sessions.warmed()  # before the ticket ends, and with it the transition
                    return self._wire.masked(outcome.message)
                if self._wire.fault(outcome) is Fault.GONE:  # a query that was never begun here
                    raise outcome.cause
                self.repairs.replay_of(query, outcome, rpc)

    def _broken(self, rpc: Rpc, failure: Failure) -> Flow[Any]:
        query, fault = self._query_of(rpc), self._wire.fault(failure)
        if query is None or query.ticket is None:
            if fault in (Fault.WRONG_STRATEGY, Fault.NOT_AUTHENTICATED):
                raise self.repairs.unavailable(f"the stream was broken off: {fault.value}") from failure.cause
            raise failure.cause
        if fault is Fault.WRONG_STRATEGY:
            self._wire.report(Error456(query.ticket.strategy, rpc.version))
        return (yield from self._use(rpc, query, failure))

    # Steps of those.

    def _raising(self, flow: Flow[Any], rpc: Rpc) -> Flow[Any]:
        """Drive `flow` until the application's deadline, and raise what the application is to get."""
        try:
            return (yield from (flow if rpc.deadline_s is None else in_time(flow, rpc)))
        except NotAccepted as refused:
            if isinstance(refused.outcome, Failure):
                raise refused.outcome.cause from None
            raise self.repairs.unavailable("the credentials are not accepted") from None
        except TooLate:
            raise self.repairs.unavailable("no strategy within the deadline of the call") from None
        except StrategyUnavailable as error:
            raise self.repairs.translated(error) from error.__cause__

    def _query_of(self, rpc: Rpc) -> Query | None:
        return self.bound.get(read(rpc.request, self.protocol.query) or "")

    def _query(self, rpc: Rpc) -> Query:
        statement = read(rpc.request, self.protocol.statement)
        reads = isinstance(statement, str) and only_reads(statement)
        return Query(rpc, reads, self.manager.settings.replay)

    @contextmanager
    def _momentary(self, rpc: Rpc) -> Generator[Query, None, None]:
        """A query that lasts as long as this context: for an RPC that belongs to none."""
        query = self._query(rpc)
        with self.repairs.guarded(query):
            yield query
        self.repairs.finish(query, Cleared())


def _let_go(owner: Callable[[], Link | None], public_id: str) -> None:
    """The application has let a query go. Runs in a finalizer, so it takes no lock and sends nothing."""
    link = owner()
    query = link.bound.pop(public_id, None) if link is not None else None
    if link is not None and query is not None:
        link.repairs.abandon(query)


_RAISED: Final = Raised()
