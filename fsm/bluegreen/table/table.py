"""How a machine is declared: rows of data, and the checks that a table passes before it is one.

A table is total. Every (state, event) is decided by exactly one row for each valuation of the facts that
its guards look at, which is why those facts are finite and declared: overlaps and gaps are then decided by
looking at all cases, not sampled. A table that fails any check is refused with all findings at once.

    >>> import attrs
    >>> @attrs.frozen
    ... class Pushed:
    ...     name = "pushed"
    >>> door = Table(
    ...     name="door", initial="Shut", states=(State("Shut"), State("Open")), events=(Pushed,),
    ...     rows=(go("Shut", Pushed, "Open", why="it opens"), go("Open", Pushed, "Shut", why="it shuts")),
    ... )
    >>> door.row("Shut", None, Pushed()).target
    'Open'
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs

from bluegreen.errors import GuardError, TableError
from bluegreen.table.guards import Fact, Guard, valuations
from bluegreen.table.rows import (
    Declaration,
    Row,
    RowKind,
    State,
    cell_facts,
    events,
    forbid,
    go,
    ignore,
    stay,
)
from bluegreen.table.validation import results, structure

__all__ = ["Fact", "Guard", "Row", "RowKind", "State", "Table", "events", "forbid", "go", "ignore", "stay"]

C = TypeVar("C")
E = TypeVar("E")
F = TypeVar("F")


@attrs.frozen
class _Branch:
    """A node of a cell's decision tree: ask one fact, go on at the arm that has its value."""

    fact: Fact
    arms: Mapping[Hashable, Any]


Cell = Row | _Branch


@attrs.frozen(eq=False)
class Table(Declaration, Generic[C, E, F]):
    """A declaration that has passed every check. The type parameters are its context, the union of its
    events and the union of its effects; the arguments are those of `Declaration`.

    Raises:
        TableError: with all findings; the table does not exist then.

    Source: design, "Rules of the core", 1 and 2.
    """

    _cells: dict[str, dict[type[Any], Cell]] = attrs.field(
        init=False, repr=False, factory=dict[str, dict[type[Any], Cell]]
    )

    def __attrs_post_init__(self) -> None:
        findings, decided = structure(self)
        for (state, event), rows in decided.items():
            self._cells.setdefault(state, {})[event] = _compile(rows)
        findings += results(self, self.row, decided)
        if findings:
            raise TableError(self.name, findings)

    def __copy__(self) -> Table[C, E, F]:
        return self

    def __deepcopy__(self, _: Any) -> Table[C, E, F]:
        return self  # nothing of it changes

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as the module and name by which it can be imported."""
        for module_name, module in tuple(sys.modules.items()):
            names = tuple(getattr(module, "__dict__", {}).items())
            for name, value in names:
                if value is self:
                    return _import_table, (module_name, name)
        raise pickle.PicklingError(
            f"table {self.name!r} cannot be pickled: its guards and reducers are code, so it must be a name of a "
            "module, from which it is imported again"
        )

    def row(self, state: str, context: C, event: E) -> Row:
        """Return the one row that is enabled. Nothing changes.

        Raises:
            KeyError: the event's class is not in the alphabet, or the state is none of the table's.
            GuardError: a fact has a value that its declaration does not list.
        """
        node: Any = self._cells[state][type(event)]
        while type(node) is _Branch:
            value = node.fact.of(context, event)
            try:
                node = node.arms[value]
            except KeyError:
                name = self.cell(state, type(event))[0].event.name
                raise GuardError(node.fact.name, value, node.fact.domain(state), state, name) from None
        found: Row = node
        return found


def _import_table(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _compile(rows: Sequence[Row]) -> Cell:
    """Turn a cell into a tree that asks as few facts as it can, in the order in which the guards name them."""
    state, facts = rows[0].state, cell_facts(rows)

    def grow(asked: dict[str, Hashable], rest: Sequence[Fact]) -> Cell:
        possible = {
            id(row): row
            for tail in valuations(rest, state)
            for row in rows
            if row.guard.holds({**asked, **dict(tail)})
        }
        if len(possible) == 1:
            return next(iter(possible.values()))
        fact, later = rest[0], rest[1:]
        return _Branch(
            fact, {value: grow({**asked, fact.name: value}, later) for value in fact.domain(state)}
        )

    return grow({}, facts)
