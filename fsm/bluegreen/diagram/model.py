"""What a diagram shows of a table, as data: states, events, and an arrow for each row, all in table order.

Every renderer draws from this and from nothing else, so that they agree, and the same table always gives the
same text.

    >>> from bluegreen.machines.query import QUERY
    >>> diagram = diagram_of(QUERY)
    >>> [arrow.target for arrow in diagram.cell("Prepared", "executed")]
    ['Executing']
    >>> [node.name for node in diagram.focus("Fetching").nodes]
    ['Started', 'Executing', 'Fetching', 'Completed', 'Cancelled', 'Failed']
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from bluegreen.table.guards import ALWAYS, Guard
from bluegreen.table.rows import Declaration, RowKind
from bluegreen.verify.export.formats import name_of

UNDECLARED: Final = "not declared"


@attrs.frozen
class Node:
    """A state.

    Args:
        name: of the state.
        initial: whether the machine begins in it.
        final: whether nothing leaves it.
        tags: what the runtime is told about it.
        holds: what is true in it, in words; empty if nothing is said.
    """

    name: str
    initial: bool
    final: bool
    tags: tuple[str, ...]
    holds: str


@attrs.frozen
class Arrow:
    """A row.

    Args:
        name: of the row, for example `Stable.error_456[fresh & is active]`.
        source: the state it is about.
        event: the name of its event.
        guard: when it is taken, in words; empty if always.
        outcome: `go`, `stay`, `ignore` or `forbid`.
        target: where it leads; none unless the outcome is `go`.
        effects: what is to be done, by name, in order.
        reducer: what becomes of the context, by name; empty if nothing.
        why: the reason.
        safe_point: whether its event is declared to be a safe point.
    """

    name: str
    source: str
    event: str
    guard: str
    outcome: str
    target: str | None
    effects: tuple[str, ...]
    reducer: str
    why: str
    safe_point: bool


@attrs.frozen
class Diagram:
    """A table as it is drawn. Made by `diagram_of`; `focus` and `only` make smaller ones."""

    name: str
    nodes: tuple[Node, ...]
    events: tuple[str, ...]
    arrows: tuple[Arrow, ...]

    def transitions(self) -> tuple[Arrow, ...]:
        """Return the arrows that lead somewhere, in table order."""
        return tuple(arrow for arrow in self.arrows if arrow.target is not None)

    def cell(self, state: str, event: str) -> tuple[Arrow, ...]:
        """Return the arrows of one state and event, in table order.

        Raises:
            ValueError: there is no such state or event; names it and those that there are.
        """
        self._known_state(state)
        self._known_events((event,))
        return tuple(arrow for arrow in self.arrows if arrow.source == state and arrow.event == event)

    def focus(self, state: str) -> Diagram:
        """Return the diagram of one state: its rows, the transitions that lead to it, and its neighbours.

        Raises:
            ValueError: there is no such state; names it and those that there are.
        """
        self._known_state(state)
        arrows = tuple(arrow for arrow in self.arrows if state in (arrow.source, arrow.target))
        near = {state, *(arrow.source for arrow in arrows), *(arrow.target for arrow in arrows)}
        return attrs.evolve(
            self, nodes=tuple(node for node in self.nodes if node.name in near), arrows=arrows
        )

    def only(self, events: Iterable[str]) -> Diagram:
        """Return the diagram of some events: all states, and the rows of these events.

        Raises:
            ValueError: there is no such event; names it and those that there are.
        """
        wanted = frozenset(self._known_events(tuple(events)))
        return attrs.evolve(
            self,
            events=tuple(event for event in self.events if event in wanted),
            arrows=tuple(arrow for arrow in self.arrows if arrow.event in wanted),
        )

    def _known_state(self, state: str) -> None:
        if all(node.name != state for node in self.nodes):
            known = ", ".join(node.name for node in self.nodes)
            raise ValueError(f"{self.name} has no state {state!r}; accepted: {known}")

    def _known_events(self, events: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [event for event in events if event not in self.events]
        if unknown:
            named = ", ".join(map(repr, unknown))
            raise ValueError(f"{self.name} has no event {named}; accepted: {', '.join(self.events)}")
        return events


def diagram_of(table: Declaration | Diagram) -> Diagram:
    """Return the diagram of a table; a diagram as it is.

    Args:
        table: a `Table`, also one that was read from JSON; or one that was never checked: what its rows name and it
            does not declare comes last, such states with the tag `UNDECLARED`.
    """
    if isinstance(table, Diagram):
        return table
    nodes = [
        Node(one.name, one.name == table.initial, one.final, one.tags, _describe_effect(one.holds))
        for one in table.states
    ]
    named = [
        table.initial,
        *(name for row in table.rows for name in (row.state, row.target) if name is not None),
    ]
    declared = {node.name for node in nodes}
    nodes += [
        Node(name, name == table.initial, False, (UNDECLARED,), "")
        for name in dict.fromkeys(named)
        if name not in declared
    ]
    events = [event.name for event in (*table.events, *(row.event for row in table.rows))]
    return Diagram(
        table.name,
        tuple(nodes),
        tuple(dict.fromkeys(events)),
        tuple(
            Arrow(
                row.name,
                row.state,
                row.event.name,
                _describe_effect(row.guard),
                row.outcome.value,
                row.target if row.outcome is RowKind.GO else None,
                tuple(name_of(make).lstrip("_") for make in row.effects),
                "" if row.reducer is None else name_of(row.reducer).lstrip("_"),
                row.why,
                bool(getattr(row.event, "safe_point", False)),
            )
            for row in table.rows
        ),
    )


def part_of(diagram: Diagram, focus: str | None, events: str | None) -> Diagram:
    """Return the part of a diagram that a command asks for.

    Args:
        diagram: of the whole table.
        focus: a state; none if all.
        events: names of events with commas between them; none if all.

    Raises:
        ValueError: there is no such state or event; names it and those that there are.
    """
    if events is not None:
        diagram = diagram.only(name.strip() for name in events.split(","))
    return diagram if focus is None else diagram.focus(focus)


def _describe_effect(guard: Guard) -> str:
    return "" if guard is ALWAYS else str(guard)
