"""What some run of a table takes: its rows, the outcomes of its guards, and which row comes right after which.

>>> from bluegreen.machines.retry import RETRY, Attempts
>>> from bluegreen.verify.verification import Verification
>>> found = reach(Verification(RETRY, Attempts()))
>>> len(found.tally.rows) == len(RETRY.rows), found.complete
(True, True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from bluegreen.table.rows import Row, RowKind
from bluegreen.table.table import Table
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.exploration.single_table import ExplorationResult
from bluegreen.verify.verification import Verification


@attrs.frozen
class Reach:
    """What an exploration has reached.

    Args:
        explored: the exploration, with its arrows.
        tally: rows and guards; each row is counted as if it began a run.
        pairs: (row, the row that comes right after it in some run).
    """

    explored: ExplorationResult
    tally: Tally
    pairs: frozenset[tuple[Row, Row]]

    @property
    def complete(self) -> bool:
        """Whether what is not here cannot happen."""
        return self.explored.complete


def reach(verification: Verification) -> Reach:
    """Explore a table, and return what was reached."""
    explored = verification.explore(keep=True)
    table, arrows = verification.table, explored.arrows
    tally = Tally(table)
    into: dict[Any, set[int]] = {}
    out: dict[Any, set[int]] = {}
    numbers = {id(row): number for number, row in enumerate(table.rows)}
    for node, sent in arrows.items():
        for arrow in sent:
            tally.begin()
            tally.count(arrow.row, node[1], arrow.event)
            number = numbers[id(arrow.row)]
            out.setdefault(node, set()).add(number)
            into.setdefault(arrow.after, set()).add(number)
    pairs = {
        (before, after) for node in arrows for before in into.get(node, ()) for after in out.get(node, ())
    }
    rows = table.rows
    return Reach(explored, tally, frozenset((rows[before], rows[after]) for before, after in pairs))


def adjacent_rows(table: Table[Any, Any, Any]) -> Iterator[tuple[Row, Row]]:
    """Yield every pair of rows of which the second begins where the first ends, whether a run takes it or not."""
    for before in table.rows:
        ends = before.target if before.outcome is RowKind.GO else before.state
        for after in table.rows:
            if after.state == ends:
                yield before, after
