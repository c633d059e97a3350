"""The sessions of one connection: one per strategy, opened when needed, one attempt at a time.

Source: spec, sections 2 (Authenticate, CloseSessions) and 5 (authentication).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs

from bluegreen.errors import Refusal
from bluegreen.flow import Flow, Wait
from bluegreen.manager import StrategyManager
from bluegreen.vocabulary import Strategy
from bluegreen_adapters.protocol import Credentials, Fault, Metadata, Protocol, read


@attrs.frozen
class Send:
    """Send one RPC: a command for the driver. The answer is a `Reply` or a `Failure`, never an exception.

    Args:
        method: bare name of the method.
        request: the message.
        metadata: pairs of key and value.
        timeout_s: seconds, or none for no limit.
        options: whatever else the application gave to the call.
    """

    method: str
    request: Any = attrs.field(repr=False)
    metadata: Metadata = attrs.field(repr=False)
    timeout_s: float | None = None
    options: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Launch:
    """Begin to send an RPC and do not wait: the answer is a future of what `Send` would answer, or none
    if the driver cannot do that."""

    send: Send


@attrs.frozen
class Reply:
    """The server's message, and the call that brought it."""

    message: Any
    call: Any = None


@attrs.frozen
class Failure:
    """A status other than OK: the name of its code, its details, and the error that the driver got."""

    code: str
    details: str
    cause: BaseException


Outcome = Reply | Failure


@attrs.define(eq=False)
class Session:
    """A session on one stack. An answer may bring a new id for it; who holds the session then has that.

    `answer` is the message that opened it.
    """

    strategy: Strategy
    id: str | None
    epoch: int
    answer: Any = attrs.field(default=None, repr=False)


class NotAccepted(Exception):
    """A strategy did not open a session: `outcome` is what it answered. Never leaves this package."""

    def __init__(self, outcome: Outcome, fault: Fault) -> None:
        self.outcome, self.fault = outcome, fault
        super().__init__(fault.value)

    @property
    def by_credentials(self) -> bool:
        """Whether it was the credentials that were not accepted, which says nothing about the strategy."""
        return self.fault is Fault.NOT_AUTHENTICATED

    @property
    def refusal(self) -> Refusal:
        """What detection is told."""
        return Refusal(told(self.outcome, self.fault), wrong_strategy=self.fault is Fault.WRONG_STRATEGY)


def told(outcome: Outcome, fault: Fault) -> str:
    """Return in a word or two what a stack answered. Details are left out: they may hold anything."""
    if fault is Fault.WRONG_STRATEGY:
        return "456"
    return outcome.code if isinstance(outcome, Failure) else fault.value


