"""What a table must pass. Each check returns its findings; none of them stops at the first.

Source: design, "Rules of the core", 2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from bluegreen.errors import GuardError
from bluegreen.guards import ALWAYS, Valuation, valuations
from bluegreen.rows import Declaration, Finding, Outcome, Row, cell_facts

RowOf = Callable[[str, Any, Any], Row]


def structure(table: Declaration) -> list[Finding]:
    """Return every finding that the rows alone show."""
    return [*_names(table), *_cells(table), *_graph(table)]


def results(table: Declaration, row_of: RowOf) -> list[Finding]:
    """Return a finding for every row whose facts or reducer break what is declared, on the table's samples."""
    found: dict[tuple[str, str, str], Finding] = {}
    for state in table.states:
        for context in table.contexts:
            if not table.holds(state.name, context):
                continue
            for event in table.samples:
                finding = _result(table, row_of, state.name, context, event)
                if finding is not None:
                    found.setdefault((finding.kind, state.name, finding.detail), finding)
    return list(found.values())


def _names(table: Declaration) -> Iterator[Finding]:
    states = [state.name for state in table.states]
    for name, count in Counter(states).items():
        if count > 1:
            yield Finding("duplicate", f"state {name} is declared {count} times", name)
    for name, count in Counter(event.name for event in table.events).items():
        if count > 1:
            yield Finding("duplicate", f"{count} events are called {name}")
    if table.initial not in states:
        yield Finding("unknown state", f"the initial state {table.initial!r} is not declared")
    seen: dict[str, Any] = {}
    for row in table.rows:
        event = row.event.name
        if row.state not in states:
            yield Finding("unknown state", f"a row starts in {row.state!r}", row.state, event)
        if row.outcome is Outcome.GO and row.target not in states:
            yield Finding("unknown state", f"a row leads to {row.target!r}", row.state, event)
        if row.event not in table.events:
            yield Finding("unknown event", f"{event} is not in the alphabet", row.state, event)
        if not row.why.strip():
            yield Finding("reason", f"row {row} does not say why", row.state, event)
        for fact in row.guard.facts:
            if seen.setdefault(fact.name, fact) is not fact:
                yield Finding("fact", f"two facts are called {fact.name!r}", row.state, event)


def _cells(table: Declaration) -> Iterator[Finding]:
    for state in table.states:
        for event in table.events:
            rows = table.cell(state.name, event)
            if not rows:
                yield Finding("missing", "no row", state.name, event.name)
                continue
            yield from _cell(rows)


def _cell(rows: tuple[Row, ...]) -> Iterator[Finding]:
    """Look at every valuation of the cell's facts: exactly one row must be enabled in each."""
    state, event = rows[0].state, rows[0].event.name
    if len(rows) > 1:
        for row in rows:
            if row.guard is ALWAYS:
                yield Finding("overlap", f"{len(rows)} rows, of which {row} has no guard", state, event)
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
            yield Finding("gap", "no row is enabled", state, event, valuation)
        elif not any(rows[index].guard is ALWAYS for index in enabled):
            names = " and ".join(str(rows[index]) for index in enabled)
            yield Finding("overlap", names, state, event, valuation)
    for index, row in enumerate(rows):
        if index not in enabled_somewhere:
            yield Finding("never", f"the guard of {row} is false in every case", state, event)


def _graph(table: Declaration) -> Iterator[Finding]:
    leads: dict[str, set[str]] = {state.name: set() for state in table.states}
    for row in table.rows:
        if row.outcome is Outcome.GO and row.state in leads and row.target in leads:
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
            yield Finding("unreachable", f"no sequence of rows leads there from {table.initial}", name)
        if not state.final and not leads[name] - {name}:
            yield Finding("trap", "no row leads out of it, and it is not final", name)
        if state.final and leads[name]:
            yield Finding("final", f"a final state has rows that lead to {', '.join(sorted(leads[name]))}", name)


def _result(table: Declaration, row_of: RowOf, state: str, context: Any, event: Any) -> Finding | None:
    name = type(event).name
    if type(event) not in table.events:
        return Finding("unknown event", f"sample {event!r} is not in the alphabet", state, name)
    try:
        row = row_of(state, context, event)
    except GuardError as error:
        detail = f"fact {error.fact!r} is {error.value!r}, which is not among its values there"
        return Finding("fact", detail, state, name)
    if row.outcome not in (Outcome.GO, Outcome.STAY):
        return None
    after = context if row.reduce is None else row.reduce(context, event)
    target = row.target or state
    if table.holds(target, after):
        return None
    shown: Valuation = tuple(table.facts(state, context, event).items())
    return Finding("result", f"{row} breaks {target}: {table.state(target).holds}", state, name, shown)
