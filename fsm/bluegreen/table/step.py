"""One step of a machine: a pure function over a table.

`step` looks up one row, applies one reducer and makes the row's effects: it commits all of it or nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from bluegreen.errors import EventForbidden
from bluegreen.table.table import Row, RowKind, Table

C = TypeVar("C")
E = TypeVar("E")
F = TypeVar("F")


class Step(NamedTuple):
    """What one event did: the state and context after it, the effects to carry out in order, and the row."""

    state: str
    context: Any
    effects: tuple[Any, ...]
    row: Row


def step(table: Table[C, E, F], state: str, context: C, event: E) -> Step:
    """Return what `event` does in (state, context). Pure: the arguments are not changed.

    Raises:
        EventForbidden: the row forbids it; it names the state, the reason and what would be accepted.
        KeyError: the event is not in the table's alphabet, or the state is none of the table's.
        GuardError: a fact has an undeclared value.

    Whatever a reducer or an effect maker raises passes through. In each case nothing has changed.

    Source: spec, section 2; invariants I10 and I12.
    """
    row = table.row(state, context, event)
    outcome = row.outcome
    if outcome is RowKind.IGNORE:
        return Step(state, context, (), row)
    if outcome is RowKind.FORBID:
        name = row.event.name
        raise EventForbidden(
            name, state, row.why, [other for other in table.accepted(state) if other != name]
        )
    after = context if row.reducer is None else row.reducer(context, event)
    effects = tuple(effect for make in row.effects if (effect := make(context, after, event)) is not None)
    return Step(row.target or state, after, effects, row)


def may(table: Table[C, E, F], state: str, context: C, event: E) -> bool:
    """Whether `event` would be accepted in (state, context), ignored or not. Nothing changes."""
    return table.row(state, context, event).outcome is not RowKind.FORBID


def explain(table: Table[C, E, F], state: str, context: C, event: E) -> str:
    """Return one line that says which row `event` would take, why, and from which facts. Nothing changes."""
    row = table.row(state, context, event)
    facts = table.facts(state, context, event)
    known = ", ".join(f"{name}={value!r}" for name, value in facts.items())
    return f"{row}: {row.why}" + (f" ({known})" if known else "")
