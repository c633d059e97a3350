"""What a table must pass. Each check returns its findings; none of them stops at the first.

Source: design, "Rules of the core", 2.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Final

from bluegreen.table.guards import Fact, valuations
from bluegreen.table.rows import Declaration, Row, RowKind, State, TableFinding, cell_facts, event_name

RowOf = Callable[[str, Any, Any], Row]
Cells = dict[tuple[str, type[Any]], tuple[Row, ...]]
"""The rows of each (state, event)."""


def structure(table: Declaration) -> tuple[list[TableFinding], Cells]:
    """Return every finding that the rows alone show, and the cells in which a row can be looked up."""
    wrong_facts = _facts(table)
    findings = [*_names(table), *_rows(table)]
    findings += {id(found): found for found in wrong_facts.values()}.values()  # two facts may share one
    open_cells = {(found.state, found.event) for found in findings if found.kind != "reason"}
    decided: Cells = {}
    states = dict.fromkeys(state.name for state in table.states)
    for state, event in product(states, dict.fromkeys(filter(inspect.isclass, table.events))):
        rows = table.cell(state, event)
        if any(fact in wrong_facts for row in rows for fact in row.guard.facts):
            continue
        found = list(_cell(rows)) if rows else [TableFinding("missing", "no row", state, event_name(event))]
        findings += found
        if all(one.kind == "never" for one in found) and (state, event_name(event)) not in open_cells:
            decided[state, event] = rows
    return [*findings, *_graph(table)], decided


def results(table: Declaration, row_of: RowOf, decided: Cells) -> list[TableFinding]:
    """Return a finding for every row of `decided` whose facts, reducer or effects break what is declared.

    They are tried on the table's samples, once per state whose condition holds for the context.
    """
    found: dict[tuple[str, ...], TableFinding] = {}
    for event in table.samples:
        if type(event) not in table.events:
            detail = f"the sample {event!r} is not in the alphabet"
            found[detail,] = TableFinding("unknown event", detail, event=event_name(type(event)))
    facts = {cell: cell_facts(rows) for cell, rows in decided.items()}
    for state in table.states:
        events = [event for event in table.samples if (state.name, type(event)) in facts]
        tried = False
        for context in table.contexts:
            holds, trouble = _holds(state, context)
            if trouble:
                found.setdefault((state.name,), TableFinding("fact", trouble, state.name))
            if holds:
                tried = True
                for event in events:
                    looked_at = facts[state.name, type(event)]
                    for blamed, finding in _result(table, row_of, state.name, context, event, looked_at):
                        found.setdefault((state.name, event_name(type(event)), blamed), finding)
        if events and table.contexts and not tried:
            detail = f"none of the contexts satisfies its condition, {state.holds}: no row of it was tried"
            found.setdefault((state.name,), TableFinding("result", detail, state.name))
    return list(found.values())


def _names(table: Declaration) -> Iterator[TableFinding]:
    states = [state.name for state in table.states]
    for name, count in Counter(states).items():
        if count > 1:
            yield TableFinding("duplicate", f"declared {count} times", name)
    for event in table.events:
        if not inspect.isclass(event) or not event_name(event).isidentifier():
            detail = f"{event!r} is no class with a `name` that is one word"
            yield TableFinding("alphabet", detail, event=event_name(event))
    for name, count in Counter(map(event_name, table.events)).items():
        if count > 1:
            yield TableFinding("duplicate", f"{count} events have this name", event=name)
    if table.initial not in states:
        yield TableFinding("unknown state", f"the initial state {table.initial!r} is not declared")


def _rows(table: Declaration) -> Iterator[TableFinding]:
    states = [state.name for state in table.states]
    for row in table.rows:
        where = row.state, event_name(row.event)
        if row.state not in states:
            yield TableFinding("unknown state", f"a row starts in {row.state!r}", *where)
        if row.outcome is not RowKind.GO:
            if row.target is not None:
                yield TableFinding(
                    "outcome", f"{row} has the target {row.target!r}, and is no transition", *where
                )
        elif row.target is None:
            yield TableFinding("outcome", f"{row.name} is a transition without a target", *where)
        elif row.target not in states:
            yield TableFinding("unknown state", f"a row leads to {row.target!r}", *where)
        if row.outcome in (RowKind.IGNORE, RowKind.FORBID) and (row.reducer or row.effects):
            yield TableFinding("outcome", f"{row} changes nothing, but has a reducer or effects", *where)
        if row.event not in table.events:
            yield TableFinding("unknown event", f"{event_name(row.event)} is not in the alphabet", *where)
        if not row.why.strip():
            yield TableFinding("reason", f"{row} does not say why", *where)


def _facts(table: Declaration) -> dict[Fact, TableFinding]:
    """Return the facts that cannot be used, with the reason."""
    wrong: dict[Fact, TableFinding] = {}
    seen: dict[str, Fact] = {}
    states = [state.name for state in table.states]
    used = [(fact, row.state, event_name(row.event)) for row in table.rows for fact in row.guard.facts]
    used += [(fact, state.name, "") for state in table.states for fact in state.holds.facts]
    for fact, state, event in used:
        where = state, event or None
        if seen.setdefault(fact.name, fact) is not fact:
            wrong.setdefault(fact, TableFinding("fact", f"two facts are called {fact.name!r}", *where))
            wrong.setdefault(seen[fact.name], wrong[fact])
        if not fact.values:
            wrong.setdefault(fact, TableFinding("fact", f"fact {fact.name!r} has no values", *where))
        for name, values in fact.within.items():
            extra = [value for value in values if value not in fact.values]
            told = f"fact {fact.name!r} in {name}"
            if name not in states:
                wrong.setdefault(fact, TableFinding("fact", f"{told}: there is no such state", *where))
            elif not values:
                wrong.setdefault(fact, TableFinding("fact", f"{told} has no values", *where))
            elif extra:
                detail = f"{told} is {extra[0]!r}, which is not among its values"
                wrong.setdefault(fact, TableFinding("fact", detail, *where, ((fact.name, extra[0]),)))
    return wrong


def _cell(rows: tuple[Row, ...]) -> Iterator[TableFinding]:
    """Look at every valuation of the cell's facts: exactly one row must be enabled in each."""
    state, event = rows[0].state, event_name(rows[0].event)
    shown: set[tuple[int, ...]] = set()
    enabled_somewhere: set[int] = set()
    for valuation in valuations(cell_facts(rows), state):
        values = dict(valuation)
        enabled = tuple(index for index, row in enumerate(rows) if row.guard.holds(values))
        enabled_somewhere.update(enabled)
        if len(enabled) == 1 or enabled in shown:
            continue
        shown.add(enabled)
        if not enabled:
            yield TableFinding("gap", "no row is enabled", state, event, valuation)
        else:
            names = " and ".join(str(rows[index]) for index in enabled)
            yield TableFinding("overlap", names, state, event, valuation)
    for index, row in enumerate(rows):
        if index not in enabled_somewhere:
            yield TableFinding("never", f"the guard of {row} is false in every case", state, event)


