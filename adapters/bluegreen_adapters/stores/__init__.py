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
from typing import Final
from urllib.parse import urlsplit

from bluegreen.errors import SettingsError
from bluegreen.store import Store

_OPENERS: Final = {
    "memory": "bluegreen_adapters.stores.memory",
    "lmdb": "bluegreen_adapters.stores.lmdb_file",
    "redis": "bluegreen_adapters.stores.redis_stream",
    "rediss": "bluegreen_adapters.stores.redis_stream",
}
"""Which module opens which kind of URL: its function `opened(url)`."""


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
