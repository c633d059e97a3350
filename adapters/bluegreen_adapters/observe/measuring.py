"""Measures: what managers tell, as counts, times and levels. It knows no exporter.

>>> from bluegreen.vocabulary import Scope
>>> class Printed:
...     def count(self, name, labels, by=1): print(name, labels, by)
...     def observe(self, name, labels, value): print(name, labels, value)
...     def set(self, name, labels, value): print(name, labels, value)
>>> Measures(Printed())([CacheMissed(Scope("db.example:443"), 1.5)])
bluegreen_cache_misses ('db.example:443',) 1

Source: business logic, "Monitoring and Alerting" and "Performance Optimization".
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Protocol

from bluegreen.errors import unreachable
from bluegreen.happenings import (
    CacheMissed,
    DetectionEnded,
    Happening,
    LockWaited,
    LossReported,
    QueryReplayed,
    Reconfigured,
    Record,
    RequestFailed,
    RequestRetried,
    SessionOpened,
    StoreBack,
    StoreLost,
)
from bluegreen.manager import Ending, StrategyManager
from bluegreen.registry import managers
from bluegreen.strategy import PENDING, STRATEGY
from bluegreen.vocabulary import Scope, Strategy
from bluegreen_adapters.observe.telling import changes

Labels = tuple[str, ...]


class Meter(Protocol):
    """Something that keeps the metrics of `instruments`. Labels are in the order that is declared there."""

    def count(self, name: str, labels: Labels, by: float = 1) -> object:
        """Add to a counter."""
        ...

    def observe(self, name: str, labels: Labels, value: float) -> object:
        """Add a value to a histogram."""
        ...

    def set(self, name: str, labels: Labels, value: float) -> object:
        """Set a gauge."""
        ...


class Measures:
    """Keeps the metrics: the `take` of a `Delivery`. Gauges, and the count of requests, are read by `refresh`.

    Records may arrive out of order; a gauge is read from its manager, which knows what holds now.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._since: dict[Scope, float] = {}
        self._announced: dict[Scope, float] = {}
        self._asked: weakref.WeakKeyDictionary[StrategyManager, int] = weakref.WeakKeyDictionary()

    def __call__(self, happenings: Sequence[Happening]) -> None:
        """Take note of what has happened."""
        for happening in happenings:
            self._take(happening, str(happening.scope))

    def refresh(self) -> None:
        """Set every gauge to what holds now: before the metrics are read."""
        for manager in managers():
            scope, (state, context, _) = str(manager.scope), manager.snapshot
            for one in STRATEGY.states:
                self._meter.set("bluegreen_state", (scope, one.name), float(one.name == state))
            for strategy in Strategy:
                self._meter.set("bluegreen_tickets", (scope, strategy.value), context.open_on(strategy))
            now_s = manager.now_s()
            since_s = self._since.setdefault(manager.scope, now_s)
            self._meter.set("bluegreen_state_age_seconds", (scope,), max(now_s - since_s, 0.0))
            asked = manager.requests
            before = self._asked.get(manager, 0)
            if asked > before:
                self._asked[manager] = asked
                self._meter.count("bluegreen_requests", (scope,), asked - before)

    def _take(self, happening: Happening, scope: str) -> None:
        meter = self._meter
        match happening:
            case Record():
                self._stepped(happening, scope)
            case CacheMissed():
                meter.count("bluegreen_cache_misses", (scope,))
            case DetectionEnded(found=found, took_s=took_s):
                name = "none" if found is None else found.value
                meter.observe("bluegreen_detection_seconds", (scope, name), took_s)
            case LockWaited(waited_s=waited_s):
                meter.observe("bluegreen_lock_wait_seconds", (scope,), waited_s)
            case RequestFailed(strategy=strategy, fault=fault):
                meter.count("bluegreen_request_failures", (scope, strategy.value, fault))
            case RequestRetried(ticket=ticket):
                meter.count("bluegreen_retries", (scope, ticket.strategy.value))
            case QueryReplayed(ticket=ticket):
                meter.count("bluegreen_replays", (scope, ticket.strategy.value))
            case LossReported(ticket=ticket):
                meter.count("bluegreen_lost_queries", (scope, ticket.strategy.value))
            case SessionOpened(strategy=strategy, took_s=took_s):
                meter.observe("bluegreen_session_seconds", (scope, strategy.value), took_s)
            case StoreLost(store=store):
                meter.count("bluegreen_store_faults", (scope, store))
            case StoreBack() | Reconfigured():
                pass  # nothing is measured
            case _:
                unreachable(happening)

    def _stepped(self, record: Record, scope: str) -> None:
        before, after, event = record.before, record.step, record.event
        if record.ticket is not None:
            self._meter.count("bluegreen_queries", (scope, record.ticket.strategy.value))
        elif isinstance(event, Ending):
            self._meter.count("bluegreen_queries_ended", (scope, event.ticket.strategy.value, event.name))
        if changes(record):
            self._meter.count("bluegreen_transitions", (scope, after.row.name))
        if before.state == after.state:
            return
        self._since[record.scope] = max(record.at_s, self._since.get(record.scope, record.at_s))
        if after.state == PENDING:
            self._announced[record.scope] = record.at_s
        elif before.state == PENDING:
            began_s = self._announced.pop(record.scope, None)
            committed = after.context.active is before.context.pending  # rather than withdrawn or refused
            if began_s is not None and committed:
                self._meter.observe("bluegreen_drain_seconds", (scope,), max(record.at_s - began_s, 0.0))
