"""The sessions of one connection: one per strategy, opened when needed, one attempt at a time.

Source: spec, sections 2 (Authenticate, CloseSessions) and 5 (authentication).
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import secrets
import time
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import attrs

from bluegreen.errors import Refusal, StrategyUnavailable, UnknownStrategy
from bluegreen.machines.retry import BACKOFF
from bluegreen.machines.strategy.events import AuthSuccess, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.rate_limit import TokenBucket
from bluegreen.runtime.sansio import Flow, Sleep, Wait
from bluegreen.runtime.telemetry import RequestFailed, SessionOpened, UnlistedRefusal
from bluegreen.types import Strategy
from bluegreen_adapters.connection.acceptance import AcceptanceRecord, record_of
from bluegreen_adapters.connection.evidence import Evidence, Fault, ProtocolError, Request
from bluegreen_adapters.connection.protocol import Credentials, Metadata, Protocol, read
from bluegreen_adapters.connection.requests import Failure, Launch, Outcome, Reply, Send, launched_outcome

_log = logging.getLogger("bluegreen.sessions")
_HANDSHAKE: Final = re.compile(
    r"(?<=OPENSSL_internal:)[A-Z_]{1,60}|Hostname Verification Check failed|is not in peer certificate"
)
_AHEAD_BURST: Final = 4
"""How often at once a connection opens a session ahead of time: two switches, there and back."""

_SILENT_S: Final = 60.0
"""How long a connection says nothing more about what a server repeats with each answer, in seconds."""


def pause(delay_s: float) -> Sleep:
    """Return the command to pause for `delay_s` seconds, or up to half of that less."""
    return Sleep(random.uniform(delay_s / 2, delay_s))  # jitter, nothing secret


@attrs.define(eq=False)
class Session:
    """A session on one stack. An answer may bring a new id for it; who holds the session then has that.

    `answer` is the message that opened it.
    """

    strategy: Strategy
    id: str | None
    generation: int
    answer: Any = attrs.field(default=None, repr=False)


class Prewarm(NamedTuple):
    """A login that was begun before a query needed it.

    What it proves is as old as its launch: the stack may have refused others since.
    """

    session_generation: int
    state_version: int
    done: Future[Outcome | None]


class _Side:
    """State of a connection on one stack.

    Attributes:
        session: its session there, if one is open.
        opening: the login that is under way; who else needs the session waits for it.
        warming: a login that was begun ahead of time.
        accepted_s: when the stack last accepted a login or begin; None: never, or it has refused one since.
        is_refused: True from a refusal until a begin is accepted. A login in between proves nothing: a stack may
            accept logins and deny queries.
        held: a refused login that stands until the given time; the stack is not asked again before that.
        avoided_s: until when queries rather begin on the other stack, since this one denies them and that one does not.
    """

    __slots__ = ("accepted_s", "avoided_s", "held", "is_refused", "opening", "session", "warming")

    def __init__(self) -> None:
        self.session: Session | None = None
        self.opening: Future[Session | NotAccepted | None] | None = None
        self.warming: Prewarm | None = None
        self.accepted_s: float | None = None
        self.is_refused = False
        self.held: tuple[float, NotAccepted] | None = None
        self.avoided_s = 0.0


class NotAccepted(Exception):
    """A strategy did not open a session: `outcome` is what it answered. Never leaves this package."""

    def __init__(self, outcome: Outcome, evidence: Evidence) -> None:
        self.outcome, self.evidence = outcome, evidence
        super().__init__(evidence.fault.value)

    def again(self) -> NotAccepted:
        """Return it for another caller, without the call that brought it: that holds the request, with credentials."""
        outcome = Reply(self.outcome.message) if isinstance(self.outcome, Reply) else self.outcome
        return NotAccepted(outcome, self.evidence)

    @property
    def refusal(self) -> Refusal:
        """The same as the error that a detection understands."""
        fault = self.evidence.fault
        reason, is_456 = describe_outcome(self.outcome, fault), fault is Fault.WRONG_STRATEGY
        return Refusal(reason, wrong_strategy=is_456, answered=fault is not Fault.AMBIGUOUS)


class AcceptedElsewhere(Exception):
    """The strategy that a detection tried refuses this connection alone, and `strategy` accepts it.

    The connection is no witness for others, so it leaves the detection. Never leaves this package.
    """

    def __init__(self, strategy: Strategy, refused: NotAccepted) -> None:
        self.strategy, self.refused = strategy, refused
        super().__init__(str(strategy))


def describe_outcome(outcome: Outcome, fault: Fault) -> str:
    """Return in a few words what a stack answered. Details are left out: they may hold anything; but why a handshake of
    TLS has failed is told, in the one word that there is for it: nobody could mend what is only UNAVAILABLE."""
    if fault is Fault.WRONG_STRATEGY:
        return "456"
    if not isinstance(outcome, Failure):
        return str(fault.value)
    handshake = _HANDSHAKE.search(outcome.details) if fault is Fault.TRANSIENT else None
    return outcome.code if handshake is None else f"{outcome.code}, {handshake[0]}"


class SessionPool:
    """The sessions of one connection.

    Args:
        manager: the scope's manager.
        protocol: the wire protocol.
        credentials: returns the request that opens a session; by default, the last one that the
            application sent is kept. Without either, no session is ever opened: tokens travel in metadata.

    Attributes:
        public_id: the one session id that the application ever sees.
    """

    __slots__ = (
        "_ahead", "_blue", "_credentials", "_green", "_ignored", "_kept", "_manager", "_options", "_protocol",
        "_record", "public_id",
    )  # fmt: skip

    def __init__(
        self,
        manager: StrategyManager,
        protocol: Protocol,
        credentials: Credentials | None = None,
    ) -> None:
        self.public_id = secrets.token_hex(16)
        self._manager = manager
        self._protocol = protocol
        self._credentials = credentials
        self._kept: tuple[Any, Metadata] | None = None
        self._options: dict[str, Any] | None = None
        self._blue, self._green = _Side(), _Side()
        self._ahead: TokenBucket | None = None
        self._ignored: TokenBucket | None = None
        self._record: AcceptanceRecord = record_of(manager)

    def __repr__(self) -> str:
        return (
            f"<Sessions on {', '.join(str(one) for one in Strategy if self._on(one).session) or 'nothing'}>"
        )

    def _on(self, strategy: Strategy) -> _Side:
        return self._blue if strategy is Strategy.BLUE else self._green

    @property
    def warming(self) -> tuple[Future[Outcome | None], ...]:
        """The openings ahead of time that no query has used yet, over or not."""
        return tuple(one.warming.done for one in (self._blue, self._green) if one.warming is not None)

    def authenticate_with(
        self, request: Any, metadata: Metadata, options: dict[str, Any] | None = None
    ) -> None:
        """The application authenticates: keep its request, unless somebody else supplies one, and its call options.

        Sessions that were opened with other credentials are not used any more. What a stack refused is asked again,
        since the application asks for it.
        """
        self._options = options
        self._blue.held = self._green.held = None
        if self._credentials is None:
            if self._kept is not None and self._kept[0] != request:
                for side in (self._blue, self._green):
                    side.session = side.warming = None
            self._kept = (request, metadata)

    def is_same_user(self, other: SessionPool) -> bool:
        """Return whether another connection authenticates with an equal request."""
        mine, theirs = self._supplied(), other._supplied()
        return mine is not None and theirs is not None and bool(mine()[0] == theirs()[0])

    def on(self, strategy: Strategy) -> Session | None:
        """Return the session on `strategy` if there is one and it is not over."""
        session = self._on(strategy).session
        return (
            session
            if session is not None and session.generation == self._manager.session_generation(strategy)
            else None
        )

    def ready_on(self, strategy: Strategy) -> bool:
        """Whether a query there needs no session, or finds one that is open, or was opened ahead of time."""
        if self._supplied() is None or self.on(strategy) is not None:
            return True
        warming = self._on(strategy).warming
        if warming is None or warming.session_generation != self._manager.session_generation(strategy):
            return False
        outcome = warming.done.result() if warming.done.done() else None
        return isinstance(outcome, Reply) and bool(read(outcome.message, self._protocol.session))

    def opened(
        self, strategy: Strategy, left_s: float, instead_of: Session | None = None, *, is_witness: bool = True
    ) -> Flow[Session]:
        """Return the session on `strategy`, opening it if need be. One attempt at a time for each strategy.

        Args:
            left_s: seconds that this may take.
            instead_of: a session that was found not to be good.
            is_witness: whether a login that is accepted is news for the scope. It is none from a connection that
                goes its own way, since a detection would adopt the strategy for everybody.

        Raises:
            NotAccepted: the strategy did not open one.
        """
        if self._supplied() is None:
            return Session(strategy, None, self._manager.session_generation(strategy))
        side, deadline_s = self._on(strategy), self._manager.now_s() + left_s
        while True:
            if (refused := self.held(strategy)) is not None:
                raise refused
            with self._record.lock:
                session = self.on(strategy)
                if session is not None and session is not instead_of:
                    return session
                side.session = None
                opening = side.opening
                leads = opening is None
                if opening is None:
                    opening = side.opening = Future()
            if leads:
                return (yield from self._lead(opening, strategy, deadline_s, is_witness))
            if not (yield Wait(opening, deadline_s - self._manager.now_s())):
                late = TimeoutError(f"no session on {strategy} within {left_s:g} s")
                raise NotAccepted(Failure("DEADLINE_EXCEEDED", "", late), self._row(Fault.AMBIGUOUS))
            shared = opening.result()
            if isinstance(shared, NotAccepted):
                raise shared.again()
            if shared is not None:  # None: its leader was stopped, so another caller has to lead
                return shared

    def session_for(
        self, strategy: Strategy, left_s: float | None = None, *, is_witness: bool = True
    ) -> Flow[Session]:
        """Return the session on `strategy`, for a query that goes there; see `opened`.

        Args:
            left_s: seconds that the caller has left, if less than a stack may take.

        Raises:
            NotAccepted: it does not accept this connection.
        """
        left_s = self.share_s if left_s is None else min(left_s, self.share_s)
        return (yield from self.opened(strategy, left_s, is_witness=is_witness))

    def proved(self, strategy: Strategy, left_s: float) -> Flow[None]:
        """Find out whether `strategy` accepts this connection: the `prove` of a detection.

        If the server gave its own answer, the other strategy is asked before anything is said about this one: wrong
        credentials of one connection must not fail the scope for all, and a suspended cluster says so.

        Raises:
            Refusal: it does not.
            NotAccepted: neither strategy accepts this connection.
            AcceptedElsewhere: others are served there, so that it is this connection's own problem.
        """
        deadline_s = self._manager.now_s() + left_s
        left_s = min(left_s, self.share_s)
        side = self._on(strategy)
        if side.warming is not None and side.warming.state_version != self._manager.state_version:
            side.warming = None  # an answer from before this detection proves nothing now
        try:
            yield from self.opened(strategy, left_s, instead_of=side.session)
        except NotAccepted as refused:
            if refused.evidence.then == "elsewhere":
                self.turn_away(strategy, refused)
                others_served = self.is_served_since(strategy)
                left_s = deadline_s - self._manager.now_s()
                if not (yield from self.is_accepted_by(strategy.other, left_s, is_witness=not others_served)):
                    raise
                if others_served:
                    raise AcceptedElsewhere(strategy.other, refused) from None
            raise refused.refusal from None

    @property
    def share_s(self) -> float:
        """Longest time for one strategy, in seconds, so that a silent one leaves time for the other."""
        return self._manager.settings.detection_timeout_s / len(Strategy)

    # Which connection is accepted where: see `acceptance`.

    @property
    def has_login(self) -> bool:
        """True if this connection opens sessions; False if a token travels with each request."""
        return self._supplied() is not None

    def is_accepted_by(self, strategy: Strategy, left_s: float, *, is_witness: bool) -> Flow[bool]:
        """Find out within `left_s` seconds whether a strategy accepts this connection; a session that is open is not
        opened again."""
        try:
            yield from self.session_for(strategy, left_s, is_witness=is_witness)
        except NotAccepted:
            return False
        return True

    def accepted_at(self, strategy: Strategy) -> float | None:
        """Return when this strategy last accepted this connection; None: never, or it has refused it since."""
        return self._on(strategy).accepted_s

    def note_accepted(self, strategy: Strategy, *, begin: bool = True) -> None:
        """Record that a begin, or a login, was accepted: this connection vouches for the strategy."""
        side = self._on(strategy)
        if begin:
            side.is_refused, side.held, side.avoided_s = False, None, 0.0
        elif side.is_refused:
            return
        side.accepted_s = self._manager.now_s()
        self._record.note_accepted(strategy, self.public_id, side.accepted_s)

    def note_refused(self, strategy: Strategy) -> None:
        """Record that this connection is refused: it vouches for the strategy no more."""
        side = self._on(strategy)
        side.accepted_s, side.is_refused = None, True
        self._record.note_refused(strategy, self.public_id)

    def turn_away(self, strategy: Strategy, refused: NotAccepted) -> None:
        """Record a refusal that stands for a while: the strategy is not asked again within the hold-down."""
        self.note_refused(strategy)
        side = self._on(strategy)
        if side.held is None:
            side.held = (self._manager.now_s() + self._manager.settings.failed_cooldown_s, refused.again())

    def avoid(self, strategy: Strategy) -> None:
        """Prefer the other strategy for a while: this one denied a begin, and the other one accepts the connection."""
        self._on(strategy).avoided_s = self._manager.now_s() + self._manager.settings.failed_cooldown_s

    def is_avoided(self, strategy: Strategy) -> bool:
        """Return whether queries of this connection rather begin on the other strategy."""
        return self._on(strategy).avoided_s > self._manager.now_s()

    def stop_avoiding(self, strategy: Strategy) -> None:
        """Undo `avoid`: the other strategy does not take the query either."""
        self._on(strategy).avoided_s = 0.0

    def held(self, strategy: Strategy) -> NotAccepted | None:
        """Return the refusal that still stands on a strategy, to raise; None: it may be asked."""
        held = self._on(strategy).held
        if held is None:
            return None
        until_s, refused = held
        if self._manager.now_s() < until_s:
            return refused.again()
        self._on(strategy).held = None
        return None

    def is_served_since(self, strategy: Strategy, first_s: float | None = None) -> bool:
        """Return whether another connection vouches for a strategy.

        Args:
            first_s: when the transport first failed this connection; only acceptances that are not much older than
                that count. None: it was refused, and each connection that has not been refused itself counts.
        """
        first = self._manager.now_s() if first_s is None else first_s
        since_s = first - self._manager.settings.probe_after_s
        return self._record.served_since(strategy, self.public_id, since_s, ageless=first_s is None)

    def prewarm(self) -> Flow[None]:
        """Begin to open a session on the pending strategy, without waiting for it.

        After a few times it is once within `failed_cooldown_s`: a server whose answers announce the one and the other
        strategy in turn must not make this connection authenticate as often as it answers.
        """
        version = self._manager.state_version  # before `pending`: the login proves nothing newer
        pending = self._manager.pending
        if pending is None or self._supplied() is None or self.on(pending):
            return
        warming: Future[Outcome | None] = Future()
        entry = Prewarm(self._manager.session_generation(pending), version, warming)
        with self._record.lock:
            # In this order: a session is there before its opening is over.
            side = self._on(pending)
            if side.opening is not None or self.on(pending):
                return
            if side.warming is not None and side.warming.session_generation == entry.session_generation:
                return
            self._ahead = self._ahead or TokenBucket(_AHEAD_BURST)
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
            begun.add_done_callback(lambda done: warming.set_result(launched_outcome(done)))

    def note_unlisted(self, strategy: Strategy, method: str, failure: Failure, row: Evidence) -> None:
        """Count a reply that looks like a refusal of the strategy but is no known form; warn once per scope.

        Its text is not repeated: it may hold anything, and the application has it.
        """
        if row.fault not in (Fault.ANSWER, Fault.SUSPECTED) or not self._protocol.is_marked(failure.details):
            return
        manager = self._manager
        manager.report(UnlistedRefusal(manager.scope, manager.now_s(), strategy, method, failure.code))
        manager.warn_once(
            "unlisted refusal",
            "%s answered %s with %s and a message that contains %s but is no known form of a refusal, so the "
            "application got it; if the gateway sent it, add its form to the setting forms",
            strategy, method, failure.code, self._protocol.refusal_mark,
        )  # fmt: skip

    def observe_reply(self, message: Any, strategy: Strategy, version: int) -> None:
        """Observe what an answer of a strategy says about strategies.

        If that leads to Failed, the next caller gets the error.
        """
        manager = self._manager
        manager.proved(strategy)
        announced = read(message, self._protocol.announcement)
        if not announced:
            return
        try:
            with contextlib.suppress(StrategyUnavailable):
                manager.send(StrategyAnnounced(announced, version))
        except UnknownStrategy as error:
            self._ignored = self._ignored or TokenBucket(1)
            left_out = self._ignored.use(manager.now_s(), _SILENT_S)
            if left_out is not None:
                text = "%s: ignored an announcement: %s (%d more since the last such line)"
                _log.warning(text, manager.scope, error, left_out)

    def forget(self) -> None:
        """Forget every session and whatever was kept to open one."""
        self._blue.session = self._green.session = None
        self._kept = None

    def _lead(
        self,
        opening: Future[Session | NotAccepted | None],
        strategy: Strategy,
        deadline_s: float,
        is_witness: bool,
    ) -> Flow[Session]:
        """Open the session for all who wait for it, and give each of them the result or the refusal."""
        session: Session | None = None
        try:
            opened = session = yield from self._authenticated(strategy, deadline_s, is_witness)
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

    def _authenticated(self, strategy: Strategy, deadline_s: float, is_witness: bool) -> Flow[Session]:
        began_s = time.monotonic()
        generation, version = self._manager.session_generation(strategy), self._manager.state_version
        side = self._on(strategy)
        warm, side.warming = side.warming, None
        outcome: Outcome | None = None
        ahead = False
        is_warm = warm is not None and warm.session_generation == generation
        if warm is not None and is_warm and (yield Wait(warm.done, deadline_s - self._manager.now_s())):
            outcome, ahead, version = warm.done.result(), True, warm.state_version
        if not isinstance(outcome, Reply) or not read(outcome.message, self._protocol.session):
            # There was none, or a refusal from the moment of the announcement: the stack may be ready by now.
            ahead, version = False, self._manager.state_version
            outcome = yield from self._ask(strategy, deadline_s)
        manager = self._manager
        if isinstance(outcome, Failure):
            row = self._judge(outcome)
            if manager.observed:
                name = self._protocol.authenticator or ""
                manager.report(
                    RequestFailed(
                        manager.scope, manager.now_s(), strategy, name, row.fault.value, outcome.code
                    )
                )
            self.note_unlisted(strategy, self._protocol.authenticator or "", outcome, row)
            if row.then == "elsewhere":
                self.note_refused(strategy)
            raise NotAccepted(attrs.evolve(outcome, evidence=row), row)
        if not hasattr(outcome.message, self._protocol.session):
            protocol = self._protocol
            reads = f"the response of {protocol.authenticator} has no field {protocol.session!r} (session)"
            raise ProtocolError([f"{protocol.name}: {reads}: the session's id cannot be read"])
        session_id = read(outcome.message, self._protocol.session)
        if not session_id:
            self.note_refused(strategy)
            raise NotAccepted(outcome, self._row(Fault.NOT_AUTHENTICATED))
        if manager.observed:
            took_s = time.monotonic() - began_s
            manager.report(SessionOpened(manager.scope, manager.now_s(), strategy, took_s, ahead))
        if is_witness:
            manager.send(AuthSuccess(strategy, version))
        self.note_accepted(strategy, begin=False)
        self.observe_reply(outcome.message, strategy, version)
        return Session(strategy, session_id, generation, outcome.message)

    def _ask(self, strategy: Strategy, deadline_s: float) -> Flow[Outcome]:
        """Authenticate; if the transport fails, once more. Whether to go on with it is up to detection."""
        outcome: Outcome = yield self._request(strategy, self._left_s(deadline_s))
        if isinstance(outcome, Failure) and self._judge(outcome).again == "backoff":
            yield pause(BACKOFF.delay_s(1))
            outcome = yield self._request(strategy, self._left_s(deadline_s))
        return outcome

    def _left_s(self, deadline_s: float) -> float:
        """Return the seconds until a deadline by the manager's clock; more than 0, as a gRPC call needs it."""
        return max(deadline_s - self._manager.now_s(), 0.001)

    def _judge(self, failure: Failure) -> Evidence:
        return self._protocol.judge(failure.code, failure.details, Request.LOGIN)

    def _row(self, fault: Fault) -> Evidence:
        return self._protocol.verdict(fault, Request.LOGIN)

    def _supplied(self) -> Credentials | None:
        kept = self._kept
        return self._credentials or ((lambda: kept) if kept is not None else None)

    def _request(self, strategy: Strategy, left_s: float) -> Send:
        supplied, name = self._supplied(), self._protocol.authenticator
        if supplied is None or name is None:
            raise LookupError(f"{self._protocol.name}: nothing to authenticate with")
        request, metadata = supplied()
        self._manager.count_request()
        return Send(
            name, request, self._protocol.routed(metadata, strategy, None), left_s, self._options or {}
        )
