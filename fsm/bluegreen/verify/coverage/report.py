"""What tests covered of a table, and what the explorer covers: missed is told apart from infeasible.

Missed: some run takes it, the tests did not. Infeasible: no run takes it
from the context and with the events that are declared, the explorer has seen them all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import attrs

from bluegreen.table.guards import ALWAYS
from bluegreen.table.table import Table
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.coverage.reachable import Reach, adjacent_rows


@attrs.frozen
class Covered:
    """One kind of thing: how much there is of it, by name, and who has covered it.

    Args:
        what: `rows`, for example.
        every: all of it.
        tests: what the tests covered.
        explorer: what the explorer covered; none if it could not look.
        complete: whether the explorer has seen everything.
    """

    what: str
    every: tuple[str, ...]
    tests: frozenset[str]
    explorer: frozenset[str] | None
    complete: bool

    @property
    def missed(self) -> tuple[str, ...]:
        """What the explorer takes, and the tests do not."""
        return tuple(one for one in self.every if one not in self.tests and one in (self.explorer or ()))

    @property
    def infeasible(self) -> tuple[str, ...]:
        """What no run takes."""
        return tuple(one for one in self._unexplored if one not in self.tests and self.complete)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What neither took, and nobody knows whether a run can."""
        return tuple(one for one in self._unexplored if one not in self.tests and not self.complete)

    @property
    def beyond(self) -> tuple[str, ...]:
        """What the tests took, and the explorer cannot: what it sends leaves something out."""
        return tuple(one for one in self._unexplored if one in self.tests and self.complete)

    @property
    def _unexplored(self) -> tuple[str, ...]:
        return tuple(one for one in self.every if one not in (self.explorer or ()))

    def __str__(self) -> str:
        explorer = "not explored" if self.explorer is None else f"{len(self.explorer)} by the explorer"
        told = [f"{len(self.tests)} of {len(self.every)} by the tests", explorer]
        told += [f"{len(self.missed)} missed", f"{len(self.infeasible)} infeasible"]
        told += [f"{len(self.unknown)} unknown"] * bool(self.unknown)
        told += [f"{len(self.beyond)} beyond the explorer"] * bool(self.beyond)
        return f"{self.what}: {', '.join(told)}"


def coverage_kinds(table: Table[Any, Any, Any], tests: Tally, reached: Reach | None) -> tuple[Covered, ...]:
    """Return the rows, the outcomes of guards, and the pairs of rows of a table."""
    complete = reached is not None and reached.complete
    outcomes = [
        f"{row.name}: {one}" for row in table.rows if row.guard is not ALWAYS for one in (True, False)
    ]
    kinds: list[tuple[str, Collection[str], Collection[str], Collection[str] | None]] = [
        (
            "rows",
            [str(row) for row in table.rows],
            [str(row) for row in tests.rows],
            None if reached is None else [str(row) for row in reached.tally.rows],
        ),
        (
            "guard outcomes",
            outcomes,
            _outcomes(tests, outcomes),
            None if reached is None else _outcomes(reached.tally, outcomes),
        ),
        (
            "row pairs",
            [f"{before}; {after}" for before, after in adjacent_rows(table)],
            [f"{before}; {after}" for before, after in tests.pairs],
            None if reached is None else [f"{before}; {after}" for before, after in reached.pairs],
        ),
    ]
    return tuple(
        Covered(what, tuple(every), frozenset(mine), None if its is None else frozenset(its), complete)
        for what, every, mine, its in kinds
    )


def _outcomes(tally: Tally, known: Sequence[str]) -> list[str]:
    seen = {f"{name}: {one}" for name, outcomes in tally.guards.items() for one in outcomes}
    return [one for one in known if one in seen]


def lines(name: str, kinds: Sequence[Covered], *, verbose: bool) -> Iterator[str]:
    """Yield what is told of one table. Pairs are listed only if `verbose`: there are many."""
    yield name
    for one in kinds:
        yield f"  {one}"
        if one.what == "row pairs" and not verbose:
            continue
        yield from (f"    missed: {each}" for each in one.missed)
        yield from (f"    infeasible: {each}" for each in one.infeasible)
        yield from (f"    unknown, the explorer did not see everything: {each}" for each in one.unknown)
        yield from (
            f"    beyond the explorer, whose events leave something out: {each}" for each in one.beyond
        )
