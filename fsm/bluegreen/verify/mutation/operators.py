"""Mutants: tables that are wrong in one place, to see whether anything notices.

Each guard negated and forced, each row taken out, each transition led elsewhere, each reducer's effect on a
field dropped. What the definition of a table refuses never becomes one; the rest is explored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import attrs

from bluegreen.errors import TableError
from bluegreen.guards import ALWAYS, Guard
from bluegreen.query import QUERY
from bluegreen.rows import Outcome, Reducer, Row
from bluegreen.settings import Settings
from bluegreen.strategy import STRATEGY
from bluegreen.table import Table
from bluegreen.verify.alone import Explored, explore_query, explore_strategy
from bluegreen.verify.explorer import Bounds
from bluegreen.verify.fieldbugs import FIELD_BUGS
from bluegreen.verify.findings import STEPS, examine
from bluegreen.verify.moves import Liberties
from bluegreen.verify.promises import QUERY_ALWAYS
from bluegreen.verify.unchecked import Unchecked
from bluegreen.verify.world import Size, World
from bluegreen.vocabulary import Strategy

DROPPED: Final = {
    "active": ("active",),
    "pending": ("pending",),
    "previous": ("previous",),
    "untried": ("untried",),
    "hold-down": ("held_down",),
    "verified": ("verified",),
    "proved": ("proved",),
    "version": ("version",),
    "tickets": ("open_blue", "open_green"),
    "ticket's id": ("query_id",),
    "rows": ("rows",),
    "restarts": ("restarts",),
    "reruns": ("reruns",),
}
"""What a reducer can forget to change, by name, with the fields."""

NEVER: Final = Guard("never", (), lambda _: False)


@attrs.frozen
class Mutant:
    """A table with one row changed; `rows` are all of its rows."""

    name: str
    table: Table[Any, Any, Any]
    rows: tuple[Row, ...]


@attrs.frozen
class Verdict:
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


def mutants(
    table: Table[Any, Any, Any], dropped: Mapping[str, tuple[str, ...]] = DROPPED
) -> Iterator[Mutant]:
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
    if row.outcome is not Outcome.IGNORE:
        yield (
            "deleted",
            attrs.evolve(row, outcome=Outcome.IGNORE, target=None, reduce=None, effects=()),
        )
    if row.outcome is Outcome.GO:
        for state in states:
            if state != row.target:
                yield f"led to {state}", attrs.evolve(row, target=state)
    if row.reduce is not None:
        for name, fields in dropped.items():
            yield f"{name} dropped", attrs.evolve(row, reduce=_without(row.reduce, fields))


def _without(reduce: Reducer, fields: tuple[str, ...]) -> Reducer:
    def reduced(context: Any, event: Any) -> Any:
        after = reduce(context, event)
        kept = {name: getattr(context, name) for name in fields if hasattr(context, name)}
        return attrs.evolve(after, **kept) if kept else after

    return reduced


def generated(table: Table[Any, Any, Any]) -> Iterator[Verdict]:
    """Try every mutant that can be made of a table; those that change nothing at all are left out."""
    for mutant in worth_trying(table):
        yield judged(mutant)


def worth_trying(
    table: Table[Any, Any, Any], dropped: Mapping[str, tuple[str, ...]] = DROPPED
) -> list[Mutant]:
    """Return the mutants of a table, without those that change nothing at all. The arguments are those of `mutants`."""
    return [one for one in mutants(table, dropped) if not one.name.endswith(" dropped") or _changes(one)]


Examined = Callable[[str, Table[Any, Any, Any]], Verdict | None]
"""(the name of a wrong table, the table) -> what noticed, or none."""


def judged(mutant: Mutant, by: Examined | None = None) -> Verdict:
    """Return what becomes of one mutant.

    Args:
        by: looks at a table that the definition accepts; by default what explores ours.
    """
    base = mutant.table
    try:
        made: Table[Any, Any, Any] = Table(
            base.name, base.initial, base.states, base.events, mutant.rows, base.contexts, base.samples
        )
    except TableError as refused:
        return Verdict(mutant.name, "definition", str(refused.findings[0]), also=_also(mutant, refused, by))
    return (by or examined)(mutant.name, made) or Verdict(mutant.name, "", _equivalent(mutant))


def examined(name: str, table: Table[Any, Any, Any]) -> Verdict | None:
    """Explore a table in place of ours; return what noticed, or none."""
    is_strategy = table.name == STRATEGY.name
    for found in _alone(table) if is_strategy else _queries(table):
        if found.violations:
            broken = found.violations[0]
            also = tuple(one.name for one in found.violations)
            return Verdict(name, broken.name, broken.detail, broken.events, also=also)
    return in_world(name, table, first_only=True)


def in_world(name: str, table: Table[Any, Any, Any], *, first_only: bool = False) -> Verdict | None:
    """Explore a world with a table in place of ours; return what noticed, or none."""
    found = examine(partial(_world, table), bounds=Bounds(_WORLDS), first_only=first_only)
    also = (*(one.name for one in found.violations), *found.unreached)
    if found.violations:
        first = found.violations[0]
        return Verdict(name, first.name, first.detail, first.events, first.path, also)
    if found.unreached:
        return Verdict(name, found.unreached[0], "it never happens", also=also)
    return None


def _alone(table: Table[Any, Any, Any]) -> Iterator[Explored]:
    for settings in (
        Settings(),
        Settings(commit_when="first_safe_point"),
        Settings(default_strategy=Strategy.GREEN),
    ):
        yield explore_strategy(table, STEPS, settings, first_only=True)


def _queries(table: Table[Any, Any, Any]) -> Iterator[Explored]:
    for reads in (False, True):
        for replay in ("reads", "never"):
            yield explore_query(table, QUERY_ALWAYS, reads=reads, replay=replay, first_only=True)


SMALL: Final = Liberties(events=("connection_opened",), kinds=(False,), steps=())
"""What may happen in the world in which a mutant is tried: enough for what a step alone does not show."""


_WORLDS: Final = 16_000
"""Twice as many as the world of our own tables has: a wrong one may count tickets for ever."""


def _world(table: Table[Any, Any, Any], **more: Any) -> World:
    is_strategy = table.name == STRATEGY.name
    strategy, query = (table, QUERY) if is_strategy else (STRATEGY, table)
    return World(Size(1, 1, 1), SMALL, crashes=False, strategy=strategy, query=query, **more)


_EXPLORABLE: Final = frozenset({"result", "trap", "unreachable", "final", "never"})
"""Kinds of findings with which a table still says what happens."""


def _also(mutant: Mutant, refused: TableError, by: Examined | None) -> tuple[str, ...]:
    """Return what else notices a table that the definition refuses, as far as it can be explored at all."""
    kinds = {getattr(finding, "kind", "") for finding in refused.findings}
    if not kinds <= (_EXPLORABLE if by is not None else {"result"}):
        return ("I12 deterministic",) if kinds & {"gap", "overlap", "missing"} else ()
    base = mutant.table
    made: Table[Any, Any, Any] = Unchecked(
        base.name, base.initial, base.states, base.events, mutant.rows, base.contexts, base.samples
    )
    if by is not None:
        verdict = by(mutant.name, made)
        return verdict.killers if verdict is not None else ()
    found = next(iter(_alone(made) if base.name == STRATEGY.name else _queries(made)))
    return tuple(one.name for one in found.violations)


def _changes(mutant: Mutant) -> bool:
    """Whether the reducer of the changed row does anything else than before, on the table's samples."""
    row, changed = next((a, b) for a, b in zip(mutant.table.rows, mutant.rows, strict=True) if a is not b)
    assert row.reduce is not None
    assert changed.reduce is not None
    for context in mutant.table.contexts:
        for event in mutant.table.samples:
            if type(event) is row.event and mutant.table.holds(row.state, context):
                facts = mutant.table.facts(row.state, context, event)
                if row.guard.holds(facts) and row.reduce(context, event) != changed.reduce(context, event):
                    return True
    return False


def _equivalent(mutant: Mutant) -> str:
    """Return why nothing can notice, if that can be read from the row."""
    row, changed = next((a, b) for a, b in zip(mutant.table.rows, mutant.rows, strict=True) if a is not b)
    plain = row.reduce is None and not row.effects
    if row.outcome is Outcome.STAY and changed.outcome is Outcome.IGNORE and plain:
        return "equivalent: the row changes nothing, and neither does ignoring its event"
    return ""


def field_bugs() -> Iterator[Verdict]:
    """Try every bug that was met in the field."""
    for bug in FIELD_BUGS:
        yield examined(bug.name, bug.table()) or Verdict(bug.name, "")


def score(verdicts: list[Verdict]) -> float:
    """Return the share of the mutants that something noticed, of those that are not equivalent to the original."""
    counted = [one for one in verdicts if one.killer or not one.reason]
    return sum(1 for one in counted if one.killer) / len(counted) if counted else 1.0


def vacuous(verdicts: list[Verdict], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the properties `names` that no mutant breaks."""
    killers = {killer for one in verdicts for killer in one.killers}
    return tuple(name for name in names if name not in killers)


TABLES: Final = (STRATEGY, QUERY)
"""The tables of which mutants are made."""
