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

from bluegreen.errors import EventForbidden, QueryLost, StrategyUnavailable
from bluegreen.machines.query import (
    BatchFetched,
    Errored,
    Executed,
    Exhausted,
    Prepared,
    QueryEvent,
    Refused456,
    Replay,
)
from bluegreen.machines.strategy.events import AuthFailure, Error456, PersistentFailure, QueryCancelled
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Flow, Wait
from bluegreen.runtime.telemetry import LossReported, QueryReplayed
from bluegreen.types import Strategy, Ticket
from bluegreen_adapters.connection.evidence import Fault, Request
from bluegreen_adapters.connection.protocol import read
from bluegreen_adapters.connection.query import Placement, Query, RowCollection, Rpc, StepResult
from bluegreen_adapters.connection.requests import Failure, Outcome, Reply
from bluegreen_adapters.connection.session_pool import (
    AcceptedElsewhere,
    NotAccepted,
    Session,
    describe_outcome,
)
from bluegreen_adapters.connection.transport import RpcTransport


@attrs.frozen
class ErrorTypes:
    """Which exceptions the application gets; an adapter derives its own from ours and from its driver's.

    Args:
        lost: a query cannot be finished.
        unavailable: no strategy can be used.
        discarded: the query has begun again, so the rows that its connector has collected are void. Only code that
            collects rows gets it; that code has to fetch from the beginning.
    """

    lost: type[QueryLost] = QueryLost
    unavailable: type[StrategyUnavailable] = StrategyUnavailable
    discarded: type[StrategyUnavailable] = StrategyUnavailable


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


