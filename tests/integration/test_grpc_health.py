"""The standard health service of gRPC, asked as any client of it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from bluegreen.machines.strategy.events import QueryCompleted
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed, scopes
from bluegreen.types import Scope
from bluegreen_adapters.observe.health.checks import HealthMonitor

pytest.importorskip("grpc_health")

from grpc_health.v1 import health_pb2, health_pb2_grpc

from bluegreen_adapters.observe.health.grpc import AsyncGrpcHealth, GrpcHealth
from support.managing import fail

pytestmark = pytest.mark.integration
SCOPE = Scope("served.example:443", "sales")
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


@pytest.fixture
def manager() -> Iterator[StrategyManager]:
    for scope in scopes():  # of other tests of this process
        forget(scope)
    yield managed(SCOPE)
    forget(SCOPE)


@pytest.fixture
def service() -> GrpcHealth:
    return GrpcHealth()


@pytest.fixture
def stub(service: GrpcHealth) -> Iterator[health_pb2_grpc.HealthStub]:
    server = grpc.server(ThreadPoolExecutor(4))
    service.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    server.stop(None).wait()


def checked(stub: health_pb2_grpc.HealthStub, name: str) -> int:
    return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=60).status)


def test_a_check_looks_at_the_moment_for_the_process_and_for_each_scope(
    stub: health_pb2_grpc.HealthStub, manager: StrategyManager
) -> None:
    assert checked(stub, "") == checked(stub, str(SCOPE)) == SERVING
    fail(manager)
    assert checked(stub, "") == checked(stub, str(SCOPE)) == NOT_SERVING
    forget(SCOPE)
    assert checked(stub, "") == SERVING
    assert checked(stub, str(SCOPE)) == UNKNOWN
    with pytest.raises(grpc.RpcError) as refused:
        checked(stub, "elsewhere")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.asyncio
async def test_a_server_of_asyncio_says_the_same(manager: StrategyManager) -> None:
    server, service = grpc.aio.server(), AsyncGrpcHealth()
    service.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=str(SCOPE))
        assert (await stub.Check(request, timeout=60)).status == SERVING
        stream = stub.Watch(request, timeout=600)
        assert (await stream.read()).status == SERVING
        fail(manager)
        assert (await stub.Check(request, timeout=60)).status == NOT_SERVING
        assert (await stream.read()).status == NOT_SERVING, "the check has found it"
        forget(SCOPE)
        await asyncio.to_thread(HealthMonitor(service.take).look)
        assert (await stream.read()).status == UNKNOWN
        whole = health_pb2.HealthCheckRequest(service="")
        assert (await stub.Check(whole, timeout=60)).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Check(health_pb2.HealthCheckRequest(service="elsewhere"), timeout=60)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    await asyncio.wait_for(server.stop(None), 60)  # although a stream is open


def test_a_watch_of_the_service_is_told_what_the_watch_of_the_process_finds(
    stub: health_pb2_grpc.HealthStub, service: GrpcHealth, manager: StrategyManager
) -> None:
    watch = HealthMonitor(service.take)
    watch.look()
    stream = stub.Watch(health_pb2.HealthCheckRequest(service=str(SCOPE)), timeout=600)
    assert next(stream).status == SERVING
    fail(manager)
    watch.look()
    assert next(stream).status == NOT_SERVING
    manager._next_due_s = 0.0
    manager._armed = dict.fromkeys(manager._armed, float("-inf"))  # the cool-down is over
    manager.end(QueryCompleted(manager.start(lambda strategy, left_s: None)))
    watch.look()
    assert next(stream).status == SERVING
    stream.cancel()
