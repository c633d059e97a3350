"""The connector from PyPI, covered, against the test engine."""

from __future__ import annotations

import gc
import importlib.metadata
import inspect
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector import e6data_grpc
from e6data_python_connector.exceptions import OperationalError
from e6data_python_connector.server import e6x_engine_pb2 as pb

from bluegreen.config.settings import Settings
from bluegreen.errors import BluegreenError, QueryLost, ScopeConflict, StrategyUnavailable
from bluegreen.runtime import registry
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managed
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.e6data.errors import Lost, Unavailable
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import READ, WRITE, quick, switched, until

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("nothing_is_known")]

Connect = Callable[..., Any]
STOCK = (e6data_grpc.Connection._create_client, e6data_grpc._register_query_strategy)


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess(tokens=("token",)) as process:
        yield process


def given(engine: EngineProcess, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "host": engine.host,
        "port": engine.port,
        "username": "user@example.com",
        "password": "secret",
        "catalog": "main",
        "database": "sales",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


@pytest.fixture(params=["connect", "install"])
def connect(request: pytest.FixtureRequest, engine: EngineProcess) -> Iterator[Connect]:
    """Opens covered connections, in both ways, and closes them in the end."""
    opened: list[Any] = []
    if request.param == "install":
        e6data.install(quick())

    def make(**changes: Any) -> Any:
        fields = given(engine, **changes)
        if request.param == "install":
            connection = e6data_grpc.connect(**fields)
        else:
            connection = e6data.connect(**fields, settings=quick())
        opened.append(connection)
        return connection

    yield make
    while opened:
        opened.pop().close()


@pytest.fixture
def manager(engine: EngineProcess) -> Callable[[], StrategyManager]:
    return lambda: managed(Scope(engine.address))


def rows(connection: Any, text: str = READ) -> list[str]:
    """Run a query to its end; return the stacks that its rows came from."""
    cursor = connection.cursor()
    cursor.execute(text)
    seen = [row[2] for row in cursor.fetchall()] if text == READ else []
    cursor.clear()
    cursor.close()
    return seen


# -- the way in


def test_a_covered_connection_is_the_connectors_own(connect: Connect) -> None:
    connection = connect()
    assert isinstance(connection, e6data_grpc.Connection)
    assert inspect.signature(type(connection)) == inspect.signature(e6data_grpc.Connection)
    assert rows(connection) == ["blue"] * 4
    assert connection.check_connection()


def test_connect_takes_what_the_connector_takes_in_the_same_order(engine: EngineProcess) -> None:
    with e6data.connect(engine.host, engine.port, "user@example.com", "secret", "main") as connection:
        assert rows(connection) == ["blue"] * 4
    with pytest.raises(ValueError, match="No credentials supplied"):
        e6data.connect(engine.host, engine.port)
    with pytest.raises(TypeError, match="no_such_option"):
        e6data.connect(engine.host, engine.port, no_such_option=1)


def test_installing_twice_and_uninstalling_leaves_the_connector_as_it_was(engine: EngineProcess) -> None:
    e6data.install()
    e6data.install()
    e6data.uninstall()
    e6data.uninstall()
    assert (e6data_grpc.Connection._create_client, e6data_grpc._register_query_strategy) == STOCK
    connection = e6data_grpc.connect(**given(engine))
    assert type(connection._channel).__module__.startswith("grpc")
    connection.close()


def test_connections_that_are_open_stay_covered_when_it_is_uninstalled(engine: EngineProcess) -> None:
    e6data.install()
    connection = e6data_grpc.connect(**given(engine))
    e6data.uninstall()
    rows(connection)
    engine.phase("abrupt", target="green")
    assert rows(connection) == ["green"] * 4
    connection.close()


def test_connect_covers_once_what_install_covers_too(engine: EngineProcess) -> None:
    e6data.install()
    connection = e6data.connect(**given(engine))
    assert isinstance(connection._channel.port.channel, grpc.Channel)
    assert not isinstance(connection._channel.port.channel, type(connection._channel))
    connection.close()


@pytest.mark.parametrize("way", [e6data.install, lambda: e6data.connect(host="h", port=1)])
@pytest.mark.parametrize("version", ["2.9.1", "3.1.0", "30.0.1", "4.0.0"])
def test_a_version_that_was_not_checked_is_refused(
    monkeypatch: pytest.MonkeyPatch, way: Callable[[], Any], version: str
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with pytest.raises(e6data.UnsupportedConnector, match=rf"{version} was not checked; supported: 3\.0\.\*"):
        way()
    assert (e6data_grpc.Connection._create_client, e6data_grpc._register_query_strategy) == STOCK


def test_without_the_connector_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(e6data.UnsupportedConnector, match=r'pip install "bluegreen\[e6data\]"') as caught:
        e6data.install()
    assert isinstance(caught.value, BluegreenError)


def test_another_scope_setting_is_refused(engine: EngineProcess) -> None:
    connection = e6data.connect(**given(engine), settings=Settings(replay="never"))
    with pytest.raises(ScopeConflict, match="replay"):
        e6data.connect(**given(engine), settings=Settings(replay="reads"))
    connection.close()


# -- switches


@pytest.mark.parametrize("catalog", ["main", None])
@pytest.mark.parametrize(
    "kind", ["graceful", "announced_abrupt", "silent_drain", "rollback", "withdrawn", "double", "not_ready"]
)
def test_four_threads_with_reads_and_writes_notice_no_switch(
    engine: EngineProcess, kind: str, catalog: str | None
) -> None:
    e6data.install()
    done = threading.Event()
    finished: list[int] = []

    def work(number: int) -> None:
        connection = e6data_grpc.connect(**given(engine, catalog=catalog))
        turn = 0
        while not done.is_set():
            turn += 1
            text = f"INSERT INTO t VALUES ({number}, {turn})" if turn % 4 == 0 else READ
            assert len(rows(connection, text)) == (4 if text == READ else 0)
            finished.append(turn)
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        threads = [pool.submit(work, number) for number in range(4)]
        until(lambda: len(finished) > 8)
        manager = managed(Scope(engine.address))
        switched(engine, manager, kind, grace_s=0.15, drain_s=5)
        after = len(finished)
        until(lambda: len(finished) > after + 8 or any(thread.done() for thread in threads))
        done.set()
        for thread in threads:
            thread.result()
    seen = engine.statistics()
    assert (seen.misrouted, seen.executed_twice) == (0, {})
    assert (manager.open_tickets, manager.active) == ((), engine.active)


def test_the_connector_never_sees_a_switch(connect: Connect, engine: EngineProcess) -> None:
    connection = connect()
    session = connection.get_session_id
    for phase in ("announce", "cutover", "retire"):
        engine.phase(phase, target="green")
        rows(connection)
        assert e6data_grpc._local_strategy_cache["pending_strategy"] is None
        assert connection.get_session_id == session
    assert e6data_grpc._local_strategy_cache["active_strategy"] == "blue"
    assert engine.statistics().misrouted == 0


def test_every_call_of_a_connection_follows_the_switch(connect: Connect, engine: EngineProcess) -> None:
    connection = connect()
    cursor = connection.cursor()
    for phase in ("announce", "cutover", "retire"):
        engine.phase(phase, target="green")
        assert cursor.get_schema_names() == ["sales", "ops"]
        assert cursor.get_tables() == ["customers", "orders"]
        assert len(cursor.get_columns("orders")) == 3
        assert len(connection.get_catalogs()) == 2
        assert connection.dry_run("SELECT 1") == "valid"
        query = cursor.execute(READ)
        assert cursor.status(query).rowCount == cursor.rowcount == 4
        assert cursor.explain() == "scan 4 rows"
        assert cursor.explain_analyse()["planner"] == "scanned 4 rows"
        assert len(cursor.fetchmany(3)) == 3
        cursor.cancel(query)
    assert engine.statistics().misrouted == 0


def test_a_reused_cursor_takes_no_engine_address_to_the_other_stack(
    connect: Connect, engine: EngineProcess
) -> None:
    connection = connect()
    cursor = connection.cursor()
    for phase in ("steady", "announce", "cutover", "retire"):
        engine.phase(phase, active="blue")
        cursor.execute(READ)
        assert len(cursor.fetchall()) == 4
    assert engine.statistics().misrouted == 0


def test_a_read_survives_a_stack_that_vanishes_before_its_first_row(
    connect: Connect, engine: EngineProcess
) -> None:
    cursor = connect().cursor()
    query = cursor.execute(READ)
    engine.phase("abrupt", target="green")
    assert [row[2] for row in cursor.fetchall()] == ["green"] * 4
    assert cursor.query_id == query


def test_a_456_on_the_columns_of_a_result_runs_the_read_again(
    connect: Connect, engine: EngineProcess
) -> None:
    engine.fault(
        action="status", method="getResultMetadata", code="UNKNOWN", details="status: 456", strategy="blue"
    )
    engine.phase("announce", target="green")
    connection = connect()
    assert rows(connection) == ["green"] * 4


def test_a_write_whose_stack_vanishes_is_lost_and_runs_once(connect: Connect, engine: EngineProcess) -> None:
    engine.fault(
        action="status", method="getResultMetadata", code="UNKNOWN", details="status: 456", statement="INSERT"
    )
    engine.phase("announce", target="green")
    cursor = connect().cursor()
    with pytest.raises(OperationalError, match="can write") as caught:
        cursor.execute(WRITE)
    assert isinstance(caught.value, QueryLost)
    assert engine.executions() == {WRITE: 1}


def test_a_write_without_an_answer_runs_once(connect: Connect, engine: EngineProcess) -> None:
    engine.fault(action="drop", method="executeStatementV2")
    with pytest.raises(OperationalError, match="may have been executed"):
        connect().cursor().execute(WRITE)
    assert engine.executions() == {WRITE: 1}


def test_an_expired_session_runs_no_write_twice(connect: Connect, engine: EngineProcess) -> None:
    connection = connect()
    rows(connection)
    for method in ("prepareStatementV2", "executeStatementV2", "getResultMetadata"):
        engine.fault(action="access_denied", method=method, count=1)
        engine.fault(action="access_denied", method="getSchemaNames", count=1)  # what asks whether it is dead
        rows(connection, f"INSERT INTO t /* {method} */")
        engine.clear_faults()
    seen = engine.statistics()
    assert (seen.writes_executed, seen.executed_twice) == (3, {})
    assert seen.authentications == {"blue": 4}


@pytest.mark.parametrize("method", ["prepareStatementV2", "executeStatementV2", "getResultMetadata"])
@pytest.mark.parametrize(
    "fault",
    [
        {"action": "access_denied"},
        {"action": "status", "code": "UNKNOWN", "details": "status: 456"},
    ],
    ids=["denied", "456"],
)
def test_the_connectors_own_retry_never_runs(
    connect: Connect, engine: EngineProcess, method: str, fault: dict[str, Any]
) -> None:
    connection = connect()
    rows(connection)
    channel = connection._channel
    engine.phase("announce", target="green")
    engine.fault(method=method, **fault)
    with pytest.raises((OperationalError, grpc.RpcError)) as caught:
        connection.cursor().execute(WRITE)
    assert ("Access denied" in str(caught.value)) == (fault["action"] == "access_denied")
    assert "status: 456" not in str(caught.value)
    assert connection._channel is channel
    assert engine.executions().get(WRITE, 0) <= 1


# -- when tickets end


def abandoned(connection: Any, cursors: list[Any]) -> None:
    cursors.clear()


def reused(connection: Any, cursors: list[Any]) -> None:
    cursors[0].execute(READ)
    cursors[0].clear()


def closed(connection: Any, cursors: list[Any]) -> None:
    cursors[0].close()


def connection_closed(connection: Any, cursors: list[Any]) -> None:
    connection.close()


@pytest.mark.parametrize("end", [abandoned, reused, closed, connection_closed])
def test_a_forgotten_cursor_does_not_keep_the_switch_pending(
    connect: Connect,
    engine: EngineProcess,
    manager: Callable[[], StrategyManager],
    end: Callable[[Any, list[Any]], None],
) -> None:
    connection, other = connect(), connect()
    cursors = [connection.cursor()]
    query = cursors[0].execute(READ)
    engine.phase("announce", target="green")
    cursors[0].status(query)
    del query
    rows(other)
    assert manager().state == "PendingTransition"
    end(connection, cursors)
    gc.collect()
    rows(other)
    assert (manager().state, manager().active, manager().open_tickets) == ("Stable", "green", ())


@pytest.mark.parametrize("phase", ["not_ready", "abrupt"])
def test_a_cursor_that_was_repaired_is_noticed_when_it_is_let_go_and_not_at_the_next_collection(
    connect: Connect, engine: EngineProcess, manager: Callable[[], StrategyManager], phase: str
) -> None:
    connection = connect()
    rows(connection)
    gc.collect()
    gc.disable()
    try:
        engine.phase(phase, target="green")
        for _ in range(3):
            cursor = connection.cursor()
            cursor.execute(READ)
            cursor.fetchone()
            del cursor
            assert manager().open_tickets == ()
    finally:
        gc.enable()
    assert engine.statistics().total_refused > 0


def test_a_connection_that_is_let_go_ends_its_tickets(
    engine: EngineProcess, manager: Callable[[], StrategyManager]
) -> None:
    connection = e6data.connect(**given(engine))
    cursor = connection.cursor()
    cursor.execute(READ)
    assert len(manager().open_tickets) == 1
    del cursor, connection
    gc.collect()
    assert manager().open_tickets == ()


def test_ids_of_connections_that_are_not_covered_are_still_kept_by_the_connector(
    engine: EngineProcess,
) -> None:
    stock = e6data_grpc.connect(**given(engine))
    covered = e6data.connect(**given(engine, cluster_name="another"))
    query = stock.cursor().execute(READ)
    covered.cursor().execute(READ)
    assert e6data_grpc._local_strategy_cache["query_strategy_map"] == {query: "blue"}
    stock.close()
    covered.close()


def test_a_query_whose_id_alone_is_kept_can_still_be_cleared(connect: Connect, engine: EngineProcess) -> None:
    connection = connect()
    cursor = connection.cursor()
    first = cursor.execute(READ)
    engine.phase("announce", target="green")
    cursor.execute(READ)
    connection.clear(first)
    cursor.clear()
    assert engine.statistics().open_queries == {"blue": 0, "green": 0}
    assert engine.statistics().misrouted == 0


# -- errors


def test_wrong_credentials_get_the_connectors_own_error_and_harm_nobody(
    connect: Connect, manager: Callable[[], StrategyManager]
) -> None:
    connection = connect()
    rows(connection)
    before = manager().snapshot
    stranger = connect(password="wrong")
    with pytest.raises(ValueError, match=r"^Invalid credentials\.$"):
        stranger.cursor().execute(READ)
    assert rows(connection) == ["blue"] * 4
    assert manager().snapshot.context == before.context


@pytest.mark.parametrize("unavailable", [False, True])
def test_after_both_stacks_refused_the_same_connection_works_again(
    connect: Connect, engine: EngineProcess, unavailable: bool
) -> None:
    known, new = connect(), connect()
    rows(known)
    engine.phase("both_down", unavailable=unavailable)
    for connection in (known, new):
        before = engine.statistics().total_requests
        with pytest.raises(OperationalError) as caught:
            connection.cursor().execute(READ)
        assert isinstance(caught.value, StrategyUnavailable)
        assert isinstance(caught.value, grpc.RpcError)
        assert engine.statistics().total_requests - before < 10
    engine.phase("steady", active="blue")

    def works() -> bool:
        try:
            return rows(known) == rows(new) == ["blue"] * 4
        except StrategyUnavailable:
            return False

    until(works)


@pytest.mark.parametrize("unavailable", [False, True])
def test_without_sessions_two_stacks_that_refuse_are_not_asked_in_turns_for_long(
    connect: Connect, engine: EngineProcess, unavailable: bool
) -> None:
    connection = connect(username=None, password=None, access_token="token")
    rows(connection)
    engine.phase("both_down", unavailable=unavailable)
    before = engine.statistics().total_requests
    with pytest.raises(OperationalError) as caught:
        connection.cursor().execute(READ)
    assert isinstance(caught.value, StrategyUnavailable)
    assert 2 <= engine.statistics().total_requests - before < 10
    engine.phase("steady", active="blue")
    assert rows(connection) == ["blue"] * 4


def test_a_suspended_cluster_is_resumed_by_the_connector(connect: Connect, engine: EngineProcess) -> None:
    engine.phase("suspended", active="blue")
    with pytest.raises(grpc.RpcError, match="status: 503"):
        connect(auto_resume=False).cursor().execute(READ)
    assert rows(connect()) == ["blue"] * 4
    assert engine.statistics().requests["cluster.resume"] == {"blue": 1}


@pytest.mark.parametrize(
    "error",
    [
        Lost("q-1", "blue", 3, "its stack vanished"),
        Unavailable(Scope("db.example:443", "sales"), "both strategies failed", {"blue": "456"}),
    ],
)
def test_errors_can_be_pickled_and_caught_as_the_connectors_own(error: BluegreenError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), repr(again), again.__dict__) == (str(error), repr(error), error.__dict__)
    assert isinstance(again, (OperationalError, BluegreenError))
    assert isinstance(again, OperationalError)


def test_an_error_can_be_unpickled_where_nothing_was_connected() -> None:
    data = pickle.dumps(Lost("q-1", "blue", 3, "its stack vanished"))
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=data,
        capture_output=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert b"q-1 on blue" in done.stdout


def test_an_unavailable_error_answers_what_a_grpc_error_answers() -> None:
    error = Unavailable("db.example:443", "both strategies failed", {"blue": "456", "green": "UNAVAILABLE"})
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == error.debug_error_string() == str(error)
    assert str(error) == "db.example:443: both strategies failed (blue: 456; green: UNAVAILABLE)"
    assert (error.initial_metadata(), error.trailing_metadata()) == ((), ())
    with pytest.raises(Unavailable):
        error.result()


# -- several clusters, secrets


def test_two_clusters_in_one_process_share_nothing(engine: EngineProcess) -> None:
    e6data.install()
    with EngineProcess(active="green") as second:
        one, two = e6data_grpc.connect(**given(engine)), e6data_grpc.connect(**given(second))
        assert (rows(one), rows(two)) == (["blue"] * 4, ["green"] * 4)
        second.phase("announce", target="blue")
        kept = two.cursor()
        kept.execute(READ)
        assert (rows(one), rows(two)) == (["blue"] * 4, ["blue"] * 4)
        states = [managed(Scope(process.address)).state for process in (engine, second)]
        assert states == ["Stable", "PendingTransition"]
        assert (engine.statistics().misrouted, second.statistics().misrouted) == (0, 0)
        one.close()
        two.close()


def test_cluster_names_behind_one_address_are_scopes_of_their_own(engine: EngineProcess) -> None:
    names = [None, "Sales", "ops"]
    connections = [e6data.connect(**given(engine, cluster_name=name)) for name in names]
    for connection in connections:
        rows(connection)
    assert set(registry.scopes()) == {Scope(engine.address, name) for name in ("", "sales", "ops")}
    for connection in connections:
        connection.close()


def test_no_secret_is_in_a_log_a_representation_or_an_error(
    connect: Connect, engine: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "bluegreen")
    connection = connect()
    cursor = connection.cursor()
    cursor.execute(READ)
    link = connection._channel.link
    shown = [repr(connection._channel), repr(link), repr(link.sessions), repr(list(link.bound.values()))]
    engine.phase("both_down")
    with pytest.raises(OperationalError) as caught:
        cursor.fetchall()
    errors: list[BaseException | None] = [caught.value]
    while errors[-1] is not None:
        shown += [repr(errors[-1]), str(errors[-1])]
        errors.append(errors[-1].__cause__ or errors[-1].__context__)
    engine.phase("steady", active="blue")
    with pytest.raises(ValueError, match="Invalid credentials"):
        connect(password="s3cret-and-wrong").cursor().execute(READ)
    assert not [text for text in (*shown, caplog.text) if "secret" in text or "s3cret" in text]


def test_a_channel_that_outlives_its_connection_says_so(engine: EngineProcess) -> None:
    connection = e6data.connect(**given(engine))
    channel, client = connection._channel, connection._client
    del connection
    gc.collect()
    with pytest.raises(ReferenceError, match="connection has been let go"):
        client.getSchemaNames(pb.GetSchemaNamesRequest())
    channel.close()


def test_reopening_a_connection_keeps_it_working(connect: Connect, engine: EngineProcess) -> None:
    connection = connect()
    rows(connection)
    connection.reopen()
    assert rows(connection) == ["blue"] * 4
    connection.get_re_authenticate_session_id()
    assert rows(connection) == ["blue"] * 4


def test_a_connection_with_a_token_follows_a_switch(connect: Connect, engine: EngineProcess) -> None:
    connection = connect(username=None, password=None, access_token="token")
    for phase in ("steady", "announce", "cutover", "retire"):
        engine.phase(phase, active="blue")
        assert len(rows(connection)) == 4
    assert engine.statistics().misrouted == 0
