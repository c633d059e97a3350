"""The health of a scope, by each check, when asked and every 30 seconds; and readiness for a switch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import attrs
import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import StoreError, StrategyUnavailable
from bluegreen.machines.strategy.events import QueryCompleted, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed
from bluegreen.types import Scope
from bluegreen_adapters.observe.health.checks import CHECKS, EVERY_S, Health, HealthMonitor, health, readiness
from bluegreen_adapters.stores.memory import MemoryStore
from support.clock import FakeClock
from support.managing import BLUE, GREEN, accepting, refusing

SCOPE = Scope("health.example:443")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(clock: FakeClock) -> Iterator[StrategyManager]:
    forget(SCOPE)
    made = managed(SCOPE, Settings(drain_timeout_s=60))
    made._clock, made._since_s = clock, clock()
    yield made
    forget(SCOPE)


def reasons(found: Health) -> dict[str, str]:
    return {one.check: one.reason for one in found.verdicts if not one.ok}


def test_a_scope_is_healthy_before_its_first_query_and_says_for_how_long_it_is_in_its_state(
    manager: StrategyManager, clock: FakeClock
) -> None:
    clock.advance(5)
    found = health(manager)
    assert (found.ok, found.reason, found.state, found.age_s) == (True, "", "Detecting", 5.0)
    assert tuple(one.check for one in found.verdicts) == CHECKS
    manager.start(accepting)
    clock.advance(2)
    assert (health(manager).state, health(manager).age_s) == ("Stable", 2.0)
    manager.start(accepting)
    assert health(manager).age_s == 2.0, "a query is no change of state"


def test_a_scope_of_which_both_strategies_fail_is_not_available_and_says_what_they_answered(
    manager: StrategyManager,
) -> None:
    with pytest.raises(StrategyUnavailable):
        manager.start(refusing)
    found = health(manager)
    assert not found.ok
    assert reasons(found) == {
        "availability": "neither strategy can be used (blue: no route, green: no route)"
    }
    assert found.reason.startswith("availability: neither strategy")


def test_a_query_that_keeps_a_switch_waiting_for_longer_than_its_limit_is_named(
    manager: StrategyManager, clock: FakeClock
) -> None:
    ticket = manager.start(accepting)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    clock.advance(60)
    assert health(manager).ok, "the limit itself is within it"
    clock.advance(1)
    assert reasons(health(manager)) == {"drain": "1 queries on blue are older than 60 s, the oldest 61 s"}
    manager.end(QueryCompleted(ticket))
    assert health(manager).ok


def test_an_old_query_on_the_strategy_where_new_ones_go_drains_nothing(
    manager: StrategyManager, clock: FakeClock
) -> None:
    manager.start(accepting)
    clock.advance(1000)
    assert health(manager).ok


class _Silent(MemoryStore):
    def read(self, scope: Scope) -> object:  # type: ignore[override]
        raise StoreError(self.name, "no answer")

    write = lease = read  # type: ignore[assignment]


def test_a_store_that_does_not_answer_is_told(manager: StrategyManager) -> None:
    manager.join(MemoryStore())
    manager.end(QueryCompleted(manager.start(accepting)))
    assert health(manager).ok
    manager.join(_Silent())
    exchange = manager.exchange
    assert exchange is not None
    exchange.attend()
    assert reasons(health(manager)) == {"store": "memory: does not answer; this process goes on without"}


@pytest.mark.unjournaled
def test_what_does_not_agree_is_told_until_it_is_repaired(manager: StrategyManager) -> None:
    manager.start(accepting)
    manager._tickets.clear()
    assert "query_mapping_integrity: 1 queries are counted on blue" in reasons(health(manager))["integrity"]
    manager.repair()
    assert health(manager).ok


def test_health_is_looked_at_every_thirty_seconds_and_only_what_changes_is_logged(
    manager: StrategyManager, caplog: pytest.LogCaptureFixture
) -> None:
    assert EVERY_S == 30.0
    taken: list[Sequence[Health]] = []
    watch = HealthMonitor(taken.append)
    with caplog.at_level(logging.INFO, "bluegreen.observe"):
        watch.look()
        with pytest.raises(StrategyUnavailable):
            manager.start(refusing)
        watch.look()
        watch.look()
        manager._clock.advance(5)  # type: ignore[attr-defined]
        manager.end(QueryCompleted(manager.start(accepting)))
        watch.look()
    said = [
        (one.levelname, one.getMessage().split(": ")[1])
        for one in caplog.records
        if one.name == "bluegreen.observe" and str(SCOPE) in one.getMessage()
    ]
    assert said == [("WARNING", "not healthy"), ("INFO", "healthy again")]
    assert [next(one.ok for one in found if one.scope == SCOPE) for found in taken] == [
        True,
        False,
        False,
        True,
    ]


def test_the_thread_of_a_watch_goes_on_when_whoever_takes_it_raises_and_ends_when_it_is_told(
    manager: StrategyManager, caplog: pytest.LogCaptureFixture
) -> None:
    looked = threading.Semaphore(0)

    def take(_: object) -> None:
        looked.release()
        raise RuntimeError("full")

    with HealthMonitor(take, every_s=0.001) as watch:
        thread = watch._thread
        assert all(looked.acquire(timeout=60) for _ in range(3))
        assert watch.start() is watch, "once is enough"
        assert watch._thread is thread
    assert thread is not None
    assert not thread.is_alive()
    assert "the health was not looked at" in caplog.text


def test_a_watch_that_never_waits_is_refused() -> None:
    with pytest.raises(ValueError, match="every_s is 0; accepted: more than 0 seconds"):
        HealthMonitor(every_s=0)


def test_a_process_without_connections_is_ready_as_soon_as_it_knows_of_a_switch(
    manager: StrategyManager,
) -> None:
    before = readiness(manager, GREEN)
    assert (before.aware, before.ready, before.connections) == (False, False, 0)
    assert not readiness(manager).ready, "nothing is known yet"
    manager.end(QueryCompleted(manager.start(accepting)))
    assert readiness(manager).strategy is BLUE
    assert readiness(manager).ready
    assert not readiness(manager, GREEN).ready
    manager.start(accepting)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    assert attrs.astuple(readiness(manager, GREEN), recurse=False) == (SCOPE, GREEN, True, 0, 0)
    assert readiness(manager, GREEN).ready
