"""One RPC of a query, to the query's own stack: what is transient is retried, an expired session is renewed,
and what the answer says about strategies is reported. Nothing is replayed here.

Source: spec, section 5.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final, TypeVar

import attrs

from bluegreen.allowance import Allowance
from bluegreen.alphabet import Error456, PersistentFailure, StrategyAnnounced
from bluegreen.errors import StrategyUnavailable, UnknownStrategy
from bluegreen.flow import Flow, Sleep, Wait
from bluegreen.happenings import RequestFailed, RequestRetried
from bluegreen.machine import step
from bluegreen.manager import StrategyManager
from bluegreen.recovery import (
    RECOVERY,
    Attempts,
    AuthenticateAgain,
    NotAuthenticated,
    RetryAfter,
    TransientError,
)
from bluegreen.vocabulary import Ticket
from bluegreen_adapters.commands import Failure, Outcome, Reply, Send
from bluegreen_adapters.protocol import Credentials, Fault, Protocol, Role, read, rewritten
from bluegreen_adapters.queries import Place, Query, Rpc
from bluegreen_adapters.sessions import NotAccepted, Session, Sessions, pause

T = TypeVar("T")
_log = logging.getLogger("bluegreen.wire")


_SILENT_S: Final = 60.0
"""How long a connection says nothing more about what a server repeats with each answer."""


class Wire:
    """How a connection speaks to the stacks.

    Args:
        manager: the manager of the connection's scope.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default the application's last one is kept.
    """

    __slots__ = ("_ignored", "manager", "protocol", "sessions")

    def __init__(self, manager: StrategyManager, protocol: Protocol, credentials: Credentials | None) -> None:
        self.manager = manager
        self.protocol = protocol
        self.sessions = Sessions(manager, protocol, credentials, self._learn)
        self._ignored: Allowance | None = None

    def sent(self, rpc: Rpc, query: Query, place: Place) -> Flow[Outcome]:
        """Send one RPC of a query to `place`; the result is what is left after retries.

        The retries that a transport gets are the query's: what one stack has used up, the other one does not get
        again. Otherwise a query would ask two dead stacks in turns.
        """
        strategy = place.ticket.strategy
        limit = self.manager.settings.retry_attempts
        state, attempts = RECOVERY.initial, Attempts(transient=min(query.retried, limit), limit=limit)
        while True:
            version = self.manager.version
            outcome: Outcome = yield self._send(rpc, place)
            if isinstance(outcome, Reply):
                query.retried = 0
                self.learned(outcome.message, place.session, version)
                return outcome
            fault = self.fault(outcome)
            if self.manager.observed:
                self._told(rpc, place.ticket, outcome, fault)
            if fault is Fault.WRONG_STRATEGY:
                self.report(Error456(strategy, version))
            transient = fault is Fault.TRANSIENT and rpc.method.repeatable
            renewable = fault is Fault.NOT_AUTHENTICATED and place.session.id is not None
            if not transient and not renewable:
                return outcome
            taken = step(RECOVERY, state, attempts, TransientError() if transient else NotAuthenticated())
            state, attempts = taken.state, taken.context
            (effect,) = taken.effects
            if isinstance(effect, RetryAfter):
                query.retried = attempts.transient
                if self.manager.observed:
                    now_s, (attempt, delay_s) = self.manager.now_s(), (effect.attempt, effect.delay_s)
                    again = RequestRetried(
                        self.manager.scope, now_s, place.ticket, rpc.name, attempt, delay_s
                    )
                    self.manager.report(again)
                yield pause(effect.delay_s)
            elif isinstance(effect, AuthenticateAgain):
                renewed = yield from self._renewed(place.session)
                if isinstance(renewed, Failure):
                    return renewed
                query.renews(place.session, renewed)
                place = attrs.evolve(place, session=renewed)
            else:
                if transient:
                    self.report(PersistentFailure(strategy, version))
                return outcome

    def _told(self, rpc: Rpc, ticket: Ticket, failure: Failure, fault: Fault) -> None:
        manager = self.manager
        manager.report(
            RequestFailed(
                manager.scope, manager.now_s(), ticket.strategy, rpc.name, fault.value, failure.code, ticket
            )
        )

    def fault(self, failure: Failure) -> Fault:
        """Return what a failure means in this protocol."""
        return self.protocol.fault(failure.code, failure.details)

    def report(self, event: Error456 | PersistentFailure | StrategyAnnounced) -> None:
        """Tell the machine. If that leads to Failed, whoever asks for a strategy next is told so."""
        with contextlib.suppress(StrategyUnavailable):
            self.manager.send(event)

    def learned(self, message: Any, session: Session, version: int) -> None:
        """Take note of what an answer says: about its session, and about strategies."""
        renewed = read(message, self.protocol.session)
        if renewed and session.id is not None:
            session.id = renewed
        self._learn(message, session.strategy, version)

    def masked(self, message: Any) -> Any:
        """Return an answer without announcement, and with the one session id that the application knows."""
        if read(message, self.protocol.announcement):
            setattr(message, self.protocol.announcement, "")
        if read(message, self.protocol.session):
            setattr(message, self.protocol.session, self.sessions.public_id)
        return message

    def _send(self, rpc: Rpc, place: Place) -> Send:
        self.manager.asked()
        fields = {
            self.protocol.session: place.session.id,
            self.protocol.query: place.query_id,
            self.protocol.engine: None if place.query_id is None else place.engine,
        }
        metadata = self.protocol.routed(rpc.metadata, place.ticket.strategy, place.engine)
        return Send(rpc.name, rewritten(rpc.request, fields), metadata, rpc.left_s, rpc.options)

    def _learn(self, message: Any, strategy: Any, version: int) -> None:
        self.manager.proved(strategy)
        announced = read(message, self.protocol.announcement)
        if announced:
            try:
                self.report(StrategyAnnounced(announced, version))
            except UnknownStrategy as error:
                self._ignored = self._ignored or Allowance(1)
                left_out = self._ignored.use(self.manager.now_s(), _SILENT_S)
                if left_out is not None:
                    text = "%s: ignored an announcement: %s (%d more since the last such line)"
                    _log.warning(text, self.manager.scope, error, left_out)

    def _renewed(self, session: Session) -> Flow[Session | Failure]:
        """Open a new session on the same stack: the old one has expired, so the RPC took no effect."""
        version, left_s = self.manager.version, self.manager.settings.detection_timeout_s
        try:
            return (yield from self.sessions.opened(session.strategy, left_s, instead_of=session))
        except NotAccepted as refused:
            if refused.fault is Fault.WRONG_STRATEGY:
                self.report(Error456(session.strategy, version))
            if isinstance(refused.outcome, Failure):
                return attrs.evolve(refused.outcome, harmless=True)
            expired = StrategyUnavailable(
                self.manager.scope, "the session has expired, and no new one is given"
            )
            return Failure("UNAUTHENTICATED", "", expired, harmless=True)


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
