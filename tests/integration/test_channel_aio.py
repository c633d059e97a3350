"""The asyncio channel and interceptor, on a real `grpc.aio` channel, against the test engine."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs
import grpc
import grpc.aio
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.server import e6x_engine_pb2 as pb
from e6data_python_connector.server.e6x_engine_pb2_grpc import QueryEngineServiceStub

from bluegreen.config.settings import Settings
from bluegreen.errors import QueryLost
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.e6data import PROTOCOL
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel, AsyncSwitchingInterceptor
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import switched

pytestmark = pytest.mark.integration

KINDS = ("graceful", "announced_abrupt", "silent_drain", "rollback", "withdrawn", "double", "not_ready")
LOGIN = pb.AuthenticateRequest(user="user@example.com", password="secret")


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess() as process:
        yield process


@pytest.fixture
def engine(shared_engine: EngineProcess) -> EngineProcess:
    shared_engine.clear_faults()
    shared_engine.phase("steady", active="blue")
    shared_engine.reset_statistics()
    return shared_engine


@pytest.fixture
def manager(engine: EngineProcess) -> StrategyManager:
    return StrategyManager(Scope(engine.address), Settings())


@attrs.define
class Client:
    """A connection as a connector would write one."""

    stub: Any
    link: Connection
    session: str = ""

    async def login(self) -> Client:
        self.session = (await self.stub.authenticate(LOGIN)).sessionId
        return self

    async def prepare(self, statement: str) -> Any:
        request = pb.PrepareStatementRequest(sessionId=self.session, queryString=statement)
        return await self.stub.prepareStatement(request, metadata=(("cluster-name", "c"),))

    def about(self, kind: Any, query: Any) -> Any:
        return kind(sessionId=self.session, queryId=query, engineIP="10.9.9.9")

    async def execute(self, query: Any) -> None:
        await self.stub.executeStatement(self.about(pb.ExecuteStatementRequest, query))
        await self.stub.getResultMetadata(self.about(pb.GetResultMetadataRequest, query))

    async def batches(self, query: Any) -> int:
        count = 0
        while (
            await self.stub.getNextResultBatch(self.about(pb.GetNextResultBatchRequest, query))
        ).resultBatch:
            count += 1
        return count

    async def clear(self, query: Any) -> Any:
        return await self.stub.clear(self.about(pb.ClearRequest, query))

    async def run(self, statement: str) -> int:
        query = (await self.prepare(statement)).queryId
        await self.execute(query)
        count = await self.batches(query)
        await self.clear(query)
        return count


@contextlib.asynccontextmanager
async def by_channel(engine: EngineProcess, manager: StrategyManager) -> AsyncIterator[Client]:
    link = Connection(manager, PROTOCOL)
    async with AsyncSwitchingChannel(grpc.aio.insecure_channel(engine.address), link) as channel:
        yield await Client(QueryEngineServiceStub(channel), link).login()


@contextlib.asynccontextmanager
async def by_interceptor(engine: EngineProcess, manager: StrategyManager) -> AsyncIterator[Client]:
    link = Connection(manager, PROTOCOL)
    interceptors = [AsyncSwitchingInterceptor(link)]
    async with grpc.aio.insecure_channel(engine.address, interceptors=interceptors) as channel:
        yield await Client(QueryEngineServiceStub(channel), link).login()
    link.close()


Way = Callable[[EngineProcess, StrategyManager], contextlib.AbstractAsyncContextManager[Client]]
ways = pytest.mark.parametrize("way", [by_channel, by_interceptor])


async def until(condition: Callable[[], bool]) -> None:
    """Poll for what another process or thread brings about; the test's time-out bounds it."""
    while not condition():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.002)


