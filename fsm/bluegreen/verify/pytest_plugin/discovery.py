"""The tables that a project declares for its tests: `package.module:NAME`, or all that is found in `package.module`.

>>> [one.name for one in declared(["bluegreen.machines.query:QUERY", "bluegreen.nowhere:TABLE"])]
['query', 'bluegreen.nowhere:TABLE']
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from bluegreen.errors import TableError
from bluegreen.table.table import Table
from bluegreen.verify.verification import Verification

WANTED: Final = "wanted: a Verification or a Table"


@attrs.frozen(eq=False)
class Declared:
    """What became of one entry.

    Args:
        name: of the table, or the entry itself if there is none.
        table: if there is one.
        verification: what is said about it; none if that cannot be said.
        error: why something is missing, or what is wrong with the table.
    """

    name: str
    table: Table[Any, Any, Any] | None = None
    verification: Verification | None = None
    error: Exception | None = None


def declared(entries: Iterable[str]) -> list[Declared]:
    """Return what is declared, each `Verification` once; whatever goes wrong on the way is in its `error`."""
    found: list[Declared] = []
    names: set[str] = set()
    for one in (one for entry in entries for one in _entry(entry)):
        if any(one.verification is not None and one.verification is other.verification for other in found):
            continue
        name, number = one.name, 2
        while name in names:
            name, number = f"{one.name} {number}", number + 1
        names.add(name)
        found.append(attrs.evolve(one, name=name))
    return found


def _entry(entry: str) -> Iterator[Declared]:
    module, _, name = entry.partition(":")
    try:
        values = vars(importlib.import_module(module))
        if name and name not in values:
            raise LookupError(f"{module} has no {name}; {WANTED}")
        found = [values[name]] if name else [one for one in values.values() if isinstance(one, Verification)]
        if not found:
            raise LookupError(f"{module} has no Verification; name the table: {module}:NAME")
    except TableError as refused:
        yield Declared(refused.table, error=refused)
        return
    except Exception as error:  # noqa: BLE001  a module may raise anything; its test fails with it
        yield Declared(entry, error=error)
        return
    for one in found:
        yield _value(entry, one)


def _value(entry: str, value: Any) -> Declared:
    table: Any = value
    if isinstance(value, Table):
        fitting = [one for one in table.contexts if table.holds(table.initial, one)]
        try:
            value = Verification(table, fitting[0] if fitting else None)
        except ValueError as error:
            return Declared(table.name, table, error=error)
    if not isinstance(value, Verification):
        return Declared(entry, error=TypeError(f"{entry} is a {type(value).__name__}; {WANTED}"))
    table = value.table
    findings = getattr(table, "findings", ())  # of a table that stands whatever is wrong with it
    return Declared(table.name, table, value, TableError(table.name, findings) if findings else None)
