"""Many threads on one manager while the cluster switches: nothing is lost, a storm costs one detection."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from bluegreen.config.settings import Settings
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope, Strategy, Ticket
from support.clock import FakeClock
from support.cluster import SWITCHES, MemoryCluster, Schedule, settle

THREADS = 16
ROUNDS = 50
QUERIES = 2_000  # in each round
BOUND_S = 120
QUIET = Settings(logging_level="ERROR")


@pytest.fixture
def _many_switches() -> Iterator[None]:
    """Threads lose the interpreter far more often than usual, between any two instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Fleet:
    """Threads that run queries in rounds; in each round the cluster switches once, in the midst of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = FakeClock()
        self.manager = StrategyManager(Scope("threads:1"), QUIET, clock=self.clock)
        self.cluster = MemoryCluster(self.manager)
        self.total: Counter[str] = Counter()
        self.faults: list[BaseException] = []
        self.gate = threading.Barrier(THREADS + 1)
        self.schedule: Schedule | None = None
        self.most_at_once = 0

    def work(self) -> None:
        try:
            while True:
                self.gate.wait(BOUND_S)
                if self.schedule is None:
                    return
                while self.schedule.take():
                    self.cluster.run_query(self.look)
                self.gate.wait(BOUND_S)
        except BaseException as fault:  # noqa: BLE001  the test shows it
            self.faults.append(fault)
            self.gate.abort()

    def look(self, ticket: Ticket) -> None:
        """What a running query sees: its ticket is accounted for, wherever the machine is."""
        snapshot = self.manager.snapshot
        assert snapshot.context.open_on(ticket.strategy) >= 1
        assert snapshot.context.state_version >= ticket.state_version

    def run(self, rounds: int, queries: int) -> None:
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        switches = list(SWITCHES)
        try:
            for _ in range(rounds):
                switch = self.random.choice(switches)
                self.cluster.seen.clear()
                self.schedule = Schedule(self.cluster, switch, self.random, queries)
                self.gate.wait(BOUND_S)
                self.gate.wait(BOUND_S)
                assert self.cluster.seen["completed"] == queries, self.cluster.seen
                settle(self.cluster, self.clock, switch)
                self.most_at_once = max(self.most_at_once, self.cluster.seen.pop("proofs at once", 0))
                self.total += self.cluster.seen
                self.total[" then ".join(step.__name__ for step in switch)] += 1
            self.schedule = None
            self.gate.wait(BOUND_S)
        except threading.BrokenBarrierError:
            assert not self.faults, self.faults
            raise
        for thread in threads:
            thread.join(BOUND_S)
            assert not thread.is_alive()


def show(fleet: Fleet, seed: int, began: float) -> None:
    took_s = time.perf_counter() - began
    print(f"seed {seed}: {took_s:.1f} s, {fleet.most_at_once} proof at once, {dict(fleet.total)}")


@pytest.mark.slow
def test_16_threads_lose_none_of_100000_queries_while_the_cluster_switches() -> None:
    seed, began = random.randrange(2**32), time.perf_counter()
    fleet = Fleet(seed)
    fleet.cluster.run_query()
    fleet.run(ROUNDS, QUERIES)
    show(fleet, seed, began)
    assert fleet.total["completed"] == 100_000
    assert fleet.manager.open_tickets == ()


@pytest.mark.usefixtures("_many_switches")
def test_nothing_is_lost_when_threads_are_interrupted_between_any_two_instructions() -> None:
    seed, began = random.randrange(2**32), time.perf_counter()
    fleet = Fleet(seed)
    fleet.cluster.run_query()
    fleet.run(40, 400)
    show(fleet, seed, began)
    assert fleet.total["completed"] == 16_000


def test_a_storm_of_456_in_all_threads_at_once_costs_one_detection() -> None:
    """Every thread holds a ticket of the old stack when it vanishes, and all report it before one detects."""
    manager = StrategyManager(Scope("storm:1"), QUIET, clock=FakeClock())
    cluster = MemoryCluster(manager)
    cluster.run_query()
    storms = 200
    gate = threading.Barrier(THREADS)
    reported = threading.Semaphore(0)
    faults: list[BaseException] = []

    def prove(strategy: Strategy, left_s: float) -> None:
        cluster.begin_proof()
        for _ in range(THREADS):
            assert reported.acquire(timeout=BOUND_S)
        cluster.end_proof(strategy)

    def storm() -> None:
        ticket = manager.start(cluster.prove)
        if gate.wait(BOUND_S) == 0:
            cluster.seen.clear()
            cluster.switch_abruptly()
        gate.wait(BOUND_S)
        assert not cluster.attempt(ticket)
        reported.release()
        again = manager.start(prove)
        assert cluster.attempt(again)
        cluster.complete(again)
        if gate.wait(BOUND_S) == 0:
            assert cluster.seen["refused"] == cluster.seen["completed"] == THREADS, cluster.seen
            assert cluster.seen["detections"] == cluster.seen["proofs"] == 1, cluster.seen
        gate.wait(BOUND_S)

    def work() -> None:
        try:
            for _ in range(storms):
                storm()
        except BaseException as fault:  # noqa: BLE001  the test shows it
            faults.append(fault)
            gate.abort()

    began = time.perf_counter()
    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    assert not faults, faults
    assert not any(thread.is_alive() for thread in threads)
    print(f"{storms} storms of {THREADS} threads: {time.perf_counter() - began:.1f} s")
    assert manager.open_tickets == ()
    assert manager.active is Strategy.BLUE


def test_threads_that_wait_for_one_detection_all_get_its_result() -> None:
    manager = StrategyManager(Scope("wait:1"), QUIET, clock=FakeClock())
    asked: list[Strategy] = []
    tickets: list[Ticket] = []
    entered, go_on = threading.Event(), threading.Event()

    def prove(strategy: Strategy, left_s: float) -> None:
        asked.append(strategy)
        entered.set()
        assert go_on.wait(BOUND_S)

    def wait() -> None:
        tickets.append(manager.start(prove))

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    assert entered.wait(BOUND_S)
    go_on.set()
    for thread in threads:
        thread.join(BOUND_S)
    assert asked == [Strategy.BLUE]
    assert sorted(ticket.query for ticket in tickets) == list(range(1, THREADS + 1))
