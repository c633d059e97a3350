"""What `state_machine_for` notices, what it prints of it, and how it is steered."""

from __future__ import annotations

import enum
from typing import Any

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY
from bluegreen.machines.strategy.events import QueryFailed, QueryStarted, RollbackRequested, StrategyAnnounced
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.table import State, Table, go
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.hypothesis.bias import Steering, numbers
from bluegreen.verify.hypothesis.code_repr import CodeRepr, as_code, bare, imports
from bluegreen.verify.hypothesis.profiles import PROFILES, chosen
from bluegreen.verify.hypothesis.stateful import Disagreement, StateMachine, state_machine_for
from bluegreen.verify.hypothesis.systems_under_test import MachineSubject, ManagerSubject
from bluegreen.verify.properties.base import Always
from support.subjects import ARGUMENTS

pytestmark = pytest.mark.unjournaled

LENGTH = 6


def some(runs: int, steps: int = 20, **changes: Any) -> settings:
    return settings(max_examples=runs, stateful_step_count=steps, database=None, **changes)


class AcceptsTooMuch(ManagerSubject):
    def send(self, event: Any) -> Any:
        if event == QueryStarted() and self.state == "Detecting":
            return None
        return super().send(event)


class RefusesTooMuch(ManagerSubject):
    def send(self, event: Any) -> Any:
        if isinstance(event, StrategyAnnounced) and self.state == "Stable":
            raise EventForbidden(event.name, self.state, "not now", ())
        return super().send(event)


class ForgetsAnEnd(ManagerSubject):
    def send(self, event: Any) -> Any:
        if isinstance(event, QueryFailed) and event.ticket in self.manager.open_tickets:
            return None
        return super().send(event)


class ChangesAndRefuses(ManagerSubject):
    """A refused rollback leaves something behind."""

    left = 0

    @property
    def context(self) -> Any:
        return attrs.evolve(super().context, open_blue=super().context.open_blue + self.left)

    def send(self, event: Any) -> Any:
        try:
            return super().send(event)
        except EventForbidden:
            self.left += isinstance(event, RollbackRequested)
            raise


WRONG = (AcceptsTooMuch, RefusesTooMuch, ForgetsAnEnd, ChangesAndRefuses)


def program_of(error: BaseException) -> str:
    """What Hypothesis printed as a program."""
    lines = "\n".join(error.__notes__).splitlines()  # type: ignore[attr-defined]  # Hypothesis sets it on 3.10 too
    begin = next(number for number, line in enumerate(lines) if line.startswith(("from ", "state = ")))
    return "\n".join(lines[begin : lines.index("state.teardown()") + 1])


@pytest.mark.parametrize("subject", WRONG, ids=lambda one: one.__name__)
def test_what_is_printed_of_a_wrong_subject_fails_when_pasted_and_passes_with_the_right_one(
    subject: type[ManagerSubject],
) -> None:
    wrong, right = (
        state_machine_for(STRATEGY, one, name="Pasted", arguments=ARGUMENTS)
        for one in (subject, ManagerSubject)
    )
    with pytest.raises(Disagreement) as raised:
        run_state_machine_as_test(wrong, settings=some(500, 10, phases=[Phase.generate, Phase.shrink]))
    program = program_of(raised.value)
    assert "state.send(event=" in program
    with pytest.raises(Disagreement):
        exec(program, {"Pasted": wrong})
    exec(program, {"Pasted": right})


def test_a_machine_of_a_table_is_a_subject_out_of_the_box() -> None:
    def made() -> MachineSubject:
        return MachineSubject(QUERY, QUERY.contexts[0])

    machine = state_machine_for(QUERY, made)
    run_state_machine_as_test(machine, settings=some(50))
    assert machine.__name__ == "QueryMachine"
    assert machine.tally.steps > 50


def test_a_property_that_does_not_hold_of_a_step_is_named() -> None:
    never = Always("X never failed", "no step leads to Failed", lambda taken: taken.step.state != "Failed")
    machine = state_machine_for(STRATEGY, ManagerSubject, properties=[never])
    with pytest.raises(Disagreement, match="X never failed: no step leads to Failed"):
        run_state_machine_as_test(machine, settings=some(300))


# -- steering


