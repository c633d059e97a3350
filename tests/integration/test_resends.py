"""How often one request of the application is sent, counted at the server while the transport fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import grpc
import grpc.aio
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.server import e6x_engine_pb2 as pb
from e6data_python_connector.server.e6x_engine_pb2_grpc import QueryEngineServiceStub

from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.machines.retry import BACKOFF
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Sleep
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.e6data import PROTOCOL
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import LOGIN, READ, WRITE, managing, quick

pytestmark = pytest.mark.integration

METADATA: Final = (("cluster-name", "c"),)
FAILED: Final = (grpc.RpcError, QueryLost, StrategyUnavailable)
SERVES: Final = {"new": "serve", "prepared": "serve", "running": "serve", "announces": None}

Ask = Callable[[str, Any], Any]
"""(method, request) -> the answer."""


@contextmanager
def by_threads(engine: EngineProcess, manager: StrategyManager) -> Iterator[Ask]:
    """A connection on a switching channel."""
    link = Connection(manager, PROTOCOL)
    with SwitchingChannel(grpc.insecure_channel(engine.address), link) as channel:
        stub: Any = QueryEngineServiceStub(channel)
        yield lambda name, request: getattr(stub, name)(request, metadata=METADATA)


@contextmanager
def by_asyncio(engine: EngineProcess, manager: StrategyManager) -> Iterator[Ask]:
    """The same on an event loop, which runs while something is asked."""
    link, loop = Connection(manager, PROTOCOL), asyncio.new_event_loop()

    async def opened() -> Any:
        return AsyncSwitchingChannel(grpc.aio.insecure_channel(engine.address), link)

    channel = loop.run_until_complete(opened())
    stub: Any = QueryEngineServiceStub(channel)

    async def asked(name: str, request: Any) -> Any:
        return await getattr(stub, name)(request, metadata=METADATA)

    try:
        yield lambda name, request: loop.run_until_complete(asked(name, request))
    finally:
        loop.run_until_complete(channel.close())
        loop.close()


Way = Callable[[EngineProcess, StrategyManager], AbstractContextManager[Ask]]
ways = pytest.mark.parametrize("way", [by_threads, by_asyncio])
limits = pytest.mark.parametrize("limit", [1, 3, 10])


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were asked for before resends, which take no time here."""
    asked: list[float] = []

    def pause(delay_s: float) -> Sleep:
        asked.append(delay_s)
        return Sleep(0)

    monkeypatch.setattr("bluegreen_adapters.connection.transport.pause", pause)
    return asked


@pytest.fixture
def both_serve(engine: EngineProcess) -> EngineProcess:
    """An engine on which both stacks take new queries, and announce nothing."""
    engine.phase("announce", target="green", blue=SERVES, green=SERVES)
    return engine


def login(ask: Ask, engine: EngineProcess) -> None:
    ask("authenticate", LOGIN)
    engine.reset_statistics()


def started(ask: Ask, text: str) -> Any:
    query = ask("prepareStatement", pb.PrepareStatementRequest(queryString=text))
    ask("executeStatement", about(pb.ExecuteStatementRequest, query))
    return query


def about(kind: Any, query: Any) -> Any:
    return kind(queryId=query.queryId, engineIP=query.engineIP)


def backoffs(count: int) -> list[float]:
    return [BACKOFF.delay_s(attempt) for attempt in range(1, count + 1)]


def sent(engine: EngineProcess, method: str) -> dict[str, int]:
    """Return how often each stack got a method."""
    return dict(engine.statistics().requests.get(method, {}))


@ways
@limits
@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("prepareStatement", pb.PrepareStatementRequest(queryString=WRITE)),
        ("getSchemaNames", pb.GetSchemaNamesRequest()),
    ],
)
def test_a_request_that_no_stack_answers_is_sent_again_as_often_as_the_setting_says(
    both_serve: EngineProcess, pauses: list[float], way: Way, limit: int, method: str, request_: Any
) -> None:
    """The last resend is the other stack's, and each resend comes after its pause."""
    manager = managing(both_serve, quick(retry_attempts=limit))
    with way(both_serve, manager) as ask:
        login(ask, both_serve)
        both_serve.fault(action="status", method=method, code="UNAVAILABLE")
        with pytest.raises(FAILED):
            ask(method, request_)
        assert sent(both_serve, method) == {"blue": limit, "green": 1}
        assert pauses == backoffs(limit)
        assert manager.open_tickets == ()


