"""Every schedule that makes a difference, once: a depth-first search with partial order reduction.

Two schedules make no difference if one becomes the other by swapping neighbours that touch different things.
The search runs one schedule, looks where two threads raced, and goes back there to let the other one go first:
source sets (Abdulla, Aronsson, Jonsson and Sagonas 2014). Threads whose turn would only repeat what was seen sleep
until something wakes them (sleep sets, Godefroid 1996). The older persistent sets (Flanagan and Godefroid 2005) were
rejected: together with sleep sets they leave out orders of three threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import attrs

from selfcheck.interleaving.scheduler import Access, Choose, Ended, going_on

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
            _look_back(nodes, ended, known - 1)
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


class _Past:
    """What came before what in a run: for each place a clock, which says up to where each thread came before it."""

    def __init__(self, threads: int) -> None:
        self.clocks: list[list[int]] = []
        self._now = [[-1] * threads for _ in range(threads)]
        self._touched: dict[str, _Touched] = {}

    def add(self, thread: int, access: Access) -> None:
        """Add what a thread did next."""
        place, clock = len(self.clocks), self.clock(thread, access)
        clock[thread] = place
        self._now[thread] = clock
        self.clocks.append(clock)
        for name in access.reads:
            self._touched.setdefault(name, _Touched()).reads[thread] = place
        for name in access.writes:
            there = self._touched.setdefault(name, _Touched())
            there.writes[thread] = place
            if not access.frees:
                there.racing[thread] = place

    def clock(self, thread: int, access: Access) -> list[int]:
        """Return what comes before what a thread does next."""
        clock = list(self._now[thread])
        for name in access.reads | access.writes:
            there = self._touched.get(name)
            if there is not None:
                places = [*there.writes.values(), *(there.reads.values() if name in access.writes else ())]
                for place in places:
                    clock = list(map(max, clock, self.clocks[place]))
        return clock

    def races(self, thread: int, access: Access, nodes: Sequence[_Node]) -> list[int]:
        """Return the places where another thread touched the same, and only the schedule says that it comes first."""
        found: dict[int, int] = {}
        for name in () if access.frees else access.reads | access.writes:
            there = self._touched.get(name, _Touched())
            for touched in (there.racing, there.reads if name in access.writes else {}):
                found.update(
                    (place, other) for other, place in touched.items() if place > self._now[thread][other]
                )
        able = {
            place: other for place, other in found.items()
            if thread in nodes[place].able or nodes[place].nexts[thread] is not access
        }  # fmt: skip
        return [
            place for place, other in able.items()
            if not any(later != place and self.clocks[later][other] >= place for later in able)
        ]  # fmt: skip


def _look_back(nodes: Sequence[_Node], ended: Ended, known: int) -> None:
    """Find the races of a run, and ask at each for the other order.

    Args:
        known: the place before which they were found by an earlier run.
    """
    past = _Past(len(nodes[0].nexts)) if nodes else _Past(0)
    for place, (thread, access, *_) in enumerate(ended.moments):
        if place >= known:
            for race in past.races(thread, access, nodes):
                _ask(nodes, past, race, thread, past.clock(thread, access))
        past.add(thread, access)
    for thread, access in () if ended.given_up else ended.waiting.items():
        for race in past.races(thread, access, nodes):
            _ask(nodes, past, race, thread, past.clock(thread, access))


def _ask(nodes: Sequence[_Node], past: _Past, race: int, thread: int, clock: Sequence[int]) -> None:
    """Ask for an order in which `thread` comes before what was done at `race`, if nothing leads to one yet.

    What has to be done for that is everything since that does not follow from the race, and the thread's own;
    it may begin with whatever nothing else of it comes before.
    """
    node, raced = nodes[race], nodes[race].chosen
    first: dict[int, int] = {}
    begins: list[int] = []
    for place in range(race + 1, len(past.clocks)):
        other, before = nodes[place].chosen, past.clocks[place]
        if before[raced] < race and other not in first:
            if not any(before[one] >= at for one, at in first.items()):
                begins.append(other)
            first[other] = place
    if thread not in first and not any(clock[one] >= at for one, at in first.items()):
        begins.append(thread)
    if node.wanted.isdisjoint(begins) and node.sleeping.isdisjoint(begins):
        able = [one for one in begins if one in node.able]
        node.wanted.update(able[:1] or node.able)
