"""What a manager makes of a store that it shares: several managers that join one stand for several processes."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import Refusal, StrategyUnavailable
from bluegreen.machines.store_sync import APART, JOINED
from bluegreen.machines.strategy.events import Error456, QueryCompleted, StrategyAnnounced
from bluegreen.runtime.async_manager import AsyncStrategyManager
from bluegreen.runtime.host import stamp
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.store_synchroniser import LEASE_S
from bluegreen.runtime.telemetry import DetectionEnded, StoreBack, StoreLost, TelemetryEvent
from bluegreen.store import Stamp
from bluegreen.types import Strategy
from bluegreen_adapters.stores.memory import MemoryStore
from support.clock import FakeClock
from support.faulty_store import FaultyStore
from support.managing import BLUE, GREEN, SCOPE, Cluster, announce, nobody, query

LONG_AGO = Stamp(1.0, 0.0)


def member(store: FaultyStore | MemoryStore, **options: object) -> StrategyManager:
    manager = StrategyManager(SCOPE, Settings(), **options)  # type: ignore[arg-type]
    manager.join(store)
    return manager


def settled(store: FaultyStore | MemoryStore, *serving: Strategy) -> StrategyManager:
    """A manager that has detected."""
    manager = member(store)
    run(manager, Cluster(*serving))
    return manager


def run(manager: StrategyManager, cluster: Cluster) -> Strategy:
    """Run a query from start to end; return where it ran."""
    ticket = manager.start(cluster.prove)
    manager.end(QueryCompleted(ticket))
    return ticket.strategy


def told(manager: StrategyManager) -> list[TelemetryEvent]:
    found: list[TelemetryEvent] = []
    manager.observe(found.append)
    return found


def test_what_one_has_found_is_tried_first_by_the_next() -> None:
    store = MemoryStore()
    settled(store, GREEN)
    cluster = Cluster(GREEN)
    assert run(member(store), cluster) is GREEN
    assert cluster.asked == [GREEN]


def test_what_the_server_has_announced_to_one_the_others_follow_with_their_next_query() -> None:
    store = MemoryStore()
    one, other = settled(store, BLUE), settled(store, BLUE)
    running = query(other)
    announce(one)
    assert query(other).strategy is GREEN
    assert other.state == "PendingTransition"
    assert running.strategy is BLUE


def test_a_commit_of_one_does_not_commit_for_the_others_whose_queries_still_run() -> None:
    store = MemoryStore()
    one, other = settled(store, BLUE), settled(store, BLUE)
    running = query(other)
    announce(one)
    run(one, Cluster(GREEN))
    assert (one.state, one.active) == ("Stable", GREEN)
    query(other)
    assert (other.state, other.active) == ("PendingTransition", BLUE)
    assert other.end(QueryCompleted(running))
    assert (other.state, other.active) == ("Stable", GREEN)


def test_an_announcement_that_is_taken_back_is_taken_back_for_all() -> None:
    store = MemoryStore()
    one, other = settled(store, BLUE), settled(store, BLUE)
    held = query(other)
    announce(one)
    query(other)
    one.send(StrategyAnnounced(BLUE, one.state_version))
    assert query(other).strategy is BLUE
    assert (other.state, held.strategy) == ("Stable", BLUE)


def test_who_hears_the_same_writes_nothing() -> None:
    store = FaultyStore()
    one, other = settled(store, BLUE), settled(store, BLUE)
    announce(one)
    before = store.read(SCOPE).store_epoch
    query(other)
    assert store.read(SCOPE).store_epoch == before


def test_who_was_late_hears_who_was_faster() -> None:
    store = FaultyStore()
    one = settled(store, BLUE)
    seen = store.put(SCOPE, GREEN, stamp())
    one.send(Error456(BLUE, one.state_version))  # it has not looked since, and publishes what it finds
    assert run(one, Cluster(BLUE, GREEN)) is GREEN
    assert store.read(SCOPE).store_epoch == seen.store_epoch


def test_a_write_behind_one_that_was_not_read_is_refused_and_then_read() -> None:
    store = FaultyStore()
    one = settled(store, BLUE)
    running = query(one)
    store.put(SCOPE, BLUE, stamp())
    one.send(StrategyAnnounced(GREEN, one.state_version))
    assert (one.state, one.active) == ("Stable", BLUE)  # somebody else has said otherwise meanwhile
    one.send(StrategyAnnounced(GREEN, one.state_version))  # the server goes on saying so
    assert (one.state, store.read(SCOPE).announced) == ("PendingTransition", GREEN)
    assert one.end(QueryCompleted(running))


def test_a_store_that_refuses_every_write_and_shows_none_is_asked_a_few_times_and_then_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FaultyStore()
    manager = member(store)
    monkeypatch.setattr(store, "write", lambda scope, record: store.asked.append("write"))
    assert run(manager, Cluster(BLUE)) is BLUE
    assert 1 <= store.asked.count("write") <= 6
    assert manager.exchange is not None
    monkeypatch.undo()
    query(manager)
    assert store.read(SCOPE).announced is BLUE


# Faults.


def test_a_store_that_is_away_from_the_beginning_costs_no_query_and_is_told_once() -> None:
    store = FaultyStore()
    store.fail("no such directory")
    manager = member(store)
    happened = told(manager)
    assert [run(manager, Cluster(BLUE)) for _ in range(3)] == [BLUE] * 3
    store.retry_due()
    assert run(manager, Cluster(BLUE)) is BLUE
    lost = [one for one in happened if isinstance(one, StoreLost)]
    assert [(one.store, one.reason) for one in lost] == [("faulty:", "no such directory")]


def test_a_store_that_fails_and_is_back_is_told_once_each() -> None:
    store = FaultyStore()
    manager = settled(store, BLUE)
    happened = told(manager)
    for _ in range(3):
        store.fail()
        run(manager, Cluster(BLUE))
    assert manager.exchange is not None
    assert manager.exchange.state == APART
    store.heal()
    for _ in range(3):
        run(manager, Cluster(BLUE))
        store.retry_due()
    assert manager.exchange.state == JOINED
    assert [type(one) for one in happened if isinstance(one, (StoreLost, StoreBack))] == [
        StoreLost,
        StoreBack,
    ]


def test_while_a_store_is_known_to_be_away_nobody_asks_it_again_before_it_says_so() -> None:
    store = FaultyStore()
    manager = settled(store, BLUE)
    store.fail()
    run(manager, Cluster(BLUE))
    asked = len(store.asked)
    for _ in range(100):
        run(manager, Cluster(BLUE))
    assert len(store.asked) == asked


def test_what_was_decided_while_the_store_was_away_is_written_when_it_is_back() -> None:
    store = FaultyStore()
    one, other = settled(store, BLUE), settled(store, BLUE)
    store.fail()
    query(one)
    announce(one)
    store.heal()
    query(one)
    assert store.read(SCOPE).announced is GREEN
    assert query(other).strategy is GREEN


def test_a_store_that_comes_back_empty_is_filled_by_the_first_that_looks() -> None:
    store = FaultyStore()
    one = settled(store, GREEN)
    store.replace()
    query(one)
    assert (store.read(SCOPE).announced, store.read(SCOPE).store_epoch) == (GREEN, 1)


def test_an_old_copy_of_a_store_is_written_over_by_who_has_decided_since() -> None:
    store = FaultyStore()
    one, other = settled(store, GREEN), settled(store, GREEN)
    store.replace()
    store.put(SCOPE, BLUE, LONG_AGO)
    assert query(one).strategy is GREEN
    assert store.read(SCOPE).announced is GREEN
    assert query(other).strategy is GREEN
    assert other.state == "Stable"


def test_a_replaced_store_that_knows_something_later_is_heard() -> None:
    store = FaultyStore()
    one = settled(store, BLUE)
    store.replace()
    store.put(SCOPE, GREEN, stamp())
    assert query(one).strategy is GREEN


def test_a_wrong_word_costs_a_refusal_and_no_query() -> None:
    store = FaultyStore()
    one = settled(store, BLUE)
    store.put(SCOPE, GREEN, stamp())
    cluster = Cluster(BLUE)
    ticket = one.start(cluster.prove)
    assert ticket.strategy is GREEN
    one.send(Error456(GREEN, one.state_version))
    assert run(one, cluster) is BLUE
    assert store.read(SCOPE).announced is BLUE  # and now the others know as well
    assert run(settled(store, BLUE), cluster) is BLUE


@pytest.mark.parametrize("reason", [None, "it is away"])
def test_nothing_is_logged_as_a_warning_without_announcements_or_without_a_store(
    reason: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = FaultyStore()
    if reason is not None:
        store.fail(reason)
    manager = settled(store, BLUE)
    for _ in range(3):
        store.retry_due()
        run(manager, Cluster(BLUE))
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


# One detection for all.


def led(happened: list[TelemetryEvent]) -> list[DetectionEnded]:
    return [one for one in happened if isinstance(one, DetectionEnded) and not one.followed]


def test_many_that_are_refused_at_once_detect_once_and_the_others_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = stamp()  # a lease that does not run out, however late the machine lets its holder go on
    monkeypatch.setattr("bluegreen_adapters.stores.memory.stamp", lambda: now)
    store = MemoryStore()
    managers = [settled(store, BLUE) for _ in range(8)]
    cluster = Cluster(GREEN)
    happened = [told(manager) for manager in managers]
    for manager in managers:
        manager.send(Error456(BLUE, manager.state_version))
    threads = [threading.Thread(target=run, args=(manager, cluster)) for manager in managers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [manager.active for manager in managers] == [GREEN] * 8
    assert len([one for each in happened for one in led(each)]) == 1
    assert cluster.asked == [GREEN] * 8  # each has to open its own session there, and nobody has asked blue


def test_a_holder_that_has_died_does_not_keep_the_others_from_detecting() -> None:
    store = FaultyStore()
    manager = settled(store, BLUE)
    assert store.lease(SCOPE, "dead:1", LEASE_S / 10)
    manager.send(Error456(BLUE, manager.state_version))
    assert run(manager, Cluster(GREEN)) is GREEN


def test_a_store_that_cannot_say_who_detects_keeps_nobody_from_it() -> None:
    store = FaultyStore()
    manager = settled(store, BLUE)
    store.fail()
    manager.send(Error456(BLUE, manager.state_version))
    assert run(manager, Cluster(GREEN)) is GREEN


def test_the_lease_is_given_back_also_by_a_detection_that_finds_nothing_or_crashes() -> None:
    store = FaultyStore()
    manager = member(store, clock=FakeClock())
    with pytest.raises(StrategyUnavailable):
        manager.start(Cluster().prove)
    assert store.lease(SCOPE, "next:1", LEASE_S)
    store.release(SCOPE, "next:1")

    def crash(strategy: Strategy, left_s: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        member(store).start(crash)
    assert store.lease(SCOPE, "next:1", LEASE_S)


def test_tasks_wait_for_another_process_without_blocking_their_loop() -> None:
    store = FaultyStore()
    leader, manager = settled(store, BLUE), settled(store, BLUE)
    for one in (leader, manager):
        one.send(Error456(BLUE, one.state_version))
    held = threading.Event()

    async def prove(strategy: Strategy, left_s: float) -> None:
        if strategy is BLUE:
            raise Refusal("status 456")

    def lead(strategy: Strategy, left_s: float) -> None:
        held.set()
        assert waiting.wait(60)

    waiting = threading.Event()

    async def main() -> Strategy:
        asks = store.expect("lease")
        started = asyncio.ensure_future(AsyncStrategyManager(SCOPE, manager=manager).start(prove))
        assert await asyncio.to_thread(asks.wait, 60)
        waiting.set()
        return (await asyncio.wait_for(started, 60)).strategy

    thread = threading.Thread(target=leader.start, args=(lead,), daemon=True)
    thread.start()
    assert held.wait(60)
    assert asyncio.run(main()) is GREEN
    thread.join(60)
    assert leader.active is GREEN


# Membership.


def test_a_manager_that_joins_late_tells_what_it_knows() -> None:
    store = MemoryStore()
    manager = StrategyManager(SCOPE, Settings())
    run(manager, Cluster(GREEN))
    manager.join(store)
    query(manager)
    assert (store.read(SCOPE).announced, store.read(SCOPE).verified) == (GREEN, GREEN)


def test_a_manager_that_has_left_neither_hears_nor_tells() -> None:
    store = FaultyStore()
    manager = settled(store, BLUE)
    manager.join(None)
    store.put(SCOPE, GREEN, stamp())
    asked = len(store.asked)
    assert run(manager, Cluster(BLUE)) is BLUE
    announce(manager)
    assert store.asked[asked:] == []


def test_a_child_looks_for_itself_and_asks_as_somebody_else() -> None:
    store = FaultyStore()
    manager = settled(store, BLUE)
    assert manager.exchange is not None
    assert manager.exchange.leads()
    asked = len(store.asked)
    manager.after_fork()
    assert not manager.exchange.leads()  # the lease is the parent's
    query(manager)
    assert store.asked[asked:] == ["lease", "read"]


def test_a_query_that_needs_no_news_asks_the_store_for_nothing() -> None:
    store = FaultyStore()
    manager = settled(store, BLUE)
    query(manager)
    asked = len(store.asked)
    for _ in range(100):
        manager.end(QueryCompleted(manager.start(nobody)))
    assert store.asked[asked:] == []


@pytest.mark.parametrize("what", ["read", "write", "lease", "release"])
def test_single_fault_of_a_store_heals_within_a_second(what: str) -> None:
    """Nothing moves in the store meanwhile, so that only time can tell."""
    store, clock = FaultyStore(), FakeClock()
    one, other = member(store, clock=clock), member(store, clock=clock)
    store.fail_once(what)
    run(one, Cluster(GREEN))
    clock.advance(1.0)
    run(one, Cluster(GREEN))
    run(one, Cluster(GREEN))
    assert one.exchange is not None
    assert one.exchange.state == JOINED
    assert store.read(SCOPE).announced is GREEN
    assert run(other, Cluster(GREEN)) is GREEN


def test_store_that_goes_on_failing_is_asked_once_a_second() -> None:
    store, clock = FaultyStore(), FakeClock()
    one = member(store, clock=clock)
    run(one, Cluster(GREEN))
    store.fail()
    run(one, Cluster(GREEN))
    asked = len(store.asked)
    for _ in range(100):
        run(one, Cluster(GREEN))
    assert len(store.asked) == asked
    clock.advance(1.0)
    for _ in range(100):
        run(one, Cluster(GREEN))
    assert len(store.asked) == asked + 1
