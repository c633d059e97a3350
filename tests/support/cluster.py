"""A cluster of two stacks in memory, which switches in the ways of real ones, and counts what it sees."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from bluegreen.errors import Refusal
from bluegreen.machines.strategy.events import Error456, QueryCompleted, QueryFailed, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import Record
from bluegreen.types import Strategy, Ticket
from support.clock import FakeClock

Step = Callable[["MemoryCluster"], None]
ATTEMPTS: Final = 4
"""A query that was refused more often is lost: each round has one switch, so it is refused twice at most."""


class WrongStack(Exception):
    """The stack refuses new work: status 456."""


class MemoryCluster:
    """Who serves, who is announced. A stack that does not serve refuses new work, and no running query.

    Args:
        manager: the scope's manager; the cluster counts the detections that it begins.
    """

    def __init__(self, manager: StrategyManager, serving: Strategy = Strategy.BLUE) -> None:
        self.manager = manager
        self.serving = {serving}
        self.main = serving
        self.announced: Strategy | None = None
        self.seen: Counter[str] = Counter()
        self.proving = 0
        self._lock = threading.Lock()
        manager.subscribe(self._observe)

    def _observe(self, record: Record) -> None:
        if record.step.state == "Detecting" != record.before.state:
            self.count("detections")

    def count(self, what: str, by: int = 1) -> None:
        with self._lock:
            self.seen[what] += by

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    # What clients do.

    def prepare(self, strategy: Strategy) -> Strategy | None:
        """Begin a query; the answer may announce a strategy."""
        if strategy not in self.serving:
            self.count("refused")
            raise WrongStack
        return self.announced

    def begin_proof(self) -> None:
        with self._lock:
            self.proving += 1
            self.seen["proofs"] += 1
            self.seen["proofs at once"] = max(self.proving, self.seen["proofs at once"])

    def end_proof(self, strategy: Strategy) -> None:
        with self._lock:
            self.proving -= 1
        if strategy not in self.serving:
            raise Refusal("status 456")

    def prove(self, strategy: Strategy, left_s: float) -> None:
        self.begin_proof()
        self.end_proof(strategy)

    # What operators do: the steps of one switch.

    def announce(self) -> None:
        """Both serve, and every answer announces the other one."""
        self.serving = set(Strategy)
        self.announced = self.main.other

    def cut_over(self) -> None:
        """The announced one alone takes new work."""
        self.main = self.main.other
        self.serving, self.announced = {self.main}, None

    def switch_abruptly(self) -> None:
        """Nothing was announced."""
        self.cut_over()

    def announce_too_early(self) -> None:
        """What is announced refuses."""
        self.announced = self.main.other

    def withdraw(self) -> None:
        """The announcement is taken back, by announcing the one that serves."""
        self.announced = self.main

    def fall_silent(self) -> None:
        """Nothing is announced any more, and one stack serves."""
        self.serving, self.announced = {self.main}, None

    # What a client makes of it.

    def run_query(self, work: Callable[[Ticket], None] = lambda ticket: None) -> None:
        """A query from start to end, in a thread: what a connector does with the manager."""
        for _ in range(ATTEMPTS):
            ticket = self.manager.start(self.prove)
            if self.attempt(ticket):
                work(ticket)
                self.complete(ticket)
                return
        self.count("lost")

    def attempt(self, ticket: Ticket) -> bool:
        """Send the first request of a query; whether it was accepted."""
        try:
            announced = self.prepare(ticket.strategy)
        except WrongStack:
            self.manager.end(QueryFailed(ticket))
            self.manager.send(Error456(ticket.strategy, ticket.state_version))
            return False
        self.manager.proved(ticket.strategy)
        if announced is not None:
            self.manager.send(StrategyAnnounced(announced, ticket.state_version))
        return True

    def complete(self, ticket: Ticket) -> None:
        ended = self.manager.end(QueryCompleted(ticket))
        self.count("completed" if ended else "ended by somebody else")


GRACEFUL: Final = (MemoryCluster.announce, MemoryCluster.cut_over)
ABRUPT: Final = (MemoryCluster.switch_abruptly,)
WITHDRAWN: Final = (MemoryCluster.announce, MemoryCluster.withdraw)
TOO_EARLY: Final = (MemoryCluster.announce_too_early, MemoryCluster.fall_silent)

SWITCHES: Final[dict[tuple[Step, ...], int]] = {GRACEFUL: 0, ABRUPT: 1, WITHDRAWN: 0, TOO_EARLY: 1}
"""Kinds of switches, each with the number of detections that it costs, however many queries run."""


class Schedule:
    """The queries of one round, with one switch in the midst of them; who begins a query takes the step due."""

    def __init__(
        self, cluster: MemoryCluster, steps: tuple[Step, ...], chance: random.Random, queries: int
    ) -> None:
        # Far enough apart for an announcement to be heard before the next step, and from the end for that one to be
        # heard: what queries hear that were under way during a commit is stale, so it takes one that begins after.
        points = (
            chance.randrange(queries * 3 // 4, queries),
            chance.randrange(queries // 10, queries // 2),
        )
        self._cluster = cluster
        self._due = dict(zip(points, steps, strict=False))
        self._left = queries
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Begin a query; false if all have begun."""
        with self._lock:
            if self._left == 0:
                return False
            self._left -= 1
            step = self._due.get(self._left)
        if step is not None:
            step(self._cluster)
        return True


def settle(cluster: MemoryCluster, clock: FakeClock, switch: tuple[Step, ...]) -> None:
    """Check what a round with one switch has left, when nothing runs, and prepare the next one."""
    manager, seen = cluster.manager, cluster.seen
    context = manager.snapshot.context
    assert manager.open_tickets == ()
    assert (context.open_blue, context.open_green) == (0, 0)
    assert manager.state == "Stable", manager.snapshot
    assert manager.active is cluster.main
    assert seen["detections"] == SWITCHES[switch], seen
    assert seen["proofs"] == SWITCHES[switch], seen
    assert seen["proofs at once"] <= 1
    assert seen["lost"] == seen["ended by somebody else"] == 0
    assert cluster.proving == 0
    cluster.fall_silent()
    clock.advance(64)  # what was held down may be announced again, however often it has refused
