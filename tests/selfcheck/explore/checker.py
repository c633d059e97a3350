"""What an exploration of a world found: properties that are broken, with a way there, and what never happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import attrs

from bluegreen.machines.strategy.context import Context
from bluegreen.verify.exploration.liveness import lasso
from bluegreen.verify.properties.base import Always, Taken
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS
from selfcheck.explore.breadth_first import Bounds, Progress, Searched, path_to, search
from selfcheck.model.actions import MEDDLING, Action
from selfcheck.model.cluster import Phase
from selfcheck.model.product import Moment, World
from selfcheck.properties.cluster import WORLD_ALWAYS, WORLD_EVENTUALLY, WORLD_SOMETIMES


@attrs.frozen
class Violation:
    """A property that is broken, and the shortest way there.

    Args:
        name: the property.
        detail: what was seen.
        path: what happens, in words, the cluster's phases too.
        events: what is sent to the strategy machine of the process in which it shows.
        cycle: for what never follows: how many worlds lie on the cycle.
    """

    name: str
    detail: str
    path: tuple[str, ...] = ()
    events: tuple[Any, ...] = ()
    cycle: int = 0


@attrs.frozen
class WorldResult:
    """What was found, and how much was looked at.

    Args:
        states: worlds, up to symmetry; `unreduced`: worlds if processes and queries had names.
        unreached: what ought to happen sometimes and did not.
    """

    searched: Searched
    unreduced: int
    violations: tuple[Violation, ...]
    unreached: tuple[str, ...]
    rows: int
    broken: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything was seen, and nothing is wrong with it."""
        return self.searched.complete and not self.violations and not self.unreached


class _Watch:
    """Looks at each process in each phase, once."""

    def __init__(self) -> None:
        self.broken: dict[str, tuple[Moment, Action | None, str]] = {}
        self.missing = list(WORLD_SOMETIMES)
        self._known: set[int] = set()

    def seen(self, moment: Moment, moves: list[Action]) -> None:
        for one in WORLD_ALWAYS:
            if one.name not in self.broken and not one.holds(moment):
                self.broken[one.name] = moment, None, one.text
        self.missing = [one for one in self.missing if not one.happens(moment)]
        for move in moves:
            for fault in move.trail.faults:
                self.broken.setdefault(fault.name, (moment, move, fault.detail))
            for taken in move.trail.taken:
                if id(taken.step) not in self._known:  # the steps are kept, so that no number is used again
                    self._known.add(id(taken.step))
                    self._step(moment, move, taken)

    def _step(self, moment: Moment, move: Action, taken: Taken) -> None:
        of: tuple[Always, ...] = STEPS if isinstance(taken.context, Context) else QUERY_ALWAYS
        for one in of:
            if one.name not in self.broken and not one.holds(taken):
                self.broken[one.name] = moment, move, one.text


def examine(
    make: Callable[..., World],
    *,
    bounds: Bounds | None = None,
    told: Callable[[Progress], None] | None = None,
    first_only: bool = False,
    lassos: bool = True,
) -> WorldResult:
    """Explore a world, and look at it.

    Args:
        make: returns the world; called with `seen=`.
        first_only: stop at the first property that is broken.
        lassos: whether to look for what never follows; for worlds of one process.
    """
    watch = _Watch()
    world = make(seen=watch.seen)
    stop = (lambda: bool(watch.broken)) if first_only else None
    searched = search(world, bounds=bounds, told=told, stop=stop)
    violations = [_violation(world, searched, name, *seen) for name, seen in watch.broken.items()]
    if lassos and world.size.processes == 1 and searched.complete:
        violations += _lassos(world, searched)
    unreduced = sum(world.orbit(state) for level in searched.levels for state in level)
    ended_early = not searched.complete  # then nobody knows what else would have happened
    unreached = () if ended_early else tuple(one.name for one in watch.missing)
    return WorldResult(searched, unreduced, tuple(violations), unreached, len(world.machines.rows))


def _violation(
    world: World, searched: Searched, name: str, moment: Moment, move: Action | None, detail: str
) -> Violation:
    target = next(
        state for level in searched.levels for state in level
        if any(world.moment(world.unpack(state)[0], one) == moment for one in world.unpack(state)[1])
    )  # fmt: skip
    words, events = way(world, path_to(world, searched.levels, target))
    if move is not None:
        words, events = (*words, move.text), (*events, *move.trail.sent)
    return Violation(name, detail, words, events)


def way(world: World, path: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return what happens along a path, in words, and what is sent to the process that moves last."""
    words: list[str] = []
    events: list[Any] = []
    for happened in along(world, path):
        if isinstance(happened, Phase):
            words.append(f"cluster: {happened.name}, from {happened.origin}")
        else:
            words.append(happened.text)
            events = [] if happened.text.startswith("crash") else [*events, *happened.trail.sent]
    return tuple(words), tuple(events)


def along(world: World, path: tuple[int, ...]) -> Iterator[Phase | Action]:
    """Yield what happens along a path: a phase that the cluster comes into, or a move of a process."""
    for before, after in pairwise(path):
        place, processes = world.unpack(before)
        place_after, _ = world.unpack(after)
        if world.places[place][0] != world.places[place_after][0]:
            yield world.places[place_after][0]
            continue
        for process in processes:
            rest = list(processes)
            rest.remove(process)
            hit = next(
                (
                    move
                    for move, number in world.moves(place, process)
                    if world.pack(number >> 21, (number & 0x1FFFFF, *rest)) == after
                ),
                None,
            )
            if hit is not None:
                yield hit
                break


def _lassos(world: World, searched: Searched) -> list[Violation]:
    graph: dict[int, list[tuple[str, int]]] = {}
    moments: dict[int, Moment] = {}
    for level in searched.levels:
        for state in level:
            place, (process,) = world.unpack(state)
            moments[state] = world.moment(place, process)
            arrows = [(move.fair, world.pack(to >> 21, (to & 0x1FFFFF,))) for move, to in world.moves(place, process)
                      if move.fair != MEDDLING and not move.text.startswith("crash")]  # fmt: skip
            graph[state] = [*arrows, *(("", after) for after in world.turned(state))]
    found: list[Violation] = []
    for one in WORLD_EVENTUALLY:
        starts = [state for state in graph if one.when(moments[state])]
        ended = frozenset(state for state in graph if one.then(moments[state]))
        cycle = lasso(graph, starts, ended.__contains__)
        if cycle:
            state = next(state for level in searched.levels for state in level if state in cycle)
            words, events = way(world, path_to(world, searched.levels, state))
            found.append(Violation(one.name, one.text, words, events, len(cycle)))
    return found
