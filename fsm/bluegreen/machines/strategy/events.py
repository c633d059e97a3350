"""Events of the strategy machine: what can happen, in the past tense.

Time arrives inside events, never from a clock: an event says that a time-out has passed.

Source: spec, sections 2 and 4.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, get_args

import attrs

from bluegreen.types import Strategy, Ticket, optional_strategy, parse_strategy


@attrs.frozen
class ConnectionOpened:
    """A connection was opened: a safe point."""

    name: ClassVar[str] = "connection_opened"
    safe_point: ClassVar[bool] = True


@attrs.frozen
class QueryStarted:
    """A query asks for a ticket.

    Args:
        alone: if set, the query's connection is not accepted where new queries go, and is accepted by this
            strategy: for that connection alone, the query begins there.
    """

    alone: Strategy | None = attrs.field(default=None, converter=optional_strategy)
    name: ClassVar[str] = "query_started"


@attrs.frozen
class _Ended:
    ticket: Ticket
    safe_point: ClassVar[bool] = True


@attrs.frozen
class QueryCompleted(_Ended):
    """The query with this ticket was cleared: a safe point."""

    name: ClassVar[str] = "query_completed"


@attrs.frozen
class QueryCancelled(_Ended):
    """The query with this ticket was cancelled, or let go by its application: a safe point."""

    name: ClassVar[str] = "query_cancelled"


@attrs.frozen
class QueryFailed(_Ended):
    """The query with this ticket failed: a safe point."""

    name: ClassVar[str] = "query_failed"


Ending = QueryCompleted | QueryCancelled | QueryFailed
"""How a query ends."""

ENDINGS: Final = (QueryCompleted, QueryCancelled, QueryFailed)
"""The same for `isinstance`, which is quicker with a tuple."""


@attrs.frozen
class _News:
    """What an answer says about a strategy; `version` is the one under which the request was sent."""

    strategy: Strategy = attrs.field(converter=parse_strategy)
    state_version: int


@attrs.frozen
class StrategyAnnounced(_News):
    """An answer announced this strategy (`new_strategy`)."""

    name: ClassVar[str] = "strategy_announced"


@attrs.frozen
class Error456(_News):
    """This strategy refused a request: it is the wrong one."""

    name: ClassVar[str] = "error_456"


@attrs.frozen
class AuthSuccess(_News):
    """This strategy accepted a connection."""

    name: ClassVar[str] = "auth_success"


@attrs.frozen
class _Refusal(_News):
    """A refusal that concerns one connection, unless nobody else is served there (invariant I13).

    Args:
        served_since: whether another connection of the scope was accepted by that strategy and has not been
            refused there since.
    """

    served_since: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class AuthFailure(_Refusal):
    """This strategy did not accept a connection, for another reason than 456."""

    name: ClassVar[str] = "auth_failure"


@attrs.frozen
class PersistentFailure(_Refusal):
    """Transient retries on this strategy are used up."""

    name: ClassVar[str] = "persistent_failure"


@attrs.frozen
class CacheExpired:
    """Nothing has proved the active strategy for `cache_ttl_s`."""

    name: ClassVar[str] = "cache_expired"


@attrs.frozen
class CacheInvalidated:
    """Somebody asked for a new detection: a safe point."""

    name: ClassVar[str] = "cache_invalidated"
    safe_point: ClassVar[bool] = True


@attrs.frozen
class DetectionTimedOut:
    """A detection has taken `detection_timeout_s`."""

    name: ClassVar[str] = "detection_timed_out"


@attrs.frozen
class CooldownEnded:
    """A strategy has been held down for `failed_cooldown_s`."""

    name: ClassVar[str] = "cooldown_ended"


@attrs.frozen
class DrainTimedOut:
    """A transition has been pending for `drain_timeout_s`."""

    name: ClassVar[str] = "drain_timed_out"


@attrs.frozen
class RollbackRequested:
    """Somebody asked to go back to the strategy before this one."""

    name: ClassVar[str] = "rollback_requested"


@attrs.frozen
class Reset:
    """Forget what failed and detect again."""

    name: ClassVar[str] = "reset"


StrategyEvent = (
    ConnectionOpened
    | QueryStarted
    | QueryCompleted
    | QueryCancelled
    | QueryFailed
    | StrategyAnnounced
    | Error456
    | AuthSuccess
    | AuthFailure
    | PersistentFailure
    | CacheExpired
    | CacheInvalidated
    | DetectionTimedOut
    | CooldownEnded
    | DrainTimedOut
    | RollbackRequested
    | Reset
)
"""Every event of the strategy machine; `EVENTS` has the same in the same order."""

EVENTS: tuple[type[Any], ...] = get_args(StrategyEvent)

SAFE_POINTS: tuple[type[Any], ...] = tuple(one for one in EVENTS if getattr(one, "safe_point", False))
"""The events at which `active` may be replaced: those that say so of themselves, which diagrams show as well."""