def moved(name: str) -> type[Any]:
    return type(name.capitalize(), (), {"name": name, "__repr__": lambda self: f"{name.capitalize()}()"})


def chain() -> Table[Any, Any, Any]:
    """A corridor of doors, each with a key of its own; every other key leads back to the start."""
    keys = [moved(f"key{number}") for number in range(LENGTH)]
    states = [f"Door{number}" for number in range(LENGTH + 1)]
    rows: list[Any] = []
    for number, state in enumerate(states):
        for other, key in enumerate(keys):
            target = states[number + 1] if other == number else states[0]
            rows.append(go(state, key, target, why="a door"))
    return Table(
        name="corridor",
        initial=states[0],
        states=[State(name) for name in states],
        events=keys,
        rows=rows,
        samples=[key() for key in keys],
    )


def taken_of(machine: type[StateMachine], runs: int) -> tuple[int, int]:
    run_state_machine_as_test(machine, settings=some(runs, 12, derandomize=True))
    return len(machine.tally.rows), machine.tally.steps


def test_rows_at_the_end_of_a_corridor_are_reached_because_no_run_has_taken_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corridor = chain()
    steered = taken_of(state_machine_for(corridor, lambda: MachineSubject(corridor)), 150)
    monkeypatch.setattr(Steering, "chosen", lambda self, wanted, rows, number: number % len(rows))
    at_random = taken_of(state_machine_for(corridor, lambda: MachineSubject(corridor)), 150)
    assert steered[0] == len(corridor.rows)
    assert at_random[0] < len(corridor.rows)


def test_the_same_draws_prefer_the_same_although_more_was_taken_since() -> None:
    tally = Tally(STRATEGY)
    steering = Steering(tally)
    before = steering.wanted(1)
    assert len(before) == len(STRATEGY.rows)
    subject = ManagerSubject()
    for _ in range(20):
        tally.took(subject.state, subject.context, QueryStarted())
    assert steering.wanted(1) == before
    assert steering.wanted(2) == before - {id(STRATEGY.cell("Detecting", QueryStarted)[0])}


def test_a_small_number_stands_for_itself_and_a_large_one_for_what_is_preferred() -> None:
    rows = STRATEGY.rows[:5]
    steering = Steering(Tally(STRATEGY))
    wanted = frozenset({id(rows[3])})
    assert [steering.chosen(wanted, rows, number) for number in range(5)] == [0, 1, 2, 3, 4]
    assert {steering.chosen(wanted, rows, number) for number in range(5, numbers(5))} == {3}


def test_a_row_that_its_events_do_not_bring_about_is_not_hoped_for_any_more() -> None:
    rows = STRATEGY.rows[:1]
    steering = Steering(Tally(STRATEGY))
    for _ in range(200):
        steering.chosen(frozenset({id(rows[0])}), rows, 1)
    assert id(rows[0]) not in steering.wanted(1)


# -- what is shown


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        QueryFailed(Ticket(1, "blue", 3)),
        Settings(commit_when="first_safe_point"),
        (Strategy.GREEN, [1, "two", None], {"three": (4.0,)}),
        Colour.RED,
        (),
    ],
    ids=repr,
)
def test_code_of_a_value_makes_an_equal_value(value: Any) -> None:
    names: dict[str, Any] = {}
    for line in imports([value]):
        exec(line, names)
    assert eval(as_code(value), {"Colour": Colour, **names}) == value
    assert repr(CodeRepr(value)) == as_code(value)
    assert bare(CodeRepr(value)) is value
    assert bare(value) is value


# -- profiles


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_has_no_deadline_and_prints_what_reproduces_a_failure(name: str) -> None:
    profile = settings.get_profile(name)
    assert profile.deadline is None
    assert profile.print_blob


def test_what_is_not_a_profile_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'weekly'; accepted: dev, ci, nightly"):
        chosen({"HYPOTHESIS_PROFILE": "weekly", "CI": "1"})


def test_the_profile_of_ci_runs_what_is_promised() -> None:
    effort = PROFILES["ci"].effort
    assert (effort.runs, effort.wire_runs) == (10_000, 2_000)
    assert effort.in_memory().max_examples == 10_000
    assert effort.on_a_wire().stateful_step_count == effort.wire_steps
