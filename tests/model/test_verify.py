"""The explorer, its worlds, its counterexamples: that they see what is there, and that wrong tables are noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from bluegreen.errors import TableError
from bluegreen.machines.query import QUERY
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.table import Table
from bluegreen.verify.exploration.counterexample import as_list, as_test, mermaid
from bluegreen.verify.exploration.liveness import lasso
from bluegreen.verify.exploration.single_table import explore_query, explore_strategy
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS
from selfcheck.explore.breadth_first import Bounds, search
from selfcheck.explore.checker import examine
from selfcheck.model.actions import ModelOptions
from selfcheck.model.product import Size, World
from selfcheck.mutation.known_bugs import FIELD_BUGS
from selfcheck.mutation.own_tables import explore_mutant, own_mutants

SMALL = ModelOptions(events=("connection_opened",), kinds=(False,), steps=())
TESTS = Path(__file__).parents[1]
FSM = TESTS.parent / "fsm"


def test_a_small_world_has_as_many_states_as_it_had_and_nothing_is_wrong_in_it() -> None:
    found = examine(partial(World, Size(1, 1, 1), SMALL, crashes=False))
    assert (found.searched.states, found.searched.steps, found.searched.depth) == (7657, 35865, 23)
    assert (found.violations, found.unreached, found.ok) == ((), (), True)


def test_processes_and_queries_that_change_places_are_one_world() -> None:
    world = World(Size(2, 2, 0), SMALL, crashes=False)
    searched = search(world)
    unreduced = sum(world.orbit(state) for level in searched.levels for state in level)
    assert searched.complete
    assert unreduced > searched.states


def test_a_bound_on_states_ends_a_search_and_is_told() -> None:
    found = examine(partial(World, Size(2, 2, 1), SMALL), bounds=Bounds(states=1_000))
    assert not found.searched.complete
    assert not found.ok


def test_every_row_of_both_tables_fires_when_they_are_alone() -> None:
    strategy = explore_strategy(properties=STEPS)
    reads = explore_query(properties=QUERY_ALWAYS, reads=True)
    assert (strategy.states, strategy.violations, strategy.missed) == (1302, (), ())
    assert (reads.states, reads.violations, reads.missed) == (108, (), ())


@pytest.mark.parametrize("bug", FIELD_BUGS, ids=lambda bug: bug.name)
def test_every_bug_of_the_field_is_noticed(bug: object) -> None:
    verdict = explore_mutant(bug.name, bug.table())
    assert verdict is not None
    assert verdict.events


def test_a_cycle_that_starves_what_could_be_done_is_no_lasso() -> None:
    graph = {0: [("end", 1), ("", 0)], 1: []}
    assert lasso(graph, [0], lambda node: node == 1) == frozenset()
    assert lasso({0: [("", 0)]}, [0], lambda node: False) == {0}


CONFTEST = """
import bluegreen.runtime.manager
from selfcheck.mutation.known_bugs import FIELD_BUGS
bluegreen.runtime.manager.STRATEGY = next(bug.table() for bug in FIELD_BUGS if bug.name == {name!r})
"""


@pytest.mark.parametrize(
    "name", ["stale announcement flips back", "rollback forgets tickets", "timer as the only way out"]
)
def test_a_counterexample_fails_on_the_wrong_table_and_passes_on_ours(name: str, tmp_path: Path) -> None:
    bug = next(bug for bug in FIELD_BUGS if bug.name == name)
    verdict = explore_mutant(name, bug.table())
    assert verdict is not None
    text = as_test((verdict.killer, verdict.reason), verdict.events)
    (tmp_path / "test_it.py").write_text(text, encoding="utf-8")
    assert _run(tmp_path) == 0
    (tmp_path / "conftest.py").write_text(CONFTEST.format(name=name), encoding="utf-8")
    assert _run(tmp_path) == 1


def _run(folder: Path) -> int:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        str(folder),
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": os.pathsep.join((str(FSM), str(TESTS)))},
        capture_output=True,
        check=False,
    )
    return done.returncode


def test_a_counterexample_is_shown_as_a_list_and_as_a_diagram() -> None:
    bug = FIELD_BUGS[1]
    verdict = explore_mutant(bug.name, bug.table())
    assert verdict is not None
    told = verdict.killer, verdict.reason
    assert as_list(told, verdict.events).splitlines()[-1] == "  2. strategy_announced(green), stale"
    assert mermaid(told, verdict.events).startswith("sequenceDiagram\n")


def test_a_mutant_without_a_row_for_some_case_is_refused_by_definition() -> None:
    forced = next(one for one in own_mutants(QUERY) if one.name.endswith("guard forced to false"))
    with pytest.raises(TableError):
        Table(
            QUERY.name, QUERY.initial, QUERY.states, QUERY.events, forced.rows, QUERY.contexts, QUERY.samples
        )
    assert forced.rows != STRATEGY.rows
