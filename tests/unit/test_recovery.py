"""The recovery policy is the table in section 5 of its specification, and its machine carries that out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden
from bluegreen.machines.retry import (
    POLICY,
    RECOVERY,
    Answered,
    Attempts,
    AuthenticateAgain,
    DetectAgain,
    DetectionFailed,
    Escalate,
    NotAuthenticated,
    RetryAfter,
    Rule,
    TransientError,
    WrongStrategy,
)
from bluegreen.table.rows import RowKind
from bluegreen.table.step import step

PAUSE = POLICY["transient"].first_delay_s


@pytest.mark.parametrize(
    ("kind", "action", "attempts", "backs_off"),
    [
        ("transient", "retry on the current strategy", 3, True),
        ("456", "clear cache and detect", 2, False),
        ("authentication", "try the other strategy", 2, False),
        ("detection failure", "escalate", 1, False),
    ],
)
def test_the_policy_has_the_actions_attempts_and_pauses_of_the_specification(
    kind: str, action: str, attempts: int, backs_off: bool
) -> None:
    rule = POLICY[kind]
    assert rule.action == action
    assert (rule.attempts or Settings().retry_attempts) == attempts
    assert (rule.delay_s(1) > 0) is backs_off
    assert (rule.delay_s(2) > 0) is backs_off


def test_the_policy_has_no_other_kinds_of_error() -> None:
    assert list(POLICY) == ["transient", "456", "authentication", "detection failure"]


def test_the_limit_of_transient_retries_is_the_one_of_the_settings_and_nothing_else_is() -> None:
    assert [kind for kind, rule in POLICY.items() if rule.attempts is None] == ["transient"]
    assert Attempts().limit == Settings().retry_attempts


def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    rule = POLICY["transient"]
    pauses = [rule.delay_s(attempt) for attempt in range(1, 11)]
    assert pauses[0] == rule.first_delay_s
    for before, after in pairwise(pauses):
        assert after == min(2 * before, rule.longest_delay_s)
    assert pauses[-1] == rule.longest_delay_s


def test_a_rule_without_a_pause_never_pauses() -> None:
    assert [Rule("", 2).delay_s(attempt) for attempt in (1, 2, 10)] == [0, 0, 0]


FORBIDDEN = "forbid"
Case = tuple[str, Attempts, Any, "str", "dict[str, int]", "list[Any]"]

CASES: list[Case] = [
    ("Trying", Attempts(), TransientError(), "Trying", {"transient": 1}, [RetryAfter(PAUSE, 1)]),
    ("Trying", Attempts(transient=1), TransientError(), "Trying", {"transient": 2},
     [RetryAfter(2 * PAUSE, 2)]),
    ("Trying", Attempts(transient=2), TransientError(), "Trying", {"transient": 3},
     [RetryAfter(4 * PAUSE, 3)]),
    ("Trying", Attempts(transient=3), TransientError(), "Escalated", {}, [Escalate()]),
    ("Trying", Attempts(transient=1, limit=1), TransientError(), "Escalated", {}, [Escalate()]),
    ("Trying", Attempts(), WrongStrategy(), "Trying", {"refused": 1}, [DetectAgain()]),
    ("Trying", Attempts(refused=1), WrongStrategy(), "Trying", {"refused": 2}, [DetectAgain()]),
    ("Trying", Attempts(refused=2), WrongStrategy(), "Escalated", {}, [Escalate()]),
    ("Trying", Attempts(), NotAuthenticated(), "Trying", {"denied": 1}, [AuthenticateAgain()]),
    ("Trying", Attempts(denied=1), NotAuthenticated(), "Trying", {"denied": 2}, [AuthenticateAgain()]),
    ("Trying", Attempts(denied=2), NotAuthenticated(), "Escalated", {}, [Escalate()]),
    ("Trying", Attempts(), DetectionFailed(), "Escalated", {}, [Escalate()]),
    ("Trying", Attempts(1, 1, 1), Answered(), "Settled", {}, []),
    *(("Settled", Attempts(), event, "Settled", {}, []) for event in RECOVERY.samples),
    *(("Escalated", Attempts(), event(), "Escalated", {},
       []) for event in RECOVERY.events if event is not Answered),
    ("Escalated", Attempts(), Answered(), FORBIDDEN, {}, []),
]  # fmt: skip


def name_of(case: Case) -> str:
    context = case[1]
    return (
        f"{case[0]}-{case[2].name}-{context.transient}_{context.refused}_{context.denied}_of_{context.limit}"
    )


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_an_error_is_answered_as_the_specification_says(case: Case) -> None:
    state, context, event, target, changes, effects = case
    if target == FORBIDDEN:
        with pytest.raises(EventForbidden):
            step(RECOVERY, state, context, event)
        return
    taken = step(RECOVERY, state, context, event)
    assert taken.state == target
    assert taken.context == attrs.evolve(context, **changes)
    assert list(taken.effects) == effects


def test_every_row_is_taken_by_a_case() -> None:
    taken = {id(RECOVERY.row(case[0], case[1], case[2])) for case in CASES}
    assert [str(row) for row in RECOVERY.rows if id(row) not in taken] == []


def test_every_row_that_can_change_something_was_tried_when_the_table_was_defined() -> None:
    tried = {
        id(RECOVERY.row(state.name, context, event))
        for state in RECOVERY.states
        for context in RECOVERY.contexts
        for event in RECOVERY.samples
    }
    live = [row for row in RECOVERY.rows if row.outcome in (RowKind.GO, RowKind.STAY)]
    assert [str(row) for row in live if id(row) not in tried] == []


def test_an_operation_that_meets_every_error_in_turn_comes_to_an_end() -> None:
    state, context, steps = "Trying", Attempts(limit=10), 0
    while state == "Trying":
        for event in (TransientError(), WrongStrategy(), NotAuthenticated()):
            state, context, _, _ = step(RECOVERY, state, context, event)
            steps += 1
    assert state == "Escalated"
    assert steps <= 3 * 3
