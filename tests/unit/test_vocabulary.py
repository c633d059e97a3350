"""Strategies are blue and green in any case, and the values that everything else is made of are frozen."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bluegreen.errors import UnknownStrategy
from bluegreen.machines.strategy.effects import StrategyEffect
from bluegreen.machines.strategy.events import EVENTS, Error456, StrategyEvent
from bluegreen.types import Scope, Strategy, Ticket, optional_strategy, parse_strategy

PARSERS = [Strategy.parse, parse_strategy, optional_strategy]


@pytest.mark.parametrize("parse", PARSERS)
@given(data=st.data())
def test_a_strategy_is_read_in_any_case(parse: Any, data: st.DataObject) -> None:
    strategy = data.draw(st.sampled_from(Strategy))
    upper = data.draw(st.tuples(*[st.booleans()] * len(strategy.value)))
    text = "".join(letter.upper() if up else letter for letter, up in zip(strategy.value, upper, strict=True))
    assert parse(text) is strategy
    assert parse(strategy) is strategy


@pytest.mark.parametrize("parse", PARSERS)
@given(value=st.text() | st.integers() | st.binary() | st.sampled_from(["blue ", "grün", "blue,green", "b"]))
def test_anything_else_is_refused_with_the_value_and_the_two_accepted_ones(parse: Any, value: object) -> None:
    assume(not (isinstance(value, str) and value.lower() in ("blue", "green", "", "none")))
    with pytest.raises(UnknownStrategy) as raised:
        parse(value)
    assert raised.value.value == value
    shown = repr(value)
    if isinstance(value, str) and len(value) > 60:  # somebody else's text does not fill a message
        shown = f"{value[:60]!r}... ({len(value)} characters)"
    assert str(raised.value) == f"{shown} is no strategy; accepted: 'blue', 'green' (in any case)"


@pytest.mark.parametrize("nothing", [None, "", "none", "NONE"])
def test_no_strategy_is_accepted_only_where_it_is_optional(nothing: Any) -> None:
    assert optional_strategy(nothing) is None
    for parse in (Strategy.parse, parse_strategy):
        with pytest.raises(UnknownStrategy):
            parse(nothing)


def test_each_strategy_has_the_other_one() -> None:
    assert (Strategy.BLUE.other, Strategy.GREEN.other) == (Strategy.GREEN, Strategy.BLUE)


def test_a_strategy_is_its_wire_name() -> None:
    assert Strategy.BLUE == "blue"
    assert f"{Strategy.GREEN}" == str(Strategy.GREEN) == "green"
    assert "strategy=%s" % Strategy.GREEN == "strategy=green"  # noqa: UP031  what logging does
    assert {"blue": 1}[Strategy.BLUE] == 1
    assert pickle.loads(pickle.dumps(Strategy.BLUE)) is Strategy.BLUE


def test_there_are_two_strategies() -> None:
    assert list(Strategy) == [Strategy.BLUE, Strategy.GREEN]


def test_a_scope_is_told_with_its_cluster_if_it_has_one() -> None:
    assert str(Scope("db.example:443", "sales")) == "db.example:443/sales"
    assert str(Scope("db.example:443")) == "db.example:443"


def test_two_scopes_are_the_same_only_if_target_and_cluster_are() -> None:
    assert Scope("a:1", "x") == Scope("a:1", "x")
    assert (
        len({Scope("a:1", "x"), Scope("a:1", "x"), Scope("a:1", "y"), Scope("b:1", "x"), Scope("a:1")}) == 4
    )


def test_a_ticket_cannot_be_changed() -> None:
    ticket = Ticket(1, "blue", 3)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ticket.strategy = Strategy.GREEN  # type: ignore[misc]


def test_a_ticket_takes_the_name_of_a_strategy_and_refuses_any_other() -> None:
    assert Ticket(1, "GREEN", 3).strategy is Strategy.GREEN
    with pytest.raises(UnknownStrategy):
        Ticket(1, "red", 3)


def test_the_session_of_a_ticket_is_neither_compared_nor_shown() -> None:
    """It is the connection's own: it may be a secret, and need not be comparable."""
    one, other = Ticket(1, "blue", 3, session=object()), Ticket(1, "blue", 3, session="secret")
    assert one == other
    assert hash(one) == hash(other)
    assert "secret" not in repr(other)


def test_every_event_has_a_name_of_its_own_in_the_past_tense_of_the_specification() -> None:
    assert [event.name for event in EVENTS] == [
        "connection_opened",
        "query_started",
        "query_completed",
        "query_cancelled",
        "query_failed",
        "strategy_announced",
        "error_456",
        "auth_success",
        "auth_failure",
        "persistent_failure",
        "cache_expired",
        "cache_invalidated",
        "detection_timed_out",
        "cooldown_ended",
        "drain_timed_out",
        "rollback_requested",
        "reset",
    ]


@pytest.mark.parametrize("union", [StrategyEvent, StrategyEffect])
def test_every_event_and_effect_is_a_frozen_value(union: Any) -> None:
    for cls in union.__args__:
        assert attrs.has(cls)
        assert cls.__setattr__ is not object.__setattr__
        assert cls.__hash__ is not None
        assert not hasattr(cls, "__dict__") or "__slots__" in vars(cls)


def test_news_takes_the_name_of_a_strategy_and_refuses_any_other() -> None:
    assert Error456("Green", 3) == Error456(Strategy.GREEN, 3)
    with pytest.raises(UnknownStrategy, match="'red' is no strategy"):
        Error456("red", 3)
