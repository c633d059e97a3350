"""Work that may block, done by a thread of its own: whoever asks waits for a bounded time.

>>> worker = Bounded("example:", wait_s=5.0)
>>> worker.do(lambda: 6 * 7)
42
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from typing import Any, TypeVar

from bluegreen.errors import StoreError
from bluegreen.runtime.fork_safety import reborn_in_children

T = TypeVar("T")
Job = tuple[Callable[[], Any], Future[Any]] | None
"""What is to be done, and what will have its result; none ends the thread."""


class Bounded:
    """A thread that does one job after the other. It begins with the first job, and anew in a forked child.

    Args:
        name: of the store, for errors.
        wait_s: seconds that a caller waits at most.
        late: called when a job has ended for which nobody waited any more.
    """

    def __init__(self, name: str, wait_s: float, late: Callable[[], object] = lambda: None) -> None:
        self._name, self._wait_s, self._late = name, wait_s, late
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._since_s: float | None = None
        reborn_in_children(self)

    def do(self, job: Callable[[], T], wait_s: float | None = None) -> T:
        """Return what `job` returns, or raise what it raises.

        Args:
            wait_s: another bound than the usual one.

        Raises:
            StoreError: it has not ended in time, or one before it has not. Whether it is done later is not known,
                unless it had not begun: then it never is.
        """
        bound_s = self._wait_s if wait_s is None else wait_s
        since_s = self._since_s
        if since_s is not None and time.monotonic() - since_s > bound_s:
            raise StoreError(self._name, "it is still busy with what it was asked before")
        done = self.begin(job)
        try:
            return done.result(bound_s)
        except TooLate:
            if not done.cancel() and not done.done():
                done.add_done_callback(lambda _: self._late())
            raise StoreError(self._name, f"no answer within {1000 * bound_s:g} ms") from None

    def begin(self, job: Callable[[], T]) -> Future[T]:
        """Let `job` be done after those before it, and do not wait; return what will have its result."""
        done: Future[T] = Future()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, args=(self._jobs,), name="bluegreen-store", daemon=True
                )
                self._thread.start()
            self._jobs.put((job, done))
        return done

    def end(self) -> None:
        """Let the thread end, after what it was asked; another one begins with the next job."""
        with self._lock:
            if self._thread is not None:
                self._jobs.put(None)
            self._jobs, self._thread, self._since_s = queue.SimpleQueue(), None, None

    def after_fork(self) -> None:
        """Begin anew: the thread, and what it was asked, belong to the parent."""
        self._lock = threading.Lock()
        self._jobs = queue.SimpleQueue()
        self._thread, self._since_s = None, None

    def _work(self, jobs: queue.SimpleQueue[Job]) -> None:
        while True:
            asked = jobs.get()
            if asked is None:
                return
            job, done = asked
            if not done.set_running_or_notify_cancel():
                continue
            self._since_s = time.monotonic()
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001  it belongs to whoever has asked
                self._since_s = None
                done.set_exception(error)
            else:
                self._since_s = None
                done.set_result(result)
            del asked, job, done
