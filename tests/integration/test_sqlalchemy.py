"""SQLAlchemy on the connector's dialect, covered, through switches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.exceptions import IncompleteResultError, OperationalError
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.runtime.registry import managed
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import quick, switched, until
from support.forgetting import forget_everything
from support.ways import NO_V2

pytestmark = [
    pytest.mark.integration,
    # The connector's dialect still says `dbapi`.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]

LOST = (QueryLost, IncompleteResultError)
"""With V2 result batches the connector reports what fails while it fetches by an error of its own."""

READ = "SELECT 1 /*+ rows(3) batch(1) */"


@pytest.fixture(autouse=True)
def _covered() -> Iterator[None]:
    forget_everything()
    e6data.install(quick())
    yield
    forget_everything()


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess() as process:
        yield process


V2 = pytest.param(
    "&enable_result_batch_v2=true", id="v2", marks=pytest.mark.skipif(NO_V2 is not None, reason=str(NO_V2))
)


@pytest.fixture(params=[pytest.param("", id="plain"), V2])
def database(request: pytest.FixtureRequest, engine: EngineProcess) -> Iterator[Engine]:
    url = f"e6data://user%40example.com:secret@{engine.address}/?catalog=main&schema=sales{request.param}"
    made = create_engine(url, pool_size=4, pool_pre_ping=True)
    yield made
    made.dispose()


def stacks(database: Engine) -> list[str]:
    with database.connect() as connection:
        return [row[2] for row in connection.execute(text(READ)).all()]


def sound(engine: EngineProcess) -> None:
    """Nothing went to the wrong stack, and nothing is open."""
    statistics = engine.statistics()
    assert (statistics.misrouted, statistics.executed_twice) == (0, {})
    assert managed(Scope(engine.address)).open_tickets == ()


@pytest.mark.parametrize(
    "kind",
    [
        "graceful",
        "announced_abrupt",
        "silent_drain",
        "abrupt",
        "rollback",
        "withdrawn",
        "double",
        "not_ready",
    ],
)
def test_selects_of_several_threads_go_on_through_a_switch(
    kind: str, database: Engine, engine: EngineProcess
) -> None:
    stop, lost = threading.Event(), list[str]()
    before = stacks(database)[0]

    def asking() -> list[str]:
        seen: list[str] = []
        while not stop.is_set():
            try:
                answer = stacks(database)
            except LOST:
                lost.append(kind)
                continue
            assert len(answer) == 3
            assert len(set(answer)) == 1
            seen.append(answer[0])
            stop.wait(0.002)
        return seen

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(asking) for _ in range(3)]
        until(lambda: engine.statistics().reads_executed >= 10)
        try:
            active = switched(engine, managed(Scope(engine.address)), kind, grace_s=0.2)
            executed = engine.statistics().reads_executed
            until(lambda: engine.statistics().reads_executed >= executed + 10)
        finally:
            stop.set()
        seen = [answer for done in asked for answer in done.result(timeout=60)]
    # Only what had handed out rows when its stack vanished unannounced cannot be brought to its end.
    allowed = sum(gone.loss_allowed for gone in engine.statistics().vanished) if kind == "abrupt" else 0
    assert len(lost) <= allowed
    assert before == "blue"
    assert {"blue", active} <= set(seen)
    assert stacks(database) == [active] * 3
    sound(engine)


def test_the_pool_keeps_its_connections_through_a_switch(database: Engine, engine: EngineProcess) -> None:
    stacks(database)
    with database.connect() as connection:
        kept = connection.connection.dbapi_connection
    engine.switch("abrupt")
    assert stacks(database) == ["green"] * 3
    with database.connect() as connection:
        assert connection.connection.dbapi_connection is kept
    assert engine.statistics().authentications == {"blue": 1, "green": 1}
    sound(engine)


def test_a_query_that_is_lost_invalidates_no_connection(engine: EngineProcess) -> None:
    url = f"e6data://user%40example.com:secret@{engine.address}/?catalog=main&schema=sales"
    database = create_engine(url, pool_size=1)
    with database.connect() as connection:
        result = connection.execute(text(READ))
        assert len(result.fetchmany(1)) == 1
        engine.phase("abrupt", target="green")
        with pytest.raises(QueryLost) as lost:
            result.all()
        assert isinstance(lost.value, OperationalError)
        assert not connection.invalidated
        assert [row[2] for row in connection.execute(text(READ)).all()] == ["green"] * 3
    assert stacks(database) == ["green"] * 3
    assert sum(engine.statistics().authentications.values()) == 2
    database.dispose()
    sound(engine)


def lose(connection: Connection, engine: EngineProcess) -> None:
    result = connection.execute(text(READ))
    result.fetchmany(1)
    engine.phase("abrupt", target="green")
    result.all()


def find_nobody(connection: Connection, engine: EngineProcess) -> None:
    engine.phase("both_down", unavailable=True)
    connection.execute(text(READ))


def be_refused_by_the_server(connection: Connection, engine: EngineProcess) -> None:
    connection.execute(text("SELECT 1 /*+ fail(out of memory) */"))


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        pytest.param(lose, QueryLost, id="lost"),
        pytest.param(find_nobody, StrategyUnavailable, id="unavailable"),
        pytest.param(be_refused_by_the_server, grpc.RpcError, id="the server's own"),
    ],
)
def test_errors_arrive_as_they_are_and_none_is_taken_for_a_disconnect(
    fails: Callable[[Connection, EngineProcess], None], expected: type[Exception], engine: EngineProcess
) -> None:
    """The connector's errors are not derived from the class that its module calls `Error`, so SQLAlchemy takes them for
    an application's own: they are neither wrapped nor asked about, as without the adapter."""
    url = f"e6data://user%40example.com:secret@{engine.address}/?catalog=main&schema=sales"
    database = create_engine(url, pool_size=1, max_overflow=0)
    with database.connect() as connection:
        kept = connection.connection.dbapi_connection
        with pytest.raises(expected) as caught:
            fails(connection, engine)
        error = caught.value
        assert not isinstance(error, SQLAlchemyError)
        assert isinstance(error, (OperationalError, grpc.RpcError))
        assert not database.dialect.is_disconnect(error, kept, None)
        assert not connection.invalidated
    engine.phase("steady", active="green")
    until(lambda: answers(database))
    with database.connect() as connection:
        assert connection.connection.dbapi_connection is kept
    database.dispose()
    sound(engine)


