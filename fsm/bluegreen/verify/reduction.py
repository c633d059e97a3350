"""Every schedule that makes a difference, once: a depth-first search with partial order reduction.

Two schedules make no difference if one becomes the other by swapping neighbours that touch different things.
The search runs one schedule, looks where two threads raced, and goes back there to let the other one go first
(dynamic partial order reduction, Flanagan and Godefroid 2005); threads whose turn would only repeat what was
seen sleep until something wakes them (sleep sets, Godefroid 1996).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import attrs

from bluegreen.verify.scheduler import Access, Choose, Ended, Moment, going_on

R = TypeVar("R")


@attrs.define(eq=False)
class _Node:
    """One point of the schedule at hand: who went on there, who has yet to, and who need not."""

    able: tuple[int, ...]
    nexts: tuple[Access | None, ...]
    chosen: int
    sleeping: set[int]
    wanted: set[int]

    def left(self) -> list[int]:
        return sorted(self.wanted - self.sleeping)

    def sleeping_after(self) -> set[int]:
        """Who sleeps on: whoever would touch nothing that was touched here."""
        taken = self.nexts[self.chosen]
        assert taken is not None
        return {one for one in self.sleeping if not _wakes(taken, self.nexts[one])}


def _wakes(taken: Access, other: Access | None) -> bool:
    return other is None or taken.conflicts(other)


def every_schedule(run: Callable[[Choose], tuple[Ended, R]], *, reduce: bool = True) -> Iterator[R | None]:
    """Yield what comes of each schedule; none for one that was given up, because it repeats another one.

    Args:
        run: runs a program from its beginning, and returns how it ended and what came of it.
        reduce: leave out what makes no difference; without it, only the smallest programs come to an end.
    """
    nodes: list[_Node] = []
    while True:
        known = len(nodes)
        ended, came = run(_choosing(nodes, reduce=reduce))
        yield None if ended.given_up else came
        if reduce:
            _look_back(nodes, ended, known)
        while nodes:
            nodes[-1].sleeping.add(nodes[-1].chosen)
            if nodes[-1].left():
                break
            nodes.pop()
        if not nodes:
            return
        nodes[-1].chosen = nodes[-1].left()[0]


def _choosing(nodes: list[_Node], *, reduce: bool) -> Choose:
    """Follow the nodes that are there, then add new ones."""
    known, place = len(nodes), 0

    def choose(last: int | None, able: Sequence[int], nexts: tuple[Access | None, ...]) -> int | None:
        nonlocal place
        place += 1
        if place <= known:
            return nodes[place - 1].chosen
        sleeping = nodes[-1].sleeping_after() if nodes and reduce else set[int]()
        awake = [one for one in able if one not in sleeping]
        if not awake:
            return None
        chosen = going_on(last, awake)
        nodes.append(_Node(tuple(able), nexts, chosen, sleeping, {chosen} if reduce else set(able)))
        return chosen

    return choose


@attrs.define(eq=False)
class _Touched:
    """Who touched one thing last: the place of each thread's last read, write, and write that may race."""

    reads: dict[int, int] = attrs.field(factory=dict[int, int])
    writes: dict[int, int] = attrs.field(factory=dict[int, int])
    racing: dict[int, int] = attrs.field(factory=dict[int, int])


def _look_back(nodes: Sequence[_Node], ended: Ended, known: int) -> None:
    """Find the races of a run, and ask at each for the other order.

    Args:
        known: up to which place they were found by an earlier run.
    """
    threads = len(ended.moments[0].nexts) if ended.moments else 0
    touched: dict[str, _Touched] = {}
    after: list[list[int]] = []  # for each place: up to where each thread's doings come before it
    clocks = [[-1] * threads for _ in range(threads)]
    for place, moment in enumerate(ended.moments):
        clock = clocks[moment.thread]
        if place >= known - 1:
            for race in _races(touched, moment.thread, moment.access, clock):
                _ask(nodes[race], moment.thread, clock, race)
        clock = _joined(touched, moment, clock, after)
        clock[moment.thread] = place
        clocks[moment.thread] = clock
        after.append(clock)
        _touch(touched, moment, place)
    for thread, access in ended.waiting.items():
        for race in _races(touched, thread, access, clocks[thread]):
            _ask(nodes[race], thread, clocks[thread], race)


def _races(touched: dict[str, _Touched], thread: int, access: Access, clock: Sequence[int]) -> set[int]:
    """Return the last places where another thread touched the same, and nothing says that it comes first."""
    found: set[int] = set()
    if access.frees:
        return found
    for name in access.reads | access.writes:
        there = touched.get(name)
        if there is None:
            continue
        found.update(
            place for other, place in there.racing.items() if other != thread and place > clock[other]
        )
        if name in access.writes:
            found.update(
                place for other, place in there.reads.items() if other != thread and place > clock[other]
            )
    return found


def _ask(node: _Node, thread: int, clock: Sequence[int], place: int) -> None:
    """Ask for `thread` to go on here, or for one without which it cannot."""
    helpful = [one for one in node.able if one == thread or clock[one] > place]
    if not helpful:
        node.wanted.update(node.able)
    elif node.wanted.isdisjoint(helpful):
        node.wanted.add(thread if thread in helpful else helpful[0])


def _joined(
    touched: dict[str, _Touched], moment: Moment, clock: Sequence[int], after: Sequence[Sequence[int]]
) -> list[int]:
    joined = list(clock)
    for name in moment.access.reads | moment.access.writes:
        there = touched.get(name)
        if there is None:
            continue
        places = list(there.writes.values())
        if name in moment.access.writes:
            places += there.reads.values()
        for place in places:
            joined = [max(mine, other) for mine, other in zip(joined, after[place], strict=True)]
    return joined


def _touch(touched: dict[str, _Touched], moment: Moment, place: int) -> None:
    access = moment.access
    for name in access.reads:
        touched.setdefault(name, _Touched()).reads[moment.thread] = place
    for name in access.writes:
        there = touched.setdefault(name, _Touched())
        there.writes[moment.thread] = place
        if not access.frees:
            there.racing[moment.thread] = place
