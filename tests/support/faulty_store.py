"""A store in memory whose faults a test chooses: what a real one does is tested where that one is."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs

from bluegreen.errors import StoreError
from bluegreen.store import Stamp, StoreRecord
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.stores.memory import MemoryStore


class FaultyStore:
    """Several managers that join one stand for several processes."""

    def __init__(self) -> None:
        self.name = "faulty:"
        self.asked: list[str] = []
        self._inner = MemoryStore()
        self._reason: str | None = None
        self._faults = 0
        self._expected: dict[str, threading.Event] = {}
        self._glitch: str | None = None

    def fail(self, reason: str = "it is away") -> None:
        """Answer nothing from now on; whoever looks may try again at once."""
        self._reason = reason
        self.retry_due()

    def fail_once(self, what: str) -> None:
        """Fail the next `read`, `write`, `lease` or `release`, and nothing else. Nobody is told to try again."""
        self._glitch = what

    def heal(self) -> None:
        """Answer again."""
        self._reason = None
        self.retry_due()

    def retry_due(self) -> None:
        """It is worth trying again, as a real store says now and then."""
        self._faults += 1

    def replace(self) -> None:
        """Be another store, and empty."""
        self._inner = MemoryStore()
        self._faults += 1_000  # the new one counts from nothing

    def expect(self, what: str) -> threading.Event:
        """Return what is set when somebody asks for `what` the next time."""
        return self._expected.setdefault(what, threading.Event())

    def put(self, scope: Scope, strategy: Strategy, at: Stamp) -> StoreRecord:
        """Write as some other process would."""
        there = self._inner.read(scope)
        record = attrs.evolve(
            there,
            store_epoch=there.store_epoch + 1,
            announced=strategy,
            verified=strategy,
            at=at,
            who="other:1",
        )
        written = self._inner.write(scope, record)
        assert written is not None
        self.retry_due()
        return written

    def watch(self, scope: Scope) -> Callable[[], int]:
        return lambda: self._faults + self._inner.watch(scope)()

    def read(self, scope: Scope) -> StoreRecord:
        self._met("read")
        return self._inner.read(scope)

    def write(self, scope: Scope, record: StoreRecord) -> StoreRecord | None:
        self._met("write")
        return self._inner.write(scope, record)

    def lease(self, scope: Scope, holder: str, ttl_s: float) -> bool:
        self._met("lease")
        return self._inner.lease(scope, holder, ttl_s)

    def release(self, scope: Scope, holder: str) -> None:
        self._met("release")
        self._inner.release(scope, holder)

    def close(self) -> None:
        self._inner.close()

    def _met(self, what: str) -> None:
        self.asked.append(what)
        if what in self._expected:
            self._expected.pop(what).set()
        if self._glitch == what:
            self._glitch = None
            raise StoreError(self.name, "it did not answer this once")
        if self._reason is not None:
            raise StoreError(self.name, self._reason)
