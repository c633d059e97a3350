"""An exhaustive search, breadth first, of any space that says where it begins and what follows what.

The search knows nothing of machines: a space is its first states and `follow`. States are hashable and
small, because all that were seen are kept; how a state was reached is not, and is found again from the
levels when somebody asks. `explore` makes a space of any table.

    >>> class Dial:
    ...     def first(self): return (0,)
    ...     def follow(self, state): return [((state + 1) % 5)]
    >>> search(Dial()).states
    5
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol

import attrs


class Space(Protocol):
    """What can be searched."""

    def first(self) -> Iterable[Any]:
        """Return the states in which it begins."""
        ...

    def follow(self, state: Any) -> Iterable[Any]:
        """Return the states that follow `state`; one may be named more than once."""
        ...


@attrs.frozen
class Progress:
    """How far a search is: states seen, steps taken, depth, seconds since it began."""

    states: int
    steps: int
    depth: int
    seconds: float


@attrs.frozen
class Bounds:
    """Where a search stops at the latest.

    Args:
        states: states that are kept at most.
        memory_mb: megabytes that the process may have in use, or none.
    """

    states: int = 20_000_000
    memory_mb: int | None = None


@attrs.frozen
class Searched:
    """What a search found.

    Args:
        states: how many states were seen.
        steps: how many steps lead from one to another.
        depth: steps from the beginning to the state that is furthest from it.
        seconds: how long it took.
        complete: whether everything was seen; false if a bound or `stop` ended it.
        levels: the states by their distance from the beginning, as sequences or arrays.
    """

    states: int
    steps: int
    depth: int
    seconds: float
    complete: bool
    levels: tuple[Any, ...] = attrs.field(repr=False)


def search(
    space: Space,
    *,
    bounds: Bounds | None = None,
    told: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Searched:
    """Visit every state of `space`, nearest first.

    Args:
        bounds: where it stops at the latest.
        told: called about once a second.
        stop: asked after each state; the search ends if it answers true.
    """
    bounds = bounds or Bounds()
    began = time.monotonic()
    follow, stopped = space.follow, stop or (lambda: False)
    seen: set[Any] = set(space.first())
    level: list[Any] = list(seen)
    levels: list[Sequence[Any]] = []
    steps, complete, asked = 0, True, 0
    while level and complete:
        levels.append(_packed(level))
        following: list[Any] = []
        add = following.append
        for state in level:
            after = follow(state)
            for other in after:
                if other not in seen:
                    seen.add(other)
                    add(other)
            steps += len(after) if isinstance(after, (list, tuple, set)) else 0
            asked += 1
            if stopped() or len(seen) > bounds.states:
                complete = False
                break
            if asked & 0x3FFF == 0:
                if told is not None:
                    told(Progress(len(seen), steps, len(levels) - 1, time.monotonic() - began))
                if beyond(bounds.memory_mb):
                    complete = False
                    break
        level = following
    return Searched(len(seen), steps, len(levels) - 1, time.monotonic() - began, complete, tuple(levels))


def path_to(space: Space, levels: Sequence[Sequence[Any]], state: Any) -> tuple[Any, ...]:
    """Return a shortest sequence of states that leads to `state`, which is in `levels`.

    Raises:
        ValueError: it is not.
    """
    depth = next((index for index, level in enumerate(levels) if state in level), None)
    if depth is None:
        raise ValueError(f"{state!r} was not reached")
    path = [state]
    for level in reversed(levels[:depth]):
        path.append(next(before for before in level if path[-1] in space.follow(before)))
    return tuple(reversed(path))


def _packed(level: list[Any]) -> Sequence[Any]:
    """Keep numbers in a quarter of the memory that a list of them takes."""
    if isinstance(level[0], int) and max(level) < 1 << 63:
        return array("q", level)
    return level


def beyond(memory_mb: int | None) -> bool:
    """Whether this process has had more than so many megabytes in use."""
    if memory_mb is None:
        return False
    try:
        import resource
    except ImportError:  # not on this platform: the bound on states remains
        return False
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > memory_mb * 1024


State = Hashable
