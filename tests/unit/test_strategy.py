"""The strategy machine does what section 2 of its specification says, cell by cell.

The cases were written down from the specification's table, not from the rows. Each has the condition that the
table gives, the outcome, everything that changes in the context, and the effects. Blue is active wherever a
strategy is known, and the version is 7, so news of version 7 is fresh and news of version 6 is stale.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import attrs
import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden
from bluegreen.machines.strategy.context import BOTH, FAILURES_COUNTED, Context
from bluegreen.machines.strategy.effects import (
    Audit,
    Authenticate,
    CacheStrategy,
    ClearCache,
    CloseSessions,
    IssueTicket,
    Publish,
    Raise,
)
from bluegreen.machines.strategy.events import (
    EVENTS,
    AuthFailure,
    AuthSuccess,
    CacheExpired,
    CacheInvalidated,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.machines.strategy.timers import TIMERS, cool_down, hold_down
from bluegreen.table.rows import RowKind
from bluegreen.table.step import step
from bluegreen.types import Strategy, Ticket

B, G = Strategy.BLUE, Strategy.GREEN
D, S, P, F = "Detecting", "Stable", "PendingTransition", "Failed"
FRESH, STALE = 7, 6
AUDIT = "audit"
UNAVAILABLE = Raise("both strategies failed")
ON_BLUE, ON_GREEN = Ticket(1, B, 3), Ticket(2, G, 3)

FIRST = Context(untried=(B, G), state_version=7)
"""Detecting for the first time."""
AGAIN = Context(active=B, untried=(B, G), state_version=7, verified=True)
"""Detecting, with blue known from before."""
LAST_TRY = Context(active=B, untried=(G,), state_version=7, verified=True)
STABLE = Context(active=B, state_version=7, verified=True)
PENDING = Context(active=B, pending=G, state_version=7, verified=True)
FAILED = Context(active=B, state_version=7, verified=True)
NEVER_KNOWN = Context(state_version=7)

FIRST_SAFE_POINT = Settings(commit_when="first_safe_point")
DEFAULT_GREEN = Settings(default_strategy=G)


def having(context: Context, **changes: Any) -> Context:
    return attrs.evolve(context, **changes)


def on_blue() -> list[Any]:
    return [CacheStrategy(B), Publish(B, 8), CloseSessions(G), AUDIT]


COMMITTED = {"previous": B, "active": G, "pending": None, "state_version": 8, "verified": False}
UNPROVED_HELD_DOWN = {"untried": (G, B), "held_down": B, "refused_blue": 1, "state_version": 8}
TO_GREEN = [CacheStrategy(G), Publish(G, 8), CloseSessions(B), AUDIT]
TO_GREEN_UNDRAINED = [CacheStrategy(G), Publish(G, 8), AUDIT]
BLUE_FIRST = {"untried": (B, G), "state_version": 8}
GREEN_FIRST = {"untried": (G, B), "state_version": 8}
TRY_BLUE = [ClearCache(), Authenticate(B), AUDIT]
TRY_GREEN = [ClearCache(), Authenticate(G), AUDIT]
WITHDRAWN = {"pending": None, "state_version": 8}
HELD_DOWN = {"pending": None, "untried": (B, G), "held_down": G, "refused_green": 1, "state_version": 8}
ROLLED_BACK = {"held_down": G, "rolled_back": True}
GAVE_UP = {"untried": (), "state_version": 8, "failed_in_a_row": 1}
GIVING_UP = [ClearCache(), AUDIT, UNAVAILABLE]
TIMED_OUT = [ClearCache(), AUDIT, Raise("no strategy within 30 s", "timed_out")]

Case = tuple[str, str, Context, Any, str, "str | None", "dict[str, Any]", "list[Any]"]

# state, condition, context, event, outcome, target, what changes, effects
CASES: list[Case] = [
    # connection_opened
    (D, "", FIRST, ConnectionOpened(), "stay", None, {}, []),
    (S, "", STABLE, ConnectionOpened(), "stay", None, {}, []),
    (P, "drained", PENDING, ConnectionOpened(), "go", S, COMMITTED, TO_GREEN),
    (P, "drained, and proved", having(PENDING, proved=True), ConnectionOpened(), "go", S,
     {**COMMITTED, "verified": True, "proved": False}, TO_GREEN),
    (P, "not drained", having(PENDING, open_blue=1), ConnectionOpened(), "stay", None, {}, []),
    (P, "drained: only the pending strategy is in use", having(PENDING, open_green=1), ConnectionOpened(),
     "go", S, COMMITTED, TO_GREEN),
    (P, "first safe point", having(PENDING, open_blue=1, settings=FIRST_SAFE_POINT), ConnectionOpened(), "go",
     S, COMMITTED, TO_GREEN_UNDRAINED),
    (F, "last known first", FAILED, ConnectionOpened(), "go", D, BLUE_FIRST, TRY_BLUE),
    (F, "last known first: green", having(FAILED, active=G), ConnectionOpened(), "go", D, GREEN_FIRST,
     TRY_GREEN),
    (F, "nothing known", NEVER_KNOWN, ConnectionOpened(), "go", D, BLUE_FIRST, TRY_BLUE),
    (F, "nothing known, default green", having(NEVER_KNOWN, settings=DEFAULT_GREEN), ConnectionOpened(), "go",
     D, GREEN_FIRST, TRY_GREEN),
    # query_started
    (D, "", FIRST, QueryStarted(), "forbid", None, {}, []),
    (D, "known from before", AGAIN, QueryStarted(), "forbid", None, {}, []),
    (S, "blue", STABLE, QueryStarted(), "stay", None, {"open_blue": 1}, [IssueTicket(B, 7)]),
    (S, "green", having(STABLE, active=G), QueryStarted(), "stay", None, {"open_green": 1},
     [IssueTicket(G, 7)]),
    (P, "green", PENDING, QueryStarted(), "stay", None, {"open_green": 1}, [IssueTicket(G, 7)]),
    (P, "blue", having(PENDING, active=G, pending=B), QueryStarted(), "stay", None, {"open_blue": 1},
     [IssueTicket(B, 7)]),
    (F, "", FAILED, QueryStarted(), "forbid", None, {}, []),
    (D, "alone on green", AGAIN, QueryStarted(G), "stay", None, {"open_green": 1}, [IssueTicket(G, 7)]),
    (D, "alone on blue, the first time", FIRST, QueryStarted(B), "stay", None, {"open_blue": 1},
     [IssueTicket(B, 7)]),
    (S, "alone on green", STABLE, QueryStarted(G), "stay", None, {"open_green": 1}, [IssueTicket(G, 7)]),
    (S, "alone on blue", STABLE, QueryStarted(B), "stay", None, {"open_blue": 1}, [IssueTicket(B, 7)]),
    (P, "alone on blue", PENDING, QueryStarted(B), "stay", None, {"open_blue": 1}, [IssueTicket(B, 7)]),
    (P, "alone on green", PENDING, QueryStarted(G), "stay", None, {"open_green": 1}, [IssueTicket(G, 7)]),
    (F, "alone", FAILED, QueryStarted(G), "forbid", None, {}, []),
    # strategy_announced
    (D, "the one tried later", FIRST, StrategyAnnounced(G, FRESH), "go", D, {"untried": (G, B)},
     [Authenticate(G), AUDIT]),
    (D, "the one tried later, but held down", having(FIRST, held_down=G), StrategyAnnounced(G, FRESH), "ignore",
     None, {}, []),
    (D, "the one tried later, but rolled back", having(AGAIN, **ROLLED_BACK), StrategyAnnounced(G, FRESH), "ignore",
     None, {}, []),
    (D, "the one being tried", FIRST, StrategyAnnounced(B, FRESH), "ignore", None, {}, []),
    (D, "tried already", LAST_TRY, StrategyAnnounced(B, FRESH), "ignore", None, {}, []),
    (D, "stale", FIRST, StrategyAnnounced(G, STALE), "ignore", None, {}, []),
    (S, "fresh, other", STABLE, StrategyAnnounced(G, FRESH), "go", P, {"pending": G, "state_version": 8},
     [Authenticate(G), Publish(G, 8), AUDIT]),
    (S, "already active", STABLE, StrategyAnnounced(B, FRESH), "ignore", None, {}, []),
    (S, "held down", having(STABLE, held_down=G), StrategyAnnounced(G, FRESH), "ignore", None, {}, []),
    (S, "rolled back", having(STABLE, **ROLLED_BACK), StrategyAnnounced(G, FRESH), "ignore", None, {}, []),
    (S, "stale", STABLE, StrategyAnnounced(G, STALE), "ignore", None, {}, []),
    (S, "stale, already active", STABLE, StrategyAnnounced(B, STALE), "ignore", None, {}, []),
    (P, "fresh, active: withdrawn", PENDING, StrategyAnnounced(B, FRESH), "go", S, WITHDRAWN, on_blue()),
    (P, "fresh, active, which a rollback leaves", having(PENDING, held_down=B, rolled_back=True),
     StrategyAnnounced(B, FRESH), "ignore", None, {}, []),
    (P, "withdrawn, and green in use", having(PENDING, open_green=1), StrategyAnnounced(B, FRESH), "go", S,
     WITHDRAWN, [CacheStrategy(B), Publish(B, 8), AUDIT]),
    (P, "already pending", PENDING, StrategyAnnounced(G, FRESH), "ignore", None, {}, []),
    (P, "already pending, stale", PENDING, StrategyAnnounced(G, STALE), "ignore", None, {}, []),
    (P, "stale", PENDING, StrategyAnnounced(B, STALE), "ignore", None, {}, []),
    (F, "", FAILED, StrategyAnnounced(G, FRESH), "ignore", None, {}, []),
    # auth_success
    (D, "fresh, first time", FIRST, AuthSuccess(B, FRESH), "go", S,
     {"active": B, "untried": (), "state_version": 8, "verified": True}, on_blue()),
    (D, "fresh, after failures", having(AGAIN, failed_in_a_row=3), AuthSuccess(B, FRESH), "go", S,
     {"untried": (), "state_version": 8, "failed_in_a_row": 0}, on_blue()),
    (D, "fresh, as before", AGAIN, AuthSuccess(B, FRESH), "go", S, {"untried": (), "state_version": 8}, on_blue()),
    (D, "fresh, another than before", AGAIN, AuthSuccess(G, FRESH), "go", S,
     {"active": G, "previous": B, "untried": (), "state_version": 8}, TO_GREEN),
    (D, "fresh, the one held down", having(AGAIN, held_down=G), AuthSuccess(G, FRESH), "go", S,
     {"active": G, "previous": B, "untried": (), "held_down": None, "state_version": 8}, TO_GREEN),
    (D, "fresh, refused often before", having(AGAIN, held_down=G, refused_green=5, refused_blue=2),
     AuthSuccess(G, FRESH), "go", S,
     {"active": G, "previous": B, "untried": (), "held_down": None, "refused_green": 0, "state_version": 8}, TO_GREEN),
    (D, "fresh, the one rolled back", having(AGAIN, **ROLLED_BACK), AuthSuccess(G, FRESH), "go", S,
     {"active": G, "previous": B, "untried": (), "held_down": None, "rolled_back": False, "state_version": 8},
     TO_GREEN),
    (D, "fresh, the other one rolled back", having(AGAIN, **ROLLED_BACK), AuthSuccess(B, FRESH), "go", S,
     {"untried": (), "state_version": 8}, on_blue()),
    (D, "fresh, the other one held down", having(AGAIN, held_down=G), AuthSuccess(B, FRESH), "go", S,
     {"untried": (), "state_version": 8}, on_blue()),
    (D, "fresh, old queries open", having(AGAIN, open_blue=1), AuthSuccess(G, FRESH), "go", S,
     {"active": G, "previous": B, "untried": (), "state_version": 8}, TO_GREEN_UNDRAINED),
    (D, "stale", FIRST, AuthSuccess(B, STALE), "ignore", None, {}, []),
    (S, "", STABLE, AuthSuccess(B, FRESH), "stay", None, {}, [CacheStrategy(B)]),
    (S, "unverified until now", having(STABLE, verified=False), AuthSuccess(B, FRESH), "stay", None,
     {"verified": True}, [CacheStrategy(B)]),
    (S, "unverified until now, after failures", having(STABLE, verified=False, failed_in_a_row=3),
     AuthSuccess(B, FRESH), "stay", None, {"verified": True, "failed_in_a_row": 0}, [CacheStrategy(B)]),
    (S, "unverified until now, held down and refused before",
     having(STABLE, verified=False, held_down=B, refused_blue=2, refused_green=3), AuthSuccess(B, FRESH), "stay", None,
     {"verified": True, "held_down": None, "refused_blue": 0}, [CacheStrategy(B)]),
    (S, "stale", having(STABLE, verified=False), AuthSuccess(B, STALE), "stay", None, {}, []),
    (S, "for a query on the other one", STABLE, AuthSuccess(G, FRESH), "stay", None, {}, []),
    (P, "", PENDING, AuthSuccess(G, FRESH), "stay", None, {"proved": True}, []),
    (P, "after failures", having(PENDING, failed_in_a_row=3), AuthSuccess(G, FRESH), "stay", None,
     {"proved": True, "failed_in_a_row": 0}, []),
    (P, "refused before", having(PENDING, refused_green=2, refused_blue=1), AuthSuccess(G, FRESH), "stay", None,
     {"proved": True, "refused_green": 0}, []),
    (P, "stale", PENDING, AuthSuccess(G, STALE), "stay", None, {}, []),
    (P, "proved already", having(PENDING, proved=True), AuthSuccess(G, FRESH), "stay", None, {}, []),
    (P, "old one", PENDING, AuthSuccess(B, FRESH), "stay", None, {}, []),
    (F, "", FAILED, AuthSuccess(B, FRESH), "ignore", None, {}, []),
    # persistent_failure
    (D, "", FIRST, PersistentFailure(B, FRESH), "ignore", None, {}, []),
    # cache_expired
    (D, "", FIRST, CacheExpired(), "ignore", None, {}, []),
    (S, "", having(STABLE, open_blue=2), CacheExpired(), "go", D, BLUE_FIRST, TRY_BLUE),
    (P, "", PENDING, CacheExpired(), "ignore", None, {}, []),
    (F, "", FAILED, CacheExpired(), "ignore", None, {}, []),
    # cache_invalidated
    (D, "", FIRST, CacheInvalidated(), "stay", None, {}, []),
    (S, "", STABLE, CacheInvalidated(), "go", D, BLUE_FIRST, TRY_BLUE),
    (P, "", PENDING, CacheInvalidated(), "go", D, {"pending": None, **GREEN_FIRST}, TRY_GREEN),
    (F, "", FAILED, CacheInvalidated(), "go", D, BLUE_FIRST, TRY_BLUE),
    # detection_timed_out
    (D, "fallback: the default", having(FIRST, settings=DEFAULT_GREEN), DetectionTimedOut(), "go", S,
     {"active": G, "untried": (), "state_version": 8}, [CloseSessions(B), AUDIT]),
    (D, "fallback: last verified", AGAIN, DetectionTimedOut(), "go", S,
     {"untried": (), "state_version": 8, "verified": False}, [CloseSessions(G), AUDIT]),
    (D, "the default before the last verified", having(AGAIN, settings=DEFAULT_GREEN), DetectionTimedOut(),
     "go", S, {"active": G, "previous": B, "untried": (), "state_version": 8, "verified": False},
     [CloseSessions(B), AUDIT]),
    (D, "the default has refused: last verified", having(AGAIN, untried=(B,), settings=DEFAULT_GREEN),
     DetectionTimedOut(), "go", S, {"untried": (), "state_version": 8, "verified": False}, [CloseSessions(G), AUDIT]),
    (D, "last verified has refused", LAST_TRY, DetectionTimedOut(), "go", F, GAVE_UP, TIMED_OUT),
    (D, "last verified has refused, the default has not", having(LAST_TRY, settings=DEFAULT_GREEN),
     DetectionTimedOut(), "go", S,
     {"active": G, "previous": B, "untried": (), "state_version": 8, "verified": False}, [CloseSessions(B), AUDIT]),
    (D, "fallback: held down, and still so", having(AGAIN, held_down=B), DetectionTimedOut(), "go", S,
     {"untried": (), "state_version": 8, "verified": False}, [CloseSessions(G), AUDIT]),
    (D, "fallback: rolled back, which is over", having(AGAIN, settings=DEFAULT_GREEN, **ROLLED_BACK),
     DetectionTimedOut(), "go", S, {"active": G, "previous": B, "untried": (), "state_version": 8, "verified": False,
                                    "held_down": None, "rolled_back": False}, [CloseSessions(B), AUDIT]),
    (D, "no fallback, after failures", having(FIRST, failed_in_a_row=3), DetectionTimedOut(), "go", F,
     {**GAVE_UP, "failed_in_a_row": 4}, TIMED_OUT),
    (D, "no fallback, after more failures than are counted", having(FIRST, failed_in_a_row=12), DetectionTimedOut(),
     "go", F, {**GAVE_UP, "failed_in_a_row": 12}, TIMED_OUT),
    (D, "fallback, after failures", having(AGAIN, failed_in_a_row=3), DetectionTimedOut(), "go", S,
     {"untried": (), "state_version": 8, "verified": False}, [CloseSessions(G), AUDIT]),
    (D, "no fallback", FIRST, DetectionTimedOut(), "go", F, GAVE_UP, TIMED_OUT),
    (S, "", STABLE, DetectionTimedOut(), "ignore", None, {}, []),
    (P, "", PENDING, DetectionTimedOut(), "ignore", None, {}, []),
    (F, "", FAILED, DetectionTimedOut(), "ignore", None, {}, []),
    # cooldown_ended
    (D, "", having(AGAIN, held_down=G), CooldownEnded(), "stay", None, {"held_down": None}, []),
    (S, "", having(STABLE, held_down=G), CooldownEnded(), "stay", None, {"held_down": None}, []),
    (D, "rolled back", having(AGAIN, **ROLLED_BACK), CooldownEnded(), "ignore", None, {}, []),
    (S, "rolled back", having(STABLE, **ROLLED_BACK), CooldownEnded(), "ignore", None, {}, []),
    (P, "", PENDING, CooldownEnded(), "ignore", None, {}, []),
    (F, "", FAILED, CooldownEnded(), "ignore", None, {}, []),
    # drain_timed_out
    (D, "", FIRST, DrainTimedOut(), "ignore", None, {}, []),
    (S, "", STABLE, DrainTimedOut(), "ignore", None, {}, []),
    (P, "", having(PENDING, open_blue=2), DrainTimedOut(), "go", S, COMMITTED, TO_GREEN_UNDRAINED),
    (F, "", FAILED, DrainTimedOut(), "ignore", None, {}, []),
    # rollback_requested
    (D, "", AGAIN, RollbackRequested(), "forbid", None, {}, []),
    (S, "previous known", having(STABLE, previous=G), RollbackRequested(), "go", P,
     {"pending": G, "held_down": B, "rolled_back": True, "state_version": 8},
     [Authenticate(G), Publish(G, 8), AUDIT]),
    (S, "previous known, held down", having(STABLE, previous=G, held_down=G), RollbackRequested(), "go", P,
     {"pending": G, "held_down": B, "rolled_back": True, "state_version": 8}, [Authenticate(G), Publish(G, 8), AUDIT]),
    (S, "no previous", STABLE, RollbackRequested(), "forbid", None, {}, []),
    (P, "", PENDING, RollbackRequested(), "go", S, {**WITHDRAWN, **ROLLED_BACK}, on_blue()),
    (P, "of a rollback", having(PENDING, held_down=B, rolled_back=True), RollbackRequested(), "go", S,
     {**WITHDRAWN, **ROLLED_BACK}, on_blue()),
    (F, "", having(FAILED, previous=G), RollbackRequested(), "forbid", None, {}, []),
    # reset
    (D, "", FIRST, Reset(), "stay", None, {}, []),
    (S, "", STABLE, Reset(), "go", D, BLUE_FIRST, TRY_BLUE),
    (S, "held down", having(STABLE, held_down=G), Reset(), "go", D, BLUE_FIRST, TRY_BLUE),
    (S, "rolled back", having(STABLE, **ROLLED_BACK), Reset(), "go", D,
     {**BLUE_FIRST, "held_down": None, "rolled_back": False}, TRY_BLUE),
    (P, "", PENDING, Reset(), "go", D, {"pending": None, **BLUE_FIRST}, TRY_BLUE),
    (P, "of a rollback", having(PENDING, held_down=B, rolled_back=True), Reset(), "go", D,
     {"pending": None, **BLUE_FIRST, "held_down": None, "rolled_back": False}, TRY_BLUE),
    (F, "rolled back", having(FAILED, **ROLLED_BACK), Reset(), "go", D, BLUE_FIRST, TRY_BLUE),
    (F, "", FAILED, Reset(), "go", D, BLUE_FIRST, TRY_BLUE),
]  # fmt: skip

# query_completed, query_cancelled, query_failed
for End in (QueryCompleted, QueryCancelled, QueryFailed):
    CASES += [
        (D, "", having(AGAIN, open_blue=1), End(ON_BLUE), "stay", None, {"open_blue": 0}, []),
        (D, "no such ticket", AGAIN, End(ON_BLUE), "forbid", None, {}, []),
        (S, "", having(STABLE, open_blue=2), End(ON_BLUE), "stay", None, {"open_blue": 1}, []),
        (S, "the last one of the strategy in use", having(STABLE, open_blue=1), End(ON_BLUE), "stay", None,
         {"open_blue": 0}, []),
        (S, "one of the other strategy", having(STABLE, open_green=2), End(ON_GREEN), "stay", None,
         {"open_green": 1}, []),
        (S, "the last one of the other strategy", having(STABLE, open_green=1), End(ON_GREEN), "stay", None,
         {"open_green": 0}, [CloseSessions(G)]),
        (S, "no such ticket", having(STABLE, open_blue=1), End(ON_GREEN), "forbid", None, {}, []),
        (P, "drained by it", having(PENDING, open_blue=1), End(ON_BLUE), "go", S,
         {"open_blue": 0, **COMMITTED}, TO_GREEN),
        (P, "drained before", having(PENDING, open_green=1), End(ON_GREEN), "go", S,
         {"open_green": 0, **COMMITTED}, TO_GREEN),
        (P, "not drained", having(PENDING, open_blue=2), End(ON_BLUE), "stay", None, {"open_blue": 1}, []),
        (P, "not drained, new query ended", having(PENDING, open_blue=1, open_green=1), End(ON_GREEN), "stay",
         None, {"open_green": 0}, []),
        (P, "first safe point", having(PENDING, open_blue=2, settings=FIRST_SAFE_POINT), End(ON_BLUE), "go",
         S, {"open_blue": 1, **COMMITTED}, TO_GREEN_UNDRAINED),
        (P, "no such ticket", PENDING, End(ON_BLUE), "forbid", None, {}, []),
        (F, "", having(FAILED, open_green=1), End(ON_GREEN), "stay", None, {"open_green": 0}, []),
        (F, "no such ticket", FAILED, End(ON_GREEN), "forbid", None, {}, []),
    ]  # fmt: skip

# error_456, and auth_failure, which is as error_456 in Detecting
for Refused in (Error456, AuthFailure):
    CASES += [
        (D, "fresh, another untried", FIRST, Refused(B, FRESH), "go", D, {"untried": (G,)},
         [Authenticate(G), AUDIT]),
        (D, "fresh, about the one tried later", FIRST, Refused(G, FRESH), "go", D, {"untried": (B,)},
         [AUDIT]),
        (D, "fresh, none left", LAST_TRY, Refused(G, FRESH), "go", F, GAVE_UP, GIVING_UP),
        (D, "fresh, heard from already", LAST_TRY, Refused(B, FRESH), "ignore", None, {}, []),
        (D, "stale", FIRST, Refused(B, STALE), "ignore", None, {}, []),
    ]  # fmt: skip

# error_456, auth_failure, persistent_failure
for Refused in (Error456, AuthFailure, PersistentFailure):
    old_stack = "stay" if Refused is Error456 else "ignore"
    CASES += [
        (S, "fresh, active", having(STABLE, open_blue=1), Refused(B, FRESH), "go", D, GREEN_FIRST, TRY_GREEN),
        (S, "stale", STABLE, Refused(B, STALE), "ignore", None, {}, []),
        (S, "fresh, the other one", STABLE, Refused(G, FRESH), "ignore", None, {}, []),
        (S, "fresh, active, never proved", having(STABLE, verified=False), Refused(B, FRESH), "go", D,
         UNPROVED_HELD_DOWN, TRY_GREEN),
        (P, "fresh, pending", having(PENDING, open_blue=1), Refused(G, FRESH), "go", D, HELD_DOWN, TRY_BLUE),
        (P, "fresh, pending, refused before", having(PENDING, held_down=B, rolled_back=True, refused_green=6),
         Refused(G, FRESH), "go", D, {**HELD_DOWN, "rolled_back": False, "refused_green": 7}, TRY_BLUE),
        (P, "fresh, pending, refused more often than is counted", having(PENDING, refused_green=7, refused_blue=1),
         Refused(G, FRESH), "go", D, {**HELD_DOWN, "refused_green": 7}, TRY_BLUE),
        (P, "stale", PENDING, Refused(G, STALE), "ignore", None, {}, []),
        (P, "active", PENDING, Refused(B, FRESH), old_stack, None, {}, []),
        (P, "active, stale", PENDING, Refused(B, STALE), old_stack, None, {}, []),
        (F, "", FAILED, Refused(B, FRESH), "ignore", None, {}, []),
    ]  # fmt: skip

# auth_failure, persistent_failure: while others are served there, they say nothing about the strategy.
for Refused in (AuthFailure, PersistentFailure):
    Own, Old = Refused(B, FRESH, served_since=True), Refused(B, STALE, served_since=True)
    CASES += [
        (D, "others are served there", FIRST, Own, "ignore", None, {}, []),
        (D, "others are served there, none left", LAST_TRY, Refused(G, FRESH, served_since=True), "ignore", None,
         {}, []),
        (S, "others are served there", STABLE, Own, "ignore", None, {}, []),
        (S, "others are served there, never proved", having(STABLE, verified=False), Own, "ignore", None, {}, []),
        (S, "others are served there, stale", STABLE, Old, "ignore", None, {}, []),
        (P, "others are served on pending", PENDING, Refused(G, FRESH, served_since=True), "ignore", None, {}, []),
        (P, "others are served on active", PENDING, Own, "ignore", None, {}, []),
        (F, "others are served there", FAILED, Own, "ignore", None, {}, []),
    ]  # fmt: skip


def name_of(case: Case) -> str:
    return f"{case[0]}-{case[3].name}-{case[1] or 'always'}".replace(" ", "_")


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_cell_does_what_the_specification_says(case: Case) -> None:
    state, _, context, event, outcome, target, changes, effects = case
    row = STRATEGY.row(state, context, event)
    assert (row.outcome, row.target) == (RowKind(outcome), target)
    if outcome == "forbid":
        with pytest.raises(EventForbidden):
            step(STRATEGY, state, context, event)
        return
    taken = step(STRATEGY, state, context, event)
    assert taken.row is row
    assert taken.state == (target or state)
    assert taken.context == attrs.evolve(context, **changes)
    expected = [Audit(event) if effect == AUDIT else effect for effect in effects]
    verified = taken.context.verified if taken.context.pending is None else taken.context.proved
    assert list(taken.effects) == [
        attrs.evolve(effect, verified=verified) if isinstance(effect, Publish) else effect
        for effect in expected
    ]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_cell_does_the_same_with_blue_and_green_exchanged(case: Case) -> None:
    """Neither strategy is special; the default setting is, so it is left alone where nothing is known."""
    state, _, context, event, _, _, _, _ = case
    if context.active is None and not context.untried:
        assert context is NEVER_KNOWN or context.settings is DEFAULT_GREEN
        return
    mirrored = exchanged(context), exchanged(event)
    assert STRATEGY.row(state, context, event) is STRATEGY.row(state, *mirrored)
    if STRATEGY.row(state, context, event).outcome is RowKind.FORBID:
        return
    straight, mirror = step(STRATEGY, state, context, event), step(STRATEGY, state, *mirrored)
    assert mirror.context == exchanged(straight.context)
    assert list(mirror.effects) == [exchanged(effect) for effect in straight.effects]


def exchanged(value: Any) -> Any:
    """Return `value` with blue and green exchanged, however deep they are."""
    if isinstance(value, Strategy):
        return value.other
    if isinstance(value, tuple):
        return tuple(exchanged(one) for one in value)
    if not attrs.has(type(value)):
        return value
    changed = {field.name: exchanged(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Context):
        changed["open_blue"], changed["open_green"] = value.open_green, value.open_blue
        changed["refused_blue"], changed["refused_green"] = value.refused_green, value.refused_blue
    return attrs.evolve(value, **changed)


def test_every_state_and_event_of_the_specification_has_a_case() -> None:
    written = {(case[0], type(case[3])) for case in CASES}
    assert written == set(product((D, S, P, F), EVENTS))
    assert len(written) == 4 * 17


def test_a_query_that_begins_alone_changes_neither_the_version_nor_where_others_go() -> None:
    for state, _, _, event, outcome, target, changes, _ in CASES:
        if isinstance(event, QueryStarted) and event.alone is not None and state != F:
            assert (outcome, target) == ("stay", None)
            assert set(changes) < {"open_blue", "open_green"}


def test_every_row_is_taken_by_a_case() -> None:
    taken = {id(STRATEGY.row(case[0], case[2], case[3])) for case in CASES}
    assert [str(row) for row in STRATEGY.rows if id(row) not in taken] == []


def test_no_case_is_written_twice() -> None:
    assert [name for name, times in Counter(map(name_of, CASES)).items() if times > 1] == []


def test_the_states_and_the_initial_one_are_those_of_the_specification() -> None:
    assert STRATEGY.initial == D
    assert {state.name for state in STRATEGY.states} == {D, S, P, F}
    assert not any(state.final for state in STRATEGY.states)


def test_a_scope_begins_with_the_default_strategy_first() -> None:
    assert Context.initial().untried == (B, G)
    assert Context.initial(DEFAULT_GREEN).untried == (G, B)
    assert STRATEGY.holds(D, Context.initial())


def test_every_row_that_can_change_something_was_tried_when_the_table_was_defined() -> None:
    tried = {
        id(STRATEGY.row(state.name, context, event))
        for state in STRATEGY.states
        for context in STRATEGY.contexts
        if STRATEGY.holds(state.name, context)
        for event in STRATEGY.samples
    }
    live = [row for row in STRATEGY.rows if row.outcome in (RowKind.GO, RowKind.STAY)]
    assert [str(row) for row in live if id(row) not in tried] == []


def test_a_timer_is_never_the_only_way_out_of_its_state() -> None:
    for timer in TIMERS:
        for state in timer.states:
            others = {
                row.event
                for row in STRATEGY.rows
                if row.state == state and row.outcome is RowKind.GO and row.target != state
            } - {type(timer.event)}
            assert others, timer


@pytest.mark.parametrize(
    ("event", "states", "after"),
    [
        (CacheExpired(), (S,), "cache_ttl_s"),
        (DrainTimedOut(), (P,), "drain_timeout_s"),
        (CooldownEnded(), (S, D), "failed_cooldown_s"),
        (Reset(), (F,), "failed_cooldown_s"),
    ],
)
def test_every_setting_that_is_a_time_has_its_timer(event: Any, states: tuple[str, ...], after: str) -> None:
    timer = next(one for one in TIMERS if one.event == event)
    assert (timer.states, timer.after) == (states, after)
    assert getattr(Settings(), after) > 0


@pytest.mark.parametrize(
    ("longest_s", "expected"),
    [
        (1.0, [0.05, 0.05, 0.1, 0.2, 0.4, 0.8, 0.8]),
        (0.1, [0.05, 0.05, 0.1, 0.1]),
        (0.02, [0.02, 0.02, 0.02]),
    ],
)
def test_cool_down_doubles_and_stays_within_the_setting(longest_s: float, expected: list[float]) -> None:
    found = [cool_down(longest_s, having(FAILED, failed_in_a_row=count)) for count in range(len(expected))]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("longest_s", [0.1, 1, 30, 60])
def test_longest_cool_down_is_reached_before_failures_are_counted_no_more(longest_s: float) -> None:
    last, before = (
        cool_down(longest_s, having(FAILED, failed_in_a_row=FAILURES_COUNTED - n)) for n in (0, 1)
    )
    assert last == before > longest_s / 2


@pytest.mark.parametrize("setting_s", [0.1, 1.0, 60.0])
def test_hold_down_doubles_with_each_refusal_of_the_strategy_up_to_64_times(setting_s: float) -> None:
    contexts = [having(STABLE, held_down=G, refused_green=count, refused_blue=3) for count in range(8)]
    assert [hold_down(setting_s, one) / setting_s for one in contexts] == [1, 1, 2, 4, 8, 16, 32, 64]
    assert hold_down(setting_s, STABLE) == setting_s


def test_only_the_hold_down_timer_has_a_condition_a_refusal_that_holds_down() -> None:
    armed = {timer.event: timer.armed for timer in TIMERS}
    guard = armed.pop(CooldownEnded())
    assert set(armed.values()) == {None}
    assert guard is not None
    cases = [having(STABLE, held_down=held) for held in (None, *BOTH)] + [having(STABLE, **ROLLED_BACK)]
    facts = [{fact.name: fact.of(context, None) for fact in guard.facts} for context in cases]
    assert list(map(guard.holds, facts)) == [False, True, True, False]


def test_a_context_without_an_active_strategy_counts_as_drained() -> None:
    drained = next(
        fact
        for row in STRATEGY.rows
        for fact in row.guard.facts
        if fact.name == "drained" and row.event is ConnectionOpened
    )
    assert drained.of(FIRST, ConnectionOpened()) is True
