"""Every way into the real connector, and the channels without it, behind one small synchronous facade.

    with WAYS["aio"].open(engine) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        rows = cursor.fetchall()

What a way does not have is in its `lacks`, with the reason. The asyncio ways run on one event loop in a thread
of its own: any thread may call them, and calls of several threads really are concurrent on that loop.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import io
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import attrs
import grpc
import grpc.aio
import pytest
from e6data_python_connector import e6data_grpc
from e6data_python_connector.cluster_manager import ClusterManager
from e6data_python_connector.connection_pool import ConnectionPool
from e6data_python_connector.datainputstream import get_query_columns_info, read_rows_from_chunk
from e6data_python_connector.result_decode import DecoderLease
from e6data_python_connector.server import e6x_engine_pb2 as pb
from e6data_python_connector.server.e6x_engine_pb2_grpc import QueryEngineServiceStub

from bluegreen.config.settings import Settings
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managed
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel, AsyncSwitchingInterceptor
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.grpc.interceptor import SwitchingInterceptor
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import quick

USER, PASSWORD, TOKEN = "user@example.com", "secret", "token"
CATALOG, SCHEMA = "main", "sales"

ENGINE: Mapping[str, Any] = {"user": USER, "password": PASSWORD, "tokens": (TOKEN,)}
"""Options that an engine needs so that every way gets in."""

CALL_TIMEOUT_S = 60.0
"""A call that takes longer than this hangs; it ends the test, and decides nothing."""

Row = tuple[Any, ...]
Run = Callable[..., Any]
"""Carries out a call: `run(function, *args, **kwargs)`."""

CAPABILITIES: Mapping[str, str] = {
    "queries": "cursors that execute and fetch",
    "cursors": "several cursors at a time on one connection",
    "session": "a session that authenticate opens, and that can expire",
    "cancel": "a call that cancels a query",
    "explain": "a call that explains a query that runs",
    "status": "a call that asks how a query is getting on",
    "schemas": "a call that lists schemas",
    "tables": "a call that lists tables",
    "columns": "a call that lists columns",
    "catalogs": "a call that lists catalogs",
    "dry_run": "a call that checks a statement",
    "let_go": "a cursor that is let go is noticed",
    "warm": "a session is opened ahead of time on the stack that was announced",
    "resume": "a suspended cluster is resumed without the application's doing",
    "resume_later": "the same for a cluster that falls asleep when the session is open",
    "reuse": "a cursor that executes again before its query is cleared",
    "retry": "the connector's decorator that repeats a whole execute",
}
"""What a way may have or lack."""


# -- the facade


class Cursor:
    """A cursor of any way. Rows are tuples `(number, statement, stack)`."""

    raw: Any

    @property
    def query_id(self) -> str | None:
        """Id of the query, or none."""
        raise NotImplementedError

    def execute(self, text: str) -> None:
        """Prepare and execute a statement."""
        raise NotImplementedError

    def fetchmany(self, size: int) -> list[Row]:
        """Return so many rows at most."""
        raise NotImplementedError

    def fetchall(self) -> list[Row]:
        """Return the rows that are left."""
        raise NotImplementedError

    def fetchone(self) -> Row | None:
        """Return one row, or none."""
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def clear(self) -> None:
        """End the query."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Cancel the query."""
        raise NotImplementedError

    def status(self) -> int:
        """Ask how the query is getting on; return how many rows it has."""
        raise NotImplementedError

    def explain(self) -> str:
        """Return the plan of the query."""
        raise NotImplementedError

    def explain_analyse(self) -> str:
        """Return the plan of the query and what became of it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the cursor."""
        raise NotImplementedError


