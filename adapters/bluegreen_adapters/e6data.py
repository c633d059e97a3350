"""The e6data connector from PyPI, without its switching losses.

    from bluegreen_adapters.e6data import connect      # the stock signature
    connection = connect(host="localhost", port=80, username="me@example.com", password="token")

or, for code that cannot be changed, once at start:

    from bluegreen_adapters import e6data
    e6data.install()                                   # and uninstall() undoes it

The connector's own switching code stays where it is; it never sees a switch. What is patched is one method,
`Connection._create_client`: after it has made its channel, the channel is wrapped and the stub made again.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import weakref
from typing import Any, Final

import grpc

from bluegreen.errors import BluegreenError, QueryLost, StrategyUnavailable
from bluegreen.registry import managed
from bluegreen.settings import Settings
from bluegreen.vocabulary import Scope
from bluegreen_adapters.grpc_sync import SwitchingChannel
from bluegreen_adapters.link import Link, Raised
from bluegreen_adapters.protocol import Credentials, Fault, Metadata, Method, Protocol, Role, StatusRule

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
        "getNextResultBatchV2": Method(Role.USE, effect="fetched", rows=("resultBatches",), done="endOfStream"),
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
    return Scope(f"{connection._host}:{connection._port}", connection.cluster_name or "")  # noqa: SLF001


def _raised() -> Raised:
    """Return our errors as classes that are also the connector's, so that handlers of its users work."""
    from e6data_python_connector.exceptions import OperationalError
    from grpc._channel import _InactiveRpcError

    class Lost(QueryLost, OperationalError):  # type: ignore[misc]
        """`QueryLost`, for those who catch the connector's `OperationalError`."""

    class Unavailable(StrategyUnavailable, OperationalError, _InactiveRpcError):  # type: ignore[misc]
        """`StrategyUnavailable`, for those who catch the connector's `OperationalError` or gRPC's errors.

        The connector closes its channel for good if authenticating fails with anything but a gRPC error.
        """

        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return str(self)

        def debug_error_string(self) -> str:
            return str(self)

        def initial_metadata(self) -> tuple[()]:
            return ()

        def trailing_metadata(self) -> tuple[()]:
            return ()

        __repr__ = StrategyUnavailable.__repr__
        __str__ = StrategyUnavailable.__str__

    for cls in (Lost, Unavailable):
        cls.__qualname__ = cls.__name__
        globals()[cls.__name__] = cls  # where pickle looks for it
    return Raised(Lost, Unavailable)


def _credentials(connection: Any) -> Credentials:
    """Return what authenticates `connection`: asked of it each time, so that nothing is kept here."""
    owner = weakref.ref(connection)

    def supplied() -> tuple[Any, Metadata]:
        alive = owner()
        if alive is None:
            raise ReferenceError("the connection has been let go")
        metadata = alive._authenticate_metadata()  # noqa: SLF001
        return alive._build_authenticate_request(), tuple(metadata)  # noqa: SLF001

    return supplied


def _cover(connection: Any, raised: Raised, settings: Settings | None) -> None:
    """Wrap the channel that a connection has just made."""
    from e6data_python_connector.server.e6x_engine_pb2_grpc import QueryEngineServiceStub

    manager = managed(scope_of(connection), settings)
    link = Link(manager, PROTOCOL, credentials=_credentials(connection), raised=raised)
    connection._channel = SwitchingChannel(connection._channel, link)  # noqa: SLF001
    connection._client = QueryEngineServiceStub(connection._channel)  # noqa: SLF001


_installed: dict[str, Any] = {}


def install(settings: Settings | None = None) -> None:
    """Cover every connection that the connector makes from now on. Installing twice is harmless.

    Args:
        settings: of every scope; from the environment by default.

    Raises:
        UnsupportedConnector: the connector is missing or of an unknown version; nothing was patched.
    """
    connector = _connector()
    if _installed:
        return
    stock, raised = connector.Connection._create_client, _errors()  # noqa: SLF001

    def _create_client(self: Any) -> None:
        stock(self)
        if not isinstance(self._channel, SwitchingChannel):  # noqa: SLF001
            _cover(self, raised, settings)

    connector.Connection._create_client = _create_client  # noqa: SLF001
    _installed["_create_client"] = stock


def uninstall() -> None:
    """Undo `install`. Connections that are open stay covered."""
    if _installed:
        _connector().Connection._create_client = _installed.pop("_create_client")  # noqa: SLF001


def connect(*args: Any, settings: Settings | None = None, **kwargs: Any) -> Any:
    """Connect as `e6data_python_connector.e6data_grpc.connect` does; the connection is covered.

    Args:
        settings: of the connection's scope, if that is new; from the environment by default.

    Returns:
        The connector's own `Connection`.

    Raises:
        UnsupportedConnector: the connector is missing or of an unknown version.
    """
    connector, raised = _connector(), _errors()

    class Connection(connector.Connection):  # type: ignore[misc,name-defined]
        """The connector's connection, on a channel on which the cluster appears never to switch."""

        def _create_client(self) -> None:
            super()._create_client()
            if not isinstance(self._channel, SwitchingChannel):
                _cover(self, raised, settings)

    return Connection(*args, **kwargs)


_known_errors: list[Raised] = []


def _errors() -> Raised:
    if not _known_errors:
        _known_errors.append(_raised())
    return _known_errors[0]
