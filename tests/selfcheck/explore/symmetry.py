"""Which contexts of a machine are alike: whatever happens from now on, nobody can tell them apart.

Two states with their contexts are alike if both are final or neither is, and each event has the same effects in
both and leads to what is alike. That is found by refining a partition until nothing splits, so it is right for
every table, also for one that was changed.

    >>> import attrs
    >>> from bluegreen.machines.query import QUERY, QueryContext
    >>> from bluegreen.types import Ticket
    >>> write = QueryContext(Ticket(1, "blue", 1), reads=False, query_id="q")
    >>> once, twice = ("Executing", write), ("Executing", attrs.evolve(write, restarts=2))
    >>> found = alike(QUERY, [once, twice])
    >>> found[once] == found[twice]
    True
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Final

import attrs

from bluegreen.errors import EventForbidden
from bluegreen.table.step import step
from bluegreen.table.table import Table

Node = tuple[str, Any]
"""A state, and a context."""

MOST: Final = 2_000
"""Nodes that are compared with each other at most."""


def alike(table: Table[Any, Any, Any], nodes: Iterable[Node]) -> dict[Node, Node]:
    """Return for each of `nodes`, and for whatever follows them on the table's samples, the one that stands for it.

    A wrong table may count for ever: once there are more than `MOST` nodes, each stands for itself, which is
    right as well, and the answer has only the nodes that were looked at.
    """
    arrows: dict[Node, list[tuple[Hashable, Node | None]]] = {}
    waiting = list(nodes)
    for node in waiting:  # it grows
        if node not in arrows:
            arrows[node] = [_arrow(table, *node, event) for event in table.samples]
            waiting += [after for _, after in arrows[node] if after is not None]
            if len(arrows) > MOST:
                return {one: one for one in waiting}
    blocks: dict[Node, Hashable] = {node: table.state(node[0]).final for node in arrows}
    count = 0
    while len(set(blocks.values())) > count:
        count = len(set(blocks.values()))
        numbers: dict[Hashable, int] = {}
        refined: dict[Node, Hashable] = {}
        for node, leads in arrows.items():
            shape = blocks[node], tuple((seen, None if to is None else blocks[to]) for seen, to in leads)
            refined[node] = numbers.setdefault(shape, len(numbers))
        blocks = refined
    chosen: dict[Hashable, Node] = {}
    for node in arrows:
        chosen.setdefault(blocks[node], node)
    return {node: chosen[blocks[node]] for node in arrows}


def _arrow(table: Table[Any, Any, Any], state: str, context: Any, event: Any) -> tuple[Hashable, Node | None]:
    """Return what can be seen of a step, and where it leads."""
    try:
        taken = step(table, state, context, event)
    except EventForbidden:
        return "forbidden", None
    except Exception as error:  # noqa: BLE001  a table may raise anything; here it is only told apart
        return type(error).__name__, None
    return tuple(map(_seen, taken.effects)), (taken.state, taken.context)


def _seen(effect: Any) -> Hashable:
    """Return an effect without its texts: they tell people why, and nothing depends on them."""
    kind: type[Any] = effect.__class__
    return kind, tuple(value for value in attrs.astuple(effect, recurse=False) if type(value) is not str)
