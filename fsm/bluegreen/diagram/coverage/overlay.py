"""Which rows of a table were taken, how often, and which never can be: what is drawn over its diagram.

>>> from bluegreen.machines.retry import RETRY
>>> from bluegreen.verify.coverage.counter import Tally
>>> found = overlay(RETRY, Tally(RETRY), explored(RETRY))
>>> found.taken, len(found.rows), found.percent
(0, 9, 0.0)
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, Final

import attrs

from bluegreen.diagram.diff.state_graph import starts_of
from bluegreen.diagram.model import Arrow, diagram_of
from bluegreen.table.table import Table
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.coverage.reachable import Reach, reach
from bluegreen.verify.coverage.report import coverage_kinds

TAKEN: Final = "taken"
MISSED: Final = "not taken"
INFEASIBLE: Final = "infeasible"
STATUSES: Final = (TAKEN, MISSED, INFEASIBLE)
"""What can be said of a row: it was taken; it was not; it was not, and no run takes it."""


@attrs.frozen
class Counted:
    """A row, and what became of it.

    Args:
        arrow: the row.
        status: one of `STATUSES`.
        times: how often it was taken.
        seen: how its guard came out, true or false; nothing if it has none.
        unseen: how it did not.
        never: how it never comes out, in no run.
    """

    arrow: Arrow
    status: str
    times: int
    seen: tuple[bool, ...] = ()
    unseen: tuple[bool, ...] = ()
    never: tuple[bool, ...] = ()


@attrs.frozen
class Overlay:
    """What was counted on one table.

    Args:
        table: its name.
        rows: all of them, in table order.
        complete: whether the explorer has seen everything, so that infeasible rows are known.
        beyond: names of rows that were taken although the explorer cannot: what it sends leaves something out.
        why: why infeasible rows are not known.
    """

    table: str
    rows: tuple[Counted, ...]
    complete: bool
    beyond: tuple[str, ...] = ()
    why: str = ""

    @property
    def taken(self) -> int:
        """How many rows were taken."""
        return sum(one.status == TAKEN for one in self.rows)

    @property
    def feasible(self) -> int:
        """How many rows can be taken, as far as that is known."""
        return sum(one.status != INFEASIBLE for one in self.rows)

    @property
    def percent(self) -> float:
        """How many of the rows that can be taken were taken, in percent; 100 if none can be."""
        return 100 * self.taken / self.feasible if self.feasible else 100.0

    @property
    def outcomes(self) -> tuple[int, int]:
        """How many outcomes of guards were seen, and how many there can be, as far as that is known."""
        seen = sum(len(one.seen) for one in self.rows)
        return seen, seen + sum(len(one.unseen) for one in self.rows)

    def __str__(self) -> str:
        infeasible = len(self.rows) - self.feasible
        seen, every = self.outcomes
        return (
            f"{self.table}: {self.taken} of {self.feasible} rows taken ({self.percent:.1f} %), "
            f"{infeasible} infeasible; {seen} of {every} outcomes of guards seen"
        )


def overlay(table: Table[Any, Any, Any], tally: Tally, reached: Reach | None, why: str = "") -> Overlay:
    """Return what was counted, held against what can be reached.

    Args:
        tally: of the same table.
        reached: what the explorer reaches; none if it could not look.
        why: why not.
    """
    rows, guards, _ = coverage_kinds(table, tally, reached)
    infeasible = frozenset(rows.infeasible)
    never = frozenset(guards.infeasible)
    outcomes = tally.guards
    found: list[Counted] = []
    for row, arrow in zip(table.rows, diagram_of(table).arrows, strict=True):
        times = tally.times(row)
        status = TAKEN if times else INFEASIBLE if str(row) in infeasible else MISSED
        ways = (True, False) if arrow.guard else ()
        had = outcomes.get(row.name, set[bool]())
        seen = tuple(one for one in ways if one in had)
        out = tuple(one for one in ways if f"{row.name}: {one}" in never)
        unseen = tuple(one for one in ways if one not in seen and one not in out)
        found.append(Counted(arrow, status, times, seen, unseen, out))
    complete = reached is not None and reached.complete
    why = why or ("" if complete else "a bound ended the explorer")
    return Overlay(table.name, tuple(found), complete, rows.beyond, why)


def explored(table: Table[Any, Any, Any], beside: Iterable[Any] = (), states: int | None = None) -> Reach:
    """Return what the explorer reaches of a table, from every context in which it may begin.

    Args:
        beside: whatever else its module has, such as a `Verification` of it.
        states: how many pairs of state and context are kept at most, for each context.

    Raises:
        NotExplored: it is not known where it begins, or what may be sent.
    """
    several = [one for _, one in starts_of(table, beside)]
    if states is not None:
        several = [attrs.evolve(one, states=states) for one in several]
    return reduce(_both, map(reach, several))


def _both(one: Reach, other: Reach) -> Reach:
    """What either has reached; it is complete if both are."""
    tally = Tally(one.tally.table)
    tally.merge(one.tally)
    tally.merge(other.tally)
    return Reach(one.explored if not one.complete else other.explored, tally, one.pairs | other.pairs)