@ways
@limits
def test_a_request_whose_stack_is_dead_is_answered_by_the_other_one(
    both_serve: EngineProcess, pauses: list[float], way: Way, limit: int
) -> None:
    manager = managing(both_serve, quick(retry_attempts=limit))
    with way(both_serve, manager) as ask:
        login(ask, both_serve)
        both_serve.fault(action="status", method="prepareStatement", code="UNAVAILABLE", strategy="blue")
        query = ask("prepareStatement", pb.PrepareStatementRequest(queryString=WRITE))
        assert sent(both_serve, "prepareStatement") == {"blue": limit, "green": 1}
        assert pauses == backoffs(limit)
        ask("clear", about(pb.ClearRequest, query))


@ways
@limits
def test_a_request_that_cannot_go_elsewhere_gets_all_resends_on_its_stack(
    both_serve: EngineProcess, pauses: list[float], way: Way, limit: int
) -> None:
    with way(both_serve, managing(both_serve, quick(retry_attempts=limit))) as ask:
        login(ask, both_serve)
        query = started(ask, WRITE)
        both_serve.fault(action="status", method="status", code="UNAVAILABLE", count=limit)
        ask("status", about(pb.StatusRequest, query))
        assert sent(both_serve, "status") == {"blue": limit + 1}
        both_serve.fault(action="status", method="status", code="UNAVAILABLE")
        with pytest.raises(FAILED):
            ask("status", about(pb.StatusRequest, query))
        assert sent(both_serve, "status") == {"blue": 2 * (limit + 1)}
        assert pauses == backoffs(limit) * 2


@ways
@limits
def test_a_read_that_is_run_again_elsewhere_costs_one_resend(
    both_serve: EngineProcess, pauses: list[float], way: Way, limit: int
) -> None:
    with way(both_serve, managing(both_serve, quick(retry_attempts=limit))) as ask:
        login(ask, both_serve)
        query = started(ask, READ)
        both_serve.fault(action="status", method="status", code="UNAVAILABLE")
        with pytest.raises(FAILED):
            ask("status", about(pb.StatusRequest, query))
        assert sent(both_serve, "status") == {"blue": limit, "green": 1}
        assert sent(both_serve, "executeStatement") == {"blue": 1, "green": 1}
        assert pauses == backoffs(limit)


@ways
def test_what_a_replay_sends_counts_for_the_request_that_needs_it(
    both_serve: EngineProcess, pauses: list[float], way: Way
) -> None:
    """A fetch must not be repeated, so the query begins anew; no stack begins it."""
    with way(both_serve, managing(both_serve, quick(retry_attempts=3))) as ask:
        login(ask, both_serve)
        query = started(ask, READ)
        for method in ("getNextResultBatch", "prepareStatement"):
            both_serve.fault(action="status", method=method, code="UNAVAILABLE")
        both_serve.reset_statistics()
        with pytest.raises(FAILED):
            ask("getNextResultBatch", about(pb.GetNextResultBatchRequest, query))
        assert sent(both_serve, "getNextResultBatch") == {"blue": 1}
        assert sum(sent(both_serve, "prepareStatement").values()) == 3
        assert pauses == backoffs(3)


@ways
def test_a_refusal_of_the_strategy_costs_no_resend(
    both_serve: EngineProcess, pauses: list[float], way: Way
) -> None:
    with way(both_serve, managing(both_serve, quick(retry_attempts=1))) as ask:
        login(ask, both_serve)
        wrong: dict[str, Any] = {"action": "status", "code": "UNKNOWN", "details": "status: 456"}
        both_serve.fault(**wrong, method="prepareStatement", strategy="blue", count=1)
        both_serve.fault(
            action="status", code="UNAVAILABLE", method="prepareStatement", strategy="green", count=1
        )
        query = ask("prepareStatement", pb.PrepareStatementRequest(queryString=WRITE))
        assert sent(both_serve, "prepareStatement") == {"blue": 2, "green": 1}
        assert pauses == backoffs(1)
        ask("clear", about(pb.ClearRequest, query))
