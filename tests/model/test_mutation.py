"""Wrong tables, bugs beside the table, and the commands that show what notices them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from bluegreen.config.settings import Settings
from bluegreen.machines.query import QUERY
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.verify.coverage.rows_and_guards import rows_and_guards
from bluegreen.verify.exploration.single_table import explore_strategy
from bluegreen.verify.mutation.operators import MutantResult
from bluegreen.verify.properties.response_properties import RESPONSES
from selfcheck.__main__ import selfcheck
from selfcheck.cli import explore as command
from selfcheck.cli import mutants as mutants_command
from selfcheck.explore.symmetry import MOST, alike
from selfcheck.model.scope_isolation import Clusters, first_shared
from selfcheck.model.store import Extent
from selfcheck.mutation.known_bugs import FIELD_BUGS
from selfcheck.mutation.known_runtime_bugs import RUNTIME_BUGS
from selfcheck.mutation.known_store_bugs import SHARING_BUGS, SHARING_PROPERTIES
from selfcheck.mutation.own_tables import explore_in_world, judge_own, own_mutants
from selfcheck.mutation.runner import PROPERTIES, Mutation, tried

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
FSM = TESTS.parent / "fsm"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(selfcheck, arguments)


# Mutants.


def test_of_thirty_mutants_drawn_at_random_each_is_noticed_or_explained() -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    every = own_mutants(STRATEGY)
    drawn = random.Random(seed).sample([one for one in every if not one.name.endswith("stay: deleted")], 30)
    verdicts = [judge_own(one) for one in drawn]
    assert [one.name for one in verdicts if not one.killer and not one.reason] == []


DELETED = {
    "R2 reset": "Stable.reset -> Detecting",
    "R2 reconnected": "Failed.connection_opened -> Detecting",
    "R2 invalidated": "PendingTransition.cache_invalidated -> Detecting",
    "R2 expired": "Stable.cache_expired -> Detecting",
    "R2 refused": "PendingTransition.auth_failure[fresh & is pending & !others served] -> Detecting",
    "R2 hinted": "Detecting.strategy_announced[fresh & turn=later & !held down] -> Detecting",
    "R2 timed out": "Detecting.detection_timed_out[fallback known] -> Stable",
    "R2 adopted": "Detecting.auth_success[fresh] -> Stable",
    "R2 confirmed": "Stable.auth_success[fresh & is active] stay",
    "R2 proved": "PendingTransition.auth_success[fresh & is pending] stay",
    "R2 withdrawn": "PendingTransition.strategy_announced[fresh & is active & !rolled back] -> Stable",
    "R2 drained": "PendingTransition.drain_timed_out -> Stable",
    "R2 taken back": "Stable.rollback_requested[previous known] -> PendingTransition",
    "R2 cooled down": "Stable.cooldown_ended[!rolled back] stay",
}


def test_each_response_of_the_specification_has_a_row_without_which_it_is_broken() -> None:
    deleted = {one.name: one for one in own_mutants(STRATEGY)}
    missed = {name: judge_own(deleted[f"{row}: deleted"]).killers for name, row in DELETED.items()}
    assert [name for name, killers in missed.items() if name not in killers] == []
    assert set(DELETED) == {one.name for one in RESPONSES}


def test_what_becomes_of_a_mutant_is_the_same_in_another_process() -> None:
    keys = [(QUERY.name, number) for number in range(6)]
    assert list(tried(keys, workers=2)) == list(tried(keys, workers=1))


def test_a_survivor_without_a_reason_and_a_property_that_nothing_breaks_are_failures() -> None:
    noticed = tuple(MutantResult("a mutant", name) for name in PROPERTIES)
    assert mutants_command.ok(Mutation((), noticed))
    assert mutants_command.ok(Mutation((), (*noticed, MutantResult("equal", "", "equivalent"))))
    assert not mutants_command.ok(Mutation((), (*noticed, MutantResult("unknown", ""))))
    assert not mutants_command.ok(Mutation((MutantResult("a bug of the field", ""),), noticed))
    assert Mutation((), noticed[1:]).vacuous == PROPERTIES[:1]


def test_a_wrong_table_that_counts_for_ever_ends_all_the_same() -> None:
    bug = next(one for one in FIELD_BUGS if one.name == "replay of a write")
    verdict = explore_in_world(bug.name, bug.table())
    assert verdict is not None
    assert "I11 at most once" in verdict.killers
    context = bug.base.contexts[0]
    assert len(alike(bug.table(), [("Started", attrs.evolve(context, reads=False))])) >= 1
    assert MOST > 100


# Bugs beside the table.


@pytest.mark.unjournaled
@pytest.mark.parametrize("bug", RUNTIME_BUGS, ids=lambda bug: bug.name)
def test_every_bug_beside_the_table_is_noticed(bug: Any) -> None:
    verdict = bug.verdict()
    assert verdict.killer
    assert verdict.path


@pytest.fixture(scope="module")
def shared() -> dict[str, MutantResult]:
    """What becomes of each bug about a shared store, by its name."""
    return {bug.name: bug.verdict() for bug in SHARING_BUGS}


STORE = {
    "epoch ignored": "H in order",
    "incarnation ignored": "H agreed",
    "lease never ends": "I9 bounded wait",
    "lease is given twice": "I9 one holder at a time",
    "a late write goes over a newer one": "H kept",
    "clock decides within an incarnation": "H newer",
    "whoever goes along has decided": "H newest",
    "a record is put together from two": "H whole",
}


def test_every_bug_about_a_shared_store_is_noticed_by_what_it_breaks(shared: dict[str, MutantResult]) -> None:
    assert {name: one.killer for name, one in shared.items()} == STORE
    assert all(one.path for one in shared.values())


def test_each_property_of_a_shared_store_is_broken_by_some_bug(shared: dict[str, MutantResult]) -> None:
    broken = {killer for one in shared.values() for killer in one.killers}
    assert [one.name for one in SHARING_PROPERTIES if one.name not in broken] == []


def test_two_clusters_in_one_process_share_nothing_whatever_is_said_to_either() -> None:
    assert first_shared(Clusters()) == ()


SHARED = """
import bluegreen.runtime.registry as registry
from bluegreen.types import Scope
own = registry.managed
registry.managed = lambda scope, settings=None: own(Scope(scope.target), settings)
"""

APART = """
from bluegreen.runtime import registry
from bluegreen.machines.strategy.events import AuthSuccess, StrategyAnnounced
from bluegreen.types import Scope

