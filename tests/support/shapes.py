"""The shapes of load: how applications use their connections while the cluster is being switched.

A `Load` runs one shape on one way into the connector until it is told to stop, and keeps what became of each
query. It knows nothing of switches. Every statement has a text of its own, so whatever happens to it, at the
application or at the engine, is known by its text.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, Protocol

import attrs
from e6data_python_connector.exceptions import (
    AmbiguousSubmissionError,
    IncompleteResultError,
    OperationalError,
)

from bluegreen.config.settings import Settings
from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.machines.strategy.effects import CloseSessions
from bluegreen.runtime.telemetry import DetectionEnded, Record, TelemetryEvent
from bluegreen_adapters.testing.demo.schedule import Statement
from support.engine import quick, until
from support.ways import AnyConnection, Cursor, Way, causes, manager_of

PACE_S = 0.004
"""Seconds that a thread waits between two queries, so that two cores carry the load."""

END_BOUND_S = 120.0
"""Seconds after which a thread that was told to end hangs."""

AFTER_ERROR_S = 0.02
"""Seconds that a thread waits after an error."""

Verdict = Literal["lost", "unavailable"]


class Address(Protocol):
    """What a way needs to know of an engine."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def address(self) -> str: ...


@attrs.frozen
class Asked:
    """What became of one query.

    Args:
        text: its statement.
        cluster: number of the cluster that it was sent to.
        thread: number of the thread that sent it.
        writes: whether it writes.
        began_s, ended_s: monotonic seconds; one clock for all processes.
        error: none, or what the application got: `lost` or `unavailable`.
        told: the error's text.
        wrong: what is wrong with its rows, or none.
        stack: where its rows came from, or none: it had no rows.
    """

    text: str
    cluster: int
    thread: int
    writes: bool
    began_s: float
    ended_s: float
    error: Verdict | None = None
    told: str = ""
    wrong: str | None = None
    stack: str | None = None

    def overlaps(self, began_s: float, ended_s: float) -> bool:
        """Whether it was under way at any moment of this time."""
        return self.began_s <= ended_s and self.ended_s >= began_s


def statement(owner: int, turn: int) -> Statement:
    """Return what thread `owner` asks in its turn `turn`: reads and writes, quick and slow, whole and in pages.

    >>> len({statement(owner, turn).text for owner in range(3) for turn in range(10)})
    30
    """
    where = f"owner = {owner} AND turn = {turn}"
    match (owner + turn) % 5:
        case 0:
            return Statement(f"SELECT * FROM t WHERE {where} /*+ rows(3) */", 3)
        case 1:
            return Statement(f"INSERT INTO t VALUES ({owner}, {turn})", None)
        case 2:
            return Statement(f"SELECT * FROM t WHERE {where} /*+ rows(6) batch(2) */", 6, 2, 0.002)
        case 3:
            return Statement(f"SELECT * FROM t WHERE {where} /*+ rows(4) batch(2) sleep_ms(15) */", 4)
        case _:
            return Statement(f"INSERT INTO t VALUES ({owner}, {turn}) /*+ sleep_ms(10) */", None)


def _failures() -> tuple[type[Exception], ...]:
    """What an application may get. Anything else ends its thread, and fails the test that reads its result."""
    # The last three are the connector's own: it wraps ours in them with a token, with V2 batches and in asyncio.
    wrapped = (
        QueryLost,
        StrategyUnavailable,
        IncompleteResultError,
        AmbiguousSubmissionError,
        OperationalError,  # around whatever meets an asyncio connection that opens its session
    )
    try:
        from sqlalchemy.exc import DBAPIError
    except ImportError:
        return wrapped
    return (*wrapped, DBAPIError)


_FAILURES = _failures()


def _verdict(error: Exception) -> Verdict:
    for cause in causes(error):
        if isinstance(cause, QueryLost):
            return "lost"
        if isinstance(cause, StrategyUnavailable):
            return "unavailable"
    raise error


