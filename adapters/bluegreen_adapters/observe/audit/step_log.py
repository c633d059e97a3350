"""The steps of managers as lines of an audit, in the order in which they were taken.

They are the lines of a journal (`bluegreen.verify.trace.format`), a little shorter, so that they can be held against
the table. Where a step does not go on from the one before it (settings were changed, state was repaired, steps are
missing), the manager is opened anew, as it stood before that step. All of that is read from the records: no manager
need be asked.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from bluegreen.machines.strategy.context import Context
from bluegreen.runtime.telemetry import Record, TelemetryEvent
from bluegreen.types import Scope
from bluegreen.verify.trace.format import Short, opened
from bluegreen.verify.trace.reorder_buffer import Turns
from bluegreen_adapters.observe.audit.rotation import gap
from bluegreen_adapters.observe.event_fields import changes

HOLD_S: Final = 1.0
"""For how long a record waits for one that comes before it, which another thread is still handing over."""

HELD_LIMIT: Final = 10_000
"""How many records of a manager wait at most."""

_MANAGERS: Final = 4
"""How many managers of one scope are told apart: a scope that was forgotten gets another one while the old one ends."""

_SCOPES: Final = 10_000


class _Stream:
    """The steps of one manager: what was written last, and what waits for its turn."""

    def __init__(self) -> None:
        self.sequence = -1
        self.context: Context | None = None
        self.lines: Short | None = None
        self.turns = Turns[Record]()
        self.held_s = 0.0

    def joins(self, record: Record) -> bool:
        return record.sequence == self.sequence + 1 and record.before.context is self.context


class Changes:
    """Makes lines of records.

    Args:
        every: whether starts and ends of queries are written too, rather than changes of state and strategy only.
    """

    def __init__(self, *, every: bool = True) -> None:
        self._every = every
        self._numbers = itertools.count(1)
        self._scopes: OrderedDict[Scope, list[_Stream]] = OrderedDict()
        self._holding: set[_Stream] = set()
        self._scope: Scope | None = None
        self._now = _Stream()

    def restart(self) -> None:
        """Open each manager anew with its next step: a file begins, or lines were dropped."""
        for streams in self._scopes.values():
            for stream in streams:
                stream.lines = None

    def take(
        self, happenings: Iterable[TelemetryEvent], now_s: float, out: list[str]
    ) -> list[TelemetryEvent]:
        """Append the lines of steps, or keep them until their turn has come; return what are no steps."""
        others: list[TelemetryEvent] = []
        if not self._every:
            for happening in happenings:
                if not isinstance(happening, Record):
                    others.append(happening)
                elif changes(happening):
                    self._write(self._of(happening)[0], happening, out)
            return others
        for happening in happenings:
            if type(happening) is not Record:
                others.append(happening)
                continue
            stream = self._now
            if (
                happening.scope is self._scope
                and happening.sequence == stream.sequence + 1
                and happening.before.context is stream.context
                and stream.lines is not None
            ):  # almost always
                out.append(stream.lines.of(happening))
                stream.sequence, stream.context = happening.sequence, happening.step.context
                if stream.turns.held:
                    self._let_go(stream, out)
            else:
                self._turn(happening, now_s, out)
        return others

    def overdue(self, now_s: float, out: list[str]) -> None:
        """Append what has waited for `HOLD_S`, or since a later time than now."""
        for stream in tuple(self._holding):
            if not 0 <= now_s - stream.held_s < HOLD_S:
                self._let_go(stream, out, gaps=True)

    def rest(self, out: list[str]) -> None:
        """Append what waits."""
        for stream in tuple(self._holding):
            self._let_go(stream, out, gaps=True)

    def _turn(self, record: Record, now_s: float, out: list[str]) -> None:
        streams = self._of(record)
        joined = next((one for one in streams if one.joins(record)), None)
        stream = joined or streams[0]
        ahead = record.sequence - stream.sequence - 1
        if joined is None and stream.sequence >= 0 and ahead > 0 and record.sequence not in stream.turns.held:
            if not stream.turns.held:
                stream.held_s = now_s
            stream.turns.held[record.sequence] = record
            self._holding.add(stream)
            if len(stream.turns.held) > HELD_LIMIT:
                self._let_go(stream, out, gaps=True)
            return
        if joined is None and stream.sequence >= 0 and ahead:  # another manager's, or it comes too late
            stream = _Stream()
            streams.insert(0, stream)
            for old in streams[_MANAGERS:]:
                self._let_go(old, out, gaps=True)
            del streams[_MANAGERS:]
        self._write(stream, record, out)
        self._scope, self._now = record.scope, stream
        if stream.turns.held:
            self._let_go(stream, out)

    def _of(self, record: Record) -> list[_Stream]:
        """Return the managers that are known of a scope, the newest first."""
        streams = self._scopes.get(record.scope)
        if streams is None:
            streams = self._scopes[record.scope] = [_Stream()]
            if len(self._scopes) > _SCOPES:
                self._scopes.popitem(last=False)
        return streams

    def _let_go(self, stream: _Stream, out: list[str], *, gaps: bool = False) -> None:
        turns = stream.turns
        turns.begin(stream.sequence)
        for record in turns.due(gaps=gaps):
            missing = record.sequence - stream.sequence - 1
            if missing > 0:
                out.append(_gap(record, missing))
            self._write(stream, record, out)
        if not turns.held:
            self._holding.discard(stream)

    def _write(self, stream: _Stream, record: Record, out: list[str]) -> None:
        lines = stream.lines
        if lines is None or not stream.joins(record):
            number = next(self._numbers)
            lines = stream.lines = Short(number, record.scope)
            out.append(opened(number, record.scope, record.before, record.before.context.settings))
        out.append(lines.of(record))
        stream.sequence, stream.context = record.sequence, record.step.context


def _gap(record: Record, missing: int) -> str:
    steps = f"{record.sequence - missing} to {record.sequence - 1}"
    return gap(missing, f"steps {steps} of {record.scope} were not handed over")