def answers(database: Engine) -> bool:
    try:
        return stacks(database) == ["green"] * 3
    except StrategyUnavailable:  # for as long as both have just been found down
        return False


def test_a_ping_before_use_asks_nobody_so_that_no_switch_can_fail_it(engine: EngineProcess) -> None:
    url = f"e6data://user%40example.com:secret@{engine.address}/?catalog=main&schema=sales"
    database = create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
    stacks(database)
    with database.connect() as connection:
        kept = connection.connection.dbapi_connection
    for phase in ("announce", "cutover", "retire"):
        engine.phase(phase, target="green")
        asked = engine.statistics().total_requests
        with database.connect() as connection:
            assert engine.statistics().total_requests == asked
            assert connection.connection.dbapi_connection is kept
            assert len(connection.execute(text(READ)).all()) == 3
    assert engine.statistics().authentications == {"blue": 1, "green": 1}
    database.dispose()
    sound(engine)


def test_the_catalogue_is_reflected_through_a_switch(database: Engine, engine: EngineProcess) -> None:
    def reflected() -> tuple[list[str], list[str], list[str]]:
        inspector = inspect(database)
        columns = [column["name"] for column in inspector.get_columns("orders", "sales")]
        return inspector.get_schema_names(), inspector.get_table_names("sales"), columns

    before = reflected()
    assert all(before)
    engine.phase("abrupt", target="green")
    assert reflected() == before
    requests = engine.statistics().requests
    assert all(requests[name]["green"] for name in ("getSchemaNamesV2", "getTablesV2", "getColumnsV2"))
    sound(engine)


def test_a_suspended_cluster_is_woken_up_where_the_connector_does_so_by_a_new_connection(
    database: Engine, engine: EngineProcess
) -> None:
    stacks(database)
    engine.switch("graceful", grace_s=0.1)
    engine.phase("suspended", active="green")
    database.dispose()
    assert stacks(database) == ["green"] * 3
    assert engine.statistics().requests["cluster.resume"] == {"green": 1}
    sound(engine)