class AnyConnection:
    """A connection of any way; a context manager that closes it.

    Attributes:
        raw: the object of the connector, or the channel.
    """

    raw: Any

    def cursor(self) -> Cursor:
        """Return a cursor."""
        raise NotImplementedError

    def schemas(self) -> list[str]:
        """Return the names of the schemas."""
        raise NotImplementedError

    def tables(self) -> list[str]:
        """Return the names of the tables of the schema."""
        raise NotImplementedError

    def columns(self, table: str = "orders") -> list[str]:
        """Return the names of a table's columns."""
        raise NotImplementedError

    def catalogs(self) -> list[str]:
        """Return the names of the catalogs."""
        raise NotImplementedError

    def dry_run(self, text: str) -> str:
        """Check a statement."""
        raise NotImplementedError

    def resume(self) -> Any:
        """Wake the cluster up."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""
        raise NotImplementedError

    def __enter__(self) -> AnyConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- how calls are carried out


@contextmanager
def decoders_kept() -> Iterator[None]:
    """Keep the processes in which the connector decodes batches, instead of having them for each connection
    anew."""
    if NO_V2 is not None:
        yield
        return
    lease = DecoderLease()
    lease.start(time.monotonic() + CALL_TIMEOUT_S)
    try:
        yield
    finally:
        lease.close(time.monotonic() + CALL_TIMEOUT_S)


def directly(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Carry out a call here and now."""
    return call(*args, **kwargs)


class _Loop:
    """One event loop in a thread of its own. In a forked child it begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owner = 0

    def running(self) -> asyncio.AbstractEventLoop:
        """Return the loop; the first call starts it."""
        with self._lock:
            if self._loop is None or self._owner != os.getpid():
                loop = self._loop = asyncio.new_event_loop()
                self._owner = os.getpid()
                threading.Thread(target=loop.run_forever, name="ways", daemon=True).start()
            return self._loop

    def __call__(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Carry out a call on the loop, and wait for what it returns to be there."""

        async def awaited() -> Any:
            outcome = call(*args, **kwargs)
            return await outcome if inspect.isawaitable(outcome) else outcome

        return asyncio.run_coroutine_threadsafe(awaited(), self.running()).result(CALL_TIMEOUT_S)


on_loop: Run = _Loop()
"""Carries out a call on the event loop of this process."""


# -- the connector's own connections and cursors, sync and asyncio


class _DriverCursor(Cursor):
    def __init__(self, raw: Any, run: Run) -> None:
        self.raw, self._run = raw, run

    @property
    def query_id(self) -> str | None:
        query_id: str | None = self.raw.query_id
        return query_id

    def execute(self, text: str) -> None:
        self._run(self.raw.execute, text)

    def fetchmany(self, size: int) -> list[Row]:
        return [tuple(row) for row in self._run(self.raw.fetchmany, size) or ()]

    def fetchall(self) -> list[Row]:
        return [tuple(row) for row in self._run(self.raw.fetchall) or ()]

    def clear(self) -> None:
        self._run(self.raw.clear)

    def cancel(self) -> None:
        self._run(self.raw.cancel, self.raw.query_id)

    def status(self) -> int:
        return int(self._run(self.raw.status, self.raw.query_id).rowCount)

    def explain(self) -> str:
        return str(self._run(self.raw.explain))

    def explain_analyse(self) -> str:
        return str(self._run(self.raw.explain_analyse)["planner"])

    def close(self) -> None:
        self._run(self.raw.close)


class _DriverConnection(AnyConnection):
    def __init__(self, raw: Any, run: Run = directly) -> None:
        self.raw, self._run = raw, run

    def cursor(self) -> Cursor:
        return _DriverCursor(self._run(self.raw.cursor), self._run)

    def schemas(self) -> list[str]:
        return list(self._run(self.raw.get_schema_names, CATALOG))

    def tables(self) -> list[str]:
        return list(self._run(self.raw.get_tables, CATALOG, SCHEMA))

    def columns(self, table: str = "orders") -> list[str]:
        return [column["fieldName"] for column in self._run(self.raw.get_columns, CATALOG, SCHEMA, table)]

    def catalogs(self) -> list[str]:
        return [catalog["name"] for catalog in self._run(self.raw.get_catalogs)]

    def dry_run(self, text: str) -> str:
        return str(self._run(self.raw.dry_run, text))

    def close(self) -> None:
        self._run(self.raw.close)


