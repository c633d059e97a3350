"""Tables of two revisions of a repository are compared by their own code, and the commands of the workflow do that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from bluegreen.cli.diagram import diagram
from support.repository import DOOR, LAMP, Repository

CHECKOUT = Path(__file__).resolve().parents[2]
GITHUB = CHECKOUT / ".github"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """The working directory, with a first commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    made = Repository(folder)
    made.commit(doors=DOOR, lamps=LAMP)
    monkeypatch.chdir(folder)
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(diagram, ["diff", *arguments], prog_name="bluegreen diagram")


def first_line(result: Result) -> tuple[int, str]:
    return result.exit_code, result.output.splitlines()[0]


def test_a_row_that_a_commit_has_changed_is_found_with_the_events_that_show_it(
    repository: Repository,
) -> None:
    repository.commit(
        doors=DOOR.replace('go("Open", Pushed, "Shut"', 'go("Open", Pushed, "Open"').replace(
            'forbid("Open", Bolted', 'go("Open", Bolted, "Shut"'
        )
    )
    result = run("HEAD~1", "HEAD", "--table", "doors:DOOR")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "HEAD against HEAD~1: 1 row retargeted, 1 row changed",
        "  > retargeted row Open.pushed",
        "      outcome: -> Shut becomes -> Open",
        "  ~ changed row Open.bolted",
        "      outcome: forbid becomes -> Shut",
        "behaviour: they differ after 2 events",
        "  1. pushed",
        "  2. pushed",
        "  old: Shut, no effects",
        "  new: Open, no effects",
    ]


def test_a_revision_is_compared_with_itself_and_with_the_working_tree(repository: Repository) -> None:
    assert first_line(run("main", "HEAD", "--table", "doors:DOOR")) == (
        0,
        "HEAD against main: no row differs",
    )


def test_a_reducer_that_changed_under_the_same_name_shows_since_each_revision_runs_its_own_code(
    repository: Repository,
) -> None:
    counting = DOOR.replace('"Open", why="it opens"', '"Open", update=count, why="it opens"').replace(
        "DOOR = Table(", "def count(opened, event):\n    return opened\n\nDOOR = Table("
    )
    failing = counting.replace("return opened", "return opened + 1")
    assert failing != counting != DOOR
    repository.commit(doors=counting)
    repository.commit(doors=failing)
    result = run("HEAD~1", "HEAD", "--table", "doors:DOOR")
    assert first_line(result) == (1, "HEAD against HEAD~1: no row differs")
    assert "  new: raises TypeError in Shut" in result.output


def test_a_machine_of_transitions_is_compared_between_revisions(repository: Repository) -> None:
    repository.commit(lamps=LAMP.replace('conditions="powered"', 'unless="broken"'))
    result = run("HEAD~1", "HEAD", "--table", "lamps:machine")
    assert result.exit_code == 1
    assert result.output.splitlines()[-7:] == [
        "behaviour: they differ after 1 event",
        "  1. turned where powered=True, broken=True",
        "  old: On, no effects",
        "  new: Off, no effects",
        "  note: not compared, since only the old one is sent it: turned(True), turned(False)",
        "  note: not compared, since only the new one is sent it: turned(True), turned(False)",
        "  note: facts are free to choose here: whether a run brings this case about is not known",
    ]


def test_neither_the_working_tree_nor_the_index_nor_the_worktrees_change(repository: Repository) -> None:
    (repository.folder / "doors.py").write_text("broken(", "utf-8")
    (repository.folder / "staged.txt").write_text("staged", "utf-8")
    repository.git("add", "staged.txt")
    before = repository.git("status", "--porcelain"), repository.git("worktree", "list")
    assert run("HEAD", "main", "--table", "doors:DOOR").exit_code == 0
    assert (repository.git("status", "--porcelain"), repository.git("worktree", "list")) == before


def test_modules_are_found_where_the_option_says(repository: Repository) -> None:
    (repository.folder / "library").mkdir()
    repository.git("mv", "doors.py", "library/doors.py")
    repository.git("commit", "--quiet", "--message", "move it")
    refused = run("HEAD", "HEAD", "--table", "doors:DOOR")
    assert refused.exit_code == 2
    assert "No module named 'doors'" in refused.output
    assert run("HEAD", "HEAD", "--table", "doors:DOOR", "--path", "library").exit_code == 0