class Asking:
    """One query of one thread, from its begin to its end; it is recorded when it has ended.

    Args:
        load: who keeps what becomes of it.
        thread: number of the thread.
        asked: its statement.
        cursor: what it runs on.
        cluster: number of the cluster.
        least: rows after which it is left alone; none: all are fetched.
    """

    def __init__(
        self,
        load: Load,
        thread: int,
        cluster: int,
        asked: Statement,
        cursor: Cursor,
        least: int | None = None,
    ) -> None:
        self._load, self._thread, self._cluster = load, thread, cluster
        self._asked, self._cursor, self._least = asked, cursor, least
        self._began_s = time.monotonic()
        load.begun(thread)
        self._error: Exception | None = None
        self._rows: list[Any] = []

    def begin(self) -> Asking:
        """Execute it."""
        with self._noting():
            self._cursor.execute(self._asked.text)
        return self

    def finish(self, *, close: bool) -> bool:
        """Fetch its rows, and close its cursor if told to; return whether all went well, else after a moment."""
        with self._noting():
            if self._error is None and self._asked.rows is not None:
                self._fetch()
        with self._noting():
            if close:
                self._cursor.close()
        self._load.record(self._outcome())
        if self._error is None:
            return True
        self._load.waits(AFTER_ERROR_S)
        return False

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            self._error = self._error or error

    def _fetch(self) -> None:
        if self._least is not None:
            self._rows += self._cursor.fetchmany(self._least)
        elif self._asked.page is None:
            self._rows += self._cursor.fetchall()
        else:
            while page := self._cursor.fetchmany(self._asked.page):
                self._rows += page
                time.sleep(self._asked.pause_s)

    def _outcome(self) -> Asked:
        asked, error, rows = self._asked, self._error, self._rows
        if self._least is not None and asked.rows is not None:
            asked = attrs.evolve(asked, rows=min(self._least, asked.rows))
        return Asked(
            text=asked.text,
            cluster=self._cluster,
            thread=self._thread,
            writes=asked.rows is None,
            began_s=self._began_s,
            ended_s=time.monotonic(),
            error=_verdict(error) if error is not None else None,
            told=f"{type(error).__name__}: {error}" if error is not None else "",
            wrong=None if error is not None else asked.complaint(rows),
            stack=rows[0][2] if rows else None,
        )