class _PooledCursor(_DriverCursor):
    """The one cursor of a pooled connection: when it has been closed, the connection makes another one."""

    def __init__(self, pooled: Any) -> None:
        super().__init__(pooled.cursor(), directly)
        self._pooled = pooled

    def close(self) -> None:
        self._pooled.close_cursor()


class _PooledConnection(_DriverConnection):
    """The one connection of a pool of its own."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.pooled = pool.get_connection()
        super().__init__(self.pooled.connection)

    def cursor(self) -> Cursor:
        return _PooledCursor(self.pooled)

    def close(self) -> None:
        self.pool.return_connection(self.pooled)
        self.pool.close_all()


# -- SQLAlchemy


class _AlchemyCursor(Cursor):
    """A result of SQLAlchemy's."""

    raw: Any = None

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def query_id(self) -> str | None:
        cursor = self.raw.cursor if self.raw is not None else None
        return cursor.query_id if cursor is not None else None

    def execute(self, text: str) -> None:
        from sqlalchemy import text as clause

        self.raw = self._connection.execute(clause(text))

    def fetchmany(self, size: int) -> list[Row]:
        return [tuple(row) for row in self.raw.fetchmany(size)]

    def fetchall(self) -> list[Row]:
        return [tuple(row) for row in self.raw.fetchall()]

    def clear(self) -> None:
        self.close()

    def close(self) -> None:
        if self.raw is not None:
            self.raw.close()


class _AlchemyConnection(AnyConnection):
    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.raw = engine.connect()

    def cursor(self) -> Cursor:
        return _AlchemyCursor(self.raw)

    def schemas(self) -> list[str]:
        return list(self.engine.dialect.get_schema_names(self.raw))

    def tables(self) -> list[str]:
        return list(self.engine.dialect.get_table_names(self.raw, SCHEMA))

    def columns(self, table: str = "orders") -> list[str]:
        return [column["name"] for column in self.engine.dialect.get_columns(self.raw, table, SCHEMA)]

    def close(self) -> None:
        self.raw.close()
        self.engine.dispose()


# -- the channels, with a raw stub


class _StubCursor(Cursor):
    """What a connector's cursor does, in its shortest form. It knows no strategies."""

    def __init__(self, connection: _StubConnection) -> None:
        self._connection = connection
        self._query: Any = None
        self._columns: Any = None
        self._rows: deque[Row] = deque()
        self._ended = False

    @property
    def query_id(self) -> str | None:
        return self._query.queryId if self._query is not None else None

    def execute(self, text: str) -> None:
        connection = self._connection
        self._query, self._columns, self._ended = None, None, False
        self._rows.clear()
        prepare = pb.PrepareStatementV2Request(
            sessionId=connection.session(), schema=SCHEMA, catalog=CATALOG, queryString=text
        )
        self._query = connection.send("prepareStatementV2", prepare)
        self._send("executeStatementV2", pb.ExecuteStatementV2Request)
        answer = self._send("getResultMetadata", pb.GetResultMetadataRequest)
        _, self._columns = get_query_columns_info(io.BytesIO(answer.resultMetaData))

    def fetchmany(self, size: int) -> list[Row]:
        while len(self._rows) < size and self._more():
            pass
        return [self._rows.popleft() for _ in range(min(size, len(self._rows)))]

    def fetchall(self) -> list[Row]:
        while self._more():
            pass
        return self.fetchmany(len(self._rows))

    def clear(self) -> None:
        if self._query is not None:
            self._send("clearOrCancelQuery", pb.ClearOrCancelQueryRequest)
            self._query = None

    def cancel(self) -> None:
        self._send("cancelQuery", pb.CancelQueryRequest)

    def status(self) -> int:
        return int(self._send("status", pb.StatusRequest).rowCount)

    def explain(self) -> str:
        return str(self._send("explain", pb.ExplainRequest).explain)

    def explain_analyse(self) -> str:
        return str(self._send("explainAnalyze", pb.ExplainAnalyzeRequest).explainAnalyze)

    def close(self) -> None:
        self.clear()

    def _more(self) -> bool:
        if not self._ended:
            batch = self._send("getNextResultBatch", pb.GetNextResultBatchRequest).resultBatch
            self._ended = not batch
            if batch:
                self._rows.extend(tuple(row) for row in read_rows_from_chunk(self._columns, batch))
        return not self._ended

    def _send(self, method: str, kind: Any) -> Any:
        query = self._query
        request = kind(sessionId=self._connection.session(), queryId=query.queryId, engineIP=query.engineIP)
        return self._connection.send(method, request, query.engineIP)


