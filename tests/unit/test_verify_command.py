"""The command `bluegreen verify`: tables of users, journals and exports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bluegreen.cli.verify import verify

NAMED_RETRY = "bluegreen.verify.pytest_plugin.builtin_tables:RETRY_VERIFICATION"
QUERY = "bluegreen.machines.query:QUERY"

WRONG = """
from bluegreen.machines.retry import RETRY, Attempts
from bluegreen.verify import Always, Verification

NEVER = Always("calm", "nothing is sent again", lambda taken: taken.step.context.resends == 0)
WRONG = Verification(RETRY, Attempts(), properties=(NEVER,))
CUT = Verification(RETRY, Attempts(), states=5)
"""

REFUSED = """
from bluegreen.table.table import Table

TABLE = Table("door", "Open", (), (), ())
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(verify, arguments)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return tmp_path


def test_table_that_is_right_is_explored_to_the_end() -> None:
    done = run(NAMED_RETRY)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "retry: 24 states, 84 steps, all of them",
        "  retry: 9 of 9 rows taken, 5 of 5 guards seen true and false",
    ]


def test_several_tables_are_explored_and_mutants_tried() -> None:
    done = run(NAMED_RETRY, QUERY, "--mutants", "--json")
    retry, query = json.loads(done.output)["tables"]
    assert (retry["table"], query["table"]) == ("retry", "query")
    assert retry["violations"] == retry["mutants"]["survivors"] == []
    assert query["mutants"]["survivors"], "nothing is said about this table, so that nothing notices"
    assert done.exit_code == 1


def test_table_that_is_wrong_is_shown_with_a_counterexample(here: Path) -> None:
    (here / "wrong_tables.py").write_text(WRONG, encoding="utf-8")
    done = run("wrong_tables:WRONG")
    assert done.exit_code == 1
    assert "calm: nothing is sent again\n  1. placed(3)\n" in done.output
    assert "sequenceDiagram" in done.output
    report = json.loads(run("wrong_tables:WRONG", "--json").output)
    assert report["violations"] == report["tables"][0]["violations"]
    assert [(one["table"], one["events"]) for one in report["violations"]] == [
        ("retry", ["placed(3)", "transient_error(True, False)"])
    ]


def test_search_that_a_bound_ends_has_an_exit_status_of_its_own(here: Path) -> None:
    (here / "cut_tables.py").write_text(WRONG, encoding="utf-8")
    assert run("cut_tables:CUT").exit_code == 2
    assert run("cut_tables").exit_code == 1, "every verification of the module, of which one is wrong"


def test_table_that_its_definition_refuses_is_wrong(here: Path) -> None:
    (here / "refused_tables.py").write_text(REFUSED, encoding="utf-8")
    done = run("refused_tables:TABLE")
    assert (done.exit_code, done.output.partition(":")[0]) == (1, "door")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no_such_module:TABLE"], "No module named 'no_such_module'"),
        (["bluegreen.machines.query:NOTHING"], "bluegreen.machines.query has no NOTHING"),
        (["bluegreen.machines.query:STARTED"], "is a str; wanted: a Verification or a Table"),
        (["nothing"], "No module named 'nothing'"),
        (["log"], "usage: verify log"),
        (["log", "--close", "x"], "usage: verify log"),
        (["log", "/no/such/journal"], "No such file or directory"),
        (["export", "yaml", QUERY], "usage: export"),
        (["export", "json", "bluegreen.machines.query:NOTHING"], "is no table"),
    ],
)
def test_wrong_arguments_end_with_exit_status_two(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_table_is_exported() -> None:
    done = run("export", "json", QUERY)
    assert done.exit_code == 0
    assert json.loads(done.output)["initial"] == "Started"
