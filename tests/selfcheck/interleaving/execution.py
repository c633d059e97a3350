"""One run of a program over the real `StrategyManager`: what happened in it, and what has to hold of it.

>>> from selfcheck.interleaving.programs import PROGRAMS
>>> from selfcheck.interleaving.scheduler import taking
>>> with running(PROGRAMS[0]) as run:
...     ended, ran = run(taking((0, 0, 0, 1)))
>>> ran.schedule[:4], ran.broken
((0, 0, 0, 1), ())

Source: spec, section 7; design, rules 3 and 4 of the core.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from typing import Final

import attrs

from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import Record, Snapshot
from bluegreen.types import Ticket
from bluegreen.verify.properties.base import Always
from selfcheck.interleaving.instrumented_manager import Watched, watched
from selfcheck.interleaving.linearizability import (
    Answer,
    Model,
    Operation,
    answered,
    in_one_order,
    in_sequence,
)
from selfcheck.interleaving.programs import GIVEN, OPERATIONS, Caller, Program
from selfcheck.interleaving.scheduler import Access, Choose, Ended, Halted, Moment, Scheduler


@attrs.frozen(eq=False, slots=False)
class Ran:
    """One run of a program.

    Args:
        program: what ran.
        moments: the points, in order.
        operations: what was called, in the order in which that ended.
        records: what a follower of every step got.
        first: the state before, and the tickets that were open.
        last: the state afterwards, and the tickets that were open.
        asleep: threads that wait for a detection when nobody can go on any more.
        stuck: threads that wait for the lock then.
        locked: what was done while its thread held the lock.
        detections: the most detections that were under way at a time.
        early: how many seconds before its time a detection was given up, for each that was.
    """

    program: Program
    moments: tuple[Moment, ...]
    operations: tuple[Operation, ...]
    records: tuple[Record, ...]
    first: tuple[Snapshot, frozenset[Ticket]]
    last: tuple[Snapshot, frozenset[Ticket]]
    asleep: tuple[int, ...]
    stuck: tuple[int, ...]
    locked: tuple[str, ...]
    detections: int
    early: tuple[float, ...]

    @property
    def schedule(self) -> tuple[int, ...]:
        """Who went on at each point."""
        return tuple(one.thread for one in self.moments)

    @property
    def ended(self) -> bool:
        """Whether every thread came to its end."""
        return not (self.asleep or self.stuck)

    @property
    def switches(self) -> int:
        """How often another thread went on."""
        return sum(one != other for one, other in zip(self.schedule, self.schedule[1:], strict=False))

    @cached_property
    def broken(self) -> tuple[Always, ...]:
        """The properties that do not hold of it."""
        return tuple(one for one in INTERLEAVED_ALWAYS if not one.holds(self))


def _linear(ran: Ran) -> bool:
    if not ran.ended:
        return True  # judged by what it waits for: what the others were answered is only a part
    (first, given), (last, left) = ran.first, ran.last
    numbers = frozenset(ticket.query for ticket in given)
    return all(map(answered, ran.operations)) and in_one_order(
        ran.operations,
        Model(first.state, first.context, given, numbers),
        Model(last.state, last.context, left),
    )


def _followed(ran: Ran) -> bool:
    return not ran.ended or in_sequence(ran.records, ran.first[0], ran.last[0])


INTERLEAVED_ALWAYS: Final = (
    Always("L1 goes on", "no thread waits for the lock for ever", lambda ran: not ran.stuck, "world"),
    Always("L2 woken", "who waits for a detection is woken when it is over", lambda ran: not ran.asleep, "world"),
    Always("I9 single flight", "at most one detection at a time", lambda ran: ran.detections <= 1, "world"),
    Always("I8 in time", "a detection is given up only when its own time is over", lambda ran: not ran.early, "world"),
    Always("R4 outside the lock", "no effect and no code of a user runs under it", lambda ran: not ran.locked, "world"),
    Always("I10 in one order", "what threads are answered is what one after the other would be", _linear, "world"),
    Always("I10 followed", "who follows gets every step; each begins where the last one ended", _followed, "world"),
)  # fmt: skip
"""What holds of every run."""


Run = Callable[[Choose], tuple[Ended, Ran]]


@contextlib.contextmanager
def running(program: Program, kind: type[StrategyManager] = StrategyManager) -> Generator[Run, None, None]:
    """Yield what runs a program from its beginning, as often as wanted."""
    scheduler = Scheduler(len(program.scripts))
    make = watched(kind)
    try:
        yield lambda choose: _run(scheduler, make, program, choose)
    finally:
        scheduler.close()


def _run(scheduler: Scheduler, make: type[Watched], program: Program, choose: Choose) -> tuple[Ended, Ran]:
    manager = make(scheduler, program.settings)
    given = GIVEN[program.given](manager)
    first = manager.remains
    manager.notes.records.clear()
    done: list[Operation] = []
    bodies = [
        _body(manager, Caller(manager, given), number, script, done)
        for number, script in enumerate(program.scripts)
    ]
    ended = scheduler.run(bodies, choose)
    waiting = {} if ended.given_up else ended.waiting
    asleep = tuple(one for one, access in waiting.items() if access.text.startswith("waits"))
    stuck = tuple(one for one in waiting if one not in asleep)
    notes = manager.notes
    ran = Ran(
        program, ended.moments, tuple(done), tuple(notes.records), first, manager.remains, asleep, stuck,
        tuple(notes.locked), notes.detections, tuple(notes.early),
    )  # fmt: skip
    return ended, ran


def _body(
    manager: Watched, caller: Caller, number: int, script: Sequence[str], done: list[Operation]
) -> Callable[[], None]:
    scheduler = manager.scheduler
    mine = frozenset({f"past of {number}"})
    others = frozenset(f"past of {one}" for one in range(len(manager.scheduler)) if one != number)

    def run() -> None:
        for name in script:
            scheduler.point(Access(f"calls {name}", reads=others))
            began = scheduler.now
            result, error = None, None
            try:
                result = OPERATIONS[name](caller)
            except Halted:
                raise
            except BaseException as raised:  # noqa: BLE001  the properties look at it
                error = raised
            answers = tuple(
                Answer(one.event, one.checked, one.step, one.ticket, type(one.error) if one.error else None)
                for one in manager.notes.asked.pop(number, ())
            )
            scheduler.point(Access(f"returns from {name}", writes=mine))
            done.append(Operation(name, began, scheduler.now, answers, number, result, error))

    return run
