"""Every error is a BluegreenError, has its facts as attributes and in its message, and can be pickled."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from bluegreen import errors
from bluegreen.errors import (
    BluegreenError,
    DetectionTimedOutError,
    EventForbidden,
    GuardError,
    QueryLost,
    Refusal,
    ScopeConflict,
    SettingsError,
    StoreError,
    StrategyUnavailable,
    TableError,
    UnknownStrategy,
    unreachable,
)
from bluegreen.table.rows import TableFinding
from bluegreen.types import Scope

SCOPE = Scope("db.example:443", "sales")
HOSTILE = "\x1b" * 60
BOTH = {"blue": "status 456", "green": "UNAVAILABLE"}

CASES: list[tuple[BluegreenError, str, dict[str, Any]]] = [
    (
        UnknownStrategy("red"),
        "'red' is no strategy; accepted: 'blue', 'green' (in any case)",
        {"value": "red"},
    ),
    (
        UnknownStrategy("\x1b" * 1000),
        f"{HOSTILE!r}... (1000 characters) is no strategy; accepted: 'blue', 'green' (in any case)",
        {"value": "\x1b" * 1000},
    ),
    (
        UnknownStrategy(b"\x1b" * 1000),
        f"{HOSTILE.encode()!r}... (1000 bytes) is no strategy; accepted: 'blue', 'green' (in any case)",
        {"value": b"\x1b" * 1000},
    ),
    (SettingsError(["a is 1", "b is 2"]), "a is 1\nb is 2", {"findings": ("a is 1", "b is 2")}),
    (
        TableError("lamp", [TableFinding("trap", "no way out", "On")]),
        "table 'lamp' is refused, 1 finding:\n  1. trap (On): no way out",
        {"table": "lamp", "findings": (TableFinding("trap", "no way out", "On"),)},
    ),
    (
        GuardError("fresh", 3, (True, False), "Stable", "error_456"),
        "error_456 in Stable: fact 'fresh' is 3; declared: True, False",
        {"fact": "fresh", "value": 3, "declared": (True, False), "state": "Stable", "event": "error_456"},
    ),
    (
        EventForbidden("query_started", "Failed", "both strategies failed", ["connection_opened", "reset"]),
        "query_started is forbidden in Failed: both strategies failed; accepted: connection_opened, reset",
        {
            "event": "query_started",
            "state": "Failed",
            "reason": "both strategies failed",
            "accepted": ("connection_opened", "reset"),
        },
    ),
    (EventForbidden("a", "B", "c", []), "a is forbidden in B: c; accepted: nothing", {"accepted": ()}),
    (
        StrategyUnavailable(SCOPE, "both strategies failed", BOTH),
        "db.example:443/sales: both strategies failed (blue: status 456; green: UNAVAILABLE)",
        {"scope": SCOPE, "reason": "both strategies failed", "failures": BOTH},
    ),
    (
        StrategyUnavailable(SCOPE, "nobody is there"),
        "db.example:443/sales: nobody is there",
        {"failures": {}},
    ),
    (
        DetectionTimedOutError(SCOPE, "no strategy within 30 s", {"blue": "silent"}),
        "db.example:443/sales: no strategy within 30 s (blue: silent)",
        {"scope": SCOPE, "failures": {"blue": "silent"}},
    ),
    (Refusal("status 456"), "status 456", {"reason": "status 456", "wrong_strategy": True}),
    (Refusal("denied", wrong_strategy=False), "denied", {"wrong_strategy": False}),
    (
        QueryLost("q-1", "blue", 7, "it can write"),
        "query q-1 on blue (version 7) is lost: it can write",
        {"query": "q-1", "strategy": "blue", "state_version": 7, "reason": "it can write"},
    ),
    (
        QueryLost(None, "blue", 7, "gone"),
        "query (no id yet) on blue (version 7) is lost: gone",
        {"query": None},
    ),
    (
        ScopeConflict(SCOPE, ["cache_ttl_s", "replay"]),
        (
            "db.example:443/sales is already managed with other settings (cache_ttl_s, replay); "
            "one scope has one manager: pass the same settings, or none"
        ),
        {"scope": SCOPE, "differing": ("cache_ttl_s", "replay")},
    ),
    (
        StoreError("redis://db.example", "no answer within 5 ms"),
        "redis://db.example: no answer within 5 ms",
        {"store": "redis://db.example", "reason": "no answer within 5 ms"},
    ),
]
each_case = pytest.mark.parametrize(
    ("error", "message", "facts"), CASES, ids=lambda value: type(value).__name__
)


@each_case
def test_the_facts_of_an_error_are_in_its_message_and_are_attributes(
    error: BluegreenError, message: str, facts: dict[str, Any]
) -> None:
    assert str(error) == message
    assert {name: getattr(error, name) for name in facts} == facts


@each_case
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling_and_copying(
    error: BluegreenError, message: str, facts: dict[str, Any], protocol: int
) -> None:
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == message
        assert vars(again) == vars(error)
        assert again.args == error.args


def test_a_note_survives_pickling() -> None:
    error = QueryLost("q-1", "blue", 7, "gone")
    error.__notes__ = ["seen in a test"]  # type: ignore[attr-defined]  # add_note is of Python 3.11
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["seen in a test"]


def test_every_error_of_the_module_has_a_case_here() -> None:
    classes = {
        one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, BluegreenError)
    }
    assert classes - {BluegreenError} == {type(error) for error, _, _ in CASES}


def test_an_error_about_a_wrong_value_is_a_value_error() -> None:
    value_errors = {type(error) for error, _, _ in CASES if isinstance(error, ValueError)}
    assert value_errors == {UnknownStrategy, SettingsError, TableError, ScopeConflict}


def test_what_an_error_was_told_cannot_be_changed_through_what_it_was_told_with() -> None:
    failures, accepted = dict(BOTH), ["reset"]
    unavailable, forbidden = (
        StrategyUnavailable(SCOPE, "why", failures),
        EventForbidden("a", "B", "c", accepted),
    )
    failures.clear()
    accepted.clear()
    assert unavailable.failures == BOTH
    assert forbidden.accepted == ("reset",)


def test_a_branch_that_should_be_dead_says_what_reached_it() -> None:
    with pytest.raises(AssertionError, match="unhandled value 7"):
        unreachable(7)  # type: ignore[arg-type]
