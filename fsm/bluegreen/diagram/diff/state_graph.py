"""All that a machine can do, as data: what every event does in every state and context that can be reached.

Two graphs can be compared whether they come from the same process or not. So this module is also run by itself, with
the tables and the library of another revision: it uses only what has been there since tables are exported.

>>> from bluegreen.verify.pytest_plugin.builtin_tables import RETRY_VERIFICATION
>>> found = graph_of(RETRY_VERIFICATION.table, [("", RETRY_VERIFICATION)])
>>> len(found.states), found.complete
(24, True)
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from bluegreen.errors import EventForbidden
from bluegreen.table.step import step

STATES: Final = 5_000
"""Pairs of state and context that are looked at, unless more are asked for."""

ACCEPTED: Final = "accepted"
FORBIDDEN: Final = "forbidden"

SHORT: Final[Mapping[str, str]] = {
    "strategy": "bluegreen.machines.strategy.table:STRATEGY",
    "query": "bluegreen.machines.query:QUERY",
    "retry": "bluegreen.machines.retry:RETRY",
}
"""Short names of the shipped tables."""

_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")


class NotExplored(Exception):
    """What a machine does cannot be found out. The text says why."""


@attrs.frozen
class GraphStep:
    """What an event does at a node.

    Args:
        said: `accepted`, `forbidden`, or what it raises.
        to: the node after it; none if it is not accepted.
        effects: what is to be done then, in order.
    """

    said: str
    to: int | None = None
    effects: tuple[str, ...] = ()


@attrs.frozen
class Graph:
    """What a machine does. A node stands for a state and a context; its number is its place in `states`.

    Args:
        starts: the nodes in which it may begin, by what is said of their context.
        states: the name of the state of each node.
        moves: what each event does there, by event; none of a node that was not looked at, since a bound came first.
        words: what each event is called.
    """

    starts: Mapping[str, int]
    states: tuple[str, ...]
    moves: tuple[Mapping[str, GraphStep] | None, ...]
    words: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every node was looked at."""
        return None not in self.moves

    def as_dict(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Graph:
        """Return the graph of which `as_dict` has made `said`."""

        def move(one: Mapping[str, Any]) -> GraphStep:
            return GraphStep(one["said"], one["to"], tuple(one["effects"]))

        moves = tuple(
            None if sent is None else {event: move(one) for event, one in sent.items()}
            for sent in said["moves"]
        )
        return cls(said["starts"], tuple(said["states"]), moves, said["words"])


def graph_of(table: Any, starts: Iterable[tuple[str, Any]], states: int = STATES) -> Graph:
    """Return what `table` does, nearest first.

    Args:
        starts: where it begins: a name, and a `Verification` with the context and with what may be sent.
        states: how many nodes are looked at, at most.

    Raises:
        NotExplored: its contexts cannot be told apart.
    """
    begins = dict(starts)
    if not begins:
        raise NotExplored("no context is known in which it begins")
    first = next(iter(begins.values()))
    plain, events_of = first.plain, first.events_of
    numbers: dict[Any, int] = {}
    nodes: list[tuple[str, Any]] = []
    words: dict[str, str] = {}

    def number(state: str, context: Any) -> int:
        node = state, plain(context)
        try:
            known = numbers.setdefault(node, len(nodes))
        except TypeError as error:
            raise NotExplored(f"its contexts cannot be told apart: {error}") from None
        if known == len(nodes):
            nodes.append(node)
        return known

    found = {name: number(table.initial, one.context) for name, one in begins.items()}
    moves: list[dict[str, GraphStep] | None] = []
    for state, context in nodes:  # it grows
        sent: dict[str, GraphStep] | None = None
        if len(moves) < states:
            sent = {}
            for event in events_of(state, context):
                if type(event) in table.events:
                    words.setdefault(_comparable(event), _describe_event(event))
                    sent[_comparable(event)] = _move(table, state, context, event, number)
        moves.append(sent)
    return Graph(found, tuple(state for state, _ in nodes), tuple(moves), words)


def _move(table: Any, state: str, context: Any, event: Any, number: Any) -> GraphStep:
    try:
        taken = step(table, state, context, event)
    except EventForbidden:
        return GraphStep(FORBIDDEN)
    except Exception as error:  # noqa: BLE001  a table may raise anything; that it does is what is compared
        return GraphStep(f"raises {type(error).__name__}")
    return GraphStep(ACCEPTED, number(taken.state, taken.context), tuple(map(_comparable, taken.effects)))


def _comparable(value: Any) -> str:
    """Return what a value is compared by: its text, without where it is in memory."""
    return _ADDRESS.sub("", repr(value))


def _describe_event(event: Any) -> str:
    from bluegreen.verify.exploration.counterexample import describe_event

    return describe_event(event)


def starts_of(table: Any, beside: Iterable[Any] = ()) -> list[tuple[str, Any]]:
    """Return where a table begins, and what may be sent to it.

    Args:
        beside: whatever else its module has: a `Verification` of it among these says so; without one, it begins in
            each of its own contexts that fits, and gets its samples.

    Raises:
        NotExplored: that cannot be said.
    """
    from bluegreen.verify.verification import Verification

    shipped = _shipped(table)
    if shipped:
        return shipped
    for one in beside:
        if isinstance(one, Verification) and one.table is table:
            return [("", one)]
    fitting = [one for one in table.contexts if table.holds(table.initial, one)] or [None]
    try:
        made = [Verification(table, one) for one in fitting]
    except ValueError as error:
        raise NotExplored(str(error)) from None
    if len(made) == 1:
        return [("", made[0])]
    return [(_comparable(one.context), one) for one in made]


def _shipped(table: Any) -> list[tuple[str, Any]]:
    """Return where our own tables begin, and those that are made of their events."""
    from bluegreen.config.settings import Settings
    from bluegreen.machines.query import QUERY, QueryContext
    from bluegreen.machines.strategy.context import Context
    from bluegreen.machines.strategy.table import STRATEGY
    from bluegreen.types import Strategy, Ticket
    from bluegreen.verify.exploration.single_table import query_events, strategy_events
    from bluegreen.verify.exploration.version_abstraction import NOW, rebase
    from bluegreen.verify.verification import Verification

    if not set(table.events).isdisjoint(STRATEGY.events):
        settings = {
            "the default settings": Settings(),
            "commit_when=first_safe_point": Settings(commit_when="first_safe_point"),
            "default_strategy=green": Settings(default_strategy=Strategy.GREEN),
        }
        return [
            (name, Verification(table, rebase(Context.initial(one)), strategy_events, plain=rebase))
            for name, one in settings.items()
        ]
    if not set(table.events).isdisjoint(QUERY.events):
        ticket = Ticket(1, Strategy.BLUE, NOW)
        return [
            (
                f"{'a read' if reads else 'a write'}, replay={replay}",
                Verification(table, QueryContext(ticket, reads, replay), query_events),
            )
            for reads in (True, False)
            for replay in ("reads", "never")
        ]
    return []


def table_and_beside(name: str) -> tuple[Any, list[Any]]:
    """Return the table `module:NAME`, made of a `transitions` machine if it is one, and what its module has.

    Raises:
        ImportError, AttributeError: there is none.
        TypeError: it is none.
    """
    module, _, attribute = SHORT.get(name, name).partition(":")
    beside = vars(importlib.import_module(module))
    if attribute not in beside:
        raise AttributeError(f"{module} has no {attribute or 'table without a name'}")
    found = beside[attribute]
    table = getattr(found, "table", found)
    if not hasattr(table, "rows"):
        from bluegreen.verify.export.from_transitions import from_transitions

        table = from_transitions(table)
    return table, [found, *beside.values()]


def main(name: str, to: str, states: str) -> None:
    """Write the table `name` and its graph to the file `to`, as JSON; the graph is none if `why` says so.

    Raises:
        ImportError: its module is not below the working directory. An installed one of today would be found otherwise.
    """
    from bluegreen.verify.export.formats import to_json

    table, beside = table_and_beside(name)
    module = SHORT.get(name, name).partition(":")[0]
    file, here = (os.path.realpath(one) for one in (str(sys.modules[module].__file__), os.getcwd()))
    if os.path.commonpath((file, here)) != here:
        raise ImportError(f"No module named {module!r} in this revision")
    said: dict[str, Any] = {"table": json.loads(to_json(table)), "graph": None, "why": ""}
    try:
        said["graph"] = graph_of(table, starts_of(table, beside), int(states)).as_dict()
    except (NotExplored, ImportError) as error:
        said["why"] = str(error)
    with open(to, "w", encoding="utf-8") as written:
        json.dump(said, written)


if __name__ == "__main__":
    main(*sys.argv[1:])
