"""A line that the application logs while its query is open says which one it is: in threads and in asyncio."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import grpc.aio
import pytest
import structlog

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.server import e6x_engine_pb2 as pb
from e6data_python_connector.server.e6x_engine_pb2_grpc import QueryEngineServiceStub

from bluegreen.config.settings import Settings
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.connection import current_query
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.e6data import PROTOCOL
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel
from bluegreen_adapters.observe.logging.correlation import (
    NAMES,
    QueryFilter,
    correlated,
    fields,
    query_fields,
)
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import fresh

pytestmark = pytest.mark.integration

READ = "SELECT * FROM t /*+ rows(4) batch(2) */"
WHO = {"username": "me@example.com", "password": "secret", "database": "sales"}


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess(user="me@example.com", password="secret") as started:
        yield started


@pytest.fixture
def engine(shared_engine: EngineProcess) -> EngineProcess:
    forget(Scope(shared_engine.address))
    return fresh(shared_engine)


@pytest.fixture(autouse=True)
def asked() -> Iterator[None]:
    """What a filter asks for stays asked in an application; the other tests are to be without it."""
    current_query.ask()
    yield
    current_query._asked = False


@pytest.fixture
def connection(engine: EngineProcess) -> Iterator[Any]:
    opened = e6data.connect(host=engine.host, port=engine.port, **WHO)
    yield opened
    opened.close()


def number() -> int | None:
    found: int | None = fields().get("bluegreen_query")
    return found


def test_a_line_within_a_query_has_its_fields_and_one_outside_has_none(
    connection: Any, engine: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(QueryFilter())
    log = logging.getLogger("application.reports")
    cursor = connection.cursor()
    log.warning("before")
    cursor.execute(READ)
    (ticket,) = managed(Scope(engine.address)).open_tickets
    log.warning("within")
    assert len(cursor.fetchall()) == 4
    cursor.clear()
    log.warning("after")
    shown = {one.message: [getattr(one, name) for name in NAMES] for one in caplog.records}
    assert shown["before"] == shown["after"] == [None] * 4
    assert shown["within"] == [engine.address, ticket.state_version, ticket.query, "blue"]


def test_structlog_gets_the_same_fields_and_keeps_what_is_there(
    connection: Any, engine: EngineProcess
) -> None:
    process = query_fields()
    cursor = connection.cursor()
    cursor.execute(READ)
    event = process(structlog, "info", {"event": "within", "bluegreen_scope": "mine"})
    assert event == {**fields(), "event": "within", "bluegreen_scope": "mine"}
    cursor.clear()
    assert process(structlog, "info", {"event": "after"}) == {"event": "after"}


def test_of_two_queries_of_a_thread_it_is_the_one_that_was_called_last(connection: Any) -> None:
    first, second = connection.cursor(), connection.cursor()
    first.execute(READ)
    one = number()
    second.execute(READ)
    other = number()
    assert one is not None
    assert other not in (None, one)
    first.fetchmany(1)
    assert number() == one
    second.clear()
    assert number() is None
    first.fetchall()
    assert number() == one


def test_a_query_that_begins_again_elsewhere_is_told_with_its_new_strategy(
    connection: Any, engine: EngineProcess
) -> None:
    cursor = connection.cursor()
    cursor.execute(READ)
    before = fields()
    engine.switch("abrupt", grace_s=0.0)
    assert len(cursor.fetchall()) == 4
    after = fields()
    assert (before["bluegreen_strategy"], after["bluegreen_strategy"]) == ("blue", "green")
    assert after["bluegreen_state_version"] > before["bluegreen_state_version"]


def test_a_query_that_was_let_go_or_ended_elsewhere_leaves_nothing(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(READ)
    assert number() is not None
    thread = threading.Thread(target=cursor.clear)
    thread.start()
    thread.join(60)
    assert number() is None
    cursor = connection.cursor()
    cursor.execute(READ)
    assert number() is not None
    del cursor
    gc.collect()
    assert number() is None


def test_threads_see_their_own_query_only(connection: Any) -> None:
    together = threading.Barrier(4, timeout=60)

    def work() -> tuple[int | None, ...]:
        cursor = connection.cursor()
        together.wait()
        before = number()
        cursor.execute(READ)
        together.wait()
        within = number()
        cursor.fetchall()
        cursor.clear()
        together.wait()
        return before, within, number()

    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            seen = [one.result() for one in [pool.submit(work) for _ in range(4)]]
            assert {(before, after) for before, _, after in seen} == {(None, None)}
            numbers = [within for _, within, _ in seen]
            assert None not in numbers
            assert len(set(numbers)) == 4
    assert number() is None


@pytest.mark.parametrize("mark", [nullcontext, correlated])
async def test_tasks_on_a_channel_see_their_own_query_only(engine: EngineProcess, mark: Any) -> None:
    link = Connection(StrategyManager(Scope(engine.address), Settings()), PROTOCOL)
    async with AsyncSwitchingChannel(grpc.aio.insecure_channel(engine.address), link) as channel:
        stub = QueryEngineServiceStub(channel)
        session = (
            await stub.authenticate(pb.AuthenticateRequest(user="me@example.com", password="secret"))
        ).sessionId
        entered, all_in = [0], asyncio.Event()

        async def work() -> tuple[int | None, ...]:
            with mark():
                before = number()
                request = pb.PrepareStatementRequest(sessionId=session, queryString=READ)
                query = (await stub.prepareStatement(request)).queryId
                entered[0] += 1
                if entered[0] == 8:
                    all_in.set()
                await all_in.wait()
                within = number()
                about = {"sessionId": session, "queryId": query}
                await stub.executeStatement(pb.ExecuteStatementRequest(**about))
                again = number()
                await stub.clear(pb.ClearRequest(**about))
                return before, within, again, number()

        seen = await asyncio.gather(*(work() for _ in range(8)))
    assert {(before, after) for before, _, _, after in seen} == {(None, None)}
    assert all(within == again for _, within, again, _ in seen)
    assert {within for _, within, _, _ in seen} == set(range(2, 10))  # the login was the first
    assert number() is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the connector's asyncio needs Python 3.11")
async def test_tasks_of_the_asyncio_driver_see_their_own_query_where_they_are_marked(
    engine: EngineProcess,
) -> None:
    connection = await e6data.connect_async(host=engine.host, port=engine.port, **WHO)
    entered, all_in = [0], asyncio.Event()

    async def work() -> tuple[int | None, ...]:
        with correlated():
            cursor = connection.cursor()
            before = number()
            await cursor.execute(READ)
            entered[0] += 1
            if entered[0] == 4:
                all_in.set()
            await all_in.wait()
            within = number()
            assert len(await cursor.fetchall()) == 4
            await cursor.clear()
            return before, within, number()

    seen = await asyncio.gather(*(work() for _ in range(4)))
    await connection.close()
    assert {(before, after) for before, _, after in seen} == {(None, None)}
    numbers = {within for _, within, _ in seen}
    assert None not in numbers
    assert len(numbers) == 4


def test_nothing_is_kept_where_nobody_has_asked(connection: Any) -> None:
    current_query._asked = False
    connection.cursor().execute(READ)
    assert fields() == {}