class Load:
    """A shape that runs. A context manager: at its end, every thread has ended and what was open is closed.

    Args:
        way: the way in.
        shape: the shape.
        engines: where to; one for each cluster.
        settings: of all scopes.
        first: number of the first thread.

    Attributes:
        asked: what became of the queries that have ended.
        opened: how many connections have been opened, by cluster.
    """

    def __init__(
        self,
        way: Way,
        shape: Shape,
        engines: Sequence[Address],
        settings: Settings | None = None,
        first: int = 0,
    ) -> None:
        self.way, self.shape = way, shape
        self.asked: list[Asked] = []
        self.opened = [0] * len(engines)
        self._engines = engines
        self._settings = settings or quick()
        self._first = first
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._common: AnyConnection | None = None
        self._running: list[Future[None]] = []
        self._gates: dict[int, threading.Lock] = {}
        self._under_way = dict.fromkeys(self.threads, 0)

    @property
    def threads(self) -> range:
        """Numbers of the threads."""
        return range(self._first, self._first + self.shape.threads)

    @property
    def going(self) -> bool:
        """Whether queries are still to be begun."""
        return not self._stop.is_set()

    def open(self, cluster: int = 0) -> AnyConnection:
        """Open a connection."""
        connection = self.way.open(self._engines[cluster], self._settings)  # type: ignore[arg-type]
        with self._lock:
            self.opened[cluster] += 1
        return connection

    def common(self) -> AnyConnection:
        """Return the connection that all threads share."""
        with self._lock:
            if self._common is not None:
                return self._common
        connection = self.open()
        with self._lock:
            self._common = connection
        return connection

    def begin(
        self, thread: int, turn: int, cursor: Cursor, *, cluster: int = 0, least: int | None = None
    ) -> Asking:
        """Begin a query."""
        asked = statement(thread, turn)
        return Asking(self, thread, cluster, asked, cursor, least).begin()

    def turns(self) -> Iterator[int]:
        """Yield the numbers of a thread's queries, paced, until the load is over."""
        turn = 0
        gate = self._gates[threading.get_ident()] = threading.Lock()
        while self.going:
            with gate:
                yield turn
            turn += 1
            self.waits(PACE_S)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold every thread between two of its turns."""
        with ExitStack() as held:
            for gate in list(self._gates.values()):
                held.enter_context(gate)
            yield

    def logins(self) -> list[str]:
        """Note from now on what may call for logins on the first cluster, besides a connection's first one on a stack.

        Returns:
            A list that grows: `blue ended` for each time that sessions on blue were ended, `blue tried` for each
            detection that has asked blue; likewise for green.
        """
        noted: list[str] = []

        def note(happening: TelemetryEvent) -> None:
            match happening:
                case Record(step=taken):
                    ended = [effect for effect in taken.effects if isinstance(effect, CloseSessions)]
                    noted.extend(f"{effect.strategy} ended" for effect in ended)
                case DetectionEnded(tried=tried):
                    noted.extend(f"{strategy} tried" for strategy in tried)
                case _:
                    pass

        manager_of(self._engines[0]).observe(note)  # type: ignore[arg-type]
        return noted

    def forked(self, first: int) -> Load:
        """Return the same load for a child of this process."""
        return Load(self.way, self.shape, self._engines, self._settings, first)

    def waits(self, seconds: float) -> None:
        """Wait, or less if the load is over."""
        self._stop.wait(seconds)

    def begun(self, thread: int) -> None:
        """A thread has begun a query."""
        self._under_way[thread] += 1

    def record(self, asked: Asked) -> None:
        """Keep what became of a query."""
        self.asked.append(asked)
        self._under_way[asked.thread] -= 1

    def moment_under_way(self) -> float:
        """Return a moment, in monotonic seconds, at which a query was under way."""
        moment_s = 0.0

        def under_way() -> bool:
            nonlocal moment_s
            moment_s = time.monotonic()
            return any(self._under_way.values())

        self.until(under_way)
        return moment_s

    def start(self) -> Load:
        """Begin. Returns when every thread has had an answer."""
        if self.shape.shares:
            self.common()
        self._running = [self._started(number) for number in self.threads]
        self.until_each_thread(lambda asked: asked.error is None)
        return self

    def until_each_thread(self, condition: Callable[[Asked], bool]) -> None:
        """Wait until each thread has had a query for which `condition` holds."""
        self.until(lambda: self._has_each_thread(condition))

    def each_answered_since(self, since_s: float) -> bool:
        """Whether each thread has had an answer to a query that it began after this moment."""
        self.raise_what_ended_a_thread()
        return self._has_each_thread(lambda asked: asked.began_s > since_s and asked.error is None)

    def _has_each_thread(self, condition: Callable[[Asked], bool]) -> bool:
        return {asked.thread for asked in self.asked if condition(asked)} >= set(self.threads)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`; a thread that has ended by an error raises it here."""

        def reached() -> bool:
            self.raise_what_ended_a_thread()
            return condition()

        until(reached)

    def raise_what_ended_a_thread(self) -> None:
        """Raise the error by which a thread has ended, if one has."""
        for running in self._running:
            if running.done():
                running.result()

    def finish(self) -> None:
        """Let every thread end, close what is shared, and let go of what was abandoned."""
        self._stop.set()
        _, hanging = wait(self._running, END_BOUND_S)
        assert not hanging, "threads that never came back:\n" + stacks()
        if self._common is not None:
            self._common.close()
            self._common = None
        self.raise_what_ended_a_thread()
        gc.collect()

    def _started(self, number: int) -> Future[None]:
        ended: Future[None] = Future()

        def run() -> None:
            try:
                self.shape.work(self, number)
            except BaseException as error:  # noqa: BLE001  whatever it is belongs to the test
                ended.set_exception(error)
            else:
                ended.set_result(None)

        # Daemons, unlike the threads of a pool: one that hangs must fail its test, and hold up nothing else.
        threading.Thread(target=run, name=f"load {number}", daemon=True).start()
        return ended

    def __enter__(self) -> Load:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.finish()


