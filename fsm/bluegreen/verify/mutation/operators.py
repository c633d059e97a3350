"""Mutants: tables that are wrong in one place, to see whether anything notices.

Each guard negated and forced, each row taken out, each transition led elsewhere, each reducer's effect on a
field dropped. What the definition of a table refuses never becomes one; the rest is explored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from bluegreen.errors import TableError
from bluegreen.table.guards import ALWAYS, Guard
from bluegreen.table.rows import Reducer, Row, RowKind
from bluegreen.table.table import Table
from bluegreen.verify.unvalidated_table import Unchecked

NEVER: Final = Guard("never", (), lambda _: False)


EXPLORABLE: Final = frozenset({"result", "trap", "unreachable", "final", "never"})
"""Kinds of findings with which a table still says what happens."""


@attrs.frozen
class Mutant:
    """A table with one row changed; `rows` are all of its rows."""

    name: str
    table: Table[Any, Any, Any]
    rows: tuple[Row, ...]


@attrs.frozen
class MutantResult:
    """What became of a mutant.

    Args:
        name: what was changed.
        killer: what noticed first: `definition`, a property, or nothing (empty).
        reason: for a survivor: why nothing can notice, if that is known; for a killed one: how.
        events: what is sent to see it.
        path: what happens in the world, in words, if it takes one to see it.
        also: every property that is broken there.
        test: a test module that shows it, if the events alone do not.
    """

    name: str
    killer: str
    reason: str = ""
    events: tuple[Any, ...] = ()
    path: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    test: str = ""

    @property
    def killers(self) -> tuple[str, ...]:
        """Whatever noticed it."""
        return tuple(dict.fromkeys((self.killer, *self.also))) if self.killer else ()


def all_mutants(table: Table[Any, Any, Any], dropped: Mapping[str, tuple[str, ...]]) -> Iterator[Mutant]:
    """Yield every table that differs from `table` in one place; not every one passes as a table.

    Args:
        dropped: what a reducer can forget to change, by name, with the fields of the context.
    """
    states = [state.name for state in table.states]
    for index, row in enumerate(table.rows):
        for name, changed in _changed(row, states, dropped):
            rows = (*table.rows[:index], changed, *table.rows[index + 1 :])
            yield Mutant(f"{row}: {name}", table, rows)


def _changed(
    row: Row, states: list[str], dropped: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, Row]]:
    if row.guard is not ALWAYS:
        yield "guard negated", attrs.evolve(row, guard=~row.guard)
        yield "guard forced to true", attrs.evolve(row, guard=ALWAYS)
        yield "guard forced to false", attrs.evolve(row, guard=NEVER)
    if row.outcome is not RowKind.IGNORE:
        yield (
            "deleted",
            attrs.evolve(row, outcome=RowKind.IGNORE, target=None, reducer=None, effects=()),
        )
    if row.outcome is RowKind.GO:
        for state in states:
            if state != row.target:
                yield f"led to {state}", attrs.evolve(row, target=state)
    if row.reducer is not None:
        for name, fields in dropped.items():
            yield f"{name} dropped", attrs.evolve(row, reducer=_without(row.reducer, fields))


def _without(reduce: Reducer, fields: tuple[str, ...]) -> Reducer:
    def reduced(context: Any, event: Any) -> Any:
        after = reduce(context, event)
        kept = {name: getattr(context, name) for name in fields if hasattr(context, name)}
        return attrs.evolve(after, **kept) if kept else after

    return reduced


def effective_mutants(table: Table[Any, Any, Any], dropped: Mapping[str, tuple[str, ...]]) -> list[Mutant]:
    """Return the mutants of a table that change anything; the arguments are those of `all_mutants`."""
    return [one for one in all_mutants(table, dropped) if not one.name.endswith(" dropped") or _changes(one)]


Examined = Callable[[str, Table[Any, Any, Any]], MutantResult | None]
"""(the name of a wrong table, the table) -> what noticed, or none."""


def judge(
    mutant: Mutant, examine: Examined, explorable: frozenset[str] = EXPLORABLE, also: Examined | None = None
) -> MutantResult:
    """Return what becomes of one mutant.

    Args:
        examine: looks at a table that the definition accepts.
        explorable: the kinds of findings with which a table is looked at although its definition is refused.
        also: looks at such a table; by default `examine`.
    """
    base = mutant.table
    try:
        made: Table[Any, Any, Any] = Table(
            base.name, base.initial, base.states, base.events, mutant.rows, base.contexts, base.samples
        )
    except TableError as refused:
        names = _also(mutant, refused, also or examine, explorable)
        return MutantResult(mutant.name, "definition", str(refused.findings[0]), also=names)
    return examine(mutant.name, made) or MutantResult(mutant.name, "", _equivalent(mutant))


def _also(
    mutant: Mutant, refused: TableError, examine: Examined, explorable: frozenset[str]
) -> tuple[str, ...]:
    """Return what else notices a table that the definition refuses, as far as it can be explored at all."""
    kinds = {getattr(finding, "kind", "") for finding in refused.findings}
    if not kinds <= explorable:
        return ("I12 deterministic",) if kinds & {"gap", "overlap", "missing"} else ()
    base = mutant.table
    made: Table[Any, Any, Any] = Unchecked(
        base.name, base.initial, base.states, base.events, mutant.rows, base.contexts, base.samples
    )
    verdict = examine(mutant.name, made)
    return verdict.killers if verdict is not None else ()


def _changes(mutant: Mutant) -> bool:
    """Whether the reducer of the changed row does anything else than before, on the table's samples."""
    row, changed = next((a, b) for a, b in zip(mutant.table.rows, mutant.rows, strict=True) if a is not b)
    assert row.reducer is not None
    assert changed.reducer is not None
    for context in mutant.table.contexts:
        for event in mutant.table.samples:
            if type(event) is row.event and mutant.table.holds(row.state, context):
                facts = mutant.table.facts(row.state, context, event)
                if row.guard.holds(facts) and row.reducer(context, event) != changed.reducer(context, event):
                    return True
    return False


def _equivalent(mutant: Mutant) -> str:
    """Return why nothing can notice, if that can be read from the row."""
    row, changed = next((a, b) for a, b in zip(mutant.table.rows, mutant.rows, strict=True) if a is not b)
    plain = row.reducer is None and not row.effects
    if row.outcome is RowKind.STAY and changed.outcome is RowKind.IGNORE and plain:
        return "equivalent: the row changes nothing, and neither does ignoring its event"
    return ""


def score(verdicts: list[MutantResult]) -> float:
    """Return the share of the mutants that something noticed, of those that are not equivalent to the original."""
    counted = [one for one in verdicts if one.killer or not one.reason]
    return sum(1 for one in counted if one.killer) / len(counted) if counted else 1.0


def vacuous(verdicts: list[MutantResult], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the properties `names` that no mutant breaks."""
    killers = {killer for one in verdicts for killer in one.killers}
    return tuple(name for name in names if name not in killers)
