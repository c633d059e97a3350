"""`diagrams/`, the runs that it shows, and the commands that draw, check and embed."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bluegreen.cli.diagram import diagram
from bluegreen.diagram.generated_files import DEFAULT, INDEX, Gallery, changes, files, write
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.verify.exploration.version_abstraction import rebase
from selfcheck.cli.diagrams import diagrams
from selfcheck.model.actions import Action
from selfcheck.model.cluster import Phase
from selfcheck.scenarios.gallery import own_gallery
from selfcheck.scenarios.runs import SWITCHES, Switch, run
from selfcheck.scenarios.sequence import sequence

CHECKOUT = Path(__file__).parents[2]
in_checkout = pytest.mark.skipif(
    not (CHECKOUT / "diagrams").is_dir(), reason="diagrams/ is not here: this is an installed copy"
)


@functools.cache
def once() -> Mapping[str, bytes]:
    return files(own_gallery())


def draw_once(gallery: Gallery = DEFAULT) -> Mapping[str, bytes]:
    """Return what `once` has drawn: all of it, or of the tables alone."""
    extra = {name for chapter in own_gallery().chapters for name in chapter.files}
    if gallery.chapters:
        return once()
    return {**{name: data for name, data in once().items() if name not in extra}, INDEX: b"tables"}


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is drawn a single time for all tests that do not ask whether it is always the same."""
    monkeypatch.setattr("bluegreen.diagram.generated_files.files", draw_once)


def called(*arguments: str) -> Result:
    return CliRunner().invoke(diagram, arguments)


def called_for_all(*arguments: str) -> Result:
    return CliRunner().invoke(diagrams, arguments)


@in_checkout
def test_diagrams_is_what_the_code_draws() -> None:
    assert list(changes(CHECKOUT / "diagrams", own_gallery())) == [], "refresh with: make diagrams"


HASHED = """
import hashlib
from bluegreen.diagram.generated_files import files
from selfcheck.scenarios.gallery import own_gallery
for name, data in files(own_gallery()).items():
    print(name, hashlib.sha256(data).hexdigest())
"""


def test_each_byte_is_the_same_whatever_the_seed_of_hashes() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", HASHED],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            check=True, capture_output=True,
        ).stdout
        for seed in ("0", "20261126")
    }  # fmt: skip
    assert len(said) == 1
    assert len(said.pop().splitlines()) == len(once())


@pytest.mark.usefixtures("drawn_once")
def test_what_is_stale_missing_or_too_much_is_told_with_what_changed_and_how_to_refresh(
    tmp_path: Path,
) -> None:
    assert set(write(tmp_path, own_gallery())) == set(once())
    assert called_for_all("--check", str(tmp_path)).exit_code == 0
    (tmp_path / "query.overview.mmd").write_text("stateDiagram-v2\n    [*] --> Elsewhere\n", encoding="utf-8")
    (tmp_path / "query.overview.png").write_bytes(b"\x89PNG")
    (tmp_path / "composition.dot").unlink()
    (tmp_path / "left_over.svg").write_text("<svg/>", encoding="utf-8")
    told = called_for_all("--check", str(tmp_path))
    assert told.exit_code == 1
    assert "query.overview.mmd is stale\n    --- committed\n    +++ from the code\n" in told.stderr
    assert "    -    [*] --> Elsewhere\n    +    [*] --> Started\n" in told.stderr
    assert re.search(r"query.overview.png is stale\n    4 bytes, now \d+\n", told.stderr)
    assert "composition.dot is missing\n" in told.stderr
    assert "left_over.svg is made by nothing: delete it\n" in told.stderr
    assert told.stderr.endswith("refresh with: make diagrams\n")
    written = called_for_all(str(tmp_path)).output
    assert written.splitlines() == [
        f"{tmp_path / name} is written" for name in once()
        if name in ("query.overview.mmd", "query.overview.png", "composition.dot")
    ]  # fmt: skip


@pytest.mark.usefixtures("drawn_once")
def test_the_option_check_of_the_group_checks_the_directory_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called("--check").exit_code == 1
    write(tmp_path / "diagrams")
    assert called("--check").exit_code == 0


