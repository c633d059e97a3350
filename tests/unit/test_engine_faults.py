"""Faults of the test engine strike the requests that they are about, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen_adapters.testing.engine.faults import FaultPlan, InjectedFault


def struck(fault: InjectedFault, times: int = 10, **request: Any) -> list[int]:
    plan = FaultPlan()
    plan.arm(fault)
    fields = {"method": "status", "strategy": "blue", "statement": "SELECT 1", **request}
    return [number for number in range(1, times + 1) if plan.strike(**fields) is fault]


def test_a_fault_without_conditions_strikes_everything() -> None:
    assert struck(InjectedFault(), 3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("conditions", "strikes"),
    [
        ({"method": "status"}, True),
        ({"method": ["clear", "status"]}, True),
        ({"method": "clear"}, False),
        ({"strategy": "blue"}, True),
        ({"strategy": "green"}, False),
        ({"statement": "LECT"}, True),
        ({"statement": "INSERT"}, False),
    ],
)
def test_conditions_must_hold(conditions: dict[str, Any], strikes: bool) -> None:
    assert bool(struck(InjectedFault(**conditions), 1)) is strikes


def test_a_condition_on_the_statement_does_not_hold_without_one() -> None:
    assert struck(InjectedFault(statement="SELECT"), 1, statement=None) == []


def test_nth_counts_fitting_requests_only() -> None:
    plan = FaultPlan()
    plan.arm(InjectedFault(method="status", nth=2))
    outcomes = [
        plan.strike(method, "blue", None) is not None for method in ("status", "clear", "status", "status")
    ]
    assert outcomes == [False, False, True, False]


def test_count_bounds_how_often_a_fault_strikes() -> None:
    assert struck(InjectedFault(count=2)) == [1, 2]


def test_the_same_seed_strikes_the_same_requests() -> None:
    first = struck(InjectedFault(probability=0.5, seed=7), 100)
    assert first == struck(InjectedFault(probability=0.5, seed=7), 100)
    assert first != struck(InjectedFault(probability=0.5, seed=8), 100)
    assert 0 < len(first) < 100
    assert struck(InjectedFault(probability=0.0)) == []


def test_the_first_armed_fault_wins_and_every_fitting_one_counts_the_request() -> None:
    plan = FaultPlan()
    plan.arm(InjectedFault(nth=1, details="first"))
    plan.arm(InjectedFault(nth=2, details="second"))
    met = [plan.strike("status", "blue", None) for _ in range(3)]
    assert [fault and fault.details for fault in met] == ["first", "second", None]
    assert plan.counts == [1, 1]
    plan.clear()
    assert plan.strike("status", "blue", None) is None


@pytest.mark.parametrize(
    "fields",
    [{"action": "explode"}, {"nth": 0}, {"count": 0}, {"probability": 1.5}, {"delay_s": -1}, {"code": "OK"}],
)
def test_a_fault_outside_of_its_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        InjectedFault(**fields)