def stacks() -> str:
    """Return where each thread is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"-- {names.get(number)}\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()
    )


# -- the shapes


def persistent(load: Load, thread: int) -> None:
    """A connection that is kept; a cursor per query, closed."""
    with load.open() as connection:
        for turn in load.turns():
            load.begin(thread, turn, connection.cursor()).finish(close=True)


def churning(load: Load, thread: int) -> None:
    """A connection per query."""
    for turn in load.turns():
        with load.open() as connection:
            load.begin(thread, turn, connection.cursor()).finish(close=True)


def sharing(load: Load, thread: int) -> None:
    """The connection of all threads; a cursor per query, closed."""
    for turn in load.turns():
        load.begin(thread, turn, load.common().cursor()).finish(close=True)


def overlapping(load: Load, thread: int) -> None:
    """The next query is begun before the one before has ended, so there is always one."""
    with load.open() as one, load.open() as another:
        before: Asking | None = None
        for turn in load.turns():
            asking = load.begin(thread, turn, (one, another)[turn % 2].cursor())
            if before is not None:
                before.finish(close=True)
            before = asking
        if before is not None:
            before.finish(close=True)


def reusing(load: Load, thread: int) -> None:
    """One cursor for all queries, neither cleared nor closed in between.

    Results are read to their end: of one that is left half read, the connector itself hands out the rest when the
    cursor's next query is fetched, with or without a switch.
    """
    with load.open() as connection:
        cursor = connection.cursor()
        for turn in load.turns():
            if not load.begin(thread, turn, cursor).finish(close=False):
                cursor = (
                    connection.cursor()
                )  # with a token, one whose result is incomplete takes no other query


def dropping_cursors(load: Load, thread: int) -> None:
    """A connection that is kept; a cursor per query, let go without a word, some results half read."""
    with load.open() as connection:
        for turn in load.turns():
            least = 2 if turn % 3 == 0 else None
            load.begin(thread, turn, connection.cursor(), least=least).finish(close=False)


def dropping_connections(load: Load, thread: int) -> None:
    """A connection for a few queries, let go without a word, with a query that is half read."""
    for turn in load.turns():
        connection = load.open()
        load.begin(thread, turn * 2, connection.cursor()).finish(close=True)
        load.begin(thread, turn * 2 + 1, connection.cursor(), least=1).finish(close=False)
        del connection


def two_clusters(load: Load, thread: int) -> None:
    """Every second thread is on the second cluster."""
    cluster = thread % 2
    with load.open(cluster) as connection:
        for turn in load.turns():
            load.begin(thread, turn, connection.cursor(), cluster=cluster).finish(close=True)


@attrs.frozen(eq=False)
class Shape:
    """A shape of load.

    Args:
        name: its name.
        threads: how many threads it has.
        work: what each of them does, given the load and the thread's number.
        shares: whether they share one connection.
        ends: whether each query is ended by the application; otherwise some stay on the engine.
        clusters: how many clusters it needs.
        peer: how a process of its own takes part: not at all, with the same load, or one that forks.
        needs: what the way must have, of `ways.CAPABILITIES`.
        cannot: ways that cannot have this shape, and why.
    """

    name: str
    threads: int
    work: Callable[[Load, int], None]
    shares: bool = False
    ends: bool = True
    clusters: int = 1
    peer: Literal["load", "fork"] | None = None
    needs: tuple[str, ...] = ("queries",)
    cannot: Mapping[str, str] = attrs.field(factory=dict[str, str])

    def inapplicable(self, way: Way) -> str | None:
        """Return why a way cannot have this shape, or none: it can."""
        if way.absent is not None:
            return way.absent
        reasons = [way.lacks[need] for need in self.needs if need in way.lacks]
        return self.cannot.get(way.name) or next(iter(reasons), None)

    def __repr__(self) -> str:
        return f"Shape({self.name!r})"


_NO_FORK = {
    **dict.fromkeys(
        ("aio", "aio-v2", "channel-aio", "interceptor-aio"),
        "gRPC's asyncio has a thread of its own, which a forked child has not",
    ),
    "sync-v2": "it prefetches, and gRPC does not survive a fork in the middle of a call",
}
_CLEARED_FIRST = dict.fromkeys(
    ("aio", "aio-v2"), "the connector's asyncio cursor refuses to execute before its query is cleared"
)
_ONE_THREAD = {"sqlalchemy": "a connection of SQLAlchemy belongs to one thread"}

SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("one thread", 1, persistent),
        Shape("8 threads", 8, persistent),
        Shape("churn", 3, churning),
        Shape("shared", 6, sharing, shares=True, needs=("queries", "cursors"), cannot=_ONE_THREAD),
        Shape("overlapping", 2, overlapping),
        Shape("reused", 3, reusing, ends=False, cannot=_CLEARED_FIRST),
        Shape("dropped cursors", 3, dropping_cursors, ends=False, needs=("queries", "cursors", "let_go")),
        Shape("dropped connections", 3, dropping_connections, ends=False),
        Shape("two clusters", 4, two_clusters, clusters=2),
        Shape("two processes", 3, persistent, peer="load"),
        Shape("fork", 1, overlapping, peer="fork", cannot=_NO_FORK),
    )
}
"""All shapes by name."""
