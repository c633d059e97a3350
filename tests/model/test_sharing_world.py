"""Processes that share a faulty store: they agree in the end, and a wrong word costs one refusal, never a query."""

from __future__ import annotations

import attrs
import pytest

from bluegreen.machines.strategy.context import STABLE
from bluegreen.machines.strategy.reducers import detect_other_first
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.table import Table
from selfcheck.explore.lying_store import BEYOND, lied_to
from selfcheck.explore.store_checker import examine_sharing
from selfcheck.explore.thread_modular_checker import judge
from selfcheck.model.actions import ModelOptions
from selfcheck.model.lease import examine_lease
from selfcheck.model.store import Extent
from selfcheck.properties.cluster import FOUNDED


@pytest.mark.parametrize(
    ("extent", "states", "steps"),
    [
        (Extent(2, 2, 0), 2_432, 7_404),
        (Extent(2, 1, 1), 3_564, 10_902),
        (Extent(3, 1, 1), 22_850, 86_194),
        pytest.param(Extent(2, 2, 1), 118_850, 452_284, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_processes_with_a_faulty_store_agree_in_the_end_and_nothing_is_wrong_before(
    extent: Extent, states: int, steps: int
) -> None:
    found = examine_sharing(extent)
    assert (found.violations, found.ok) == ((), True)
    assert (found.searched.states, found.searched.steps) == (states, steps)


def test_two_processes_and_a_fault_take_every_row_about_a_store() -> None:
    assert examine_sharing(Extent(2, 1, 1)).untaken == ()


@pytest.mark.parametrize(("processes", "states", "steps"), [(1, 8, 24), (2, 76, 292), (3, 556, 2_695)])
def test_one_process_at_a_time_has_the_lease_and_nobody_waits_longer_than_its_time_for_one_that_died(
    processes: int, states: int, steps: int
) -> None:
    found = examine_lease(processes)
    assert (found.violations, found.searched.states, found.searched.steps) == ((), states, steps)


@pytest.mark.parametrize(("queries", "states"), [(1, 378), (2, 1_428), (3, 4_038)])
def test_a_wrong_word_costs_a_query_one_refusal_and_never_the_query(queries: int, states: int) -> None:
    found = lied_to(queries)
    assert (found.violations, found.searched.complete, found.searched.states) == ((), True, states)


@pytest.mark.parametrize("name", BEYOND)
def test_a_query_is_refused_again_only_with_what_is_named_beside_the_store(name: str) -> None:
    found = lied_to(1, beyond=(name,))
    assert [one.name for one in found.violations] == ["W cheap"]
    assert any(name in step for step in found.violations[0].path)


def test_without_a_hold_down_a_store_that_lies_costs_more_than_one_refusal() -> None:
    rows = tuple(
        attrs.evolve(row, reducer=detect_other_first) if row.state == "PendingTransition" and "456" in row.name
        and row.target == "Detecting" else row
        for row in STRATEGY.rows
    )  # fmt: skip
    wrong = Table(
        STRATEGY.name,
        STRATEGY.initial,
        STRATEGY.states,
        STRATEGY.events,
        rows,
        STRATEGY.contexts,
        STRATEGY.samples,
    )
    assert STABLE in {row.state for row in wrong.rows}
    assert "W cheap" in [one.name for one in lied_to(1, strategy=wrong).violations]


def test_nothing_is_pending_that_nobody_announced_if_the_store_is_silent() -> None:
    calm = ModelOptions(events=(), kinds=(False,), steps=())
    assert judge(1, 1, calm, words=False).ok
    table_aside = judge(1, 1, calm, words=False).searched.states, judge(1, 1, calm).searched.states
    assert table_aside == (5_642, 12_978)
    assert FOUNDED.text == "nothing is pending before anything was announced"