def test_a_module_of_today_does_not_stand_in_for_one_that_the_revision_does_not_have(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "gates.py").write_text(DOOR.replace("DOOR", "GATE"), "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(installed))
    refused = run("HEAD", "HEAD", "--table", "gates:GATE")
    assert refused.exit_code == 2
    assert "No module named 'gates' in this revision" in " ".join(refused.output.split())


def test_a_module_may_import_what_is_installed(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "hinges.py").write_text('WHY = "it opens"\n', "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(installed))
    repository.commit(doors="from hinges import WHY\n" + DOOR.replace('why="it opens"', "why=WHY"))
    assert run("HEAD~1", "HEAD", "--table", "doors:DOOR").exit_code == 0


@pytest.mark.parametrize("revision", ["nowhere", "HEAD:doors.py", "--help-me"])
def test_what_is_no_revision_is_wrong_usage(repository: Repository, revision: str) -> None:
    assert run("HEAD", revision, "--table", "doors:DOOR").exit_code == 2


def test_a_table_that_a_revision_does_not_have_is_wrong_usage_or_told_if_asked(
    repository: Repository,
) -> None:
    repository.commit(gates=DOOR.replace("DOOR", "GATE"))
    refused = run("HEAD~1", "HEAD", "--table", "gates:GATE")
    assert refused.exit_code == 2
    told = run("HEAD~1", "HEAD", "--table", "gates:GATE", "--table", "doors:DOOR", "--keep-going")
    assert told.exit_code == 1
    assert re.search(r"### Table `gates:GATE` cannot be compared\n\n.*No module named 'gates'", told.output)
    assert "HEAD against HEAD~1: no row differs" in told.output


def test_several_tables_are_not_one_picture(repository: Repository) -> None:
    result = run("HEAD", "HEAD", "--table", "doors:DOOR", "--table", "lamps:machine", "--format", "svg")
    assert result.exit_code == 2
    assert "several tables are written as text or markdown, not as svg" in " ".join(result.output.split())


# The action and the workflows.


PATHS = ["actions/table-diff/action.yml", "workflows/ci.yml", "workflows/table-diff.yml"]


def loaded(path: Path) -> Any:
    with path.open(encoding="utf-8") as text:
        return yaml.safe_load(text)


def steps(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "runs" in said:
        return [*said["runs"]["steps"]]
    return [step for job in said["jobs"].values() for step in job.get("steps", ())]


def step(path: str, name: str) -> dict[str, Any]:
    return next(one for one in steps(loaded(GITHUB / path)) if one.get("name") == name)


in_a_checkout = pytest.mark.skipif(not GITHUB.exists(), reason="the tests run outside a checkout")


@in_a_checkout
def test_there_are_an_action_and_a_workflow_that_ours_calls() -> None:
    assert sorted(str(path.relative_to(GITHUB)) for path in GITHUB.rglob("*.yml")) == PATHS
    called = loaded(GITHUB / "workflows/ci.yml")["jobs"]["tables"]
    assert called["uses"] == "./.github/workflows/table-diff.yml"
    known = loaded(GITHUB / "workflows/table-diff.yml")[True]["workflow_call"][
        "inputs"
    ]  # YAML reads `on` as true
    assert set(called["with"]) <= set(known)


@in_a_checkout
@pytest.mark.parametrize("path", PATHS)
def test_each_script_is_one_for_the_shell_and_gets_what_others_wrote_by_its_environment_only(
    path: str,
) -> None:
    scripts = [one["run"] for one in steps(loaded(GITHUB / path)) if "run" in one]
    assert scripts
    for script in scripts:
        assert "${{" not in script
        subprocess.run(["bash", "-n", "-c", script], check=True)


@pytest.mark.slow
@in_a_checkout
@pytest.mark.parametrize("path", ["actions/table-diff/action.yml", "workflows/table-diff.yml"])
@pytest.mark.parametrize("differs", [True, False])
def test_the_script_writes_the_comment_for_a_change_and_for_none(
    repository: Repository, tmp_path: Path, path: str, differs: bool
) -> None:
    base = repository.git("rev-parse", "HEAD")
    if differs:
        repository.commit(doors=DOOR.replace('forbid("Open", Bolted', 'ignore("Open", Bolted'))
    else:
        (repository.folder / "README").write_text("no table\n", "utf-8")
        repository.commit()
    output, summary = tmp_path / "output", tmp_path / "summary"
    output.touch()
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": str(CHECKOUT / "fsm"),
        "BASE": base,
        "HEAD": "HEAD",
        "TABLES": "doors:DOOR\n\nlamps:machine\n",
        "PATHS": "\n",
        "FILE": "comment.md",
        "NUMBER": "7",
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    script = step(path, "Compare")["run"]
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=repository.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    comment = repository.folder / ("comment.md" if "action" in path else "comment/table-diff.md")
    said = comment.read_text("utf-8")
    assert f"### Table `door`: `HEAD` against `{base}`" in said
    assert f"### Table `lamp`: `HEAD` against `{base}`" in said
    assert ("| changed | `Open.bolted` | outcome: forbid becomes ignore |" in said) == differs
    assert ("1 row changed" in said) == differs
    assert summary.read_text("utf-8") == said
    if "action" in path:
        assert output.read_text("utf-8") == f"differs={str(differs).lower()}\n"
    else:
        assert (repository.folder / "comment/pull-request").read_text("utf-8") == "7\n"


@in_a_checkout
@pytest.mark.parametrize("path", ["actions/table-diff/action.yml", "workflows/table-diff.yml"])
def test_the_script_hands_every_requirement_to_pip_as_one_word(tmp_path: Path, path: str) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nfor one in "$@"; do echo "<$one>"; done\n', "utf-8")
    program.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "INSTALL": "bluegreen[cli]\n\nattrs >= 23\n",
    }
    script = step(path, "Install")["run"]
    done = subprocess.run(
        ["bash", "-e", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[-3:] == ["<bluegreen[cli]>", "<attrs >= 23>", ""]
