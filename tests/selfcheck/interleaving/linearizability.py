"""Linearizability: whether what some threads were answered is what `step` answers, one after the other.

What a thread calls is an operation; the steps that it asked the machine for are what it was answered. A history
is right if all steps can be put into one order that respects time (what had ended before another operation began
comes first, and each thread's steps stay in their order), in which `step` gives each the same answer, and ends
where the manager ended. The search goes one step at a time and remembers where it has been (Wing and Gong 1993,
Lowe 2017).

>>> from bluegreen.machines.strategy.events import Reset
>>> first = Model("Detecting", Context.initial())
>>> alone = Operation("send", 0, 1, (Answer(Reset(), False, step(STRATEGY, first.state, first.context, Reset())),))
>>> in_one_order((alone,), first, first)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs

from bluegreen.errors import EventForbidden, StrategyUnavailable
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.effects import IssueTicket, Raise
from bluegreen.machines.strategy.events import ENDINGS
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.telemetry import Record, Snapshot
from bluegreen.table.step import Step, step
from bluegreen.types import Ticket
from selfcheck.interleaving.programs import CrashError


@attrs.frozen
class Answer:
    """One step that was asked for, and what came of it.

    Args:
        event: what was sent.
        checked: whether it was only to be taken if something still held, such as that the ticket is open.
        step: what was taken, or none.
        ticket: what was issued.
        error: the type of what was raised.
    """

    event: Any
    checked: bool
    step: Step | None = None
    ticket: Ticket | None = None
    error: type[BaseException] | None = None


@attrs.frozen
class Operation:
    """What one thread called: when that began and ended, and what the steps in it were answered.

    Args:
        name: what was called.
        thread: who called it.
        began: when, in points of the run.
        ended: when; later than everything if it did not.
        answers: the steps, in their order.
        result: what was returned.
        error: what was raised.
    """

    name: str
    began: int
    ended: int
    answers: tuple[Answer, ...] = ()
    thread: int = 0
    result: Any = attrs.field(default=None, eq=False)
    error: BaseException | None = attrs.field(default=None, eq=False)


@attrs.frozen
class Model:
    """A manager as the specification has it: the machine, which tickets are open, and which have ever been."""

    state: str
    context: Context
    open: frozenset[Ticket] = frozenset()
    issued: frozenset[int] = frozenset()

    def after(self, answer: Answer) -> Model | None:
        """Return what is next if the machine gives this answer, or none if it gives another one."""
        event, ending = answer.event, isinstance(answer.event, ENDINGS)
        nothing = answer.step is None and answer.error is None
        if ending and event.ticket not in self.open:
            return self if (nothing and answer.checked) or answer.error is EventForbidden else None
        if nothing:
            return self if answer.checked and not ending else None
        taken = stepped(self.state, self.context, event)
        if taken is None:
            return self if answer.error is EventForbidden else None
        if not _same(taken, answer):
            return None
        still_open = self.open - {event.ticket} if ending else self.open
        if answer.ticket is None:
            return Model(taken.state, taken.context, still_open, self.issued)
        if answer.ticket.query in self.issued:
            return None
        number = answer.ticket.query
        return Model(taken.state, taken.context, still_open | {answer.ticket}, self.issued | {number})


@lru_cache(maxsize=50_000)
def stepped(state: str, context: Context, event: Any) -> Step | None:
    """Return what `step` does, or none if the event is forbidden."""
    try:
        return step(STRATEGY, state, context, event)
    except EventForbidden:
        return None


def _same(taken: Step, answer: Answer) -> bool:
    issues = next((one for one in taken.effects if isinstance(one, IssueTicket)), None)
    if answer.error is not None:
        raises = any(isinstance(one, Raise) for one in taken.effects)
        return raises and issubclass(answer.error, StrategyUnavailable)
    if answer.step is None or answer.step.row is not taken.row:
        return False
    if (answer.step.state, answer.step.context) != (taken.state, taken.context):
        return False
    if issues is None or answer.ticket is None:
        return issues is None and answer.ticket is None
    return (answer.ticket.strategy, answer.ticket.state_version) == (issues.strategy, issues.state_version)


def in_one_order(operations: Sequence[Operation], first: Model, last: Model) -> bool:
    """Whether there is an order of all answers, in time, in which the machine goes from `first` to `last`.

    Args:
        last: where it ended; `issued` is not compared.
    """
    threads = sorted({one.thread for one in operations})
    lanes = [
        [(one, answer) for one in operations if one.thread == thread for answer in one.answers]
        for thread in threads
    ]
    seen: set[tuple[tuple[int, ...], Model]] = set()
    waiting = [((0,) * len(lanes), first)]
    while waiting:
        places, model = waiting.pop()
        if (places, model) in seen:
            continue
        seen.add((places, model))
        heads = [
            lane[place] if place < len(lane) else None for lane, place in zip(lanes, places, strict=True)
        ]
        if not any(heads):
            if (model.state, model.context, model.open) == (last.state, last.context, last.open):
                return True
            continue
        deadline = min(head[0].ended for head in heads if head is not None)
        for number, head in enumerate(heads):
            if head is None or head[0].began > deadline:
                continue  # another one had ended before this one began
            following = model.after(head[1])
            if following is not None:
                waiting.append((tuple(place + (at == number) for at, place in enumerate(places)), following))
    return False


def answered(operation: Operation) -> bool:
    """Whether what an operation returned or raised is what its last step was answered."""
    last = operation.answers[-1] if operation.answers else None
    kind = operation.name.partition(" ")[0]
    if kind in ("end", "send"):
        if last is None:
            return False
        if operation.error is not None:
            return type(operation.error) is last.error
        return last.error is None and operation.result == (
            last.step is not None if kind == "end" else last.step
        )
    if kind == "start" and isinstance(operation.result, Ticket):
        return last is not None and operation.result is last.ticket
    if kind == "start":
        return isinstance(operation.error, (StrategyUnavailable, CrashError))
    return operation.error is None


def in_sequence(records: Sequence[Record], first: Snapshot, last: Snapshot) -> bool:
    """Whether records, in their sequence, lead from one state to the other without a gap, each by one `step`."""
    now = first
    for record in sorted(records, key=lambda one: one.sequence):
        if record.before != now or record.sequence != now.sequence + 1:
            return False
        taken = stepped(now.state, now.context, record.event)
        if taken is None or (taken.state, taken.context) != (record.step.state, record.step.context):
            return False
        now = Snapshot(taken.state, taken.context, record.sequence)
    return now == last
