"""The sessions of one connection: one per strategy, opened when needed, one attempt at a time.

Source: spec, sections 2 (Authenticate, CloseSessions) and 5 (authentication).
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import attrs
import tenacity

from bluegreen.allowance import Allowance
from bluegreen.alphabet import AuthSuccess
from bluegreen.errors import Refusal
from bluegreen.flow import Flow, Sleep, Wait
from bluegreen.happenings import RequestFailed, SessionOpened
from bluegreen.manager import StrategyManager
from bluegreen.recovery import POLICY
from bluegreen.vocabulary import Strategy
from bluegreen_adapters.commands import Failure, Launch, Outcome, Reply, Send
from bluegreen_adapters.protocol import Credentials, Fault, Metadata, Protocol, read

_log = logging.getLogger("bluegreen.sessions")
_HANDSHAKE: Final = re.compile(
    r"(?<=OPENSSL_internal:)[A-Z_]{1,60}|Hostname Verification Check failed|is not in peer certificate"
)
_AHEAD_BURST: Final = 4
"""How often at once a connection opens a session ahead of time: two switches, there and back."""

_JITTER_STATE: Final = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})


def pause(delay_s: float) -> Sleep:
    """Return the command to pause for `delay_s` seconds, or up to half of that less."""
    return Sleep(tenacity.wait_random(delay_s / 2, delay_s)(_JITTER_STATE))


@attrs.define(eq=False)
class Session:
    """A session on one stack. An answer may bring a new id for it; who holds the session then has that.

    `answer` is the message that opened it.
    """

    strategy: Strategy
    id: str | None
    epoch: int
    answer: Any = attrs.field(default=None, repr=False)


class _Side:
    """What a connection has on one stack: its session, the opening of one, and one that was begun ahead of time, with
    the epoch of sessions in which that was."""

    __slots__ = ("opening", "session", "warming")

    def __init__(self) -> None:
        self.session: Session | None = None
        self.opening: Future[Session | NotAccepted | None] | None = None
        self.warming: tuple[int, Future[Outcome | None]] | None = None


class NotAccepted(Exception):
    """A strategy did not open a session: `outcome` is what it answered. Never leaves this package."""

    def __init__(self, outcome: Outcome, fault: Fault) -> None:
        self.outcome, self.fault = outcome, fault
        super().__init__(fault.value)

    @property
    def answered(self) -> bool:
        """Whether this is the server's own answer, which is for the application if no strategy accepts it."""
        return self.fault in (Fault.NOT_AUTHENTICATED, Fault.ANSWER)

    def again(self) -> NotAccepted:
        """Return it anew, for somebody else to raise."""
        return NotAccepted(self.outcome, self.fault)

    @property
    def refusal(self) -> Refusal:
        """What detection is told."""
        return Refusal(told(self.outcome, self.fault), wrong_strategy=self.fault is Fault.WRONG_STRATEGY)


def told(outcome: Outcome, fault: Fault) -> str:
    """Return in a few words what a stack answered. Details are left out: they may hold anything; but why a handshake of
    TLS has failed is told, in the one word that there is for it: nobody could mend what is only UNAVAILABLE."""
    if fault is Fault.WRONG_STRATEGY:
        return "456"
    if not isinstance(outcome, Failure):
        return str(fault.value)
    handshake = _HANDSHAKE.search(outcome.details) if fault is Fault.TRANSIENT else None
    return outcome.code if handshake is None else f"{outcome.code}, {handshake[0]}"


def _answer(done: Future[Outcome]) -> Outcome | None:
    """Return what a stack has answered, if it has. The call that brought it is let go: it may hold its request."""
    if done.cancelled() or done.exception():
        return None
    outcome = done.result()
    return Reply(outcome.message) if isinstance(outcome, Reply) else outcome


_known: weakref.WeakKeyDictionary[StrategyManager, weakref.WeakSet[Sessions]] = weakref.WeakKeyDictionary()
_knowing = threading.Lock()


def sessions_of(manager: StrategyManager) -> tuple[Sessions, ...]:
    """Return the sessions of each connection that a scope has in this process."""
    with _knowing:
        return tuple(_known.get(manager, ()))


