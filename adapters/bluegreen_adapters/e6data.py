"""The e6data connector from PyPI, without its switching losses.

    from bluegreen_adapters.e6data import connect      # the stock signature
    connection = connect(host="localhost", port=80, username="me@example.com", password="token")

or, for code that cannot be changed, once at start:

    from bluegreen_adapters import e6data
    e6data.install()                                   # and uninstall() undoes it

The connector's own switching code stays where it is; it never sees a switch. Two functions are patched:
`Connection._create_client`, so that the channel that it has made is wrapped and the stub made again, and
`_register_query_strategy`, so that the connector does not hold on to the ids of covered queries.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import weakref
from collections.abc import Callable
from typing import Any, Final

from bluegreen.errors import BluegreenError
from bluegreen.registry import managed
from bluegreen.settings import Settings
from bluegreen.vocabulary import Scope
from bluegreen_adapters.grpc_sync import SwitchingChannel
from bluegreen_adapters.link import Link, Raised
from bluegreen_adapters.protocol import Credentials, Fault, Metadata, Method, Protocol, Role, StatusRule
from bluegreen_adapters.queries import QueryId

DISTRIBUTION: Final = "e6data-python-connector"
CHECKED_VERSIONS: Final = ("3.0",)
"""Series of the connector against which what is patched was checked."""

_BEGIN: Final = Method(Role.BEGIN, repeatable=True)
_EXECUTE: Final = Method(Role.USE, effect="executed")
_LOOK: Final = Method(Role.USE, repeatable=True)
_ASK: Final = Method(Role.FREE, repeatable=True)

PROTOCOL: Final = Protocol(
    name="e6data",
    methods={
        "authenticate": Method(Role.AUTHENTICATE, repeatable=True),
        "prepareStatement": _BEGIN,
        "prepareStatementV2": _BEGIN,
        "executeStatement": _EXECUTE,
        "executeStatementV2": _EXECUTE,
        "status": _LOOK,
        "getResultMetadata": _LOOK,
        "getDynamicParams": _LOOK,
        "explain": _LOOK,
        "explainAnalyze": _LOOK,
        "getNextResultBatch": Method(Role.USE, effect="fetched", rows=("resultBatch",)),
        "getNextResultBatchV2": Method(
            Role.USE, effect="fetched", rows=("resultBatches",), done="endOfStream"
        ),
        "clear": Method(Role.END, effect="cleared", repeatable=True),
        "clearOrCancelQuery": Method(Role.END, effect="cleared", repeatable=True),
        "cancelQuery": Method(Role.END, effect="cancelled", repeatable=True),
        "identifyPlanner": _ASK,
        "getSchemaNames": _ASK,
        "getSchemaNamesV2": _ASK,
        "getTables": _ASK,
        "getTablesV2": _ASK,
        "getColumns": _ASK,
        "getColumnsV2": _ASK,
        "getCataloges": _ASK,
        "dryRun": _ASK,
        "dryRunV2": _ASK,
        "analyzeQuery": _ASK,
        "healthCheck": _ASK,
        "getAddCatalogsResponse": _ASK,
    },
    statuses=(
        StatusRule(Fault.WRONG_STRATEGY, ("UNKNOWN", "INVALID_ARGUMENT"), r"status:\s*456\b"),
        StatusRule(Fault.NOT_AUTHENTICATED, ("INTERNAL",), r"access denied"),
        StatusRule(Fault.ANSWER, ("UNAVAILABLE",), r"status:\s*503\b"),  # suspended: the connector resumes it
    ),
)
"""The e6data protocol, as connector 3.0 speaks it."""


class UnsupportedConnector(BluegreenError):
    """The connector is missing, or of a version against which the adapter was not checked."""


def _connector() -> Any:
    """Return the module that has `Connection`.

    Raises:
        UnsupportedConnector: it is not installed, or of another series; nothing was patched.
    """
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise UnsupportedConnector(
            f'{DISTRIBUTION} is not installed; install it with: pip install "bluegreen[e6data]"'
        ) from None
    if not any(version.startswith(f"{series}.") for series in CHECKED_VERSIONS):
        series = ", ".join(f"{known}.*" for known in CHECKED_VERSIONS)
        raise UnsupportedConnector(f"{DISTRIBUTION} {version} was not checked; supported: {series}")
    return importlib.import_module("e6data_python_connector.e6data_grpc")


def scope_of(connection: Any) -> Scope:
    """Return the scope of a connector's connection."""
    return Scope(f"{connection._host}:{connection._port}", connection.cluster_name or "")


