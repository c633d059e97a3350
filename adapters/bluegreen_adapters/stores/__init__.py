"""Where processes share what they know: `open_store` makes a store of a URL. Each module imports its own dependency.

| URL | who shares it |
| --- | --- |
| `memory:` | the threads and tasks of this process |
| `lmdb:///run/user/1000/bluegreen` | the processes of this host |
| `redis://...`, `rediss://...` | the hosts of a fleet |
| `lmdb:///run/user/1000/bluegreen?behind=redis://...` | a fleet, with one process per host that talks to Redis |

    >>> open_store("memory:").name
    'memory:'
"""

from __future__ import annotations

import importlib
import os
import threading
from typing import Final
from urllib.parse import urlsplit

from bluegreen.errors import SettingsError
from bluegreen.runtime.manager import StrategyManager
from bluegreen.store import Store

_OPENERS: Final = {
    "memory": "bluegreen_adapters.stores.memory",
    "lmdb": "bluegreen_adapters.stores.lmdb",
    "redis": "bluegreen_adapters.stores.redis",
    "rediss": "bluegreen_adapters.stores.redis",
    "redis+sentinel": "bluegreen_adapters.stores.redis",
    "redis+cluster": "bluegreen_adapters.stores.redis",
}
"""Which module opens which kind of URL: its function `opened(url)`."""


_NOTHING_SHARED: Final = "memory:"
_open: dict[str, Store] = {}
_lock = threading.Lock()


def join_store(manager: StrategyManager) -> StrategyManager:
    """Return `manager`, after it has joined the store of its settings. A process has one store for each URL.

    Raises:
        SettingsError: no store is named so; the manager has joined none.
    """
    url = manager.settings.store
    if url != _NOTHING_SHARED and manager.exchange is None:
        manager.join(shared(url))
    return manager


def shared(url: str) -> Store:
    """Return the store of a URL, the same one for the whole process.

    Raises:
        As `open_store`.
    """
    with _lock:
        store = _open.get(url)
        if store is None:
            store = _open[url] = open_store(url)
    return store


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  a thread that is not here may have held it
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def open_store(url: str) -> Store:
    """Return the store that `url` names. It need not be there yet: what is absent is met when it is read.

    Raises:
        SettingsError: no store is named so, or an option of it is wrong; every finding at once.
        ModuleNotFoundError: the extra that it needs is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _OPENERS:
        accepted = ", ".join(f"{known}:" for known in _OPENERS)
        raise SettingsError([f"store is {url!r}; accepted: URLs that begin with {accepted}"])
    store: Store = importlib.import_module(_OPENERS[scheme]).opened(url)
    return store
