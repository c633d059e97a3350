"""The stock `transitions.Machine`, filled from one of our tables: the oracle of the differential test.

Nothing of `bluegreen.table.step` is used here, and no row is looked up: every guard of a row is evaluated, by
asking its facts one after the other, when `transitions` asks the condition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transitions

from bluegreen.table.rows import Row, RowKind
from bluegreen.table.table import Table


class Model:
    """What the stock machine binds its triggers to."""

    state: str

    def __init__(self, context: Any) -> None:
        self.context = context


def stock_machine(table: Table[Any, Any, Any], model: Model) -> transitions.Machine:
    """Return a stock machine for `model`. A forbidden row is no transition, an ignored one is internal."""
    machine = transitions.Machine(
        model=model,
        states=[transitions.State(state.name, final=state.final) for state in table.states],
        initial=table.initial,
        auto_transitions=False,
        send_event=True,
    )
    for row in table.rows:
        if row.outcome is not RowKind.FORBID:
            machine.add_transition(
                row.event.name,
                row.state,
                row.target,
                conditions=[_condition(row)],
                before=[_reduction(row)],
            )
    return machine


def _condition(row: Row) -> Callable[[Any], bool]:
    def condition(data: Any) -> bool:
        context, event = data.model.context, data.args[0]
        return row.guard.holds({fact.name: fact.of(context, event) for fact in row.guard.facts})

    return condition


def _reduction(row: Row) -> Callable[[Any], None]:
    def reduction(data: Any) -> None:
        if row.reducer is not None:
            data.model.context = row.reducer(data.model.context, data.args[0])

    return reduction


def accepts(model: Model, event: Any) -> bool:
    """Send `event` to the stock machine of `model`. Return whether it was accepted.

    In a state that forbids an event always, `transitions` raises `MachineError`; where only some cases are
    forbidden, no condition holds, and the trigger returns false.
    """
    try:
        return bool(model.trigger(event.name, event))  # type: ignore[attr-defined]
    except transitions.MachineError:
        return False
