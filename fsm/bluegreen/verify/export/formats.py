"""Tables for other tools: JSON, which can be read back in, and SCXML, the state charts of the W3C.

A guard is exported with its text and with all the cases in which it is true, since its facts are finite. What
reducers and effects do is code: there their names stand.

    >>> from bluegreen.machines.query import QUERY
    >>> text = to_json(QUERY)
    >>> to_json(read_json(text)) == text
    True
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final, cast
from xml.etree import ElementTree as ET

import attrs

from bluegreen.table.guards import ALWAYS, Fact, Guard
from bluegreen.table.rows import Declaration, Row, RowKind, State
from bluegreen.table.table import Table
from bluegreen.verify.unvalidated_table import Unchecked

FORMAT: Final = 1
"""The version of the JSON format, which stands in it."""

SCXML: Final = "http://www.w3.org/2005/07/scxml"
OWN: Final = "urn:bluegreen:table"
"""The XML namespace of what SCXML has no word for: a row's name, its guard as it is called, and its reason."""


def to_json(table: Declaration) -> str:
    """Return `table` as JSON: states, events, facts with their values, and all rows with their guards.

    Raises:
        TypeError: a fact has a value that JSON has no word for.
    """
    said = {
        "format": FORMAT,
        "name": table.name,
        "initial": table.initial,
        "states": [
            {"name": one.name, "final": one.final, "tags": list(one.tags), "holds": _guard(one.holds)}
            for one in table.states
        ],
        "events": [
            {"name": one.name, "fields": _fields(one), "safe_point": bool(getattr(one, "safe_point", False))}
            for one in table.events
        ],
        "facts": [
            {
                "name": fact.name,
                "values": _plain(fact.values),
                "within": {state: _plain(values) for state, values in fact.within.items()},
            }
            for fact in facts_of(table)
        ],
        "rows": [
            {
                "state": row.state,
                "event": row.event.name,
                "outcome": row.outcome.value,
                "guard": _guard(row.guard),
                "target": row.target,
                "reduce": None if row.reducer is None else name_of(row.reducer),
                "effects": [name_of(make) for make in row.effects],
                "why": row.why,
            }
            for row in table.rows
        ],
    }
    return json.dumps(said, indent=1) + "\n"


def read_json(text: str, like: Declaration | None = None, *, checked: bool = True) -> Table[Any, Any, Any]:
    """Return the table that `to_json` has written. It passes every check again.

    Args:
        like: where events, facts, reducers and effects of the same names are taken from. Whatever it does not
            have is made up: an event is a class with its fields, a fact is looked up in a context that is a mapping, a
            reducer changes nothing, an effect is its own name.
        checked: false if it is to stand whatever is wrong with it; see `Unchecked`.

    Raises:
        TableError: what it says is no table.
        KeyError, ValueError: it is not what `to_json` writes.
    """
    said = json.loads(text)
    if said["format"] != FORMAT:
        raise ValueError(f"the format is {said['format']!r}; accepted: {FORMAT}")
    rows_like = () if like is None else like.rows
    known_facts = {} if like is None else {fact.name: fact.of for fact in facts_of(like)}
    known_events = {} if like is None else {event.name: event for event in like.events}
    reducers = {name_of(row.reducer): row.reducer for row in rows_like if row.reducer is not None}
    makers = {name_of(make): make for row in rows_like for make in row.effects}
    facts = {
        one["name"]: Fact(
            one["name"],
            one["values"],
            known_facts.get(one["name"]) or _looked_up(one["name"]),
            {state: tuple(values) for state, values in one["within"].items()},
        )
        for one in said["facts"]
    }
    events = {one["name"]: known_events.get(one["name"]) or _event(one) for one in said["events"]}
    kind: type[Table[Any, Any, Any]] = Table if checked else Unchecked[Any, Any, Any]
    return kind(
        name=said["name"],
        initial=said["initial"],
        states=[
            State(one["name"], _read_guard(one["holds"], facts), one["final"], tuple(one["tags"]))
            for one in said["states"]
        ],
        events=events.values(),
        rows=[
            Row(
                one["state"],
                events[one["event"]],
                RowKind(one["outcome"]),
                one["why"],
                _read_guard(one["guard"], facts),
                one["target"],
                one["reduce"] and (reducers.get(one["reduce"]) or _unchanged(one["reduce"])),
                tuple(makers.get(name) or _named(name) for name in one["effects"]),
            )
            for one in said["rows"]
        ],
        contexts=() if like is None else like.contexts,
        samples=() if like is None else like.samples,
    )


