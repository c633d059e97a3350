"""What is said of two tables: which rows differ, and on which events the machines do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

import bluegreen.diagram
from bluegreen.cli.diagram import diagram
from bluegreen.diagram.annotated import as_dot
from bluegreen.diagram.diff.behavioural import DIFFER, SAME, UNKNOWN, compare_cases
from bluegreen.diagram.diff.inputs import Compared, Side, compared, side
from bluegreen.diagram.diff.state_graph import Graph, graph_of, starts_of
from bluegreen.diagram.diff.structural import diff
from bluegreen.diagram.diff.svg import picture
from bluegreen.diagram.diff.text import plain, text
from bluegreen.diagram.renderers.svg import laid_out
from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY
from bluegreen.machines.retry import RETRY
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import step
from bluegreen.table.table import State, Table, go, ignore
from bluegreen.verify.export.formats import read_json, to_json
from selfcheck.mutation.known_bugs import FIELD_BUGS, FieldBug
from support.pairs import DOOR, PAIRS, Bolted, Pair, Pushed, Uses

GOLDEN = Path(__file__).parent / "diffs"
pairs = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)


def of(name: str, table: Any, states: int = 200) -> Side:
    return Side(name, table, graph_of(table, starts_of(table), states))


def both(pair: Pair) -> Compared:
    return compared(of("old", pair.old), of("new", pair.new))


def named(name: str) -> Pair:
    return next(pair for pair in PAIRS if pair.name == name)


@pairs
def test_each_change_is_named_and_no_other(pair: Pair) -> None:
    assert tuple(map(str, diff(pair.old, pair.new))) == pair.changes


@pairs
def test_the_shortest_events_on_which_they_differ_are_shown(pair: Pair) -> None:
    found = both(pair).behaviour
    assert found.verdict == pair.verdict
    assert (found.shown is not None) == (pair.verdict == DIFFER)
    if found.shown is not None:
        assert found.shown.events == pair.events
        assert (plain(str(found.shown.old)), plain(str(found.shown.new))) == pair.answers


@pairs
def test_what_is_shown_really_happens(pair: Pair) -> None:
    """The events are sent to both tables, and the answers are not the same; before the last one they are."""
    answers: list[list[Any]] = []
    for table in (pair.old, pair.new):
        state, context, mine = table.initial, Uses(), [(table.initial, ())]
        for name in pair.events:
            event = next(one for one in table.events if one.name == name)()
            try:
                state, context, effects, _ = step(table, state, context, event)
                mine.append((state, effects))
            except EventForbidden:
                mine.append(("forbidden", ()))
        answers.append(mine)
    assert answers[0][:-1] == answers[1][:-1]
    assert (answers[0] == answers[1]) == (pair.verdict != DIFFER)


@pairs
def test_the_other_way_round_what_was_added_is_removed_and_the_events_are_as_many(pair: Pair) -> None:
    forth, back = diff(pair.old, pair.new), diff(pair.new, pair.old)
    assert sum(one.kind == "added" for one in forth) == sum(one.kind == "removed" for one in back)
    assert len(forth) == len(back)
    found = compared(of("new", pair.new), of("old", pair.old)).behaviour
    assert found.verdict == pair.verdict
    assert found.shown is None or len(found.shown.events) == len(pair.events)


def test_some_pairs_have_different_rows_and_behave_alike() -> None:
    alike = [pair for pair in PAIRS if pair.changes and pair.verdict == SAME]
    assert len(alike) >= 3
    for pair in alike:
        found = both(pair)
        assert not found.same
        assert "behaviour: the same; all" in text(found)


def test_an_event_that_only_one_side_knows_is_not_sent_and_is_noted() -> None:
    (note,) = both(named("a state and an event more")).behaviour.notes
    assert note == "not compared, since only the new one is sent it: kicked"


STATES = 400
"""Enough to find every bug; all of it would take seconds for each."""

FIELD = {
    "starvation while any query is in flight": "query_completed(blue)",
    "stale announcement flips back": "strategy_announced(green)",
    "first connection clears a global flag": "connection_opened",
    "clear on the wrong stack": "query_completed(blue)",
    "late 456 clears a fresh cache": "error_456(blue)",
    "replay of a write": "refused_456",
    "rows of two runs are put together": "refused_456",
    "rows that the application has seen are fetched again": "refused_456",
    "timer as the only way out": "connection_opened",
    "lost wake-up: what a detection found is told to nobody": "auth_success(blue)",
    "an announcement switches at once": "strategy_announced(green)",
    "a running query is moved over": "cleared",
    "a detection does not hear that it was refused": "error_456(blue)",
    "a time-out falls back to what has just refused": "detection_timed_out",
    "the next announcement undoes a rollback": "rollback_requested",
    "time ends a rollback": "strategy_announced(green)",
    "one user's refusal moves everybody": "auth_failure(blue, others served)",
    "an engine's text taken for a refusal": "errored(none, True)",
    "a stack that does not know a query is taken for one that has refused it": "errored(gone, True)",
    "a begin that executes is sent again": "errored(execute, False)",
    "a request that was sent as often as it may be begins again elsewhere": "errored(harmless, False)",
    "rollback forgets tickets": "rollback_requested",
}
"""The event with which each bug of the field shows first."""


@pytest.fixture(scope="module")
def shipped() -> dict[str, Side]:
    return {table.name: of(table.name, table, STATES) for table in (STRATEGY, QUERY)}


@pytest.mark.parametrize("bug", FIELD_BUGS, ids=lambda bug: bug.name)
def test_each_bug_of_the_field_is_seen_in_the_rows_and_in_what_the_machine_does(
    bug: FieldBug, shipped: dict[str, Side]
) -> None:
    found = compared(shipped[bug.base.name], of(bug.name, bug.table(), STATES))
    cells = {(row.state, row.event.name) for row in bug.rows}
    assert {(one.row.source, one.row.event) for one in found.changes if one.part == "row"} == cells
    assert found.behaviour.verdict == DIFFER
    assert found.behaviour.shown is not None
    assert found.behaviour.shown.events[-1] == FIELD[bug.name]


def test_every_setting_is_compared_so_that_a_row_for_one_of_them_shows(shipped: dict[str, Side]) -> None:
    """A commit at the first safe point is left out: with the default settings nothing shows."""
    rows = tuple(
        attrs.evolve(row, guard=drained_only(row)) if "safe to commit" in str(row.guard) else row
        for row in STRATEGY.rows
    )
    changed = attrs.evolve(STRATEGY, rows=rows)
    shown = compared(shipped["strategy"], of("changed", changed, STATES)).behaviour.shown
    assert shown is not None
    assert shown.start == "commit_when=first_safe_point"


def drained_only(row: Any) -> Any:
    """The guard of a row, as if every scope waited until it is drained."""
    fixed = {"commit_when": "drained"}
    return attrs.evolve(row.guard, holds=lambda facts: row.guard.holds({**facts, **fixed}))


# Tables without code.


def as_read(table: Any) -> Any:
    return read_json(to_json(table))


def test_a_table_that_was_read_from_a_file_is_compared_case_by_case() -> None:
    found = compare_cases(as_read(DOOR), DOOR)
    assert (found.verdict, found.pairs, found.free) == (SAME, 3, True)
    assert found.notes == ("provided that facts, reducers and effects of the same name do the same",)


def test_a_case_in_which_tables_without_code_differ_is_shown_and_that_a_run_brings_it_about_is_not_claimed() -> (
    None
):
    pair = named("a guard of the same name for other cases")
    found = compare_cases(as_read(pair.old), as_read(pair.new))
    assert found.shown is not None
    assert found.shown.events == ("pushed where age=used",)
    assert "whether a run brings this case about is not known" in found.notes[-1]


def test_where_reducers_have_other_names_a_file_is_not_comparable() -> None:
    pair = named("another reducer, which shows only later")
    found = compare_cases(as_read(pair.old), as_read(pair.new))
    assert found.verdict == UNKNOWN
    assert "they differ: used and worn_out" in found.notes[-1]


@pytest.mark.parametrize("table", [STRATEGY, QUERY, RETRY], ids=lambda table: table.name)
def test_a_shipped_table_and_what_was_exported_of_it_do_not_differ(table: Any) -> None:
    again = as_read(table)
    assert diff(table, again) == ()
    assert compare_cases(table, again).verdict == SAME


def test_a_graph_is_the_same_after_it_went_through_json() -> None:
    graph = graph_of(DOOR, starts_of(DOOR))
    assert Graph.from_dict(json.loads(json.dumps(graph.as_dict()))) == graph


# Machines of transitions.


def test_machines_of_transitions_are_compared_as_tables() -> None:
    found = compared(side("support.pairs:STRICT"), side("support.pairs:LENIENT"))
    assert [str(one).partition("; why")[0] for one in found.changes] == [
        "changed row Locked.passed: outcome: forbid becomes ignore",
        "changed row Free.coin: outcome: forbid becomes ignore",
    ]
    shown = found.behaviour.shown
    assert shown is not None
    assert (shown.events, str(shown.old), str(shown.new)) == (
        ("passed",),
        "forbidden in Locked",
        "Locked, no effects",
    )


# The command.


def run(*arguments: str) -> Result:
    return CliRunner().invoke(diagram, ["diff", *arguments], prog_name="bluegreen diagram")


def test_the_exit_status_is_0_if_nothing_differs() -> None:
    result = run("retry", "bluegreen.machines.retry:RETRY")
    assert (result.exit_code, result.output.splitlines()[0]) == (
        0,
        "bluegreen.machines.retry:RETRY against retry: no row differs",
    )


def test_the_exit_status_is_1_if_rows_differ_though_behaviour_does_not(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    pair = named("another reason")
    old.write_text(to_json(pair.old))
    new.write_text(to_json(pair.new))
    result = run(str(old), str(new))
    assert result.exit_code == 1
    assert "behaviour: the same in every case of the facts, in all 3 states" in result.output
    assert f"note: {old} was not run: a file has no code" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'OLD'"),
        (["retry"], "Missing argument 'NEW'"),
        (
            ["retry", "nothing"],
            "'nothing' is no table, file or revision; accepted: strategy, query, retry",
        ),
        (["retry", "no_such_module:TABLE"], "no_such_module:TABLE is no table"),
        (["retry", "bluegreen.machines.query:STARTED"], "is no table, but a str"),
        (["retry", "query", "--format", "pdf"], "'pdf' is not one of"),
        (["retry", __file__], "is no exported table"),
    ],
)
def test_what_cannot_be_compared_is_wrong_usage(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


KINDS = {"text": "txt", "markdown": "md", "mermaid": "mmd", "dot": "dot", "svg": "svg", "json": "json"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_written_as_it_was_looked_at(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(GOLDEN.parents[1])
    written = tmp_path / "written"
    arguments = ["support.pairs:DOOR", "support.pairs:PROPOSAL", "--format", kind, "-o"]
    path = GOLDEN.relative_to(Path.cwd()) / f"review.{KINDS[kind]}"
    assert run(*arguments, str(written)).exit_code == 1
    again = f"changed: in tests, python -m bluegreen diagram diff {' '.join(arguments)} {path}"
    assert path.read_text("utf-8") == written.read_text("utf-8"), again


def test_the_bytes_do_not_depend_on_the_hash_seed() -> None:
    command = [
        "-m",
        "bluegreen",
        "diagram",
        "diff",
        "support.pairs:DOOR",
        "support.pairs:PROPOSAL",
        "--format",
    ]
    said: set[bytes] = set()
    for seed in ("0", "1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([*sys.path, str(GOLDEN.parents[1])]),
        }
        done = subprocess.run(
            [sys.executable, *command, "markdown"], env=environment, capture_output=True, check=False
        )
        assert done.returncode == 1, done.stderr
        said.add(done.stdout)
    assert len(said) == 1


def test_the_example_of_the_review_workflow_is_what_the_command_prints() -> None:
    page = (Path(bluegreen.diagram.__file__).parent / "REVIEW.md").read_text("utf-8")
    assert f"```text\n{(GOLDEN / 'review.txt').read_text('utf-8')}```" in page


@pairs
def test_each_picture_can_be_laid_out(pair: Pair) -> None:
    assert laid_out(as_dot(picture(both(pair))), "plain").startswith(b"graph")


def ring(states: int, *, snapped: bool) -> Any:
    names = [f"S{number}" for number in range(states)]
    targets = [*names[1:], names[0]]
    if snapped:
        targets[3] = "S7"
    rows = [go(name, Pushed, target, why="round") for name, target in zip(names, targets, strict=True)]
    rows.append(go("S3", Bolted, "S4", why="another way") if snapped else ignore("S3", Bolted, why="no"))
    rows += [ignore(name, Bolted, why="no") for name in names if name != "S3"]
    return Table("ring", "S0", [State(name) for name in names], (Pushed, Bolted), rows)


def test_of_a_large_table_what_no_change_touches_is_left_out_and_counted() -> None:
    drawn = picture(compared(of("old", ring(200, snapped=False)), of("new", ring(200, snapped=True))))
    assert [box.name for box in drawn.boxes] == ["S3", "S4", "S7"]
    assert drawn.caption.endswith("; 197 states that no change touches are left out")
    small = picture(compared(of("old", ring(20, snapped=False)), of("new", ring(20, snapped=True))))
    assert len(small.boxes) == 20
    assert "left out" not in small.caption


@pairs
def test_a_change_that_is_coloured_is_also_labelled(pair: Pair) -> None:
    drawn = picture(both(pair))
    for one in (*drawn.lines, *drawn.notes):
        assert one.mark is None or all(one.mark.word in line for line in one.said[:1])


def test_a_side_is_found_by_the_name_of_a_file_before_a_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("HEAD").write_text(to_json(RETRY))
    assert side("HEAD").why == "a file has no code"
