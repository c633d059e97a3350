"""The machines of a shared store: their properties, what notices a wrong one, and worlds of processes."""

from __future__ import annotations

import pytest

from bluegreen.verify.moves import Liberties
from bluegreen.verify.sharing import LEASE_VERIFICATION, SHARING_VERIFICATION
from bluegreen.verify.sharing_bugs import SHARING_BUGS, sharing_verdicts
from bluegreen.verify.sharing_world import SHARED, SharingWorld
from bluegreen.verify.verdict import judge
from bluegreen.verify.verification import Verification


@pytest.mark.parametrize(
    "verification", [SHARING_VERIFICATION, LEASE_VERIFICATION], ids=lambda one: one.table.name
)
def test_every_state_is_seen_and_nothing_is_wrong(verification: Verification) -> None:
    found = verification.explore()
    assert (found.good, found.missed) == (True, ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verification", "mutants"),
    [(SHARING_VERIFICATION, 112), (LEASE_VERIFICATION, 19)],
    ids=["sharing", "lease"],
)
def test_every_table_that_is_wrong_in_one_place_is_noticed(verification: Verification, mutants: int) -> None:
    found = verification.mutate()
    assert (len(found.verdicts), found.survivors) == (mutants, ())


def test_every_known_way_to_get_it_wrong_is_noticed() -> None:
    verdicts = {one.name: one for one in sharing_verdicts()}
    assert len(verdicts) == len(SHARING_BUGS) + 1
    assert {"epoch ignored", "incarnation ignored", "a lease never ends"} <= set(verdicts)
    assert [name for name, one in verdicts.items() if not one.killer] == []


def test_each_property_of_the_store_notices_something() -> None:
    tables = [bug.table() for bug in SHARING_BUGS if bug.base is SHARING_VERIFICATION.table]
    broken = {one.name for table in tables for one in SHARING_VERIFICATION.explore(table).violations}
    assert {"never back", "behind", "whose word"} <= broken  # the others are broken by mutants


@pytest.mark.parametrize(("size", "states"), [*zip(SHARED, (15_364, 6_810), strict=True)], ids=str)
def test_processes_agree_once_faults_are_over(size: tuple[int, int, int], states: int) -> None:
    found = SharingWorld(*size).explore()
    assert (found.states, found.broken) == (states, ())


def test_a_store_that_names_anything_at_any_moment_costs_no_query_and_breaks_nothing() -> None:
    found = judge(1, 1, Liberties(kinds=(False,), steps=(), store=True))
    assert (found.searched.states, found.good) == (31_998, True)