class _StubConnection(AnyConnection):
    """A raw stub on a channel that hides the switches.

    Args:
        opens: returns (the channel to close, the channel to call), in the right thread.
        link: what the channel goes by.
        run: carries out its calls.
    """

    def __init__(self, opens: Callable[[], tuple[Any, Any]], link: Connection, run: Run) -> None:
        self.link, self._run = link, run
        self.raw, calls = run(opens)
        self.stub: Any = run(QueryEngineServiceStub, calls)
        self._session: str | None = None
        self._lock = threading.Lock()

    def session(self) -> str:
        """Return the session's id; the first call opens one."""
        with self._lock:
            if self._session is None:
                login = pb.AuthenticateRequest(user=USER, password=PASSWORD)
                session: str = self.send("authenticate", login).sessionId
                self._session = session
            return self._session

    def send(self, method: str, request: Any, planner_ip: str = "") -> Any:
        """Send one request as the connector does: it always names a strategy, which may be wrong."""
        metadata = [("strategy", "blue"), *([("plannerip", planner_ip)] if planner_ip else [])]
        return self._run(getattr(self.stub, method), request, metadata=metadata)

    def cursor(self) -> Cursor:
        return _StubCursor(self)

    def schemas(self) -> list[str]:
        request = pb.GetSchemaNamesV2Request(sessionId=self.session(), catalog=CATALOG)
        return list(self.send("getSchemaNamesV2", request).schemas)

    def tables(self) -> list[str]:
        request = pb.GetTablesV2Request(sessionId=self.session(), catalog=CATALOG, schema=SCHEMA)
        return list(self.send("getTablesV2", request).tables)

    def columns(self, table: str = "orders") -> list[str]:
        request = pb.GetColumnsV2Request(
            sessionId=self.session(), catalog=CATALOG, schema=SCHEMA, table=table
        )
        return [column.fieldName for column in self.send("getColumnsV2", request).fieldInfo]

    def catalogs(self) -> list[str]:
        answer = self.send("getCataloges", pb.GetCatalogesRequest())
        return [catalog.name for catalog in answer.catalogResponses]

    def dry_run(self, text: str) -> str:
        request = pb.DryRunRequestV2(
            sessionId=self.session(), catalog=CATALOG, schema=SCHEMA, queryString=text
        )
        return str(self.send("dryRunV2", request).dryrunValue)

    def close(self) -> None:
        self._run(self.raw.close)
        self.link.close()


# -- the cluster managers


class _ClusterConnection(AnyConnection):
    def __init__(self, raw: ClusterManager) -> None:
        self.raw = raw

    def resume(self) -> Any:
        return self.raw.resume()

    def close(self) -> None:
        """Nothing is open between two calls."""


# -- the ways

Opens = Callable[[EngineProcess, Settings, dict[str, Any]], AnyConnection]


