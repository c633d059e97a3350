"""Guards: named predicates over declared finite facts.

A fact is a pure function of (context, event) whose possible values are listed, so that all cases of a guard
can be looked at when a table is defined. Guards are built from facts with `&`, `|` and `~`.

    >>> fresh = Fact("fresh", (True, False), lambda context, event: context == event)
    >>> guard = fresh.is_(True).named("fresh")
    >>> str(~guard), guard.holds({"fresh": True})
    ('!fresh', True)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final

import attrs

Valuation = tuple[tuple[str, Hashable], ...]
"""Values of some facts, as pairs of name and value."""


def as_tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return `values` as a tuple: a converter whose type the checkers can see."""
    return tuple(values)


def describe_facts(valuation: Iterable[tuple[str, Hashable]]) -> str:
    """Return a valuation as text, for messages: `fresh=True, names='active'`."""
    return ", ".join(f"{name}={value!r}" for name, value in valuation)


@attrs.frozen(eq=False)
class Fact:
    """Something that is known about (context, event), with the finite set of values that it can have.

    Args:
        name: unique within a table.
        values: all values that it can have.
        of: (context, event) -> value; pure. For a state's condition the event is `None`.
        within: for some states, the fewer values that it can have there.
    """

    name: str
    values: tuple[Hashable, ...] = attrs.field(converter=as_tuple)
    of: Callable[[Any, Any], Hashable]
    within: Mapping[str, tuple[Hashable, ...]] = attrs.field(factory=dict[str, tuple[Hashable, ...]])

    def domain(self, state: str) -> tuple[Hashable, ...]:
        """Return the values that the fact can have in `state`."""
        return self.within.get(state, self.values)

    def is_(self, *values: Hashable) -> Guard:
        """Return the guard that is true if the fact has one of `values`.

        Raises:
            ValueError: a value is not declared; names it and the declared ones.
        """
        for value in values:
            if value not in self.values:
                declared = ", ".join(map(repr, self.values))
                raise ValueError(f"fact {self.name!r} is never {value!r}; declared: {declared}")
        text = f"{self.name}={'|'.join(map(str, values))}"
        return Guard(text, (self,), lambda valuation: valuation[self.name] in values)


@attrs.frozen(eq=False)
class Guard:
    """A predicate over facts. Build it with `Fact.is_`, `&`, `|`, `~` and give it a name with `named`."""

    text: str
    facts: tuple[Fact, ...]
    holds: Callable[[Mapping[str, Hashable]], bool] = attrs.field(repr=False)
    sign: str = ""
    """What joins the parts of `text`, as long as they have no common name: `&`, `|` or nothing."""

    def named(self, name: str) -> Guard:
        """Return the same guard under a name, which is what messages and diagrams show."""
        return attrs.evolve(self, text=name, sign="")

    def __and__(self, other: Guard) -> Guard:
        return self._join(other, "&", lambda valuation: self.holds(valuation) and other.holds(valuation))

    def __or__(self, other: Guard) -> Guard:
        return self._join(other, "|", lambda valuation: self.holds(valuation) or other.holds(valuation))

    def __invert__(self) -> Guard:
        text = f"!({self.text})" if self.sign else f"!{self.text}"
        return Guard(text, self.facts, lambda valuation: not self.holds(valuation))

    def _join(self, other: Guard, sign: str, holds: Callable[[Mapping[str, Hashable]], bool]) -> Guard:
        facts = tuple(dict.fromkeys((*self.facts, *other.facts)))
        return Guard(f"{self._operand(sign)} {sign} {other._operand(sign)}", facts, holds, sign)

    def _operand(self, sign: str) -> str:
        return self.text if self.sign in ("", sign) else f"({self.text})"

    def __str__(self) -> str:
        return self.text


ALWAYS: Final = Guard("always", (), lambda _: True)
"""The guard of a cell that has only one row."""


def valuations(facts: Sequence[Fact], state: str) -> Iterator[Valuation]:
    """Yield every combination of values that `facts` can have in `state`."""
    names = [fact.name for fact in facts]
    for values in product(*(fact.domain(state) for fact in facts)):
        yield tuple(zip(names, values, strict=True))
