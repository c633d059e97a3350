"""How a query gets to a stack, and what becomes of it if an RPC of it fails: its machine is asked, and what
the machine answers is carried out behind the ids that the application already holds.

Source: spec, section 3.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

import attrs

from bluegreen.alphabet import Error456, PersistentFailure, QueryCancelled
from bluegreen.errors import EventForbidden, QueryLost, Refusal, StrategyUnavailable
from bluegreen.flow import Flow, Wait
from bluegreen.happenings import LossReported, QueryReplayed
from bluegreen.manager import StrategyManager
from bluegreen.query import (
    BatchFetched,
    Doubt,
    Errored,
    Executed,
    Exhausted,
    Prepared,
    QueryEvent,
    Refused456,
    Replay,
)
from bluegreen.vocabulary import Ticket
from bluegreen_adapters.commands import Failure, Outcome, Reply
from bluegreen_adapters.protocol import Fault, Role, read
from bluegreen_adapters.queries import Place, Query, Rpc, Settled
from bluegreen_adapters.wire import Wire


@attrs.frozen
class Raised:
    """Which exceptions the application gets; an adapter derives its own from ours and from its driver's."""

    lost: type[QueryLost] = QueryLost
    unavailable: type[StrategyUnavailable] = StrategyUnavailable


class _Tickets(dict[int, Ticket]):
    """The open tickets of a connection, by number. They are abandoned when it is let go with everything that it has."""

    __slots__ = ("_manager",)

    def __init__(self, manager: StrategyManager) -> None:
        super().__init__()
        self._manager = manager

    def __del__(self) -> None:
        if self and not sys.is_finalizing():
            for ticket in tuple(self.values()):
                self._manager.abandon(ticket)


