"""Effects of the strategy machine: what is to be done, in the imperative, and the functions that make them.

`StrategyManager` carries them out, in the order of the row: `IssueTicket` and `CloseSessions` under its lock, the
others after it. `Authenticate` needs a connection, which a manager does not have; see there.

A function gets (context before, context after, event), and returns the effect, or None if there is nothing to do.

Source: spec, sections 2 and 4.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from bluegreen.machines.strategy.context import BOTH, Context
from bluegreen.machines.strategy.events import (
    QueryStarted,
    StrategyEvent,
)
from bluegreen.types import Strategy


@attrs.frozen
class IssueTicket:
    """Give the query that has just started a ticket on this strategy."""

    strategy: Strategy
    state_version: int


@attrs.frozen
class Authenticate:
    """Open a session on this strategy now.

    The next caller that has a connection does so. It reads the strategy off the context, since other steps may have
    been taken meanwhile: a detection tries the first of `untried`, and a connection prewarms a session on `pending`.
    """

    strategy: Strategy


@attrs.frozen
class CacheStrategy:
    """Trust this strategy from now on, until the timer of `cache_expired` is due."""

    strategy: Strategy


@attrs.frozen
class ClearCache:
    """Trust nothing that was cached: this process does not know where its queries go, so it tells no store."""


@attrs.frozen
class CloseSessions:
    """End the sessions on this strategy: its last ticket has ended."""

    strategy: Strategy


@attrs.frozen
class Publish:
    """Tell other processes that this strategy is the one to use.

    Args:
        strategy: where new queries go.
        state_version: since which version.
        verified: whether the strategy was found to serve.
    """

    strategy: Strategy
    state_version: int
    verified: bool = True


@attrs.frozen
class Raise:
    """Raise an error in the caller whose event led here.

    Args:
        reason: the error's text.
        error: `unavailable`: `StrategyUnavailable`; `timed_out`: its subclass `DetectionTimedOutError`.
    """

    reason: str
    error: Literal["unavailable", "timed_out"] = "unavailable"


@attrs.frozen
class Audit:
    """Record that a step changed something; the record is the step itself."""

    event: StrategyEvent


StrategyEffect = (
    IssueTicket | Authenticate | CacheStrategy | ClearCache | CloseSessions | Publish | Raise | Audit
)
"""Every effect of the strategy machine. `match` over it and end with `unreachable`: a type checker then
finds the effect that nobody handles."""


def issue_ticket(_: Context, after: Context, __: Any) -> StrategyEffect | None:
    """IssueTicket on the strategy that routes."""
    return IssueTicket(after.route, after.state_version) if after.route else None


def issue_ticket_alone(_: Context, after: Context, event: QueryStarted) -> StrategyEffect | None:
    """IssueTicket on the strategy that accepts the connection of this query."""
    return IssueTicket(event.alone, after.state_version) if event.alone else None


def authenticate(before: Context, after: Context, _: Any) -> StrategyEffect | None:
    """Authenticate on the pending strategy, or on the next one to try if that changed."""
    if after.pending is not None:
        return Authenticate(after.pending)
    head = after.untried[:1]
    return (
        Authenticate(head[0])
        if head and (head != before.untried[:1] or after.state_version != before.state_version)
        else None
    )


def cache(_: Context, after: Context, __: Any) -> StrategyEffect | None:
    """CacheStrategy: the active strategy is good as of now."""
    return CacheStrategy(after.active) if after.active else None


def clear_cache(_: Context, __: Context, ___: Any) -> StrategyEffect | None:
    """ClearCache."""
    return ClearCache()


def close_drained(before: Context, after: Context, __: Any) -> StrategyEffect | None:
    """CloseSessions on the strategy that routes nothing, when its last ticket has ended, or none was open."""
    moved = after.state_version != before.state_version
    idle = [
        strategy
        for strategy in BOTH
        if strategy not in (after.active, after.pending)
        and after.open_on(strategy) == 0
        and (moved or before.open_on(strategy) > 0)
    ]
    return CloseSessions(idle[0]) if idle and after.active is not None else None


def publish(_: Context, after: Context, __: Any) -> StrategyEffect | None:
    """Publish what new queries get."""
    return Publish(after.route, after.state_version, after.route_verified) if after.route else None


def raise_unavailable(_: Context, __: Context, ___: Any) -> StrategyEffect | None:
    """Raise: both strategies failed."""
    return Raise("both strategies failed")


def raise_timed_out(_: Context, after: Context, __: Any) -> StrategyEffect | None:
    """Raise: no strategy was found in time."""
    return Raise(f"no strategy within {after.settings.detection_timeout_s:g} s", "timed_out")


def audit(_: Context, __: Context, event: Any) -> StrategyEffect | None:
    """Audit the step."""
    return Audit(event)
