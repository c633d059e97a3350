"""An effect that nobody handles."""

from __future__ import annotations

from bluegreen.alphabet import (
    Audit,
    Authenticate,
    CacheStrategy,
    ClearCache,
    CloseSessions,
    IssueTicket,
    Raise,
    StrategyEffect,
)
from bluegreen.errors import unreachable
from bluegreen.query import EndTicket, QueryEffect, Replay
from bluegreen.recovery import DetectAgain, Escalate, RecoveryEffect, RetryAfter


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