def _credentials(connection: Any) -> Credentials:
    """Return what authenticates `connection`: asked of it each time, so that nothing is kept here."""
    owner = weakref.ref(connection)

    def supplied() -> tuple[Any, Metadata]:
        alive = owner()
        if alive is None:
            raise ReferenceError("the connection has been let go")
        metadata = alive._authenticate_metadata()
        return alive._build_authenticate_request(), tuple(metadata)

    return supplied


def _cover(connection: Any, settings: Settings | None) -> None:
    """Wrap the channel that a connection has just made, unless it is wrapped."""
    from bluegreen_adapters.e6data_errors import Lost, Unavailable

    if isinstance(connection._channel, SwitchingChannel):
        return
    manager = managed(scope_of(connection), settings)
    credentials = None if connection._uses_oauth else _credentials(connection)
    link = Link(manager, PROTOCOL, credentials=credentials, raised=Raised(Lost, Unavailable))
    connection._channel = SwitchingChannel(connection._channel, link)
    connection._client = type(connection._client)(connection._channel)


_patched: dict[tuple[Any, str], Any] = {}
"""What was patched, and what was there before."""


def _patch(owner: Any, name: str, made: Callable[[Any], Any]) -> None:
    """Replace an attribute by what `made` makes of it, unless that has been done."""
    if (owner, name) not in _patched:
        _patched[owner, name] = stock = getattr(owner, name)
        setattr(owner, name, functools.wraps(stock)(made(stock)))


def _spare(register: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    """Keep the ids of covered queries out of the connector's own map of queries: that map would hold on to an
    id for ever, and so nobody could notice that a query has been let go."""

    def _register_query_strategy(query_id: str, strategy: Any) -> None:
        if not isinstance(query_id, QueryId):
            register(query_id, strategy)

    return _register_query_strategy


def install(settings: Settings | None = None) -> None:
    """Cover every connection that the connector makes from now on. Installing twice is harmless.

    Args:
        settings: of every scope that is new; from the environment by default.

    Raises:
        UnsupportedConnector: the connector is missing or of an unknown version; nothing was patched.
    """
    connector = _connector()

    def covering(create: Callable[[Any], None]) -> Callable[[Any], None]:
        def _create_client(self: Any) -> None:
            create(self)
            _cover(self, settings)

        return _create_client

    _patch(connector, "_register_query_strategy", _spare)
    _patch(connector.Connection, "_create_client", covering)


def uninstall() -> None:
    """Undo `install`. Connections that are open stay covered, except that a cursor of theirs that is let go
    without `clear` is then noticed only when its connection is."""
    while _patched:
        (owner, name), stock = _patched.popitem()
        setattr(owner, name, stock)


def connect(*args: Any, settings: Settings | None = None, **kwargs: Any) -> Any:
    """Connect as `e6data_python_connector.e6data_grpc.connect` does; the connection is covered.

    Args:
        settings: of the connection's scope, if that is new; from the environment by default.

    Returns:
        The connector's own `Connection`.

    Raises:
        UnsupportedConnector: the connector is missing or of an unknown version.
        ScopeConflict: the scope exists with other settings.
    """
    connector = _connector()
    _patch(connector, "_register_query_strategy", _spare)

    class Connection(connector.Connection):  # type: ignore[misc,name-defined]
        """The connector's connection, on a channel on which the cluster appears never to switch."""

        def _create_client(self) -> None:
            connector.Connection._create_client(self)
            _cover(self, settings)

    return Connection(*args, **kwargs)
