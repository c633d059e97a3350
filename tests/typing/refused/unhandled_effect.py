"""An effect that nobody handles."""

from __future__ import annotations

from bluegreen.errors import unreachable
from bluegreen.machines.query import EndTicket, QueryEffect, Replay
from bluegreen.machines.retry import GiveUp, RetryEffect, RetryElsewhere, RetryHere
from bluegreen.machines.strategy.effects import (
    Audit,
    Authenticate,
    CacheStrategy,
    ClearCache,
    CloseSessions,
    IssueTicket,
    Raise,
    StrategyEffect,
)


def without_publish(effect: StrategyEffect) -> None:
    match effect:
        case IssueTicket() | Authenticate() | CacheStrategy() | CloseSessions():
            pass
        case ClearCache() | Raise() | Audit():
            pass
        case _:
            unreachable(effect)  # mypy: arg-type; pyright: reportArgumentType


def without_lose(effect: QueryEffect) -> None:
    match effect:
        case EndTicket() | Replay():
            pass
        case _:
            unreachable(effect)  # mypy: arg-type; pyright: reportArgumentType


def without_renew_session(effect: RetryEffect) -> None:
    if isinstance(effect, (RetryHere, RetryElsewhere, GiveUp)):
        return
    unreachable(effect)  # mypy: arg-type; pyright: reportArgumentType