def _graph(table: Declaration) -> Iterator[TableFinding]:
    leads: dict[str, set[str]] = {state.name: set() for state in table.states}
    for row in table.rows:
        if row.outcome is RowKind.GO and row.state in leads and row.target in leads:
            leads[row.state].add(row.target)
    reached: set[str] = set()
    queue = [table.initial] if table.initial in leads else []
    while queue:
        name = queue.pop()
        if name not in reached:
            reached.add(name)
            queue.extend(leads[name])
    for state in table.states:
        name = state.name
        if reached and name not in reached:
            yield TableFinding("unreachable", f"no sequence of rows leads there from {table.initial}", name)
        if not state.final and not leads[name] - {name}:
            yield TableFinding("trap", "no row leads out of it, and it is not final", name)
        if state.final and leads[name]:
            yield TableFinding("final", f"final, but rows lead to {', '.join(sorted(leads[name]))}", name)


def _result(
    table: Declaration, row_of: RowOf, state: str, context: Any, event: Any, facts: tuple[Fact, ...]
) -> Iterator[tuple[str, TableFinding]]:
    """Take the step, and yield what is wrong with it, with the name of what is to blame."""
    name = event_name(type(event))
    shown: list[tuple[str, Any]] = []
    for fact in facts:
        value, trouble = _value(fact, context, event, fact.domain(state))
        if trouble:
            known = () if value is _RAISED else ((fact.name, value),)
            yield fact.name, TableFinding("fact", trouble, state, name, known)
            return
        shown.append((fact.name, value))
    row = row_of(state, context, event)
    if row.outcome in (RowKind.IGNORE, RowKind.FORBID):
        return
    after, doing = context, ""
    try:
        if row.reducer is not None:
            doing = f"its reducer {_name(row.reducer)}"
            after = row.reducer(context, event)
        for make in row.effects:
            doing = f"its effect {_name(make)}"
            make(context, after, event)
    except Exception as error:  # noqa: BLE001  whatever it is, that it is raised is the finding
        yield str(row), TableFinding("result", f"{row}: {doing} raises {error!r}", state, name, tuple(shown))
        return
    target = table.state(row.target or state)
    holds, trouble = _holds(target, after)
    if not holds:
        detail = f"{row} breaks {target.name}: {trouble or target.holds}"
        yield str(row), TableFinding("result", detail, state, name, tuple(shown))


def _holds(state: State, context: Any) -> tuple[bool, str]:
    """Return whether the condition of `state` holds, and why that cannot be said, if it cannot."""
    values: dict[str, Any] = {}
    for fact in state.holds.facts:
        values[fact.name], trouble = _value(fact, context, None, fact.values)
        if trouble:
            return False, trouble
    return state.holds.holds(values), ""


_RAISED: Final = object()


def _value(fact: Fact, context: Any, event: Any, domain: tuple[Any, ...]) -> tuple[Any, str]:
    """Return the value of `fact`, and what is wrong with it, if anything is."""
    try:
        value = fact.of(context, event)
    except Exception as error:  # noqa: BLE001  whatever it is, that it is raised is the finding
        return _RAISED, f"fact {fact.name!r} raises {error!r}"
    if value in domain:
        return value, ""
    return value, f"fact {fact.name!r} is {value!r}, which is not among its values there"


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", repr(function)))
