"""Rows are written for one or many states and events, and can be read back."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest

from bluegreen.table.guards import Fact
from bluegreen.table.rows import (
    Declaration,
    Row,
    RowKind,
    State,
    TableFinding,
    cell_facts,
    event_name,
    flatten,
    forbid,
    go,
    ignore,
    stay,
)


@attrs.frozen
class Pressed:
    name: ClassVar[str] = "pressed"


@attrs.frozen
class Held:
    seconds: int
    name: ClassVar[str] = "held"


long = Fact("long", (True, False), lambda _, e: e.seconds > 1)
LONG = long.is_(True).named("long")


def reduce(context: Any, _: Any) -> Any:
    return context


def effect(*_: Any) -> str:
    return "click"


def test_each_way_to_write_a_row_has_its_outcome() -> None:
    written = flatten(
        [
            go("Off", Pressed, "On", why="1", guard=LONG, update=reduce, effects=[effect]),
            stay("On", Pressed, why="2", guard=LONG, update=reduce, effects=[effect]),
            ignore("On", Pressed, why="3", guard=LONG),
            forbid("On", Pressed, why="4", guard=LONG),
        ]
    )
    assert written == (
        Row("Off", Pressed, RowKind.GO, "1", LONG, "On", reduce, (effect,)),
        Row("On", Pressed, RowKind.STAY, "2", LONG, None, reduce, (effect,)),
        Row("On", Pressed, RowKind.IGNORE, "3", LONG),
        Row("On", Pressed, RowKind.FORBID, "4", LONG),
    )


@pytest.mark.parametrize("write", [stay, ignore, forbid])
def test_a_row_that_is_written_for_many_is_one_row_for_each_pair_in_order(write: Any) -> None:
    rows = write(("Off", "On"), iter((Pressed, Held)), why="because").rows
    assert [(row.state, row.event) for row in rows] == [
        ("Off", Pressed),
        ("Off", Held),
        ("On", Pressed),
        ("On", Held),
    ]


def test_a_transition_is_written_for_many_too() -> None:
    rows = go(("Off", "On"), (Pressed, Held), "On", why="because").rows
    assert [str(row) for row in rows] == [
        "Off.pressed -> On",
        "Off.held -> On",
        "On.pressed -> On",
        "On.held -> On",
    ]


def test_a_name_of_an_event_is_taken_as_one_thing_not_as_letters() -> None:
    (row,) = ignore("On", "pressed", why="a slip").rows
    assert row.event == "pressed"


def test_single_rows_and_groups_can_be_mixed() -> None:
    single = Row("On", Pressed, RowKind.IGNORE, "because")
    assert flatten([single, ignore("Off", (Pressed, Held), why="because")])[0] is single
    assert len(flatten([single, ignore("Off", (Pressed, Held), why="because")])) == 3


def test_a_row_is_named_by_state_event_and_guard() -> None:
    assert Row("On", Held, RowKind.STAY, "because", LONG).name == "On.held[long]"
    assert Row("On", Held, RowKind.STAY, "because").name == "On.held"
    assert str(Row("On", Held, RowKind.STAY, "because", LONG)) == "On.held[long] stay"
    assert str(Row("On", Held, RowKind.GO, "because", LONG, "Off")) == "On.held[long] -> Off"


def test_what_is_no_event_class_is_named_by_how_it_looks() -> None:
    assert event_name(Held) == "held"
    assert event_name(Held(3)) == "Held(seconds=3)"
    assert event_name("held") == "'held'"
    assert event_name(int) == "<class 'int'>"


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (TableFinding("missing", "no row", "On", "held"), "missing (On, held): no row"),
        (TableFinding("trap", "no way out", "On"), "trap (On): no way out"),
        (TableFinding("duplicate", "twice", event="held"), "duplicate (held): twice"),
        (TableFinding("unknown state", "no such state"), "unknown state: no such state"),
        (
            TableFinding("gap", "no row is enabled", "On", "held", (("long", True), ("kind", "x"))),
            "gap (On, held): no row is enabled when long=True, kind='x'",
        ),
    ],
)
def test_a_finding_says_where_it_is_and_what_shows_it(finding: TableFinding, text: str) -> None:
    assert str(finding) == text


def test_the_facts_of_a_cell_are_those_of_its_guards_each_once() -> None:
    other = Fact("other", (1, 2), lambda *_: 1)
    rows = flatten(
        [ignore("On", Held, guard=LONG & other.is_(1), why="a"), forbid("On", Held, guard=~LONG, why="b")]
    )
    assert cell_facts(rows) == (long, other)


@pytest.fixture
def switch() -> Declaration:
    """A declaration is not checked: this one is not complete."""
    return Declaration(
        "switch",
        "Off",
        [State("Off"), State("On", holds=Fact("lit", (True, False), lambda c, _: c > 0).is_(True))],
        [Pressed, Held],
        [
            go("Off", Pressed, "On", why="on"),
            ignore("Off", Held, why="nothing"),
            stay("On", Held, guard=LONG, why="dims"),
            forbid("On", Held, guard=~LONG, why="too short"),
            forbid("On", Pressed, why="held only"),
        ],
    )


def test_a_cell_has_its_rows_in_the_order_of_the_table(switch: Declaration) -> None:
    assert [str(row) for row in switch.cell("On", Held)] == ["On.held[long] stay", "On.held[!long] forbid"]
    assert switch.cell("Off", int) == ()


def test_an_event_is_accepted_where_it_can_have_an_effect(switch: Declaration) -> None:
    assert switch.accepted("Off") == ("pressed",)
    assert switch.accepted("On") == ("held",)


def test_a_state_is_found_by_its_name_or_not_at_all(switch: Declaration) -> None:
    assert switch.state("On").name == "On"
    with pytest.raises(KeyError, match="Broken"):
        switch.state("Broken")


def test_the_facts_of_an_event_are_those_of_its_cell(switch: Declaration) -> None:
    assert switch.facts("On", None, Held(5)) == {"long": True}
    assert switch.facts("Off", None, Held(5)) == {}


def test_a_condition_is_asked_without_an_event(switch: Declaration) -> None:
    assert (switch.holds("On", 1), switch.holds("On", 0), switch.holds("Off", 0)) == (True, False, True)
