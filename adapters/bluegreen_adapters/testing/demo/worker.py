"""`python -m bluegreen_adapters.testing.demo.worker`: the application of the demo, a process of its own.

It drives the connector from PyPI in threads, without or with `e6data.install()`, and knows nothing of
switches. Its orders are one JSON line on standard input; it says `{"ready": ...}`, begins when it gets
another line, with the monotonic second from which all seconds count, tells when each query begins and ends,
and in the end `{"over": ...}`: one JSON object a line. What it has told stays true if it dies.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, TextIO

import attrs

from bluegreen.runtime.registry import managed, scopes
from bluegreen.types import Scope
from bluegreen.verify.trace.writer import Journal as StepJournal
from bluegreen_adapters.testing.demo.connections import Slot, Ways, close
from bluegreen_adapters.testing.demo.schedule import MIXES, Statement, probes, statements

CALL_BOUND_S: Final = 4.0
"""Seconds after which a query's connection is closed under it, so that it ends."""

JOIN_BOUND_S: Final = 1.0
"""Seconds that the threads have to end, once nothing new is begun and their connections are closed."""

AFTER_ERROR_S: Final = 0.02
"""Seconds that an application waits after an error, before it goes on."""

_LOOK_S: Final = 0.1


@attrs.frozen
class Orders:
    """What a load is to do.

    Args:
        host, port, user, password: the engine.
        installed: whether the connector is covered by bluegreen.
        threads: how many threads ask.
        seed: where the statements come from.
        ends_s: second at which the last query is begun, if there have been enough by then.
        least_queries: how many are enough.
        most_s: second at which the last query is begun in any case.
        first_thread: number of the first thread. A load that takes over from one that has died has threads
            with other numbers, and so statements with other texts.
        log: file for what bluegreen logs, or none.
        steps: file to which each step of the machine is added, as `bluegreen verify log` reads it, or none.
        mix: name of what the threads ask, one of `schedule.MIXES`.
        probes: how many further threads probe, each on a connection that it keeps.
        probe_every_s: seconds from when a probe of a thread is due to when its next one is; the threads take turns.
        vitals_every_s: seconds from one telling of `Vitals` to the next; 0: none is told.
    """

    host: str
    port: int
    user: str
    password: str
    installed: bool
    threads: int
    seed: int
    ends_s: float
    least_queries: int
    most_s: float
    first_thread: int = 0
    log: str | None = None
    steps: str | None = None
    mix: str = "all"
    probes: int = 0
    probe_every_s: float = 0.0
    vitals_every_s: float = 0.0

    @property
    def scope(self) -> Scope:
        """The scope of the engine."""
        return Scope(f"{self.host}:{self.port}")


