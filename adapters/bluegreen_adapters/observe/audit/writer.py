"""Audit: what changed something, every error and every lost query, as lines that cannot be changed unnoticed.

>>> import tempfile
>>> from bluegreen.runtime.registry import forget, managed
>>> from bluegreen.types import Scope
>>> from bluegreen_adapters.observe.audit.verifier import verify
>>> from bluegreen_adapters.observe.queue import Delivery
>>> folder = tempfile.TemporaryDirectory()
>>> audit = AuditWriter(folder.name)
>>> delivery = Delivery(audit)
>>> stop = delivery.follow_all()
>>> ticket = managed(Scope("db.example:443", "audit")).start(lambda strategy, seconds_left: None)
>>> delivery.close(), audit.close()
(True, None)
>>> verify(folder.name).records
2
>>> stop(); forget(Scope("db.example:443", "audit")); folder.cleanup()

Source: business logic, "Audit Requirements".
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.rate_limit import TokenBucket
from bluegreen.runtime.telemetry import (
    CacheMissed,
    Corrected,
    DetectionEnded,
    LockWaited,
    LossReported,
    QueryReplayed,
    RequestFailed,
    RequestRetried,
    SessionOpened,
    StoreBack,
    StoreLost,
    TelemetryEvent,
    UnlistedRefusal,
)
from bluegreen_adapters.observe.audit.format import KINDS, RETENTION_DAYS, Name, began, stamp
from bluegreen_adapters.observe.audit.minute_stats import Performance
from bluegreen_adapters.observe.audit.retention import prune
from bluegreen_adapters.observe.audit.rotation import Series, gap, pruned
from bluegreen_adapters.observe.audit.step_log import Changes
from bluegreen_adapters.observe.event_fields import log_entry
from bluegreen_adapters.observe.queue import Delivery

FILE_BYTES: Final = 16 << 20
"""After how many bytes another file begins."""

PRUNE_EACH_S: Final = 3600.0
_COMPLAIN_EACH_S: Final = 60.0
_STEPS: Final = ("all", "changes")
_log = logging.getLogger("bluegreen.observe")

_ERRORS: Final = (
    RequestFailed, UnlistedRefusal, RequestRetried, QueryReplayed, LossReported, StoreLost, StoreBack,
)  # fmt: skip
_MEASURED: Final = (CacheMissed, DetectionEnded, LockWaited, SessionOpened)
"""What is only counted, unless it is an error."""


class AuditWriter:
    """Writes the files of an audit: the `take` of a `Delivery`.

    A disk that is full, or refuses, stops nothing: what cannot be written is dropped, counted and logged, and as soon
    as the disk takes lines again, one of them says how many are missing.

    Args:
        folder: where the files are; it may be shared by many processes.
        steps: `all` that changed something, as the check against the table likes them best, or those alone that are
            `changes` of state or strategy.
        clock: seconds since 1970; tests pass their own.
        file_bytes: after how many bytes another file begins; another day begins one too.
        retention_days: for how many days each kind is kept, where that is not `RETENTION_DAYS`.

    Raises:
        ValueError: an argument is not what is accepted.
        OSError: the folder is not there, and cannot be made.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        steps: str = "all",
        clock: Callable[[], float] = time.time,
        file_bytes: int = FILE_BYTES,
        retention_days: Mapping[str, float] | None = None,
    ) -> None:
        if steps not in _STEPS:
            raise ValueError(f"steps is {steps!r}; accepted: {', '.join(_STEPS)}")
        if file_bytes < 1:
            raise ValueError(f"file_bytes is {file_bytes!r}; accepted: 1 or more")
        for kind, days in (retention_days or {}).items():
            if kind not in KINDS or not days > 0:
                raise ValueError(
                    f"retention_days[{kind!r}] is {days!r}; accepted: {', '.join(KINDS)}, above 0"
                )
        self._folder = Path(folder)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._every, self._clock, self._file_bytes = steps == "all", clock, file_bytes
        self._days = {**RETENTION_DAYS, **(retention_days or {})}
        self._deliveries: tuple[Delivery, ...] = ()
        self._closed = False
        self._begin()
        reborn_in_children(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._began: str | None = None
        self._changes, self._performance = Changes(every=self._every), Performance()
        self._series = {kind: Series(self._folder, kind, self._complain) for kind in KINDS}
        self._pruned_s: float | None = None
        self._complaints = TokenBucket(1)
        self._seen = {id(one): one.dropped for one in self._deliveries}

    def __call__(self, happenings: Sequence[TelemetryEvent]) -> None:
        """Write the lines of what has happened."""
        with self._lock:
            if self._closed:
                return
            now_s = self._clock()
            began, time = self._prepare(now_s)
            changes, errors, performance = list[str](), list[str](), self._performance.due(now_s)
            self._note_dropped(changes)
            self._changes.overdue(now_s, changes)
            self._performance.started(happenings)
            for other in self._changes.take(happenings, now_s, changes):
                self._other(other, changes, errors)
            self._write((changes, errors, performance), began, time)

    @property
    def written(self) -> int:
        """How many lines were written."""
        return sum(one.written for one in self._series.values())

    @property
    def dropped(self) -> int:
        """How many lines were not: the disk was full, or refused."""
        return sum(one.dropped for one in self._series.values())

    @property
    def trouble(self) -> str | None:
        """Why lines are not written now; none: the disk takes them."""
        return next((one.trouble for one in self._series.values() if one.trouble), None)

    def fed_by(self, delivery: Delivery) -> None:
        """Write a line when its queue has dropped something, since it came faster than it was taken."""
        with self._lock:
            self._deliveries = (*self._deliveries, delivery)
            self._seen[id(delivery)] = delivery.dropped

    def close(self) -> None:
        """Write what waits, and end the files; what comes later is not taken."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            began, time = self._prepare(self._clock())
            changes = list[str]()
            self._note_dropped(changes)
            self._changes.rest(changes)
            self._write((changes, [], self._performance.rest()), began, time)
            for one in self._series.values():
                one.end()

    def prune(self) -> int:
        """Remove what is kept no longer; return how many files were. It is done by itself, once an hour."""
        with self._lock:
            return self._prune(self._clock())

    def after_fork(self) -> None:
        """In a forked child: leave its parent the files, and begin others."""
        for one in self._series.values():
            one.leave()
        self._begin()

    # The lock is held, or nobody else is here.

    def _prepare(self, now_s: float) -> tuple[str, str]:
        """End files that are full or of another day, and remove old ones; then lines may be made.

        Returns:
            When this writer began, and the time, as they stand in names and lines.
        """
        time = stamp(now_s)
        if self._began is None:
            self._began = began(now_s)
        others = {kind for kind, one in self._series.items() if one.prepare(time, self._file_bytes)}
        if "changes" in others:
            self._changes.restart()
        if others or self._pruned_s is None or not 0 <= now_s - self._pruned_s < PRUNE_EACH_S:
            self._prune(now_s)
        return self._began, time

    def _note_dropped(self, out: list[str]) -> None:
        for delivery in self._deliveries:
            missing = delivery.dropped - self._seen[id(delivery)]
            if missing > 0:
                self._seen[id(delivery)] += missing
                out.append(gap(missing, "these happenings came faster than they were taken"))

    def _write(self, texts: tuple[list[str], list[str], list[str]], began: str, time: str) -> None:
        for series, lines in zip(self._series.values(), texts, strict=True):
            if (lines or series.missing or series.owed) and not series.write(lines, began, time):
                self._changes.restart()

    def _prune(self, now_s: float) -> int:
        self._pruned_s = now_s
        began_now, time = self._began or began(now_s), stamp(now_s)

        def note(name: Name, last: str) -> None:
            self._series["changes"].write([pruned(name, last)], began_now, time)

        try:
            return prune(self._folder, now_s, self._days, note)
        except OSError as error:
            self._complain("old files were not removed", error)
            return 0

    def _other(self, happening: TelemetryEvent, changes: list[str], errors: list[str]) -> None:
        self._performance.take(happening)
        is_measured = isinstance(happening, _MEASURED)
        if is_measured and not (isinstance(happening, DetectionEnded) and happening.found is None):
            return
        level, event, fields = log_entry(happening)
        line = {"audit": event, "at_s": happening.at_s, **fields}
        text = json.dumps(line, separators=(",", ":"), default=str)[:-1]
        is_error = isinstance(happening, _ERRORS) or (
            level >= logging.WARNING and type(happening) is not Corrected
        )
        (errors if is_error else changes).append(text)

    def _complain(self, what: str, error: Exception) -> None:
        left_out = self._complaints.use(self._clock(), _COMPLAIN_EACH_S)
        if left_out is not None:
            _log.error("audit in %s: %s: %s (%d more times before)", self._folder, what, error, left_out)
