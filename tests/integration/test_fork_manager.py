"""Forked children begin with what their parent knew, and with nothing that their parent held."""

from __future__ import annotations

import os
import random
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import QueryCompleted
from bluegreen.runtime import registry
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managed
from bluegreen.types import Scope, Strategy, Ticket
from support.clock import FakeClock
from support.cluster import MemoryCluster

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork"),
    # Since 3.12 Python warns of every fork with threads, because most code has locks that a child would find
    # held. That this code has none is what is tested here.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"),
]

BOUND_S = 120
FORKS = 60
BLUE, GREEN = Strategy.BLUE, Strategy.GREEN
QUIET = Settings(logging_level="ERROR")


def run_in_child(work: Callable[[], None], fork: Callable[[], int] = os.fork) -> str:
    """Fork, let the child do `work`, and return what it said: `done`, or an error. One that hangs is killed."""
    reading, writing = os.pipe()
    parent, pid = os.getpid(), 0
    try:
        pid = fork()
        if pid == 0:
            work()
            os.write(writing, b"done")
    except BaseException:  # a child must not go on with its parent's tests
        if os.getpid() == parent:
            raise
        os.write(writing, traceback.format_exc().encode()[:4000])
    finally:
        if os.getpid() != parent:
            os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], BOUND_S)
        said = os.read(reading, 4096).decode() if ready else f"nothing within {BOUND_S} s"
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)  # it has said what it had to say, or never will
        os.waitpid(pid, 0)
    return said or "it died without a word"


def queries(manager: StrategyManager, *serving: Strategy) -> None:
    """What each child does: its parent's tickets are gone, and a hundred queries run at once."""
    context = manager.snapshot.context
    assert manager.open_tickets == ()
    assert (context.open_blue, context.open_green) == (0, 0)
    cluster = MemoryCluster(manager)
    cluster.serving = set(serving)
    tickets = []
    for _ in range(100):
        ticket = manager.start(cluster.prove)
        tickets.append(ticket)
        cluster.run_query()
    assert cluster.seen["completed"] == 100, cluster.seen
    assert manager.open_tickets == tuple(tickets)
    for ticket in tickets:
        cluster.complete(ticket)
    assert manager.open_tickets == ()
    assert manager.active in cluster.serving


@contextmanager
def in_thread(work: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(BOUND_S)
        assert not thread.is_alive()


@contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Another thread holds `lock`."""
    stop, holds = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holds.set()
            assert stop.wait(BOUND_S)

    with in_thread(hold, stop):
        assert holds.wait(BOUND_S)
        yield


@pytest.mark.slow
def test_children_that_are_forked_during_switches_work_at_once() -> None:
    seed, began = random.randrange(2**32), time.perf_counter()
    chance = random.Random(seed)
    manager = StrategyManager(Scope("fork:1"), QUIET, clock=FakeClock())
    cluster = MemoryCluster(manager)
    stop = threading.Event()
    faults: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                cluster.run_query()
        except BaseException as fault:  # noqa: BLE001  the test shows it
            faults.append(fault)

    def switch() -> None:
        while not stop.is_set():
            begun = cluster.seen["completed"]
            chance.choice([cluster.announce, cluster.cut_over])()
            while cluster.seen["completed"] < begun + 20 and not stop.is_set() and not faults:
                cluster.run_query()

    threads = [threading.Thread(target=one, daemon=True) for one in (work, work, work, switch)]
    for thread in threads:
        thread.start()

    def child() -> None:
        cluster.after_fork()  # it observes this manager in the child as well
        queries(manager, BLUE if manager.state_version % 2 else GREEN)

    try:
        for _ in range(FORKS):
            begun = cluster.seen["completed"]
            said = run_in_child(child)
            assert said == "done", f"seed {seed}: {said}"
            while cluster.seen["completed"] == begun and not faults:  # the parent goes on
                cluster.run_query()
    finally:
        stop.set()
        for thread in threads:
            thread.join(BOUND_S)
    assert not faults, faults
    assert manager.open_tickets == ()
    print(f"seed {seed}: {FORKS} forks, {time.perf_counter() - began:.1f} s, {dict(cluster.seen)}")


def test_a_child_does_not_wait_for_a_lock_that_a_thread_of_its_parent_held() -> None:
    manager = StrategyManager(Scope("fork:2"), QUIET)
    with held(manager._lock):
        assert run_in_child(lambda: queries(manager, GREEN)) == "done"


def test_a_child_does_not_wait_for_the_registry_of_its_parent() -> None:
    with held(registry._lock):
        assert run_in_child(lambda: queries(managed(Scope("fork:3"), QUIET), BLUE)) == "done"


def test_a_child_detects_while_a_thread_of_its_parent_still_does() -> None:
    manager = StrategyManager(Scope("fork:4"), QUIET)
    asked, go_on = threading.Event(), threading.Event()
    tickets: list[Ticket] = []

    def prove(strategy: Strategy, left_s: float) -> None:
        asked.set()
        assert go_on.wait(BOUND_S)

    def lead() -> None:
        tickets.append(manager.start(prove))

    with in_thread(lead, go_on):
        assert asked.wait(BOUND_S)
        assert manager.state == "Detecting"
        for strategy in Strategy:
            assert run_in_child(lambda: queries(manager, strategy)) == "done"  # noqa: B023  called at once
        assert manager.state == "Detecting"
    assert [ticket.strategy for ticket in tickets] == [BLUE]


def test_a_child_that_is_forked_by_who_detects_may_go_on_with_it() -> None:
    manager = StrategyManager(Scope("fork:5"), QUIET)
    said: list[str] = []

    def prove(strategy: Strategy, left_s: float) -> None:
        if not said:
            said.append(run_in_child(lambda: queries(manager, GREEN)))

    assert manager.start(prove).strategy is BLUE
    assert said == ["done"]


def test_a_child_may_return_from_the_detection_in_which_it_was_forked() -> None:
    manager = StrategyManager(Scope("fork:6"), QUIET)
    fork = os.fork
    asked: list[int] = []

    def prove(strategy: Strategy, left_s: float) -> None:
        if not asked:
            asked.append(fork())

    def fork_in_prove() -> int:
        ticket = manager.start(prove)
        assert ticket.strategy is BLUE
        return asked[0]

    def child() -> None:
        (ticket,) = manager.open_tickets
        assert ticket.strategy is BLUE
        assert manager.start(lambda strategy, left_s: None).strategy is BLUE

    assert run_in_child(child, fork_in_prove) == "done"


def test_a_child_keeps_the_state_of_its_parent_and_none_of_its_tickets() -> None:
    manager = StrategyManager(Scope("fork:7"), QUIET)
    ticket = manager.start(lambda strategy, left_s: None)
    version = manager.state_version

    def child() -> None:
        assert (manager.state, manager.active, manager.state_version) == ("Stable", BLUE, version)
        assert manager.open_tickets == ()
        assert not manager.end(QueryCompleted(ticket))
        ours = manager.try_start()
        assert ours is not None
        assert ours.query != ticket.query

    assert run_in_child(child) == "done"
    assert manager.open_tickets == (ticket,)