def _after_fork_in_child() -> None:
    global _knowing  # noqa: PLW0603  a thread that is not here may have held it
    _knowing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Sessions:
    """The sessions of one connection.

    Args:
        manager: the scope's manager.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default, the last one that the
            application sent is kept. Without either, no session is ever opened: tokens travel in metadata.
        learn: called with (message, strategy, version) for each answer that opened a session.

    Attributes:
        public_id: the one session id that the application ever sees.
    """

    __slots__ = (
        "__weakref__", "_ahead", "_blue", "_credentials", "_green", "_kept", "_learn", "_lock", "_manager", "_protocol",
        "public_id",
    )  # fmt: skip

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
        self._blue, self._green = _Side(), _Side()
        self._ahead: Allowance | None = None
        with _knowing:
            _known.setdefault(manager, weakref.WeakSet()).add(self)

    def __repr__(self) -> str:
        return (
            f"<Sessions on {', '.join(str(one) for one in Strategy if self._on(one).session) or 'nothing'}>"
        )

    def _on(self, strategy: Strategy) -> _Side:
        return self._blue if strategy is Strategy.BLUE else self._green

    @property
    def warming(self) -> tuple[Future[Outcome | None], ...]:
        """The openings ahead of time that no query has used yet, over or not."""
        return tuple(one.warming[1] for one in (self._blue, self._green) if one.warming is not None)

    def authenticate_with(self, request: Any, metadata: Metadata) -> None:
        """The application authenticates: keep its request, unless somebody else supplies one.

        Sessions that were opened with other credentials are not used any more.
        """
        if self._credentials is None:
            if self._kept is not None and self._kept[0] != request:
                for side in (self._blue, self._green):
                    side.session = side.warming = None
            self._kept = (request, metadata)

    def on(self, strategy: Strategy) -> Session | None:
        """Return the session on `strategy` if there is one and it is not over."""
        session = self._on(strategy).session
        return (
            session
            if session is not None and session.epoch == self._manager.session_epoch(strategy)
            else None
        )

    def ready_on(self, strategy: Strategy) -> bool:
        """Whether a query there needs no session, or finds one that is open, or was opened ahead of time."""
        if self._supplied() is None or self.on(strategy) is not None:
            return True
        warming = self._on(strategy).warming
        if warming is None or warming[0] != self._manager.session_epoch(strategy) or not warming[1].done():
            return False
        outcome = warming[1].result()
        return isinstance(outcome, Reply) and bool(read(outcome.message, self._protocol.session))

    def opened(self, strategy: Strategy, left_s: float, instead_of: Session | None = None) -> Flow[Session]:
        """Return the session on `strategy`, opening it if need be. One attempt at a time for each strategy.

        Args:
            left_s: seconds that this may take.
            instead_of: a session that was found not to be good.

        Raises:
            NotAccepted: the strategy did not open one.
        """
        if self._supplied() is None:
            return Session(strategy, None, self._manager.session_epoch(strategy))
        side = self._on(strategy)
        while True:
            with self._lock:
                session = self.on(strategy)
                if session is not None and session is not instead_of:
                    return session
                side.session = None
                opening = side.opening
                leads = opening is None
                if opening is None:
                    opening = side.opening = Future()
            if leads:
                return (yield from self._lead(opening, strategy, left_s))
            if not (yield Wait(opening, left_s)):
                late = TimeoutError(f"no session on {strategy} within {left_s:g} s")
                raise NotAccepted(Failure("DEADLINE_EXCEEDED", "", late), Fault.AMBIGUOUS)
            shared = opening.result()
            if isinstance(shared, NotAccepted):
                raise shared.again()
            if shared is not None:  # none: its leader was stopped, so somebody else has to lead
                return shared

    def given(self, strategy: Strategy) -> Flow[Session]:
        """Return the session on `strategy`, for a query that goes there.

        Raises:
            Refusal: it does not accept this connection, but the other one may.
            NotAccepted: it is the connection that is not accepted.
        """
        try:
            return (yield from self.opened(strategy, self._share_s))
        except NotAccepted as refused:
            yield from self._judged(strategy, refused)
            raise refused.refusal from None

    def proved(self, strategy: Strategy, left_s: float) -> Flow[None]:
        """Find out whether `strategy` accepts this connection: the `prove` of a detection.

        Raises:
            Refusal: it does not.
            NotAccepted: it is the connection that is not accepted.
        """
        left_s = min(left_s, self._share_s)
        try:
            yield from self.opened(strategy, left_s, instead_of=self._on(strategy).session)
        except NotAccepted as refused:
            yield from self._judged(strategy, refused)
            raise refused.refusal from None

    @property
    def _share_s(self) -> float:
        """How long one strategy may take, so that a silent one leaves time for the other."""
        return self._manager.settings.detection_timeout_s / len(Strategy)

    def _judged(self, strategy: Strategy, refused: NotAccepted) -> Flow[None]:
        """If the server gave its own answer, ask the other strategy before anything is said about this one:
        wrong credentials of one connection must not fail the scope for all, and a suspended cluster says so.

        Raises:
            NotAccepted: the other one does not accept this connection either.
        """
        if refused.answered:
            other = strategy.other
            try:
                yield from self.opened(other, self._share_s, instead_of=self._on(other).session)
            except NotAccepted:
                raise refused from None

    def warmed(self) -> Flow[None]:
        """Begin to open a session on the pending strategy, without waiting for it.

        After a few times it is once within `failed_cooldown_s`: a server whose answers announce the one and the other
        strategy in turn must not make this connection authenticate as often as it answers.
        """
        pending = self._manager.pending
        if pending is None or self._supplied() is None or self.on(pending):
            return
        warming: Future[Outcome | None] = Future()
        entry = (self._manager.session_epoch(pending), warming)
        with self._lock:
            # In this order: a session is there before its opening is over.
            side = self._on(pending)
            if side.opening is not None or self.on(pending):
                return
            if side.warming is not None and side.warming[0] == entry[0]:
                return
            self._ahead = self._ahead or Allowance(_AHEAD_BURST)
            if self._ahead.use(self._manager.now_s(), self._manager.settings.failed_cooldown_s) is None:
                return
            side.warming = entry
        begun: Future[Outcome] | None = None
        try:
            begun = yield Launch(self._request(pending, self._manager.settings.detection_timeout_s))
        except Exception as error:  # noqa: BLE001  the RPC that brought the announcement has succeeded
            _log.debug("%s: no session ahead of time on %s: %r", self._manager.scope, pending, type(error))
        finally:
            if begun is None:
                warming.set_result(None)
        if begun is not None:
            begun.add_done_callback(lambda done: warming.set_result(_answer(done)))

    def forget(self) -> None:
        """Forget every session and whatever was kept to open one."""
        self._blue.session = self._green.session = None
        self._kept = None

    def _lead(
        self, opening: Future[Session | NotAccepted | None], strategy: Strategy, left_s: float
    ) -> Flow[Session]:
        """Open the session for all who wait for it, and give each of them the result or the refusal."""
        session: Session | None = None
        try:
            opened = session = yield from self._authenticated(strategy, left_s)
            self._on(strategy).session = opened
            return opened
        except NotAccepted as refused:
            opening.set_result(
                refused.again()
            )  # a value: an error in a future that its own frame has never goes
            raise
        finally:
            self._on(strategy).opening = None
            if not opening.done():
                opening.set_result(session)

    def _authenticated(self, strategy: Strategy, left_s: float) -> Flow[Session]:
        began_s = time.monotonic()
        deadline_s = began_s + left_s
        epoch, version = self._manager.session_epoch(strategy), self._manager.version
        side = self._on(strategy)
        begun_in, warm = side.warming or (epoch, None)
        side.warming = None
        outcome: Outcome | None = None
        ahead = False
        if warm is not None and begun_in == epoch and (yield Wait(warm, left_s)):
            outcome, ahead = warm.result(), True
        if not isinstance(outcome, Reply) or not read(outcome.message, self._protocol.session):
            # There was none, or a refusal from the moment of the announcement: the stack may be ready by now.
            ahead = False
            outcome = yield from self._asked(strategy, deadline_s)
        manager = self._manager
        if isinstance(outcome, Failure):
            fault = self._fault(outcome)
            if manager.observed:
                name = self._protocol.authenticator or ""
                manager.report(
                    RequestFailed(manager.scope, manager.now_s(), strategy, name, fault.value, outcome.code)
                )
            denied = outcome.code in ("UNAUTHENTICATED", "PERMISSION_DENIED") and fault is Fault.ANSWER
            raise NotAccepted(outcome, Fault.NOT_AUTHENTICATED if denied else fault)
        session_id = read(outcome.message, self._protocol.session)
        if not session_id:
            raise NotAccepted(outcome, Fault.NOT_AUTHENTICATED)
        if manager.observed:
            took_s = time.monotonic() - began_s
            manager.report(SessionOpened(manager.scope, manager.now_s(), strategy, took_s, ahead))
        manager.send(AuthSuccess(strategy, version))
        if self._learn is not None:
            self._learn(outcome.message, strategy, version)
        return Session(strategy, session_id, epoch, outcome.message)

    def _asked(self, strategy: Strategy, deadline_s: float) -> Flow[Outcome]:
        """Authenticate; if the transport fails, once more. Whether to go on with it is up to detection."""
        outcome: Outcome = yield self._request(strategy, max(deadline_s - time.monotonic(), 0.001))
        if isinstance(outcome, Failure) and self._fault(outcome) is Fault.TRANSIENT:
            yield pause(POLICY["transient"].delay_s(1))
            outcome = yield self._request(strategy, max(deadline_s - time.monotonic(), 0.001))
        return outcome

    def _fault(self, failure: Failure) -> Fault:
        return self._protocol.fault(failure.code, failure.details)

    def _supplied(self) -> Credentials | None:
        kept = self._kept
        return self._credentials or ((lambda: kept) if kept is not None else None)

    def _request(self, strategy: Strategy, left_s: float) -> Send:
        supplied, name = self._supplied(), self._protocol.authenticator
        if supplied is None or name is None:
            raise LookupError(f"{self._protocol.name}: nothing to authenticate with")
        request, metadata = supplied()
        self._manager.asked()
        return Send(name, request, self._protocol.routed(metadata, strategy, None), left_s)