def test_news_of_one_cluster_never_changes_another():
    sales, stock = (registry.managed(Scope("db.example:443", name)) for name in ("sales", "stock"))
    before = stock.snapshot
    sales.send(AuthSuccess("blue", sales.state_version))
    sales.send(StrategyAnnounced("green", sales.state_version))
    assert stock.snapshot == before
"""


def test_that_clusters_share_their_state_shows_in_the_real_registry_too(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(APART, encoding="utf-8")
    assert pytest_in(tmp_path) == 0
    (tmp_path / "conftest.py").write_text(SHARED, encoding="utf-8")
    assert pytest_in(tmp_path) == 1


def pytest_in(folder: Path) -> int:
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


# Coverage.


def test_a_guard_counts_as_seen_both_ways_only_if_another_row_of_its_cell_is_taken() -> None:
    row = "Stable.rollback_requested[previous known]"
    seen = rows_and_guards(STRATEGY, [row])
    assert seen.untaken == (row,)
    assert set(seen.one_way) == {row, "Stable.rollback_requested[!previous known]"}


def test_under_one_setting_alone_some_guards_are_seen_one_way_only() -> None:
    found = explore_strategy(settings=Settings(commit_when="first_safe_point"))
    assert rows_and_guards(STRATEGY, found.missed).one_way


# Commands. What processes do with a faulty store is explored in test_sharing_world: here a small part of it is enough.


@pytest.fixture(autouse=True)
def a_small_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "EXTENTS", (Extent(2, 1, 1),))


def test_selfcheck_explores_and_says_that_nothing_is_wrong() -> None:
    done = run("explore", "--queries", "1", "--switches", "1", "--event", "none")
    assert done.exit_code == 0
    assert "2 processes, 1 decision, 1 fault of the store: 3,564 states" in done.output
    assert "strategy: 123 of 123 rows taken, 89 of 89 guards seen true and false" in done.output
    assert "world: 12,978 states" in done.output
    assert "violations: 0; ought to happen and did not: nothing" in done.output


def test_a_bound_ends_explore_with_exit_status_two_and_it_says_so_in_json() -> None:
    done = run("explore", "--states", "100", "--queries", "1", "--json")
    assert done.exit_code == 2
    report = json.loads(done.output)
    assert (report["complete"], report["violations"]) == (False, [])
    assert report["states"] < 1_000


def test_processes_can_be_explored_together_with_a_real_store() -> None:
    calm = ("--queries", "1", "--switches", "0", "--event", "none")
    one, two = (
        json.loads(run("explore", "--together", "--processes", number, *calm, "--json").output)
        for number in ("1", "2")
    )
    assert one["complete"]
    assert two["complete"]
    assert 0 < one["states"] < two["states"] < two["unreduced"]
    assert "worlds" not in two


def test_selfcheck_with_a_wrong_table_ends_with_exit_status_one_and_shows_how(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bug = next(one for one in FIELD_BUGS if one.name == "rollback forgets tickets")
    wrong = explore_strategy(bug.table(), command.STEPS)
    monkeypatch.setattr(command, "explore_strategy", lambda **options: wrong)
    done = run("explore", "--switches", "0", "--queries", "0", "--event", "none")
    assert done.exit_code == 1
    assert "I5 accounted: " in done.output
    assert "sequenceDiagram" in done.output
    assert "def test_I5_accounted():" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explore", "--queries", "9"], "9 is not in the range"),
        (["explore", "--event", "sunrise"], "is not one of"),
        (["explore", "--states", "0"], "0 is not in the range"),
        (["nothing"], "No such command 'nothing'"),
        (["mutants", "--workers", "0"], "0 is not in the range"),
    ],
)
def test_wrong_options_end_with_exit_status_two_and_say_what_is_wrong(
    arguments: list[str], said: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.output


@pytest.mark.unjournaled
def test_selfcheck_mutants_shows_a_counterexample_of_each_bug_and_the_survivors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bugs = tuple(bug.verdict() for bug in RUNTIME_BUGS)
    noticed = tuple(MutantResult("a mutant", name) for name in PROPERTIES)
    known = Mutation(bugs, (*noticed, MutantResult("equal", "", "equivalent: it is the same")))
    monkeypatch.setattr(mutants_command, "mutate", lambda workers, told: known)
    done = run("mutants")
    assert done.exit_code == 0
    assert "I5 apart: news of one cluster never changes another\n  1. sales: " in done.output
    assert "  survives: equal: equivalent: it is the same" in done.output
    report = json.loads(run("mutants", "--json").output)
    assert report["score"] == 1.0
    assert [one["killer"] for one in report["field_bugs"]] == [
        "I5 apart", "L2 woken", "I9 single flight", "I8 in time", "I10 in one order", "I10 in one order",
        "R4 outside the lock", "L1 goes on",
    ]  # fmt: skip
    assert all("def test_" in one["test"] for one in report["field_bugs"][1:])
    assert all(one["mermaid"].startswith("sequenceDiagram") for one in report["field_bugs"])
