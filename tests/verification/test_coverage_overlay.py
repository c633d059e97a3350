"""What was counted on a table is shown on it: taken, not taken, infeasible, and how guards came out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bluegreen.cli.diagram import diagram
from bluegreen.diagram.annotated import as_dot, as_mermaid
from bluegreen.diagram.coverage.io import counted, tally_json
from bluegreen.diagram.coverage.overlay import INFEASIBLE, MISSED, TAKEN, explored, overlay
from bluegreen.diagram.coverage.text import picture, text
from bluegreen.diagram.renderers.svg import laid_out
from bluegreen.machines.query import QUERY
from bluegreen.machines.retry import RETRY, Attempts, NotAuthenticated, Placed, TransientError
from bluegreen.machines.strategy.events import QueryCompleted, StrategyAnnounced
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.export.formats import to_json
from bluegreen.verify.trace.writer import Journal
from support.pairs import DOOR, SNAPPING, Uses

GOLDEN = Path(__file__).parent / "diffs"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(diagram, ["coverage", *arguments], prog_name="bluegreen diagram")


def pushed_once(table: Any) -> Tally:
    tally = Tally(table)
    tally.took("Shut", Uses(), table.events[0]())
    return tally


def status(found: Any) -> dict[str, str]:
    return {one.arrow.name: one.status for one in found.rows}


def test_what_was_not_taken_is_told_apart_from_what_no_run_takes() -> None:
    found = overlay(SNAPPING, pushed_once(SNAPPING), explored(SNAPPING))
    assert status(found)["Shut.pushed[!worn]"] == TAKEN
    assert status(found)["Open.pushed[!unused]"] == MISSED
    assert status(found)["Open.pushed[unused]"] == INFEASIBLE
    assert (found.taken, found.feasible, len(found.rows)) == (1, 10, 11)
    assert str(found) == "door: 1 of 10 rows taken (10.0 %), 1 infeasible; 2 of 6 outcomes of guards seen"


def test_a_guard_that_never_comes_out_in_one_way_is_told_and_not_asked_for() -> None:
    found = overlay(SNAPPING, explored(SNAPPING).tally, explored(SNAPPING))
    one = next(one for one in found.rows if one.arrow.name == "Open.pushed[unused]")
    assert (one.seen, one.unseen, one.never) == ((False,), (), (True,))
    assert found.percent == 100


def test_without_the_explorer_nothing_is_infeasible_and_it_is_said_why() -> None:
    found = overlay(SNAPPING, pushed_once(SNAPPING), None, "a file has no code")
    assert INFEASIBLE not in status(found).values()
    assert text(found).endswith("note: which rows are infeasible is not known: a file has no code")


def test_when_a_bound_ends_the_explorer_nothing_is_infeasible() -> None:
    found = overlay(SNAPPING, Tally(SNAPPING), explored(SNAPPING, states=2))
    assert set(status(found).values()) == {MISSED}
    assert "which rows are infeasible is not known: a bound ended the explorer" in text(found)


def test_what_was_taken_although_the_explorer_cannot_is_noted() -> None:
    tally = Tally(SNAPPING)
    tally.took("Open", Uses(0), SNAPPING.events[0]())
    found = overlay(SNAPPING, tally, explored(SNAPPING))
    assert found.beyond == ("Open.pushed[unused] -> Bolted",)
    assert "taken, although the explorer cannot" in text(found)


def test_every_row_of_the_strategy_table_is_taken_under_some_setting() -> None:
    reached = explored(STRATEGY)
    found = overlay(STRATEGY, reached.tally, reached)
    assert (found.percent, found.complete, found.feasible) == (100, True, len(STRATEGY.rows))


# Files.


@pytest.fixture
def tallies(tmp_path: Path) -> Path:
    """A file in which two tables are counted."""
    tally = Tally(RETRY)
    for event in (TransientError(), TransientError(), Placed(3)):
        tally.took("Trying", Attempts(), event)
    path = tmp_path / "tally.json"
    path.write_text(tally_json([tally, Tally(QUERY)]), "utf-8")
    return path


def test_counts_of_several_files_are_added(tallies: Path, tmp_path: Path) -> None:
    other = Tally(RETRY)
    other.took("Trying", Attempts(), NotAuthenticated())
    path = tmp_path / "one.json"
    path.write_text(json.dumps(other.as_dict()), "utf-8")
    found = counted(RETRY, [tallies, path, tallies])
    assert sorted(found.rows.values()) == [1, 2, 4]


def journal(path: Path) -> list[str]:
    """Write a journal of a graceful switch; return the rows that were taken, in order."""
    with Journal(path) as written:
        manager = StrategyManager(Scope("db.example:443"))
        taken: list[str] = []
        manager.subscribe(lambda record: taken.append(record.step.row.name), every_step=True)
        written.follow(manager)
        ticket = manager.start(lambda strategy, left_s: None)
        version = manager.snapshot.context.state_version
        manager.send(StrategyAnnounced(ticket.strategy.other, version))
        manager.end(QueryCompleted(ticket))
    return taken


def test_a_journal_is_counted_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    taken = journal(path)
    found = counted(STRATEGY, [path])
    assert {row.name: times for row, times in found.rows.items()} == {one: taken.count(one) for one in taken}
    assert found.steps == len(taken) >= 4
    seen = found.guards
    assert seen["Detecting.auth_success[fresh]"] == {True}
    assert seen["Detecting.auth_success[!fresh]"] == {False}


def damaged(path: Path, change: Callable[[str], str]) -> Path:
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    return path


def test_a_journal_that_was_changed_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal(path)
    damaged(path, lambda lines: lines.replace('"open_blue":1', '"open_blue":2'))
    with pytest.raises(ValueError, match=r"journal\.jsonl: the journal is wrong in line \d"):
        counted(STRATEGY, [path])


def test_a_journal_is_refused_for_another_machine_than_the_one_that_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal(path)
    with pytest.raises(ValueError, match="a journal of the strategy machine, and not of retry"):
        counted(RETRY, [path])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nonsense", "it has no counts"),
        ("[1]", "it has no counts"),
        ("{}", "it has no counts"),
        ('{"tallies": []}', "it counts nothing, and not retry"),
        (json.dumps(Tally(QUERY).as_dict()), "it counts query, and not retry"),
        (json.dumps({**Tally(RETRY).as_dict(), "names": []}), "does not fit the rows of 'retry'"),
    ],
)
def test_a_file_without_counts_of_the_table_is_refused_by_name(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "counts.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=f"counts.json: .*{re.escape(said)}"):
        counted(RETRY, [path])


# The command.


@pytest.mark.parametrize(("percent", "code"), [("0", 0), ("22.2", 0), ("22.23", 1), ("100", 1)])
def test_the_exit_status_is_1_below_the_percentage_that_is_asked_for(
    tallies: Path, percent: str, code: int
) -> None:
    """2 of 9 rows are 22.22 %."""
    result = run("retry", "--from", str(tallies), "--fail-under", percent)
    assert result.exit_code == code
    assert ("% are asked for" in result.output) == (code == 1)
    assert "  taken 2      Trying.transient_error[stays here] stay (seen true)" in result.output


def test_what_the_explorer_takes_is_counted_if_that_is_asked_for() -> None:
    result = run("retry", "--explore", "--fail-under", "100")
    assert (result.exit_code, result.output.splitlines()[0]) == (
        0,
        "retry: 9 of 9 rows taken (100.0 %), 0 infeasible; 10 of 10 outcomes of guards seen",
    )


def test_a_table_of_a_file_can_be_counted_and_not_explored(tallies: Path, tmp_path: Path) -> None:
    path = tmp_path / "retry.json"
    path.write_text(to_json(RETRY), "utf-8")
    shown = run(str(path), "--from", str(tallies))
    assert shown.exit_code == 0
    assert "note: which rows are infeasible is not known: a file has no code" in shown.output
    refused = run(str(path), "--explore")
    assert refused.exit_code == 2
    assert "cannot be explored: a file has no code" in " ".join(refused.output.split())


def test_a_machine_of_transitions_can_be_explored() -> None:
    result = run("support.pairs:STRICT", "--explore")
    assert (result.exit_code, result.output.splitlines()[0]) == (
        0,
        "turnstile: 5 of 5 rows taken (100.0 %), 0 infeasible; 4 of 4 outcomes of guards seen",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "nothing to count: give --from FILE, or --explore"),
        (["nothing", "--explore"], "there is no table 'nothing'"),
        (["retry", "--from", __file__], "it has no counts"),
        (["retry", "--from", "no such file"], "does not exist"),
        (["retry", "--explore", "--fail-under", "101"], "101"),
    ],
)
def test_what_cannot_be_counted_is_wrong_usage(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


KINDS = {"text": "txt", "markdown": "md", "mermaid": "mmd", "dot": "dot", "svg": "svg"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_written_as_it_was_looked_at(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(GOLDEN.parents[1])
    tally, written = GOLDEN.relative_to(Path.cwd()) / "coverage.tally.json", tmp_path / "written"
    arguments = ["support.pairs:SNAPPING", "--from", str(tally), "--format", kind, "-o"]
    path = GOLDEN.relative_to(Path.cwd()) / f"coverage.{KINDS[kind]}"
    assert run(*arguments, str(written)).exit_code == 0
    again = f"changed: in tests, python -m bluegreen diagram coverage {' '.join(arguments)} {path}"
    assert path.read_text("utf-8") == written.read_text("utf-8"), again


@pytest.mark.parametrize("table", [STRATEGY, QUERY, RETRY, DOOR, SNAPPING], ids=lambda table: table.name)
def test_each_picture_is_labelled_and_can_be_laid_out(table: Any) -> None:
    found = overlay(table, Tally(table), None)
    drawn = picture(found, tuple(state.name for state in table.states))
    assert laid_out(as_dot(drawn), "plain").startswith(b"graph")
    for one in (*drawn.lines, *drawn.notes):
        assert one.said[0].startswith("not taken: ")
    assert as_mermaid(drawn).count("not taken: ") >= len(drawn.lines)
