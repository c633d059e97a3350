"""The metrics say what has happened, under the names that are declared, in one process and in several."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import CacheInvalidated, QueryCompleted, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed
from bluegreen.runtime.telemetry import Record, RequestFailed, TelemetryEvent, UnlistedRefusal
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.observe.metrics.collector import Measures
from bluegreen_adapters.observe.metrics.definitions import INSTRUMENTS
from bluegreen_adapters.observe.metrics.prometheus import PrometheusMeter

SCOPE = Scope("db.example:443", "measured")


@pytest.fixture
def manager() -> Iterator[StrategyManager]:
    forget(SCOPE)
    yield managed(SCOPE, Settings())
    forget(SCOPE)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


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


def test_a_switch_is_counted_from_its_first_query_to_its_commit(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry
) -> None:
    old = manager.start(lambda strategy, seconds_left: None)
    manager.send(StrategyAnnounced(Strategy.GREEN, manager.state_version))
    new = manager.start(lambda strategy, seconds_left: None)
    measures.refresh()
    assert value(registry, "bluegreen_state", state="PendingTransition") == 1
    assert value(registry, "bluegreen_state", state="Stable") == 0
    assert value(registry, "bluegreen_tickets", strategy="blue") == 1
    assert value(registry, "bluegreen_drain_seconds_count") is None
    manager.end(QueryCompleted(old))
    manager.end(QueryCompleted(new))
    measures.refresh()
    assert value(registry, "bluegreen_state", state="Stable") == 1
    assert value(registry, "bluegreen_tickets", strategy="blue") == 0
    assert value(registry, "bluegreen_queries_total", strategy="blue") == 1
    assert value(registry, "bluegreen_queries_total", strategy="green") == 1
    assert value(registry, "bluegreen_queries_ended_total", strategy="green", event="query_completed") == 1
    assert value(registry, "bluegreen_cache_misses_total") == 1
    assert value(registry, "bluegreen_detection_seconds_count", found="blue") == 1
    assert value(registry, "bluegreen_drain_seconds_count") == 1
    rows = [
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "bluegreen_transitions_total"
    ]
    assert sum(rows) == 3  # found, announced, committed


def test_a_switch_that_is_withdrawn_is_no_drain(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry
) -> None:
    ticket = manager.start(lambda strategy, seconds_left: None)
    for strategy in (Strategy.GREEN, Strategy.BLUE):
        manager.send(StrategyAnnounced(strategy, manager.state_version))
    manager.end(QueryCompleted(ticket))
    assert (manager.state, manager.active) == ("Stable", Strategy.BLUE)
    assert value(registry, "bluegreen_drain_seconds_count") is None


def test_the_time_in_a_state_begins_anew_with_a_manager_that_is_new(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry
) -> None:
    for _ in range(3):
        manager.send(CacheInvalidated())
        manager.start(lambda strategy, seconds_left: None)
    measures.refresh()
    forget(SCOPE)
    measures([record_of_a_detection(at_s=manager.now_s() + 1000.0)])
    measures.refresh()
    assert value(registry, "bluegreen_state_age_seconds") == 0.0, "nobody manages the scope"
    now = 2000.0 + manager.now_s()
    managed(SCOPE)._clock = lambda: now
    measures.refresh()
    assert value(registry, "bluegreen_state_age_seconds") == pytest.approx(1000.0, abs=5.0)


def record_of_a_detection(at_s: float) -> Record:
    """The first step of a manager, whose sequence is lower than that of the one before it."""
    other, found = StrategyManager(SCOPE, Settings(), clock=lambda: at_s), list[TelemetryEvent]()
    other.observe(found.append)
    other.start(lambda strategy, seconds_left: None)
    return next(one for one in found if isinstance(one, Record))


def test_the_share_of_requests_that_a_456_answers_can_be_told(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry
) -> None:
    for _ in range(20):
        manager.count_request()
    manager.report(RequestFailed(SCOPE, 0.0, Strategy.BLUE, "execute", "wrong strategy", "UNKNOWN"))
    manager.report(RequestFailed(SCOPE, 0.0, Strategy.BLUE, "execute", "transient", "UNAVAILABLE"))
    measures.refresh()
    measures.refresh()
    assert value(registry, "bluegreen_requests_total") == 20
    assert value(registry, "bluegreen_request_failures_total", strategy="blue", fault="wrong strategy") == 1
    assert value(registry, "bluegreen_request_failures_total", strategy="blue", fault="transient") == 1


def test_replies_with_456_that_match_no_form_are_counted_from_0_on(
    manager: StrategyManager, measures: Measures, registry: CollectorRegistry
) -> None:
    measures.refresh()
    assert value(registry, "bluegreen_unlisted_refusals_total", strategy="blue") == 0
    for code in ("UNKNOWN", "UNKNOWN", "INTERNAL"):
        manager.report(UnlistedRefusal(SCOPE, 0.0, Strategy.BLUE, "execute", code))
    assert value(registry, "bluegreen_unlisted_refusals_total", strategy="blue") == 3
    assert value(registry, "bluegreen_unlisted_refusals_total", strategy="green") == 0


def test_each_metric_is_declared_once_with_its_unit_last(registry: CollectorRegistry) -> None:
    PrometheusMeter(registry)
    names = [one.name for one in INSTRUMENTS]
    assert len(set(names)) == len(names)
    assert {metric.name for metric in registry.collect()} == set(names)
    assert all(one.name.endswith("_seconds") for one in INSTRUMENTS if one.kind == "histogram")
    assert b"# HELP bluegreen_lost_queries_total" in generate_latest(registry)


PROCESS = """
from prometheus_client import CollectorRegistry, REGISTRY, generate_latest, multiprocess
from bluegreen.machines.strategy.events import QueryCompleted
from bluegreen.runtime.registry import managed
from bluegreen.types import Scope
from bluegreen_adapters.observe.queue import Delivery
from bluegreen_adapters.observe.metrics.collector import Measures
from bluegreen_adapters.observe.metrics.prometheus import PrometheusMeter
measures = Measures(PrometheusMeter(REGISTRY))
delivery = Delivery(measures)
delivery.follow_all()
manager = managed(Scope("db.example:443"))
for _ in range(10):
    manager.end(QueryCompleted(manager.start(lambda strategy, seconds_left: None)))
assert delivery.close()
measures.refresh()
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_the_counts_of_several_processes_are_added(tmp_path: os.PathLike[str]) -> None:
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": os.fspath(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    said = ""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROCESS],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert 'bluegreen_queries_total{scope="db.example:443",strategy="blue"} 20.0' in said
    assert 'bluegreen_cache_misses_total{scope="db.example:443"} 2.0' in said
