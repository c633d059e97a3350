"""Ways to get a shared store wrong, each introduced into our tables, and what notices it.

>>> [one.name for one in sharing_verdicts() if not one.killer]
[]
"""

from __future__ import annotations

from typing import Any, Final

from bluegreen.sharing import (
    APART,
    JOINED,
    LEASE,
    SHARING,
    LeaseAsked,
    LeaseExpired,
    RecordRead,
    StrategyDecided,
    Write,
    WriteRefused,
    adds_something,
    adopt,
    comparable,
    decide,
    decided_later,
    follow,
    hear,
    insist,
    is_newer,
    is_same,
    report_back,
    write,
)
from bluegreen.table import go, ignore, stay
from bluegreen.verify.fieldbugs import FieldBug
from bluegreen.verify.mutants import Verdict
from bluegreen.verify.sharing import LEASE_VERIFICATION, SHARING_VERIFICATION
from bluegreen.verify.sharing_world import SharingWorld
from bluegreen.verify.verification import Verification

_WHY: Final = "a bug"


def _behind_nothing(_: Any, after: Any, __: Any) -> Write:
    return Write(0, after.known.incarnation)


def _hold(_: str, event: LeaseAsked) -> str:
    return event.holder


def _granted(_: str, after: str, __: Any) -> Any:
    return LEASE.rows[0].effects[0](_, after, __)


SHARING_BUGS: Final = (
    FieldBug("epoch ignored", (stay(JOINED, RecordRead, do=follow, effects=(hear,), why=_WHY),), SHARING),
    FieldBug(
        "incarnation ignored",
        (
            stay(JOINED, RecordRead, when=is_newer, do=follow, effects=(hear,), why=_WHY),
            ignore(JOINED, RecordRead, when=~is_newer, why=_WHY),
        ),
        SHARING,
    ),
    FieldBug(
        "clocks decide within one incarnation",
        (
            stay(JOINED, RecordRead, when=~decided_later, do=follow, effects=(hear,), why=_WHY),
            ignore(JOINED, RecordRead, when=decided_later, why=_WHY),
        ),
        SHARING,
    ),
    FieldBug(
        "whoever is back says what was decided, whatever others have written meanwhile",
        (
            go(APART, RecordRead, JOINED, when=~(comparable & is_same), do=insist,
               effects=(report_back, write), why=_WHY),
            go(APART, RecordRead, JOINED, when=comparable & is_same, do=adopt, effects=(report_back,), why=_WHY),
        ),
        SHARING,
    ),
    FieldBug(
        "a write goes behind nothing",
        (
            stay(JOINED, StrategyDecided, when=adds_something, do=decide, effects=(_behind_nothing,), why=_WHY),
            ignore(JOINED, StrategyDecided, when=~adds_something, why=_WHY),
        ),
        SHARING,
    ),
    FieldBug("whoever was late does not look", (ignore(JOINED, WriteRefused, why=_WHY),), SHARING),
    FieldBug("a lease never ends", (ignore("Held", LeaseExpired, why=_WHY),), LEASE),
    FieldBug("a lease is given twice", (stay("Held", LeaseAsked, do=_hold, effects=(_granted,), why=_WHY),), LEASE),
)  # fmt: skip
"""Bugs of processes that share a store."""


def sharing_verdicts() -> tuple[Verdict, ...]:
    """Return for each bug what notices it: a property of the table, or of the world of processes."""
    verdicts = [
        _of(bug, SHARING_VERIFICATION if bug.base is SHARING else LEASE_VERIFICATION) for bug in SHARING_BUGS
    ]
    late = SharingWorld(blind=True).explore()
    (wrong, way), *_ = late.broken or (("", ()),)
    verdicts.append(Verdict("a late write goes over a newer one", "agreement", wrong, path=way))
    return tuple(verdicts)


def _of(bug: FieldBug, verification: Verification) -> Verdict:
    found = verification.explore(bug.table())
    if found.violations:
        first = found.violations[0]
        return Verdict(bug.name, first.name, first.detail, first.events)
    if bug.base is SHARING:
        agreed = SharingWorld(table=bug.table()).explore()
        if agreed.broken:
            wrong, way = agreed.broken[0]
            return Verdict(bug.name, "agreement", wrong, path=way)
    return Verdict(bug.name, "")