@ways
@pytest.mark.parametrize("kind", KINDS)
async def test_eight_tasks_notice_no_switch(
    engine: EngineProcess, manager: StrategyManager, way: Way, kind: str
) -> None:
    done = asyncio.Event()
    finished = 0

    async def work(number: int) -> None:
        nonlocal finished
        async with way(engine, manager) as client:
            turn = 0
            while not done.is_set():
                turn += 1
                statement = (
                    f"INSERT INTO t VALUES ({number}, {turn}, '{kind}', '{way.__name__}')"
                    if turn % 5 == 0
                    else "SELECT /*+ rows(4) */ 1"
                )
                assert await client.run(statement) == (0 if turn % 5 == 0 else 1)
                finished += 1

    tasks = [asyncio.create_task(work(number)) for number in range(8)]
    await until(lambda: finished > 20)
    await asyncio.to_thread(switched, engine, manager, kind, grace_s=0.2)
    after = finished
    await until(lambda: finished > after + 20 or any(task.done() for task in tasks))
    done.set()
    await asyncio.gather(*tasks)

    statistics = engine.statistics()
    assert (statistics.misrouted, statistics.executed_twice) == (0, {})
    assert manager.open_tickets == ()
    assert manager.active == engine.active


@ways
async def test_neither_announcement_nor_second_session_is_seen(
    engine: EngineProcess, manager: StrategyManager, way: Way
) -> None:
    async with way(engine, manager) as client:
        engine.phase("announce", target="green")
        first = await client.prepare("SELECT 1")
        assert (first.new_strategy, first.sessionId or client.session) == ("", client.session)
        second = await client.prepare("SELECT 2")
        await client.execute(first.queryId)
        await client.execute(second.queryId)
        where = {str(ticket.strategy) for ticket in manager.open_tickets}
        assert where == {"blue", "green"}
        for query in (first.queryId, second.queryId):
            assert (await client.clear(query)).new_strategy == ""
        assert engine.statistics().misrouted == 0


@ways
async def test_clearing_a_query_whose_stack_is_gone_is_no_error(
    engine: EngineProcess, manager: StrategyManager, way: Way
) -> None:
    async with way(engine, manager) as client:
        query = (await client.prepare("SELECT 1")).queryId
        await client.execute(query)
        engine.phase("abrupt", target="green")
        assert isinstance(await client.clear(query), pb.ClearResponse)
        assert manager.open_tickets == ()


