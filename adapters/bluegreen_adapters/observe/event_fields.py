"""A happening as a level, a name and fields: what a log line, an audit line or a span says of it.

No field holds a credential, since no happening does, nor anything of a statement unless
the application has asked for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from bluegreen.errors import unreachable
from bluegreen.runtime.telemetry import (
    CacheMissed,
    Corrected,
    DetectionEnded,
    LockWaited,
    LossReported,
    QueryBegun,
    QueryReplayed,
    Reconfigured,
    Record,
    RequestFailed,
    RequestRetried,
    SessionOpened,
    StoreBack,
    StoreLost,
    TelemetryEvent,
    UnlistedRefusal,
)
from bluegreen.types import Ticket


class LogEntry(NamedTuple):
    """What is to be said: a level of `logging`, a name in the past tense, and fields that JSON can hold."""

    level: int
    event: str
    fields: Mapping[str, Any]


def log_entry(happening: TelemetryEvent) -> LogEntry:
    """Return what is to be said of a happening. Pure.

    A change of strategy is INFO; start and end of a query are DEBUG; a lost query is an ERROR.

    >>> from bluegreen.types import Scope
    >>> log_entry(StoreLost(Scope("db.example:443"), 1.5, "redis", "no answer"))
    LogEntry(level=30, event='store_lost', fields={'scope': 'db.example:443', 'store': 'redis', 'reason': 'no answer'})

    Source: business logic, "Monitoring and Alerting".
    """
    level, event, fields = _describe(happening)
    return LogEntry(level, event, {"scope": str(happening.scope), **fields})


def _describe(happening: TelemetryEvent) -> tuple[int, str, dict[str, Any]]:  # noqa: PLR0912, RET503  a case for each kind; `unreachable` never returns
    match happening:
        case Record():
            return _stepped(happening)
        case CacheMissed():
            return logging.DEBUG, "cache_missed", {}
        case DetectionEnded(found=found):
            fields = {
                "took_s": happening.took_s,
                "tried": [one.value for one in happening.tried],
                "found": None if found is None else found.value,
                "failures": dict(happening.failures),
                "followed": happening.followed,
            }
            return (logging.ERROR if found is None else logging.INFO), "detection_ended", fields
        case LockWaited():
            return logging.DEBUG, "lock_waited", {"waited_s": happening.waited_s}
        case RequestFailed(strategy=strategy, method=method, fault=fault, code=code):
            fields = {"strategy": strategy.value, "method": method, "fault": fault, "code": code}
            return logging.WARNING, "request_failed", {**fields, **_of(happening.ticket)}
        case UnlistedRefusal(strategy=strategy, method=method, code=code):
            fields = {"strategy": strategy.value, "method": method, "code": code}
            return logging.WARNING, "unlisted_refusal", fields
        case RequestRetried(method=method, attempt=attempt, delay_s=delay_s):
            fields = {"method": method, "attempt": attempt, "delay_s": delay_s}
            return logging.INFO, "request_retried", {**fields, **_of(happening.ticket)}
        case QueryBegun(query=query, statement=statement):
            fields = {"query_id": query, "statement": statement}
            return logging.DEBUG, "query_begun", {**fields, **_of(happening.ticket)}
        case QueryReplayed(query=query, executes=executes, reason=reason):
            fields = {"query_id": query, "executes": executes, "reason": reason}
            return logging.INFO, "query_replayed", {**fields, **_of(happening.ticket)}
        case LossReported(query=query, reason=reason):
            return logging.ERROR, "query_lost", {"query_id": query, "reason": reason, **_of(happening.ticket)}
        case SessionOpened(strategy=strategy, took_s=took_s, ahead=ahead):
            return (
                logging.DEBUG,
                "session_opened",
                {"strategy": strategy.value, "took_s": took_s, "ahead": ahead},
            )
        case StoreLost(store=store, reason=reason):
            return logging.WARNING, "store_lost", {"store": store, "reason": reason}
        case StoreBack(store=store):
            return logging.INFO, "store_back", {"store": store}
        case Reconfigured(changes=changes):
            shown = {name: [str(before), str(after)] for name, (before, after) in changes.items()}
            return logging.INFO, "reconfigured", {"changes": shown}
        case Corrected(check=check, found=wrong, correction=correction):
            return logging.WARNING, "corrected", {"check": check, "found": wrong, "correction": correction}
        case _:
            unreachable(happening)


def changes(record: Record) -> bool:
    """Whether a step changed the state or the strategy, rather than counted a query."""
    return (
        record.before.state != record.step.state
        or record.before.context.state_version != record.step.context.state_version
    )


def _stepped(record: Record) -> tuple[int, str, dict[str, Any]]:
    after, changed = record.step.context, changes(record)
    ticket = record.ticket or getattr(record.event, "ticket", None)
    fields = {
        "event_name": record.event.name,
        "row": record.step.row.name,
        "sequence": record.sequence,
        "before": record.before.state,
        "after": record.step.state,
        "active": None if after.active is None else after.active.value,
        "pending": None if after.pending is None else after.pending.value,
        "state_version": after.state_version,
        **_of(ticket),
    }
    return (logging.INFO if changed else logging.DEBUG), "strategy_changed" if changed else "stepped", fields


def _of(ticket: Ticket | None) -> dict[str, Any]:
    if ticket is None:
        return {}
    return {
        "query": ticket.query,
        "ticket_strategy": ticket.strategy.value,
        "ticket_state_version": ticket.state_version,
    }
