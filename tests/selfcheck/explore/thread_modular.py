"""One process, exhaustively, with everything that its cluster and all other processes can do to it.

Processes touch each other only through the store, and look into it when they begin and when a query starts. So a
process is explored that may find anything there at any time: what others wrote, in whatever order, or what a store kept
that is late, or lost, or wrong; any number of times. Whatever is true of it in each state is true of each process in
every world of any number of them: it is the thread-modular way (Flanagan and Qadeer, 2003), which asks for no product
of processes.

States are numbers in arrays, and a level of the search is one step for all of them at once. What happens is found by
`parts.Parts`, that is by `step`, and looked up afterwards.

    >>> from selfcheck.model.actions import ModelOptions
    >>> space = Modular(1, 0, ModelOptions(events=(), kinds=(False,), steps=()))
    >>> space.search().states
    196
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from math import factorial
from typing import Any, Final, NamedTuple

import attrs
import numpy as np
from numpy.typing import NDArray

from bluegreen.types import Strategy
from selfcheck.explore.action_tables import NOBODY, REFUSED, Numbers, Parts
from selfcheck.explore.breadth_first import Bounds, Progress, Searched, beyond
from selfcheck.model.actions import ModelOptions
from selfcheck.model.cluster import Phase, beginnings

Numbered = NDArray[np.int64]
_QUERY: Final = 8
"""Bits of a query's number."""
_MACHINE: Final = 20
_UNKNOWN: Final = -2
AT_ONCE: Final = 150_000
"""States that are looked at together: enough to make little of each call, and few enough for the memory."""


