"""A stack vanishes while a cursor fetches: what the application has not seen is fetched from the other stack."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector import e6data_grpc
from e6data_python_connector.async_cursor import AsyncCursor
from e6data_python_connector.exceptions import OperationalError
from e6data_python_connector.result_decode import DecoderLease
from e6data_python_connector.result_prefetch import ContinuousResultStream
from e6data_python_connector.server import e6x_engine_pb2 as pb

from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.runtime.manager import StrategyManager
from bluegreen_adapters.e6data import fetching
from bluegreen_adapters.e6data.errors import RowsDiscarded
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import until
from support.flow_cluster import REFUSED, FlowCluster, FlowConnection
from support.managing import SCOPE, on_blue
from support.ways import Way, causes, decoders_kept, manager_of, over

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("nothing_is_known")]

FETCH = ("getNextResultBatch", "getNextResultBatchV2")
ROWS = 60
READ = f"SELECT * FROM t /*+ rows({ROWS}) batch(3) */"
WRITE = "INSERT INTO t VALUES (1)"
every_way = over("sync", "sync-v2", "oauth", "pool", "sqlalchemy", "aio", "aio-v2")


@pytest.fixture(scope="module", autouse=True)
def _decoders() -> Iterator[None]:
    with decoders_kept():
        yield


def hang(engine: EngineProcess, nth: int = 8) -> int:
    """Leave the request for this batch unanswered until a stack vanishes; return the number of the fault."""
    return engine.fault(action="silent", method=FETCH, strategy="blue", nth=nth)


def vanishing(engine: EngineProcess, fault: int, call: Any, *args: Any) -> Any:
    """Make a call that fetches; the stack vanishes when the request has come that is left unanswered."""
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(call, *args)
        until(lambda: calling.done() or engine.statistics().faults[fault] == 1)
        assert not calling.done(), "it has returned before the stack vanished"
        engine.phase("abrupt", target="green")
        return calling.result(60)


def check_rows(rows: list[Any], text: str = READ, stack: str = "green", count: int = ROWS) -> None:
    """Check that these are all rows of one run, each once."""
    assert [row[0] for row in rows] == list(range(count))
    assert {(row[1], row[2]) for row in rows} == {(text, stack)}


def check_lost(call: Any, *args: Any) -> None:
    """Check that a call raises `QueryLost`, by itself or as the cause of an error of the connector."""
    with pytest.raises(OperationalError) as caught:
        call(*args)
    lost = [error for error in causes(caught.value) if isinstance(error, QueryLost)]
    assert lost, caught.value
    assert "rows of it have already been handed out" in str(lost[0])


@every_way
def test_fetchall_whose_stack_vanishes_returns_each_row_once(way: Way, engine: EngineProcess) -> None:
    with way.open(engine) as connection:
        cursor = connection.cursor()
        cursor.execute(READ)
        check_rows(vanishing(engine, hang(engine), cursor.fetchall))
        assert (
            engine.statistics().requests["getResultMetadata"]["green"] == 1
        )  # the columns are the new run's too
        if way.name.startswith("aio"):
            assert cursor.raw.rownumber == ROWS
        cursor.close()
        assert engine.executions() == {READ: 2}
        assert manager_of(engine).open_tickets == ()
    assert engine.statistics().misrouted == 0


@every_way
def test_first_fetchmany_whose_stack_vanishes_returns_each_row_once(way: Way, engine: EngineProcess) -> None:
    with way.open(engine) as connection:
        cursor = connection.cursor()
        cursor.execute(READ)
        rows = vanishing(engine, hang(engine), cursor.fetchmany, ROWS - 6)
        assert len(rows) == ROWS - 6
        check_rows([*rows, *cursor.fetchall()])
        cursor.close()
        assert engine.executions() == {READ: 2}


@every_way
@pytest.mark.parametrize("page", [1, 4])
def test_fetchall_after_rows_were_handed_out_is_lost(way: Way, engine: EngineProcess, page: int) -> None:
    with way.open(engine) as connection:
        cursor = connection.cursor()
        fault = hang(engine)
        cursor.execute(READ)
        assert [row[0] for row in cursor.fetchmany(page)] == list(range(page))
        check_lost(vanishing, engine, fault, cursor.fetchall)
        assert engine.executions() == {READ: 1}
        assert manager_of(engine).open_tickets == ()
        cursor = connection.cursor()  # the connection is as good as before
        cursor.execute(READ)
        check_rows(cursor.fetchall())
        cursor.close()


@every_way
def test_second_page_whose_stack_vanishes_is_lost(way: Way, engine: EngineProcess) -> None:
    with way.open(engine) as connection:
        cursor = connection.cursor()
        fault = hang(engine)
        cursor.execute(READ)
        assert [row[0] for row in cursor.fetchmany(6)] == list(range(6))
        check_lost(vanishing, engine, fault, cursor.fetchmany, ROWS - 6)
        assert engine.executions() == {READ: 1}


@every_way
def test_write_whose_stack_vanishes_is_executed_once(way: Way, engine: EngineProcess) -> None:
    with way.open(engine) as connection:
        cursor = connection.cursor()
        fault = engine.fault(action="silent", method=FETCH, strategy="blue", nth=1)
        cursor.execute(WRITE)
        with pytest.raises(OperationalError) as caught:
            vanishing(engine, fault, cursor.fetchall)
        assert any(isinstance(error, QueryLost) for error in causes(caught.value))
        assert engine.executions() == {WRITE: 1}


# A run that ends between two batches: another request finds out, or the cursor's own download.


@attrs.define
class Interference:
    """Has a stack vanish after the cursor has got batch number `nth`; the batch behind the last one is None.

    Another request of the query finds out, and begins the query again.

    Args:
        engine: where the stack vanishes.
        nth: number of the batch, from 1.
        error: what the cursor's call is to raise after that; None: it goes on.
        batches: how many batches the cursor has got.
    """

    engine: EngineProcess
    nth: int
    error: BaseException | None = None
    batches: int = 0

    def install(self, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wrap the method by which the cursors of a way get the next batch."""
        if way.name.startswith("aio"):
            monkeypatch.setattr(AsyncCursor, "_next_batch", self._wrap_async(AsyncCursor._next_batch))
        else:
            name = "_next_result_chunk" if way.name == "sync-v2" else "fetch_batch"
            monkeypatch.setattr(e6data_grpc.Cursor, name, self._wrap(getattr(e6data_grpc.Cursor, name)))

    def _is_due(self) -> bool:
        self.batches += 1
        return self.batches == self.nth

    def _wrap(self, stock: Callable[..., Any]) -> Callable[..., Any]:
        def next_batch(cursor: Any) -> Any:
            rows = stock(cursor)
            if self._is_due():
                self.engine.phase("abrupt", target="green")
                cursor.status(cursor.query_id)
                if self.error is not None:
                    raise self.error
            return rows

        return next_batch

    def _wrap_async(self, stock: Callable[..., Any]) -> Callable[..., Any]:
        async def next_batch(cursor: Any, deadline: float) -> Any:
            rows = await stock(cursor, deadline)
            if self._is_due():
                self.engine.phase("abrupt", target="green")
                request = pb.StatusRequest(queryId=cursor.query_id, engineIP=cursor._route.engine_ip)
                await cursor._connection._rpc("status", request, deadline=deadline, route=cursor._route)
                if self.error is not None:
                    raise self.error
            return rows

        return next_batch


