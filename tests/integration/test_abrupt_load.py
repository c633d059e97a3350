"""Threads run queries while stacks vanish one after the other: what is lost, and what the application had seen of it.

`make test-slow ARGS='tests/integration/test_abrupt_load.py --many -n0 -s'` runs 5,000 queries instead of 500.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.exceptions import OperationalError

from bluegreen.errors import QueryLost
from bluegreen_adapters.testing.demo.schedule import Statement
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import until
from support.telling import tell
from support.ways import WAYS, AnyConnection, Cursor, causes, decoders_kept, manager_of

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.usefixtures("nothing_is_known")]

THREADS = ("sync", "sync-v2", "oauth", "pool", "sqlalchemy", "aio", "aio-v2", "sync")
"""The way in of each thread."""


def statement(thread: int, turn: int) -> Statement:
    """Return what a thread asks: mostly results of many batches, all at once; some page by page; some writes.

    >>> [statement(0, turn).rows for turn in range(6)]
    [240, 3, 90, 60, None, None]
    """
    where = f"thread = {thread} AND turn = {turn}"
    match turn % 6:
        case 0:
            return Statement(f"SELECT * FROM t WHERE {where} /*+ rows(240) batch(3) */", 240)
        case 1:
            return Statement(f"SELECT * FROM t WHERE {where} /*+ rows(3) */", 3)
        case 2:
            return Statement(f"SELECT * FROM t WHERE {where} /*+ rows(90) batch(2) sleep_ms(20) */", 90)
        case 3:
            return Statement(f"SELECT * FROM t WHERE {where} /*+ rows(60) batch(2) */", 60, page=6)
        case 4:
            return Statement(f"INSERT INTO t VALUES ({thread}, {turn})", None)
        case _:
            return Statement(f"INSERT INTO t VALUES ({thread}, {turn}) /*+ sleep_ms(60) */", None)


@attrs.frozen
class Ended:
    """What became of one query.

    Args:
        asked: its statement.
        seen: how many rows the application got before the query was lost, or in all.
        wrong: what is wrong with its rows, or None.
        lost: what `QueryLost` says, or None: it succeeded.
    """

    asked: Statement
    seen: int
    wrong: str | None = None
    lost: str | None = None


class AbruptLoad:
    """Threads that run queries until there are enough, and what became of each query.

    Attributes:
        ended: the queries that have ended, by thread; each thread appends to its own list.
    """

    def __init__(self, engine: EngineProcess, queries: int) -> None:
        self.ended: list[list[Ended]] = [[] for _ in THREADS]
        self._engine, self._least = engine, queries
        self._over = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether there are enough queries, or a thread has ended by an error."""
        return self._over.is_set() or sum(map(len, self.ended)) >= self._least

    def work(self, thread: int) -> None:
        """Run queries on one connection, one after the other."""
        try:
            with WAYS[THREADS[thread]].open(self._engine) as connection:
                for turn in itertools.count():
                    if self.is_over:
                        return
                    self.ended[thread].append(_ended(connection, statement(thread, turn)))
        finally:
            self._over.set()

    def switch(self) -> int:
        """Let stacks vanish, each one after every query that the one before has met has ended; return how often."""
        for switches in itertools.count():
            before = [len(ended) for ended in self.ended]
            # Of two further queries of a thread, the second one has begun after the last switch.
            until(
                lambda before=before: (
                    self.is_over
                    or all(len(now) >= then + 2 for now, then in zip(self.ended, before, strict=True))
                )
            )
            if self.is_over:
                return switches
            self._engine.switch("abrupt")
        raise AssertionError("not reached")


def _ended(connection: AnyConnection, asked: Statement) -> Ended:
    """Run a query to its end."""
    cursor, rows = connection.cursor(), list[Any]()
    try:
        cursor.execute(asked.text)
        for page in _pages(cursor, asked):
            rows += page
        cursor.close()
    except OperationalError as error:
        lost = [str(cause) for cause in causes(error) if isinstance(cause, QueryLost)]
        if not lost:
            raise
        return Ended(asked, len(rows), lost=lost[0])
    return Ended(asked, len(rows), wrong=asked.complaint(rows))


def _pages(cursor: Cursor, asked: Statement) -> Iterator[list[Any]]:
    if asked.page is not None:
        while page := cursor.fetchmany(asked.page):
            yield page
    elif asked.rows is not None:
        yield cursor.fetchall()


@pytest.fixture(scope="module", autouse=True)
def _decoders() -> Iterator[None]:
    with decoders_kept():
        yield


def test_only_what_was_seen_or_written_is_lost(engine: EngineProcess, pytestconfig: pytest.Config) -> None:
    load = AbruptLoad(engine, 5_000 if pytestconfig.getoption("--many") else 500)
    with ThreadPoolExecutor(len(THREADS)) as pool:
        threads = [pool.submit(load.work, thread) for thread in range(len(THREADS))]
        switches = load.switch()
        for thread in threads:
            thread.result()
    ended = [one for of_thread in load.ended for one in of_thread]
    lost = [one for one in ended if one.lost is not None]
    executions, seen = engine.executions(), engine.statistics()
    written = [one for one in lost if one.asked.rows is None]
    repeated = [one for one in ended if one.asked.text in seen.reads_repeated]
    had_rows = {gone.statement for gone in seen.vanished if gone.handed_rows}
    saved = [one for one in repeated if one.asked.text in had_rows and one.lost is None]
    tell(
        f"abrupt load: {len(ended):,} queries, {switches} switches; lost {len(lost)}: {len(written)} accepted writes, "
        f"{len(lost) - len(written)} reads with rows seen; {len(repeated)} reads run again, {len(saved)} of them "
        "after their connector had rows"
    )
    assert [(one.asked.text, one.wrong) for one in ended if one.wrong is not None] == []
    assert [(one.asked.text, one.lost) for one in lost if not one.seen and one not in written] == []
    assert [one.asked.text for one in written if executions.get(one.asked.text) != 1] == []
    writes = [one.asked.text for one in ended if one.asked.rows is None]
    assert Counter(executions.get(text, 0) for text in writes).keys() == {1}
    assert (seen.executed_twice, seen.misrouted) == ({}, 0)
    assert max(seen.reads_repeated.values(), default=0) <= 2
    assert saved, "no stack has vanished in the middle of a fetchall: this run proves nothing"
    assert manager_of(engine).open_tickets == ()
