"""An effect that nobody handles."""

from __future__ import annotations

from bluegreen.errors import unreachable
from bluegreen.machines.query import EndTicket, QueryEffect, Replay
from bluegreen.machines.retry import DetectAgain, Escalate, RecoveryEffect, RetryAfter
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


def without_authenticate_again(effect: RecoveryEffect) -> None:
    if isinstance(effect, (RetryAfter, DetectAgain, Escalate)):
        return
    unreachable(effect)  # mypy: arg-type; pyright: reportArgumentType
