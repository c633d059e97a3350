"""A table finds the one row that is enabled, asks as few facts as it can, and changes nothing."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import attrs
import pytest

from bluegreen.errors import GuardError
from bluegreen.table.table import Fact, State, Table, forbid, go, ignore, stay


@attrs.frozen
class Asked:
    a: Hashable = True
    b: Hashable = True
    name: ClassVar[str] = "asked"


@attrs.frozen
class Unknown:
    name: ClassVar[str] = "unknown"


class Counting:
    """Facts that remember how often they were asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.a = Fact("a", (True, False), lambda _, e: self._answer("a", e.a))
        self.b = Fact("b", (True, False), lambda _, e: self._answer("b", e.b))

    def _answer(self, name: str, value: Hashable) -> Hashable:
        self.asked.append(name)
        return value

    def table(self) -> Table[Any, Any, Any]:
        a, b = self.a.is_(True), self.b.is_(True)
        return Table(
            name="counting",
            initial="One",
            states=(State("One"), State("Two")),
            events=(Asked,),
            rows=(
                go("One", Asked, "Two", guard=a & b, why="both"),
                stay("One", Asked, guard=a & ~b, why="only a"),
                ignore("One", Asked, guard=~a, why="not a"),
                go("Two", Asked, "One", why="always"),
            ),
        )


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.mark.parametrize(
    ("event", "row", "asked"),
    [
        (Asked(True, True), "One.asked[a=True & b=True] -> Two", ["a", "b"]),
        (Asked(True, False), "One.asked[a=True & !b=True] stay", ["a", "b"]),
        (Asked(False, True), "One.asked[!a=True] ignore", ["a"]),
    ],
)
def test_a_row_is_found_by_asking_no_fact_that_cannot_matter(
    counting: Counting, event: Asked, row: str, asked: list[str]
) -> None:
    table = counting.table()
    counting.asked.clear()
    assert str(table.row("One", None, event)) == row
    assert counting.asked == asked


def test_a_cell_with_one_row_asks_no_fact_at_all(counting: Counting) -> None:
    assert str(counting.table().row("Two", None, Asked())) == "Two.asked -> One"
    assert counting.asked == []


def test_a_fact_with_an_undeclared_value_is_refused_with_everything_about_it(counting: Counting) -> None:
    with pytest.raises(
        GuardError, match=r"^asked in One: fact 'b' is 'maybe'; declared: True, False$"
    ) as raised:
        counting.table().row("One", None, Asked(True, "maybe"))
    error = raised.value
    assert (error.fact, error.value, error.declared) == ("b", "maybe", (True, False))
    assert (error.state, error.event) == ("One", "asked")


def test_a_value_that_a_fact_has_in_other_states_only_is_undeclared_too() -> None:
    narrow = Fact("narrow", (1, 2), lambda _, e: e.a, within={"One": (1,)})
    table = Table[Any, Any, Any](
        name="narrow",
        initial="One",
        states=(State("One"), State("Two")),
        events=(Asked,),
        rows=(
            go("One", Asked, "Two", guard=narrow.is_(1), why="one"),
            go("Two", Asked, "One", guard=narrow.is_(1), why="one"),
            forbid("Two", Asked, guard=narrow.is_(2), why="two"),
        ),
    )
    assert table.row("Two", None, Asked(2)).why == "two"
    with pytest.raises(GuardError, match="'narrow' is 3; declared: 1, 2"):
        table.row("Two", None, Asked(3))
    assert table.row("One", None, Asked(2)).why == "one"  # the only case: it is not asked


def test_an_event_that_is_not_in_the_alphabet_and_an_unknown_state_are_key_errors(counting: Counting) -> None:
    table = counting.table()
    with pytest.raises(KeyError, match="Unknown"):
        table.row("One", None, Unknown())
    with pytest.raises(KeyError, match="Three"):
        table.row("Three", None, Asked())


def test_what_a_fact_raises_passes_through() -> None:
    def divide(*_: Any) -> bool:
        raise ZeroDivisionError

    raising = Fact("raising", (True, False), divide).is_(True)
    table = Table[Any, Any, Any](
        name="raising",
        initial="One",
        states=(State("One"), State("Two")),
        events=(Asked,),
        rows=(
            go("One", Asked, "Two", guard=raising, why="a"),
            forbid("One", Asked, guard=~raising, why="b"),
            go("Two", Asked, "One", why="c"),
        ),
    )
    with pytest.raises(ZeroDivisionError):
        table.row("One", None, Asked())


def test_a_table_cannot_be_changed(counting: Counting) -> None:
    table = counting.table()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        table.rows = ()  # type: ignore[misc]


def test_a_table_compares_by_identity(counting: Counting) -> None:
    assert counting.table() != counting.table()
    table = counting.table()
    assert {table: "it can be a key"}[table]