class Edges(NamedTuple):
    """Steps from some states: the index of where each begins, where it leads, and the number of its fair name."""

    source: Numbered
    target: Numbered
    fair: Numbered

    @classmethod
    def joined(cls, parts: list[Edges]) -> Edges:
        """Return several as one."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


class _Rows:
    """Rows of numbers, as many as there may be for each key; what a key's rows are is asked once.

    Args:
        width: numbers in a row.
        fill: returns the rows of a key.
    """

    def __init__(self, width: int, fill: Callable[[int], list[tuple[int, ...]]]) -> None:
        self._fill = fill
        self._columns: tuple[list[int], ...] = tuple([] for _ in range(width))
        self._starts = [0]
        self._where = np.full(1024, _UNKNOWN, np.int64)
        self._arrays: tuple[Numbered, ...] = ()

    def of(self, keys: Numbered) -> tuple[Numbered, tuple[Numbered, ...]]:
        """Return the rows of all keys one after the other: for each the index of its key, and its columns."""
        if len(keys) and keys.max() >= len(self._where):
            more = np.full(2 * int(keys.max()) + 1 - len(self._where), _UNKNOWN, np.int64)
            self._where = np.concatenate([self._where, more])
        numbers = self._where[keys]
        unknown = numbers == _UNKNOWN
        if unknown.any() or not self._arrays:
            for key in distinct(keys[unknown]).tolist():
                self._add(key)
            self._arrays = tuple(np.array(column, np.int64) for column in (self._starts, *self._columns))
            numbers = self._where[keys]
        starts, *columns = self._arrays
        counts = starts[numbers + 1] - starts[numbers]
        source = np.repeat(np.arange(len(numbers)), counts)
        first = np.cumsum(counts) - counts
        at = np.arange(len(source)) + np.repeat(starts[numbers] - first, counts)
        return source, tuple(column[at] for column in columns)

    def _add(self, key: int) -> None:
        for row in self._fill(key):
            for column, value in zip(self._columns, row, strict=True):
                column.append(value)
        self._where[key] = len(self._starts) - 1
        self._starts.append(len(self._columns[0]))


class Modular:
    """The space of one process.

    Args:
        queries: in flight at a time, in the process.
        switches: of the cluster.
        liberties: what may happen.
        crashes: whether the process may crash, and begin anew.
        words: whether the store may say anything at any time.
        options: those of `Parts`.
    """

    def __init__(
        self,
        queries: int,
        switches: int,
        liberties: ModelOptions,
        *,
        crashes: bool = True,
        words: bool = True,
        **options: Any,
    ) -> None:
        self.queries = queries
        self.parts = Parts(attrs.evolve(liberties, words=words), queries, **options)
        self.fair: Numbers[str] = Numbers()
        self.fair[""]  # its number is 0
        self.conducts: Numbers[tuple[str, Strategy]] = Numbers()
        self.phases: Numbers[Phase] = Numbers()
        first = beginnings(switches)
        for phase in first:
            self.phases[phase]
        self._followers: list[list[tuple[int, tuple[Strategy, ...]]]] = []
        for phase in self.phases.things:  # it grows
            self._followers.append(
                [(self.phases[after], _forgetting(phase, after)) for after in phase.followers(switches)]
            )
        self.settled = np.array([phase.settled(switches) for phase in self.phases.things])
        self.conduct = np.array([self.conducts[(one.name, one.origin)] for one in self.phases.things])
        self._begun = [self.parts.begun(stored) for stored in (None, *Strategy)] if crashes else []
        self._first = [(self.phases[phase], self.parts.begun(None)) for phase in first]
        self._after = np.full((64, 64), _UNKNOWN, np.int32)
        self._idle, self._busy = _Rows(3, self._do_idle), _Rows(3, self._do_busy)
        self._known: dict[tuple[int, int, int], dict[tuple[int, int, int], None]] = {}

    # States as numbers.

    def pack(self, phase: Numbered, machine: Numbered, queries: Numbered) -> Numbered:
        """Return states; of `queries` there is a column for each."""
        packed = phase << _MACHINE | machine
        for column in _ordered(queries):
            packed = packed << _QUERY | column
        return packed

    def unpack(self, states: Numbered) -> tuple[Numbered, Numbered, Numbered]:
        """Return phases, machines and queries of states; there are rows of queries, the lowest number first."""
        below = self.queries * _QUERY
        columns = [(states >> shift) & 0xFF for shift in range(below - _QUERY, -1, -_QUERY)]
        queries = np.zeros((self.queries, len(states)), np.int64)
        for row, column in enumerate(columns):
            queries[row] = column
        return states >> (below + _MACHINE), (states >> below) & ((1 << _MACHINE) - 1), queries

    def moment(self, phase: Numbered, machine: Numbered) -> Numbered:
        """Return a number for each phase with a machine."""
        return phase << _MACHINE | machine

    def moment_of(self, number: int) -> tuple[int, int]:
        """Return phase and machine."""
        return number >> _MACHINE, number & (1 << _MACHINE) - 1

    def moments(self, levels: Sequence[Numbered]) -> list[int]:
        """Return the number of each phase with a machine that there is in some levels."""
        found = [distinct(self.moment(*self.unpack(level)[:2])) for level in levels]
        numbers: list[int] = distinct(np.concatenate(found)).tolist()
        return numbers

    def first(self) -> Numbered:
        """Return the states in which everything begins."""
        phase = np.array([phase for phase, _ in self._first], np.int64)
        machine = np.array([machine for _, machine in self._first], np.int64)
        return distinct(self.pack(phase, machine, np.zeros((self.queries, len(phase)), np.int64)))

    def orbits(self, states: Numbered) -> Numbered:
        """Return for each state how many it stands for, if queries had names."""
        _, _, queries = self.unpack(states)
        ways = np.full(len(states), factorial(self.queries))
        run = np.ones(len(states), np.int64)
        for before, after in pairwise(queries):
            run = np.where(before == after, run + 1, 1)
            ways //= run
        return ways

    # Steps.

    def edges(self, states: Numbered, *, crashes: bool = True, phases: bool = True) -> Edges:
        """Return every step from some states, apart from those that change nothing.

        Args:
            crashes: whether crashes are among them, one for each phase.
            phases: whether those of the cluster into its next phase are among them.
        """
        phase, machine, queries = self.unpack(states)
        conduct = self.conduct[phase]
        found = [self._of_machine(phase, machine, queries, conduct)]
        if phases:
            found += self._of_cluster(phase, machine, queries)
        postures = np.array(self.parts.posture, np.int64)
        for slot, query in enumerate(queries):
            same = query == queries[slot - 1] if slot else np.zeros(len(states), bool)
            use = np.nonzero((query != NOBODY) & ~same)[0]
            key = (postures[machine[use]] * len(self.conducts) + conduct[use]) << _QUERY | query[use]
            source, (script, after, fair) = self._busy.of(key)
            source = use[source]
            moved = self._apply(machine[source], script)
            ok = np.nonzero(moved != REFUSED)[0]
            source = source[ok]
            others = queries[:, source]
            others[slot] = after[ok]
            found.append(Edges(source, self.pack(phase[source], moved[ok], others), fair[ok]))
        if crashes and self._begun:
            several, source = np.unique(phase, return_index=True)  # it does not matter who crashes
            nobody = np.zeros((self.queries, len(several)), np.int64)
            for one in self._begun:
                anew = self.pack(several, np.full_like(several, one), nobody)
                found.append(Edges(source, anew, np.zeros_like(source)))
        return Edges.joined(found)

    def _of_machine(self, phase: Numbered, machine: Numbered, queries: Numbered, conduct: Numbered) -> Edges:
        source, (moved, begun, fair) = self._idle.of(machine * len(self.conducts) + conduct)
        room = queries[0] == NOBODY if self.queries else np.zeros(len(phase), bool)
        ok = np.nonzero((begun == NOBODY) | room[source])[0]
        source, moved, begun, fair = source[ok], moved[ok], begun[ok], fair[ok]
        others = queries[:, source]
        if self.queries:
            others[0] = np.where(begun == NOBODY, others[0], begun)
        return Edges(source, self.pack(phase[source], moved, others), fair)

    def _of_cluster(self, phase: Numbered, machine: Numbered, queries: Numbered) -> Iterator[Edges]:
        for one in distinct(phase):
            here = np.nonzero(phase == one)[0]
            for after, forgotten in self._followers[int(one)]:
                left = queries[:, here]
                if forgotten:
                    left = self._gone(forgotten)[left]
                yield Edges(
                    here, self.pack(np.full_like(here, after), machine[here], left), np.zeros_like(here)
                )

    def _do_busy(self, key: int) -> list[tuple[int, ...]]:
        key, query = key >> _QUERY, key & (1 << _QUERY) - 1
        posture, conduct = divmod(key, len(self.conducts))
        return list(self._doings(conduct, posture, query))

    def _do_idle(self, key: int) -> list[tuple[int, ...]]:
        machine, conduct = divmod(key, len(self.conducts))
        scripts = [*self._doings(conduct, self.parts.posture[machine], NOBODY)]
        scripts += [(one, NOBODY, 0) for one in self.parts.arrivals[machine]]
        rows: dict[tuple[int, ...], None] = {}
        for script, query, fair in scripts:
            moved = self._one(machine, script)
            if moved != REFUSED and (moved, query, fair) != (machine, NOBODY, 0):
                rows[(moved, query, fair)] = None
        return list(rows)

    def _doings(self, conduct: int, posture: int, query: int) -> dict[tuple[int, int, int], None]:
        """Return (script, query after it, fair name) of each thing that can happen."""
        key = conduct, posture, query
        if key not in self._known:
            doings = self.parts.doings(self.conducts.things[conduct], posture, query)
            self._known[key] = {(one.script, one.query, self.fair[one.fair]): None for one in doings}
        return self._known[key]

    def _one(self, machine: int, script: int) -> int:
        self._grow(machine, script)
        if self._after[machine, script] == _UNKNOWN:
            self._after[machine, script] = self.parts.after(machine, script)
        return int(self._after[machine, script])

    def _apply(self, machines: Numbered, scripts: Numbered) -> Numbered:
        """Return the machines after the scripts."""
        self._grow(len(self.parts.machines), len(self.parts.scripts))
        found = self._after[machines, scripts]
        unknown = found == _UNKNOWN
        if unknown.any():
            for pair in distinct(machines[unknown] << 32 | scripts[unknown]).tolist():
                self._one(pair >> 32, pair & 0xFFFFFFFF)
            found = self._after[machines, scripts]
        return found.astype(np.int64)

    def _grow(self, machines: int, scripts: int) -> None:
        rows, columns = self._after.shape
        if machines >= rows or scripts >= columns:
            larger = np.full((max(rows, 2 * machines), max(columns, 2 * scripts)), _UNKNOWN, np.int32)
            larger[:rows, :columns] = self._after
            self._after = larger

    def _gone(self, strategies: tuple[Strategy, ...]) -> Numbered:
        after: list[int] = []
        while len(after) < len(self.parts.queries):  # it may grow
            after.append(self.parts.gone(len(after), strategies))
        return np.array(after, np.int64)

    # The search.

    def search(
        self,
        *,
        bounds: Bounds | None = None,
        told: Callable[[Progress], None] | None = None,
        seen: Callable[[Numbered], None] | None = None,
    ) -> Searched:
        """Visit every state, nearest first.

        Args:
            bounds: where it stops at the latest.
            told: called now and then.
            seen: called with the states of each level.
        """
        bounds = bounds or Bounds()
        began = time.monotonic()
        level = visited = self.first()
        levels: list[Numbered] = []
        steps, complete = 0, True
        while len(level) and complete:
            levels.append(level)
            if seen is not None:
                seen(level)
            reached: list[Future[Numbered]] = []
            with ThreadPoolExecutor(
                1
            ) as sorting:  # while the next steps are found; to sort needs no interpreter
                for part in np.array_split(level, -(-len(level) // AT_ONCE)):
                    edges = self.edges(part)
                    steps += len(edges.target)
                    reached.append(sorting.submit(distinct, edges.target))
                    if told is not None:
                        told(Progress(len(visited), steps, len(levels) - 1, time.monotonic() - began))
                    if len(visited) > bounds.states or beyond(bounds.memory_mb):
                        complete = False
                        break
            level = _without(distinct(np.concatenate([one.result() for one in reached])), visited)
            visited = np.concatenate([visited, level])
            visited.sort(kind="stable")  # two sorted halves: they are merged
        if len(level):  # a bound ended it: they were reached, and nobody looked further
            levels.append(level)
        return Searched(
            len(visited), steps, len(levels) - 1, time.monotonic() - began, complete, tuple(levels)
        )


def distinct(numbers: Numbered) -> Numbered:
    """Return these numbers, sorted and each once."""
    ordered = np.sort(numbers)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def _ordered(rows: Numbered) -> list[Numbered]:
    """Return the rows with each column sorted; `numpy.sort` takes several times as long for so few rows."""
    left = list(rows)
    for last in range(len(left) - 1, 0, -1):
        for one in range(last):
            low, high = left[one], left[one + 1]
            left[one], left[one + 1] = np.minimum(low, high), np.maximum(low, high)
    return left


def _without(states: Numbered, known: Numbered) -> Numbered:
    """Return the states that are not known; both are sorted."""
    at: Numbered = np.searchsorted(known, states)
    at[at == len(known)] = 0
    new: Numbered = states[known[at] != states]
    return new


def _forgetting(phase: Phase, after: Phase) -> tuple[Strategy, ...]:
    return tuple(one for one in Strategy if after.conduct(one).forgets and not phase.conduct(one).forgets)
