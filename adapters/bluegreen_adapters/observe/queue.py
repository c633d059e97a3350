"""Delivery: what managers tell is handed on in a thread of its own, so that no query waits for who gets it.

>>> from bluegreen.runtime.registry import forget, managed
>>> from bluegreen.types import Scope
>>> found = []
>>> delivery = Delivery(found.extend)
>>> stop = delivery.follow_all()
>>> ticket = managed(Scope("db.example:443", "delivery")).start(lambda strategy, seconds_left: None)
>>> delivery.close()
True
>>> [type(one).__name__ for one in found]
['CacheMissed', 'Record', 'DetectionEnded', 'Record']
>>> stop(); forget(Scope("db.example:443", "delivery"))
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.rate_limit import TokenBucket
from bluegreen.runtime.telemetry import TelemetryEvent
from bluegreen_adapters.observe.subscribe_all import follow_all

LIMIT: Final = 10_000
"""How many happenings wait at most. What comes then is dropped, and counted."""

PAUSE_S: Final = 0.1
"""For how long happenings are gathered before they are handed on."""

_BATCH: Final = 256
_EACH_S: Final = 60.0
_log = logging.getLogger("bluegreen.observe")

Take = Callable[[Sequence[TelemetryEvent]], object]
"""Gets what has happened, in the order in which it was told, in a thread of its own."""


class Delivery:
    """A bounded queue between managers and somebody who may be slow, and may raise.

    Whoever tells pays for one append. The thread begins with the first happening, and waits without a timeout while
    there is nothing to hand on. A forked child begins with an empty queue: what waited is its parent's.

    Args:
        takes: get what has happened, up to 256 at a time, each after the other: one queue for several costs less than
            one for each. What one raises is logged once a minute, and counted, and harms no other one.
        limit: how many happenings wait at most.
        pause_s: for how long happenings are gathered, in seconds.

    Attributes:
        dropped: how many happenings came while as many as `limit` were waiting.
        failed: how many were in a batch for which a `take` raised.
    """

    def __init__(self, *takes: Take, limit: int = LIMIT, pause_s: float = PAUSE_S) -> None:
        if limit < 1:
            raise ValueError(f"limit is {limit!r}; accepted: 1 or more")
        self._takes, self._limit, self._pause_s = takes, limit, pause_s
        self.dropped = self.failed = 0
        self._complaints = TokenBucket(1)
        self._closed = False
        self._begin()
        reborn_in_children(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[TelemetryEvent] = deque()
        self._drops = itertools.count(self.dropped + 1)
        self._awake = False
        self._wake, self._hurry, self._rested = threading.Event(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, happening: TelemetryEvent) -> None:
        """Hand a happening over, or count it as dropped; returns at once."""
        if self._closed or len(self._waiting) >= self._limit:
            self.dropped = next(self._drops)
            return
        self._waiting.append(happening)
        if not self._awake:
            self._awaken()

    def follow(self, manager: StrategyManager) -> Callable[[], None]:
        """Take what `manager` tells from now on; returns what ends that."""
        return manager.observe(self.put)

    def follow_all(self) -> Callable[[], None]:
        """Take what each manager of this process tells, those that are new from now on too; returns what ends that."""
        return follow_all(self.put)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Hand on what was put until now, at once; return whether that was done within `timeout_s` seconds."""
        over_s = time.monotonic() + timeout_s
        for _ in range(2):  # a round that goes on already may have looked before; the next one has not
            if self._thread is None:
                return not self._waiting
            self._rested.clear()
            self._hurry.set()
            self._wake.set()
            if not self._rested.wait(max(over_s - time.monotonic(), 0.0)):
                return False
        if not self._closed:
            self._hurry.clear()
        return True

    def close(self, timeout_s: float = 5.0) -> bool:
        """Hand on what waits, and take nothing more; return whether all was handed on within `timeout_s` seconds."""
        self._closed = True
        self._hurry.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        return not self._waiting and (thread is None or not thread.is_alive())

    def after_fork(self) -> None:
        """In a forked child: no thread is here, and what waits is told by the parent."""
        self._begin()

    def _awaken(self) -> None:
        with self._lock:
            self._awake = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bluegreen delivery", daemon=True)
                self._thread.start()
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            self._hurry.wait(self._pause_s)
            self._awake = False  # before the queue is emptied: who comes later sets the event again
            while self._waiting:
                self._hand_on([self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))])
            self._rested.set()
            if self._closed:
                return

    def _hand_on(self, batch: Sequence[TelemetryEvent]) -> None:
        for take in self._takes:
            try:
                take(batch)
            except Exception:  # noqa: BLE001  whoever takes it must not end the thread
                self.failed += len(batch)
                left_out = self._complaints.use(time.monotonic(), _EACH_S)
                if left_out is not None:
                    _log.exception(
                        "%d happenings were not taken (%d more times before)", len(batch), left_out
                    )
