"""Processes that want the lease of a scope, with holders that die, are slow, or whose host is booted anew.

Who gets it is decided by `sharing.leased`, as in every store, over the table `LEASE`. Time goes on in ticks; whoever
waits asks again in each of them.

    >>> found = examine_lease(processes=2)
    >>> found.searched.complete, found.violations
    (True, ())

Source: spec, section 7, I9, between processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import attrs

from bluegreen.machines.lease import LEASE, LeaseAsked, LeaseExpired, LeaseReleased
from bluegreen.table.step import step
from bluegreen.table.table import Table
from bluegreen.verify.properties.base import Always
from selfcheck.explore.breadth_first import Searched, path_to, search
from selfcheck.explore.checker import Violation

TTL: Final = 2
"""How long a lease is held, in ticks."""


class Contest(NamedTuple):
    """Everything at one moment.

    Args:
        state, holder: of the lease's machine.
        left: ticks until its time is over.
        doing: what each process does: nothing, waits, or detects.
        orphaned: ticks since its holder has died with it, while somebody waits.
        asked: who has asked in this tick.
        granted: who was told, since the lease was last free or over, that it has it.
    """

    state: str
    holder: str
    left: int
    doing: tuple[str, ...]
    orphaned: int
    asked: tuple[bool, ...]
    granted: tuple[str, ...]


IDLE, WAITS, DETECTS = "nothing", "waits", "detects"
NAMES: Final[tuple[str, ...]] = ("one", "two", "three")


class LeaseWorld:
    """A space for `search`.

    Args:
        processes: how many want the lease.
        table: the table of the lease, or one in its place.
    """

    def __init__(self, processes: int = 2, table: Table[Any, Any, Any] = LEASE) -> None:
        self._processes, self._table = processes, table

    def first(self) -> list[Contest]:
        """Return the moment in which everything begins."""
        nobody = (IDLE,) * self._processes
        return [Contest(self._table.initial, "", 0, nobody, 0, (False,) * self._processes, ())]

    def follow(self, state: Contest) -> list[Contest]:
        """Return what follows."""
        return [after for _, after in self.arrows(state)]

    def arrows(self, contest: Contest) -> Iterator[tuple[str, Contest]]:
        """Yield what can happen, in words, and what follows."""
        for index, doing in enumerate(contest.doing):
            name = NAMES[index]
            if doing == IDLE or (doing == WAITS and not contest.asked[index]):
                yield f"{name} asks", self._asks(contest, index)
            if doing == DETECTS:
                yield f"{name} is done", self._sent(_does(contest, index, IDLE), LeaseReleased(name))
                yield f"{name} is killed", self._killed(contest, index)
        if all(doing != WAITS or asked for doing, asked in zip(contest.doing, contest.asked, strict=True)):
            yield "a tick", self._ticks(contest)
        if contest.state == "Held":
            yield "the host of the store is booted anew", self._sent(contest, LeaseExpired())

    def _asks(self, contest: Contest, index: int) -> Contest:
        name = NAMES[index]
        taken = step(self._table, contest.state, contest.holder, LeaseAsked(name))
        granted = bool(taken.effects)
        after = _does(contest, index, DETECTS if granted else WAITS)
        asked = tuple(one or number == index for number, one in enumerate(contest.asked))
        after = after._replace(state=taken.state, holder=taken.context, asked=asked)
        if not granted:
            return after
        told = tuple(dict.fromkeys((*contest.granted, name)))
        return after._replace(left=TTL, orphaned=0, granted=told)

    def _sent(self, contest: Contest, event: Any) -> Contest:
        taken = step(self._table, contest.state, contest.holder, event)
        freed = taken.state != "Held"
        return contest._replace(
            state=taken.state,
            holder=taken.context,
            left=0 if freed else contest.left,
            orphaned=0 if freed else contest.orphaned,
            granted=() if freed or isinstance(event, LeaseExpired) else contest.granted,
        )

    def _killed(self, contest: Contest, index: int) -> Contest:
        """A process dies; nobody gives its lease back."""
        return _does(contest, index, IDLE)

    def _ticks(self, contest: Contest) -> Contest:
        after = contest._replace(asked=(False,) * self._processes)
        holder = dict(zip(NAMES, contest.doing, strict=False)).get(contest.holder)
        if contest.state == "Held" and holder != DETECTS and WAITS in contest.doing:
            after = after._replace(orphaned=min(after.orphaned + 1, TTL + 1))
        if contest.state != "Held":
            return after
        left = max(contest.left - 1, 0)
        return (
            self._sent(after._replace(left=left), LeaseExpired()) if not left else after._replace(left=left)
        )


def _does(contest: Contest, index: int, doing: str) -> Contest:
    return contest._replace(doing=(*contest.doing[:index], doing, *contest.doing[index + 1 :]))


LEASE_ALWAYS: Final = (
    Always(
        "I9 one holder at a time", "nobody gets a lease that another one has, whose time is not over",
        lambda contest: len(contest.granted) <= 1, "world",
    ),
    Always(
        "I9 bounded wait", "a holder that has died keeps nobody waiting for longer than the lease's time",
        lambda contest: contest.orphaned <= TTL, "world",
    ),
)  # fmt: skip


@attrs.frozen
class LeaseResult:
    """What was found."""

    processes: int
    searched: Searched
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        """Whether everything was seen, and nothing is wrong with it."""
        return self.searched.complete and not self.violations


def examine_lease(processes: int = 2, table: Table[Any, Any, Any] = LEASE) -> LeaseResult:
    """Explore processes that want a lease, and look at them."""
    world = LeaseWorld(processes, table)
    searched = search(world)
    found: list[Violation] = []
    for one in LEASE_ALWAYS:
        wrong = next((state for level in searched.levels for state in level if not one.holds(state)), None)
        if wrong is not None:
            path = path_to(world, searched.levels, wrong)
            words = tuple(
                next(text for text, leads in world.arrows(before) if leads == after)
                for before, after in pairwise(path)
            )
            found.append(Violation(one.name, one.text, words))
    return LeaseResult(processes, searched, tuple(found))
