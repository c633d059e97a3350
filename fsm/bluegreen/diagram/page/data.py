"""A table as data that a page can walk through: every step is taken here, by `step`, and written down.

Reducers are code, so the page cannot run them. What it gets instead is every situation that can be reached, and
for each event that may be sent there the row, the values of the facts that decided, where it leads and the effects.
Where no first context is known, a table is written down as it is, and its facts are free to choose.

    >>> from bluegreen.diagram.page.initial_states import beginnings_of
    >>> from bluegreen.machines.retry import RETRY
    >>> data = compiled(beginnings_of(RETRY))
    >>> data["mode"], len(data["nodes"]), data["inputs"][0]["label"]
    ('compiled', 24, 'placed(3)')
    >>> free(RETRY)["facts"][0]["name"]
    'resends'
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from itertools import product
from typing import Any, Final, cast

import attrs

from bluegreen.diagram.model import diagram_of
from bluegreen.diagram.page.initial_states import Beginning
from bluegreen.table.guards import ALWAYS, Fact, Guard
from bluegreen.table.guards import describe_facts as values_told
from bluegreen.table.rows import Declaration, event_name
from bluegreen.table.table import Table
from bluegreen.verify.exploration.counterexample import describe_event
from bluegreen.verify.exploration.leads_to import SentEvent
from bluegreen.verify.exploration.single_table import ExplorationResult
from bluegreen.verify.export.formats import facts_of
from bluegreen.verify.export.from_transitions import field

Data = dict[str, Any]
"""What the page is given, as JSON has it."""

MOST: Final = 20_000
"""Situations of one beginning at most: a page with more would not open."""


def plain(value: Any) -> Any:
    """Return a value as JSON has it: of an object its fields, of a member of an enumeration its value."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if attrs.has(value.__class__):
        return {one.name: plain(getattr(value, one.name)) for one in attrs.fields(value.__class__)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    return str(value)


def describe_effect(effect: Any, version: int | None) -> str:
    """Return an effect in words; a version in it as so many more than the one before the step.

    >>> from bluegreen.machines.strategy.effects import Publish
    >>> describe_effect(Publish("green", 4), 3)
    'Publish(green, version {+1}, True)'
    """
    if not attrs.has(effect.__class__):
        return str(effect)
    words: list[str] = []
    for name, value in attrs.asdict(effect, recurse=False).items():
        if name == "state_version" and version is not None:
            words.append(f"version {{+{value - version}}}")
        elif name != "event" and value is not None:
            words.append(str(value))
        elif value is not None:
            words.append(event_name(value.__class__))
    return type(effect).__name__ + (f"({', '.join(words)})" if words else "")


def free(table: Declaration) -> Data:
    """Return a table whose facts are free to choose: what a page needs in order to evaluate its guards."""
    facts = facts_of(table)
    number = {fact: index for index, fact in enumerate(facts)}
    data = _common(table, "free")
    states = {one["name"]: index for index, one in enumerate(data["states"])}
    classes = {event.name: event for event in (*(row.event for row in table.rows), *table.events)}
    for said, row in zip(data["rows"], table.rows, strict=True):
        said["facts"] = [number[fact] for fact in row.guard.facts]
        said["true"] = None if row.guard is ALWAYS else _true(row.guard)
    data["facts"] = [
        {
            "name": fact.name,
            "values": [repr(value) for value in fact.values],
            "within": {states[one]: _indexes(fact, fact.domain(one)) for one in fact.within if one in states},
        }
        for fact in facts
    ]
    asked = {field(fact.name): index for index, fact in enumerate(facts)}
    data["inputs"] = [
        {
            "label": name,
            "event": index,
            "detail": "",
            "ends": None,
            "fields": _chosen_facts(classes[name], asked),
        }
        for index, name in enumerate(data["events"])
    ]
    data["beginnings"] = [{"label": "", "node": None, "version": None, "fixed": {}}]
    return _sealed(data)


def _true(guard: Guard) -> list[list[int]]:
    """The cases in which a guard is true, each as the numbers of the values of its facts."""
    names = [fact.name for fact in guard.facts]
    return [
        [index for index, _ in case]
        for case in product(*(enumerate(fact.values) for fact in guard.facts))
        if guard.holds(dict(zip(names, (value for _, value in case), strict=True)))
    ]


def _chosen_facts(event: type[Any], facts: Mapping[str, int]) -> list[int | None]:
    """The facts that the fields of an event choose, as those of a machine of `transitions` do; none: it is another."""
    return [facts.get(one.name) for one in attrs.fields(event)] if attrs.has(event) else []


def _indexes(fact: Fact, values: Sequence[Hashable]) -> list[int]:
    return [index for index, value in enumerate(fact.values) if value in values]


def compiled(beginnings: Sequence[Beginning]) -> Data:
    """Return every step that can be taken from these beginnings, of one table.

    Raises:
        ValueError: more than `MOST` situations can be reached; it names the limit.
    """
    table = beginnings[0].verification.table
    data = _common(table, "compiled")
    writer = _Writer(table)
    data["horizon"] = beginnings[0].horizon
    for one in beginnings:
        writer.begin(one)
    return _sealed(data | writer.as_data())


@attrs.define
class _Writer:
    """What was written down, each thing once, and its number."""

    table: Table[Any, Any, Any]
    inputs: dict[str, Any] = attrs.field(factory=dict[str, Any])
    nodes: list[tuple[Any, list[SentEvent]]] = attrs.field(factory=list[Any])
    numbers: list[dict[Any, int]] = attrs.field(factory=list[dict[Any, int]])
    firsts: list[Beginning] = attrs.field(factory=list[Beginning])
    owner: list[int] = attrs.field(factory=list[int])

    def begin(self, beginning: Beginning) -> None:
        """Explore from one beginning, and number what is found.

        Raises:
            ValueError: that is more than `MOST`.
        """
        explored: ExplorationResult = beginning.verification.explore(keep=True, states=MOST)
        if explored.states > MOST:
            raise ValueError(
                f"{self.table.name}: more than {MOST:,} situations can be reached; that is the limit"
            )
        numbers: dict[Any, int] = {}
        for node, arrows in explored.arrows.items():
            numbers[node] = len(self.nodes)
            self.nodes.append((node, arrows))
            self.owner.append(len(self.firsts))
            for arrow in arrows:
                self.inputs.setdefault(describe_event(arrow.event), arrow.event)
        self.numbers.append(numbers)
        self.firsts.append(beginning)

    def as_data(self) -> Data:
        """Return what was written down."""
        order = [event.name for event in self.table.events]
        labels = sorted(self.inputs, key=lambda label: order.index(self.inputs[label].name))
        place = {label: index for index, label in enumerate(labels)}
        rows = {id(row): index for index, row in enumerate(self.table.rows)}
        states = {state.name: index for index, state in enumerate(self.table.states)}
        shown = [
            {
                name: value
                for name, value in plain_context(context).items()
                if name not in self.firsts[owner].left_out
            }
            for owner, ((_, context), _) in zip(self.owner, self.nodes, strict=True)
        ]
        fixed = self._fixed(shown)
        fields = [name for name in dict.fromkeys(name for one in shown for name in one) if name not in fixed]
        facts, effects, cells, contexts = _Numbers(), _Numbers(), _Numbers(), _Numbers()
        nodes: list[list[Any]] = []
        for number, ((state, context), arrows) in enumerate(self.nodes):
            cell: list[tuple[int, int] | None] = [None] * len(labels)
            moves: dict[int, list[int]] = {}
            for arrow in arrows:
                index = place[describe_event(arrow.event)]
                valued = self.table.facts(state, context, arrow.event)
                cell[index] = rows[id(arrow.row)], facts.of(values_told(valued.items()))
                move = self._move(number, context, arrow, effects)
                if move is not None:
                    moves[index] = move
            values = [shown[number].get(name) for name in fields]
            nodes.append([states[state], contexts.of(values), cells.of(cell), moves])
        return {
            "beginnings": [self._begins(index, shown, fixed) for index in range(len(self.firsts))],
            "inputs": [_input(label, self.inputs[label], order) for label in labels],
            "fields": fields,
            "nodes": nodes,
            "contexts": contexts.said,
            "cells": cells.said,
            "facts": facts.said,
            "effects": effects.said,
        }

    def _fixed(self, shown: Sequence[Data]) -> frozenset[str]:
        """The fields that no step from any beginning changes, and the version, which is counted."""
        found = set(shown[0])
        for owner, one in zip(self.owner, shown, strict=True):
            first = shown[self._begins_at(owner)]
            found = {name for name in found if name in one and one[name] == first[name]}
        return frozenset(found) | {"state_version"}

    def _begins_at(self, index: int) -> int:
        return self.owner.index(index)

    def _begins(self, index: int, shown: Sequence[Data], fixed: frozenset[str]) -> Data:
        node = self._begins_at(index)
        return {
            "label": self.firsts[index].label,
            "node": node,
            "version": getattr(self.firsts[index].first, "state_version", None),
            "fixed": {
                name: value
                for name, value in shown[node].items()
                if name in fixed and name != "state_version"
            },
        }

    def _move(self, number: int, context: Any, arrow: SentEvent, effects: _Numbers) -> list[int] | None:
        """Where an arrow leads, its effects, and by how much the version grows; none: nothing changes."""
        if arrow.taken is None:
            return None
        step = arrow.taken.step
        before = getattr(context, "state_version", None)
        told_effects = [describe_effect(one, before) for one in step.effects]
        issued = [str(one.strategy) for one in step.effects if type(one).__name__ == "IssueTicket"]
        grown = 0 if before is None else step.context.state_version - before
        target = self.numbers[self.owner[number]][arrow.after]
        if target == number and not told_effects and not grown:
            return None
        return [target, effects.of({"told": told_effects, "issues": issued[0] if issued else None}), grown]


@attrs.define
class _Numbers:
    """Things by number, each once."""

    said: list[Any] = attrs.field(factory=list[Any])
    _known: dict[str, int] = attrs.field(factory=dict[str, int])

    def of(self, thing: Any) -> int:
        """Return the number of a thing."""
        key = json.dumps(thing)
        if key not in self._known:
            self._known[key] = len(self.said)
            self.said.append(thing)
        return self._known[key]


def plain_context(context: Any) -> Data:
    """Return a context as JSON has it; one without fields as `context`, unless there is none."""
    shown: Any = plain(context)
    if shown is None:
        return {}
    return cast("Data", shown) if isinstance(shown, dict) else {"context": shown}


def _input(label: str, event: Any, order: Sequence[str]) -> Data:
    detail = label.removeprefix(event.name).replace("(", "").replace(")", "").removeprefix(", ")
    ticket = getattr(event, "ticket", None)
    ends = None if ticket is None else str(ticket.strategy)
    return {"label": label, "event": order.index(event.name), "detail": detail, "ends": ends}


def _common(table: Declaration, mode: str) -> Data:
    diagram = diagram_of(table)
    states = {node.name: index for index, node in enumerate(diagram.nodes)}
    events = {name: index for index, name in enumerate(diagram.events)}
    return {
        "name": diagram.name,
        "mode": mode,
        "horizon": "",
        "initial": states[table.initial],
        "states": [attrs.asdict(node) for node in diagram.nodes],
        "events": list(diagram.events),
        "safe": [events[event.name] for event in table.events if getattr(event, "safe_point", False)],
        "rows": [
            {
                "name": arrow.name,
                "state": states[arrow.source],
                "event": events[arrow.event],
                "outcome": arrow.outcome,
                "guard": arrow.guard,
                "target": None if arrow.target is None else states[arrow.target],
                "effects": list(arrow.effects),
                "reduce": arrow.reducer,
                "why": arrow.why,
            }
            for arrow in diagram.arrows
        ],
    }


def _sealed(data: Data) -> Data:
    """Add a check sum, so that a link that was made for another table is noticed."""
    text = json.dumps(data, sort_keys=True)
    return {**data, "digest": hashlib.sha256(text.encode()).hexdigest()[:12]}
