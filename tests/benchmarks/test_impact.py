"""What bluegreen costs a connection and a query, and how soon a switch that nobody announced is over.

The stock connector is measured in the same run. Times are printed, for a reader who knows the machine. What is asserted
is counted, in requests and function calls, so that it holds on any machine, whatever else runs there.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector import e6data_grpc

from bluegreen.machines.strategy.events import QueryStarted
from bluegreen.runtime.registry import managed
from bluegreen.runtime.telemetry import CacheMissed, Record, TelemetryEvent
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.testing.engine import EngineProcess
from support.counting import calls_of
from support.engine import READ, fresh
from support.forgetting import nothing_known
from support.telling import tell

pytestmark = [pytest.mark.benchmark, pytest.mark.slow, pytest.mark.integration]

RECOVERY_REQUESTS = 2
"""Further requests of the first query after a switch that nobody announced: one is refused, one opens a session."""
CACHED = 0.95
"""The share of queries that have to find a strategy without a detection."""
MORE_WORK = 3.0
"""How many times the function calls of the stock connector a query may take."""


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess() as process:
        yield process


@pytest.fixture
def engine(shared_engine: EngineProcess) -> Iterator[EngineProcess]:
    with nothing_known():
        yield fresh(shared_engine)


def opened(engine: EngineProcess, connect: Callable[..., Any]) -> Any:
    return connect(
        host=engine.host,
        port=engine.port,
        username="user@example.com",
        password="secret",
        catalog="main",
        database="sales",
    )


def read(connection: Any) -> float:
    """Run a query to its end; return how long that took."""
    began_s = time.perf_counter()
    cursor = connection.cursor()
    cursor.execute(READ)
    assert len(cursor.fetchall()) == 4
    cursor.clear()
    cursor.close()
    return time.perf_counter() - began_s


def first_s(engine: EngineProcess, connect: Callable[..., Any]) -> float:
    with nothing_known():
        began_s = time.perf_counter()
        connection = opened(engine, connect)
        read(connection)
        took_s = time.perf_counter() - began_s
        connection.close()
    return took_s


def test_a_connection_with_its_detection_sends_no_request_more(engine: EngineProcess) -> None:
    took_s: list[list[float]] = [[], []]
    requests: list[set[int]] = [set(), set()]
    for _ in range(9):  # in turns, so that a noisy moment is everybody's
        for number, connect in enumerate((e6data_grpc.connect, e6data.connect)):
            engine.reset_statistics()
            took_s[number].append(first_s(engine, connect))
            requests[number].add(engine.statistics().total_requests)
    stock_s, ours_s = map(statistics.median, took_s)
    tell(f"a connection and its first query: {1e3 * (ours_s - stock_s):.1f} ms more than without bluegreen")
    assert max(requests[1]) <= min(requests[0])


def test_a_query_with_a_known_strategy_sends_no_request_that_the_stock_connector_does_not(
    engine: EngineProcess,
) -> None:
    counted: list[dict[str, dict[str, int]]] = []
    for connect in (e6data_grpc.connect, e6data.connect):
        with nothing_known():
            connection = opened(engine, connect)
            read(connection)
            engine.reset_statistics()
            for _ in range(20):
                read(connection)
            counted.append(engine.statistics().requests)
            connection.close()
    stock, ours = counted
    assert ours.keys() == stock.keys()
    assert [method for method in ours if ours[method]["blue"] > stock[method]["blue"]] == []
    assert "authenticate" not in ours


def test_through_switches_nineteen_of_twenty_queries_find_their_strategy_at_once(
    engine: EngineProcess,
) -> None:
    happened: list[TelemetryEvent] = []
    managed(Scope(engine.address)).observe(happened.append)
    connection = opened(engine, e6data.connect)
    for phase in ("steady", "announce", "cutover", "retire"):
        engine.phase(phase, **({"active": "blue"} if phase == "steady" else {"target": "green"}))
        for _ in range(20):
            read(connection)
    engine.phase("abrupt", target="blue")
    for _ in range(20):
        read(connection)
    connection.close()
    started = [one for one in happened if isinstance(one, Record) and isinstance(one.event, QueryStarted)]
    missed = [one for one in happened if isinstance(one, CacheMissed)]
    tell(f"{len(missed)} of {len(started)} queries through two switches waited for a detection")
    assert len(missed) == 2  # the first of all, and the one that found the switch that nobody announced
    assert len(missed) < (1 - CACHED) * len(started)


def test_a_switch_that_nobody_announced_costs_one_refusal_and_one_login(engine: EngineProcess) -> None:
    connection = opened(engine, e6data.connect)
    read(connection)
    engine.reset_statistics()
    read(connection)
    usual = engine.statistics().total_requests
    engine.reset_statistics()
    took_s = []
    for turn in range(10):
        target = "blue" if turn % 2 else "green"
        engine.phase("abrupt", target=target)
        took_s.append(read(connection))
        engine.phase("steady", active=target)
    tell(f"the first query after a switch that nobody announced: {1e3 * max(took_s):.1f} ms at most")
    seen = engine.statistics()
    assert seen.total_refused == 10
    assert seen.total_requests <= 10 * (usual + RECOVERY_REQUESTS)
    connection.close()


def test_a_query_takes_less_than_three_times_the_function_calls_that_it_takes_without(
    engine: EngineProcess,
) -> None:
    connections = [opened(engine, connect) for connect in (e6data_grpc.connect, e6data.connect)]
    took_s: list[list[float]] = [[], []]
    for _ in range(9):  # in turns, so that a noisy moment is everybody's
        for connection, each in zip(connections, took_s, strict=True):
            began_s = time.process_time()
            for _ in range(40):
                read(connection)
            each.append((time.process_time() - began_s) / 40)
    stock, ours = (calls_of(partial(read, connection)) for connection in connections)
    for connection in connections:
        connection.close()
    stock_s, ours_s = map(statistics.median, took_s)
    tell(
        f"processor time of a query: {1e6 * ours_s:.0f} us and {ours} function calls, without bluegreen "
        f"{1e6 * stock_s:.0f} us and {stock}"
    )
    assert ours < MORE_WORK * stock
