"""The e6data connector from PyPI, without its switching losses, in all its ways in.

    from bluegreen_adapters.e6data import connect      # the stock signature; connect_async for asyncio
    connection = connect(host="localhost", port=80, username="me@example.com", password="token")

or, for code that cannot be changed, once at start:

    from bluegreen_adapters import e6data
    e6data.install()                                   # and uninstall() undoes it

`install` covers connections with and without V2 result batches, passwords and OAuth, the connection pools,
the SQLAlchemy dialect, asyncio, and the cluster managers that wake a suspended cluster. The connector's own
switching code stays where it is; it never sees a switch. What is patched is listed in `e6data_seams.SEAMS`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from types import ModuleType
from typing import Any, Final

import attrs

from bluegreen.config.loader import configured
from bluegreen.config.settings import Settings
from bluegreen.errors import BluegreenError
from bluegreen_adapters.e6data.protocol import CLUSTER_PROTOCOL, PROTOCOL
from bluegreen_adapters.stores import shared

__all__ = [
    "CLUSTER_PROTOCOL",
    "DISTRIBUTION",
    "PROTOCOL",
    "UnsupportedConnector",
    "connect",
    "connect_async",
    "install",
    "uninstall",
]

DISTRIBUTION: Final = "e6data-python-connector"
CHECKED_VERSIONS: Final = ("3.0",)
"""Series of the connector against which what is patched was checked."""


class UnsupportedConnector(BluegreenError):
    """The connector is missing, or of a version against which the adapter was not checked."""


def _checked() -> ModuleType:
    """Return the module with the seams.

    Raises:
        UnsupportedConnector: the connector is not installed, of another series, or not as it was when it was
            checked; nothing was patched.
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
    seams = importlib.import_module("bluegreen_adapters.e6data.patches")
    if missing := seams.missing():
        raise UnsupportedConnector(f"{DISTRIBUTION} {version} has no {', '.join(map(str, missing))}")
    return seams


def install(settings: Settings | None = None, *, store: str | None = None) -> None:
    """Cover everything that the connector opens from now on, in every way in. Installing twice is harmless.

    Args:
        settings: of every scope that is new; from the environment and a file by default.
        store: URL of the store that processes share, see `bluegreen_adapters.stores`; by default that of the settings.

    Raises:
        UnsupportedConnector: the connector is missing or of an unknown version; nothing was patched.
        SettingsError: no store is named so; nothing was patched.
    """
    seams = _checked()
    if store is not None:
        shared(store)
        settings = attrs.evolve(settings or configured().settings, store=store)
    seams.patch(settings)


def uninstall() -> None:
    """Undo `install`. Connections that are open stay covered, with two exceptions: a cursor of theirs that is dropped
    without `clear` is then noticed only when its connection is, and each batch counts as seen when it is received."""
    if importlib.util.find_spec("e6data_python_connector") is not None:
        importlib.import_module("bluegreen_adapters.e6data.patches").unpatch()


def connect(*args: Any, settings: Settings | None = None, **kwargs: Any) -> Any:
    """Connect as `e6data_python_connector.e6data_grpc.connect` does; the connection is covered.

    Args:
        settings: of the connection's scope, if that is new; from the environment and a file by default.

    Returns:
        The connector's own `Connection`.

    Raises:
        UnsupportedConnector: the connector is missing or of an unknown version.
        ScopeConflict: the scope exists with other settings.
    """
    return _checked().connection_class(settings)(*args, **kwargs)


async def connect_async(*args: Any, settings: Settings | None = None, **kwargs: Any) -> Any:
    """Connect as `e6data_python_connector.aio.connect` does; the connection is covered.

    Args:
        settings: of the connection's scope, if that is new; from the environment and a file by default.

    Returns:
        The connector's own `AsyncConnection`, open.

    Raises:
        UnsupportedConnector: the connector is missing or of an unknown version.
        ImportError, RuntimeError: the connector's extra `[async]` is missing, or Python is older than 3.11.
        ScopeConflict: the scope exists with other settings.
    """
    return await _checked().async_connection_class(settings)(*args, **kwargs).open()
