"""`state_machine_for`: a state machine of Hypothesis for any table and any subject, steered by the table.

    DoorMachine = state_machine_for(DOOR, lambda: MachineSubject(DOOR), name="DoorMachine")
    TestDoor = DoorMachine.TestCase                         # for pytest and unittest
    run_state_machine_as_test(DoorMachine)                  # or from a test of one's own

Each event that the subject takes is taken by `step` over the table too, and the subject has to be where that
leads; what the table forbids the subject has to refuse, and nothing may change. What is printed of a run that
fails is a program: pasted into the module where the machine stands, it fails in the same way.

Source: spec, section 7: I10 and S1, besides the properties that are given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import attrs
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import Step, step
from bluegreen.table.table import Row, RowKind, Table
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.exploration.single_table import EventsOf
from bluegreen.verify.hypothesis.bias import Steering, numbers
from bluegreen.verify.hypothesis.code_repr import CodeRepr, bare, imports
from bluegreen.verify.hypothesis.systems_under_test import Did, Subject
from bluegreen.verify.properties.base import Always, Taken, broken
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS


class Disagreement(AssertionError):
    """The subject did something else than the table says, or a property does not hold of what it did."""


@attrs.frozen(eq=False)
class _Given:
    """What `state_machine_for` was called with."""

    subject: Callable[..., Subject]
    arguments: Mapping[str, st.SearchStrategy[Any]]
    properties: tuple[Always, ...]
    events: EventsOf | None


class StateMachine(RuleBasedStateMachine):
    """What `state_machine_for` fills in. Its state and context are those that follow from the table.

    Attributes:
        table: the table that the subject is held against.
        tally: what all runs of this machine have taken.
        failed: what was sent in runs that failed, by how much that was.
    """

    table: ClassVar[Table[Any, Any, Any]]
    tally: ClassVar[Tally]
    failed: ClassVar[dict[int, list[Any]]]
    _given: ClassVar[_Given]
    _steering: ClassVar[Steering]

    def __init__(self) -> None:
        super().__init__()
        self._draws = 0
        self._rows: set[int] = set()
        self._sent: list[Any] = []
        self._subject: Subject | None = None
        self.state = self.table.initial
        self.context: Any = None
        if self.failed and currently_in_test_context():
            for line in imports(self.failed[min(self.failed)]):  # the shortest run is the one that is printed
                note(line)

    @initialize(arguments=st.runner().flatmap(lambda machine: machine.drawn_arguments()))
    def begin(self, arguments: Any) -> None:
        """Make a subject."""
        given = bare(arguments)
        self._sent.append(given)
        self._draws = hash(repr(arguments))
        self._subject = subject = self._given.subject(**given)
        self.state, self.context = subject.state, subject.context
        self.tally.begin()

    @rule(event=st.runner().flatmap(lambda machine: machine.proposed()))
    def send(self, event: Any) -> None:
        """Send an event to the subject, and hold what it does against the table."""
        event = bare(event)
        self._sent.append(event)
        try:
            self._held(event)
        except BaseException:
            self.failed.setdefault(len(self._sent), []).extend(self._sent)
            self._steering.freeze()
            raise

    def teardown(self) -> None:
        """Let the subject go."""
        close = getattr(self._subject, "close", None)
        if close is not None:
            close()

    # What Hypothesis draws.

    def drawn_arguments(self) -> st.SearchStrategy[CodeRepr]:
        """Return a strategy for the arguments with which a subject is made."""
        return st.fixed_dictionaries(dict(self._given.arguments)).map(CodeRepr)

    def proposed(self) -> st.SearchStrategy[CodeRepr]:
        """Return a strategy for the next event."""
        return _proposals(self)

    def candidates(self) -> tuple[Any, ...]:
        """Return what may be sent now, always in the same order."""
        proposed: EventsOf = getattr(self._subject, "events", self._samples)
        events = proposed if self._given.events is None else self._given.events
        return tuple(events(self.state, self.context))

    def chosen(self, candidates: tuple[Any, ...], number: int) -> Any:
        """Return the event for a number that was drawn."""
        wanted = self._steering.wanted(self._draws) - self._rows
        self._draws = hash((self._draws, number))
        rows = [self.table.row(self.state, self.context, event) for event in candidates]
        return candidates[self._steering.chosen(wanted, rows, number)]

    def _samples(self, _: str, context: Any) -> Iterable[Any]:
        """The table's samples; those that bear a version get this one, and the one before."""
        fresh: list[Any] = []
        for sample in self.table.samples:
            made = [sample]
            if hasattr(sample, "state_version") and hasattr(context, "state_version"):
                made = [attrs.evolve(sample, state_version=context.state_version - age) for age in (0, 1)]
            fresh += [one for one in made if one not in fresh]
        return fresh

    # What happens.

    def _held(self, event: Any) -> None:
        subject = self._subject
        assert subject is not None
        try:
            did = subject.send(event)
        except EventForbidden as error:
            row = self._apply(event)
            if row.outcome is not RowKind.FORBID:
                raise Disagreement(f"{event} was refused, and {row} accepts it") from error
        else:
            if did is None:
                row = self._apply(event)
                if row.outcome is RowKind.FORBID:
                    raise Disagreement(f"{event} was accepted, and {row} forbids it: {row.why}")
            else:
                for one in did:
                    self._follow(one)
        self._compare(f"after {event}", subject.state, subject.context)

    def _follow(self, did: Did) -> None:
        """One of several events that the subject took."""
        self._apply(did.event)
        self._compare(f"after {did.event}", did.state, did.context)

    def _apply(self, event: Any) -> Row:
        """Take the step that the table says."""
        state, context = self.state, self.context
        row = self.tally.took(state, context, event)
        self._rows.add(id(row))
        if row.outcome is not RowKind.FORBID:
            taken: Step = step(self.table, state, context, event)
            wrong = broken(self._given.properties, Taken(state, context, event, taken))
            if wrong:
                told = "; ".join(f"{one.name}: {one.text}" for one in wrong)
                raise Disagreement(f"{event} in {state}, {context} breaks {told}")
            self.state, self.context = taken.state, taken.context
        return row

    def _compare(self, when: str, state: str, context: Any) -> None:
        if (state, context) != (self.state, self.context):
            raise Disagreement(
                f"{when} the subject is in {state}, {context}; the table says {self.state}, {self.context}"
            )