class Looking(grpc.aio.UnaryUnaryClientInterceptor):
    """An interceptor in front of ours: it looks at each answer, and hands the call on."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = await continuation(client_call_details, request)
        self.seen.append(type(await call).__name__)
        return call


async def test_an_interceptor_in_front_may_await_the_answer_first(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    link, looking = Connection(manager, PROTOCOL), Looking()
    interceptors = [looking, AsyncSwitchingInterceptor(link)]
    async with grpc.aio.insecure_channel(engine.address, interceptors=interceptors) as channel:
        client = await Client(QueryEngineServiceStub(channel), link).login()
        query = (await client.prepare("SELECT 1")).queryId
        gc.collect()
        assert len(manager.open_tickets) == 1
        await client.execute(query)
        assert await client.batches(query)
        assert looking.seen[:2] == ["AuthenticateResponse", "BeginReply"]
        del query
        gc.collect()
        await until(lambda: manager.open_tickets == ())
    link.close()


async def test_an_intercepted_call_can_be_awaited_again(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    async with by_interceptor(engine, manager) as client:
        request = pb.PrepareStatementRequest(sessionId=client.session, queryString="SELECT 1")
        call = client.stub.prepareStatement(request)
        first = await call
        assert await call is first
        query = str(first.queryId)
        assert (await call.code(), await call.details()) == (grpc.StatusCode.OK, "")
        assert len(manager.open_tickets) == 1
        del first
        gc.collect()
        assert (await call).queryId == query


@ways
async def test_a_read_with_rows_out_is_lost_and_says_where_it_ran(
    engine: EngineProcess, manager: StrategyManager, way: Way
) -> None:
    async with way(engine, manager) as client:
        query = (await client.prepare("SELECT /*+ rows(4) batch(2) */ 1")).queryId
        await client.execute(query)
        await client.stub.getNextResultBatch(client.about(pb.GetNextResultBatchRequest, query))
        engine.phase("abrupt", target="green")
        with pytest.raises(QueryLost, match="rows of it have already been handed out") as lost:
            await client.batches(query)
        assert (lost.value.query, lost.value.strategy, lost.value.state_version) == (query, "blue", 1)
        assert await client.run("SELECT 1") == 1


@ways
async def test_a_write_whose_execution_is_in_doubt_is_not_executed_again(
    engine: EngineProcess, manager: StrategyManager, way: Way
) -> None:
    async with way(engine, manager) as client:
        statement = f"INSERT INTO doubt VALUES ('{way.__name__}')"
        query = (await client.prepare(statement)).queryId
        engine.fault(action="drop", method="executeStatement", count=1, code="UNAVAILABLE", details="gone")
        with pytest.raises(QueryLost, match="may have been executed"):
            await client.execute(query)
        assert engine.executions()[statement] == 1
        await client.clear(query)
        assert manager.open_tickets == ()


@ways
async def test_an_expired_session_is_renewed_once_for_eight_tasks(
    engine: EngineProcess, manager: StrategyManager, way: Way
) -> None:
    async with way(engine, manager) as client:
        await client.run("SELECT 1")
        engine.reset_statistics()
        engine.expire_sessions("blue")
        results = await asyncio.gather(*(client.run("SELECT 1") for _ in range(8)))
        assert results == [1] * 8
        assert engine.statistics().requests["authenticate"] == {"blue": 1}


async def test_a_task_that_is_cancelled_while_it_prepares_leaves_no_ticket(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    async with by_channel(engine, manager) as client:
        engine.fault(action="silent", method="prepareStatement", count=1)
        task = asyncio.create_task(client.prepare("SELECT 1"))
        await until(lambda: engine.statistics().requests.get("prepareStatement") == {"blue": 1})
        assert len(manager.open_tickets) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert manager.open_tickets == ()
        assert await client.run("SELECT 1") == 1


async def test_a_leader_that_is_cancelled_hands_detection_over(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    engine.fault(action="silent", method="authenticate", count=1)
    link = Connection(manager, PROTOCOL)
    async with AsyncSwitchingChannel(grpc.aio.insecure_channel(engine.address), link) as channel:
        stuck = asyncio.create_task(Client(QueryEngineServiceStub(channel), link).login())
        await until(lambda: engine.statistics().requests.get("authenticate") == {"blue": 1})
        async with contextlib.AsyncExitStack() as stack:
            waiting = asyncio.create_task(stack.enter_async_context(by_channel(engine, manager)))
            await asyncio.sleep(0)
            stuck.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stuck
            assert await (await waiting).run("SELECT 1") == 1
    assert manager.open_tickets == ()


async def test_a_query_that_nobody_holds_any_more_ends_its_ticket(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    async with by_channel(engine, manager) as client:
        answer = await client.prepare("SELECT 1")
        assert len(manager.open_tickets) == 1
        del answer
        await asyncio.sleep(0)  # the loop lets go of the task
        gc.collect()
        assert manager.open_tickets == ()
        assert client.link.queries == ()


async def test_a_call_of_the_channel_can_be_asked_what_a_call_of_grpc_can(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    async with by_channel(engine, manager) as client:
        called: list[Any] = []
        call = client.stub.prepareStatement(
            pb.PrepareStatementRequest(sessionId=client.session, queryString="SELECT 1"), timeout=20
        )
        call.add_done_callback(called.append)
        assert not call.done()
        assert 0 < call.time_remaining() <= 20
        await call.wait_for_connection()
        message = await call
        assert (await call.code(), await call.details()) == (grpc.StatusCode.OK, "")
        assert isinstance(await call.initial_metadata(), grpc.aio.Metadata)
        assert isinstance(await call.trailing_metadata(), grpc.aio.Metadata)
        assert call.done()
        assert not call.cancelled()
        assert called == [call]
        engine.fault(action="status", method="explain", code="INTERNAL", details="no plan")
        refused = client.stub.explain(client.about(pb.ExplainRequest, message.queryId))
        with pytest.raises(grpc.aio.AioRpcError):
            await refused
        assert (await refused.code(), await refused.details()) == (grpc.StatusCode.INTERNAL, "no plan")
        cancelled = client.stub.getCataloges(pb.GetCatalogesRequest())
        assert cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert cancelled.cancelled()


async def serve(answer: Callable[[bytes, Any], AsyncIterator[bytes]]) -> tuple[grpc.aio.Server, str]:
    """Start a server of one unary-stream method and three unary ones, in the toy protocol of this test."""
    server = grpc.aio.server()

    async def unary(request: bytes, context: Any) -> bytes:
        return pb.PrepareStatementResponse(sessionId="s-1", queryId="q-1").SerializeToString()

    async def login(request: bytes, context: Any) -> bytes:
        return pb.AuthenticateResponse(sessionId="s-1").SerializeToString()

    handlers = {
        "authenticate": grpc.unary_unary_rpc_method_handler(login),
        "prepareStatement": grpc.unary_unary_rpc_method_handler(unary),
        "executeStatement": grpc.unary_unary_rpc_method_handler(unary),
        "getNextResultBatch": grpc.unary_stream_rpc_method_handler(answer),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("QueryEngineService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


@attrs.define
class Toy:
    """The calls that a stub with a streaming fetch would have."""

    channel: Any
    calls: dict[str, Any] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for name, request, response in (
            ("authenticate", pb.AuthenticateRequest, pb.AuthenticateResponse),
            ("prepareStatement", pb.PrepareStatementRequest, pb.PrepareStatementResponse),
            ("executeStatement", pb.ExecuteStatementRequest, pb.ExecuteStatementResponse),
        ):
            self.calls[name] = self.channel.unary_unary(
                f"/QueryEngineService/{name}", request.SerializeToString, response.FromString
            )
        self.calls["fetch"] = self.channel.unary_stream(
            "/QueryEngineService/getNextResultBatch",
            pb.GetNextResultBatchRequest.SerializeToString,
            pb.GetNextResultBatchResponse.FromString,
        )

    async def begun(self) -> str:
        await self.calls["authenticate"](LOGIN)
        query: str = (
            await self.calls["prepareStatement"](pb.PrepareStatementRequest(queryString="SELECT 1"))
        ).queryId
        await self.calls["executeStatement"](pb.ExecuteStatementRequest(queryId=query))
        return query


@pytest.mark.parametrize(("refused_at", "expected"), [(0, [b"a", b"b"]), (1, None)])
async def test_a_stream_is_begun_again_only_while_no_row_is_out(
    refused_at: int, expected: list[bytes] | None
) -> None:
    attempts: list[str] = []

    async def answer(request: bytes, context: Any) -> AsyncIterator[bytes]:
        strategy = dict(context.invocation_metadata())["strategy"]
        attempts.append(strategy)
        for number, rows in enumerate((b"a", b"b")):
            if strategy == "blue" and number == refused_at:
                await context.abort(grpc.StatusCode.UNKNOWN, "status: 456")
            yield pb.GetNextResultBatchResponse(resultBatch=rows, new_strategy=strategy).SerializeToString()

    server, target = await serve(answer)
    manager = StrategyManager(Scope(target), Settings())
    async with AsyncSwitchingChannel(
        grpc.aio.insecure_channel(target), Connection(manager, PROTOCOL)
    ) as channel:
        toy = Toy(channel)
        query = await toy.begun()
        stream = toy.calls["fetch"](pb.GetNextResultBatchRequest(queryId=query))
        if expected is None:
            with pytest.raises(QueryLost):
                [message async for message in stream]
            assert attempts == ["blue"]
        else:
            assert [message.resultBatch async for message in stream] == expected
            assert attempts == ["blue", "green"]
            assert await stream.code() is grpc.StatusCode.OK
    await server.stop(None)
    assert manager.open_tickets == ()
