"""Guards are predicates over finite facts, and their text says what they mean."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen.table.guards import ALWAYS, Fact, Guard, describe_facts, valuations

A = Fact("a", (True, False), lambda context, _: context)
B = Fact("b", (True, False), lambda _, event: event)
C = Fact("c", ("x", "y", "z"), lambda *_: "x", within={"Near": ("x", "y")})
a, b, c = A.is_(True).named("a"), B.is_(True).named("b"), C.is_("x", "y")

TEXTS = [
    (a, "a"),
    (c, "c=x|y"),
    (~a, "!a"),
    (a & b, "a & b"),
    (a & b & c, "a & b & c=x|y"),
    (a | b | c, "a | b | c=x|y"),
    (~(a & b), "!(a & b)"),
    (~~a, "!!a"),
    ((a & b) | c, "(a & b) | c=x|y"),
    (a & (b | c), "a & (b | c=x|y)"),
    ((a & b | c) & a, "((a & b) | c=x|y) & a"),
    ((a | b) & c | a, "((a | b) & c=x|y) | a"),
    (~(a & b) & c, "!(a & b) & c=x|y"),
    ((a & b).named("both") | c, "both | c=x|y"),
    (~(a & b).named("both"), "!both"),
]


@pytest.mark.parametrize(("guard", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_the_text_of_a_guard_can_be_read_in_one_way_only(guard: Guard, text: str) -> None:
    assert str(guard) == text


@st.composite
def formulas(draw: st.DrawFn, depth: int = 4) -> tuple[Guard, Any]:
    """A guard, and the same as a plain function of the values of a, b and c."""
    kind = draw(st.sampled_from(["fact", "fact", "not", "and", "or"])) if depth else "fact"
    if kind == "fact":
        return draw(
            st.sampled_from(
                [
                    (a, lambda v: v["a"]),
                    (b, lambda v: v["b"]),
                    (c, lambda v: v["c"] in "xy"),
                    (ALWAYS, lambda _: True),
                ]
            )
        )
    left, plain_left = draw(formulas(depth - 1))
    if kind == "not":
        return ~left, lambda v: not plain_left(v)
    right, plain_right = draw(formulas(depth - 1))
    if kind == "and":
        return left & right, lambda v: plain_left(v) and plain_right(v)
    return left | right, lambda v: plain_left(v) or plain_right(v)


@given(formulas())
def test_a_guard_means_what_its_operators_mean(formula: tuple[Guard, Any]) -> None:
    guard, plain = formula
    for one, two, three in product((True, False), (True, False), C.values):
        values = {"a": one, "b": two, "c": three}
        assert guard.holds(values) is bool(plain(values))


@given(formulas())
def test_a_guard_names_every_fact_that_it_looks_at_once(formula: tuple[Guard, Any]) -> None:
    guard, _ = formula
    assert len(set(guard.facts)) == len(guard.facts)
    guard.holds({fact.name: fact.values[0] for fact in guard.facts})  # raises if one is missing


@given(formulas())
def test_the_text_of_a_guard_means_the_same_as_the_guard(formula: tuple[Guard, Any]) -> None:
    guard, _ = formula
    python = str(guard).replace("c=x|y", "c").replace("!", "~")
    for one, two, three in product((True, False), (True, False), C.values):
        values = {"a": int(one), "b": int(two), "c": int(three in "xy"), "always": 1}
        assert bool(eval(python, {}, values) & 1) is guard.holds({"a": one, "b": two, "c": three})


def test_a_name_changes_the_text_of_a_guard_and_nothing_else() -> None:
    named = (a & b).named("both")
    assert named.facts == (a & b).facts
    assert named.holds({"a": True, "b": True})
    assert not named.holds({"a": True, "b": False})


def test_two_facts_with_one_name_both_stay_in_a_guard() -> None:
    other = Fact("a", ("yes", "no"), lambda *_: "yes")
    assert (a & other.is_("yes")).facts == (A, other)
    assert (a & a).facts == (A,)


def test_a_guard_of_a_value_that_is_not_declared_is_refused_and_names_the_declared_ones() -> None:
    with pytest.raises(ValueError, match=r"^fact 'c' is never 'w'; declared: 'x', 'y', 'z'$"):
        C.is_("x", "w")


def test_a_guard_of_no_value_at_all_is_never_true() -> None:
    assert not any(C.is_().holds({"c": value}) for value in C.values)


def test_a_fact_has_fewer_values_only_in_the_states_that_say_so() -> None:
    assert C.domain("Near") == ("x", "y")
    assert C.domain("Far") == ("x", "y", "z")


def test_the_values_of_a_fact_are_kept_as_a_tuple() -> None:
    assert Fact("n", [1, 2], lambda *_: 1).values == (1, 2)


def test_valuations_are_all_combinations_of_the_values_in_that_state() -> None:
    assert list(valuations((A, C), "Near")) == [
        (("a", True), ("c", "x")),
        (("a", True), ("c", "y")),
        (("a", False), ("c", "x")),
        (("a", False), ("c", "y")),
    ]
    assert len(list(valuations((A, B, C), "Far"))) == 12
    assert list(valuations((), "Far")) == [()]


def test_a_valuation_is_told_as_names_and_values() -> None:
    assert describe_facts((("a", True), ("c", "x"))) == "a=True, c='x'"


def test_always_is_true_and_needs_no_fact() -> None:
    assert ALWAYS.holds({})
    assert ALWAYS.facts == ()
    assert str(ALWAYS) == "always"
