"""A store in the memory of this process: the default, and what the others are measured against.

>>> from bluegreen.store import StoreRecord
>>> from bluegreen.types import Scope
>>> store, scope = MemoryStore(), Scope("db.example:443")
>>> empty = store.read(scope)
>>> written = store.write(scope, StoreRecord(incarnation=empty.incarnation, store_epoch=1, announced="green"))
>>> written.store_epoch, store.write(scope, written)     # an epoch is written once
(1, None)
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from bluegreen.errors import StoreError
from bluegreen.machines.lease import Lease, leased, released
from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.host import stamp
from bluegreen.store import StoreRecord
from bluegreen.types import Scope


class MemoryStore:
    """A store for the threads and tasks of one process. A forked child has a copy, and shares it no longer."""

    def __init__(self, name: str = "memory:") -> None:
        self.name = name
        self._incarnation = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._records: dict[Scope, StoreRecord] = {}
        self._leases: dict[Scope, Lease] = {}
        self._moves: dict[Scope, list[int]] = {}
        self._closed = False
        reborn_in_children(self)

    def watch(self, scope: Scope) -> Callable[[], int]:
        """As `Store.watch`."""
        moves = self._moves.setdefault(scope, [0])
        return lambda: moves[0]

    def read(self, scope: Scope) -> StoreRecord:
        """As `Store.read`."""
        self._check()
        return self._records.get(scope) or StoreRecord(incarnation=self._incarnation)

    def write(self, scope: Scope, record: StoreRecord) -> StoreRecord | None:
        """As `Store.write`."""
        with self._lock:
            there = self.read(scope)
            if (record.incarnation, record.store_epoch) != (there.incarnation, there.store_epoch + 1):
                return None
            self._records[scope] = record
            self._moves.setdefault(scope, [0])[0] += 1
        return record

    def lease(self, scope: Scope, holder: str, ttl_s: float) -> bool:
        """As `Store.lease`."""
        with self._lock:
            self._check()
            taken = leased(self._leases.get(scope), holder, ttl_s, stamp())
            if taken is not None:
                self._leases[scope] = taken
        return taken is not None

    def release(self, scope: Scope, holder: str) -> None:
        """As `Store.release`."""
        with self._lock:
            self._check()
            if released(self._leases.get(scope), holder, stamp()) is None:
                self._leases.pop(scope, None)

    def close(self) -> None:
        """As `Store.close`."""
        self._closed = True
        for moves in tuple(self._moves.values()):
            moves[0] += 1

    def _check(self) -> None:
        if self._closed:
            raise StoreError(self.name, "it is closed")

    def after_fork(self) -> None:
        """In a forked child: a thread that is not here may have held the lock."""
        self._lock = threading.Lock()


def opened(url: str) -> MemoryStore:
    """Return a new store; nothing of the URL matters."""
    return MemoryStore(url)