@attrs.frozen(eq=False)
class Way:
    """One way in.

    Args:
        name: its name.
        opens: opens a connection.
        lacks: what it does not have, of `CAPABILITIES`, and why.
        absent: why it cannot be used here at all, or none.
        of_connector: whether it is the connector's, so that errors are the connector's too.
        fetches_ahead: whether rows are fetched before the application asks for them.
        ends_by_itself: whether it ends a query by itself, after the last row and after an error, and keeps it to
            itself if that fails.
    """

    name: str
    opens: Opens
    lacks: Mapping[str, str] = attrs.field(factory=dict[str, str])
    absent: str | None = None
    of_connector: bool = True
    fetches_ahead: bool = False
    ends_by_itself: bool = False

    def __attrs_post_init__(self) -> None:
        unknown = set(self.lacks) - set(CAPABILITIES)
        if unknown:
            raise ValueError(
                f"{self.name}: {', '.join(sorted(unknown))}: accepted: {', '.join(CAPABILITIES)}"
            )

    def open(self, engine: EngineProcess, settings: Settings | None = None, **changes: Any) -> AnyConnection:
        """Return a connection, which is a context manager.

        Args:
            engine: where to; it needs the options in `ENGINE`.
            settings: of the scope; those of `quick` by default. What is installed stays until
                `forgetting.forget_everything`, and so do the settings.
            changes: arguments of the connector that differ from the usual ones; none leaves one out.
        """
        if self.absent is not None:
            raise RuntimeError(f"{self.name}: {self.absent}")
        return self.opens(engine, settings or quick(), changes)

    def __repr__(self) -> str:
        return f"Way({self.name!r})"


def manager_of(engine: EngineProcess, cluster: str = "") -> StrategyManager:
    """Return the manager that all ways into an engine share."""
    return managed(Scope(engine.address, cluster))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from: a way may wrap the error that the adapter raises."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        original = getattr(seen, "orig", None)
        if isinstance(original, BaseException):
            seen = original
        else:
            seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _given(engine: EngineProcess, changes: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "host": engine.host,
        "port": engine.port,
        "username": USER,
        "password": PASSWORD,
        "catalog": CATALOG,
        "database": SCHEMA,
    }
    return {name: value for name, value in (fields | own | dict(changes)).items() if value is not None}


