"""One RPC of a query, to the query's own stack.

`RpcTransport.send` sends it, judges the reply by the evidence table, and lets the retry machine decide on a failure.
It carries out what concerns this stack: a resend after a pause, a new session, a probe. What the reply says about
strategies is reported to the strategy machine. Nothing is begun again here: `recovery` does that.

Source: `evidence.EVIDENCE`, and the retry machine `bluegreen.machines.retry.RETRY`.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final, TypeVar

import attrs

from bluegreen.errors import StrategyUnavailable, unreachable
from bluegreen.machines.retry import (
    GiveUp,
    NotAuthenticated,
    Placed,
    RenewSession,
    RetryElsewhere,
    RetryHere,
    TransientError,
)
from bluegreen.machines.strategy.events import AuthFailure, Error456, PersistentFailure
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Call, Flow, Sleep, Wait
from bluegreen.runtime.telemetry import RequestFailed, RequestRetried
from bluegreen.types import Ticket
from bluegreen_adapters.connection.evidence import Evidence, Fault, Request, rule_of_setting
from bluegreen_adapters.connection.protocol import (
    Credentials,
    Probe,
    Protocol,
    Role,
    blank_request,
    read,
    rewritten,
)
from bluegreen_adapters.connection.query import Placement, Query, Rpc
from bluegreen_adapters.connection.requests import Failure, Launch, Outcome, Reply, Send
from bluegreen_adapters.connection.session_pool import NotAccepted, Session, SessionPool, pause

T = TypeVar("T")

FREEING_S: Final = 10.0
"""How long an attempt to free a query may take, in seconds."""


class RpcTransport:
    """Sends the RPCs of one connection to the stacks.

    Args:
        manager: the manager of the connection's scope.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default the application's last one is kept.
    """

    __slots__ = ("manager", "protocol", "sessions")

    def __init__(self, manager: StrategyManager, protocol: Protocol, credentials: Credentials | None) -> None:
        self.manager = manager
        self.protocol = protocol.with_forms(map(rule_of_setting, manager.settings.forms))
        self.sessions = SessionPool(manager, self.protocol, credentials)

    def send(self, rpc: Rpc, query: Query, place: Placement, *, can_move: bool = True) -> Flow[Outcome]:
        """Send one RPC of a query to `place`; the result is what is left after retries there.

        A failure that `RETRY` leaves to the other stack is returned after its pause, and may be sent again.

        Args:
            rpc: what is sent. Its retries are those of the application's request, wherever it was sent before.
            query: the query that it belongs to.
            place: where it is sent.
            can_move: whether the caller begins the query again if its machine allows it.
        """
        strategy, kind = place.ticket.strategy, self.protocol.kind(rpc.name)
        rpc.retries.advance(Placed(self.manager.settings.retry_attempts))
        failed_s: float | None = None
        while True:
            version, sent_s = self.manager.state_version, self.manager.now_s()
            outcome: Outcome = yield self._send(rpc, place)
            query.place_by_s += (
                self.manager.now_s() - sent_s
            )  # neither a request nor a backoff waits for a place
            if isinstance(outcome, Reply):
                self.observe_reply(outcome.message, place.session, version)
                return outcome
            row = self.protocol.judge(outcome.code, outcome.details, kind)
            self._noted(rpc, place.ticket, outcome, row)
            if row.again == "probe":
                row = yield from self._probed(rpc, query, place, outcome, kind)
            failed_s = self.manager.now_s() if failed_s is None else failed_s
            error = yield from self._error_of(rpc, query, place, row, can_move=can_move)
            effect = None if error is None else rpc.retries.advance(error)
            if isinstance(effect, RetryHere):
                query.place_by_s += effect.delay_s
                yield from self._back_off(rpc, place.ticket, effect)
                continue
            if isinstance(effect, RenewSession):
                # The declared types get lost on the way around the loop.
                renewed: Session | Failure = yield from self._renewed(query, place.session, kind)  # pyright: ignore[reportUnknownVariableType]
                if isinstance(renewed, Failure):
                    return renewed
                query.renews(place.session, renewed)  # pyright: ignore[reportUnknownArgumentType]
                place = place.within(renewed)  # pyright: ignore[reportUnknownArgumentType]
                continue
            if row.report == "error_456":
                self.sessions.note_refused(strategy)
                self.report(Error456(strategy, version))
            elif row.report == "persistent_failure":
                self.sessions.note_refused(strategy)
                served = self.sessions.is_served_since(strategy, failed_s)
                self.report(PersistentFailure(strategy, version, served_since=served))
            return (yield from self._leave(rpc, place.ticket, attrs.evolve(outcome, evidence=row), effect))

    def judge_stream(self, rpc: Rpc, query: Query | None, failure: Failure) -> Flow[Failure]:
        """Return a failure of a stream that has begun with what follows from it; nothing is sent again there.

        Args:
            rpc: what began the stream.
            query: the query that it belongs to, if it belongs to one.
            failure: how the stream has ended.
        """
        row = self.protocol.judge(failure.code, failure.details, self.protocol.kind(rpc.name))
        judged = attrs.evolve(failure, evidence=row)
        if row.fault is not Fault.TRANSIENT or query is None or query.ticket is None:
            return judged
        ticket, place = query.ticket, query.place
        is_moved = place is None or query.can_move(place, row.then)
        effect = rpc.retries.advance(TransientError(here=False, elsewhere=is_moved))
        assert not isinstance(effect, (RetryHere, RenewSession))  # a stream that has begun is not sent again
        return (yield from self._leave(rpc, ticket, judged, effect))

    # What a row says about the same stack.

    def _error_of(
        self, rpc: Rpc, query: Query, place: Placement, row: Evidence, *, can_move: bool
    ) -> Flow[TransientError | NotAuthenticated | None]:
        """Return the event of the retry machine for a failure, or None if nothing of it can be retried."""
        if row.fault is Fault.TRANSIENT:
            here = row.again == "backoff" and rpc.method.repeatable
            # To find out whether it can be placed anew may mean to parse the statement: only where that decides.
            decides = (
                can_move and rpc.retries.attempts.left > 0 and (rpc.retries.attempts.left == 1 or not here)
            )
            return TransientError(here, decides and query.can_move(place, row.then))
        if place.session.id is None or row.again not in ("renew", "prove"):
            return None
        if row.again == "prove" and not (yield from self._is_dead(rpc, query, place, whole=True)):
            return None
        return NotAuthenticated()

    def _leave(
        self, rpc: Rpc, ticket: Ticket, failure: Failure, effect: RetryElsewhere | GiveUp | None
    ) -> Flow[Failure]:
        """Return the failure with which an RPC leaves its stack, after the pause before it is sent elsewhere."""
        match effect:
            case None:
                return failure
            case RetryElsewhere():
                yield from self._back_off(rpc, ticket, effect)
                return failure
            case GiveUp():
                return attrs.evolve(failure, may_resend=False)
            case _:
                unreachable(effect)

    def _back_off(self, rpc: Rpc, ticket: Ticket, effect: RetryHere | RetryElsewhere) -> Flow[None]:
        """Report a resend, and pause before it."""
        manager = self.manager
        if manager.observed:
            now_s, (attempt, delay_s) = manager.now_s(), (effect.attempt, effect.delay_s)
            manager.report(RequestRetried(manager.scope, now_s, ticket, rpc.name, attempt, delay_s))
        yield pause(effect.delay_s)

    def _probed(
        self, rpc: Rpc, query: Query, place: Placement, failure: Failure, kind: Request
    ) -> Flow[Evidence]:
        """Decide a suspected refusal of a begin: return the row that holds."""
        suspected = self.protocol.suspected(failure.details)
        if suspected is Fault.NOT_AUTHENTICATED:
            holds = place.session.id is not None and (
                yield from self._is_dead(rpc, query, place, whole=False)
            )
        else:
            holds = yield from self._is_refusing(rpc, place)
        if holds:
            query.suspected = failure.cause
        return self.protocol.verdict(suspected if holds else Fault.ANSWER, kind)

    def _is_dead(self, rpc: Rpc, query: Query, place: Placement, *, whole: bool) -> Flow[bool]:
        """Ask in the session of a request whether it is dead. Without a probe it is taken to be alive.

        Args:
            whole: whether only the whole form counts: so it is for a request that may have taken effect.
        """
        try:
            outcome = yield from self._ask(rpc, place)
        except LookupError:  # an interceptor sends only what has passed it; the begin of the query has
            # A suspected begin is no probe of itself: the same statement gets the same text again.
            outcome = (yield from self._begun_again(rpc, query, place)) if whole else None
        if not isinstance(outcome, Failure):
            return False
        fault = self.protocol.fault(outcome.code, outcome.details)
        if fault is Fault.ANSWER and not whole:
            fault = self.protocol.suspected(outcome.details)
        return fault is Fault.NOT_AUTHENTICATED

    def _is_refusing(self, rpc: Rpc, place: Placement) -> Flow[bool]:
        """Find out whether the stack refuses what is begun there: by the declared probe, else by a login."""
        probe, strategy = self.protocol.probe, place.ticket.strategy
        declared = probe is not None and (
            not isinstance(probe, Probe) or probe.as_begin or place.session.id is None
        )
        if not declared:
            if place.session.id is None:
                return False
            try:
                left_s = self.manager.settings.probe_after_s
                yield from self.sessions.opened(strategy, left_s, instead_of=self.sessions.on(strategy))
            except NotAccepted as refused:
                return refused.evidence.fault is Fault.WRONG_STRATEGY
            return False
        outcome = yield from self._ask(rpc, place)
        if not isinstance(outcome, Failure):
            return outcome is False
        fault = self.protocol.fault(outcome.code, outcome.details)
        return Fault.WRONG_STRATEGY in (fault, self.protocol.suspected(outcome.details))

    def _ask(self, rpc: Rpc, place: Placement) -> Flow[Outcome | bool | None]:
        """Carry out the declared probe in the session of a request; return None if none is declared."""
        probe, strategy, session_id = self.protocol.probe, place.ticket.strategy, place.session.id
        if probe is None:
            return None
        if not isinstance(probe, Probe):
            answer: bool = yield Call(probe, (strategy, session_id))
            return answer
        self.manager.count_request()
        metadata = self.protocol.routed(rpc.metadata, strategy, None)
        timeout_s = self.manager.settings.probe_after_s
        outcome: Outcome = yield Send(
            probe.method, probe.request(session_id), metadata, timeout_s, rpc.options
        )
        return outcome

    def _begun_again(self, rpc: Rpc, query: Query, place: Placement) -> Flow[Outcome | None]:
        """Begin the query once more in the session of a request, as a probe; what that begins is freed.

        None: its begin executes, or is no begin, so that it is no probe.
        """
        begin = query.begin
        if self.protocol.kind(begin.name) is not Request.BEGIN:
            return None
        here = attrs.evolve(place, query_id=None)
        outcome: Outcome = yield self.send_of(
            begin.on_behalf_of(rpc), here, self.manager.settings.probe_after_s
        )
        if isinstance(outcome, Reply):
            begun = attrs.evolve(place, query_id=read(outcome.message, self.protocol.query))
            yield from self.freed(rpc, query.begin, begun)
        return outcome

    def freed(self, rpc: Rpc, begin: Rpc, place: Placement) -> Flow[Any]:
        """Begin to free a query at `place` with the first method that can be sent.

        Returns:
            The future of that, or None if it cannot be sent.

        Args:
            rpc: the RPC on whose behalf this happens; it brings what proves who the application is.
            begin: the RPC that began the query. The query itself is not held, so that it is collected.
        """
        for name in self.protocol.freeing:
            request = blank_request(begin.request, name)
            if request is None:
                continue
            end = Rpc(name, self.protocol.methods[name], request, begin.on_behalf_of(rpc).metadata)
            try:
                begun = yield Launch(self.send_of(end, place, FREEING_S))
            except LookupError:  # the stub does not have it
                continue
            return begun
        return None

    # Telemetry.

    def _noted(self, rpc: Rpc, ticket: Ticket, failure: Failure, row: Evidence) -> None:
        """Report a failed request, and a reply that looks like a refusal but is no known form."""
        manager = self.manager
        if manager.observed:
            now_s, (strategy, fault) = manager.now_s(), (ticket.strategy, row.fault.value)
            manager.report(
                RequestFailed(manager.scope, now_s, strategy, rpc.name, fault, failure.code, ticket)
            )
        self.sessions.note_unlisted(ticket.strategy, rpc.name, failure, row)

    def report(self, event: AuthFailure | Error456 | PersistentFailure) -> None:
        """Send an event to the strategy machine. If that leads to Failed, the next caller gets the error."""
        with contextlib.suppress(StrategyUnavailable):
            self.manager.send(event)

    def observe_reply(self, message: Any, session: Session, version: int) -> None:
        """Observe what an answer says about its session and about strategies."""
        renewed = read(message, self.protocol.session)
        if renewed and session.id is not None:
            session.id = renewed
        self.sessions.observe_reply(message, session.strategy, version)

    def strip_internal_fields(self, message: Any) -> Any:
        """Return an answer without announcement, and with the one session id that the application knows."""
        if read(message, self.protocol.announcement):
            setattr(message, self.protocol.announcement, "")
        if read(message, self.protocol.session):
            setattr(message, self.protocol.session, self.sessions.public_id)
        return message

    def send_of(self, rpc: Rpc, place: Placement, timeout_s: float) -> Send:
        """Return the command that sends an RPC of a query to `place`, within its own time."""
        return attrs.evolve(self._send(rpc, place), timeout_s=timeout_s)

    def _send(self, rpc: Rpc, place: Placement) -> Send:
        self.manager.count_request()
        fields = {
            self.protocol.session: place.session.id,
            self.protocol.query: place.query_id,
            self.protocol.engine: None if place.query_id is None else place.engine,
        }
        metadata = self.protocol.routed(rpc.metadata, place.ticket.strategy, place.engine)
        return Send(
            rpc.name, rewritten(rpc.request, fields, in_place=rpc.is_owned), metadata, rpc.left_s, rpc.options
        )

    def _renewed(self, query: Query, session: Session, kind: Request) -> Flow[Session | Failure]:
        """Open a new session on the same stack: the old one is dead, so the request took no effect."""
        version, left_s = self.manager.state_version, query.place_by_s - self.manager.now_s()
        try:
            return (yield from self.sessions.opened(session.strategy, left_s, instead_of=session))
        except NotAccepted as refused:
            row = refused.evidence
            if row.report == "error_456":
                self.report(Error456(session.strategy, version))
            if row.fault is Fault.WRONG_STRATEGY and kind is Request.END:
                # A stack that drains opens no session, and its queries go on: nothing has been ended.
                reason = f"{session.strategy}, where the query runs, opens no new session to end it in"
                unavailable = StrategyUnavailable(self.manager.scope, reason)
                return Failure("UNAVAILABLE", "", unavailable, self.protocol.verdict(Fault.ANSWER, kind))
            # Otherwise a login that fails says of the request what it says of itself; what runs cannot go elsewhere.
            if row.then == "elsewhere" or kind is Request.END:
                begins = kind in (Request.BEGIN, Request.ASK)
                row = self.protocol.verdict(Fault.NOT_AUTHENTICATED if begins else Fault.ANSWER, kind)
            if isinstance(refused.outcome, Failure):
                return attrs.evolve(refused.outcome, evidence=row, of_login=True)
            expired = StrategyUnavailable(
                self.manager.scope, "the session has expired, and no new one is given"
            )
            return Failure("UNAUTHENTICATED", "", expired, row)


class TooLate(Exception):
    """The application's deadline has passed while its RPC was being routed. Never leaves this package."""


