"""SPIN, which shares nothing with our search but the tables, sees the same states and says the same of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from bluegreen.machines.strategy.table import STRATEGY
from selfcheck.cli.spin import promela as promela_command
from selfcheck.model.composition import Composition
from selfcheck.mutation.known_bugs import FIELD_BUGS
from selfcheck.spin.compare import compare
from selfcheck.spin.promela import MODEL, TABLES, promela, tables
from selfcheck.spin.runner import SpinError, judge, missing

pytestmark = pytest.mark.slow

ABSENT = missing()
asks_spin = pytest.mark.skipif(ABSENT is not None and not os.environ.get("CI"), reason=str(ABSENT))
"""On a machine of CI SPIN has to be there."""

BUGS = {bug.name: bug for bug in FIELD_BUGS}


@asks_spin
def test_spin_stores_the_states_that_we_find_and_finds_nothing_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    agreed = compare(Composition.of(queries=1))
    with capsys.disabled():
        print(f"\n{agreed}")
    assert (agreed.ours.states, agreed.spin.states) == (25_172, 25_172)
    assert len(agreed.spin.reached) == 20
    assert agreed.same
    assert not agreed.ours.broken


@asks_spin
@pytest.mark.parametrize(
    "bug",
    [
        "stale announcement flips back",
        "clear on the wrong stack",
        "late 456 clears a fresh cache",
        "timer as the only way out",
    ],
)
def test_both_see_that_a_table_is_wrong(bug: str) -> None:
    agreed = compare(Composition.of(queries=1, table=BUGS[bug].table()))
    assert agreed.spin.broken
    assert agreed.same, str(agreed)


@asks_spin
def test_both_see_that_a_transition_never_ends_where_only_a_timer_would_end_it() -> None:
    agreed = compare(Composition.of(queries=1, table=BUGS["timer as the only way out"].table()))
    assert (agreed.ours.broken, agreed.spin.broken) == (frozenset({"L1"}), ("L1",))


def test_without_spin_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SpinError, match="not installed: spin and gcc"):
        judge(Composition.of(queries=0))


def test_the_command_writes_the_model_and_its_tables(tmp_path: Path) -> None:
    assert CliRunner().invoke(promela_command, [str(tmp_path), "--queries", "0"]).exit_code == 0
    composition = Composition.of(queries=0)
    assert (tmp_path / MODEL).read_text() == promela(composition)
    assert (tmp_path / TABLES).read_text() == tables(composition)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [([], 2), (["a", "b"], 2), (["a", "--queries", "4"], 2), (["/proc/at/all"], 1)],
)
def test_what_cannot_be_exported_is_refused(arguments: list[str], status: int) -> None:
    done = CliRunner().invoke(promela_command, arguments)
    assert done.exit_code == status
    assert "Error: " in done.output


def test_the_composition_is_of_the_tables_that_run() -> None:
    assert Composition.of(queries=0).table is STRATEGY
