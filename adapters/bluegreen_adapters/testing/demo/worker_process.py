"""The process with the load: started, listened to, and started again if it dies, as by a service manager."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Final

import attrs

from bluegreen.errors import BluegreenError
from bluegreen_adapters.testing.demo.results import Ledger, Vitals
from bluegreen_adapters.testing.demo.worker import CALL_BOUND_S, JOIN_BOUND_S, Orders

START_BOUND_S: Final = 20.0
"""Seconds that the load has to start."""

END_BOUND_S: Final = CALL_BOUND_S + JOIN_BOUND_S + 1.0
"""Seconds that the load has to end, after the last query has begun."""

CRASHES: Final = 5
"""How often the load is started again."""


class DemoError(BluegreenError):
    """The demo itself could not be carried out; the message says why."""


class Supervisor:
    """Runs the load in a process of its own. A context manager; nothing of it is left at its end.

    Args:
        orders: what the load is to do.
        told: called with the ledger after each query.

    Attributes:
        ledger: what has become of the queries.
        crashes: how often the process has died.
        vitals, round_trip_s: what the load has told of itself, if it was ordered to.

    Raises:
        DemoError: the load did not start.
    """

    def __init__(self, orders: Orders, told: Callable[[Ledger], None]) -> None:
        self.ledger = Ledger()
        self.crashes = 0
        self.vitals: list[Vitals] = []
        self.round_trip_s = 0.0
        self._orders = orders
        self._told = told
        self._started_s = 0.0
        self._closing = False
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._over = threading.Event()
        self._error: DemoError | None = None
        self._process, self._stderr = self._spawned(orders)
        self._reader = threading.Thread(target=self._supervise, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_BOUND_S):
            self._error = DemoError(f"the load did not start within {START_BOUND_S:g} s")
        if self._error is not None:
            self.close()
            raise self._error

    @property
    def pid(self) -> int:
        """Id of the process that has the load now."""
        return self._process.pid

    def begin(self, started_s: float) -> None:
        """Let the load begin.

        Args:
            started_s: monotonic second from which all seconds count. That clock is the same in all processes.
        """
        self._started_s = started_s
        self._write(repr(started_s))

    def wait_until(self, at_s: float) -> None:
        """Wait until a monotonic second.

        Raises:
            DemoError: the load has died too often.
        """
        self._over.wait(max(0.0, at_s - time.monotonic()))
        if self._error is not None:
            raise self._error
        time.sleep(max(0.0, at_s - time.monotonic()))

    def finish(self) -> None:
        """Wait until the load is over; what has not come back by then has failed.

        Raises:
            DemoError: the load has died too often.
        """
        self._over.wait(max(0.0, self._started_s + self._orders.most_s + END_BOUND_S - time.monotonic()))
        self.close()
        if self._error is not None:
            raise self._error
        self.ledger.all_ended(time.monotonic() - self._started_s, "it never came back")

    def close(self) -> None:
        """End the process, and whatever waits for it."""
        with self._lock:
            self._closing = True
            self._process.kill()
        self._reader.join()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _supervise(self) -> None:
        try:
            while not self._listened():
                self._take_over()
        except DemoError as error:
            self._error = error
        finally:
            self._ready.set()
            self._over.set()

    def _listened(self) -> bool:
        """Take note of what the process says until it ends; return whether it has done all that it had to."""
        over = False
        with self._process as process, self._stderr:
            assert process.stdout is not None
            for line in process.stdout:
                said: dict[str, Any] = json.loads(line)
                if "began" in said:
                    self.ledger.began(*said["began"])
                elif "ended" in said:
                    self.ledger.ended(*said["ended"])
                    self._told(self.ledger)
                elif "vitals" in said:
                    self.vitals.append(Vitals(*said["vitals"]))
                elif "round_trip_s" in said:
                    self.round_trip_s = said["round_trip_s"]
                elif "over" in said:
                    over = True
                    self._over.set()
                elif self.crashes:
                    self._write(repr(self._started_s))
                else:
                    self._ready.set()
            process.wait()
            over = over or self._closing
            if not over and not self._ready.is_set():
                raise DemoError(f"the load did not start: {self._last_words()}")
            if not over and self.crashes >= CRASHES:
                raise DemoError(f"the load has died {self.crashes + 1} times: {self._last_words()}")
        return over

    def _take_over(self) -> None:
        """Start another load for the rest of the time."""
        self.crashes += 1
        now_s = time.monotonic() - self._started_s
        self.ledger.all_ended(now_s, f"the process died with exit status {self._process.returncode}")
        rest = attrs.evolve(
            self._orders,
            least_queries=self._orders.least_queries - len(self.ledger.outcomes),
            first_thread=self.crashes * self._orders.threads,
        )
        with self._lock:
            if not self._closing:
                self._process, self._stderr = self._spawned(rest)

    def _spawned(self, orders: Orders) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        # A file, not a pipe: nobody has to read it for the process to go on.
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        process = subprocess.Popen(
            [sys.executable, "-m", "bluegreen_adapters.testing.demo.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        )
        self._process = process
        self._write(json.dumps(attrs.asdict(orders)))
        return process, stderr

    def _write(self, line: str) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):  # if it has died, the end of what it says tells so
            pipe.write(line.encode() + b"\n")
            pipe.flush()

    def _last_words(self) -> str:
        self._stderr.seek(0)
        told = self._stderr.read().decode(errors="replace").strip()
        return f"exit status {self._process.returncode}{': ' + told[-2000:] if told else ''}"
