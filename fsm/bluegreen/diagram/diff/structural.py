"""What differs between two tables, row by row: for whoever has to judge a change.

>>> from bluegreen.machines.retry import RETRY
>>> from bluegreen.table.rows import Declaration
>>> fewer = Declaration("retry", "Unplaced", RETRY.states, RETRY.events, RETRY.rows[1:])
>>> [str(one) for one in diff(RETRY, fewer)]
['removed row Unplaced.placed']
>>> diff(RETRY, RETRY)
()

A row is known by its name: state, event and guard. One that is called otherwise is another row, with one exception:
in a cell, a single row that is gone and a single one that is new, which do the same, are one row whose guard changed.
The order of rows decides nothing, and is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any, Final

import attrs

from bluegreen.diagram.model import Arrow, diagram_of
from bluegreen.table.guards import Fact, Guard
from bluegreen.table.rows import Declaration, Row, State
from bluegreen.verify.export.formats import facts_of, name_of

ADDED: Final = "added"
REMOVED: Final = "removed"
RETARGETED: Final = "retargeted"
CHANGED: Final = "changed"
KINDS: Final = (ADDED, REMOVED, RETARGETED, CHANGED)
"""What can have become of a part of a table."""


@attrs.frozen
class Detail:
    """One respect in which something changed: what it is called, and how it was and is, in words."""

    field: str
    old: str
    new: str

    def __str__(self) -> str:
        old, new = (f'"{one}"' if self.field == "why" else one or "none" for one in (self.old, self.new))
        return f"{self.field}: {old} becomes {new}"


@attrs.frozen
class Change:
    """What became of one part of a table.

    Args:
        kind: one of `KINDS`; a row is retargeted if it leads elsewhere, whatever else changed.
        part: `table`, `state`, `event`, `fact` or `row`.
        name: of the part; a row whose guard changed has its new name.
        details: what changed; none of what was added or removed.
        old: the row as it was, if it is one.
        new: the row as it is, if it is one.
    """

    kind: str
    part: str
    name: str
    details: tuple[Detail, ...] = ()
    old: Arrow | None = None
    new: Arrow | None = None

    @property
    def row(self) -> Arrow:
        """The row as it is, or as it was if it is gone.

        Raises:
            LookupError: it is no row.
        """
        found = self.new or self.old
        if found is None:
            raise LookupError(f"{self.part} {self.name} is no row")
        return found

    def __str__(self) -> str:
        told = f"{self.kind} {self.part} {self.name}"
        return f"{told}: {'; '.join(map(str, self.details))}" if self.details else told


def diff(old: Declaration, new: Declaration) -> tuple[Change, ...]:
    """Return what differs: the table itself, then states, events and facts, then rows, cell by cell.

    What reducers, facts and effects do is code. Only their names are compared here.
    """
    return (
        *_parts("table", {"": old}, {"": new}, _of_table),
        *_parts("state", _named(old.states), _named(new.states), _of_state),
        *_parts("event", _named(old.events), _named(new.events), _of_event),
        *_parts("fact", _named(facts_of(old)), _named(facts_of(new)), _of_fact),
        *_rows(old, new),
    )


def does(row: Arrow) -> str:
    """Return what a row does with its event, in a word or two.

    >>> from bluegreen.machines.retry import RETRY
    >>> [does(row) for row in diagram_of(RETRY).arrows[:2]]
    ['-> Trying', 'forbid']
    """
    return row.outcome if row.target is None else f"-> {row.target}"


Said = Iterator[tuple[str, str, str]]
"""Respects in which two parts may differ, with how each is, in words."""


def _parts(
    part: str, old: dict[str, Any], new: dict[str, Any], said: Callable[[Any, Any], Said]
) -> Iterator[Change]:
    for name, it in new.items():
        if name not in old:
            yield Change(ADDED, part, name)
        elif details := _details(said(old[name], it)):
            yield Change(CHANGED, part, name or it.name, details)
    yield from (Change(REMOVED, part, name) for name in old if name not in new)


def _details(said: Said) -> tuple[Detail, ...]:
    return tuple(Detail(*one) for one in said if one[1] != one[2])


def _describe_change(several: Iterable[Any]) -> str:
    return ", ".join(map(str, several))


def _named(several: Iterable[Any]) -> dict[str, Any]:
    return {one.name: one for one in several}


def _of_table(old: Declaration, new: Declaration) -> Said:
    yield "name", old.name, new.name
    yield "initial", old.initial, new.initial


def _of_state(old: State, new: State) -> Said:
    yield "final", str(old.final), str(new.final)
    yield "tags", _describe_change(old.tags), _describe_change(new.tags)
    yield from _of_guard("holds", old.holds, new.holds)


def _of_event(old: Any, new: Any) -> Said:
    yield "fields", _fields(old), _fields(new)
    yield "safe point", _is_safe(old), _is_safe(new)


def _is_safe(event: type[Any]) -> str:
    return str(bool(getattr(event, "safe_point", False)))


def _fields(event: type[Any]) -> str:
    return _describe_change(field.name for field in attrs.fields(event)) if attrs.has(event) else ""


def _of_fact(old: Fact, new: Fact) -> Said:
    yield "values", _describe_change(old.values), _describe_change(new.values)
    for state in dict.fromkeys((*old.within, *new.within)):
        yield f"values in {state}", _describe_change(old.domain(state)), _describe_change(new.domain(state))


def _of_guard(field: str, old: Guard, new: Guard) -> Said:
    same = _cases(old) == _cases(new)
    if old.text != new.text:
        yield field, old.text, f"{new.text} (the same cases)" if same else new.text
    elif not same:
        yield field, f"{old.text}, when {_when(old)}", f"{new.text}, when {_when(new)}"


def _cases(guard: Guard) -> frozenset[frozenset[tuple[str, Hashable]]]:
    """Return the cases in which a guard holds: each says what its facts are then."""
    names = [fact.name for fact in guard.facts]
    cases = (dict(zip(names, case, strict=True)) for case in product(*(fact.values for fact in guard.facts)))
    return frozenset(frozenset(case.items()) for case in cases if guard.holds(case))


def _when(guard: Guard) -> str:
    cases = (", ".join(f"{name}={value}" for name, value in sorted(case)) for case in _cases(guard))
    return " or ".join(sorted(cases)) or "never"


_Both = tuple[Row, Arrow]
"""A row, and what is shown of it."""


def _rows(old: Declaration, new: Declaration) -> Iterator[Change]:
    states = dict.fromkeys((*_named(new.states), *_named(old.states)))
    events = dict.fromkeys((*_named(new.events), *_named(old.events)))
    was, is_ = _cells(old), _cells(new)
    for cell in product(states, events):
        yield from _cell(was.pop(cell, []), is_.pop(cell, []))
    for cell in dict.fromkeys((*was, *is_)):  # of states or events that a wrong table does not declare
        yield from _cell(was.get(cell, []), is_.get(cell, []))


def _cells(table: Declaration) -> dict[tuple[str, str], list[_Both]]:
    found: dict[tuple[str, str], list[_Both]] = {}
    for row, arrow in zip(table.rows, diagram_of(table).arrows, strict=True):
        found.setdefault((arrow.source, arrow.event), []).append((row, arrow))
    return found


def _cell(old: Sequence[_Both], new: Sequence[_Both]) -> Iterator[Change]:
    """Yield what became of the rows of one cell. A wrong table may have several of one name: they pair off in order."""
    gone, fresh = [*old], list[_Both]()
    pairs: list[tuple[_Both, _Both]] = []
    for it in new:
        same = next((one for one in gone if one[1].name == it[1].name), None)
        if same is None:
            fresh.append(it)
        else:
            gone.remove(same)
            pairs.append((same, it))
    for it in tuple(fresh):
        alike = [one for one in gone if _does(one) == _does(it)]
        if len(alike) == 1 and sum(_does(one) == _does(it) for one in fresh) == 1:
            gone.remove(alike[0])
            fresh.remove(it)
            pairs.append((alike[0], it))
    yield from (Change(REMOVED, "row", arrow.name, old=arrow) for _, arrow in gone)
    for one, it in pairs:
        if details := _details(_of_row(one, it)):
            moved = (one[1].outcome, one[1].target) != (it[1].outcome, it[1].target)
            led = moved and one[1].target is not None and it[1].target is not None
            yield Change(RETARGETED if led else CHANGED, "row", it[1].name, details, one[1], it[1])
    yield from (Change(ADDED, "row", arrow.name, new=arrow) for _, arrow in fresh)


def _does(both: _Both) -> tuple[Any, ...]:
    """Return what a row does, its guard and its reason aside."""
    row, arrow = both
    return arrow.outcome, arrow.target, _called(row), arrow.effects


def _called(row: Row) -> str:
    return "" if row.reducer is None else name_of(row.reducer)


def _of_row(old: _Both, new: _Both) -> Said:
    yield "outcome", does(old[1]), does(new[1])
    yield from _of_guard("guard", old[0].guard, new[0].guard)
    yield "reducer", old[1].reducer, new[1].reducer
    yield "effects", _describe_change(old[1].effects), _describe_change(new[1].effects)
    yield "why", old[1].why, new[1].why
