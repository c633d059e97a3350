"""The tables of this library as a user's would be: what is said about them is enough to notice what is wrong."""

from __future__ import annotations

import pytest

from bluegreen.verify.shipped import QUERY_VERIFICATION, RECOVERY_VERIFICATION, STRATEGY_VERIFICATION
from bluegreen.verify.verification import Verification

tables = pytest.mark.parametrize(
    "one", [STRATEGY_VERIFICATION, QUERY_VERIFICATION, RECOVERY_VERIFICATION], ids=lambda one: one.table.name
)


@tables
def test_every_row_is_taken_and_nothing_is_wrong(one: Verification) -> None:
    found = one.explore()
    assert (found.good, found.missed) == (True, ())


@pytest.mark.parametrize(
    ("one", "mutants"),
    [(QUERY_VERIFICATION, 329), (RECOVERY_VERIFICATION, 40)],
    ids=["query", "recovery"],
)
def test_every_mutant_is_noticed(one: Verification, mutants: int) -> None:
    found = one.mutate()
    assert (len(found.verdicts), found.survivors) == (mutants, ())
