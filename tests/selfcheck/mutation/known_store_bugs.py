"""Bugs about a shared store, each introduced into our tables, or beside them: in how a store takes a write.

>>> [bug.name for bug in SHARING_BUGS][:2]
['epoch ignored', 'incarnation ignored']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import attrs

from bluegreen.machines.lease import LEASE, Grant, LeaseAsked, LeaseExpired
from bluegreen.machines.store_sync import (
    JOINED,
    SHARING,
    RecordRead,
    StrategyDecided,
    comparable,
    decide,
    decided_later,
    has_route,
    hear,
    in_order,
    insist,
    is_newer,
    is_same,
    join,
    write,
)
from bluegreen.table.table import ignore, stay
from bluegreen.verify.mutation.operators import MutantResult
from selfcheck.explore.checker import Violation
from selfcheck.explore.store_checker import SHARED_PROPERTIES, examine_sharing
from selfcheck.model.lease import LEASE_ALWAYS, examine_lease
from selfcheck.model.store import Extent
from selfcheck.mutation.known_bugs import FieldBug
from selfcheck.mutation.known_runtime_bugs import RuntimeBug

_WHY: Final = "a bug about a shared store"


def _grants(_: str, __: str, event: LeaseAsked) -> Grant:
    return Grant(event.holder)


_READ: Final = tuple(row for row in SHARING.rows if row.state == JOINED and row.event is RecordRead)
_DECIDED: Final = tuple(row for row in SHARING.rows if row.state == JOINED and row.event is StrategyDecided)
_others_first: Final = in_order & ~(has_route & decided_later)
_ours_first: Final = in_order & has_route & decided_later
_NEWER: Final = next(row for row in _READ if row.guard is in_order)

WRONG: Final = {
    "epoch ignored": FieldBug(
        "epoch ignored",
        (
            stay(JOINED, RecordRead, guard=~(comparable & is_same), update=join, effects=(hear,), why=_WHY),
            ignore(JOINED, RecordRead, guard=comparable & is_same, why=_WHY),
        ),
        SHARING,
    ),
    "incarnation ignored": FieldBug(
        "incarnation ignored",
        (
            stay(JOINED, RecordRead, guard=is_newer, update=join, effects=(hear,), why=_WHY),
            ignore(JOINED, RecordRead, guard=~is_newer, why=_WHY),
        ),
        SHARING,
    ),
    "clock decides within an incarnation": FieldBug(
        "clock decides within an incarnation",
        (
            *(row for row in _READ if row is not _NEWER),
            stay(JOINED, RecordRead, guard=_others_first, update=join, effects=(hear,), why=_WHY),
            stay(JOINED, RecordRead, guard=_ours_first, update=insist, effects=(write,), why=_WHY),
        ),
        SHARING,
    ),
    "whoever goes along has decided": FieldBug(
        "whoever goes along has decided",
        tuple(attrs.evolve(row, reducer=decide) for row in _DECIDED),
        SHARING,
    ),
    "lease never ends": FieldBug("lease never ends", (ignore("Held", LeaseExpired, why=_WHY),), LEASE),
    "lease is given twice": FieldBug(
        "lease is given twice", (stay("Held", LeaseAsked, effects=(_grants,), why=_WHY),), LEASE
    ),
}
"""The wrong tables, by the names of the bugs."""


def _of_table(name: str, extent: Extent) -> MutantResult:
    return _verdict(name, examine_sharing(extent, WRONG[name].table()).violations)


def _of_store(name: str, extent: Extent, **options: Any) -> MutantResult:
    return _verdict(name, examine_sharing(extent, **options).violations)


def _of_lease(name: str) -> MutantResult:
    return _verdict(name, examine_lease(2, WRONG[name].table()).violations)


def _verdict(name: str, found: Sequence[Violation]) -> MutantResult:
    if not found:
        return MutantResult(name, "")
    first = found[0]
    return MutantResult(
        name, first.name, first.detail, path=first.path, also=tuple(one.name for one in found)
    )


def _bug(name: str, of: Callable[..., MutantResult], *arguments: Any, **options: Any) -> RuntimeBug:
    return RuntimeBug(name, partial(of, name, *arguments, **options))


SHARING_BUGS: Final = (
    _bug("epoch ignored", _of_table, Extent(2, 2, 0)),
    _bug("incarnation ignored", _of_table, Extent(2, 1, 1)),
    _bug("lease never ends", _of_lease),
    _bug("lease is given twice", _of_lease),
    _bug("a late write goes over a newer one", _of_store, Extent(2, 2, 0), overwrites=True),
    _bug("clock decides within an incarnation", _of_table, Extent(2, 2, 0)),
    _bug("whoever goes along has decided", _of_table, Extent(2, 2, 1)),
    _bug("a record is put together from two", _of_store, Extent(1, 2, 0), halves=True),
)
"""Each is tried in a world of its own."""

SHARING_PROPERTIES: Final = (*SHARED_PROPERTIES, *LEASE_ALWAYS)
"""What they are held against."""
