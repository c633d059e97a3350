"""Interleavings: programs of some threads over the real `StrategyManager`, run in every order that matters.

>>> from selfcheck.interleaving.programs import PROGRAMS
>>> explored = explore(PROGRAMS[0])
>>> explored.schedules, explored.complete, explored.broken
(19, True, ())
>>> replay(PROGRAMS[0], (0, 0, 0, 1)).schedule[:4]
(0, 0, 0, 1)

Every run is decided by its schedule, the numbers of the threads that went on. What is drawn at random comes from
a seed, so that a second exploration is the same as the first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

import attrs

from bluegreen.config.settings import Settings
from bluegreen.runtime.manager import StrategyManager
from bluegreen.verify.properties.base import Always
from selfcheck.interleaving.execution import Ran, Run, running
from selfcheck.interleaving.partial_order import every_schedule
from selfcheck.interleaving.programs import Program
from selfcheck.interleaving.scheduler import going_on, taking


@attrs.frozen
class InterleavingResult:
    """What was found in a program.

    Args:
        program: what ran.
        schedules: runs that differ.
        repeated: runs that were given up, because they repeat another one.
        complete: whether every schedule that makes a difference was run.
        broken: what did not hold, and the run that shows it with the fewest switches that were found.
    """

    program: Program
    schedules: int
    repeated: int
    complete: bool
    broken: tuple[tuple[Always, Ran], ...]


def explore(
    program: Program,
    kind: type[StrategyManager] = StrategyManager,
    *,
    schedules: int = 10_000,
    chances: int = 0,
    seed: int = 0,
) -> InterleavingResult:
    """Run a program in every order that makes a difference.

    Args:
        kind: the manager; one that is wrong on purpose, to see whether that is noticed.
        schedules: how many are run at most.
        chances: how many are drawn at random if these are not all.
        seed: of what is drawn.
    """
    found: dict[str, tuple[Always, Ran]] = {}
    count = repeated = 0
    complete = True
    with running(program, kind) as run:
        for ran in every_schedule(run):
            if ran is None:
                repeated += 1
                continue
            if count == schedules:
                complete = False
                break
            count += 1
            _keep(found, ran)
        if not complete:
            for ran in drawn(run, chances, seed):
                count += 1
                _keep(found, ran)
        broken = tuple((one, shortest(run, one, ran)) for one, ran in found.values())
    return InterleavingResult(program, count, repeated, complete, broken)


def _keep(found: dict[str, tuple[Always, Ran]], ran: Ran) -> None:
    for one in ran.broken:
        if one.name not in found or ran.switches < found[one.name][1].switches:
            found[one.name] = one, ran


def drawn(run: Run, count: int, seed: int) -> Iterator[Ran]:
    """Yield runs whose schedules are drawn at random: some with a switch now and then, some with many."""
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        often = chance.choice((0.02, 0.05, 0.2))

        def choose(
            last: int | None,
            able: Sequence[int],
            _: object,
            chance: random.Random = chance,
            often: float = often,
        ) -> int:
            return chance.choice(able) if chance.random() < often else going_on(last, able)

        yield run(choose)[1]


def replay(program: Program, schedule: Sequence[int], kind: type[StrategyManager] = StrategyManager) -> Ran:
    """Run a program once, in the order of a schedule, and where that says nothing, without a preemption.

    The run's own schedule is the same unless it names a thread that cannot go on: the manager has changed then.
    """
    with running(program, kind) as run:
        return run(taking(schedule))[1]


def shortest(run: Run, broken: Always, ran: Ran) -> Ran:
    """Return a run with fewer switches that breaks the same property, if taking some out leaves one."""
    while True:
        for schedule in _joined(ran.schedule):
            other = run(taking(schedule))[1]
            if other.switches < ran.switches and not broken.holds(other):
                ran = other
                break
        else:
            return ran


def _joined(schedule: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield schedules with one turn less: a thread does at once what it did in its next turn."""
    turns = [list(turn) for _, turn in groupby(schedule)]
    for place, turn in enumerate(turns):
        later = next((at for at in range(place + 1, len(turns)) if turns[at][0] == turn[0]), None)
        if later is not None:
            order = [*turns[: place + 1], turns[later], *turns[place + 1 : later], *turns[later + 1 :]]
            yield tuple(one for turn in order for one in turn)


def needed(ran: Ran) -> tuple[int, ...]:
    """Return the beginning of a run's schedule from which on nobody is preempted: all that a replay needs."""
    last = 0
    for place, moment in enumerate(ran.moments):
        before = ran.moments[place - 1].thread if place else None
        if moment.thread != going_on(before, moment.able):
            last = place + 1
    return ran.schedule[:last]


def retold(ran: Ran) -> tuple[str, ...]:
    """Return a run in words, one line for each turn of a thread, and the schedule that repeats it.

    Of what a thread did it says what others can see, and what it was about to do when another one went on.
    """
    lines: list[str] = []
    place = 0
    for thread, turn in groupby(ran.moments, key=lambda moment: moment.thread):
        done = [moment.access for moment in turn]
        place += len(done)
        seen = ", ".join(one.text for one in done if one.text.startswith(_TOLD)) or done[-1].text
        coming = ran.moments[place].nexts[thread] if place < len(ran.moments) else None
        lines.append(f"thread {thread}: {seen}" + (f"; before it {coming.text}," if coming else ""))
    lines += [f"thread {one}: sleeps until its time-out" for one in ran.asleep]
    lines += [f"thread {one}: waits for the lock for ever" for one in ran.stuck]
    return (*lines, f"schedule {needed(ran)} of {ran.program.name!r}")


_TOLD: Final = ("calls", "returns", "acquires", "releases", "asks", "completes", "waits", "moves")


_TEST: Final = '''\
"""{name}: {text}."""

from {module} import {kind}
from selfcheck.interleaving.explorer import replay
from selfcheck.interleaving.programs import Program

PROGRAM = {program}
SCHEDULE = {schedule}


def test_{function}():
    assert [one.name for one in replay(PROGRAM, SCHEDULE, {kind}).broken] == []
'''


def as_test(broken: Always, ran: Ran, kind: type[StrategyManager] = StrategyManager) -> str:
    """Return a test module that replays a run: it fails while `kind` breaks what was broken.

    Args:
        kind: a manager that can be imported.
    """
    program = f"Program({ran.program.name!r}, {ran.program.given!r}, {ran.program.scripts!r}"
    if ran.program.settings != Settings():
        program += f", {ran.program.settings!r}"
    return _TEST.format(
        name=broken.name, text=broken.text, module=kind.__module__, kind=kind.__qualname__, program=program + ")",
        schedule=needed(ran), function=re.sub(r"\W+", "_", broken.name),
    )  # fmt: skip