def in_time(flow: Flow[T], rpc: Rpc) -> Flow[T]:
    """Drive `flow`, and let it wait for nothing beyond the application's deadline for `rpc`.

    That RPC itself ends with the status that says so. Whatever else was under way for it ends with `TooLate`,
    which is nobody's fault: a short deadline of one caller must not be held against a strategy.
    """
    answer: Any = None
    error: BaseException | None = None
    try:
        while True:
            command = flow.send(answer) if error is None else flow.throw(error)
            answer, error = None, None
            command, cut = _cut(command, rpc)
            try:
                answer = yield command
            except GeneratorExit:
                flow.close()
                raise
            except BaseException as raised:  # noqa: BLE001  whatever it is belongs to the flow
                error = raised
            late = answer is False or (isinstance(answer, Failure) and answer.code == "DEADLINE_EXCEEDED")
            if cut and late:
                answer, error = None, TooLate()
    except StopIteration as stop:
        result: T = stop.value
        return result


def _cut(command: Any, rpc: Rpc) -> tuple[Any, bool]:
    """Return `command` with no more time than `rpc` has, and whether running out of it is `TooLate`."""
    left_s = rpc.left_s
    assert left_s is not None
    if isinstance(command, Sleep):
        return Sleep(min(command.delay_s, left_s)), False
    if isinstance(command, (Wait, Send)) and (command.timeout_s is None or command.timeout_s >= left_s):
        own = (
            isinstance(command, Send)
            and command.method == rpc.name
            and rpc.method.role is not Role.AUTHENTICATE
        )
        return attrs.evolve(command, timeout_s=left_s), not own
    return command, False
