"""Where the connector makes its channels: all that is patched of it, in one place.

`SEAMS` lists it; the series of the connector against which it was checked are
`e6data.CHECKED_VERSIONS`. A seam calls what was there
before, and then wraps the channel that this has made and makes the stub again; no code of the connector is
replaced, and what it knows of switches stays where it is and never sees one.
"""

from __future__ import annotations

import contextvars
import functools
import importlib
import inspect
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import attrs

from bluegreen.config.settings import Settings
from bluegreen.runtime.registry import managed, scopes
from bluegreen.types import Scope
from bluegreen_adapters.connection.connection import Connection, ErrorTypes
from bluegreen_adapters.connection.protocol import Credentials, Metadata, Protocol
from bluegreen_adapters.connection.query import QueryId
from bluegreen_adapters.e6data.errors import Lost, RowsDiscarded, Unavailable
from bluegreen_adapters.e6data.fetching import wrap_async_fetch, wrap_fetch
from bluegreen_adapters.e6data.protocol import CLUSTER_PROTOCOL, PROTOCOL
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.stores import join_store

PACKAGE: Final = "e6data_python_connector"
Made = Callable[[Any, Settings | None], Any]
"""Takes what was there before and the settings of new scopes; returns what takes its place."""


@attrs.frozen
class Seam:
    """One attribute of the connector that is patched.

    Args:
        module: below the connector's package.
        owner: the class in it that has the attribute; none: the module itself.
        name: the attribute.
        made: makes what takes its place.
        why: what it is for.
    """

    module: str
    owner: str | None
    name: str
    made: Made
    why: str

    @property
    def holder(self) -> Any:
        """The class or module that has the attribute."""
        module = importlib.import_module(f"{PACKAGE}.{self.module}")
        return module if self.owner is None else getattr(module, self.owner)

    def __str__(self) -> str:
        return ".".join(part for part in (self.module, self.owner, self.name) if part)


# What a channel of the connector needs to be covered.


def scope_of(connection: Any) -> Scope:
    """Return the scope of a connection, or of a cluster manager, of the connector, in any way in."""
    known: dict[str, Any] = connection.__dict__
    if "cluster_uuid" in known:
        return _scope(connection._host, connection._port, connection.cluster_uuid)
    if "_host" in known:
        return _scope(connection._host, connection._port, connection.cluster_name)
    return _scope(connection.host, connection.port, connection.cluster_name)


def _scope(host: str, port: int, cluster: str | None) -> Scope:
    return Scope(f"{host}:{port}", cluster or "")


def _link(
    owner: Any, settings: Settings | None, protocol: Protocol, credentials: Credentials | None
) -> Connection:
    manager = join_store(managed(scope_of(owner), settings))
    return Connection(
        manager, protocol, credentials=credentials, raised=ErrorTypes(Lost, Unavailable, RowsDiscarded)
    )


def _supplied_by(connection: Any, made: Callable[[Any], tuple[Any, Metadata]]) -> Credentials:
    """Return what authenticates `connection`: asked of it each time, so that nothing is kept here."""
    owner = weakref.ref(connection)

    def supplied() -> tuple[Any, Metadata]:
        alive = owner()
        if alive is None:
            raise ReferenceError("the connection has been let go")
        return made(alive)

    return supplied


# Connections.


def cover(connection: Any, settings: Settings | None) -> None:
    """Wrap the channel that a connection has just made, unless it is wrapped."""
    if isinstance(connection._channel, SwitchingChannel):
        return
    credentials = None if connection._uses_oauth else _supplied_by(connection, _sync_login)
    link = _link(connection, settings, PROTOCOL, credentials)
    connection._channel = SwitchingChannel(connection._channel, link)
    connection._client = type(connection._client)(connection._channel)


def _sync_login(connection: Any) -> tuple[Any, Metadata]:
    metadata: Metadata = tuple(connection._authenticate_metadata())
    return connection._build_authenticate_request(), metadata


def cover_async(connection: Any, settings: Settings | None) -> None:
    """Wrap the channel that an asyncio connection has just made."""
    credentials = None if connection._oauth_enabled else _supplied_by(connection, _async_login)
    link = _link(connection, settings, PROTOCOL, credentials)
    connection._channel = AsyncSwitchingChannel(connection._channel, link)
    connection._client = type(connection._client)(connection._channel)


def _async_login(connection: Any) -> tuple[Any, Metadata]:
    messages = importlib.import_module(f"{PACKAGE}.server.e6x_engine_pb2")
    request = messages.AuthenticateRequest(user=connection.username, password=connection.password)
    cluster = connection.cluster_name
    return request, (("cluster-name", cluster),) if cluster else ()


def _create_client(stock: Any, settings: Settings | None) -> Any:
    @functools.wraps(stock)
    def _create_client(self: Any) -> None:
        stock(self)
        cover(self, settings)

    return _create_client


def _initialize(stock: Any, settings: Settings | None) -> Any:
    @functools.wraps(stock)
    async def _initialize(self: Any, deadline: float) -> None:
        await stock(self, deadline)
        cover_async(self, settings)  # nobody else has run since the channel was made

    return _initialize


def _register_query_strategy(stock: Any, _: Settings | None) -> Any:
    @functools.wraps(stock)
    def _register_query_strategy(query_id: str, strategy: Any) -> None:
        if not isinstance(query_id, QueryId):
            stock(query_id, strategy)

    return _register_query_strategy


