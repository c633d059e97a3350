"""The tables of this library as a user's would be: what is said about them is enough to notice what is wrong."""

from __future__ import annotations

from functools import cache

import pytest

from bluegreen.verify.pytest_plugin.builtin_tables import (
    LEASE_VERIFICATION,
    QUERY_VERIFICATION,
    RETRY_VERIFICATION,
    SHARING_VERIFICATION,
    STRATEGY_VERIFICATION,
)
from bluegreen.verify.verification import Verification

mutated = cache(Verification.mutate)
"""What became of the mutants of a table; it is asked twice."""

tables = pytest.mark.parametrize(
    "one",
    [
        STRATEGY_VERIFICATION,
        QUERY_VERIFICATION,
        RETRY_VERIFICATION,
        SHARING_VERIFICATION,
        LEASE_VERIFICATION,
    ],
    ids=lambda one: one.table.name,
)


@tables
def test_every_row_is_taken_and_nothing_is_wrong(one: Verification) -> None:
    found = one.explore()
    assert (found.ok, found.missed) == (True, ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "mutants"),
    [
        (QUERY_VERIFICATION, 383),
        (RETRY_VERIFICATION, 33),
        (SHARING_VERIFICATION, 113),
        (LEASE_VERIFICATION, 19),
    ],
    ids=["query", "retry", "sharing", "lease"],
)
def test_every_mutant_is_noticed(one: Verification, mutants: int) -> None:
    found = mutated(one)
    assert (len(found.verdicts), found.survivors) == (mutants, ())


@pytest.mark.slow
@pytest.mark.parametrize("one", [SHARING_VERIFICATION, LEASE_VERIFICATION], ids=["sharing", "lease"])
def test_nothing_that_is_said_of_a_table_about_a_store_is_said_of_nothing(one: Verification) -> None:
    found = mutated(one)
    assert (found.vacuous, found.stale, dict(one.explained)) == ((), (), {})
