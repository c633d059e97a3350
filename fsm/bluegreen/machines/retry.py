"""Retry machine: what follows when an RPC of one request of the application fails in a way that can be retried.

The request is what the application called. It is placed on a stack, and its RPC is sent there; it may be sent again,
and be placed on the other stack. Two errors can be retried: an error of the transport, and a session that its stack
does not accept any more. `RETRY` decides on each of them between four effects: send again on the same stack, place the
request anew, renew the session, give up.

The limits of section 5 of the specification are enforced in three places:

- transport: `Settings.retry_attempts` resends of one request, over both stacks together, each after a pause of
  `BACKOFF`. The last one is kept for the other stack, if the request can be placed anew. `RETRY` counts them.
- authentication: `RENEWALS` new sessions on one stack. `RETRY` counts them.
- status 456: `bluegreen.machines.query.RESTARTS` restarts of a query. The query machine counts them.

Whoever waits adds jitter: this module has no randomness.

Source: spec, sections 5 and 8.7.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import attrs

from bluegreen.table.guards import Fact
from bluegreen.table.table import State, Table, forbid, go, stay

RENEWALS: Final = 2
"""How often one request gets a new session on one stack."""


@attrs.frozen
class Backoff:
    """Exponential pauses.

    Args:
        first_s: pause before the first resend, in seconds; it doubles with each further one.
        longest_s: longest pause, in seconds.

    >>> [Backoff(0.5, 3.0).delay_s(attempt) for attempt in (1, 2, 3, 4)]
    [0.5, 1.0, 2.0, 3.0]
    """

    first_s: float
    longest_s: float

    def delay_s(self, attempt: int) -> float:
        """Return the pause before resend number `attempt`, counted from 1, in seconds."""
        return min(self.first_s * 2.0 ** (attempt - 1), self.longest_s)


BACKOFF: Final = Backoff(first_s=0.05, longest_s=2.0)
"""Pauses before the resends of one request."""


@attrs.frozen
class Placed:
    """An RPC of the request is to be sent to a stack.

    Args:
        limit: the setting `retry_attempts`.
    """

    name: ClassVar[str] = "placed"
    limit: int


@attrs.frozen
class TransientError:
    """The transport failed.

    Args:
        here: whether the same stack may get the RPC again.
        elsewhere: whether the request can be placed anew.
    """

    name: ClassVar[str] = "transient_error"
    here: bool = True
    elsewhere: bool = False


@attrs.frozen
class NotAuthenticated:
    """The session is not accepted any more, and the RPC took no effect."""

    name: ClassVar[str] = "not_authenticated"


RetryEvent = Placed | TransientError | NotAuthenticated


@attrs.frozen
class Attempts:
    """What one request of the application has used up.

    Args:
        resends: how often it was sent again since the transport failed, wherever it went.
        renewals: how often its session was renewed since it was placed where it is now.
        limit: most resends: the setting `retry_attempts`.
    """

    resends: int = 0
    renewals: int = 0
    limit: int = 3

    @property
    def left(self) -> int:
        """Resends that are left; below 0 if the setting was lowered meanwhile."""
        return self.limit - self.resends


@attrs.frozen
class RetryHere:
    """Send the RPC to the same stack again, after `delay_s` seconds before jitter; this is resend number `attempt`."""

    delay_s: float
    attempt: int


@attrs.frozen
class RetryElsewhere:
    """Leave the stack and place the request anew, after `delay_s` seconds before jitter; this is resend number
    `attempt`."""

    delay_s: float
    attempt: int


@attrs.frozen
class RenewSession:
    """Open a new session on the same stack, and send the RPC again in it."""


@attrs.frozen
class GiveUp:
    """Send the RPC no more on account of this error."""


RetryEffect = RetryHere | RetryElsewhere | RenewSession | GiveUp


def _left(context: Attempts, _: Any) -> str:
    return "none" if context.left <= 0 else "last" if context.left == 1 else "more"


_resends = Fact("resends", ("none", "last", "more"), _left)
_here = Fact("here", (True, False), lambda _, e: e.here).is_(True)
_elsewhere = Fact("elsewhere", (True, False), lambda _, e: e.elsewhere).is_(True)
_renewals = Fact("renewals", (True, False), lambda c, _: c.renewals < RENEWALS).is_(True)

resends_left = (~_resends.is_("none")).named("resends left")
last_resend = _resends.is_("last").named("last resend")
repeatable_here = _here.named("repeatable here")
placeable_elsewhere = _elsewhere.named("can go elsewhere")
renewals_left = _renewals.named("renewals left")

goes_elsewhere = (resends_left & placeable_elsewhere & (last_resend | ~repeatable_here)).named(
    "goes elsewhere"
)
stays_here = (resends_left & repeatable_here & ~(last_resend & placeable_elsewhere)).named("stays here")


def place(context: Attempts, event: Placed) -> Attempts:
    """Count the renewals of each placement by themselves."""
    return attrs.evolve(context, renewals=0, limit=event.limit)


def count_resend(context: Attempts, _: Any) -> Attempts:
    """Count a resend."""
    return attrs.evolve(context, resends=context.resends + 1)


def count_renewal(context: Attempts, _: Any) -> Attempts:
    """Count a renewal."""
    return attrs.evolve(context, renewals=context.renewals + 1)


def retry_here(_: Attempts, after: Attempts, __: Any) -> RetryEffect:
    """RetryHere."""
    return RetryHere(BACKOFF.delay_s(after.resends), after.resends)


def retry_elsewhere(_: Attempts, after: Attempts, __: Any) -> RetryEffect:
    """RetryElsewhere."""
    return RetryElsewhere(BACKOFF.delay_s(after.resends), after.resends)


def renew_session(_: Attempts, __: Attempts, ___: Any) -> RetryEffect:
    """RenewSession."""
    return RenewSession()


def give_up(_: Attempts, __: Attempts, ___: Any) -> RetryEffect:
    """GiveUp."""
    return GiveUp()


UNPLACED: Final = "Unplaced"
TRYING: Final = "Trying"

RETRY: Final[Table[Attempts, RetryEvent, RetryEffect]] = Table(
    name="retry",
    initial=UNPLACED,
    states=(State(UNPLACED), State(TRYING)),
    events=(Placed, TransientError, NotAuthenticated),
    rows=(
        go(UNPLACED, Placed, TRYING, update=place, why="its RPC is sent to a stack"),
        forbid(UNPLACED, (TransientError, NotAuthenticated), why="no stack has been asked"),
        stay(TRYING, Placed, update=place, why="its next RPC, or the same one on another stack"),
        stay(
            TRYING,
            TransientError,
            guard=stays_here,
            update=count_resend,
            effects=(retry_here,),
            why="transient: retry on the current strategy, with exponential backoff",
        ),
        go(
            TRYING,
            TransientError,
            UNPLACED,
            guard=goes_elsewhere,
            update=count_resend,
            effects=(retry_elsewhere,),
            why="this stack must not get it again, or has had its resends: the last one is for the other stack",
        ),
        go(
            TRYING,
            TransientError,
            UNPLACED,
            guard=~stays_here & ~goes_elsewhere,
            effects=(give_up,),
            why="the resends are used up, or no stack may get it again",
        ),
        stay(
            TRYING,
            NotAuthenticated,
            guard=renewals_left,
            update=count_renewal,
            effects=(renew_session,),
            why="authentication: a new session on the same stack, at once",
        ),
        go(
            TRYING,
            NotAuthenticated,
            UNPLACED,
            guard=~renewals_left,
            effects=(give_up,),
            why="a stack that opens sessions and refuses them is left",
        ),
    ),
    contexts=(Attempts(), Attempts(resends=2), Attempts(3, RENEWALS)),
    samples=(
        Placed(3),
        *(TransientError(here, elsewhere) for here in (True, False) for elsewhere in (False, True)),
        NotAuthenticated(),
    ),
)
"""What follows when an RPC of one request fails. The context is the request's `Attempts`."""
