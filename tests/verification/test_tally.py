"""The tally counts what was taken, and says of guards what they answered, not what must follow from it."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from bluegreen.errors import EventForbidden, GuardError
from bluegreen.machines.query import QUERY
from bluegreen.machines.retry import RETRY
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import AuthSuccess, QueryStarted
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import step
from bluegreen.table.table import Fact, State, Table, go, stay
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.coverage.rows_and_guards import rows_and_guards
from bluegreen.verify.exploration.single_table import explore, strategy_events
from bluegreen.verify.exploration.version_abstraction import rebase

FIRST = Context.initial()


@attrs.frozen
class Turned:
    """A lamp is turned on or off by as much as is said."""

    name = "turned"
    by: int = 1


big = Fact("big", (True, False), lambda _, event: event.by > 5)
odd = Fact("odd", (True, False), lambda _, event: event.by % 2 == 1 if event.by > -100 else "unknown")


def lamp() -> Table[Any, Any, Any]:
    return Table(
        name="lamp",
        initial="Off",
        states=(State("Off"), State("On")),
        events=(Turned,),
        rows=(
            go("Off", Turned, "On", guard=big.is_(True), why="enough"),
            stay("Off", Turned, guard=~big.is_(True) & odd.is_(True), why="odd"),
            stay("Off", Turned, guard=~big.is_(True) & odd.is_(False), why="even"),
            go("On", Turned, "Off", why="off"),
        ),
    )


def test_rows_are_counted_and_forbidden_ones_too() -> None:
    tally = Tally(STRATEGY)
    row = tally.took("Detecting", FIRST, QueryStarted())
    with pytest.raises(EventForbidden):
        step(STRATEGY, "Detecting", FIRST, QueryStarted())
    tally.took("Detecting", FIRST, QueryStarted())
    assert tally.rows == {row: 2}
    assert (tally.times(row), tally.steps) == (2, 2)


def test_pairs_are_counted_within_a_run_only() -> None:
    tally = Tally(lamp())
    on = tally.took("Off", None, Turned(6))
    off = tally.took("On", None, Turned())
    tally.begin()
    tally.took("On", None, Turned())
    tally.took("Off", None, Turned(6))
    assert tally.pairs == {(on, off): 1, (off, on): 1}


def test_each_guard_of_a_cell_is_asked_whichever_row_is_taken() -> None:
    tally = Tally(lamp())
    tally.took("Off", None, Turned(8))
    assert set(map(frozenset, tally.guards.values())) == {frozenset({True}), frozenset({False})}
    assert tally.guards["Off.turned[big=True]"] == {True}
    assert tally.guards["Off.turned[!big=True & odd=True]"] == {False}
    assert len(tally.coverage().one_way) == 3
    tally.took("Off", None, Turned(1))
    assert tally.coverage().one_way == ("Off.turned[!big=True & odd=False]",)


def test_a_value_that_is_not_declared_is_not_counted() -> None:
    tally = Tally(lamp())
    with pytest.raises(KeyError):
        tally.took("Off", None, AuthSuccess("blue", 0))
    with pytest.raises(GuardError):
        tally.took("Off", None, Turned(-200))
    assert (tally.steps, tally.guards) == (0, {})


def test_a_row_of_another_table_is_refused() -> None:
    with pytest.raises(KeyError):
        Tally(lamp()).count(STRATEGY.rows[0], FIRST, QueryStarted())


def explored(tally: Tally) -> Tally:
    """What an exploration takes of the strategy machine."""

    def events_of(state: str, context: Context) -> Any:
        for event in strategy_events(state, context):
            tally.took(state, context, event)
            yield event

    explore(STRATEGY, rebase(FIRST), events_of, plain=rebase)
    return tally


def test_an_exploration_takes_every_row_and_sees_every_guard_both_ways() -> None:
    coverage = explored(Tally(STRATEGY)).coverage()
    assert (coverage.untaken, coverage.one_way) == ((), ())
    assert str(coverage) == str(rows_and_guards(STRATEGY, ()))


def test_what_two_processes_counted_is_added_through_json() -> None:
    one, other = Tally(STRATEGY), Tally(STRATEGY)
    one.took("Detecting", FIRST, AuthSuccess("blue", 0))
    other.took("Detecting", FIRST, AuthSuccess("blue", 3))
    other.took("Detecting", FIRST, AuthSuccess("blue", 3))
    sent = json.loads(json.dumps(other.as_dict()))
    one.merge(Tally.from_dict(STRATEGY, sent))
    assert sorted(one.rows.values()) == [1, 2]
    assert list(one.pairs.values()) == [1]
    assert one.guards["Detecting.auth_success[fresh]"] == {True, False}


def test_tallies_of_different_tables_are_not_added() -> None:
    with pytest.raises(ValueError, match=r"'retry'.*'query'"):
        Tally(QUERY).merge(Tally(RETRY))
    with pytest.raises(ValueError, match=r"'retry'.*'query'"):
        Tally.from_dict(QUERY, Tally(RETRY).as_dict())
