"""The recovery policy: what is done about an error, how often, and after which pause. It is data.

`POLICY` has the figures; `RECOVERY` is the machine of one attempt at one RPC that carries them out. Jitter
is added by whoever waits: this module has no randomness.

Source: spec, section 5. Order: retry current, clear cache and retry, detect, fall back to default, escalate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import attrs

from bluegreen.table.guards import Fact
from bluegreen.table.table import State, Table, forbid, go, ignore, stay


@attrs.frozen
class Rule:
    """One line of the policy.

    Args:
        action: what is done, in words.
        attempts: how often at most, per operation; none: the setting `retry_attempts` says.
        first_delay_s: pause before the first retry, in seconds; it doubles with each further one.
        longest_delay_s: no pause is longer, in seconds.
    """

    action: str
    attempts: int | None
    first_delay_s: float = 0.0
    longest_delay_s: float = 0.0

    def delay_s(self, attempt: int) -> float:
        """Return the pause before retry number `attempt`, counted from 1, in seconds."""
        return min(self.first_delay_s * 2.0 ** (attempt - 1), self.longest_delay_s)


POLICY: Final[Mapping[str, Rule]] = {
    "transient": Rule("retry on the current strategy", None, 0.05, 2.0),
    "456": Rule("clear cache and detect", 2),
    "authentication": Rule("try the other strategy", 2),
    "detection failure": Rule("escalate", 1),
}
"""What is done about which kind of error."""


@attrs.frozen
class TransientError:
    """The transport failed, and sending again is safe."""

    name: ClassVar[str] = "transient_error"


@attrs.frozen
class WrongStrategy:
    """The strategy refused the request: 456."""

    name: ClassVar[str] = "wrong_strategy"


@attrs.frozen
class NotAuthenticated:
    """The session is not, or no longer, accepted."""

    name: ClassVar[str] = "not_authenticated"


@attrs.frozen
class DetectionFailed:
    """Neither strategy could be used."""

    name: ClassVar[str] = "detection_failed"


@attrs.frozen
class Answered:
    """The server answered: nothing is left to recover."""

    name: ClassVar[str] = "answered"


RecoveryEvent = TransientError | WrongStrategy | NotAuthenticated | DetectionFailed | Answered


@attrs.frozen
class Attempts:
    """How often each kind of error has been met within one operation, and how often transient ones may be."""

    transient: int = 0
    refused: int = 0
    denied: int = 0
    limit: int = 3


@attrs.frozen
class RetryAfter:
    """Send again on the same strategy after `delay_s` seconds, before jitter; this is retry number `attempt`."""

    delay_s: float
    attempt: int


@attrs.frozen
class DetectAgain:
    """The cache is wrong: report it, detect if nobody has yet, and send again where that leads."""


@attrs.frozen
class AuthenticateAgain:
    """Open a new session, on the other strategy if this one accepts none, and send again."""


@attrs.frozen
class Escalate:
    """Give the error to the caller."""


RecoveryEffect = RetryAfter | DetectAgain | AuthenticateAgain | Escalate


def _limit(kind: str) -> int:
    attempts = POLICY[kind].attempts
    assert attempts is not None
    return attempts


_transient_left = Fact("transient_left", (True, False), lambda c, _: c.transient < c.limit).is_(True)
_refused_left = Fact("refused_left", (True, False), lambda c, _: c.refused < _limit("456")).is_(True)
_denied_left = Fact("denied_left", (True, False), lambda c, _: c.denied < _limit("authentication")).is_(True)
transient_left = _transient_left.named("retries left")
refused_left = _refused_left.named("detections left")
denied_left = _denied_left.named("authentications left")


def _count(kind: str) -> Any:
    def count(context: Attempts, _: Any) -> Attempts:
        return attrs.evolve(context, **{kind: getattr(context, kind) + 1})

    count.__name__ = f"count_{kind}"
    return count


def _retry(_: Attempts, after: Attempts, __: Any) -> RecoveryEffect:
    return RetryAfter(POLICY["transient"].delay_s(after.transient), after.transient)


def _detect(_: Attempts, __: Attempts, ___: Any) -> RecoveryEffect:
    return DetectAgain()


def _authenticate(_: Attempts, __: Attempts, ___: Any) -> RecoveryEffect:
    return AuthenticateAgain()


def _escalate(_: Attempts, __: Attempts, ___: Any) -> RecoveryEffect:
    return Escalate()


_ALL: Final = (TransientError, WrongStrategy, NotAuthenticated, DetectionFailed)

RECOVERY: Final[Table[Attempts, RecoveryEvent, RecoveryEffect]] = Table(
    name="recovery",
    initial="Trying",
    states=(State("Trying"), State("Settled", final=True), State("Escalated", final=True)),
    events=(*_ALL, Answered),
    rows=(
        stay(
            "Trying",
            TransientError,
            guard=transient_left,
            update=_count("transient"),
            effects=(_retry,),
            why="transient: retry on the current strategy, exponential with jitter",
        ),
        go("Trying", TransientError, "Escalated", guard=~transient_left, effects=(_escalate,), why="used up"),
        stay(
            "Trying",
            WrongStrategy,
            guard=refused_left,
            update=_count("refused"),
            effects=(_detect,),
            why="456: clear cache and detect, at once",
        ),
        go("Trying", WrongStrategy, "Escalated", guard=~refused_left, effects=(_escalate,), why="used up"),
        stay(
            "Trying",
            NotAuthenticated,
            guard=denied_left,
            update=_count("denied"),
            effects=(_authenticate,),
            why="authentication: a new session, on the other strategy if need be, at once",
        ),
        go("Trying", NotAuthenticated, "Escalated", guard=~denied_left, effects=(_escalate,), why="used up"),
        go("Trying", DetectionFailed, "Escalated", effects=(_escalate,), why="detection failure: escalate"),
        go("Trying", Answered, "Settled", why="nothing is left to recover"),
        ignore("Settled", (*_ALL, Answered), why="the operation is over"),
        ignore("Escalated", _ALL, why="the error is with the caller already"),
        forbid("Escalated", Answered, why="the error is with the caller already"),
    ),
    contexts=(Attempts(), Attempts(3, 2, 2)),
    samples=tuple(event() for event in (*_ALL, Answered)),
)
"""The machine of one operation's attempts."""
