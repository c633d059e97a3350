"""What stands in an explorer page: each step of the table, its program, and nothing that it would have to load."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import transitions
from click.testing import CliRunner

from bluegreen.cli.diagram import diagram
from bluegreen.diagram.page.data import MOST, compiled, free
from bluegreen.diagram.page.initial_states import beginnings_of
from bluegreen.diagram.page.page import SCRIPTS, explorer_page
from bluegreen.diagram.renderers.svg import PictureError
from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY
from bluegreen.machines.retry import RETRY
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.rows import events, go
from bluegreen.table.step import step
from bluegreen.table.table import State, Table
from bluegreen.verify.exploration.counterexample import describe_event
from bluegreen.verify.exploration.single_table import explore_strategy, strategy_events
from bluegreen.verify.exploration.version_abstraction import rebase
from bluegreen.verify.export.formats import to_json
from bluegreen.verify.export.from_transitions import from_transitions
from bluegreen.verify.verification import Verification

(Pushed,) = events("pushed")

EVENTS_OF = "bluegreen.verify.pytest_plugin.builtin_tables:RETRY_VERIFICATION"


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_each_step_in_the_page_is_the_one_that_the_table_takes() -> None:
    data = compiled(beginnings_of(STRATEGY)[:1])
    labels = [one["label"] for one in data["inputs"]]
    explored = explore_strategy(keep=True)
    nodes = list(explored.arrows)
    assert len(data["nodes"]) == len(nodes) == explored.states
    compared = 0
    for number, (at, known, cell, moves) in enumerate(data["nodes"]):
        state, context = nodes[number]
        assert data["states"][at]["name"] == state
        assert data["contexts"][known] == [_plain(getattr(context, name)) for name in data["fields"]]
        for event in strategy_events(state, context):
            index = labels.index(describe_event(event))
            row, _ = data["cells"][cell][index]
            assert data["rows"][row]["name"] == STRATEGY.row(state, context, event).name
            try:
                taken = step(STRATEGY, state, context, event)
            except EventForbidden:
                assert index not in moves
                continue
            target, _, grown = moves.get(index, (number, None, 0))
            assert nodes[target] == (taken.state, rebase(taken.context))
            assert grown == taken.context.state_version - context.state_version
            compared += 1
    assert compared == explored.steps


def _plain(value: Any) -> Any:
    return [str(one) for one in value] if isinstance(value, tuple) else getattr(value, "value", value)


def test_the_horizon_is_the_one_that_is_asked_for() -> None:
    data = compiled(beginnings_of(STRATEGY, 1)[:1])
    most = max(
        sum(values[data["fields"].index(f"open_{one}")] for one in ("blue", "green"))
        for values in data["contexts"]
    )
    assert most == 1
    assert data["horizon"].startswith("this page goes as far as 1 open tickets at a time, and leaves out")


@pytest.mark.parametrize("table", [STRATEGY, QUERY, RETRY], ids=lambda table: table.name)
def test_guards_that_are_free_to_choose_are_true_where_those_of_the_table_are(
    table: Table[Any, Any, Any],
) -> None:
    data = free(table)
    for row, said in zip(table.rows, data["rows"], strict=True):
        facts = [data["facts"][index] for index in said["facts"]]
        assert [one["name"] for one in facts] == [fact.name for fact in row.guard.facts]
        for case in said["true"] or ():
            values = {
                fact.name: fact.values[index] for fact, index in zip(row.guard.facts, case, strict=True)
            }
            assert row.guard.holds(values)


def test_nothing_in_the_page_is_loaded_from_elsewhere() -> None:
    page = explorer_page(RETRY)
    addresses = set(re.findall(r"[a-z]+://[^\s\"'<>)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not places
    assert re.findall(r'(?:src|href)="([^"#][^"]*)"', page) == ["data:,"]


def test_the_policy_allows_the_scripts_and_the_style_of_the_page_and_nothing_else() -> None:
    page = explorer_page(RETRY)
    parts = re.findall(r"<script>(.*?)</script>|<style>(.*?)</style>", page, re.DOTALL)
    digests = {
        "'sha256-" + base64.b64encode(hashlib.sha256((one or other).encode()).digest()).decode() + "'"
        for one, other in parts
    }
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert len(digests) == len(SCRIPTS) + 1
    assert set(re.findall(r"'sha256-[^']*'", policy[1])) == digests
    assert policy[1].startswith("default-src 'none'; img-src data:; style-src ")


def test_a_page_is_the_same_whatever_the_seed_of_hashes() -> None:
    made = (
        "from bluegreen.diagram.page.page import explorer_page; from bluegreen.machines.query import QUERY; "
        "print(explorer_page(QUERY))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", made],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True, check=True,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(said) == 1


def test_what_has_no_end_is_refused_with_the_limit() -> None:
    @attrs.frozen
    class Count:
        pushed: int = 0

    def count(before: Count, _: Any) -> Count:
        return Count(before.pushed + 1)

    counter = Table(
        name="counter", initial="Odd", states=(State("Odd"), State("Even")), events=(Pushed,),
        rows=(
            go("Odd", Pushed, "Even", why="once more", update=count),
            go("Even", Pushed, "Odd", why="again", update=count),
        ),
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"counter: more than {MOST:,} situations"):
        explorer_page(Verification(counter, Count()))


def test_a_machine_of_transitions_has_a_page_with_its_conditions_free_to_choose() -> None:
    machine = transitions.Machine(states=["Ice", "Water"], initial="Ice", auto_transitions=False)
    machine.add_transition("warmed", "Ice", "Water", conditions="hot_enough")
    data = data_of(explorer_page(from_transitions(machine)))
    assert (data["mode"], data["facts"]) == (
        "free",
        [{"name": "hot_enough", "values": ["True", "False"], "within": {}}],
    )
    assert data["inputs"][0]["fields"] == [0]


# The command.


def called(*arguments: str) -> Any:
    return CliRunner().invoke(diagram, ["page", *arguments])


def test_the_command_writes_the_page_of_what_it_is_given(tmp_path: Path) -> None:
    exported, page = tmp_path / "door.json", tmp_path / "door.html"
    door = Table(
        name="door", initial="Shut", states=(State("Shut"), State("Open")), events=(Pushed,),
        rows=(go("Shut", Pushed, "Open", why="it opens"), go("Open", Pushed, "Shut", why="it shuts")),
    )  # fmt: skip
    exported.write_text(to_json(door))
    assert called(str(exported), "-o", str(page)).exit_code == 0
    assert (data_of(page.read_text())["name"], data_of(page.read_text())["mode"]) == ("door", "free")
    assert data_of(called(EVENTS_OF).output)["mode"] == "compiled"
    assert data_of(called("retry", "--free").output)["mode"] == "free"


def test_the_command_says_what_it_accepts() -> None:
    refused = called("nothing_of_that_name")
    assert (refused.exit_code, "accepted: strategy, query, retry" in refused.output) == (2, True)
    assert called("strategy", "--tickets", "9").exit_code == 2


def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any) -> bytes:
        raise PictureError("the program is not there")

    monkeypatch.setattr("bluegreen.diagram.page.page.laid_out", absent)
    refused = called("retry")
    assert (refused.exit_code, refused.output) == (1, "Error: the program is not there\n")


def test_a_context_begins_with_its_real_version() -> None:
    begins = [one["version"] for one in compiled(beginnings_of(STRATEGY)[:2])["beginnings"]]
    assert begins == [Context.initial().state_version] * 2
