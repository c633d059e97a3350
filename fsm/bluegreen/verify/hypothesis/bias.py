"""Steering: which of the events that may be sent are preferred, so that rare rows are reached.

A run of Hypothesis must do the same when it is repeated, although what was taken before it differs by then.
So what is preferred after some draws is frozen when these draws are seen for the first time: it depends on them alone.

`hypothesis.target` with the number of rows was rejected: it climbs to runs that take many rows, which are the common
ones, and rare rows were reached later; and over choices that do not matter it climbs for minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from bluegreen.table.table import Row, Table
from bluegreen.verify.coverage.counter import Tally

_RARE: Final = 8
"""When every row was taken, this part of them is preferred: those that were taken least often."""

_EVERY: Final = 16
"""After so many steps it is looked at again what was taken."""

_SHARE: Final = 4
"""One in so many numbers stands for itself."""

_TRIES: Final = 100
"""A row that is not taken after so many events that ought to take it is not hoped for: a wire may be in between."""

Rows = frozenset[int]
"""Rows by `id`: they are the table's own objects."""


class Steering:
    """What the runs of one machine prefer.

    Args:
        tally: what all of its runs have taken; somebody else counts.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._distances = distances(tally.table)
        self._frozen: dict[int, Rows] = {}
        self._newest: Rows = frozenset()
        self._newest_at = -1
        self._is_frozen = False
        self._tries: Counter[int] = Counter()

    def freeze(self) -> None:
        """Prefer the same from now on: a run has failed, and is about to be reduced, step by step."""
        self._is_frozen = True

    def wanted(self, draws: int) -> Rows:
        """Return the rows that are preferred after some draws.

        They are those that nothing had taken when these draws were seen first, or the rarest if all were taken.

        Args:
            draws: a number that stands for what was drawn in this run so far.
        """
        found = self._frozen.get(draws)
        if found is None:
            found = self._frozen[draws] = self._rarest()
        return found

    def _rarest(self) -> Rows:
        due = self._newest_at < 0 or self._newest_at <= self._tally.steps - _EVERY
        if due and not self._is_frozen:
            rows = self._tally.table.rows
            untaken = [row for row in rows if not self._tally.times(row)]
            hoped_for = [row for row in untaken if self._tries[id(row)] < _TRIES]
            taken = sorted((row for row in rows if self._tally.times(row)), key=self._tally.times)
            rarest = hoped_for or taken[: len(rows) // _RARE]
            self._newest, self._newest_at = frozenset(map(id, rarest)), self._tally.steps
        return self._newest

    def chosen(self, wanted: Rows, rows: Sequence[Row], number: int) -> int:
        """Return which of what may be sent a number below `numbers(len(rows))` stands for.

        A small number stands for itself, a larger one for what is preferred: rows that are wanted, or, if none of
        these can be taken, rows that lead to where one is, or change the context, on which it depends what can be.

        So whatever a large number stands for, there is a smaller one that stands for the same and prefers nothing:
        a run that fails can be reduced to one that means the same in every process.

        Args:
            wanted: what `wanted` has returned, less what this run has taken since.
            rows: the rows of what may be sent.
        """
        if number < len(rows):
            return number
        fitting = [other for other, row in enumerate(rows) if id(row) in wanted]
        if not fitting:
            goals = {row.state for row in self._tally.table.rows if id(row) in wanted}
            fitting = [other for other, row in enumerate(rows) if self._helps(row, goals)]
        several: Sequence[int] = fitting or range(len(rows))
        chosen = several[number % len(several)]
        self._tries[id(rows[chosen])] += 1
        return chosen

    def _helps(self, row: Row, goals: set[str]) -> bool:
        if row.reducer is not None or row.target is None:
            return row.reducer is not None
        there, here = (self._distances[state] for state in (row.target, row.state))
        far = len(self._distances)
        return any(there.get(goal, far) < here.get(goal, far) for goal in goals)


def distances(table: Table[Any, Any, Any]) -> dict[str, dict[str, int]]:
    """Return how many transitions it takes from each state to each that can be reached, guards aside.

    >>> from bluegreen.machines.strategy.table import STRATEGY
    >>> distances(STRATEGY)["Failed"]["PendingTransition"]
    3
    """
    arrows = {
        state.name: [row.target for row in table.rows if row.state == state.name and row.target is not None]
        for state in table.states
    }
    found: dict[str, dict[str, int]] = {}
    for start in arrows:
        known, waiting = {start: 0}, [start]
        for state in waiting:  # it grows
            for target in arrows[state]:
                if target not in known:
                    known[target] = known[state] + 1
                    waiting.append(target)
        found[start] = known
    return found


def numbers(candidates: int) -> int:
    """Return how many numbers there are for so many events: most of them prefer something."""
    return candidates * _SHARE
