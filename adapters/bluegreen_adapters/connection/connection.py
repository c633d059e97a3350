"""A connection to which its cluster appears never to switch: what its channel does, without I/O.

Every method of a `Connection` is a flow, or takes no time: `grpc.channel` and `grpc.aio` drive it. What may be
repaired is decided by the query machine.

Source: spec, section 3, and the protocol description.
"""

from __future__ import annotations

import copy
import functools
import logging
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final

import attrs

from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.query import Cancelled, Cleared, Errored, Executed
from bluegreen.machines.strategy.events import ConnectionOpened, Error456
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Flow
from bluegreen.runtime.telemetry import QueryBegun
from bluegreen.types import Strategy
from bluegreen_adapters.connection import current_query, statement_logging
from bluegreen_adapters.connection.acceptance import record_of
from bluegreen_adapters.connection.evidence import Fault, Request
from bluegreen_adapters.connection.protocol import Credentials, Protocol, Role, read
from bluegreen_adapters.connection.query import BeginReply, Placement, Query, QueryId, RowCollection, Rpc
from bluegreen_adapters.connection.recovery import ErrorTypes, QueryRecovery
from bluegreen_adapters.connection.requests import Blank, Failure, Outcome, Reply, launched_outcome
from bluegreen_adapters.connection.session_pool import NotAccepted
from bluegreen_adapters.connection.transport import RpcTransport, TooLate, in_time
from bluegreen_adapters.sql.classifier import SqlClassifier

__all__ = ["Blank", "Connection", "ErrorTypes"]

_log = logging.getLogger("bluegreen.link")

_UNFREED_LIMIT: Final = 256
"""Longest list of dropped queries of a connection; the oldest ones are left to their stack's own limits."""

_FREEING_AT_ONCE: Final = 32
"""How many of them a connection frees at the same time."""

_FREEING_TRIES: Final = 3
"""How many attempts to free a query the transport may fail; then the query is left to its stack's own limits."""


@attrs.frozen
class _Unfreed:
    """A query that a stack still holds, although the application has dropped it.

    Args:
        begin: the RPC that began it. The query itself is not held, so that it is collected.
        place: where it is.
        tries: attempts to free it that are left.
    """

    begin: Rpc
    place: Placement
    tries: int = _FREEING_TRIES


