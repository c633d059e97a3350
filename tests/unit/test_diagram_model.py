"""What a diagram shows of a table, and how a table is named on a command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import transitions

from bluegreen import QUERY, RETRY, STRATEGY, State, events, go
from bluegreen.diagram.labels import groups, in_words, wrapped
from bluegreen.diagram.model import UNDECLARED, diagram_of, part_of
from bluegreen.diagram.renderers.formats import TEXTS, render
from bluegreen.diagram.table_loader import table_named
from bluegreen.machines.strategy.events import SAFE_POINTS
from bluegreen.verify.export.formats import read_json, to_json
from bluegreen.verify.unvalidated_table import Unchecked
from support.door import DOOR

TABLES: tuple[Any, ...] = (STRATEGY, QUERY, RETRY, DOOR)
tables = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


@tables
def test_a_diagram_has_each_row_as_an_arrow_in_table_order(table: Any) -> None:
    diagram = diagram_of(table)
    assert [arrow.name for arrow in diagram.arrows] == [row.name for row in table.rows]
    assert [arrow.target for arrow in diagram.arrows] == [row.target for row in table.rows]
    assert [node.name for node in diagram.nodes if node.initial] == [table.initial]
    assert [node.final for node in diagram.nodes] == [state.final for state in table.states]


@tables
def test_a_table_that_was_exported_and_read_back_is_drawn_the_same(table: Any) -> None:
    assert diagram_of(read_json(to_json(table))) == diagram_of(table)


def test_the_arrows_of_safe_points_are_marked_and_no_others() -> None:
    marked = {arrow.event for arrow in diagram_of(STRATEGY).arrows if arrow.safe_point}
    assert marked == {event.name for event in SAFE_POINTS}
    assert marked == {
        "query_completed", "query_cancelled", "query_failed", "connection_opened", "cache_invalidated",
    }  # fmt: skip


@tables
def test_every_group_stands_for_rows_of_its_own_and_all_together_for_all(table: Any) -> None:
    diagram = diagram_of(table)
    drawn = [(group.source, event) for group in groups(diagram.arrows, "full") for event in group.events]
    assert len(drawn) == len(diagram.arrows)


def test_in_focus_are_a_state_with_its_rows_and_what_leads_to_it() -> None:
    near = diagram_of(STRATEGY).focus("Failed")
    assert [node.name for node in near.nodes] == ["Detecting", "Failed"]
    assert {arrow.source for arrow in near.transitions() if arrow.target == "Failed"} == {"Detecting"}
    assert [arrow for arrow in near.arrows if arrow.source == "Failed"] == [
        arrow for arrow in diagram_of(STRATEGY).arrows if arrow.source == "Failed"
    ]


def test_a_part_has_only_the_rows_of_the_events_that_are_asked_for() -> None:
    part = part_of(diagram_of(QUERY), "Prepared", "errored, executed")
    assert part.events == ("executed", "errored")
    assert {arrow.event for arrow in part.arrows} == {"executed", "errored"}


@pytest.mark.parametrize(
    ("focus", "events", "said"),
    [
        ("Nowhere", None, "retry has no state 'Nowhere'; accepted: Unplaced, Trying"),
        (None, "placed,nothing", "retry has no event 'nothing'; accepted: placed, transient_error, "),
    ],
)
def test_what_there_is_not_is_named_with_what_there_is(focus: Any, events: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        part_of(diagram_of(RETRY), focus, events)


def test_a_cell_of_an_unknown_event_is_no_empty_cell() -> None:
    with pytest.raises(ValueError, match="has no event 'nothing'"):
        diagram_of(RETRY).cell("Trying", "nothing")


def test_what_a_table_that_was_never_checked_does_not_declare_is_drawn_as_that() -> None:
    (Pushed,) = events("pushed")
    loose = Unchecked(
        "loose", "Shut", (State("Shut"),), (), (go("Shut", Pushed, "Nowhere", why="somewhere"),)
    )
    diagram = diagram_of(loose)
    assert [(node.name, node.tags) for node in diagram.nodes] == [("Shut", ()), ("Nowhere", (UNDECLARED,))]
    assert diagram.events == ("pushed",)
    for form in TEXTS:
        assert "Nowhere" in render(diagram, form, "full")


@pytest.mark.parametrize(
    ("guard", "words"),
    [
        ("fresh & !held", "fresh and not held"),
        ("names=a|b", "names a or b"),
        ("tickets >= 0 & turn=later", "tickets >= 0 and turn later"),
        ("!(a & b) | c", "not (a and b) or c"),
    ],
)
def test_a_guard_is_told_in_words(guard: str, words: str) -> None:
    assert in_words(guard) == words


def test_a_line_is_broken_before_the_sign_of_an_event_and_never_after_it() -> None:
    assert wrapped("aaaa ◊ bbbb", 7) == ["aaaa", "    ◊ bbbb"]


class Light(transitions.Machine):
    def __init__(self) -> None:
        super().__init__(states=["Off", "On"], initial="Off", auto_transitions=False)
        self.add_transition("switched", "Off", "On")
        self.add_transition("switched", "On", "Off")


LIGHT = Light()


def test_a_table_is_named_by_a_short_name_a_module_or_a_file(tmp_path: Path) -> None:
    assert table_named("strategy") is STRATEGY
    assert table_named("bluegreen.machines.query:QUERY") is QUERY
    assert table_named("bluegreen.verify.pytest_plugin.builtin_tables:RETRY_VERIFICATION") is RETRY
    file = tmp_path / "door.json"
    file.write_text(to_json(DOOR), encoding="utf-8")
    assert diagram_of(table_named(str(file))) == diagram_of(DOOR)


def test_a_machine_of_transitions_is_named_like_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_light", sys.modules[__name__])
    assert [node.name for node in diagram_of(table_named("a_light:LIGHT")).nodes] == ["Off", "On"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nonsense", "there is no table 'nonsense'; accepted: strategy, query, retry"),
        ("missing.json", "there is no table 'missing.json'"),
        (
            "bluegreen.machines.query:NOTHING",
            "bluegreen.machines.query:NOTHING is no table: .*has no attribute",
        ),
        ("no_such_module:TABLE", "no_such_module:TABLE is no table: No module named"),
        (
            "bluegreen.machines.strategy.table:STABLE",
            "bluegreen.machines.strategy.table:STABLE is no table, but a str",
        ),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        table_named(name)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 9}'])
def test_a_file_that_is_no_exported_table_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="is no exported table"):
        table_named(str(file))
