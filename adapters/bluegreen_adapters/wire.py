"""One RPC of a query, to the query's own stack: what is transient is retried, an expired session is renewed,
and what the answer says about strategies is reported. Nothing is replayed here.

Source: spec, section 5.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final

import tenacity

from bluegreen.alphabet import Error456, PersistentFailure, StrategyAnnounced
from bluegreen.errors import StrategyUnavailable, UnknownStrategy
from bluegreen.flow import Flow, Sleep
from bluegreen.machine import step
from bluegreen.manager import StrategyManager
from bluegreen.recovery import RECOVERY, Attempts, AuthenticateAgain, NotAuthenticated, RetryAfter, TransientError
from bluegreen.vocabulary import Strategy
from bluegreen_adapters.protocol import Credentials, Fault, Protocol, read, rewritten
from bluegreen_adapters.queries import Query, Rpc
from bluegreen_adapters.sessions import Failure, NotAccepted, Outcome, Reply, Send, Session, Sessions

_log = logging.getLogger("bluegreen.wire")
_JITTER_STATE: Final = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})


class Wire:
    """How a connection speaks to the stacks.

    Args:
        manager: the manager of the connection's scope.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default the application's last one is kept.
    """

    def __init__(self, manager: StrategyManager, protocol: Protocol, credentials: Credentials | None) -> None:
        self.manager = manager
        self.protocol = protocol
        self.sessions = Sessions(manager, protocol, credentials, self._learn)

    def sent(self, rpc: Rpc, query: Query) -> Flow[Outcome]:
        """Send one RPC of a query that has a ticket and a session; the result is what is left after retries."""
        ticket, session = query.ticket, query.session
        assert ticket is not None
        assert session is not None
        strategy = ticket.strategy
        state, attempts = RECOVERY.initial, Attempts(limit=self.manager.settings.retry_attempts)
        while True:
            version = self.manager.version
            outcome: Outcome = yield self._send(rpc, query, session, strategy)
            if isinstance(outcome, Reply):
                self.learned(outcome.message, session, version)
                return outcome
            fault = self.fault(outcome)
            transient = fault is Fault.TRANSIENT
            renewable = fault is Fault.NOT_AUTHENTICATED and session.id is not None
            if fault is Fault.WRONG_STRATEGY:
                self.report(Error456(strategy, version))
            if not renewable and not (transient and rpc.method.repeatable):
                if transient:
                    self.report(PersistentFailure(strategy, version))
                return outcome
            taken = step(RECOVERY, state, attempts, TransientError() if transient else NotAuthenticated())
            state, attempts = taken.state, taken.context
            (effect,) = taken.effects
            if isinstance(effect, RetryAfter):
                jittered = tenacity.wait_random(effect.delay_s / 2, effect.delay_s)
                yield Sleep(jittered(_JITTER_STATE))
            elif isinstance(effect, AuthenticateAgain):
                renewed = yield from self._renewed(session)
                if isinstance(renewed, Failure):
                    return renewed
                query.session = session = renewed
            else:
                if transient:
                    self.report(PersistentFailure(strategy, version))
                return outcome

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

    def _send(self, rpc: Rpc, query: Query, session: Session, strategy: Strategy) -> Send:
        known = query.context.query_id if query.context is not None else None
        fields = {
            self.protocol.session: session.id,
            self.protocol.query: known,
            self.protocol.engine: query.engine,
        }
        metadata = self.protocol.routed(rpc.metadata, strategy, query.engine)
        return Send(rpc.name, rewritten(rpc.request, fields), metadata, rpc.left_s, rpc.options)

    def _learn(self, message: Any, strategy: Strategy, version: int) -> None:
        self.manager.proved(strategy)
        announced = read(message, self.protocol.announcement)
        if announced:
            try:
                self.report(StrategyAnnounced(announced, version))
            except UnknownStrategy as error:
                _log.warning("%s: ignored an announcement: %s", self.manager.scope, error)

    def _renewed(self, session: Session) -> Flow[Session | Failure]:
        """Open a new session on the same stack: the old one has expired."""
        left_s = self.manager.settings.detection_timeout_s
        try:
            return (yield from self.sessions.opened(session.strategy, left_s, instead_of=session))
        except NotAccepted as refused:
            if isinstance(refused.outcome, Failure):
                return refused.outcome
            expired = StrategyUnavailable(self.manager.scope, "the session has expired, and no new one is given")
            return Failure("UNAUTHENTICATED", "Access denied", expired)