class QueryRecovery:
    """Replays, retries and ends the queries of one connection.

    Args:
        wire: how the connection speaks to the stacks.
        raised: the exceptions that the application gets.

    Attributes:
        open: the tickets of this connection that are open, by number.
    """

    __slots__ = ("_manager", "_protocol", "_raised", "_wire", "open")

    def __init__(self, wire: RpcTransport, raised: ErrorTypes) -> None:
        self.open = _Tickets(wire.manager)
        self._wire = wire
        self._raised = raised
        self._manager = wire.manager
        self._protocol = wire.protocol

    def place_query(self, query: Query) -> Flow[Placement]:
        """Give the query a ticket, and a session on the ticket's strategy, until `query.place_by_s` at the latest.

        Raises:
            StrategyUnavailable: no strategy can be used, or none was found and opened a session in time.
            NotAccepted: no strategy accepts the connection's credentials.
            QueryLost: the query has been ended meanwhile.
        """
        sessions = self._wire.sessions
        while True:
            route = self._manager.snapshot.context.route
            if query.alone is None and route is not None and sessions.is_avoided(route):
                query.alone = route.other
            try:
                ticket = yield from self._manager.start_flow(
                    sessions.proved, weakref.ref(query), query.alone, query.place_by_s
                )
            except AcceptedElsewhere as found:  # this connection led the detection and is no witness
                query.goes_alone(found.strategy, found.refused)
                continue
            if not query.takes(ticket):
                self._manager.end(QueryCancelled(ticket))
                raise self.lost(query, "it was ended while it was begun again")
            self.open[ticket.query] = ticket
            strategy, version, began_s = ticket.strategy, self._manager.state_version, self._manager.now_s()
            held = sessions.held(strategy)
            session = sessions.on(strategy) if held is None else None
            left_s = self._left_s(query)
            try:
                if session is None:
                    session = yield from self._opened(query, strategy, left_s)
            except NotAccepted as refused:
                if refused.evidence.fault is Fault.AMBIGUOUS and left_s < sessions.share_s:
                    # The stack was given less time than it may take, so that its silence says nothing about it.
                    raise self._too_late(strategy) from refused.refusal
                yield from self._turned_away(query, strategy, version, began_s, refused)
                continue
            return query.settles(session)

    def begin_wait(self, query: Query) -> None:
        """Note that a call of the application begins: it waits for places for `detection_timeout_s` altogether."""
        query.place_by_s = self._manager.now_s() + self._manager.settings.detection_timeout_s

    def _left_s(self, query: Query) -> float:
        return query.place_by_s - self._manager.now_s()

    def _opened(self, query: Query, strategy: Strategy, left_s: float) -> Flow[Session]:
        """Open a session for a query, if there is time left: a detection may have taken all of it."""
        if left_s <= 0:
            raise self._too_late(strategy)
        is_witness = query.alone is None
        return (yield from self._wire.sessions.session_for(strategy, left_s, is_witness=is_witness))

    def _too_late(self, strategy: Strategy) -> StrategyUnavailable:
        allowed_s = self._manager.settings.detection_timeout_s
        return self.unavailable(f"no session on {strategy} within {allowed_s:g} s")

    def _turned_away(
        self, query: Query, strategy: Strategy, version: int, began_s: float, refused: NotAccepted
    ) -> Flow[None]:
        """A strategy opens no session for a query that is to begin there. Return if the query may begin elsewhere.

        Raises:
            NotAccepted, StrategyUnavailable: it may not.
        """
        row = refused.evidence
        if self._stops_avoiding(query):
            self.stepped(query, Errored("harmless"))
            return
        if row.then == "elsewhere":
            yield from self.goes_elsewhere(query, strategy, version, refused)
            return
        event: QueryEvent = Refused456() if row.then == "refused" else Errored("harmless")
        if row.report == "error_456":
            self._wire.sessions.note_refused(strategy)
            self._wire.report(Error456(strategy, version))
        elif row.report == "persistent_failure":
            self._wire.sessions.note_refused(strategy)
            served = self._wire.sessions.is_served_since(strategy, began_s)
            self._wire.report(PersistentFailure(strategy, version, served_since=served))
            self._leaves_alone(query, strategy, served=served)
        settled = self.stepped(query, event)
        if settled.replay is None:
            reason = f"{strategy} accepts no session: {describe_outcome(refused.outcome, row.fault)}"
            raise self.unavailable(reason) from (query.answer or refused.refusal)

    def goes_elsewhere(
        self, query: Query, strategy: Strategy, version: int, refused: NotAccepted
    ) -> Flow[None]:
        """Begin a query elsewhere whose connection a strategy does not accept; nothing of it has begun.

        If the other one accepts it, the query begins there: for everybody if no other connection vouches for this
        strategy, else for this connection alone.

        Raises:
            NotAccepted: `refused`, since the other one does not accept it either: the server's own answer.
        """
        sessions, other = self._wire.sessions, strategy.other
        is_login = Request.LOGIN in refused.evidence.requests
        if is_login:
            sessions.turn_away(strategy, refused)
        else:
            sessions.note_refused(strategy)  # another statement may be accepted
        others_served = sessions.is_served_since(strategy)
        was_alone = query.alone is not None
        if not was_alone and not sessions.has_login:
            # Only a begin shows whether the other stack accepts a token, so nothing is reported before it has.
            query.accused = (strategy, version)
            query.goes_alone(other, refused)
            self.stepped(query, Errored("harmless"))
            return
        left_s, is_witness = self._left_s(query), not others_served
        accepted = not was_alone and (
            yield from sessions.is_accepted_by(other, left_s, is_witness=is_witness)
        )
        if not accepted:
            self.finish(query, Errored())
            raise query.answer or refused
        if others_served and not is_login:  # otherwise the scope moves
            sessions.avoid(strategy)
        self._wire.report(AuthFailure(strategy, version, served_since=others_served))
        settled = self.stepped(query, Errored("harmless"))
        if settled.replay is None:
            raise query.answer or refused
        if others_served:
            query.goes_alone(other, refused)

    def _report_accused(self, query: Query) -> None:
        """Report the stack that denied a query, now that the other one has accepted it."""
        accused, query.alone, query.answer, query.accused = query.accused, None, None, None
        if accused is not None:
            strategy, version = accused
            served = self._wire.sessions.is_served_since(strategy)
            if served:
                self._wire.sessions.avoid(strategy)
            self._wire.report(AuthFailure(strategy, version, served_since=served))

    def _stops_avoiding(self, query: Query) -> bool:
        """Return True if the query began alone only since its connection avoids the usual strategy; undo that."""
        if query.alone is None or query.answer is not None:
            return False
        self._wire.sessions.stop_avoiding(query.alone.other)
        query.alone = None
        return True

    def _leaves_alone(self, query: Query, strategy: Strategy, *, served: bool) -> None:
        """After a failure of the transport: begin on the other stack if others are served here, and only once."""
        alone_failed = query.alone is strategy
        query.alone = None if alone_failed or not served else strategy.other

    def prepared(self, query: Query, rpc: Rpc) -> Flow[Any]:
        """Begin the query where new queries go, and again elsewhere as long as its machine allows it.

        Args:
            rpc: the RPC on whose behalf this happens.
        """
        while True:
            place = yield from self.place_query(query)
            outcome: Outcome = yield from self._wire.send(query.begin.on_behalf_of(rpc), query, place)
            if isinstance(outcome, Reply):
                self._wire.sessions.note_accepted(place.ticket.strategy)
                query_id = read(outcome.message, self._protocol.query)
                query.is_known_as(query_id, read(outcome.message, self._protocol.engine) or "")
                self._report_accused(query)
                self.stepped(query, Prepared(query_id))
                if query.over:
                    raise self.lost(query, "it was ended while it was begun again")
                return outcome.message
            yield from self.replay_of(query, outcome)

    def replayed(self, query: Query, replay: Replay, rpc: Rpc) -> Flow[None]:
        """Bring the query to where it was, on the right strategy."""
        while True:
            yield from self.prepared(query, rpc)
            execution, place = query.execution, query.place
            if not replay.execute:
                return
            if execution is None:  # its begin has executed it
                self.stepped(query, Executed())
                return
            assert place is not None
            outcome: Outcome = yield from self._wire.send(execution.on_behalf_of(rpc), query, place)
            if isinstance(outcome, Reply):
                self.stepped(query, Executed())
                return
            yield from self.replay_of(query, outcome)

    def replay_of(self, query: Query, failure: Failure) -> Flow[Replay]:
        """Ask the query's machine what a failure means: return the replay that it allows, or raise.

        Raises:
            QueryLost: nothing may be done about it.
            StrategyUnavailable: nobody takes it, and it has not begun.

        Or the server's own answer, as the driver got it.
        """
        ticket, then = query.ticket, failure.then
        assert ticket is not None
        was_over = query.over
        if was_over and failure.fault is Fault.GONE:  # the application has ended it: the server is right
            raise failure.cause
        if then in ("refused", "harmless", "elsewhere"):
            self._stops_avoiding(query)
        if then == "elsewhere":
            assert failure.evidence is not None
            refused = NotAccepted(failure, failure.evidence)
            yield from self.goes_elsewhere(query, ticket.strategy, self._manager.state_version, refused)
            return Replay(execute=False)
        if then in ("refused", "harmless") and query.answer is not None:
            # It has begun alone, on a stack that does not take it: what counts is why it was turned away at first.
            self.finish(query, Errored())
            raise query.answer
        if failure.evidence is not None and failure.evidence.report == "persistent_failure":
            served = self._wire.sessions.is_served_since(ticket.strategy, self._manager.now_s())
            self._leaves_alone(query, ticket.strategy, served=served)
        if (
            (then != "refused" or failure.of_login)
            and query.place is not None
            and query.place.query_id is not None
        ):
            query.left = query.place  # it may still be there
        settled = self.stepped(query, query.event_of(then, may_resend=failure.may_resend))
        if settled.replay is not None:
            if self._manager.observed:
                scope, now_s, executes = self._manager.scope, self._manager.now_s(), settled.replay.execute
                again = QueryReplayed(scope, now_s, query.public_id, ticket, executes, failure.fault.value)
                self._manager.report(again)
            return settled.replay
        if settled.lost is not None:
            raise self.lost(query, settled.lost) from failure.cause
        if was_over and then == "refused":  # another call of the same query has lost it
            raise self.lost(query, f"its stack answers: {failure.fault.value}") from failure.cause
        if then == "refused" or (then == "harmless" and query.public_id is None):
            # Nothing was executed, so nothing is lost. Never a 456 itself: a connector that sees one would switch by
            # itself, and run the whole query again.
            raise self.unavailable("neither strategy takes the request") from failure.cause
        raise failure.cause

    def stepped(self, query: Query, event: QueryEvent) -> StepResult:
        """Take a step of the query's machine, and end the tickets that it ends."""
        settled, ends = query.advance(event)
        for end in ends:
            self.open.pop(end.event.ticket.query, None)
            self._manager.end(end.event)
        return settled

    def progressed(
        self, rpc: Rpc, query: Query, message: Any, collection: RowCollection | None = None
    ) -> None:
        """Tell the query's machine what an answer means.

        Args:
            collection: the collection to which rows in the answer belong; None: the application gets them at once.
        """
        method = rpc.method
        with contextlib.suppress(EventForbidden):  # an order that only the server can judge: it has answered
            if method.effect == "executed":
                query.execution = rpc.kept(self._protocol.proof_keys)
                self.stepped(query, Executed())
            elif method.effect == "fetched":
                rows = any(read(message, field) for field in method.rows)
                handed_out = collection is None or not collection.is_open
                self.stepped(query, BatchFetched(rows, handed_out=handed_out))
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

    def place_of(self, query: Query) -> Flow[Placement]:
        """Return where the query runs, as soon as nobody moves or ends it.

        Raises:
            QueryLost: it runs nowhere.
        """
        while isinstance(place := query.look(), Future):
            yield from self._waited(place)
        if place is None or place.query_id is None:
            raise self.lost(query, "it could not be begun again")
        return place

    def claim_query(self, query: Query, *, whoever_executes: bool) -> Flow[None]:
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

    def discarded(self, query: Query) -> StrategyUnavailable:
        """Return the error that says that the rows which the connector has collected are void."""
        reason = f"query {query.public_id} has begun again: throw its rows away, and fetch from the beginning"
        return self._raised.discarded(self._manager.scope, reason)

    def lost(self, query: Query, reason: str) -> QueryLost:
        """Return the error that says that a query cannot be finished."""
        ticket = query.ticket
        assert ticket is not None
        manager = self._manager
        if manager.observed:
            manager.report(LossReported(manager.scope, manager.now_s(), query.public_id, ticket, reason))
        return self._raised.lost(query.public_id, ticket.strategy.value, ticket.state_version, reason)