class Sessions:
    """The sessions of one connection.

    Args:
        manager: the scope's manager.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default, the last one that the
            application sent is kept.
        learn: called with (message, strategy, version) for each answer that opened a session.

    Attributes:
        public_id: the one session id that the application ever sees.
    """

    def __init__(
        self,
        manager: StrategyManager,
        protocol: Protocol,
        credentials: Credentials | None = None,
        learn: Callable[[Any, Strategy, int], None] | None = None,
    ) -> None:
        self.public_id = secrets.token_hex(16)
        self._manager = manager
        self._protocol = protocol
        self._credentials = credentials
        self._learn = learn
        self._kept: tuple[Any, Metadata] | None = None
        self._lock = threading.Lock()
        self._open: dict[Strategy, Session] = {}
        self._opening: dict[Strategy, Future[Session | None]] = {}
        self._warming: dict[Strategy, tuple[int, Future[Outcome | None]]] = {}
        self._used = False

    def __repr__(self) -> str:
        return f"<Sessions on {', '.join(map(str, self._open)) or 'nothing'}>"

    def authenticate_with(self, request: Any, metadata: Metadata) -> None:
        """Take note that the application authenticates; keep the request if nobody else supplies it."""
        self._used = True
        if self._credentials is None:
            self._kept = (request, metadata)

    def on(self, strategy: Strategy) -> Session | None:
        """Return the session on `strategy` if there is one and it is not over."""
        session = self._open.get(strategy)
        return session if session is not None and session.epoch == self._manager.session_epoch(strategy) else None

    def opened(self, strategy: Strategy, left_s: float, instead_of: Session | None = None) -> Flow[Session]:
        """Return the session on `strategy`, opening it if need be. One attempt at a time for each strategy.

        Args:
            left_s: seconds that this may take.
            instead_of: a session that was found not to be good.

        Raises:
            NotAccepted: the strategy did not open one.
        """
        if not self._used:  # nothing to authenticate with: tokens travel in metadata, or nobody asks
            return Session(strategy, None, self._manager.session_epoch(strategy))
        while True:
            with self._lock:
                session = self.on(strategy)
                if session is not None and session is not instead_of:
                    return session
                opening = self._opening.get(strategy)
                leads = opening is None
                if opening is None:
                    opening = self._opening[strategy] = Future()
            if leads:
                return (yield from self._lead(opening, strategy, left_s))
            if not (yield Wait(opening, left_s)):
                late = TimeoutError(f"no session on {strategy} within {left_s:g} s")
                raise NotAccepted(Failure("DEADLINE_EXCEEDED", "", late), Fault.AMBIGUOUS)
            shared = opening.result()
            if shared is not None:  # none: its leader was stopped, so somebody else has to lead
                return shared

    def _lead(self, opening: Future[Session | None], strategy: Strategy, left_s: float) -> Flow[Session]:
        """Open the session for all who wait for it, and give each of them the result or the refusal."""
        session: Session | None = None
        try:
            session = yield from self._authenticated(strategy, left_s)
            self._open[strategy] = session
        except NotAccepted as refused:
            opening.set_exception(refused)
            raise
        finally:
            del self._opening[strategy]
            if not opening.done():
                opening.set_result(session)
        return session

    def proved(self, strategy: Strategy, left_s: float) -> Flow[None]:
        """Find out whether `strategy` accepts this connection: the `prove` of a detection.

        If it is the credentials that are not accepted, the other strategy is asked before anything is said
        about this one: wrong credentials of one connection must not fail the scope for all.

        Raises:
            Refusal: it does not.
            NotAccepted: neither strategy accepts these credentials.
        """
        try:
            yield from self.opened(strategy, left_s, instead_of=self._open.get(strategy))
        except NotAccepted as refused:
            if refused.by_credentials:
                other = strategy.other
                try:
                    yield from self.opened(other, left_s, instead_of=self._open.get(other))
                except NotAccepted:
                    raise refused from None
            raise refused.refusal from None

    def warmed(self) -> Flow[None]:
        """Begin to open a session on the pending strategy, without waiting for it."""
        pending = self._manager.pending
        if pending is None or not self._used or self.on(pending) or pending in {**self._warming, **self._opening}:
            return
        warming: Future[Outcome | None] = Future()
        entry = (self._manager.session_epoch(pending), warming)
        if self._warming.setdefault(pending, entry) is not entry:
            return
        begun: Future[Outcome] | None = None
        try:
            begun = yield Launch(self._request(pending, self._manager.settings.detection_timeout_s))
        finally:
            if begun is None:
                warming.set_result(None)
        if begun is not None:
            begun.add_done_callback(lambda future: warming.set_result(future.result()))

    def forget(self) -> None:
        """Forget every session and whatever was kept to open one."""
        self._open.clear()
        self._kept = None

    def _authenticated(self, strategy: Strategy, left_s: float) -> Flow[Session]:
        epoch, version = self._manager.session_epoch(strategy), self._manager.version
        begun_in, warm = self._warming.pop(strategy, (epoch, None))
        usable = warm is not None and begun_in == epoch and (yield Wait(warm, left_s))
        begun = warm.result() if warm is not None and usable else None
        # A refusal from the moment of the announcement is old news: the stack may be ready by now.
        outcome: Outcome = begun if isinstance(begun, Reply) else (yield self._request(strategy, left_s))
        if isinstance(outcome, Failure):
            fault = self._protocol.fault(outcome.code, outcome.details)
            denied = fault is Fault.ANSWER and outcome.code in ("UNAUTHENTICATED", "PERMISSION_DENIED")
            raise NotAccepted(outcome, Fault.NOT_AUTHENTICATED if denied else fault)
        session_id = read(outcome.message, self._protocol.session)
        if not session_id:
            raise NotAccepted(outcome, Fault.NOT_AUTHENTICATED)
        if self._learn is not None:
            self._learn(outcome.message, strategy, version)
        return Session(strategy, session_id, epoch, outcome.message)

    def _request(self, strategy: Strategy, left_s: float) -> Send:
        supplied = self._credentials() if self._credentials is not None else self._kept
        name = self._protocol.authenticator
        if supplied is None or name is None:
            raise LookupError(f"{self._protocol.name}: nothing to authenticate with")
        request, metadata = supplied
        return Send(name, request, self._protocol.routed(metadata, strategy, None), left_s)