class WorkerLog:
    """Tells what happens, one line of JSON each, whichever thread has something to tell."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def tell(self, **facts: Any) -> None:
        """Write one line."""
        line = json.dumps(facts) + "\n"
        with self._lock:
            self._out.write(line)
            self._out.flush()


class Worker(threading.Thread):
    """One thread of the application: asks one statement after the other, and tells what it sees.

    Args:
        number: its number.
        slot: its connection.
        asked: its statements.
        first_s: second at which it begins the first one.
        every_s: seconds from when one is due to when the next is; 0: when the one before has ended. What it
            comes too late for is left out, so that it keeps its distance from other threads.
        stop: set when nothing new is to be begun.
        journal: whom it tells.
        started_s: monotonic second from which the seconds that it tells count.

    Attributes:
        queries: how many queries have ended.
    """

    def __init__(
        self,
        number: int,
        slot: Slot,
        *,
        asked: Iterator[Statement],
        first_s: float = 0.0,
        every_s: float = 0.0,
        stop: threading.Event,
        journal: WorkerLog,
        started_s: float,
    ) -> None:
        super().__init__(daemon=True, name=f"thread {number}")
        self.queries = 0
        self._number = number
        self._slot = slot
        self._asked = asked
        self._first_s = first_s
        self._every_s = every_s
        self._stop_set = stop
        self._journal = journal
        self._started_s = started_s
        self._began_s: float | None = None
        self._connection: Any = None

    def run(self) -> None:
        """Ask until told to stop."""
        due_s = self._first_s
        while not self._stop_set.wait(max(0.0, due_s - self._now_s())):
            statement, began_s = next(self._asked), self._now_s()
            self._journal.tell(began=[self._number, statement.text, statement.rows is None, began_s])
            self._began_s = began_s
            rows: list[Any] = []
            error, wrong = self._outcome(statement, rows)
            self._began_s = None
            self._journal.tell(ended=[self._number, self._now_s(), error, wrong, bool(rows)])
            self.queries += 1
            if error is not None:
                self._stop_set.wait(AFTER_ERROR_S)
            if self._every_s:
                due_s += self._every_s * max(1, math.ceil((self._now_s() - due_s) / self._every_s))

    def bounded(self, bound_s: float) -> None:
        """End the query that is under way if it has taken longer, by closing its connection under it."""
        began_s, connection = self._began_s, self._connection
        if began_s is not None and connection is not None and self._now_s() - began_s > bound_s:
            close(connection)

    def _outcome(self, statement: Statement, rows: list[Any]) -> tuple[str | None, str | None]:
        """Run a statement; return its error, or what is wrong with its rows. `rows` gets what the application sees."""
        failed = True
        try:
            self._connection = self._slot.taken()
            ask(self._connection, statement, rows)
            failed = False
        except Exception as error:  # noqa: BLE001  whatever the application sees is counted
            return described(error), None
        finally:
            connection, self._connection = self._connection, None
            if connection is not None:
                self._slot.given_back(connection, failed=failed)
        return None, statement.complaint(rows)

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s


def ask(connection: Any, statement: Statement, rows: list[Any]) -> None:
    """Run a statement as applications do, and add to `rows` what a call that fetches returns."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement.text)
        if statement.rows is None:
            return
        if statement.page is None:
            rows += cursor.fetchall()
            return
        while page := cursor.fetchmany(statement.page):
            rows += page
            time.sleep(statement.pause_s)
    finally:
        cursor.close()


def described(error: Exception) -> str:
    """Return an error in one line.

    >>> described(ValueError("no\\nmore"))
    'ValueError: no'
    """
    answer: Any = error  # gRPC's errors are calls as well
    if hasattr(error, "code") and hasattr(error, "details"):
        return f"{type(error).__name__}: {answer.code().name}: {answer.details()}"[:200]
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:200]