class Connection:
    """One connection: its sessions, its queries and the RPCs of the application.

    Args:
        manager: the manager of the connection's scope.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default the application's last one is kept.
        raised: the exceptions that the application gets.
    """

    __slots__ = (
        "__weakref__", "_closed", "_freeing", "_unfreed", "_wire", "bound", "manager", "protocol", "raised", "repairs",
        "sessions",
    )  # fmt: skip  # an application may have many connections

    def __init__(
        self,
        manager: StrategyManager,
        protocol: Protocol,
        *,
        credentials: Credentials | None = None,
        raised: ErrorTypes | None = None,
    ) -> None:
        self.manager = manager
        self.raised = raised or _RAISED
        self._wire = RpcTransport(manager, protocol, credentials)
        self.protocol = self._wire.protocol  # with the forms that the settings add
        self.sessions = self._wire.sessions
        self.repairs = QueryRecovery(self._wire, self.raised)
        self.bound: dict[str, Query] = {}
        # Queries that the application has dropped, and that their stacks still hold. Finalizers append, which takes no
        # lock; the next RPC of this connection frees them.
        self._unfreed: list[_Unfreed] = []
        self._freeing = 0
        self._closed = False
        record_of(manager).connections.add(self)
        if self.protocol.reads is None and self.protocol.queries:
            _preload(self.protocol.classifier)  # not in the middle of a replay

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
        """Observe a further message of a stream that `call` began; return it for the application."""
        query = self._query_of(rpc) or _held_by(rpc)
        place = query.place if query is not None else None
        if query is not None and place is not None:
            self._wire.observe_reply(message, place.session, rpc.state_version)
            self.repairs.progressed(rpc, query, message)
        return self._wire.strip_internal_fields(message)

    def broken(self, rpc: Rpc, failure: Failure) -> Flow[Any]:
        """A stream that `call` began has failed: begin it again if the query's machine allows it.

        Raises as `call` does.
        """
        return (yield from self._raising(self._broken(rpc, failure), rpc))

    def ended(self, rpc: Rpc) -> None:
        """The stream that `call` began is over, whatever the reason: end the ticket that it holds, if it holds one."""
        if (query := _held_by(rpc)) is not None:
            self.repairs.finish(query, Cleared())

    def let_go(self, rpc: Rpc) -> None:
        """Do what `ended` does, from a finalizer: take no lock."""
        if (query := _held_by(rpc)) is not None and not query.over:
            self.repairs.abandon(query)

    def enter(self, rpc: Rpc) -> None:
        """Take note of which query the thread or task that calls works with; see `running`."""
        if rpc.method.role is Role.BEGIN:
            current_query.works_with(self.manager.scope)
        elif rpc.method.role in (Role.USE, Role.END) and (query := self._query_of(rpc)) is not None:
            current_query.works_with(self.manager.scope, query)

    def close(self) -> None:
        """End every ticket of this connection, and accept no further call."""
        self._closed = True
        for query in tuple(self.bound.values()):
            self.repairs.finish(query, Cancelled())
        self.bound.clear()
        self.sessions.forget()
        record_of(self.manager).connections.discard(self)

    # What other connections of the scope look at: see `acceptance.Voucher`.

    @property
    def public_id(self) -> str:
        """The session id that the application sees."""
        return self.sessions.public_id

    def accepted_at(self, strategy: Strategy) -> float | None:
        """Return when this strategy last accepted the connection; None: never, or it has refused it since."""
        return self.sessions.accepted_at(strategy)

    # Roles.

    def _called(self, rpc: Rpc) -> Flow[Any]:
        if self._closed:
            raise ValueError("Cannot invoke RPC: the channel is closed")
        if self._unfreed:
            yield from self._free_unfreed(rpc)
        query = self._query_of(rpc)
        if query is not None:
            self.repairs.begin_wait(query)
        match rpc.method.role:
            case Role.AUTHENTICATE:
                return (yield from self._authenticate(rpc))
            case Role.BEGIN:
                return (yield from self._begin(rpc))
            case Role.USE if query is not None:
                return (yield from self._use(rpc, query))
            case Role.END if query is not None:
                return (yield from self._end(rpc, query))
            case Role.USE | Role.END:
                return (yield from self._of_another(rpc))
            case Role.FREE:
                return (yield from self._free(rpc))

    def _authenticate(self, rpc: Rpc) -> Flow[Any]:
        """The application authenticates: open a session where new queries go, and hide which one it is."""
        self.sessions.authenticate_with(copy.deepcopy(rpc.request), rpc.metadata, rpc.options)
        self.manager.send(ConnectionOpened())
        with self._momentary(rpc) as query:
            try:
                place = yield from self.repairs.place_query(query)
            except NotAccepted as refused:
                if isinstance(refused.outcome, Reply):  # the server said no in a message: that is the answer
                    return self._wire.strip_internal_fields(refused.outcome.message)
                raise
            yield from self.sessions.prewarm()
            return self._wire.strip_internal_fields(place.session.answer)

    def _begin(self, rpc: Rpc) -> Flow[Any]:
        """A query begins. Until it has its id, a refusal means that it begins again elsewhere."""
        query = self._query(rpc.kept(self.protocol.proof_keys))
        if current_query.is_asked():
            current_query.note_begin(query)
        with self._answering(query), self.repairs.guarded(query):
            message = yield from self.repairs.prepared(query, rpc)
        if self.protocol.kind(rpc.name) is Request.EXECUTE:  # its begin has executed it
            self.repairs.stepped(query, Executed())
        real = read(message, self.protocol.query)
        if not real and rpc.stream is not None and message is not None:
            rpc.stream.query = query  # its ticket is held until the stream has ended
            return self._wire.strip_internal_fields(message)
        if not real:  # the server has answered, but has begun nothing
            self.repairs.finish(query, Cleared())
            return self._wire.strip_internal_fields(message)
        watched = self._registered(query, real)
        if self.manager.observed and statement_logging.is_told():
            self._report_begin(query)
        yield from self.sessions.prewarm()
        setattr(message, self.protocol.query, watched)
        return BeginReply(self._wire.strip_internal_fields(message), self.protocol.query, watched)

    def _registered(self, query: Query, real: str) -> QueryId:
        """Make the query known under an id of its own, and notice when the application lets that go."""
        query.public_id = real
        if self.bound.setdefault(real, query) is not query:  # both stacks may count from one
            query.public_id = f"{real}~{query.ticket.query if query.ticket is not None else 0}"
            self.bound[query.public_id] = query
        watched = QueryId(query.public_id)
        weakref.finalize(watched, _let_go, weakref.ref(self), query.public_id).atexit = False
        return watched

    def _report_begin(self, query: Query) -> None:
        """Tell what the query runs, where the application has asked for that."""
        statement = statement_logging.loggable_statement(read(query.begin.request, self.protocol.statement))
        if statement is not None and query.ticket is not None and query.public_id is not None:
            manager = self.manager
            manager.report(
                QueryBegun(manager.scope, manager.now_s(), query.public_id, query.ticket, statement)
            )

    def _use(self, rpc: Rpc, query: Query, failed: Failure | None = None) -> Flow[Any]:
        """An RPC of a query: to its own stack, whatever has happened to the cluster since."""
        collection = query.collection if rpc.method.effect == "fetched" else None
        while True:
            with self.repairs.executing(rpc, query):
                place = yield from self.repairs.place_of(query)
                if collection is not None and collection.is_void:  # it must not take rows of the new run
                    raise self.repairs.discarded(query)
                outcome: Outcome = failed or (yield from self._wire.send(rpc, query, place))
                done = yield from self._answered(rpc, query, place, outcome, collection)
            if done is not None:
                yield from self.sessions.prewarm()
                return self._wire.strip_internal_fields(done.message)
            failed = None

    def _answered(
        self, rpc: Rpc, query: Query, place: Placement, outcome: Outcome, collection: RowCollection | None
    ) -> Flow[Reply | None]:
        """Take note of an answer, and return it; return none if the RPC is to be sent again: if the query
        had to be begun anew after a failure, or has been meanwhile, so that rows would be handed out twice.
        """
        if isinstance(outcome, Reply):
            with query.held_at(place) as unmoved:
                if unmoved or rpc.method.effect != "fetched":
                    self.repairs.progressed(rpc, query, outcome.message, collection)
                    return outcome
            return None
        if outcome.then == "continue":
            raise outcome.cause
        executes = rpc.method.effect == "executed"
        yield from self.repairs.claim_query(query, whoever_executes=executes or outcome.then == "answer")
        try:
            if query.generation != place.generation:  # another thread has repaired it
                if not outcome.may_resend:
                    raise outcome.cause
            else:
                replay = yield from self.repairs.replay_of(query, outcome)
                with self.repairs.guarded(query):
                    yield from self.repairs.replayed(query, replay, rpc)
                self._leave_to_be_freed(query)
        finally:
            query.release()
        return None

    def _end(self, rpc: Rpc, query: Query) -> Flow[Any]:
        """Free a query. Report success only if a stack has answered, or the query's stack is gone."""
        yield from self.repairs.claim_query(query, whoever_executes=True)
        try:
            place, outcome = query.occupied, None
            if place is not None and not query.cleared:
                outcome = yield from self._wire.send(rpc, query, place)
            if isinstance(outcome, Failure) and outcome.then != "ended":
                if outcome.then != "continue":
                    self.repairs.finish(query, Errored())
                raise outcome.cause
            yield from self.sessions.prewarm()  # before the ticket ends, and with it the transition
            cancelled = rpc.method.effect == "cancelled"
            self.repairs.finish(query, Cancelled() if cancelled else Cleared())
            query.cleared = query.cleared or not cancelled
        finally:
            query.release()
        return (yield from self._end_answered(rpc, outcome, query))

    def _end_answered(self, rpc: Rpc, outcome: Outcome | None, query: Query) -> Flow[Any]:
        """Return what the application gets for a query that has ended: an empty response if no stack made one."""
        if isinstance(outcome, Reply):
            return self._wire.strip_internal_fields(outcome.message)
        blank = yield Blank(rpc.name)
        if blank is None:
            raise self.repairs.lost(query, "it is not on any stack")
        return blank

    def _of_another(self, rpc: Rpc) -> Flow[Any]:
        """Send an RPC with the id of a query that this connection has not begun to where that query is.

        Raises:
            StrategyUnavailable: no connection of the scope knows the id, and both stacks hold work: to end it might
                hit another query.
        """
        if not read(
            rpc.request, self.protocol.query
        ):  # it names no query, so there is nothing to try again for
            return (
                yield from self._free(attrs.evolve(rpc, method=attrs.evolve(rpc.method, repeatable=False)))
            )
        found = self._found_in_scope(rpc)
        if len(found) == 1:
            ((owner, query),) = found
            place = query.look()
            if isinstance(place, Placement) and place.query_id is not None:
                return (yield from self._for_another(rpc, owner, query, place))
        if rpc.method.role is Role.END:
            context = self.manager.snapshot.context
            stacks = {one for one in Strategy if context.open_on(one)} | {context.route}
            if len(stacks - {None}) > 1:
                raise self.repairs.unavailable(
                    f"{rpc.name} was not sent: no connection of this process knows the query "
                    f"{read(rpc.request, self.protocol.query)!r}, and blue and green may each hold one with that id"
                )
        return (yield from self._free(rpc))

    def _found_in_scope(self, rpc: Rpc) -> list[tuple[Connection, Query]]:
        """Return the queries of other connections that an RPC may mean, with their connections."""
        query_id, engine = (read(rpc.request, field) for field in (self.protocol.query, self.protocol.engine))
        others = links_of(self.manager)
        found = [(one, query) for one in others if (query := one.bound.get(query_id or "")) is not None]
        if len(found) > 1 and engine:  # both stacks may count from one: the engine's address tells them apart
            found = [
                (one, query)
                for one, query in found
                if query.place is not None and query.place.engine == engine
            ]
        return found

    def _for_another(self, rpc: Rpc, owner: Connection, query: Query, place: Placement) -> Flow[Any]:
        """Send an RPC to the stack of another connection's query.

        A connection of the same user lends its session: a stack that drains opens no new one. Any other connection
        needs a session of its own, so that the server decides what it may do.
        """
        self.repairs.begin_wait(query)
        strategy, session = place.ticket.strategy, self.sessions.on(place.ticket.strategy)
        if session is None and self.sessions.is_same_user(owner.sessions):
            session = place.session
        if session is None:
            try:
                session = yield from self.sessions.session_for(strategy, is_witness=False)
            except NotAccepted as refused:
                if refused.evidence.then == "refused":  # a 456 is never shown
                    reason = (
                        f"{rpc.name} was not sent: {strategy}, where the query runs, opens no new session"
                    )
                    raise self.repairs.unavailable(reason) from refused.refusal
                raise
        here = attrs.evolve(place, session=session)
        outcome: Outcome = yield from self._wire.send(rpc, query, here, can_move=False)
        ends = rpc.method.role is Role.END
        if isinstance(outcome, Failure) and not (ends and outcome.then == "ended"):
            raise outcome.cause
        if ends:
            owner.repairs.finish(query, Cancelled() if rpc.method.effect == "cancelled" else Cleared())
            return (yield from self._end_answered(rpc, outcome, query))
        assert isinstance(outcome, Reply)
        owner.repairs.progressed(rpc, query, outcome.message)
        return self._wire.strip_internal_fields(outcome.message)

    def _free(self, rpc: Rpc) -> Flow[Any]:
        """An RPC without a query is a query of one RPC: it has a ticket while it runs, a stream until it has ended."""
        query = self._query(rpc)
        with self.repairs.guarded(query):
            while True:
                place = yield from self.repairs.place_query(query)
                outcome = yield from self._wire.send(rpc, query, place)
                if isinstance(outcome, Reply):
                    yield from self.sessions.prewarm()  # before the ticket ends, and with it the transition
                    break
                if (
                    outcome.then in ("ended", "continue") or outcome.fault is Fault.GONE
                ):  # it was never begun here
                    raise outcome.cause
                yield from self.repairs.replay_of(query, outcome)
        if rpc.stream is not None and outcome.message is not None:
            rpc.stream.query = query
        else:
            self.repairs.finish(query, Cleared())
        return self._wire.strip_internal_fields(outcome.message)

    def _broken(self, rpc: Rpc, failure: Failure) -> Flow[Any]:
        query, held = self._query_of(rpc), _held_by(rpc)
        judged = yield from self._wire.judge_stream(rpc, query, failure)
        owner = query or held
        if owner is not None:
            self.repairs.begin_wait(owner)
        if owner is not None and owner.ticket is not None and judged.fault is Fault.WRONG_STRATEGY:
            self._wire.report(Error456(owner.ticket.strategy, rpc.state_version))
        if query is not None and query.ticket is not None:
            return (yield from self._use(rpc, query, judged))
        if held is not None:
            self.repairs.finish(held, Errored())
        if judged.then == "refused":  # rows may have been handed out, and a 456 is never shown
            raise self.repairs.unavailable(
                f"the stream was broken off: {judged.fault.value}"
            ) from failure.cause
        raise failure.cause

    # Queries that the application has dropped, or that were begun again elsewhere.

    def drop(self, public_id: str) -> None:
        """Abandon a query, and have it freed with the next RPC. Takes no lock and sends nothing."""
        query = self.bound.pop(public_id, None)
        if query is None:
            return
        place = query.occupied
        if not query.cleared and place is not None:
            self._note_unfreed(query, place)
        self.repairs.abandon(query)

    def end_freeing(self, unfreed: _Unfreed, outcome: Outcome | None) -> None:
        """Count an attempt to free a query as ended; repeat it if its evidence allows that. Takes no lock.

        A lost update of the count only delays the next attempt.
        """
        self._freeing -= 1
        if not isinstance(outcome, Failure) or unfreed.tries <= 1:
            return
        if self.protocol.judge(outcome.code, outcome.details, Request.END).again == "backoff":
            self._unfreed.append(attrs.evolve(unfreed, tries=unfreed.tries - 1))

    def _leave_to_be_freed(self, query: Query) -> None:
        """Have a query freed where the transport failed it, now that it runs elsewhere."""
        left, query.left = query.left, None
        if left is not None:
            self._note_unfreed(query, left)

    def _note_unfreed(self, query: Query, place: Placement) -> None:
        """Have a query freed at `place`. Takes no lock: finalizers call it."""
        self._unfreed.append(_Unfreed(query.begin, place))
        del self._unfreed[:-_UNFREED_LIMIT]

    def _free_unfreed(self, rpc: Rpc) -> Flow[None]:
        """Begin to free dropped queries, without waiting for it. Best effort: what fails is tried again a few times.

        Args:
            rpc: the RPC before which this happens; it brings what proves who the application is.
        """
        for _ in range(min(len(self._unfreed), _FREEING_AT_ONCE - self._freeing)):
            try:
                unfreed = self._unfreed.pop(0)
            except IndexError:  # another thread frees the last one
                return
            self._freeing += 1
            begun: Any = None
            try:
                begun = yield from self._wire.freed(rpc, unfreed.begin, unfreed.place)
            finally:
                if begun is None:
                    self._freeing -= 1
            if begun is not None:
                begun.add_done_callback(_freed(weakref.ref(self), unfreed))

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
        query = Query(rpc, self.protocol.only_reads, self.manager.settings.replay)
        self.repairs.begin_wait(query)
        return query

    @contextmanager
    def _answering(self, query: Query) -> Generator[None, None, None]:
        """If no stack takes a query, raise the answer to its begin that was only suspected to be a refusal."""
        try:
            yield
        except (StrategyUnavailable, NotAccepted):
            if query.suspected is not None:
                raise query.suspected from None
            raise

    @contextmanager
    def _momentary(self, rpc: Rpc) -> Generator[Query, None, None]:
        """A query that lasts as long as this context: for an RPC that belongs to none."""
        query = self._query(rpc)
        with self.repairs.guarded(query):
            yield query
        self.repairs.finish(query, Cleared())


def links_of(manager: StrategyManager) -> tuple[Connection, ...]:
    """Return the connections that a scope has in this process, so that a query's id is known in all of it."""
    return tuple(one for one in record_of(manager).connections if isinstance(one, Connection))


def _let_go(owner: Callable[[], Connection | None], public_id: str) -> None:
    """Abandon a query that the application has dropped. Runs in a finalizer."""
    link = owner()
    if link is not None:
        link.drop(public_id)


def _freed(owner: Callable[[], Connection | None], unfreed: _Unfreed) -> Callable[[Future[Outcome]], None]:
    """Return a callback that records how an attempt to free a query has ended."""

    def freed(done: Future[Outcome]) -> None:
        connection = owner()
        if connection is not None:
            connection.end_freeing(unfreed, launched_outcome(done))

    return freed


@functools.cache
def _preload(classifier: SqlClassifier) -> None:
    """Load a classifier's parser, once in a process."""
    classifier.preload()


def _held_by(rpc: Rpc) -> Query | None:
    """Return the query of a stream that belongs to no other one."""
    return rpc.stream.query if rpc.stream is not None else None


_RAISED: Final = ErrorTypes()