def to_scxml(table: Declaration) -> str:
    """Return `table` as SCXML with the data model of ECMAScript.

    Facts are data, conditions are over them; a reducer is a call by its name, an effect an event that is sent,
    a forbidden event raises `error.forbidden`. A final state of SCXML takes no events: its rows are left out.
    """
    root = ET.Element(
        "scxml",
        {"xmlns": SCXML, "xmlns:table": OWN, "version": "1.0", "datamodel": "ecmascript", "name": table.name,
         "initial": table.initial},
    )  # fmt: skip
    data = ET.SubElement(root, "datamodel")
    for fact in facts_of(table):
        shown = {"id": fact.name, "table:values": json.dumps(_plain(fact.values))}
        ET.SubElement(data, "data", shown)
    for state in table.states:
        inside = ET.SubElement(root, "final" if state.final else "state", {"id": state.name})
        for row in () if state.final else (one for one in table.rows if one.state == state.name):
            _transition(inside, row)
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _transition(inside: ET.Element, row: Row) -> None:
    shown = {"event": row.event.name}
    if row.guard is not ALWAYS:
        shown["cond"] = condition(row.guard)
        shown["table:guard"] = str(row.guard)
    if row.target is not None:
        shown["target"] = row.target
    made = ET.SubElement(
        inside, "transition", {**shown, "table:outcome": row.outcome.value, "table:why": row.why}
    )
    if row.outcome is RowKind.FORBID:
        ET.SubElement(made, "raise", {"event": f"error.forbidden.{row.event.name}"})
    if row.reducer is not None:
        ET.SubElement(made, "script").text = f"{name_of(row.reducer)}()"
    for make in row.effects:
        ET.SubElement(made, "send", {"event": f"effect.{name_of(make)}"})


def condition(guard: Guard) -> str:
    """Return `guard` as an expression of ECMAScript over its facts.

    >>> fresh, held = (Fact(name, (True, False), lambda c, e: None) for name in ("fresh", "held"))
    >>> condition(fresh.is_(True) & held.is_(False))
    'fresh === true && (held === false)'
    """
    return _facts_of(guard, guard.facts, {})


def _facts_of(guard: Guard, facts: Sequence[Fact], known: Mapping[str, Hashable]) -> str:
    if not facts:
        return "true" if guard.holds(known) else "false"
    fact, rest = facts[0], facts[1:]
    cases: dict[str, list[Hashable]] = {}
    for value in fact.values:
        cases.setdefault(_facts_of(guard, rest, {**known, fact.name: value}), []).append(value)
    if len(cases) == 1:
        return next(iter(cases))
    parts: list[str] = []
    for inner, values in cases.items():
        if inner != "false":
            test = " || ".join(f"{fact.name} === {json.dumps(value)}" for value in values)
            test = f"({test})" if len(values) > 1 and inner != "true" else test
            parts.append(test if inner == "true" else f"{test} && ({inner})")
    return " || ".join(parts)


def facts_of(table: Declaration) -> tuple[Fact, ...]:
    """Return the facts of all guards and conditions of `table`, each once, in the order in which they come."""
    guards = [*(row.guard for row in table.rows), *(state.holds for state in table.states)]
    return tuple(dict.fromkeys(fact for guard in guards for fact in guard.facts))


def name_of(function: Callable[..., Any]) -> str:
    """Return what a reducer or an effect maker is called."""
    return str(getattr(function, "__name__", type(function).__name__))


def _plain(values: Iterable[Hashable]) -> list[Any]:
    for value in values:
        if value is not None and not isinstance(value, (str, int, float)):
            raise TypeError(
                f"{value!r} cannot be written as JSON; accepted: words, numbers, true, false, none"
            )
    return list(values)


def _fields(event: type[Any]) -> list[str]:
    return [field.name for field in attrs.fields(event)] if attrs.has(event) else []


def _guard(guard: Guard) -> dict[str, Any] | None:
    """A guard as its text and the cases in which it is true; none if there is none."""
    if guard is ALWAYS:
        return None
    names = [fact.name for fact in guard.facts]
    cases = product(*(_plain(fact.values) for fact in guard.facts))
    true = [list(case) for case in cases if guard.holds(dict(zip(names, case, strict=True)))]
    return {"text": guard.text, "facts": names, "true": true}


def _read_guard(said: Mapping[str, Any] | None, facts: Mapping[str, Fact]) -> Guard:
    if said is None:
        return ALWAYS
    names: list[str] = said["facts"]
    true = frozenset(tuple(case) for case in said["true"])
    return Guard(
        said["text"],
        tuple(facts[name] for name in names),
        lambda valuation: tuple(valuation[name] for name in names) in true,
    )


def _looked_up(name: str) -> Callable[[Any, Any], Hashable]:
    def of(context: Any, _: Any) -> Hashable:
        value: Hashable = context[name]
        return value

    return of


def _event(said: Mapping[str, Any]) -> type[Any]:
    words = "".join(word.capitalize() for word in said["name"].split("_"))
    fields = {field: attrs.field(default=None) for field in said["fields"]}
    made: Any = attrs.make_class(words, fields, frozen=True)
    made.name = said["name"]
    made.safe_point = said.get("safe_point", False)  # a file from before there were any says nothing of it
    return cast("type[Any]", made)


def _unchanged(name: str) -> Callable[[Any, Any], Any]:
    def reduce(context: Any, _: Any) -> Any:
        return context

    reduce.__name__ = name
    return reduce


def _named(name: str) -> Callable[[Any, Any, Any], Any]:
    def make(_: Any, __: Any, ___: Any) -> str:
        return name

    make.__name__ = name
    return make