def _execute(stock: Any, _: Settings | None) -> Any:
    """Return `Cursor.execute` without the connector's own repetition, for connections that are covered.

    The decorator runs the whole statement again when it sees `Access denied` or `status: 456` anywhere in an error,
    even in an engine's error after a write. Below it, sessions are renewed and refusals are dealt with already.
    """
    undecorated = inspect.getclosurevars(stock).nonlocals["func"]

    @functools.wraps(undecorated)
    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        covered = isinstance(getattr(self.connection, "_channel", None), SwitchingChannel)
        return (undecorated if covered else stock)(self, *args, **kwargs)

    return execute


# Cluster managers.


def _follows(manager: Any) -> bool:
    """Whether a cluster manager asks for connections that are covered: for all, or for those of its scope."""
    return SEAMS[0] in _patched or scope_of(manager) in scopes()


def _get_connection(stock: Any, settings: Settings | None) -> Any:
    def _get_connection(self: Any) -> Any:
        stub = stock.fget(self)
        if not _follows(self):
            return stub
        self._channel = SwitchingChannel(self._channel, _link(self, settings, CLUSTER_PROTOCOL, None))
        return type(stub)(self._channel)

    return property(_get_connection, doc=stock.__doc__)


_recovering: contextvars.ContextVar[Any] = contextvars.ContextVar("recovering")
"""The asyncio cluster manager that makes a channel in this task."""


def _recover(stock: Any, _: Settings | None) -> Any:
    @functools.wraps(stock)
    async def _recover(self: Any, deadline: float) -> Any:
        token = _recovering.set(self)
        try:
            return await stock(self, deadline)
        finally:
            _recovering.reset(token)

    return _recover


def _bindings(stock: Any, settings: Settings | None) -> Any:
    def covered(channel: Any) -> Any:
        manager = _recovering.get()
        if not _follows(manager):
            return stock.ClusterServiceStub(channel)
        link = _link(manager, settings, CLUSTER_PROTOCOL, None)
        return stock.ClusterServiceStub(AsyncSwitchingChannel(channel, link))

    return SimpleNamespace(**{**vars(stock), "ClusterServiceStub": covered})


_COLLECTS: Final = "collects batches, and must fetch from the beginning if the query begins again"

SEAMS: Final = (
    Seam("e6data_grpc", "Connection", "_create_client", _create_client, "makes the channel of a connection"),
    Seam(
        "e6data_grpc",
        None,
        "_register_query_strategy",
        _register_query_strategy,
        "keeps every query id for ever, so that nobody could notice that a query has been let go",
    ),
    Seam(
        "e6data_grpc",
        "Cursor",
        "execute",
        _execute,
        "runs a statement again after errors that merely mention a refusal",
    ),
    Seam("e6data_grpc", "Cursor", "fetchall", wrap_fetch, _COLLECTS),
    Seam("e6data_grpc", "Cursor", "fetchmany", wrap_fetch, _COLLECTS),
    Seam("async_cursor", "AsyncCursor", "fetchall", wrap_async_fetch, _COLLECTS),
    Seam("async_cursor", "AsyncCursor", "fetchmany", wrap_async_fetch, _COLLECTS),
    Seam(
        "async_connection",
        "AsyncConnection",
        "_initialize",
        _initialize,
        "makes the channel of an asyncio connection",
    ),
    Seam("cluster_manager", "ClusterManager", "_get_connection", _get_connection, "makes a channel per call"),
    Seam(
        "async_cluster_manager",
        "AsyncClusterManager",
        "_recover",
        _recover,
        "makes a channel, and says to the next seam for whom",
    ),
    Seam("async_cluster_manager", None, "bindings", _bindings, "makes the stub on that channel"),
)
"""All that is patched of the connector."""

_patched: dict[Seam, Any] = {}
"""What is patched, and what was there before."""


def missing() -> list[Seam]:
    """Return the seams that the connector does not have."""
    return [seam for seam in SEAMS if seam.name not in vars(seam.holder)]


def patch(settings: Settings | None, seams: tuple[Seam, ...] = SEAMS) -> None:
    """Patch each of `seams` that is not patched yet."""
    for seam in seams:
        if seam not in _patched:
            _patched[seam] = stock = _raw_attribute(seam)
            setattr(seam.holder, seam.name, seam.made(stock, settings))


def _raw_attribute(seam: Seam) -> Any:
    """Return the attribute itself, not what a property would make of it."""
    return seam.holder.__dict__[seam.name]


def unpatch() -> None:
    """Put everything back that `patch` has patched."""
    while _patched:
        seam, stock = _patched.popitem()
        setattr(seam.holder, seam.name, stock)


# Single connections, for those who do not install.


def connection_class(settings: Settings | None) -> Any:
    """Return the connector's `Connection` on a channel on which the cluster appears never to switch."""
    return _covered_class("e6data_grpc", "Connection", settings)


def async_connection_class(settings: Settings | None) -> Any:
    """Return the connector's `AsyncConnection` on such a channel."""
    return _covered_class("async_connection", "AsyncConnection", settings)


def _covered_class(module: str, owner: str, settings: Settings | None) -> Any:
    """Derive a class whose own attributes take the place of those that `install` patches on the class."""
    own = [seam for seam in SEAMS if (seam.module, seam.owner) == (module, owner)]
    patch(settings, tuple(seam for seam in SEAMS if seam.name not in ("_create_client", "_initialize")))
    stock = own[0].holder
    return type(owner, (stock,), {seam.name: seam.made(_stock_of(seam), settings) for seam in own})


def _stock_of(seam: Seam) -> Any:
    return _patched[seam] if seam in _patched else _raw_attribute(seam)