@pytest.mark.usefixtures("drawn_once")
def test_tables_alone_are_drawn_for_users_and_any_table_by_name(tmp_path: Path) -> None:
    assert called("write", str(tmp_path / "all")).exit_code == 0
    assert not (tmp_path / "all" / "composition.svg").exists()
    told = called("check", str(tmp_path / "nothing"))
    assert told.stderr.endswith(f"refresh with: bluegreen diagram write {tmp_path / 'nothing'}\n")


def test_one_table_is_drawn_by_its_name(tmp_path: Path) -> None:
    query = "bluegreen.machines.query:QUERY"
    assert called("write", str(tmp_path), query).exit_code == 0
    assert {file.name.partition(".")[0] for file in tmp_path.iterdir()} == {"README", "query"}
    assert called("check", str(tmp_path), query).exit_code == 0
    told = called("check", str(tmp_path), "no.such:TABLE")
    assert (told.exit_code, "no.such:TABLE is no table" in told.stderr) == (2, True)


def test_every_link_of_the_index_leads_to_a_file() -> None:
    made = once()
    links = re.findall(r"\]\(([^)]+)\)", made["README.md"].decode())
    inside = {link for link in links if not link.startswith("../")}
    assert inside == set(made) - {"README.md"}
    if (CHECKOUT / "diagrams").is_dir():
        assert [link for link in links if not (CHECKOUT / "diagrams" / link).exists()] == []


# Runs.

runs = pytest.mark.parametrize("name", SWITCHES)


@runs
def test_a_run_is_one_of_the_table_from_its_beginning_to_its_end(name: str) -> None:
    """Each step of the strategy machine begins where the one before has ended."""
    state, context = STRATEGY.initial, rebase(Context.initial())
    for one in run(SWITCHES[name]):
        for taken in one.trail.taken if isinstance(one, Action) else ():
            if isinstance(taken.context, Context):
                assert (taken.state, taken.context) == (state, context)
                assert taken.step.row in STRATEGY.rows
                state, context = taken.step.state, rebase(taken.step.context)


@runs
def test_a_sequence_shows_each_phase_and_each_event_of_its_run(name: str) -> None:
    happened = run(SWITCHES[name])
    lines = sequence(happened).splitlines()
    shown = [line.split(": ", 1)[1] for line in lines if "Note over blue,green" in line]
    assert [text.split("#58;")[0] for text in shown] == [
        one.name.replace("_", " ") for one in happened if isinstance(one, Phase)
    ]
    sent = [event.name for one in happened if isinstance(one, Action) for event in one.trail.sent]
    assert [
        re.split(r"[( ]", line.split("machine: ")[1])[0] for line in lines if re.search(r"->>machine: ", line)
    ] == sent


def test_in_a_graceful_switch_a_query_begins_before_and_one_after_and_each_ends_where_it_began() -> None:
    text = sequence(run(SWITCHES["graceful"]))
    order = [
        "machine-->>q1: ticket on blue",
        "q1->>blue: execute",
        "Note over blue,green: announce",
        "machine-->>q2: ticket on green",
        "q2->>green: execute",
        "Note over blue,green: drain",
        "q1->>blue: fetch",
        "q1->>blue: clear",
        "q1->>machine: query_completed(blue)",
        "Note over machine: Stable (active green)#58; a safe point",
        "Note over blue,green: steady#58; green serves",
        "q2->>green: clear",
    ]
    places = [text.rindex(one) if one == "q1->>blue: fetch" else text.index(one) for one in order]
    assert places == sorted(places)
    assert "q1->>green" not in text
    assert "q2->>blue" not in text


def test_a_write_is_lost_in_an_abrupt_switch_and_a_read_runs_again_in_a_silent_one() -> None:
    abrupt = sequence(run(SWITCHES["abrupt"]))
    assert "Note over q1: lost#58; never run a statement that can write" in abrupt
    assert "q1->>green" not in abrupt
    assert "q1->>green: execute" in sequence(run(SWITCHES["silent"]))