@over("sync", "sync-v2", "oauth", "aio", "aio-v2")
@pytest.mark.parametrize("nth", [3, 5])
def test_page_is_discarded_if_another_request_begins_it_again(
    way: Way, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """After batch 5 the rows are enough: the cursor itself would not find out."""
    with way.open(engine) as connection:
        cursor = connection.cursor()
        interference = Interference(engine, nth)
        interference.install(way, monkeypatch)
        cursor.execute(READ)
        first = cursor.fetchmany(15)
        assert interference.batches >= nth + 5
        check_rows([*first, *cursor.fetchall()])
        assert engine.executions() == {READ: 2}
        cursor.close()


@over("sync", "sync-v2", "oauth", "aio", "aio-v2")
def test_whole_result_is_discarded_if_another_request_begins_it_again(
    way: Way, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cursor has got the last batch, and has not returned yet."""
    with way.open(engine) as connection:
        cursor = connection.cursor()
        Interference(engine, ROWS // 3 + 1).install(way, monkeypatch)
        cursor.execute(READ)
        check_rows(cursor.fetchall())
        assert engine.executions() == {READ: 2}
        cursor.close()


@over("sync", "oauth", "aio")
def test_call_after_an_interrupted_one_returns_rows_of_one_run(
    way: Way, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The query has begun again, and the interrupt has come before the cursor could fetch from the beginning."""
    with way.open(engine) as connection:
        cursor = connection.cursor()
        Interference(engine, 3, Interrupted()).install(way, monkeypatch)
        cursor.execute(READ)
        with pytest.raises((Interrupted, OperationalError)):
            cursor.fetchmany(15)
        first = cursor.fetchmany(15)
        check_rows([*first, *cursor.fetchall()])
        assert engine.executions() == {READ: 2}
        cursor.close()


class Interrupted(Exception):
    """An error that has nothing to do with the server."""


@over("sync-v2", "aio-v2")
@pytest.mark.parametrize("slow", [False, True])
def test_rows_are_discarded_if_the_download_ahead_begins_it_again(
    way: Way, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """The cursor has the first row already when its download of the next envelope finds out.

    If the other stack is slow, the download is still beginning the query again when the row is about to be returned.
    """
    with way.open(engine) as connection:
        cursor = connection.cursor()
        fault = hang(engine, nth=2)
        delay = engine.fault(method="executeStatementV2", strategy="green", delay_s=0.3 if slow else 0.0)
        stock = DecoderLease.decode

        def decode(*args: Any, **kwargs: Any) -> Any:
            rows = stock(*args, **kwargs)
            if engine.active == "blue":
                until(lambda: engine.statistics().faults[fault] == 1)
                engine.phase("abrupt", target="green")
                until(
                    lambda: (
                        engine.statistics().faults[delay] == 1 and (slow or engine.executions()[READ] == 2)
                    )
                )
            return rows

        monkeypatch.setattr(DecoderLease, "decode", decode)
        cursor.execute(READ)
        first = cursor.fetchmany(1)
        check_rows([*first, *cursor.fetchall()])
        assert engine.executions() == {READ: 2}
        cursor.close()


@over("sync-v2")
def test_download_of_the_old_run_ends_before_the_new_one_begins(
    way: Way, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The download has failed, and its thread takes a moment until it is over."""
    late = threading.Event()
    finish = ContinuousResultStream.finish

    def finish_late(stream: Any) -> None:
        late.set()
        time.sleep(0.05)
        finish(stream)

    monkeypatch.setattr(ContinuousResultStream, "finish", finish_late)
    with way.open(engine) as connection:
        cursor = connection.cursor()
        fault = hang(engine, nth=3)
        cursor.execute(READ)
        check_rows(vanishing(engine, fault, cursor.fetchall))
        assert late.is_set()
        cursor.close()


# What an application may do besides.


@over("sync", "sync-v2", "oauth")
def test_generator_of_batches_is_lost_after_its_first_batch(way: Way, engine: EngineProcess) -> None:
    with way.open(engine) as connection:
        cursor = connection.cursor()
        fault = hang(engine, nth=3)
        cursor.execute(READ)
        batches = cursor.raw.fetchall_buffer()
        assert [row[0] for row in next(batches)] == [0, 1, 2]
        check_lost(vanishing, engine, fault, list, batches)
        assert engine.executions() == {READ: 1}


@over("sync", "aio")
@pytest.mark.parametrize("needed", ["NEEDED", "NEEDED_ASYNC"])
def test_cursor_that_cannot_be_put_back_fetches_as_before(
    way: Way, engine: EngineProcess, monkeypatch: pytest.MonkeyPatch, needed: str
) -> None:
    """Another version of the connector may keep its rows elsewhere."""
    missing = (needed == "NEEDED") == (way.name == "sync")
    with way.open(engine) as connection:
        cursor = connection.cursor()
        # Of the module that is in use: another test may have imported it anew.
        used = type(cursor.raw).fetchall.__globals__  # type: ignore[attr-defined]
        monkeypatch.setitem(used, needed, (*used[needed], "_no_such_attribute"))
        fault = hang(engine)
        cursor.execute(READ)
        if missing:
            check_lost(vanishing, engine, fault, cursor.fetchall)
        else:
            check_rows(vanishing(engine, fault, cursor.fetchall))
        assert engine.executions() == {READ: 1 if missing else 2}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> tuple[FlowCluster, FlowConnection, Any]:
    """Two stacks, a connection, and a cursor of it that has nothing but a query."""
    cluster = FlowCluster()
    connection = cluster.connect(on_blue(StrategyManager(SCOPE)), "anna")
    query_id = connection.begin("SELECT 1")
    connection.call("execute", query_id)
    owner = SimpleNamespace(_channel=connection)

    def put_back(_: Any) -> None:
        """There is nothing to put back."""

    monkeypatch.setattr(fetching, "NEEDED", ())
    monkeypatch.setattr(fetching, "NEEDED_ASYNC", ())
    monkeypatch.setattr(fetching, "_put_back_async", put_back)
    return cluster, connection, SimpleNamespace(query_id=query_id, connection=owner, _connection=owner)


def test_timeout_of_an_asyncio_fetch_holds_for_both_runs(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, connection, cursor = bare
    given: list[float | None] = []

    async def stock(_: Any, *, timeout: float | None = None) -> list[str]:
        given.append(timeout)
        rows = connection.call("fetch", cursor.query_id).rows
        cluster.hook = lambda request: REFUSED if request.strategy == "blue" else None
        try:
            return [rows, connection.call("fetch", cursor.query_id).rows]
        except StrategyUnavailable as discarded:
            raise RowsDiscarded(SCOPE, discarded.reason) from None

    monkeypatch.setattr(fetching, "time", SimpleNamespace(monotonic=iter([100.0, 100.0, 105.0]).__next__))
    rows = asyncio.run(fetching.wrap_async_fetch(stock, None)(cursor, timeout=60.0))
    assert (rows, given) == (["green", "green"], [60.0, 55.0])


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_rows_left_behind_by_a_call_that_fails_count_as_handed_out(bare: Any, kind: str) -> None:
    """The cursor may hold them, and may return them without asking a server."""
    _, connection, cursor = bare
    query = connection.link.bound[cursor.query_id]

    def stock(_: Any) -> None:
        connection.call("fetch", cursor.query_id)
        assert query.is_collectable
        raise Interrupted

    async def stock_async(_: Any, *, timeout: float | None = None) -> None:
        assert timeout is None
        stock(_)

    def fetch() -> None:
        if kind == "threads":
            fetching.wrap_fetch(stock, None)(cursor)
        else:
            asyncio.run(fetching.wrap_async_fetch(stock_async, None)(cursor))

    with pytest.raises(Interrupted):
        fetch()
    assert not query.is_collectable
