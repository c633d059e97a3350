"""The parts of a declared machine: states, rows and what can be found wrong with them. All of it is data."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import product
from typing import Any

import attrs

from bluegreen.table.guards import ALWAYS, Fact, Guard, Valuation, as_tuple, describe_facts

Reducer = Callable[[Any, Any], Any]
"""(context, event) -> context; pure."""

EffectMaker = Callable[[Any, Any, Any], Any]
"""(context before, context after, event) -> an effect, or none if there is nothing to do; pure."""


class RowKind(enum.Enum):
    """What a row does with its event."""

    GO = "go"
    STAY = "stay"
    IGNORE = "ignore"
    FORBID = "forbid"


def event_name(event: Any) -> str:
    """Return the name of an event class; of anything else what it can be recognised by."""
    name = getattr(event, "name", None)
    return name if isinstance(name, str) and isinstance(event, type) else repr(event)


def events(*names: str) -> tuple[type[Any], ...]:
    """Return a class for each name, for events that carry nothing; call the first `Pushed` if it is `pushed`.

    An event that carries something is an attrs class with a `name`.

    >>> Pushed, PulledBack = events("pushed", "pulled_back")
    >>> PulledBack(), PulledBack.name
    (PulledBack(), 'pulled_back')
    """
    here = inspect.currentframe()
    asks = None if here is None else here.f_back
    module = (
        "" if asks is None else str(asks.f_globals.get("__name__", ""))
    )  # as namedtuple does: so they pickle
    made: list[type[Any]] = []
    for name in names:
        words = "".join(word.capitalize() for word in name.split("_"))
        cls: type[Any] = attrs.make_class(words, {}, class_body={"name": name}, frozen=True)
        cls.__module__ = module
        made.append(cls)
    return tuple(made)


@attrs.frozen
class State:
    """A state: its name, what holds in it, and what the runtime should know about it.

    Args:
        name: a condition, not an action, for example `Stable`.
        holds: what is true of the context whenever the machine is in this state; looks at facts that
            need no event (they are evaluated with `None` for it).
        final: nothing leaves a final state.
        tags: free words for the runtime, for example `waits`.
    """

    name: str
    holds: Guard = ALWAYS
    final: bool = False
    tags: tuple[str, ...] = ()


@attrs.frozen
class Row:
    """One line of a table. Made by `go`, `stay`, `ignore` and `forbid`."""

    state: str
    event: type[Any]
    outcome: RowKind
    why: str
    guard: Guard = ALWAYS
    target: str | None = None
    reducer: Reducer | None = None
    effects: tuple[EffectMaker, ...] = ()

    @property
    def name(self) -> str:
        """A stable name for logs, coverage and diffs, for example `Stable.error_456[fresh & active]`."""
        guard = "" if self.guard is ALWAYS else f"[{self.guard}]"
        return f"{self.state}.{event_name(self.event)}{guard}"

    def __str__(self) -> str:
        arrow = f" -> {self.target}" if self.outcome is RowKind.GO else f" {self.outcome.value}"
        return self.name + arrow


def _each(states: Any, events: Any) -> Iterator[tuple[str, type[Any]]]:
    yield from product(_several(states), _several(events))


def _several(given: Any) -> Iterable[Any]:
    """One or many. A word is one, also where it is wrong, so that the finding shows what was written."""
    several: Iterable[Any] = (
        given if hasattr(given, "__iter__") and not isinstance(given, (str, type)) else (given,)
    )
    return several


@attrs.frozen
class Rows:
    """Rows that were written as one: the same outcome for several states or events."""

    rows: tuple[Row, ...]


def go(
    states: Any,
    events: Any,
    target: str,
    *,
    why: str,
    guard: Guard = ALWAYS,
    update: Reducer | None = None,
    effects: Iterable[EffectMaker] = (),
) -> Rows:
    """A transition: the event leads to `target`, which may be the same state again."""
    return Rows(
        tuple(
            Row(s, e, RowKind.GO, why, guard, target, update, tuple(effects))
            for s, e in _each(states, events)
        )
    )


def stay(
    states: Any,
    events: Any,
    *,
    why: str,
    guard: Guard = ALWAYS,
    update: Reducer | None = None,
    effects: Iterable[EffectMaker] = (),
) -> Rows:
    """Bookkeeping only: the context may change, the state does not."""
    return Rows(
        tuple(
            Row(s, e, RowKind.STAY, why, guard, None, update, tuple(effects))
            for s, e in _each(states, events)
        )
    )


def ignore(states: Any, events: Any, *, why: str, guard: Guard = ALWAYS) -> Rows:
    """The event is accepted and changes nothing."""
    return Rows(tuple(Row(s, e, RowKind.IGNORE, why, guard) for s, e in _each(states, events)))


def forbid(states: Any, events: Any, *, why: str, guard: Guard = ALWAYS) -> Rows:
    """The event raises, and changes nothing."""
    return Rows(tuple(Row(s, e, RowKind.FORBID, why, guard) for s, e in _each(states, events)))


@attrs.frozen
class TableFinding:
    """One reason why a table is refused.

    Args:
        kind: `missing`, `overlap`, `gap`, `never`, `unreachable`, `trap`, `final`, `unknown state`,
            `unknown event`, `alphabet`, `duplicate`, `outcome`, `reason`, `fact` or `result`.
        state: the state it is about, if it is about one.
        event: the name of the event it is about, if it is about one.
        valuation: values of the facts that show it.
        detail: the rest of the sentence.
    """

    kind: str
    detail: str
    state: str | None = None
    event: str | None = None
    valuation: Valuation = ()

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.state, self.event) if part)
        shown = f" when {describe_facts(self.valuation)}" if self.valuation else ""
        return f"{self.kind}{f' ({where})' if where else ''}: {self.detail}{shown}"


def flatten(rows: Iterable[Row | Rows]) -> tuple[Row, ...]:
    """Return single rows, in the order in which they were written."""
    flat: list[Row] = []
    for item in rows:
        flat.extend(item.rows if isinstance(item, Rows) else (item,))
    return tuple(flat)


def cell_facts(rows: Iterable[Row]) -> tuple[Fact, ...]:
    """Return the facts that the guards of `rows` look at, each once, in the order in which they are named."""
    return tuple({fact.name: fact for row in rows for fact in row.guard.facts}.values())


@attrs.frozen(eq=False)
class Declaration:
    """A machine as it was written down, before any check. `Table` is what passes them.

    Args:
        name: what the machine is called in messages and diagrams.
        initial: the state in which it begins.
        states: all states.
        events: the alphabet: classes with a `name`.
        rows: what happens; the order is kept and shows in diagrams, it never decides.
        contexts: contexts on which every reducer is tried at definition, so that a result which breaks
            the condition of its state is found; those that a state's condition excludes are skipped.
        samples: events with which that is done.
    """

    name: str
    initial: str
    states: tuple[State, ...] = attrs.field(converter=as_tuple)
    events: tuple[type[Any], ...] = attrs.field(converter=as_tuple)
    rows: tuple[Row, ...] = attrs.field(converter=flatten)
    contexts: tuple[Any, ...] = attrs.field(default=(), converter=as_tuple, repr=False)
    samples: tuple[Any, ...] = attrs.field(default=(), converter=as_tuple, repr=False)

    def cell(self, state: str, event: type[Any]) -> tuple[Row, ...]:
        """Return the rows of one (state, event), in table order."""
        return tuple(row for row in self.rows if row.state == state and row.event is event)

    def state(self, name: str) -> State:
        """Return the state with that name; `KeyError` if there is none."""
        for state in self.states:
            if state.name == name:
                return state
        raise KeyError(name)

    def accepted(self, state: str) -> tuple[str, ...]:
        """Return the names of the events that can have an effect in `state`, in the order of the alphabet."""
        live = {
            row.event for row in self.rows if row.state == state and row.outcome in (RowKind.GO, RowKind.STAY)
        }
        return tuple(event.name for event in self.events if event in live)

    def facts(self, state: str, context: Any, event: Any) -> dict[str, Hashable]:
        """Return the value of every fact that the cell of (state, event) looks at. Nothing changes."""
        cell = self.cell(state, event.__class__)
        return {fact.name: fact.of(context, event) for fact in cell_facts(cell)}

    def holds(self, state: str, context: Any) -> bool:
        """Whether the condition of `state` is true of `context`."""
        condition = self.state(state).holds
        return condition.holds({fact.name: fact.of(context, None) for fact in condition.facts})
