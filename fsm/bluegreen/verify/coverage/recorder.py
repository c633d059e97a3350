"""What tests do to tables: while it is installed, every step over one of some tables is counted.

>>> from bluegreen.table.step import step
>>> from bluegreen.machines.retry import RETRY, Attempts, Placed
>>> watch = CoverageRecorder([RETRY])
>>> with watch.installed():
...     after = step(RETRY, "Unplaced", Attempts(), Placed(3))
>>> watch.tally(RETRY).times(after.row)
1
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from bluegreen.table.rows import Row, RowKind
from bluegreen.table.step import step
from bluegreen.table.table import Table
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.exploration.single_table import explore

_STEP: Final = step.__code__
_EXPLORE: Final = explore.__code__
_ANY: Final = object()
"""The context after a reducer: it is not run again to find out."""


class _Thread(threading.local):
    """The tallies of one thread, and where the last step over each table has ended, in which run."""

    def __init__(self) -> None:
        self.tallies: dict[int, Tally] = {}
        self.ended: dict[int, tuple[int, str, Any]] = {}


def _explores(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code is _EXPLORE


class CoverageRecorder:
    """Counts what `step` does with some tables, whoever calls it: a manager, a `Machine`, a test.

    Args:
        tables: compared by identity.

    To ask (`may`, `explain`) is no step, and what the explorer does is not counted. A pair of rows is counted if
    the second begins where the first ended, in the same thread and the same run.
    """

    def __init__(self, tables: Iterable[Table[Any, Any, Any]]) -> None:
        self._tables = {id(table): table for table in tables}
        self._thread = _Thread()
        self._lock = threading.Lock()
        self._tallies: list[Tally] = []
        self._added: list[Tally] = []
        self._run = 0
        self.counting = True

    def begin(self) -> None:
        """Begin a new run: the rows that come next follow none."""
        self._run += 1

    @contextmanager
    def installed(self) -> Generator[None]:
        """Count in this context; before and after it, nothing is slower than it was."""
        kind: Any = Table
        original: Callable[..., Row] = kind.row

        def row(table: Table[Any, Any, Any], state: str, context: Any, event: Any) -> Row:
            found = original(table, state, context, event)
            if self.counting and id(table) in self._tables:
                here = inspect.currentframe()
                asks = None if here is None else here.f_back
                del here  # a frame that holds itself keeps all that its callers hold, until it is collected
                if asks is not None and asks.f_code is _STEP and not _explores(asks.f_back):
                    self._count(table, found, context, event)
            return found

        kind.row = row
        try:
            yield
        finally:
            kind.row = original

    def _count(self, table: Table[Any, Any, Any], row: Row, context: Any, event: Any) -> None:
        thread, key = self._thread, id(table)
        tally = thread.tallies.get(key)
        if tally is None:
            tally = thread.tallies[key] = Tally(table)
            with self._lock:
                self._tallies.append(tally)
        run, state, left = thread.ended.get(key, (-1, "", None))
        if run != self._run or state != row.state or (left is not _ANY and left is not context):
            tally.begin()
        tally.count(row, context, event)
        moves = row.outcome is RowKind.GO and row.target is not None
        reduced = row.reducer is not None and row.outcome is not RowKind.FORBID
        thread.ended[key] = self._run, str(row.target) if moves else row.state, _ANY if reduced else context

    def tally(self, table: Table[Any, Any, Any]) -> Tally:
        """Return what was counted on one table, by all threads."""
        total = Tally(table)
        with self._lock:
            for one in (*self._tallies, *self._added):
                if one.table is table:
                    total.merge(one)
        return total

    def as_dict(self) -> dict[str, Any]:
        """Return what was counted as values that another process can `add`: by the place of the table."""
        tables = enumerate(self._tables.values())
        return {str(number): self.tally(table).as_dict() for number, table in tables}

    def add(self, counted: Mapping[str, Any]) -> None:
        """Add what another process has counted on the same tables.

        Raises:
            ValueError: they have other rows there.
        """
        tables = [*self._tables.values()]
        self._added += [Tally.from_dict(tables[int(number)], one) for number, one in counted.items()]
