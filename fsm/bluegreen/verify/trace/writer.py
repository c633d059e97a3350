"""Journal: writes every step of managers to a file, in their order, as lines that `checker` reads.

>>> import io
>>> from bluegreen.runtime.manager import StrategyManager
>>> from bluegreen.verify.trace.checker import check_log
>>> from bluegreen.types import Scope
>>> text = io.BytesIO()
>>> with Journal(text) as journal:
...     manager = StrategyManager(Scope("db.example:443"))
...     stop = journal.follow(manager)
...     ticket = manager.start(lambda strategy, seconds_left: None)
>>> check_log(text.getvalue().splitlines(keepends=True)).records
2
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, Final

import attrs

from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import Record
from bluegreen.verify.trace.format import closed, first_line, opened, recorded, sealed
from bluegreen.verify.trace.reorder_buffer import Turns

HELD_LIMIT: Final = 10_000
"""How many records wait for one that comes before them. If it does not come, they are written without it."""


def _nothing() -> None:
    """What ends the following of a manager that is not yet followed."""


@attrs.define(eq=False)
class _Followed:
    """A manager whose steps are written: up to which one, and the lines that came before their turn."""

    manager: StrategyManager
    number: int
    stop: Callable[[], None] = _nothing
    turns: Turns[str] = attrs.field(factory=Turns[str])

    def open(self) -> str:
        """Return the line with which it begins; the steps up to there are not written."""
        snapshot = self.manager.snapshot
        self.turns.begin(snapshot.sequence)
        return opened(self.number, self.manager.scope, snapshot, self.manager.settings)


class Journal:
    """A file to which the steps of managers are written. Each line is handed to the system when it is complete.

    Threads hand over their records in any order; they are written in the order of their steps. Who takes a
    step waits for the lines that others are writing, and for nothing else. A forked child writes to a file of
    its own, `<path>.<process id>`, or nothing if it was given a stream.

    Args:
        to: the path of a file, which is continued if it exists; or a binary stream, which is left open.

    After an error of the file nothing more is written to it: what is there stays right as far as it goes.
    A step whose thread is interrupted before it hands over its record is missing; the check says so.

    Source: spec, section 4, Audit; every other step is written too, or the contexts would not join.
    """

    def __init__(self, to: str | os.PathLike[str] | BinaryIO) -> None:
        self._path: str | None = None
        self._file: Any = None
        self._lock = threading.Lock()
        self._followed: tuple[_Followed, ...] = ()
        self._numbers = itertools.count(1)
        self._first = [first_line(os.getpid(), time.time())]
        self._crc = 0
        self._lines = 0
        self._over = False
        if isinstance(to, (str, os.PathLike)):
            self._path = os.fspath(to)
            self._file = _continued(self._path)
        else:
            self._file = to
        self._write()
        _journals.add(self)

    def follow(self, manager: StrategyManager) -> Callable[[], None]:
        """Write the steps of `manager` from now on; returns what ends that."""
        one = _Followed(manager, next(self._numbers))
        one.stop = manager.subscribe(lambda record: self._apply(one, record), every_step=True)
        with self._lock:
            if not self._over:
                self._followed = (*self._followed, one)
                self._write(one.open())  # now: what it does after it was subscribed is handed over
                self._write(*one.turns.due())

        def stop() -> None:
            one.stop()
            with self._lock:
                self._followed = tuple(other for other in self._followed if other is not one)

        return stop

    def close(self) -> None:
        """Write the last line; later steps are not written. Call it when no query starts or ends any more."""
        for one in self._followed:
            one.stop()
        with self._lock:
            if self._over:
                return
            for one in self._followed:
                self._write(*one.turns.due(gaps=True))
            if not self._first:
                self._write(closed(self._lines))
            self._end()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _apply(self, one: _Followed, record: Record) -> None:
        line = recorded(one.number, record)
        with self._lock:
            if not self._over:
                one.turns.held[record.sequence] = line
                due = one.turns.due(gaps=len(one.turns.held) > HELD_LIMIT)
                if due:
                    self._write(*due)

    # The lock is held, or nobody else is here.

    def _write(self, *texts: str) -> None:
        """Write lines, after those that are to come first."""
        if self._file is None:
            self._file = _continued(f"{self._path}.{os.getpid()}")
        for text in (*self._first, *texts):
            data, crc = sealed(text, self._crc)
            left = memoryview(data)
            try:
                while left:
                    left = left[self._file.write(left) :]
            except OSError:
                self._end()
                raise
            self._crc, self._lines = crc, self._lines + 1
        self._first = []

    def _end(self) -> None:
        self._over = True
        if self._path is not None and self._file is not None:
            self._file.close()

    def after_fork(self) -> None:
        """In a forked child: leave the parent its file, and begin another one with the first step."""
        self._lock = threading.Lock()
        if self._path is None:
            self._over = True
        if self._over:
            return
        if self._file is not None:
            self._file.close()
        self._file = None
        self._crc = self._lines = 0
        self._first = [first_line(os.getpid(), time.time()), *(one.open() for one in self._followed)]


def _continued(path: str) -> Any:
    """Return the file to append to. Its last line is ended if a crash left a part of one."""
    file = open(path, "a+b", buffering=0)  # noqa: SIM115  closed by the journal
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for journal in tuple(_journals):
        journal.after_fork()


if hasattr(os, "register_at_fork"):  # after the managers, which were registered when they were imported
    os.register_at_fork(after_in_child=_after_fork_in_child)
