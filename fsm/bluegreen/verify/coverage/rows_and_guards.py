"""Which rows a search has taken, and which guards it has seen both ways.

>>> from bluegreen.machines.strategy.table import STRATEGY
>>> seen = rows_and_guards(STRATEGY, ())
>>> str(seen)
'strategy: 123 of 123 rows taken, 89 of 89 guards seen true and false'
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from bluegreen.table.guards import ALWAYS
from bluegreen.table.table import Table


@attrs.frozen
class Coverage:
    """Rows and guards of a table.

    Args:
        rows, guards: how many there are; a guard belongs to one row.
        untaken: names of the rows that were not taken.
        one_way: names of the rows whose guard was not seen both true and false.
    """

    table: str
    rows: int
    guards: int
    untaken: tuple[str, ...]
    one_way: tuple[str, ...]

    def __str__(self) -> str:
        taken, both = self.rows - len(self.untaken), self.guards - len(self.one_way)
        return (
            f"{self.table}: {taken} of {self.rows} rows taken, "
            f"{both} of {self.guards} guards seen true and false"
        )


def rows_and_guards(table: Table[Any, Any, Any], untaken: Iterable[str]) -> Coverage:
    """Return what was covered, if `untaken` are the names of the rows that were not taken.

    The guards of a cell exclude each other, so that one is seen to be false when another row of its cell is taken.
    """
    missed = set(untaken)
    one_way: list[str] = []
    guarded = [row for row in table.rows if row.guard is not ALWAYS]
    for row in guarded:
        others = {one.name for one in table.cell(row.state, row.event) if one is not row}
        if row.name in missed or not others - missed:
            one_way.append(row.name)
    names = tuple(row.name for row in table.rows if row.name in missed)
    return Coverage(table.name, len(table.rows), len(guarded), names, tuple(one_way))
