"""Credentials are kept where the connector keeps them, and nowhere else."""

from __future__ import annotations

import gc
import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from bluegreen.config.settings import Settings
from bluegreen_adapters import e6data
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import READ, fresh, quick
from support.reach import holding, ours
from support.ways import USER, AnyConnection, Cursor, Way, manager_of, on_loop, over

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("nothing_is_known"),
    # The connector's dialect still says `dbapi`.
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]

PASSWORD = "p4ss-Wq7-hush"
TOKEN = "t0ken-Xz9-hush"
WRONG = "wr0ng-Ye5-hush"
COMMON = "-hush"
"""What every one of them has in it, and nothing else."""

COVERED = ("sync", "sync-v2", "oauth", "pool", "sqlalchemy", "aio", "aio-v2")
WITH_SESSIONS = tuple(name for name in COVERED if name != "oauth")


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess(user=USER, password=PASSWORD, tokens=(TOKEN,)) as process:
        yield process


@pytest.fixture
def engine(shared_engine: EngineProcess) -> EngineProcess:
    return fresh(shared_engine)


def opened(
    way: Way, engine: EngineProcess, secret: str = "", settings: Settings | None = None
) -> AnyConnection:
    if way.name == "oauth":
        return way.open(engine, settings, access_token=secret or TOKEN)
    return way.open(engine, settings, password=secret or PASSWORD)


def channel_of(connection: AnyConnection) -> Any:
    raw = connection.raw
    if hasattr(raw, "dialect"):
        raw = raw.connection.dbapi_connection
    channel = raw._channel
    assert isinstance(channel, (SwitchingChannel, AsyncSwitchingChannel))
    return channel


def begun(connection: AnyConnection) -> Cursor:
    cursor = connection.cursor()
    cursor.execute(READ)
    assert len(cursor.fetchmany(2)) == 2
    return cursor


def finished(cursor: Cursor) -> None:
    cursor.fetchmany(10)
    cursor.clear()


def through_switches(connection: AnyConnection, engine: EngineProcess, look: Callable[[str], None]) -> None:
    """A query through every phase of a switch, of one that is taken back and of one without warning."""
    look("new")
    cursor = begun(connection)
    look("in the middle of a result")
    finished(cursor)
    look("cleared, with the cursor still there")
    engine.phase("announce", target="green")
    finished(begun(connection))
    look("announced")
    engine.phase("withdraw", target="green")
    finished(begun(connection))
    look("taken back")
    cursor = connection.cursor()
    cursor.execute(READ)
    engine.phase("abrupt", target="green")
    cursor.fetchmany(1)
    look("moved in the middle")
    finished(cursor)
    for stack in ("blue", "green"):
        engine.expire_sessions(stack)
    finished(begun(connection))
    look("after its session had expired")


@over(*COVERED)
def test_nothing_of_ours_holds_a_credential(way: Way, engine: EngineProcess) -> None:
    found: dict[str, list[str]] = {}

    def look(moment: str) -> None:
        on_loop(gc.collect)  # whatever the loop has left to do for calls that have ended is done
        if places := holding(COMMON, channel_of(connection)):
            found[moment] = places

    with opened(way, engine) as connection:
        through_switches(connection, engine, look)
    assert found == {}


@over(*COVERED)
def test_no_representation_and_no_pickle_of_ours_tells_a_credential(way: Way, engine: EngineProcess) -> None:
    shown: set[str] = set()

    def look(moment: str) -> None:
        for value in ours(channel_of(connection)):
            shown.add(type(value).__name__)
            assert COMMON not in repr(value), (moment, type(value))
            assert COMMON not in str(value), (moment, type(value))
            assert COMMON.encode() not in pickled(value), (moment, type(value))

    with opened(way, engine) as connection:
        through_switches(connection, engine, look)
    assert {
        "Connection",
        "SessionPool",
        "RpcTransport",
        "QueryRecovery",
        "Query",
        "Rpc",
        "StrategyManager",
    } <= shown


def pickled(value: Any) -> bytes:
    """Return the pickle of an object; nothing if it has none: it holds a lock or a channel."""
    try:
        return pickle.dumps(value)
    except (TypeError, AttributeError, pickle.PicklingError):
        return b""


@over(*COVERED)
def test_no_logger_of_ours_tells_a_credential(
    way: Way, engine: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("bluegreen"):
            caplog.set_level(logging.DEBUG, logger=name)
    with opened(way, engine, settings=quick(logging_level="DEBUG")) as connection:
        through_switches(connection, engine, lambda _: None)
        engine.phase("both_down")
        failure(connection)
    logged = [record for record in caplog.records if record.name.startswith("bluegreen")]
    assert logged
    for record in logged:
        assert COMMON not in record.getMessage(), record.name
        assert COMMON not in repr(record.__dict__), record.name


def failure(connection: AnyConnection) -> BaseException:
    """Return what the application gets, whatever it is: each way wraps it in its own manner."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        begun(connection)
    return caught.value


def chain(error: BaseException) -> list[BaseException]:
    """Return an error and all that it was raised from, or while."""
    found = [error]
    for seen in found:  # it grows
        further = (seen.__cause__, seen.__context__)
        found += [other for other in further if other is not None and other not in found]
    return found


def turned_away(engine: EngineProcess) -> None:
    """The credentials are wrong: the engine itself says so."""


def refused(engine: EngineProcess) -> None:
    engine.phase("both_down")


def unreachable(engine: EngineProcess) -> None:
    engine.phase("both_down", unavailable=True)


@over(*COVERED)
@pytest.mark.parametrize("trouble", [turned_away, refused, unreachable])
def test_no_error_tells_a_credential(
    way: Way, trouble: Callable[[EngineProcess], None], engine: EngineProcess
) -> None:
    trouble(engine)
    with opened(way, engine, WRONG) as connection:
        error = failure(connection)
        places = holding(COMMON, channel_of(connection)) if not closed(connection) else []
    assert places == []
    for seen in chain(error):
        assert COMMON not in f"{seen} {seen!r} {seen.args!r}", type(seen)
        assert type(seen).__module__.startswith("grpc") or COMMON not in repr(vars(seen)), type(seen)
        assert COMMON.encode() not in pickled(seen), type(seen)


def closed(connection: AnyConnection) -> bool:
    return getattr(connection.raw, "_channel", None) is None and not hasattr(connection.raw, "dialect")


@over(*WITH_SESSIONS)
def test_no_request_to_authenticate_is_kept_where_the_connector_is_asked_for_one(
    way: Way, engine: EngineProcess
) -> None:
    def look(moment: str) -> None:
        assert channel_of(connection).link.sessions._kept is None, moment

    with opened(way, engine) as connection:
        through_switches(connection, engine, look)
    assert engine.statistics().authentications["green"] >= 1


def test_a_channel_without_the_connector_forgets_what_it_kept_when_it_is_closed(
    engine: EngineProcess,
) -> None:
    import grpc
    from e6data_python_connector.server import e6x_engine_pb2 as pb
    from e6data_python_connector.server.e6x_engine_pb2_grpc import QueryEngineServiceStub

    from bluegreen_adapters.connection.connection import Connection

    channel = SwitchingChannel(
        grpc.insecure_channel(engine.address), Connection(manager_of(engine), e6data.PROTOCOL)
    )
    QueryEngineServiceStub(channel).authenticate(pb.AuthenticateRequest(user=USER, password=PASSWORD))
    assert holding(COMMON, channel.link)  # nobody else has it: that is how the walk is known to find it
    assert COMMON not in " ".join(map(repr, ours(channel)))
    channel.close()
    assert holding(COMMON, channel.link) == []
