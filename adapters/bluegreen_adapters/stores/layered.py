"""A store of a fleet behind the store of a host: `lmdb:///run/user/1000/bluegreen?behind=redis://host`.

Processes look into the near store only. One process of the host, which holds a lease there, carries news between the
two; if it dies, another one takes over. Whose news counts is decided by `SHARING`, as for any process.

Source: spec, section 4.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from typing import Final

from bluegreen.errors import StoreError
from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.store_synchroniser import StoreSynchroniser
from bluegreen.store import Store, StoreRecord
from bluegreen.types import Scope, Strategy

TTL_S: Final = 1.0
"""How long a process may be silent that carries news, before another one does."""
_RENEW_S: Final = 0.25
_LOOK_S: Final = 0.005


class LayeredStore:
    """A near store, and one behind it.

    Args:
        near: of this host.
        behind: URL of the store of the fleet; it is opened by the process that carries news.
    """

    def __init__(self, near: Store, behind: str) -> None:
        from bluegreen_adapters.stores import open_store

        self._near = near
        self._far = open_store(behind)
        self.name = f"{near.name} behind which is {self._far.name}"
        self._carriers: dict[Scope, Carrier] = {}
        self._lock = threading.Lock()
        reborn_in_children(self)

    def watch(self, scope: Scope) -> Callable[[], int]:
        """As `Store.watch`, of the near store."""
        with self._lock:
            carrier = self._carriers.get(scope)
            if carrier is None:
                carrier = self._carriers[scope] = Carrier(scope, self._near, self._far)
        carrier.begin()
        look = self._near.watch(scope)

        def looking() -> int:
            if carrier.idle:  # this is a child that was forked, and its parent's thread is not here
                carrier.begin()
            return look()

        return looking

    def read(self, scope: Scope) -> StoreRecord:
        """As `Store.read`, of the near store."""
        return self._near.read(scope)

    def write(self, scope: Scope, record: StoreRecord) -> StoreRecord | None:
        """As `Store.write`, to the near store."""
        return self._near.write(scope, record)

    def lease(self, scope: Scope, holder: str, ttl_s: float) -> bool:
        """As `Store.lease`, among the processes of this host."""
        return self._near.lease(scope, holder, ttl_s)

    def release(self, scope: Scope, holder: str) -> None:
        """As `Store.release`."""
        self._near.release(scope, holder)

    def close(self) -> None:
        """As `Store.close`, both."""
        for carrier in tuple(self._carriers.values()):
            carrier.end()
        self._near.close()
        self._far.close()

    def after_fork(self) -> None:
        """In a forked child: threads are the parent's."""
        self._lock = threading.Lock()
        for carrier in self._carriers.values():
            carrier.after_fork()


class Carrier:
    """The thread that carries news of a scope, while this process holds the lease for that.

    Attributes:
        idle: whether there is no thread.
        carries: whether it holds the lease.
    """

    def __init__(self, scope: Scope, near: Store, far: Store) -> None:
        self.idle, self.carries = True, False
        self._scope, self._near, self._far = scope, near, far
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._as = Scope(scope.target, f"{scope.cluster} carrier")
        self._holder = ""

    def begin(self) -> None:
        """Begin, unless it has begun."""
        with self._lock:
            if self.idle and not self._over.is_set():
                self.idle = False
                self._holder = f"{os.getpid()}:{secrets.token_hex(4)}"
                threading.Thread(target=self._run, name="bluegreen-carrier", daemon=True).start()

    def end(self) -> None:
        """End soon; the lease ends by itself."""
        self._over.set()

    def after_fork(self) -> None:
        """In a forked child: the thread is the parent's."""
        self._lock, self._over = threading.Lock(), threading.Event()
        self.idle, self.carries = True, False

    def _run(self) -> None:
        while not self._over.is_set():
            self.carries = self._has_lease()
            if self.carries:
                self._carry()
            else:
                self._over.wait(_RENEW_S)

    def _has_lease(self) -> bool:
        try:
            return self._near.lease(self._as, self._holder, TTL_S)
        except StoreError:
            return False

    def _carry(self) -> None:
        """Carry news both ways until the lease is lost. Each side has a synchroniser, and hears for the other."""
        near = StoreSynchroniser(self._scope, self._near, lambda heard: _carried(near, far, heard), _untold)
        far = StoreSynchroniser(self._scope, self._far, lambda heard: _carried(far, near, heard), _untold)
        while not self._over.is_set() and self._has_lease():
            for _ in range(int(_RENEW_S / _LOOK_S)):
                near.attend()
                far.attend()
                if self._over.wait(_LOOK_S):
                    break


def _carried(source: StoreSynchroniser, target: StoreSynchroniser, heard: Strategy) -> None:
    """Tell one store what the other one says, as of when that was decided."""
    target.decided(heard, verified=source.known.verified is heard, at=source.known.at)


def _untold(_: str | None) -> None:
    """A store that fails is told by the managers that use it; the far one by nobody: the host goes on by itself."""
