"""Processes of one host that use the real connector and share a store: started, commanded and asked.

A process has threads with a connection each. It observes its own manager, by the clock that all processes of a host
share, and tells what it has seen when it is asked.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Final

import attrs

from bluegreen.machines.strategy.events import QueryStarted, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import each_manager
from bluegreen.runtime.telemetry import (
    DetectionEnded,
    Record,
    RequestFailed,
    StoreBack,
    StoreLost,
    TelemetryEvent,
)
from bluegreen_adapters.testing.engine import EngineProcess

USER: Final = "user@example.com"
PASSWORD: Final = "secret"
READ: Final = "SELECT {text} /*+ rows(4) batch(2) sleep(2) */"
_ANSWER_S: Final = 120.0


@attrs.define
class Seen:
    """What a process has seen since it was asked before.

    Attributes:
        pid: the process.
        queries: how many ended.
        failed: what the application was told.
        started: for each query, when and on which strategy.
        told: when it had told others of an announcement that the server had made to it.
        refused: how many requests were refused with 456, detections and warming included.
        led, followed: detections that it led, and that it left to others.
        lost, back: how often the store was reported so.
        state: of its machine now, and the active strategy.
    """

    pid: int = 0
    queries: int = 0
    failed: list[str] = attrs.field(factory=list)
    started: list[tuple[float, str]] = attrs.field(factory=list)
    told: list[tuple[float, str]] = attrs.field(factory=list)
    refused: int = 0
    led: int = 0
    followed: int = 0
    lost: int = 0
    back: int = 0
    state: str = ""
    active: str = ""


class _Member:
    """The inside of a process."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.seen = Seen(os.getpid())
        self.managers: list[StrategyManager] = []
        self._orders = orders
        self._lock = threading.Lock()
        self._due = [0] * orders["threads"]
        self._running = False
        self._wanted = threading.Condition(self._lock)
        self._busy = 0
        self._over = False

    def attach(self, manager: StrategyManager) -> None:
        self.managers.append(manager)
        manager.observe(self.witness)
        manager.subscribe(self.audited)

    def witness(self, happening: TelemetryEvent) -> None:
        with self._lock:
            seen = self.seen
            match happening:
                case Record(event=QueryStarted(), ticket=ticket) if ticket is not None:
                    seen.started.append((time.monotonic(), ticket.strategy.value))
                case RequestFailed(fault="wrong strategy"):
                    seen.refused += 1
                case DetectionEnded():
                    seen.led += not happening.followed
                    seen.followed += happening.followed
                case StoreLost():
                    seen.lost += 1
                case StoreBack():
                    seen.back += 1
                case _:
                    pass

    def audited(self, record: Record) -> None:
        """Steps are audited after they were published."""
        if isinstance(record.event, StrategyAnnounced):
            with self._lock:
                self.seen.told.append((time.monotonic(), record.event.strategy.value))

    def connected(self) -> Any:
        from e6data_python_connector import Connection as Stock

        port = self._orders["port"]
        return Stock(host="127.0.0.1", port=port, username=USER, password=PASSWORD, database="sales")

    def work(self, number: int) -> None:
        """What a thread does: a query for each that is asked for, or one after the other while it runs."""
        connection: Any = None
        done = 0
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._over or self._running or self._due[number])
                if self._over:
                    break
                self._due[number] = 0
                self._busy += 1
                done += 1
            try:
                connection = connection or self.connected()
                self.query(connection, f"{os.getpid()}, {number}, {done}")
            except Exception as error:  # noqa: BLE001  whatever an application would get
                with self._lock:
                    self.seen.failed.append(f"{type(error).__name__}: {error}")
                connection = None
            with self._wanted:
                self.seen.queries += 1
                self._busy -= 1
                self._wanted.notify_all()
            if self._orders["pause_s"]:
                time.sleep(self._orders["pause_s"])

    def query(self, connection: Any, text: str) -> None:
        cursor = connection.cursor()
        cursor.execute(READ.format(text=text))
        rows = cursor.fetchall()
        cursor.clear()
        if len(rows) != 4:
            raise AssertionError(f"{len(rows)} rows instead of 4")

    def do(self, order: str) -> Any:
        match order:
            case "once":
                with self._wanted:
                    target = self.seen.queries + self._orders["threads"]
                    self._due = [1] * len(self._due)
                    self._wanted.notify_all()
                    if not self._wanted.wait_for(lambda: self.seen.queries >= target, _ANSWER_S):
                        raise TimeoutError("a query has not ended")
            case "run":
                with self._wanted:
                    self._running = True
                    self._wanted.notify_all()
            case "rest":
                with self._wanted:
                    self._running = False
                    if not self._wanted.wait_for(lambda: not self._busy, _ANSWER_S):
                        raise TimeoutError("a query has not ended")
            case "route":
                return [str(manager.pending or manager.active) for manager in self.managers]
            case "tell":
                with self._lock:
                    seen, self.seen = self.seen, Seen(os.getpid())
                for manager in self.managers:
                    seen.state, seen.active = manager.state, str(manager.active)
                return seen
            case _:
                raise ValueError(order)
        return None

    def end(self) -> None:
        with self._wanted:
            self._over = True
            self._wanted.notify_all()


