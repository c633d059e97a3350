"""Our own search of a composition, to be compared with SPIN's: the same states, and the same verdicts.

    >>> from selfcheck.model.composition import Composition
    >>> found = survey(Composition.of(queries=0))
    >>> found.states, sorted(found.broken)  # without any query nobody ends a transition
    (217, ['L1'])

Source: spec, section 7.
"""

from __future__ import annotations

from typing import Final

import attrs

from bluegreen.machines.strategy.context import DETECTING, PENDING
from bluegreen.verify.exploration.liveness import lasso
from selfcheck.model.composition import IDLE, Composition, World

NOBODY: Final = "nobody"
"""What is said of a query that is not there."""


@attrs.frozen
class Surveyed:
    """What a search of a composition found.

    Args:
        states: how many there are.
        reached: control states: that of the strategy machine, and that of each query, or "nobody".
        broken: ids of what does not hold.
    """

    states: int
    reached: frozenset[tuple[str, ...]]
    broken: frozenset[str]


def survey(composition: Composition, *, formulas: bool = True) -> Surveyed:
    """Search a composition to its end.

    Args:
        formulas: whether L1 and L2 are asked too, for which all moves are kept in memory.
    """
    graph: dict[World, list[tuple[str, World]]] = {}
    broken = {name for name, _ in composition.broken_steps()}
    seen, waiting = {composition.initial}, [composition.initial]
    while waiting:
        world = waiting.pop()
        broken.update(composition.broken(world))
        moves = [(mover, after) for mover, _, after in composition.moves(world)]
        for _, after in moves:
            if after not in seen:
                seen.add(after)
                waiting.append(after)
        if formulas:
            fair = [("" if mover in IDLE else mover, after) for mover, after in moves]
            graph[world] = [("", world), *fair]  # nobody but they has to do anything
    for name, state in (("L1", PENDING), ("L2", DETECTING)) if formulas else ():
        inside = [world for world in graph if _state(composition, world) == state]
        if lasso(graph, inside, lambda world, state=state: _state(composition, world) != state):  # type: ignore[misc]
            broken.add(name)
    return Surveyed(len(seen), frozenset(_control(composition, world) for world in seen), frozenset(broken))


def _state(composition: Composition, world: World) -> str:
    return composition.strategy.states[world.machine][0]


def _control(composition: Composition, world: World) -> tuple[str, ...]:
    queries = (NOBODY if slot.query < 0 else composition.query.states[slot.query][0] for slot in world.slots)
    return (_state(composition, world), *queries)