def _sync(own: Mapping[str, Any], engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    e6data.install(settings)
    return _DriverConnection(e6data_grpc.connect(**_given(engine, changes, **own)))


def _pool(engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    e6data.install(settings)
    return _PooledConnection(ConnectionPool(min_size=1, max_size=1, **_given(engine, changes)))


def _aio(own: Mapping[str, Any], engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    from e6data_python_connector import aio

    e6data.install(settings)
    return _DriverConnection(on_loop(aio.connect, **_given(engine, changes, **own)), on_loop)


def _alchemy(engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    from sqlalchemy import create_engine

    e6data.install(settings)
    given = _given(engine, {})
    address = f"{quote(given['username'], safe='')}:{given['password']}@{given['host']}:{given['port']}"
    alchemy = create_engine(
        f"e6data://{address}/?catalog={CATALOG}&schema={SCHEMA}",
        module=e6data_grpc,
        connect_args=dict(changes),
    )
    return _AlchemyConnection(alchemy)


def _link(engine: EngineProcess, settings: Settings) -> Connection:
    return Connection(managed(Scope(engine.address), settings), e6data.PROTOCOL)


def _channel(engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    link = _link(engine, settings)

    def opens() -> tuple[Any, Any]:
        channel = SwitchingChannel(grpc.insecure_channel(engine.address), link)
        return channel, channel

    return _StubConnection(opens, link, directly)


def _interceptor(engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    link = _link(engine, settings)

    def opens() -> tuple[Any, Any]:
        channel = grpc.insecure_channel(engine.address)
        return channel, grpc.intercept_channel(channel, SwitchingInterceptor(link))

    return _StubConnection(opens, link, directly)


def _channel_aio(engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    link = _link(engine, settings)

    def opens() -> tuple[Any, Any]:
        channel = AsyncSwitchingChannel(grpc.aio.insecure_channel(engine.address), link)
        return channel, channel

    return _StubConnection(opens, link, on_loop)


def _interceptor_aio(engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    link = _link(engine, settings)

    def opens() -> tuple[Any, Any]:
        interceptors = [AsyncSwitchingInterceptor(link)]
        channel = grpc.aio.insecure_channel(engine.address, interceptors=interceptors)
        return channel, channel

    return _StubConnection(opens, link, on_loop)


def _cluster(engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    e6data.install(settings)
    given = {"user": USER, "password": PASSWORD, **changes}
    return _ClusterConnection(ClusterManager(engine.host, engine.port, **given))


NO_V2: str | None = None
"""Why there are no V2 result batches here, or none."""
if not (3, 11) <= sys.version_info < (3, 14):
    NO_V2 = "the connector decodes V2 batches on Python 3.11 to 3.13 only"

_NO_AIO: str | None = None
if sys.version_info < (3, 11):
    _NO_AIO = "the connector's asyncio interface needs Python 3.11"
elif importlib.util.find_spec("httpx") is None:
    _NO_AIO = "it needs httpx: pip install 'e6data-python-connector[async]'"

_NO_RETRY = "only the connector's plain synchronous cursor has it"
_SYNC_LACKS = {"resume_later": "the connector's synchronous cursor resumes only when it authenticates"}
_ALCHEMY_LACKS = _SYNC_LACKS | dict.fromkeys(
    ("cancel", "explain", "status", "catalogs", "dry_run"), "SQLAlchemy has no call for it"
)
_POOL_LACKS = _SYNC_LACKS | {
    "cursors": "a pooled connection has one cursor",
    "let_go": "a pooled connection keeps its cursor",
}
_V2_LACKS = _SYNC_LACKS | {
    "let_go": "the connector keeps the cursors of such a connection",
    "retry": _NO_RETRY,
}
_AIO_LACKS = {
    "resume": "the connector's asyncio cursor resumes only when it prepares",
    "catalogs": "the connector's asyncio connection has no call for it",
    "let_go": "the connector's asyncio connection keeps its cursors",
    "reuse": "the connector's asyncio cursor has to be cleared first",
    "retry": _NO_RETRY,
}
_OAUTH_LACKS = {"session": "a token travels with each request", "retry": _NO_RETRY}
_STUB_LACKS = dict.fromkeys(("resume", "resume_later"), "it is the connector's work, not the channel's") | {
    "retry": _NO_RETRY
}
_INTERCEPTOR_LACKS = _STUB_LACKS | {"warm": "an interceptor cannot begin a call of its own"}
_CLUSTER_LACKS = {name: "it only wakes the cluster up" for name in CAPABILITIES if name != "resume"}

_V2 = {"enable_result_batch_v2": True}
_OAUTH = {"username": None, "password": None, "access_token": TOKEN}

WAYS: Mapping[str, Way] = {
    way.name: way
    for way in (
        Way("sync", functools.partial(_sync, {}), _SYNC_LACKS),
        Way("sync-v2", functools.partial(_sync, _V2), _V2_LACKS, NO_V2, fetches_ahead=True),
        Way("oauth", functools.partial(_sync, _OAUTH), _OAUTH_LACKS),
        Way("pool", _pool, _POOL_LACKS),
        Way("sqlalchemy", _alchemy, _ALCHEMY_LACKS, ends_by_itself=True),
        Way("aio", functools.partial(_aio, {}), _AIO_LACKS, _NO_AIO),
        Way("aio-v2", functools.partial(_aio, _V2), _AIO_LACKS, _NO_AIO or NO_V2, fetches_ahead=True),
        Way("cluster", _cluster, _CLUSTER_LACKS),
        Way("channel", _channel, _STUB_LACKS, of_connector=False),
        Way("channel-aio", _channel_aio, _STUB_LACKS, of_connector=False),
        Way("interceptor", _interceptor, _INTERCEPTOR_LACKS, of_connector=False),
        Way("interceptor-aio", _interceptor_aio, _INTERCEPTOR_LACKS, of_connector=False),
    )
}
"""All ways by name."""


def over(*names: str) -> Any:
    """Run a test once for each of these ways; one that is absent here is skipped with its reason."""
    return pytest.mark.parametrize(
        "way",
        [
            pytest.param(
                WAYS[name],
                id=name,
                marks=pytest.mark.skipif(WAYS[name].absent is not None, reason=str(WAYS[name].absent)),
            )
            for name in names
        ],
    )