class Repairs:
    """What is done about the queries of one connection.

    Args:
        wire: how the connection speaks to the stacks.
        raised: the exceptions that the application gets.

    Attributes:
        open: the tickets of this connection that are open, by number.
    """

    __slots__ = ("_manager", "_protocol", "_raised", "_wire", "open")

    def __init__(self, wire: Wire, raised: Raised) -> None:
        self.open = _Tickets(wire.manager)
        self._wire = wire
        self._raised = raised
        self._manager = wire.manager
        self._protocol = wire.protocol

    def placed(self, query: Query) -> Flow[Place]:
        """Give the query a ticket, and a session on the ticket's strategy.

        Raises:
            StrategyUnavailable: no strategy can be used.
            NotAccepted: no strategy accepts the connection's credentials.
            QueryLost: the query has been ended meanwhile.
        """
        sessions = self._wire.sessions
        while True:
            ticket = yield from self._manager.starting(sessions.proved, weakref.ref(query))
            if not query.takes(ticket):
                self._manager.end(QueryCancelled(ticket))
                raise self.lost(query, "it was ended while it was begun again")
            self.open[ticket.query] = ticket
            version = self._manager.version
            try:
                return query.settles(
                    sessions.on(ticket.strategy) or (yield from sessions.given(ticket.strategy))
                )
            except Refusal as refusal:
                wrong = refusal.wrong_strategy
                self._wire.report((Error456 if wrong else PersistentFailure)(ticket.strategy, version))
                settled = self.stepped(query, Refused456() if wrong else Errored("harmless"))
                if settled.replay is None:
                    raise self.unavailable(f"{ticket.strategy} accepts no session: {refusal}") from refusal

    def prepared(self, query: Query, rpc: Rpc) -> Flow[Any]:
        """Begin the query where new queries go, and again elsewhere as long as its machine allows it.

        Args:
            rpc: the RPC on whose behalf this happens.
        """
        while True:
            place = yield from self.placed(query)
            outcome: Outcome = yield from self._wire.sent(query.begin.on_behalf_of(rpc), query, place)
            if isinstance(outcome, Reply):
                query_id = read(outcome.message, self._protocol.query)
                query.is_known_as(query_id, read(outcome.message, self._protocol.engine) or "")
                self.stepped(query, Prepared(query_id))
                if query.over:
                    raise self.lost(query, "it was ended while it was begun again")
                return outcome.message
            self.replay_of(query, outcome, query.begin)

    def replayed(self, query: Query, replay: Replay, rpc: Rpc) -> Flow[None]:
        """Bring the query to where it was, on the right strategy."""
        while True:
            yield from self.prepared(query, rpc)
            if not replay.execute:
                return
            execution, place = query.execution, query.place
            assert execution is not None
            assert place is not None
            outcome: Outcome = yield from self._wire.sent(execution.on_behalf_of(rpc), query, place)
            if isinstance(outcome, Reply):
                self.stepped(query, Executed())
                return
            self.replay_of(query, outcome, execution)

    def goes_on(self, failure: Failure, rpc: Rpc) -> bool:
        """Whether a query goes on after a failure as if nothing had happened: the application has given up
        waiting for the answer, or has asked for something that this server does not have."""
        fault = self._wire.fault(failure)
        given_up = fault is Fault.AMBIGUOUS and not failure.harmless and rpc.method.effect != "executed"
        return given_up or fault is Fault.UNSUPPORTED

    def repairable(self, failure: Failure) -> bool:
        """Whether anything can be done about a failure: the server's own answer stands."""
        repairable = (Fault.WRONG_STRATEGY, Fault.GONE, Fault.TRANSIENT, Fault.AMBIGUOUS)
        return self._wire.fault(failure) in repairable

    def replay_of(self, query: Query, failure: Failure, rpc: Rpc) -> Replay:
        """Ask the query's machine what a failure means: return the replay that it allows, or raise.

        Raises:
            QueryLost: nothing may be done about it.
            StrategyUnavailable: nobody takes it, and it has not begun.

        Or the server's own answer, as the driver got it.
        """
        fault = self._wire.fault(failure)
        if fault is Fault.GONE and query.over:  # the application has ended it: the server is right
            raise failure.cause
        vanished = fault in (Fault.WRONG_STRATEGY, Fault.GONE)
        doubt = _doubt(fault, failure, rpc, query)
        ticket = query.ticket
        settled = self.stepped(query, Refused456() if vanished else Errored(doubt))
        if settled.replay is not None:
            if self._manager.observed and ticket is not None:
                scope, now_s, executes = self._manager.scope, self._manager.now_s(), settled.replay.execute
                again = QueryReplayed(scope, now_s, query.public_id, ticket, executes, fault.value)
                self._manager.report(again)
            return settled.replay
        if query.public_id is None and (fault is Fault.WRONG_STRATEGY or doubt == "harmless"):
            # Nothing has begun, so nothing is lost.
            raise self.unavailable("neither strategy takes the request") from failure.cause
        if settled.lost is not None:
            raise self.lost(query, settled.lost) from failure.cause
        if vanished or fault is Fault.NOT_AUTHENTICATED:
            # Never the status itself: who sees it above might run the whole query again.
            raise self.lost(query, f"its stack answers: {fault.value}") from failure.cause
        raise failure.cause

    def stepped(self, query: Query, event: QueryEvent) -> Settled:
        """Take a step of the query's machine, and end the tickets that it ends."""
        settled, ends = query.advance(event)
        for end in ends:
            self.open.pop(end.event.ticket.query, None)
            self._manager.end(end.event)
        return settled

    def progressed(self, rpc: Rpc, query: Query, message: Any) -> None:
        """Tell the query's machine what an answer means."""
        method = rpc.method
        with contextlib.suppress(EventForbidden):  # an order that only the server can judge: it has answered
            if method.effect == "executed":
                query.execution = rpc.kept(self._protocol.proof_keys)
                self.stepped(query, Executed())
            elif method.effect == "fetched":
                rows = any(read(message, field) for field in method.rows)
                self.stepped(query, BatchFetched(rows))
                if read(message, method.done) if method.done else not rows:
                    self.stepped(query, Exhausted())

    @contextlib.contextmanager
    def guarded(self, query: Query) -> Generator[None, None, None]:
        """End the query if this context is left by an error."""
        try:
            yield
        except GeneratorExit:  # nobody drives the flow any more, and a finalizer must take no lock
            self.abandon(query)
            raise
        except BaseException:
            self.finish(query, Errored())
            raise

    @contextlib.contextmanager
    def executing(self, rpc: Rpc, query: Query) -> Generator[None, None, None]:
        """Mark that `rpc` executes the query, if it does; if it is broken off, nobody knows what it did."""
        if rpc.method.effect != "executed":
            yield
            return
        with query.executing(), self.guarded(query):
            yield

    def place_of(self, query: Query) -> Flow[Place]:
        """Return where the query runs, as soon as nobody moves or ends it.

        Raises:
            QueryLost: it runs nowhere.
        """
        while isinstance(place := query.look(), Future):
            yield from self._waited(place)
        if place is None or place.query_id is None:
            raise self.lost(query, "it could not be begun again")
        return place

    def claimed(self, query: Query, *, whoever_executes: bool) -> Flow[None]:
        """Claim the query, as soon as nobody else has it."""
        while (blocked_by := query.claim(whoever_executes=whoever_executes)) is not None:
            yield from self._waited(blocked_by)

    def _waited(self, other: Future[None]) -> Flow[None]:
        """Wait for another RPC of the same query, as long as a detection may take at most."""
        if not (yield Wait(other, self._manager.settings.detection_timeout_s)):
            raise self.unavailable("another call of the same query has not ended in time")

    def finish(self, query: Query, event: QueryEvent) -> None:
        """End a query, unless it has ended."""
        if query.ticket is not None and not query.over:
            with contextlib.suppress(EventForbidden):  # two threads may end it at once: one of them does
                self.stepped(query, event)

    def abandon(self, query: Query) -> None:
        """End the ticket of a query from a place that must take no lock."""
        if query.ticket is not None:
            self.open.pop(query.ticket.query, None)
            self._manager.abandon(query.ticket)

    def unavailable(self, reason: str) -> StrategyUnavailable:
        """Return the error that says that no strategy can be used."""
        return self._raised.unavailable(self._manager.scope, reason)

    def translated(self, error: StrategyUnavailable) -> StrategyUnavailable:
        """Return an error of the manager as the one that the application gets."""
        if isinstance(error, self._raised.unavailable):
            return error
        translated = self._raised.unavailable(error.scope, error.reason, error.failures)
        translated.__cause__ = error
        return translated

    def lost(self, query: Query, reason: str) -> QueryLost:
        """Return the error that says that a query cannot be finished."""
        ticket = query.ticket
        assert ticket is not None
        manager = self._manager
        if manager.observed:
            manager.report(LossReported(manager.scope, manager.now_s(), query.public_id, ticket, reason))
        return self._raised.lost(query.public_id, ticket.strategy.value, ticket.version, reason)


def _doubt(fault: Fault, failure: Failure, rpc: Rpc, query: Query) -> Doubt:
    """Return what a failed RPC leaves open."""
    executes = rpc.method.effect == "executed"
    if fault not in (Fault.TRANSIENT, Fault.AMBIGUOUS):
        return "none"
    if failure.harmless:
        return "harmless"
    if fault is Fault.AMBIGUOUS:  # a read is not replayed once the application's deadline has passed
        return "execute" if executes and not query.reads else "none"
    if executes:
        return "execute"
    nothing_done = rpc.method.repeatable or rpc.method.role in (Role.BEGIN, Role.USE)
    return "harmless" if nothing_done else "none"
