"""The circuit breaker of tests/examples: a machine of a user's own is verified, drawn, run, mutated and exported."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from bluegreen import EventForbidden, Fact, Machine, State, Table, events, go, ignore, stay
from bluegreen.diagram.renderers.mermaid import state_diagram
from bluegreen.table.rows import RowKind
from bluegreen.verify import Always, Eventually, Sometimes, Verification, explore
from bluegreen.verify.coverage.reachable import reach
from bluegreen.verify.export.formats import read_json, to_json, to_scxml
from bluegreen.verify.hypothesis.stateful import state_machine_for
from bluegreen.verify.hypothesis.systems_under_test import MachineSubject
from examples import circuit_breaker
from examples.circuit_breaker import (
    BREAKER,
    VERIFICATION,
    CallFailed,
    Calls,
    CallStarted,
    CallSucceeded,
    CoolDownEnded,
)

SOURCE = Path(str(circuit_breaker.__file__))


def test_it_takes_fewer_than_sixty_lines() -> None:
    assert len([line for line in SOURCE.read_text("utf-8").splitlines() if line.strip()]) < 60


def test_it_is_verified_in_all_of_its_states() -> None:
    found = VERIFICATION.explore()
    assert (found.states, found.steps, found.complete) == (5, 19, True)
    assert (found.violations, found.unreached, found.missed) == ((), (), ())
    assert found.ok
    assert {type(one) for one in VERIFICATION.properties} == {Always, Sometimes, Eventually}


def test_it_is_drawn() -> None:
    assert state_diagram(BREAKER).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> Closed",
        "    Closed --> Open : call_failed [third in a row]",
        "    Open --> HalfOpen : cool_down_ended",
        "    HalfOpen --> Closed : call_succeeded",
        "    HalfOpen --> Open : call_failed",
    ]


def test_it_runs() -> None:
    breaker: Any = Machine(BREAKER, Calls())
    for _ in range(2):
        breaker.call_failed()
    breaker.call_succeeded()
    for _ in range(3):
        breaker.call_started()
        breaker.call_failed()
    assert breaker.is_Open()
    with pytest.raises(EventForbidden, match="call_started is forbidden in Open: the service is left alone"):
        breaker.call_started()
    breaker.cool_down_ended()
    breaker.call_succeeded()
    assert (breaker.state, breaker.context) == ("Closed", Calls())


def test_as_a_program_it_verifies_mutates_draws_and_runs() -> None:
    run = f"import sys, runpy; sys.path[:0] = {sys.path!r}; runpy.run_path({str(SOURCE)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", run], capture_output=True, text=True, check=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["5 states, 19 steps, all of them", "21 of 21 mutants noticed"]
    assert lines[-1] == "Open False"


def test_every_mutant_is_noticed_and_every_property_notices_one() -> None:
    found = VERIFICATION.mutate()
    assert len(found.verdicts) == 21
    assert (found.survivors, found.stale, found.vacuous) == ((), (), ())


@pytest.mark.parametrize("one", VERIFICATION.properties, ids=lambda one: one.name)
def test_without_one_of_its_properties_some_mutant_is_noticed_by_less(one: Any) -> None:
    rest = [each for each in VERIFICATION.properties if each is not one]
    whole, less = VERIFICATION.mutate(), attrs.evolve(VERIFICATION, properties=rest).mutate()
    killers = [verdict.killers for verdict in whole.verdicts]
    assert [verdict.killers for verdict in less.verdicts] != killers


def changed(name: str, **changes: Any) -> Table[Any, Any, Any]:
    """The breaker with one row changed."""
    rows = [attrs.evolve(row, **changes) if row.name == name else row for row in BREAKER.rows]
    assert rows != list(BREAKER.rows)
    return Table(BREAKER.name, BREAKER.initial, BREAKER.states, BREAKER.events, rows)


WRONG: Mapping[str, Callable[[], Table[Any, Any, Any]]] = {
    "a success forgets nothing": lambda: changed("Closed.call_succeeded", reducer=lambda calls, _: calls),
    "a failure counts twice": lambda: changed(
        "Closed.call_failed[!third in a row]", reducer=lambda _, __: Calls(2)
    ),
    "what is counted outlives a cool-down": lambda: changed(
        "Closed.call_failed[third in a row]", reducer=lambda calls, _: calls
    ),
    "it opens by itself": lambda: changed("Closed.call_succeeded", outcome=RowKind.GO, target="Open"),
    "calls go out while it is open": lambda: changed("Open.call_started", outcome=RowKind.STAY),
}


NOTICES = {
    "a success forgets nothing": "counts",
    "a failure counts twice": "counts",
    "what is counted outlives a cool-down": "counts",
    "it opens by itself": "opens",
    "calls go out while it is open": "rests",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variant_breaks_a_property(name: str) -> None:
    broken = [one.name for one in VERIFICATION.explore(WRONG[name]()).violations]
    assert broken == [NOTICES[name]]


def test_it_is_exported_and_read_back() -> None:
    text = to_json(BREAKER)
    assert to_json(read_json(text, BREAKER)) == text
    again = VERIFICATION.explore(read_json(text, BREAKER))
    assert (again.states, again.steps, again.ok) == (5, 19, True)
    assert 'cond="third === true" table:guard="third in a row" target="Open"' in to_scxml(BREAKER)


def test_long_random_runs_take_every_row() -> None:
    machine = state_machine_for(
        BREAKER,
        lambda: MachineSubject(BREAKER, Calls()),
        events=VERIFICATION.events_of,
        name="BreakerMachine",
    )
    run_state_machine_as_test(machine, settings=settings(max_examples=30, database=None))
    assert machine.tally.coverage().untaken == ()


def test_every_pair_of_rows_that_some_run_takes_is_known() -> None:
    found = reach(VERIFICATION)
    assert found.complete
    assert len(found.tally.rows) == len(BREAKER.rows)
    names = {(before.name, after.name) for before, after in found.pairs}
    assert ("HalfOpen.call_failed", "Open.cool_down_ended") in names
    assert ("HalfOpen.call_succeeded", "Closed.call_failed[third in a row]") not in names


def test_events_that_carry_nothing_are_values_which_can_be_pickled() -> None:
    assert CallFailed() == CallFailed()
    assert pickle.loads(pickle.dumps(CoolDownEnded())) == CoolDownEnded()
    assert (CallStarted.name, CallSucceeded.__name__, CallSucceeded.__module__) == (
        "call_started",
        "CallSucceeded",
        "examples.circuit_breaker",
    )


# What must follow, on a table alone.

Rang, Answered, Left = events("rang", "answered", "left")
answers = Eventually(
    "answers",
    "whoever rings is answered",
    lambda taken: taken.event == Rang(),
    lambda taken: taken.step.state == "Talking",
    of="step",
)


@attrs.frozen
class Rings:
    count: int = 0


def ring(rings: Rings, _: Any) -> Rings:
    return Rings(min(rings.count + 1, 2))


tired = Fact("tired", (True, False), lambda rings, _: rings.count == 2).is_(True).named("tired")


def telephone(*rows: Any) -> Table[Any, Any, Any]:
    return Table(
        name="telephone",
        initial="Quiet",
        states=(State("Quiet"), State("Ringing"), State("Talking")),
        events=(Rang, Answered, Left),
        rows=(
            go("Quiet", Rang, "Ringing", why="somebody calls"),
            ignore("Quiet", (Answered, Left), why="nobody calls"),
            ignore("Talking", (Rang, Answered), why="busy"),
            go("Talking", Left, "Quiet", update=lambda *_: Rings(), why="it is over"),
            *rows,
        ),
    )


def test_what_may_be_sent_all_along_is_sent_so_that_what_it_brings_follows() -> None:
    table = telephone(
        stay("Ringing", Rang, update=ring, why="again"),
        go("Ringing", Answered, "Talking", why="somebody is there"),
        ignore("Ringing", Left, why="nobody is there"),
    )
    assert Verification(table, Rings(), properties=(answers,)).explore().ok


def test_what_may_be_sent_only_now_and_then_need_not_be_and_the_cycle_is_shown() -> None:
    table = telephone(
        stay("Ringing", Rang, update=ring, why="again"),
        go("Ringing", Answered, "Talking", why="somebody is there"),
        go("Ringing", Left, "Quiet", why="they gave up"),
    )
    (broken,) = Verification(table, Rings(), properties=(answers,)).explore().violations
    assert (broken.name, broken.events[0]) == ("answers", Rang())
    assert {Rang(), Left()} <= set(broken.cycle)
    state, context = "Quiet", Rings()
    for sent in (*broken.events, *broken.cycle):
        before = state
        row = table.row(state, context, sent)
        state = row.target or state
        context = row.reducer(context, sent) if row.reducer is not None else context
        assert (before, state) != ("Ringing", "Talking")


def test_a_dead_end_before_what_must_follow_is_shown_without_a_cycle() -> None:
    table = telephone(
        stay("Ringing", Rang, update=ring, guard=~tired, why="again"),
        ignore("Ringing", Rang, guard=tired, why="too often"),
        go("Ringing", Answered, "Talking", why="somebody is there"),
        ignore("Ringing", Left, why="nobody is there"),
    )
    nothing = explore(table, Rings(), lambda state, _: [Rang()] if state == "Quiet" else [], (answers,))
    (broken,) = nothing.violations
    assert (broken.events, broken.cycle) == ((Rang(),), ())


def test_what_must_follow_is_not_asked_if_a_bound_ended_the_search() -> None:
    table = telephone(
        go("Ringing", Left, "Quiet", why="they gave up"),
        go("Ringing", Answered, "Talking", why="somebody is there"),
        ignore("Ringing", Rang, why="it rings already"),
    )
    found = Verification(table, Rings(), properties=(answers,), states=1).explore()
    assert (found.complete, found.violations, found.ok) == (False, (), False)
    assert "NOT all of them" in str(found)


# What is said about a table.


def test_a_verification_needs_something_to_send_and_properties_of_steps() -> None:
    needy = attrs.make_class("Needy", ["number"], class_body={"name": "needy"})
    table = Table(
        name="t",
        initial="A",
        states=(State("A"), State("B")),
        events=(needy,),
        rows=(go("A", needy, "B", why="there"), go("B", needy, "A", why="back")),
    )
    with pytest.raises(
        ValueError, match="t: needy needs number; give `events`, or the table `samples` of it"
    ):
        Verification(table)
    sent = lambda *_: [needy(1)]  # noqa: E731
    assert Verification(table, events=sent).explore().ok
    world = Eventually("w", "w", lambda _: True, lambda _: True)
    with pytest.raises(ValueError, match="t: 'w' looks at a world; accepted here: of=\"step\""):
        Verification(table, events=sent, properties=(world,))
    twice = Always("a", "a", lambda _: True)
    with pytest.raises(ValueError, match="t: several properties are called 'a'"):
        Verification(table, events=sent, properties=(twice, twice))
