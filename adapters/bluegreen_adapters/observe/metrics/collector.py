"""Measures: what managers tell, as counts, times and levels. It knows no exporter.

>>> from bluegreen.types import Scope
>>> class Printed:
...     def count(self, name, labels, by=1): print(name, labels, by)
...     def observe(self, name, labels, value): print(name, labels, value)
...     def set(self, name, labels, value): print(name, labels, value)
>>> Measures(Printed())([CacheMissed(Scope("db.example:443"), 1.5)])
bluegreen_cache_misses ('db.example:443',) 1

Source: business logic, "Monitoring and Alerting" and "Performance Optimization".
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

from bluegreen.errors import unreachable
from bluegreen.machines.strategy.context import DETECTING, PENDING, STABLE
from bluegreen.machines.strategy.events import ENDINGS
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managers
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
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.observe.event_fields import changes
from bluegreen_adapters.observe.health.checks import Health, health
from bluegreen_adapters.observe.metrics.definitions import WRONG_STRATEGY
from bluegreen_adapters.observe.queue import Delivery

Labels = tuple[str, ...]
Counts = Counter[tuple[str, Labels]]
Levels = dict[tuple[str, Labels], float]


class Meter(Protocol):
    """Something that keeps the metrics of `definitions`. Labels are in the order that is declared there."""

    def begin(self, name: str, labels: Labels) -> object:
        """Show a counter or a histogram before anything is counted, where that is possible."""
        ...

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
        self._missed: dict[Scope, float] = {}
        self._deliveries: dict[str, tuple[Delivery, int, int]] = {}
        self._shown: frozenset[tuple[str, Labels]] = frozenset()
        self._lock = threading.Lock()  # servers read metrics in several threads
        reborn_in_children(self)
        self._asked: weakref.WeakKeyDictionary[StrategyManager, int] = weakref.WeakKeyDictionary()

    def __call__(self, happenings: Sequence[TelemetryEvent]) -> None:
        """Take note of what has happened. What counts the same is added up first: exporters are slow to be told."""
        counts: Counts = Counter()
        scope, name = None, ""
        for happening in happenings:
            if happening.scope is not scope:
                scope, name = happening.scope, str(happening.scope)
            self._apply(happening, name, counts)
        for (counter, labels), by in counts.items():
            self._meter.count(counter, labels, by)

    def watch(self, name: str, delivery: Delivery) -> None:
        """Count what `delivery` drops, and what its taker fails on, from now on.

        Args:
            name: the label `delivery`; whoever had that name before is watched no longer.
        """
        self._deliveries[name] = (delivery, 0, 0)

    def health(self, scope: Scope, check: str, ok: bool) -> None:
        """Take note of a check of health: whether it holds."""
        self._meter.set("bluegreen_healthy", (str(scope), check), float(ok))

    def healths(self, found: Sequence[Health]) -> None:
        """Take note of what a `Watch` has found."""
        for one in found:
            for verdict in one.verdicts:
                self.health(one.scope, verdict.check, verdict.ok)

    def refresh(self) -> None:
        """Set every gauge to what holds now, health included: before the metrics are read.

        The gauges of a scope that was forgotten are set to rest: nothing is open, nothing is wrong.
        """
        with self._lock:
            levels: Levels = {}
            for manager in managers():
                self._level(manager, levels)
            gone = {key: _AT_REST.get(key[0], 0.0) for key in self._shown - levels.keys()}
            self._shown = frozenset(levels)
            for (name, labels), value in (gone | levels).items():
                self._meter.set(name, labels, value)
            for name, (delivery, dropped, failed) in tuple(self._deliveries.items()):
                drops, fails = max(delivery.dropped, dropped), max(delivery.failed, failed)
                self._deliveries[name] = (delivery, drops, fails)
                self._meter.count("bluegreen_delivery_dropped", (name,), drops - dropped)
                self._meter.count("bluegreen_delivery_failed", (name,), fails - failed)

    def after_fork(self) -> None:
        """In a forked child: whoever refreshed is not here."""
        self._lock = threading.Lock()

    def _level(self, manager: StrategyManager, levels: Levels) -> None:
        """Take note of a manager's levels, and count its requests."""
        scope, (state, context, _) = str(manager.scope), manager.snapshot
        if manager not in self._asked:
            self._zero(scope)
        for verdict in health(manager).verdicts:
            levels["bluegreen_healthy", (scope, verdict.check)] = float(verdict.ok)
        for one in STRATEGY.states:
            levels["bluegreen_state", (scope, one.name)] = float(one.name == state)
        for strategy in Strategy:
            levels["bluegreen_tickets", (scope, strategy.value)] = context.open_on(strategy)
        now_s = manager.now_s()
        since_s = self._since.setdefault(manager.scope, now_s)
        levels["bluegreen_state_age_seconds", (scope,)] = max(now_s - since_s, 0.0)
        asked = manager.requests
        before = self._asked.get(manager, 0)
        self._asked[manager] = max(asked, before)
        self._meter.count("bluegreen_requests", (scope,), max(asked - before, 0))
        self._ages(manager, scope, now_s, levels)

    def _zero(self, scope: str) -> None:
        """Begin what raises alerts at 0: what is first seen with its first count has not grown by that."""
        meter = self._meter
        meter.begin("bluegreen_cache_misses", (scope,))
        for one in Strategy:
            for name in _ZEROED:
                meter.begin(name, (scope, one.value))
            meter.begin("bluegreen_request_failures", (scope, one.value, WRONG_STRATEGY))
        for found in (*(one.value for one in Strategy), "none"):
            meter.begin("bluegreen_detection_seconds", (scope, found))
        for how in ("announced", "detected"):
            meter.begin("bluegreen_transition_seconds", (scope, how))

    @staticmethod
    def _ages(manager: StrategyManager, scope: str, now_s: float, levels: Levels) -> None:
        began_s = dict.fromkeys(Strategy, now_s)
        for ticket in manager.open_tickets:
            began_s[ticket.strategy] = min(began_s[ticket.strategy], ticket.started_s)
        route, drains_s = manager.snapshot.context.route, 0.0
        for one, oldest_s in began_s.items():
            age_s = now_s - oldest_s
            levels["bluegreen_oldest_ticket_seconds", (scope, one.value)] = age_s
            drains_s = drains_s if one is route else max(drains_s, age_s)
        levels["bluegreen_drain_age_seconds", (scope,)] = drains_s
        levels["bluegreen_drain_limit_seconds", (scope,)] = manager.settings.drain_timeout_s
        exchange = manager.exchange
        if exchange is not None:
            stale_s = max(now_s - exchange.answered_s, 0.0)
            levels["bluegreen_store_staleness_seconds", (scope,)] = stale_s

    def _apply(self, happening: TelemetryEvent, scope: str, counts: Counts) -> None:
        meter = self._meter
        match happening:
            case Record():
                self._stepped(happening, scope, counts)
            case CacheMissed():
                self._missed.setdefault(happening.scope, happening.at_s)
                counts["bluegreen_cache_misses", (scope,)] += 1
            case DetectionEnded(found=found, took_s=took_s):
                name = "none" if found is None else found.value
                meter.observe("bluegreen_detection_seconds", (scope, name), took_s)
            case LockWaited(waited_s=waited_s):
                meter.observe("bluegreen_lock_wait_seconds", (scope,), waited_s)
            case RequestFailed(strategy=strategy, fault=fault):
                counts["bluegreen_request_failures", (scope, strategy.value, fault)] += 1
            case UnlistedRefusal(strategy=strategy):
                counts["bluegreen_unlisted_refusals", (scope, strategy.value)] += 1
            case RequestRetried(ticket=ticket):
                counts["bluegreen_retries", (scope, ticket.strategy.value)] += 1
            case QueryReplayed(ticket=ticket):
                counts["bluegreen_replays", (scope, ticket.strategy.value)] += 1
            case LossReported(ticket=ticket):
                counts["bluegreen_lost_queries", (scope, ticket.strategy.value)] += 1
            case SessionOpened(strategy=strategy, took_s=took_s):
                meter.observe("bluegreen_session_seconds", (scope, strategy.value), took_s)
            case StoreLost(store=store):
                counts["bluegreen_store_faults", (scope, store)] += 1
            case Corrected(check=check):
                counts["bluegreen_corrections", (scope, check)] += 1
            case QueryBegun() | StoreBack() | Reconfigured():
                pass  # nothing is measured
            case _:
                unreachable(happening)

    def _stepped(self, record: Record, scope: str, counts: Counts) -> None:
        before, after, event = record.before, record.step, record.event
        if record.ticket is not None:
            counts["bluegreen_queries", (scope, record.ticket.strategy.value)] += 1
        elif isinstance(event, ENDINGS):
            counts["bluegreen_queries_ended", (scope, event.ticket.strategy.value, event.name)] += 1
        if not changes(record):
            return
        counts["bluegreen_transitions", (scope, after.row.name)] += 1
        if before.state == after.state:
            return
        self._since[record.scope] = max(record.at_s, self._since.get(record.scope, record.at_s))
        if after.state == PENDING:
            self._announced[record.scope] = record.at_s
        elif before.state == PENDING:
            began_s = self._announced.pop(record.scope, None)
            committed = after.context.active is before.context.pending  # rather than withdrawn or refused
            if committed:
                self._meter.observe("bluegreen_transition_seconds", (scope, "announced"), record.took_s)
            if began_s is not None and committed:
                self._meter.observe("bluegreen_drain_seconds", (scope,), max(record.at_s - began_s, 0.0))
        self._detected(record, scope)

    def _detected(self, record: Record, scope: str) -> None:
        before, after = record.before, record.step
        if after.state == DETECTING and before.state in _SERVING:
            missed_s = self._missed.get(record.scope, record.at_s)
            if (
                missed_s < record.at_s - record.took_s
            ):  # told late, by a query that an earlier detection has served
                del self._missed[record.scope]
        elif before.state == DETECTING and after.state in _SERVING:
            began_s = self._missed.pop(record.scope, None)
            moved = before.context.active not in (None, after.context.active)
            if began_s is not None and moved:
                waited_s = max(record.at_s - began_s, 0.0)
                self._meter.observe("bluegreen_transition_seconds", (scope, "detected"), waited_s)


_AT_REST: Final = {"bluegreen_healthy": 1.0}
"""What a gauge of a forgotten scope shows, where that is not 0."""

_SERVING: Final = (STABLE, PENDING)
_ZEROED: Final = (
    "bluegreen_queries", "bluegreen_retries", "bluegreen_replays", "bluegreen_lost_queries",
    "bluegreen_unlisted_refusals",
)  # fmt: skip
