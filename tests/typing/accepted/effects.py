"""A match over a union of effects that names all of them ends with `unreachable`, and that is no error."""

from __future__ import annotations

from bluegreen.errors import unreachable
from bluegreen.machines.query import DiscardRows, EndTicket, Lose, QueryEffect, Replay
from bluegreen.machines.retry import GiveUp, RenewSession, RetryEffect, RetryElsewhere, RetryHere
from bluegreen.machines.strategy.effects import (
    Audit,
    Authenticate,
    CacheStrategy,
    ClearCache,
    CloseSessions,
    IssueTicket,
    Publish,
    Raise,
    StrategyEffect,
)


def of_the_strategy(effect: StrategyEffect) -> str:
    match effect:
        case IssueTicket() | Authenticate() | CacheStrategy() | CloseSessions() | Publish():
            return effect.strategy
        case ClearCache():
            return "nothing"
        case Raise():
            return effect.reason
        case Audit():
            return effect.event.name
        case _:
            unreachable(effect)


def of_a_query(effect: QueryEffect) -> str:
    match effect:
        case EndTicket():
            return effect.event.name
        case Replay():
            return str(effect.execute)
        case DiscardRows():
            return "from the beginning"
        case Lose():
            return effect.reason
        case _:
            unreachable(effect)


def of_a_request(effect: RetryEffect) -> float:
    match effect:
        case RetryHere() | RetryElsewhere():
            return effect.delay_s
        case RenewSession() | GiveUp():
            return 0
        case _:
            unreachable(effect)
