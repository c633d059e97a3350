"""The composition: what the strategy machine, the machines of queries and a detection say to each other.

It is read off their reachable steps: who sends which event, and which effects they return.

    >>> said = messages()
    >>> said["queries", "strategy"]
    ('query_started', 'query_completed', 'query_cancelled', 'query_failed')
    >>> said["strategy", "detection"]
    ('Authenticate',)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bluegreen.diagram.labels import wrapped
from bluegreen.diagram.renderers import dot
from bluegreen.machines.query import DiscardRows, EndTicket, Lose, Replay
from bluegreen.machines.strategy import effects
from bluegreen.machines.strategy.context import DETECTING
from selfcheck.model.composition import ANSWERS, Composition

PARTS: Final[Mapping[str, str]] = {
    "environment": "cluster, stores, operators",
    "timers": "timers",
    "queries": "query machines, one for each ticket",
    "strategy": "strategy machine, one for each scope",
    "detection": "detection, one at a time",
    "sessions": "sessions and cache",
    "store": "shared store",
    "connector": "connector",
    "application": "application",
    "audit": "audit log",
}
"""Who says something or is told something, in the order in which they are drawn."""

RECEIVERS: Final[Mapping[type[Any], str]] = {
    effects.IssueTicket: "queries",
    effects.Authenticate: "detection",
    effects.CacheStrategy: "sessions",
    effects.ClearCache: "store",
    effects.CloseSessions: "sessions",
    effects.Publish: "store",
    effects.Raise: "application",
    effects.Audit: "audit",
    EndTicket: "strategy",
    Replay: "strategy",
    DiscardRows: "connector",
    Lose: "application",
}
"""Whom each effect is for. A query that is replayed asks the strategy machine for a ticket again."""


def messages() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Return what is said from one part to another: names of events and of effects, in the order of the tables."""
    composition = Composition.of(1)
    said: dict[tuple[str, str], dict[str, None]] = {}

    def say(sender: str, receiver: str, name: str) -> None:
        said.setdefault((sender, receiver), {})[name] = None

    for (state, _), moves in zip(composition.strategy.states, composition.strategy.moves, strict=True):
        for given, move in zip(composition.strategy.inputs, moves, strict=True):
            if move is not None:
                asked = state == DETECTING and isinstance(given.event, ANSWERS)
                say("detection" if asked else given.mover, "strategy", given.event.name)
                for effect in move.effects:
                    say("strategy", RECEIVERS[type(effect)], type(effect).__name__)
    for moves in composition.query.moves:
        for given, move in zip(composition.query.inputs, moves, strict=True):
            if move is not None:
                say("environment", "queries", given.event.name)
                for effect in move.effects:
                    if isinstance(effect, EndTicket):
                        say("queries", "strategy", effect.event.name)
                    elif isinstance(effect, (DiscardRows, Lose)):
                        say("queries", RECEIVERS[type(effect)], type(effect).__name__)
    order = _order(composition)
    return {ends: tuple(sorted(names, key=order)) for ends, names in said.items()}


def _order(composition: Composition) -> Any:
    names = [event.name for event in (*composition.table.events, *composition.query_table.events)]
    names += [cls.__name__ for cls in RECEIVERS]
    return names.index


def composition_dot() -> str:
    """Return the composition as DOT: machines are boxes, everything else is round."""
    lines = ['digraph "composition" {', *dot.HEAD]
    said = messages()
    used = [part for part in PARTS if any(part in ends for ends in said)]
    for part in used:
        machine = part in ("queries", "strategy")
        shape = 'style="rounded,filled,bold"' if machine else 'shape="ellipse"'
        text = "\n".join(wrapped(PARTS[part], 22)).replace("    ", "")
        lines.append(f'    {dot.quoted(part)} [label={dot.quoted(text, "n")}, {shape}, class="state"]')
    for number, (ends, names) in enumerate(said.items(), 1):
        back = used.index(ends[0]) > used.index(ends[1])
        lines += dot.arrow(number, ends, wrapped(", ".join(names), dot.LABEL_WIDTH), dot.THIN, back=back)
    return "\n".join([*lines, "}"])


def composition_told() -> str:
    """Return the composition in sentences: for those who do not see it."""
    return " ".join(
        f"From {PARTS[source]} to {PARTS[target]}: {', '.join(names)}."
        for (source, target), names in messages().items()
    )
