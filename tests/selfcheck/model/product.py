"""The world: a cluster that is redeployed, the processes that use it, and the store that they share.

Processes touch each other only through the cluster and the store, and queries touch only their process. So
a world is a small number: which phase, which store, which processes, each of them numbered once. What can
happen to a process in a phase is found once, whatever the others do; and which process is which, and which
query is which, does not matter, so that worlds that differ in nothing else are one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import factorial
from typing import Any, Final

import attrs

from bluegreen.config.settings import Settings
from bluegreen.machines.query import QUERY
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.table import Table
from bluegreen.types import Strategy
from selfcheck.model.actions import Action, ModelOptions, Moves
from selfcheck.model.cluster import Phase, beginnings
from selfcheck.model.process import ActionTrace, Machines, Process, begun

_BITS: Final = 21
_MASK: Final = (1 << _BITS) - 1


@attrs.frozen
class Size:
    """How large a world is: processes, queries in flight at a time, and switches of the cluster."""

    processes: int = 1
    queries: int = 1
    switches: int = 1


@attrs.frozen
class Moment:
    """What a property of a world looks at: one process, and the phase in which its cluster is."""

    phase: Phase
    process: Process
    settled: bool = False


Place = tuple[Phase, Strategy | None]
"""What is outside of every process: the phase of the cluster, and what stands in the store."""


class World:
    """A space for `search`.

    Args:
        size: how large it is.
        liberties: what may happen in it.
        crashes: whether a process may crash, and begin anew.
        settings: the scope's settings, in every process.
        strategy: the table of the strategy machine, or one in its place.
        query: the table of the query machine, or one in its place.
        seen: called once for each process in each phase that is reached, with all moves from there.
    """

    def __init__(
        self,
        size: Size | None = None,
        liberties: ModelOptions | None = None,
        *,
        crashes: bool = True,
        settings: Settings | None = None,
        strategy: Table[Any, Any, Any] = STRATEGY,
        query: Table[Any, Any, Any] = QUERY,
        seen: Any = None,
    ) -> None:
        self.size = size or Size()
        self.settings = settings or Settings()
        self.crashes = crashes
        self.machines = Machines(strategy, query)
        self._moves = Moves(self.machines, liberties or ModelOptions())
        self._seen = seen
        self.places: list[Place] = []
        self.processes: list[Process] = []
        self._place_ids: dict[Place, int] = {}
        self._process_ids: dict[Process, int] = {}
        self.sizes: list[int] = []
        self._local: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._next_places: dict[int, tuple[tuple[int, Any], ...]] = {}
        self._forgets: dict[tuple[int, tuple[Strategy, ...]], int] = {}

    # Numbers.

    def place_id(self, place: Place) -> int:
        """Return the number of a place."""
        found = self._place_ids.setdefault(place, len(self.places))
        if found == len(self.places):
            self.places.append(place)
        return found

    def process_id(self, process: Process) -> int:
        """Return the number of a process."""
        found = self._process_ids.setdefault(process, len(self.processes))
        if found == len(self.processes):
            self.processes.append(process)
            self.sizes.append(len(process.queries))
        return found

    def pack(self, place: int, processes: Iterable[int]) -> int:
        """Return the number of a world; its processes are sorted."""
        packed = place
        for process in sorted(processes):
            packed = packed << _BITS | process
        return packed

    def unpack(self, state: int) -> tuple[int, tuple[int, ...]]:
        """Return place and processes of a world."""
        processes: list[int] = []
        for _ in range(self.size.processes):
            processes.append(state & _MASK)
            state >>= _BITS
        return state, tuple(reversed(processes))

    # The space.

    def first(self) -> list[int]:
        """Return the worlds in which everything begins."""
        initial = self.machines.strategy.initial
        process = self.process_id(begun(self.settings, None, initial))
        return [
            self.pack(self.place_id((phase, None)), [process] * self.size.processes)
            for phase in beginnings(self.size.switches)
        ]

    def follow(self, state: int) -> list[int]:
        """Return the worlds that follow."""
        place, processes = self.unpack(state)
        room = sum(self.sizes[process] for process in processes) < self.size.queries
        after: list[int] = []
        for index, process in enumerate(processes):
            if index and process == processes[index - 1]:
                continue
            steps = self._local.get(place << _BITS | process)
            if steps is None:
                steps = self._explored(place, process)
            rest = processes[:index] + processes[index + 1 :]
            reached = steps[0] + steps[1] if room else steps[0]
            if not rest:
                after += reached
            else:
                after += [self._joined(step, rest) for step in reached]
        return after + self.turned(state)

    def turned(self, state: int) -> list[int]:
        """Return the worlds that follow when the cluster comes into its next phase."""
        place, processes = self.unpack(state)
        after: list[int] = []
        for number, forgetful in self._phases(place):
            moved = [self._forgotten(process, forgetful) for process in processes] if forgetful else processes
            after.append(self.pack(number, moved))
        return after

    def _joined(self, step: int, rest: tuple[int, ...]) -> int:
        if len(rest) == 1:
            process, other = step & _MASK, rest[0]
            place = step >> _BITS << (2 * _BITS)
            return place | process << _BITS | other if process < other else place | other << _BITS | process
        return self.pack(step >> _BITS, (step & _MASK, *rest))

    def _explored(self, place: int, process: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Find every move of a process in a place; those that need room for a query apart."""
        steps: tuple[dict[int, None], dict[int, None]] = ({}, {})
        moves = self.moves(place, process)
        for move, number in moves:
            more = len(move.after.queries) > self.sizes[process]
            steps[more][number] = None
        if self._seen is not None:
            self._seen(self.moment(place, process), [move for move, _ in moves])
        found = tuple(steps[0]), tuple(steps[1])
        self._local[place << _BITS | process] = found
        return found

    def moves(self, place: int, process: int) -> list[tuple[Action, int]]:
        """Return the moves of a process in a place, each with the number of (place, process) after it."""
        phase, stored = self.places[place]
        before = self.processes[process]
        found: list[tuple[Action, int]] = []
        for move in self._moves.of(phase, before, room=len(before.queries) < self.size.queries):
            after = self.place_id((phase, move.trail.published or stored))
            found.append((move, after << _BITS | self.process_id(move.after)))
        if self.crashes:
            anew = begun(self.settings, stored, self.machines.strategy.initial)
            trail = ActionTrace(anew.state, anew.context, frozenset())
            found.append(
                (Action("crash, and begin anew", "", anew, trail), place << _BITS | self.process_id(anew))
            )
        return found

    def moment(self, place: int, process: int) -> Moment:
        """Return what a property looks at."""
        phase = self.places[place][0]
        return Moment(phase, self.processes[process], phase.settled(self.size.switches))

    def _phases(self, place: int) -> tuple[tuple[int, tuple[Strategy, ...]], ...]:
        found = self._next_places.get(place)
        if found is None:
            phase, stored = self.places[place]
            found = tuple(
                (
                    self.place_id((after, stored)),
                    tuple(
                        one
                        for one in Strategy
                        if after.conduct(one).forgets and not phase.conduct(one).forgets
                    ),
                )
                for after in phase.followers(self.size.switches)
            )
            self._next_places[place] = found
        return found

    def _forgotten(self, process: int, strategies: tuple[Strategy, ...]) -> int:
        key = process, strategies
        found = self._forgets.get(key)
        if found is None:
            before = self.processes[process]
            queries = (
                attrs.evolve(one, gone=True) if one.holds and one.strategy in strategies else one
                for one in before.queries
            )
            after = attrs.evolve(before, queries=tuple(sorted(queries, key=repr)))
            found = self._forgets[key] = self.process_id(after)
        return found

    # Symmetry.

    def orbit(self, state: int) -> int:
        """Return how many worlds this one stands for, if processes and queries had names."""
        _, processes = self.unpack(state)
        same = Counter(processes)
        ways = factorial(len(processes))
        for count in same.values():
            ways //= factorial(count)
        slots = factorial(self.size.queries)
        used = 0
        for process in processes:
            for count in Counter(self.processes[process].queries).values():
                slots //= factorial(count)
            used += self.sizes[process]
        return ways * (slots // factorial(self.size.queries - used))
