"""Exports say what the tables do: compared with committed files, read back in, and taken case by case."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest

from bluegreen.cli.verify_export import export
from bluegreen.errors import EventForbidden, TableError
from bluegreen.machines.query import QUERY
from bluegreen.machines.retry import RETRY
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.guards import Fact, valuations
from bluegreen.table.rows import RowKind, cell_facts
from bluegreen.table.step import step
from bluegreen.table.table import State, Table, go
from bluegreen.verify.exploration.single_table import strategy_events
from bluegreen.verify.exploration.version_abstraction import NOW
from bluegreen.verify.export.formats import SCXML, read_json, to_json, to_scxml

COMMITTED = Path(__file__).parent / "exported"
TABLES: dict[str, Any] = {
    "bluegreen.machines.strategy.table:STRATEGY": STRATEGY,
    "bluegreen.machines.query:QUERY": QUERY,
    "bluegreen.machines.retry:RETRY": RETRY,
}
tables = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)


@pytest.mark.parametrize("kind", ["json", "scxml"])
@pytest.mark.parametrize("name", TABLES)
def test_the_committed_export_is_that_of_the_table(name: str, kind: str) -> None:
    said: list[str] = []
    assert export([kind, name], said.append) == 0
    path = COMMITTED / f"{TABLES[name].name}.{kind}"
    again = f"python -m bluegreen.cli.verify_export {kind} {name}"
    assert path.read_text("utf-8") == said[0] + "\n", f"changed: write it anew with {again}"


@tables
@pytest.mark.parametrize("known", [False, True])
def test_json_is_read_back_as_the_same_table(table: Any, known: bool) -> None:
    text = to_json(table)
    assert to_json(read_json(text, table if known else None)) == text


@tables
def test_a_table_that_was_read_back_takes_the_same_row_in_each_case(table: Any) -> None:
    """Without the code of the facts: a context is the values that they have."""
    again = read_json(to_json(table))
    events = {event.name: event for event in again.events}
    cases = 0
    for state in table.states:
        for event in table.events:
            rows = table.cell(state.name, event)
            for valuation in valuations(cell_facts(rows), state.name):
                cases += 1
                right = next(row for row in rows if row.guard.holds(dict(valuation)))
                taken = again.row(state.name, dict(valuation), events[event.name]())
                assert str(taken) == str(right)
    assert cases >= len(table.rows)


def test_a_strategy_table_that_was_read_back_with_its_code_takes_the_same_steps() -> None:
    again = read_json(to_json(STRATEGY), STRATEGY)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    state, context, rows = "Detecting", Context.initial(), set()
    for _ in range(5_000):
        event = chance.choice(list(strategy_events(state, context, tickets=5)))
        if hasattr(event, "state_version"):
            event = attrs.evolve(event, state_version=context.state_version + event.state_version - NOW)
        try:
            right = step(STRATEGY, state, context, event)
        except EventForbidden:
            with pytest.raises(EventForbidden):
                step(again, state, context, event)
            continue
        taken = step(again, state, context, event)
        assert (taken[:3], str(taken.row)) == (right[:3], str(right.row))
        state, context = right.state, right.context
        rows.add(right.row)
    assert len(rows) > 40


def test_json_in_which_a_row_is_missing_is_refused_as_the_table_would_be() -> None:
    lines = to_json(STRATEGY).replace(
        '"state": "Stable",\n   "event": "reset"', '"state": "Stable",\n   "event": "cache_expired"'
    )
    with pytest.raises(TableError, match=r"missing \(Stable, reset\)"):
        read_json(lines)


def python_of(condition: str) -> str:
    """The condition in the words of Python, to be evaluated here."""
    for word, other in (("===", "=="), ("&&", "and"), ("||", "or"), ("true", "True"), ("false", "False")):
        condition = condition.replace(word, other)
    return condition


@tables
def test_each_case_has_one_transition_of_the_state_chart_and_it_is_that_of_its_row(table: Any) -> None:
    root = ET.fromstring(to_scxml(table))
    space = {"s": SCXML}
    assert root.get("initial") == table.initial
    assert {one.get("id") for one in root if one.get("id")} == {state.name for state in table.states}
    cases = 0
    for state in table.states:
        if state.final:
            assert root.find(f"s:final[@id='{state.name}']", space) is not None
            continue
        for event in table.events:
            rows = table.cell(state.name, event)
            found = root.findall(f"s:state[@id='{state.name}']/s:transition[@event='{event.name}']", space)
            assert len(found) == len(rows)
            for valuation in valuations(cell_facts(rows), state.name):
                known = dict(valuation)
                taken = [one for one in found if eval(python_of(one.get("cond", "true")), {}, known)]
                right = [row for row in rows if row.guard.holds(known)]
                assert [found.index(one) for one in taken] == [rows.index(row) for row in right]
                assert taken[0].get("target") == right[0].target
                raised = taken[0].find("s:raise", space) is not None
                assert raised == (right[0].outcome is RowKind.FORBID)
                assert len(taken[0].findall("s:send", space)) == len(right[0].effects)
                cases += 1
    assert cases >= len([row for row in table.rows if not table.state(row.state).final])


@attrs.frozen
class Pushed:
    name = "pushed"


def test_a_value_that_json_has_no_word_for_is_refused() -> None:
    odd = Fact("odd", ((1, 2), None), lambda c, e: None)
    door = Table(
        name="door",
        initial="Shut",
        states=(State("Shut"), State("Open")),
        events=(Pushed,),
        rows=(
            go("Shut", Pushed, "Open", guard=odd.is_(None), why="it opens"),
            go("Shut", Pushed, "Open", guard=~odd.is_(None), why="it opens"),
            go("Open", Pushed, "Shut", why="it shuts"),
        ),
    )
    with pytest.raises(TypeError, match=r"\(1, 2\) cannot be written as JSON"):
        to_json(door)


@pytest.mark.parametrize(
    "arguments", [[], ["json"], ["yaml", "bluegreen.machines.query:QUERY"], ["json", "bluegreen.machines.query:NONE"],
                  ["json", "no_such_module:TABLE"], ["json", "bluegreen.machines.query:STARTED"]],
)  # fmt: skip
def test_what_is_no_table_is_wrong_usage(arguments: list[str]) -> None:
    said: list[str] = []
    assert export(arguments, said.append) == 2
    assert said
