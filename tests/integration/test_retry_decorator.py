"""The connector repeats a whole execute when it sees `Access denied` or 456, accepted writes included. Covered, it does
not: an expired session is renewed below it, once, a 456 never gets there, and its repetition is switched off."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

import grpc
from e6data_python_connector import e6data_grpc
from e6data_python_connector.exceptions import OperationalError

from bluegreen.errors import QueryLost
from bluegreen_adapters import e6data
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import WRITE, switched, until
from support.ways import AnyConnection, Way, causes, manager_of, over

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("nothing_is_known")]

EXECUTES = ("executeStatement", "executeStatementV2")
AFTER_EXECUTE = ("getResultMetadata",)
"""What the connector sends within the same `execute`, after the statement has been accepted."""

DENIED: dict[str, Any] = {"action": "access_denied"}
REFUSED: dict[str, Any] = {"action": "status", "code": "UNKNOWN", "details": "status: 456"}

THREADS = 8
BOUND_S = 120.0
"""Ends what hangs; decides nothing."""


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connector as it is, without its pause before it repeats."""
    monkeypatch.setattr(e6data, "install", lambda _: None)
    monkeypatch.setattr(e6data_grpc, "RETRY_SLEEP_SECONDS", 0)


def wrote(connection: AnyConnection, text: str = WRITE) -> None:
    cursor = connection.cursor()
    cursor.execute(text)
    cursor.clear()


# -- an accepted write whose next RPC fails


@pytest.mark.usefixtures("stock")
@over("sync", "pool")
@pytest.mark.parametrize("fault", [DENIED, REFUSED], ids=["denied", "456"])
def test_the_connector_by_itself_runs_an_accepted_write_twice(
    way: Way, fault: dict[str, Any], engine: EngineProcess
) -> None:
    engine.fault(method=AFTER_EXECUTE, statement=WRITE, count=1, **fault)
    with way.open(engine) as connection:
        wrote(connection)
    assert engine.statistics().executed_twice == {WRITE: 2}


@pytest.mark.usefixtures("stock")
@over("sync-v2", "oauth")
@pytest.mark.parametrize("fault", [DENIED, REFUSED], ids=["denied", "456"])
def test_where_the_connector_by_itself_repeats_nothing_the_application_gets_the_status(
    way: Way, fault: dict[str, Any], engine: EngineProcess
) -> None:
    engine.fault(method=AFTER_EXECUTE, statement=WRITE, count=1, **fault)
    with way.open(engine) as connection, pytest.raises((grpc.RpcError, OperationalError)):
        wrote(connection)
    assert engine.executions() == {WRITE: 1}


@over("sync", "sync-v2", "pool", "sqlalchemy")
@pytest.mark.parametrize("method", ["prepareStatementV2", "executeStatementV2", "getResultMetadata"])
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_covered_a_write_whose_session_expires_runs_once_and_the_application_notices_nothing(
    way: Way, method: str, engine: EngineProcess
) -> None:
    fault = engine.fault(method=method, count=1, **DENIED)
    engine.fault(method="getSchemaNames", count=1, **DENIED)  # what asks whether the session is dead
    with way.open(engine) as connection:
        wrote(connection)
    assert engine.executions() == {WRITE: 1}
    assert engine.statistics().faults[fault] == 1
    assert engine.statistics().authentications == {"blue": 2}
    assert manager_of(engine).open_tickets == ()


@over("sync", "sync-v2", "oauth", "pool")
@pytest.mark.parametrize("method", EXECUTES[1:] + AFTER_EXECUTE)
@pytest.mark.parametrize("fault", [DENIED, REFUSED], ids=["denied", "456"])
@pytest.mark.parametrize("announced", [False, True])
def test_covered_write_that_cannot_be_repaired_runs_at_most_once(
    way: Way, method: str, fault: dict[str, Any], announced: bool, engine: EngineProcess
) -> None:
    """However often the fault strikes, on both stacks. A 456 arrives as an error of ours; the text of a refused session
    may be an engine's, so it arrives unchanged, and the connector does not repeat the statement because of it."""
    with way.open(engine) as connection:
        wrote(connection, "INSERT INTO t VALUES (0)")
        channel = connection.raw._channel
        if announced:
            engine.phase("announce", target="green")
        engine.fault(method=method, statement=WRITE, **fault)
        with pytest.raises((OperationalError, grpc.RpcError)) as caught:
            wrote(connection)
        told = [str(cause) for cause in causes(caught.value)]
        ours = [str(cause) for cause in causes(caught.value) if isinstance(cause, OperationalError)]
        assert not [text for text in ours if "status: 456" in text]
        assert any("Access denied" in text for text in told) == (fault is DENIED)
        assert connection.raw._channel is channel
        engine.clear_faults()
        wrote(connection, "INSERT INTO t VALUES (2)")
    executions = engine.executions()
    assert executions.pop(WRITE, 0) == (method in AFTER_EXECUTE)
    assert executions == {"INSERT INTO t VALUES (0)": 1, "INSERT INTO t VALUES (2)": 1}
    assert manager_of(engine).open_tickets == ()


