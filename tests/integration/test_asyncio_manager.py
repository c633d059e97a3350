"""Many tasks on one manager, in one event loop and in several, with cancellation at any point."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter

import pytest

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import QueryCancelled
from bluegreen.runtime.async_manager import AsyncStrategyManager
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope, Strategy, Ticket
from support.clock import FakeClock
from support.cluster import ATTEMPTS, SWITCHES, MemoryCluster, Schedule, settle

TASKS = 1_000
CANCELLED = 20  # leaders, one after the other
BOUND_S = 120
QUIET = Settings(logging_level="ERROR")


class Clients:
    """Tasks that run queries; `pauses` gives other tasks, and cancellations, a chance at every turn."""

    def __init__(self, cluster: MemoryCluster, seed: int) -> None:
        self.cluster = cluster
        self.manager = AsyncStrategyManager(cluster.manager.scope, manager=cluster.manager)
        self.chance = random.Random(seed)

    async def pause(self, most: int = 3) -> None:
        for _ in range(self.chance.randint(0, most)):
            await asyncio.sleep(0)

    async def prove(self, strategy: Strategy, left_s: float) -> None:
        self.cluster.begin_proof()
        try:
            await self.pause(40)
        except asyncio.CancelledError:
            self.cluster.proving -= 1
            self.cluster.count("leaders cancelled")
            raise
        self.cluster.end_proof(strategy)

    async def query(self) -> None:
        for _ in range(ATTEMPTS):
            ticket = await self.manager.start(self.prove)
            try:
                await self.pause()
                if self.cluster.attempt(ticket):
                    await self.pause()
                    self.cluster.complete(ticket)
                    return
            except asyncio.CancelledError:
                assert self.manager.end(QueryCancelled(ticket))
                raise
        self.cluster.count("lost")


def cluster_of(name: str) -> tuple[MemoryCluster, FakeClock]:
    clock = FakeClock()
    manager = StrategyManager(Scope(name), QUIET, clock=clock)
    return MemoryCluster(manager), clock


@pytest.mark.slow
async def test_1000_tasks_lose_no_query_while_the_cluster_switches() -> None:
    seed, began = random.randrange(2**32), time.perf_counter()
    cluster, clock = cluster_of("tasks:1")
    clients = Clients(cluster, seed)
    await clients.query()
    total: Counter[str] = Counter()
    most = 0
    queries = 5 * TASKS
    for switch in (*SWITCHES, *SWITCHES):
        cluster.seen.clear()
        schedule = Schedule(cluster, switch, clients.chance, queries)

        async def work(schedule: Schedule = schedule) -> None:
            while schedule.take():
                await clients.query()

        await asyncio.wait_for(asyncio.gather(*(work() for _ in range(TASKS))), BOUND_S)
        assert cluster.seen["completed"] == queries, cluster.seen
        settle(cluster, clock, switch)
        most = max(most, cluster.seen.pop("proofs at once", 0))
        total += cluster.seen
    print(f"seed {seed}: {time.perf_counter() - began:.1f} s, {most} proof at once, {dict(total)}")


async def test_cancelled_tasks_leave_no_ticket_and_the_others_lose_nothing() -> None:
    """A task may be cancelled at any await: while it leads a detection, waits for one, or runs its query."""
    seed, began = random.randrange(2**32), time.perf_counter()
    cluster, clock = cluster_of("tasks:2")
    clients = Clients(cluster, seed)
    chance, seen = clients.chance, cluster.seen
    for _ in range(6):
        cluster.switch_abruptly()
        clock.advance(1)
        tasks = [asyncio.create_task(clients.query()) for _ in range(TASKS)]
        doomed = [*chance.sample(tasks[10:], TASKS // 3), *reversed(tasks[:10])]  # the first ones lead
        completed, cancelled = seen["completed"], 0
        while doomed:
            for _ in range(chance.randrange(20)):
                if doomed:
                    doomed.pop().cancel()
            await asyncio.sleep(0)
        done, hanging = await asyncio.wait(tasks, timeout=BOUND_S)
        assert not hanging
        for task in done:
            if task.cancelled():
                cancelled += 1
            else:
                assert task.exception() is None
        assert seen["completed"] - completed == TASKS - cancelled
        assert seen["lost"] == seen["ended by somebody else"] == 0
        assert cancelled > 0
        cluster.count("cancelled", cancelled)
        assert cluster.manager.open_tickets == ()
        context = cluster.manager.snapshot.context
        assert (context.open_blue, context.open_green) == (0, 0)
        assert cluster.proving == 0
    assert seen["proofs at once"] == 1
    print(f"seed {seed}: {time.perf_counter() - began:.1f} s, {dict(seen)}")


async def test_when_its_leader_is_cancelled_a_detection_goes_on_with_one_that_waits() -> None:
    cluster, _ = cluster_of("tasks:3")
    manager = AsyncStrategyManager(cluster.manager.scope, manager=cluster.manager)
    leaders: list[asyncio.Task[Ticket]] = []
    led, go_on = asyncio.Event(), asyncio.Event()

    async def prove(strategy: Strategy, left_s: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        leaders.append(task)
        led.set()
        await go_on.wait()

    tasks = [asyncio.create_task(manager.start(prove)) for _ in range(TASKS)]
    for number in range(1, CANCELLED + 1):
        await asyncio.wait_for(led.wait(), BOUND_S)
        led.clear()
        assert len(leaders) == number
        leaders[-1].cancel()
        if number == CANCELLED:
            go_on.set()
    done, hanging = await asyncio.wait(tasks, timeout=BOUND_S)
    assert not hanging
    assert sum(task.cancelled() for task in done) == CANCELLED
    assert len(leaders) == CANCELLED + 1
    assert len(cluster.manager.open_tickets) == TASKS - CANCELLED


async def test_tasks_that_are_cancelled_while_they_wait_disturb_nobody() -> None:
    cluster, _ = cluster_of("tasks:4")
    manager = AsyncStrategyManager(cluster.manager.scope, manager=cluster.manager)
    go_on, proofs = asyncio.Event(), 0

    async def prove(strategy: Strategy, left_s: float) -> None:
        nonlocal proofs
        proofs += 1
        await go_on.wait()

    tasks = [asyncio.create_task(manager.start(prove)) for _ in range(TASKS)]
    await asyncio.sleep(0)
    for task in tasks[1:-1]:
        task.cancel()
    await asyncio.wait(tasks[1:-1], timeout=BOUND_S)
    assert all(task.cancelled() for task in tasks[1:-1])
    go_on.set()
    tickets = await asyncio.wait_for(asyncio.gather(tasks[0], tasks[-1]), BOUND_S)
    assert proofs == 1
    assert cluster.manager.open_tickets == tuple(sorted(tickets, key=lambda ticket: ticket.query))


async def test_tasks_wait_for_a_detection_that_a_thread_leads() -> None:
    cluster, _ = cluster_of("tasks:5")
    manager = AsyncStrategyManager(cluster.manager.scope, manager=cluster.manager)
    entered, go_on = threading.Event(), threading.Event()
    from_thread: list[Ticket] = []

    def prove(strategy: Strategy, left_s: float) -> None:
        entered.set()
        assert go_on.wait(BOUND_S)

    async def nobody(strategy: Strategy, left_s: float) -> None:
        raise AssertionError("the thread detects")

    thread = threading.Thread(target=lambda: from_thread.append(cluster.manager.start(prove)), daemon=True)
    thread.start()
    assert entered.wait(BOUND_S)
    tasks = [asyncio.create_task(manager.start(nobody)) for _ in range(TASKS)]
    await asyncio.sleep(0)
    go_on.set()
    tickets = await asyncio.wait_for(asyncio.gather(*tasks), BOUND_S)
    thread.join(BOUND_S)
    assert {ticket.query for ticket in (*tickets, *from_thread)} == set(range(1, TASKS + 2))


def test_threads_wait_for_a_detection_that_a_task_leads() -> None:
    cluster, _ = cluster_of("tasks:6")
    manager = AsyncStrategyManager(cluster.manager.scope, manager=cluster.manager)
    entered = threading.Event()
    tickets: list[Ticket] = []
    ready = threading.Semaphore(0)

    def nobody(strategy: Strategy, left_s: float) -> None:
        raise AssertionError("the task detects")

    def follow() -> None:
        assert entered.wait(BOUND_S)
        assert cluster.manager.try_start() is None
        ready.release()
        tickets.append(cluster.manager.start(nobody))

    async def prove(strategy: Strategy, left_s: float) -> None:
        entered.set()
        for _ in threads:
            assert await asyncio.get_running_loop().run_in_executor(None, ready.acquire, True, BOUND_S)

    threads = [threading.Thread(target=follow, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    tickets.append(asyncio.run(manager.start(prove)))
    for thread in threads:
        thread.join(BOUND_S)
    assert sorted(ticket.query for ticket in tickets) == list(range(1, 10))


def test_event_loops_in_several_threads_share_one_scope() -> None:
    seed, began = random.randrange(2**32), time.perf_counter()
    loops, rounds, queries = 4, 8, 1_000
    cluster, clock = cluster_of("tasks:7")
    cluster.run_query()
    chance = random.Random(seed)
    total: Counter[str] = Counter()
    most = 0
    faults: list[BaseException] = []

    def serve(number: int, schedule: Schedule) -> None:
        clients = Clients(cluster, seed + number)

        async def work() -> None:
            while schedule.take():
                await clients.query()

        async def main() -> None:
            await asyncio.wait_for(asyncio.gather(*(work() for _ in range(TASKS // loops))), BOUND_S)

        try:
            asyncio.run(main())
        except BaseException as fault:  # noqa: BLE001  the test shows it
            faults.append(fault)

    for _ in range(rounds):
        switch = chance.choice(list(SWITCHES))
        cluster.seen.clear()
        schedule = Schedule(cluster, switch, chance, queries)
        threads = [
            threading.Thread(target=serve, args=(number, schedule), daemon=True) for number in range(loops)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND_S)
            assert not thread.is_alive()
        assert not faults, faults
        assert cluster.seen["completed"] == queries, cluster.seen
        settle(cluster, clock, switch)
        most = max(most, cluster.seen.pop("proofs at once", 0))
        total += cluster.seen
    print(f"seed {seed}: {time.perf_counter() - began:.1f} s, {most} proof at once, {dict(total)}")


@pytest.mark.parametrize("ended", ["closed", "running"])
def test_a_loop_that_has_ended_does_not_disturb_a_detection(ended: str) -> None:
    """Who waited in a loop that is gone is not woken; whoever leads notices nothing."""
    cluster, _ = cluster_of(f"tasks:8:{ended}")
    manager = AsyncStrategyManager(cluster.manager.scope, manager=cluster.manager)
    leader = cluster.manager.start_flow(lambda strategy, left_s: iter(["proving"]))  # type: ignore[arg-type,return-value]
    assert next(leader) == "proving"

    async def nobody(strategy: Strategy, left_s: float) -> None:
        raise AssertionError("somebody else detects")

    loop = asyncio.new_event_loop()
    task = loop.create_task(manager.start(nobody))
    loop.call_soon(loop.stop)
    loop.run_forever()
    if ended == "closed":
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()
    with pytest.raises(StopIteration):
        leader.send(None)
    assert cluster.manager.state == "Stable"
    if ended == "running":
        assert loop.run_until_complete(task).strategy is Strategy.BLUE
        loop.close()
