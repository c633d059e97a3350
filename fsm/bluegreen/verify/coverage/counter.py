"""Tally: what runs did to a table: which rows were taken, one after which, and how their guards came out.

>>> from bluegreen.machines.strategy.events import AuthSuccess
>>> from bluegreen.machines.strategy.table import STRATEGY, Context
>>> tally = Tally(STRATEGY)
>>> tally.took("Detecting", Context.initial(), AuthSuccess("blue", 0)).name
'Detecting.auth_success[fresh]'
>>> tally.guards["Detecting.auth_success[!fresh]"]
{False}
>>> str(tally.coverage())
'strategy: 1 of 123 rows taken, 0 of 89 guards seen true and false'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any, Final

from bluegreen.table.guards import ALWAYS, Fact
from bluegreen.table.rows import cell_facts
from bluegreen.table.table import Row, Table
from bluegreen.verify.coverage.rows_and_guards import Coverage


class _Cell:
    """The rows of one cell that have guards, and the values of their facts that were seen."""

    def __init__(self, rows: tuple[tuple[int, Row], ...]) -> None:
        self.guarded: Final = tuple((number, row) for number, row in rows if row.guard is not ALWAYS)
        self.facts: Final[tuple[Fact, ...]] = cell_facts(row for _, row in self.guarded)
        self.seen: Final = set[tuple[Hashable, ...]]()


class Tally:
    """What runs did to one table. Not to be shared between threads: give each its own, and `merge` them.

    Args:
        table: any table.

    A guard is looked at whenever its cell is asked, whichever row is taken then: it is seen both ways when it
    held once and did not hold once.

    Source: spec, section 7, S1.
    """

    def __init__(self, table: Table[Any, Any, Any]) -> None:
        self.table = table
        self._numbers = {id(row): number for number, row in enumerate(table.rows)}
        self._taken = [0] * len(table.rows)
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._outcomes: list[set[bool]] = [set() for _ in table.rows]
        self._cells: dict[tuple[str, type[Any]], _Cell] = {}
        self._before: int | None = None

    # Counting.

    def begin(self) -> None:
        """Begin a new run: the row that comes next follows none."""
        self._before = None

    def took(self, state: str, context: Any, event: Any) -> Row:
        """Find the row that `event` takes in (state, context), count it, and return it; also if it forbids.

        Raises:
            KeyError: the event's class is not in the alphabet, or the state is none of the table's.
            GuardError: a fact has a value that its declaration does not list.

        In both cases nothing is counted.
        """
        row = self.table.row(state, context, event)
        self.count(row, context, event)
        return row

    def count(self, row: Row, context: Any, event: Any) -> None:
        """Count a row that was found already. `row` is an object of the table, not a copy.

        Raises:
            KeyError: the row is none of the table's; nothing is counted.
        """
        number = self._numbers[id(row)]
        cell = self._cells.get((row.state, row.event)) or self._cell(row)
        if cell.facts:
            values = tuple(fact.of(context, event) for fact in cell.facts)
            if values not in cell.seen:
                cell.seen.add(values)
                known = {fact.name: value for fact, value in zip(cell.facts, values, strict=True)}
                for guarded, other in cell.guarded:
                    self._outcomes[guarded].add(other.guard.holds(known))
        self._taken[number] += 1
        if self._before is not None:
            self._pairs[self._before, number] += 1
        self._before = number

    def _cell(self, row: Row) -> _Cell:
        found = tuple(
            (number, one)
            for number, one in enumerate(self.table.rows)
            if one.state == row.state and one.event is row.event
        )
        return self._cells.setdefault((row.state, row.event), _Cell(found))

    def merge(self, other: Tally) -> None:
        """Add what another tally of the same table has counted.

        Raises:
            ValueError: its table has other rows; nothing is added.
        """
        if other.table is not self.table and _names(other.table) != _names(self.table):
            raise ValueError(f"a tally of {other.table.name!r} cannot be added to one of {self.table.name!r}")
        self._taken = [mine + its for mine, its in zip(self._taken, other._taken, strict=True)]
        self._pairs.update(other._pairs)
        for mine, its in zip(self._outcomes, other._outcomes, strict=True):
            mine.update(its)

    # What was counted.

    @property
    def steps(self) -> int:
        """How many rows were taken, each as often as it was."""
        return sum(self._taken)

    @property
    def rows(self) -> Counter[Row]:
        """How often each row was taken; rows that were not are left out."""
        rows = self.table.rows
        return Counter({rows[number]: times for number, times in enumerate(self._taken) if times})

    @property
    def pairs(self) -> Counter[tuple[Row, Row]]:
        """How often a row was taken right after another one, within one run."""
        rows = self.table.rows
        return Counter({(rows[one], rows[next_]): times for (one, next_), times in self._pairs.items()})

    @property
    def guards(self) -> dict[str, set[bool]]:
        """The outcomes of guards, by the name of the row; rows whose cell was not asked are left out."""
        seen = zip(self.table.rows, self._outcomes, strict=True)
        return {row.name: set(outcomes) for row, outcomes in seen if outcomes}

    def times(self, row: Row) -> int:
        """Return how often one row of the table was taken."""
        return self._taken[self._numbers[id(row)]]

    def coverage(self) -> Coverage:
        """Return which rows were taken, and which guards were seen both ways."""
        seen = tuple(zip(self.table.rows, self._taken, self._outcomes, strict=True))
        guarded = [(row.name, outcomes) for row, _, outcomes in seen if row.guard is not ALWAYS]
        return Coverage(
            self.table.name,
            len(seen),
            len(guarded),
            tuple(row.name for row, times, _ in seen if not times),
            tuple(name for name, outcomes in guarded if len(outcomes) < 2),
        )

    # Between processes.

    def as_dict(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        return {
            "table": self.table.name,
            "names": _names(self.table),
            "taken": list(self._taken),
            "pairs": [[*pair, times] for pair, times in sorted(self._pairs.items())],
            "outcomes": [sorted(outcomes) for outcomes in self._outcomes],
        }

    @classmethod
    def from_dict(cls, table: Table[Any, Any, Any], counted: Mapping[str, Any]) -> Tally:
        """Return the tally that `as_dict` made into `counted`.

        Raises:
            ValueError: it was counted on a table with other rows.
        """
        if counted["names"] != _names(table):
            raise ValueError(
                f"what was counted on {counted['table']!r} does not fit the rows of {table.name!r}"
            )
        tally = cls(table)
        tally._taken = list(counted["taken"])
        tally._pairs.update({(one, next_): times for one, next_, times in counted["pairs"]})
        for mine, its in zip(tally._outcomes, counted["outcomes"], strict=True):
            mine.update(its)
        return tally


def _names(table: Table[Any, Any, Any]) -> list[str]:
    return [str(row) for row in table.rows]