class Load:
    """The threads of the application.

    Args:
        orders: what to do.
        connector: the connector's module.
        journal: whom to tell.
    """

    def __init__(self, orders: Orders, connector: Any, journal: WorkerLog) -> None:
        self._orders = orders
        self._connector = connector
        self._journal = journal
        self._stop = threading.Event()

    def run(self, started_s: float) -> None:
        """Send queries as ordered. Takes a bounded time, whatever becomes of them.

        Args:
            started_s: monotonic second from which all seconds count.
        """
        orders = self._orders
        slots = Ways.of(orders.threads).slots(self._connect)
        slots += [Slot(self._connect) for _ in range(orders.probes)]
        workers = [self._worker(number, slot, started_s) for number, slot in enumerate(slots)]
        if orders.vitals_every_s:
            self._tell_vitals(started_s, counted=True)
            self._journal.tell(round_trip_s=self._round_trip_s())
        for worker in workers:
            worker.start()
        due_s = orders.vitals_every_s
        while not self._is_over(time.monotonic() - started_s, workers):
            time.sleep(_LOOK_S)
            for worker in workers:
                worker.bounded(CALL_BOUND_S)
            if due_s and time.monotonic() - started_s >= due_s:
                due_s += orders.vitals_every_s
                self._tell_vitals(started_s)
        self._stop.set()
        _join(workers, CALL_BOUND_S)
        for worker in workers:
            worker.bounded(0.0)
        _join(workers, JOIN_BOUND_S)
        for slot in slots:
            slot.close()
        if orders.vitals_every_s:
            del workers, slots
            self._tell_vitals(started_s, counted=True)

    def _worker(self, number: int, slot: Slot, started_s: float) -> Worker:
        orders, thread = self._orders, self._orders.first_thread + number
        probe = number - orders.threads
        is_probe = probe >= 0
        return Worker(
            thread,
            slot,
            asked=probes(thread) if is_probe else statements(orders.seed, thread, MIXES[orders.mix]),
            # One after the other: a probe is to show what a switch costs, not what the other probes do.
            first_s=orders.probe_every_s * probe / orders.probes if is_probe else 0.0,
            every_s=orders.probe_every_s if is_probe else 0.0,
            stop=self._stop,
            journal=self._journal,
            started_s=started_s,
        )

    def _tell_vitals(self, started_s: float, *, counted: bool = False) -> None:
        scope = self._orders.scope
        tickets = len(managed(scope).open_tickets) if scope in scopes() else 0
        at_s = time.monotonic() - started_s
        self._journal.tell(vitals=[at_s, resident(), tickets, living() if counted else None])

    def _round_trip_s(self) -> float:
        """Return the median seconds of an RPC that belongs to no query."""
        connection = self._connect()
        try:
            return statistics.median(_timed(lambda: connection.get_schema_names("main")) for _ in range(100))
        finally:
            connection.close()

    def _is_over(self, now_s: float, workers: list[Worker]) -> bool:
        orders = self._orders
        enough = sum(worker.queries for worker in workers) >= orders.least_queries
        # A thread dies if nobody listens to it any more.
        alive = any(worker.is_alive() for worker in workers)
        return not alive or now_s >= orders.most_s or (now_s >= orders.ends_s and enough)

    def _connect(self) -> Any:
        orders = self._orders
        return self._connector.connect(
            host=orders.host,
            port=orders.port,
            username=orders.user,
            password=orders.password,
            catalog="main",
            database="sales",
            require_fastbinary=self._connector.is_fastbinary_available(),
        )


def _timed(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def resident() -> int | None:
    """Return the bytes of memory that this process holds, or none where the platform does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as told:
            return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return None


def living() -> int:
    """Return how many links, sessions and queries are alive in this process. Takes a while."""
    from bluegreen_adapters.connection.connection import Connection
    from bluegreen_adapters.connection.query import Query
    from bluegreen_adapters.connection.session_pool import Session

    gc.collect()
    return sum(isinstance(found, (Connection, Query, Session)) for found in gc.get_objects())


def _join(workers: list[Worker], bound_s: float) -> None:
    deadline_s = time.monotonic() + bound_s
    for worker in workers:
        worker.join(max(0.0, deadline_s - time.monotonic()))


def _log_to(path: str, *, anew: bool) -> None:
    handler = logging.FileHandler(path, mode="w" if anew else "a", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(threadName)s %(message)s", "%H:%M:%S"))
    logging.getLogger("bluegreen").addHandler(handler)
    logging.getLogger("bluegreen").setLevel(logging.INFO)


def _own_output() -> TextIO:
    """Return what was standard output, for nobody else to write to: a library that prints goes to stderr."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def main(orders_in: TextIO, journal: WorkerLog) -> None:
    """Take orders, and carry them out."""
    orders = Orders(**json.loads(orders_in.readline()))
    connector = importlib.import_module("e6data_python_connector.e6data_grpc")
    if orders.installed:
        from bluegreen_adapters import e6data

        e6data.install()
    if orders.log is not None:
        _log_to(orders.log, anew=orders.first_thread == 0)
    with _write_steps(orders):
        journal.tell(ready=True)
        if begin := orders_in.readline():  # else, who ordered it has gone
            Load(orders, connector, journal).run(started_s=float(begin))
    if begin:
        journal.tell(over=True)


@contextlib.contextmanager
def _write_steps(orders: Orders) -> Generator[None, None, None]:
    """Write each step of the machine while the load runs."""
    if orders.steps is None or not orders.installed:
        yield
        return
    with StepJournal(orders.steps) as steps:
        steps.follow(managed(orders.scope))
        yield


if __name__ == "__main__":
    main(sys.stdin, WorkerLog(_own_output()))
    os._exit(0)  # a thread that never came back must not keep the process