@over("sync", "sync-v2", "oauth", "pool")
def test_covered_a_write_whose_stack_is_gone_when_its_columns_are_asked_for_is_lost(
    way: Way, engine: EngineProcess
) -> None:
    engine.fault(method=AFTER_EXECUTE, statement=WRITE, strategy="blue", **REFUSED)
    engine.phase("announce", target="green")
    with way.open(engine) as connection:
        with pytest.raises(OperationalError) as caught:
            wrote(connection)
        assert [cause for cause in causes(caught.value) if isinstance(cause, QueryLost)]
    assert engine.executions() == {WRITE: 1}


# -- many threads on one connection


class Load:
    """Threads that read and write on one connection, each with cursors and statements of its own."""

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection
        self._stop = threading.Event()
        self.turns = [0] * THREADS

    def work(self, number: int) -> None:
        for turn in itertools.count():
            if self._stop.is_set():
                return
            cursor = self._connection.cursor()
            if turn % 3 == 0:
                cursor.execute(f"INSERT INTO t VALUES ({number}, {turn})")
            else:
                cursor.execute(f"SELECT {number}, {turn} /*+ rows(4) batch(2) */")
                rows = cursor.fetchall()
                assert [row[0] for row in rows] == [0, 1, 2, 3]
                assert len({row[2] for row in rows}) == 1
            cursor.clear()
            cursor.close()
            self.turns[number] += 1

    def each_goes_on(self, turns: int = 3) -> None:
        """Wait until each thread has had so many answers more, or one has failed."""
        before = list(self.turns)
        until(
            lambda: (
                self._failed()
                or all(now >= then + turns for now, then in zip(self.turns, before, strict=True))
            ),
            BOUND_S,
        )

    def _failed(self) -> bool:
        return any(done.done() for done in self._running)

    @contextmanager
    def running(self) -> Iterator[None]:
        with ThreadPoolExecutor(THREADS) as pool:
            self._running = [pool.submit(self.work, number) for number in range(THREADS)]
            try:
                self.each_goes_on()
                yield
            finally:
                self._stop.set()
        for done in self._running:
            done.result()


def sound(engine: EngineProcess, load: Load) -> None:
    """No write ran twice or was left out, no read was repeated, and nothing went to the wrong stack."""
    statistics = engine.statistics()
    assert (statistics.executed_twice, statistics.misrouted) == ({}, 0)
    assert statistics.reads_executed + statistics.writes_executed == sum(load.turns)
    assert manager_of(engine).open_tickets == ()


@over("sync", "sync-v2", "aio", "channel", "channel-aio", "interceptor", "interceptor-aio")
def test_an_expired_session_is_renewed_once_however_many_threads_find_it_expired(
    way: Way, engine: EngineProcess
) -> None:
    with way.open(engine) as connection:
        load = Load(connection)
        with load.running():
            for expiry in range(1, 6):
                engine.expire_sessions("blue")
                load.each_goes_on()
                assert engine.statistics().authentications == {"blue": 1 + expiry}
        sound(engine, load)


def expire(engine: EngineProcess) -> None:
    engine.expire_sessions("blue")
    engine.expire_sessions("green")


@pytest.mark.parametrize("kind", ["graceful", "announced_abrupt", "silent_drain"])
@over("sync", "sync-v2", "aio")
def test_a_switch_costs_one_authentication_per_connection_and_stack(
    way: Way, kind: str, engine: EngineProcess
) -> None:
    with way.open(engine) as connection:
        load = Load(connection)
        with load.running():
            switched(engine, manager_of(engine), kind, grace_s=0.2, drain_s=10.0)
            load.each_goes_on()
        assert engine.statistics().authentications == {"blue": 1, "green": 1}
        sound(engine, load)


@over("sync", "sync-v2", "aio")
def test_sessions_that_expire_in_the_middle_of_a_switch_are_renewed_once_on_each_stack(
    way: Way, engine: EngineProcess
) -> None:
    steps: tuple[Callable[[], Any], ...] = (
        lambda: engine.phase("announce", target="green"),
        lambda: expire(engine),
        lambda: engine.phase("cutover", target="green"),
        lambda: expire(engine),
    )
    with way.open(engine) as connection:
        load = Load(connection)
        with load.running():
            for step in steps:
                step()
                load.each_goes_on()
        seen = engine.statistics().authentications
        assert 1 <= seen["blue"] <= 3
        assert seen["green"] == 3
        sound(engine, load)
