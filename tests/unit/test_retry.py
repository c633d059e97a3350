"""The retry machine does what sections 5 and 8.7 of its specification say."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden
from bluegreen.machines.query import RESTARTS
from bluegreen.machines.retry import (
    BACKOFF,
    RENEWALS,
    RETRY,
    Attempts,
    Backoff,
    GiveUp,
    NotAuthenticated,
    Placed,
    RenewSession,
    RetryElsewhere,
    RetryHere,
    TransientError,
)
from bluegreen.table.rows import RowKind
from bluegreen.table.step import step

HERE, ANYWHERE = TransientError(here=True), TransientError(here=True, elsewhere=True)
NOWHERE, ELSEWHERE = TransientError(here=False), TransientError(here=False, elsewhere=True)
FIRST_S = BACKOFF.first_s


def test_the_limits_are_those_of_the_specification() -> None:
    assert (Settings().retry_attempts, RESTARTS, RENEWALS) == (3, 2, 2)
    assert Attempts().limit == Settings().retry_attempts


def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    pauses = [BACKOFF.delay_s(attempt) for attempt in range(1, 11)]
    assert pauses[0] == BACKOFF.first_s > 0
    for before, after in pairwise(pauses):
        assert after == min(2 * before, BACKOFF.longest_s)
    assert pauses[-1] == BACKOFF.longest_s


def test_a_backoff_of_zero_never_pauses() -> None:
    assert [Backoff(0, 0).delay_s(attempt) for attempt in (1, 2, 10)] == [0, 0, 0]


FORBIDDEN = "forbid"
Case = tuple[str, Attempts, Any, str, "dict[str, int]", "list[Any]"]

CASES: list[Case] = [
    ("Unplaced", Attempts(limit=0), Placed(5), "Trying", {"limit": 5}, []),
    ("Unplaced", Attempts(2, 2), Placed(3), "Trying", {"renewals": 0}, []),
    ("Trying", Attempts(2, 2), Placed(3), "Trying", {"renewals": 0}, []),
    ("Unplaced", Attempts(), ANYWHERE, FORBIDDEN, {}, []),
    ("Unplaced", Attempts(), NotAuthenticated(), FORBIDDEN, {}, []),
    # Transient: on the current strategy, and the last one elsewhere.
    ("Trying", Attempts(), ANYWHERE, "Trying", {"resends": 1}, [RetryHere(FIRST_S, 1)]),
    ("Trying", Attempts(1), ANYWHERE, "Trying", {"resends": 2}, [RetryHere(2 * FIRST_S, 2)]),
    ("Trying", Attempts(2), ANYWHERE, "Unplaced", {"resends": 3}, [RetryElsewhere(4 * FIRST_S, 3)]),
    ("Trying", Attempts(3), ANYWHERE, "Unplaced", {}, [GiveUp()]),
    ("Trying", Attempts(limit=1), ANYWHERE, "Unplaced", {"resends": 1}, [RetryElsewhere(FIRST_S, 1)]),
    # What cannot go elsewhere gets all resends where it is.
    ("Trying", Attempts(2), HERE, "Trying", {"resends": 3}, [RetryHere(4 * FIRST_S, 3)]),
    ("Trying", Attempts(3), HERE, "Unplaced", {}, [GiveUp()]),
    # What must not be sent there again goes elsewhere at once, or nowhere.
    ("Trying", Attempts(), ELSEWHERE, "Unplaced", {"resends": 1}, [RetryElsewhere(FIRST_S, 1)]),
    ("Trying", Attempts(3), ELSEWHERE, "Unplaced", {}, [GiveUp()]),
    ("Trying", Attempts(), NOWHERE, "Unplaced", {}, [GiveUp()]),
    # More than the limit may be used up: the setting can be changed at run time.
    ("Trying", Attempts(5, limit=1), ANYWHERE, "Unplaced", {}, [GiveUp()]),
    # Authentication.
    ("Trying", Attempts(), NotAuthenticated(), "Trying", {"renewals": 1}, [RenewSession()]),
    ("Trying", Attempts(3, 1), NotAuthenticated(), "Trying", {"renewals": 2}, [RenewSession()]),
    ("Trying", Attempts(0, 2), NotAuthenticated(), "Unplaced", {}, [GiveUp()]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def test_an_error_is_answered_as_the_specification_says(case: Case) -> None:
    state, context, event, target, changes, effects = case
    if target == FORBIDDEN:
        with pytest.raises(EventForbidden):
            step(RETRY, state, context, event)
        return
    taken = step(RETRY, state, context, event)
    assert taken.state == target
    assert taken.context == attrs.evolve(context, **changes)
    assert list(taken.effects) == effects


def test_every_row_is_taken_by_a_case() -> None:
    taken = {id(RETRY.row(case[0], case[1], case[2])) for case in CASES}
    assert [str(row) for row in RETRY.rows if id(row) not in taken] == []


def test_every_row_that_can_change_something_was_tried_when_the_table_was_defined() -> None:
    tried = {
        id(RETRY.row(state.name, context, event))
        for state in RETRY.states
        for context in RETRY.contexts
        for event in RETRY.samples
    }
    live = [row for row in RETRY.rows if row.outcome in (RowKind.GO, RowKind.STAY)]
    assert [str(row) for row in live if id(row) not in tried] == []


@pytest.mark.parametrize("limit", [1, 3, 10])
@pytest.mark.parametrize("error", [ANYWHERE, HERE, ELSEWHERE])
def test_a_request_that_always_fails_is_sent_again_exactly_as_often_as_the_limit_says(
    error: TransientError, limit: int
) -> None:
    state, context, resends = RETRY.initial, Attempts(), list[Any]()
    for _ in range(limit + 1):
        state, context, _, _ = step(RETRY, state, context, Placed(limit))
        state, context, effects, _ = step(RETRY, state, context, error)
        resends += [one for one in effects if isinstance(one, (RetryHere, RetryElsewhere))]
    assert [one.attempt for one in resends] == list(range(1, limit + 1))
    assert effects == (GiveUp(),)
