"""What counts as taken by a test, and what does not."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from bluegreen import EventForbidden, Machine, explain, may, step
from bluegreen.verify.coverage.recorder import CoverageRecorder
from bluegreen.verify.coverage.report import Covered, coverage_kinds, lines
from examples.circuit_breaker import (
    BREAKER,
    VERIFICATION,
    CallFailed,
    Calls,
    CallStarted,
    CallSucceeded,
    CoolDownEnded,
)


def pairs(watch: CoverageRecorder) -> set[tuple[str, str]]:
    return {(before.name, after.name) for before, after in watch.tally(BREAKER).pairs}


def test_a_step_counts_whoever_takes_it_also_one_that_is_forbidden() -> None:
    watch = CoverageRecorder([BREAKER])
    with watch.installed():
        machine = Machine(BREAKER, Calls(2))
        machine.send(CallFailed())
        with pytest.raises(EventForbidden):
            step(BREAKER, "Open", Calls(), CallStarted())
    assert {row.name for row in watch.tally(BREAKER).rows} == {
        "Closed.call_failed[third in a row]",
        "Open.call_started",
    }


def test_to_ask_and_to_explore_is_not_to_take() -> None:
    watch = CoverageRecorder([BREAKER])
    with watch.installed():
        assert may(BREAKER, "Closed", Calls(), CallFailed())
        assert explain(BREAKER, "Closed", Calls(), CallFailed())
        assert VERIFICATION.explore().ok
    assert watch.tally(BREAKER).steps == 0


def test_nothing_counts_before_after_and_while_it_is_not_to() -> None:
    watch = CoverageRecorder([BREAKER])
    step(BREAKER, "Closed", Calls(), CallFailed())
    with watch.installed():
        watch.counting = False
        step(BREAKER, "Closed", Calls(), CallFailed())
    step(BREAKER, "Closed", Calls(), CallFailed())
    assert watch.tally(BREAKER).steps == 0


def test_another_table_with_the_same_rows_does_not_count() -> None:
    watch = CoverageRecorder([])
    with watch.installed():
        step(BREAKER, "Closed", Calls(), CallFailed())
    assert watch.tally(BREAKER).steps == 0


def test_a_row_follows_another_only_where_that_one_ended_and_in_the_same_run() -> None:
    watch = CoverageRecorder([BREAKER])
    with watch.installed():
        step(BREAKER, "Open", Calls(), CoolDownEnded())
        step(BREAKER, "Closed", Calls(), CallStarted())  # another machine: the first one is in HalfOpen
        watch.begin()
        step(BREAKER, "Closed", Calls(), CallStarted())
        assert pairs(watch) == set()
        machine = Machine(BREAKER, Calls())
        machine.send(CallFailed())
        machine.send(CallSucceeded())
    assert pairs(watch) == {("Closed.call_failed[!third in a row]", "Closed.call_succeeded")}


def test_machines_in_two_threads_are_not_taken_for_one() -> None:
    watch = CoverageRecorder([BREAKER])
    turns = threading.Barrier(2)

    def failing() -> None:
        for _ in range(2):
            turns.wait()
            step(BREAKER, "Closed", context, CallStarted())
            turns.wait()

    def cooling() -> None:
        for _ in range(2):
            turns.wait()
            turns.wait()
            step(BREAKER, "Closed", context, CoolDownEnded())

    context = Calls()
    with watch.installed():
        threads = [threading.Thread(target=one) for one in (failing, cooling)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert pairs(watch) == {
        ("Closed.call_started", "Closed.call_started"),
        ("Closed.cool_down_ended", "Closed.cool_down_ended"),
    }


def test_what_another_process_has_counted_is_added() -> None:
    here, there = CoverageRecorder([BREAKER]), CoverageRecorder([BREAKER])
    with there.installed():
        Machine(BREAKER, Calls()).send(CallFailed())
    here.add(there.as_dict())
    assert here.tally(BREAKER).as_dict() == there.tally(BREAKER).as_dict()


def test_a_table_that_cannot_be_explored_has_nothing_that_is_missed_or_infeasible() -> None:
    kinds = coverage_kinds(BREAKER, CoverageRecorder([BREAKER]).tally(BREAKER), None)
    assert [(one.missed, one.infeasible, one.beyond) for one in kinds] == [((), (), ())] * 3
    assert "  rows: 0 of 13 by the tests, not explored, 0 missed, 0 infeasible, 13 unknown" in [
        *lines("breaker", kinds, verbose=False)
    ]


def test_each_thing_is_missed_infeasible_unknown_beyond_or_covered() -> None:
    every = ("both", "tests only", "explorer only", "nobody")
    tests, explorer = frozenset({"both", "tests only"}), frozenset({"both", "explorer only"})
    seen = Covered("rows", every, tests, explorer, complete=True)
    assert (seen.missed, seen.infeasible, seen.unknown, seen.beyond) == (
        ("explorer only",),
        ("nobody",),
        (),
        ("tests only",),
    )
    partly = Covered("rows", every, tests, explorer, complete=False)
    assert (partly.missed, partly.infeasible, partly.unknown, partly.beyond) == (
        ("explorer only",),
        (),
        ("nobody",),
        (),
    )


def test_whoever_takes_a_step_is_let_go_as_soon_as_it_is_over() -> None:
    def takes() -> weakref.ref[CoverageRecorder]:
        held = CoverageRecorder([])
        step(BREAKER, "Closed", Calls(), CallFailed())
        return weakref.ref(held)

    with CoverageRecorder([BREAKER]).installed():
        gc.disable()  # a collection in between would hide a cycle
        try:
            assert takes()() is None
        finally:
            gc.enable()
