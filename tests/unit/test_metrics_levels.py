"""Ages, health, drops and the time that a change of strategy takes are measured as they are declared."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from bluegreen.config.settings import Settings
from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.events import CacheInvalidated, Error456, QueryCompleted
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed
from bluegreen.runtime.telemetry import CacheMissed, TelemetryEvent
from bluegreen.types import Scope
from bluegreen_adapters.connection.protocol import Fault
from bluegreen_adapters.observe.metrics.collector import Measures
from bluegreen_adapters.observe.metrics.definitions import WRONG_STRATEGY
from bluegreen_adapters.observe.metrics.prometheus import PrometheusMeter
from bluegreen_adapters.observe.queue import Delivery
from bluegreen_adapters.stores.memory import MemoryStore
from support.clock import FakeClock
from support.managing import BLUE, GREEN, Cluster, announce, nobody, on_blue

SCOPE = Scope("db.example:443", "levels")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(clock: FakeClock) -> Iterator[StrategyManager]:
    forget(SCOPE)
    made = managed(SCOPE, Settings(drain_timeout_s=120))
    made._clock = clock
    yield made
    forget(SCOPE)


@pytest.fixture
def measures(manager: StrategyManager, registry: CollectorRegistry) -> Iterator[Measures]:
    measures = Measures(PrometheusMeter(registry))

    def take(happening: TelemetryEvent) -> None:
        measures([happening])

    stop = manager.observe(take)
    yield measures
    stop()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {"scope": str(SCOPE), **labels})


def test_the_age_of_the_oldest_query_and_of_the_drain_are_those_of_its_ticket(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    old = on_blue(manager).start(nobody)
    clock.advance(10.0)
    measures.refresh()
    assert value(registry, "bluegreen_oldest_ticket_seconds", strategy="blue") == 10.0
    assert value(registry, "bluegreen_drain_age_seconds") == 0.0, "it is where new queries go"
    announce(manager)
    clock.advance(5.0)
    manager.start(nobody)
    clock.advance(2.0)
    measures.refresh()
    assert value(registry, "bluegreen_oldest_ticket_seconds", strategy="blue") == 17.0
    assert value(registry, "bluegreen_oldest_ticket_seconds", strategy="green") == 2.0
    assert value(registry, "bluegreen_drain_age_seconds") == 17.0
    assert value(registry, "bluegreen_drain_limit_seconds") == 120.0
    manager.end(QueryCompleted(old))
    measures.refresh()
    assert value(registry, "bluegreen_oldest_ticket_seconds", strategy="blue") == 0.0
    assert value(registry, "bluegreen_drain_age_seconds") == 0.0


def test_a_query_that_outlives_its_transition_is_still_a_drain(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    on_blue(manager).start(nobody)
    announce(manager)
    clock.advance(121.0)
    manager.end(QueryCompleted(manager.start(nobody)))
    assert (manager.state, manager.active) == ("Stable", GREEN)
    measures.refresh()
    assert value(registry, "bluegreen_drain_age_seconds") == 121.0


def test_a_change_at_a_safe_point_takes_as_long_as_its_step(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    ticket = on_blue(manager).start(nobody)
    announce(manager)
    clock.advance(60.0)
    manager.end(QueryCompleted(ticket))
    assert value(registry, "bluegreen_transition_seconds_count", how="announced") == 1
    assert value(registry, "bluegreen_transition_seconds_sum", how="announced") == 0.0
    assert value(registry, "bluegreen_drain_seconds_sum") == 60.0


def test_the_wait_for_the_lock_belongs_to_the_change(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    ticket = on_blue(manager).start(nobody)
    announce(manager)
    enter = manager._lock

    class Slow:
        locked = enter.locked

        def __enter__(self) -> None:
            clock.advance(0.25)
            enter.acquire()

        def __exit__(self, *_: object) -> None:
            enter.release()

    manager._lock = Slow()  # type: ignore[assignment]
    manager.end(QueryCompleted(ticket))
    assert value(registry, "bluegreen_transition_seconds_sum", how="announced") == 0.25


def test_a_change_that_nobody_announced_takes_from_the_first_query_that_waits_until_another_strategy_serves(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    cluster = Cluster(GREEN)

    def prove(strategy: object, left_s: float) -> None:
        clock.advance(0.125)
        cluster.prove(strategy, left_s)  # type: ignore[arg-type]

    on_blue(manager)
    manager.send(Error456(BLUE, manager.state_version))
    clock.advance(30.0)
    manager.start(prove)
    assert value(registry, "bluegreen_transition_seconds_count", how="detected") == 1
    assert value(registry, "bluegreen_transition_seconds_sum", how="detected") == 0.125


def test_a_detection_that_fails_counts_into_the_change_that_follows_it(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    on_blue(manager)
    manager.send(Error456(BLUE, manager.state_version))
    with pytest.raises(StrategyUnavailable):
        manager.start(Cluster().prove)
    clock.advance(2.0)
    manager.start(Cluster(GREEN).prove)
    assert value(registry, "bluegreen_transition_seconds_sum", how="detected") == 2.0


def test_a_detection_that_finds_what_served_before_is_no_change(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry
) -> None:
    manager.start(Cluster(BLUE).prove)
    manager.send(CacheInvalidated())
    manager.start(Cluster(BLUE).prove)
    measures.refresh()
    assert value(registry, "bluegreen_transition_seconds_count", how="detected") == 0


def test_a_wait_that_is_told_late_is_not_that_of_the_next_change(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    manager.start(Cluster(BLUE).prove)
    manager.report(CacheMissed(SCOPE, clock()))
    clock.advance(1000.0)
    manager.send(Error456(BLUE, manager.state_version))
    manager.start(Cluster(GREEN).prove)
    assert value(registry, "bluegreen_transition_seconds_sum", how="detected") == 0.0


def test_the_staleness_of_a_store_is_measured_where_there_is_one(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    measures.refresh()
    assert value(registry, "bluegreen_store_staleness_seconds") is None
    store = MemoryStore()
    manager.join(store)
    clock.advance(3.0)
    measures.refresh()
    assert value(registry, "bluegreen_store_staleness_seconds") == 3.0
    manager.start(Cluster(BLUE).prove)
    measures.refresh()
    assert value(registry, "bluegreen_store_staleness_seconds") == 0.0
    store.close()
    clock.advance(7.0)
    manager.send(CacheInvalidated())
    manager.start(Cluster(GREEN).prove)
    measures.refresh()
    assert value(registry, "bluegreen_store_staleness_seconds") == 7.0, "a store that fails has not answered"


def test_the_gauges_of_a_scope_that_was_forgotten_are_at_rest(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry, clock: FakeClock
) -> None:
    on_blue(manager).start(nobody)
    announce(manager, GREEN)
    manager.join(MemoryStore())
    clock.advance(1000.0)
    measures.refresh()
    assert value(registry, "bluegreen_drain_age_seconds") == 1000.0
    assert value(registry, "bluegreen_healthy", check="drain") == 0.0
    assert (value(registry, "bluegreen_store_staleness_seconds") or 0.0) > 0.0
    forget(SCOPE)
    measures.refresh()
    left = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in registry.collect()
        if metric.type == "gauge" and metric.name.startswith("bluegreen")
        for sample in metric.samples
        if sample.labels["scope"] == str(SCOPE)
    }
    assert {name: value for (name, *_), value in left.items() if value} == {"bluegreen_healthy": 1.0}
    assert {name for name, *_ in left} >= {
        "bluegreen_state",
        "bluegreen_tickets",
        "bluegreen_drain_age_seconds",
    }


def test_metrics_may_be_read_by_several_threads_at_once(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry
) -> None:
    for _ in range(100):
        manager.count_request()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(measures.refresh) for _ in range(200)]:
            done.result()
    assert value(registry, "bluegreen_requests_total") == 100.0


def test_health_is_a_gauge_for_each_check(measures: Measures, registry: CollectorRegistry) -> None:
    measures.health(SCOPE, "store", False)
    measures.health(SCOPE, "drain", True)
    assert value(registry, "bluegreen_healthy", check="store") == 0
    assert value(registry, "bluegreen_healthy", check="drain") == 1
    measures.health(SCOPE, "store", True)
    assert value(registry, "bluegreen_healthy", check="store") == 1


def test_what_a_delivery_drops_and_fails_on_is_counted_once(
    measures: Measures, registry: CollectorRegistry
) -> None:
    def take(_: object) -> None:
        raise OSError("no space left")

    delivery = Delivery(take, pause_s=0.0)
    measures.watch("audit", delivery)
    measures.refresh()
    labels = {"delivery": "audit"}
    assert registry.get_sample_value("bluegreen_delivery_dropped_total", labels) == 0
    delivery.put(CacheMissed(SCOPE, 0.0))
    assert delivery.close(30)
    for _ in range(3):
        delivery.put(CacheMissed(SCOPE, 0.0))
    measures.refresh()
    measures.refresh()
    assert registry.get_sample_value("bluegreen_delivery_dropped_total", labels) == 3
    assert registry.get_sample_value("bluegreen_delivery_failed_total", labels) == 1


def test_counters_that_raise_alerts_begin_at_zero(measures: Measures, registry: CollectorRegistry) -> None:
    measures.refresh()
    for strategy in ("blue", "green"):
        assert value(registry, "bluegreen_lost_queries_total", strategy=strategy) == 0
        failures = value(
            registry, "bluegreen_request_failures_total", strategy=strategy, fault=WRONG_STRATEGY
        )
        assert failures == 0
    assert value(registry, "bluegreen_requests_total") == 0
    for found in ("blue", "green", "none"):
        assert value(registry, "bluegreen_detection_seconds_count", found=found) == 0
    for how in ("announced", "detected"):
        assert value(registry, "bluegreen_transition_seconds_count", how=how) == 0
    assert Fault.WRONG_STRATEGY.value == WRONG_STRATEGY