def member(orders: dict[str, Any], pipe: Connection) -> None:
    """A process of a fleet, from its beginning to its end."""
    from bluegreen_adapters import e6data

    inside = _Member(orders)
    each_manager(inside.attach)
    e6data.install(store=orders["store"])
    threads = [threading.Thread(target=inside.work, args=(n,), daemon=True) for n in range(orders["threads"])]
    for thread in threads:
        thread.start()
    while True:
        try:
            order = pipe.recv()
        except EOFError:  # whoever asked has gone
            break
        if order == "end":
            break
        try:
            pipe.send((True, inside.do(order)))
        except Exception as error:  # noqa: BLE001  it is told to whoever asked
            pipe.send((False, repr(error)))
    inside.end()


class Fleet:
    """Processes of one host.

    Args:
        engine: what they use.
        store: URL of the store that they share.
        processes: how many.
        threads: of each, with a connection each.
        pause_s: seconds that a thread rests after each query.
        way: how they come to be, a start method of multiprocessing.
    """

    def __init__(
        self,
        engine: EngineProcess,
        store: str,
        processes: int,
        threads: int = 1,
        pause_s: float = 0.0,
        way: str = "forkserver",
    ) -> None:
        self.context: Any = multiprocessing.get_context(way)
        if way == "forkserver":
            self.context.set_forkserver_preload(["support.fleet", "bluegreen_adapters.e6data.patches"])
        self.orders = {"port": engine.port, "store": store, "threads": threads, "pause_s": pause_s}
        self.members: list[Any] = []
        self.pipes: list[Connection] = []
        for _ in range(processes):
            self.add()

    def add(self) -> int:
        """Start one more process; return its number."""
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=member, args=(self.orders, theirs), daemon=True)
        process.start()
        theirs.close()
        self.members.append(process)
        self.pipes.append(ours)
        return len(self.members) - 1

    def remove(self, number: int) -> None:
        """End the process that was added last."""
        self.pipes[number].send("end")
        self.members[number].join(60)
        self.pipes.pop(number).close()
        self.members.pop(number)

    def ask(self, order: str, *numbers: int) -> list[Any]:
        """Give an order to all processes, or to some, at once; return their answers."""
        pipes = [self.pipes[number] for number in numbers] if numbers else self.pipes
        for pipe in pipes:
            pipe.send(order)
        answers: list[Any] = []
        for pipe in pipes:
            if not pipe.poll(_ANSWER_S):
                raise TimeoutError(f"{order}: no answer within {_ANSWER_S:g} s")
            fine, answer = pipe.recv()
            if not fine:
                raise AssertionError(f"{order}: {answer}")
            answers.append(answer)
        return answers

    def seen(self) -> list[Seen]:
        """Return what each process has seen since this was asked before."""
        found: list[Seen] = self.ask("tell")
        return found

    def end(self) -> None:
        """End all processes."""
        for pipe in self.pipes:
            with contextlib.suppress(OSError):
                pipe.send("end")
        for process in self.members:
            process.join(10)  # one that was stopped does not end by itself
            if process.is_alive():
                process.kill()
                process.join(60)
        for pipe in self.pipes:
            pipe.close()


@contextlib.contextmanager
def fleet(engine: EngineProcess, store: str, processes: int, **options: Any) -> Iterator[Fleet]:
    """A fleet that ends with the context, and has connected before it."""
    running = Fleet(engine, store, processes, **options)
    try:
        running.ask("once")
        yield running
    finally:
        running.end()