@st.composite
def _proposals(draw: st.DrawFn, machine: StateMachine) -> CodeRepr:
    """An event, which is drawn as a number."""
    candidates = machine.candidates()
    if not candidates:
        raise ValueError(f"nothing may be sent to {machine.table.name!r} in {machine.state}: see `events`")
    return CodeRepr(machine.chosen(candidates, draw(st.integers(0, numbers(len(candidates)) - 1))))


def state_machine_for(
    table: Table[Any, Any, Any],
    subject: Callable[..., Subject],
    *,
    name: str | None = None,
    properties: Iterable[Always] | None = None,
    arguments: Mapping[str, st.SearchStrategy[Any]] | None = None,
    events: EventsOf | None = None,
) -> type[StateMachine]:
    """Return a state machine of Hypothesis that holds subjects against a table.

    Events whose rows no run has taken yet are preferred.

    Args:
        table: any table.
        subject: makes a subject in the state and context in which a run begins; a class or any callable.
        name: the name under which the machine is kept, which is in the program that is printed; by default that
            of the table and `Machine`.
        properties: what must hold of each step; by default what the specification says of the shipped tables.
        arguments: how to draw what `subject` is called with, by keyword.
        events: what may be sent; by default what the subject's `events` says, else the table's samples, those
            with a version made fresh and stale.

    >>> from hypothesis import settings
    >>> from hypothesis.stateful import run_state_machine_as_test
    >>> from bluegreen.machines.retry import RETRY, Attempts
    >>> from bluegreen.verify.hypothesis.systems_under_test import MachineSubject
    >>> made = state_machine_for(RETRY, lambda: MachineSubject(RETRY, Attempts()))
    >>> run_state_machine_as_test(made, settings=settings(max_examples=20, database=None))
    >>> made.__name__, made.tally.steps > 0
    ('RetryMachine', True)
    """
    tally, frame = Tally(table), inspect.currentframe()
    caller = (
        None if frame is None else frame.f_back
    )  # the machine belongs to its module, as a named tuple does
    told = name or "".join(word.capitalize() for word in table.name.split()) + "Machine"
    shipped: dict[int, tuple[Always, ...]] = {id(STRATEGY): STEPS, id(QUERY): QUERY_ALWAYS}
    filled = {
        "__module__": caller.f_globals.get("__name__", __name__) if caller is not None else __name__,
        "__doc__": f"{table.name}, held against its table.",
        "table": table,
        "tally": tally,
        "failed": dict[int, list[Any]](),
        "_given": _Given(
            subject,
            dict(arguments or {}),
            shipped.get(id(table), ()) if properties is None else tuple(properties),
            events,
        ),
        "_steering": Steering(tally),
    }
    make: Any = type(StateMachine)
    made: type[StateMachine] = make(told, (StateMachine,), filled)
    return made