def test_what_never_comes_about_is_no_run() -> None:
    never = Switch("never", "nothing", (lambda moment, happened: False,), kinds=())
    with pytest.raises(ValueError, match="never: number 1 of what has to come about never does"):
        run(never)


# Commands.


def test_show_draws_a_part_of_a_table_into_a_file(tmp_path: Path) -> None:
    file = tmp_path / "part.mmd"
    asked = (
        "show",
        "bluegreen.machines.query:QUERY",
        "--focus",
        "Prepared",
        "--events",
        "executed",
        "-o",
        str(file),
    )
    done = called(*asked)
    assert (done.exit_code, done.output) == (0, "")
    assert file.read_text(encoding="utf-8").splitlines()[-1] == "    Prepared --> Executing : executed"


def test_show_writes_a_picture_to_standard_output() -> None:
    assert called("show", "retry", "--format", "png").stdout_bytes.startswith(b"\x89PNG")
    assert called("show", "retry", "--format", "svg", "--level", "full").output.startswith("<svg ")


@pytest.mark.parametrize(
    "asked", [("nonsense",), ("query", "--focus", "Nope"), ("query", "--events", "nope")]
)
def test_what_show_does_not_know_is_wrong_usage(asked: tuple[str, ...]) -> None:
    refused = called("show", *asked)
    assert refused.exit_code == 2
    assert "accepted: " in refused.stderr


def test_a_picture_that_cannot_be_laid_out_is_an_error_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bluegreen.diagram.renderers.svg.ENGINE", "a-distribution-that-nobody-has")
    for asked in (("show", "query", "--format", "svg"), ("write", "nowhere"), ("check", "nowhere")):
        refused = called(*asked)
        assert (refused.exit_code, "bluegreen[diagram]" in refused.stderr) == (1, True)


def test_embed_fills_a_block_with_any_table_and_notices_when_it_is_stale(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    table = "bluegreen.machines.query:QUERY"
    block = f"<!-- bluegreen:diagram {table} format={{}} level=full focus=Prepared events=executed -->"
    page = "\n".join(
        f"{block.format(form)}\n<!-- /bluegreen:diagram -->" for form in ("mermaid", "markdown", "svg")
    )
    file.write_text(page, encoding="utf-8")
    assert called("embed", "--check", str(file)).exit_code == 1
    assert file.read_text(encoding="utf-8") == page
    assert called("embed", str(file)).exit_code == 0
    assert called("embed", "--check", str(file)).exit_code == 0
    text = file.read_text(encoding="utf-8")
    assert "```mermaid\nstateDiagram-v2\n    Prepared --> Executing : executed\n" in text
    assert "\n| executed | → Executing: accepted for execution | … |" in text
    assert '\n<svg role="img"' in text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("diagram", "'' is no diagram; accepted: a table, and format=, level=, focus=, events="),
        ("diagram query size=3", "'query size=3' is no diagram; accepted"),
        ("diagram query level=deep", "no level 'deep'; accepted: overview, full"),
        ("diagram query format=png", "no format 'png'; accepted: mermaid"),
        ("diagram nonsense", "no table 'nonsense'; accepted: strategy"),
        (
            "settings now",
            "no block is called 'settings now'; known: strategy, query, settings, errors, diagram",
        ),
    ],
)
def test_a_block_that_asks_for_what_there_is_not_is_refused_and_nothing_is_written(
    asked: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "page.md"
    page = f"<!-- bluegreen:{asked} -->\n<!-- /bluegreen:{asked.split(maxsplit=1)[0]} -->\n"
    file.write_text(page, encoding="utf-8")
    refused = called("embed", str(file))
    assert (refused.exit_code, said in refused.stderr) == (2, True)
    assert file.read_text(encoding="utf-8") == page


@in_checkout
def test_the_hooks_of_pre_commit_call_commands_that_there_are() -> None:
    yaml = pytest.importorskip("yaml")
    hooks = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert {hook["id"] for hook in hooks} == {"bluegreen-diagrams", "bluegreen-diagram-embed"}
    for hook in hooks:
        program, group, command, *_ = hook["entry"].split()
        assert (program, group) == ("bluegreen", "diagram")
        assert command in diagram.commands
