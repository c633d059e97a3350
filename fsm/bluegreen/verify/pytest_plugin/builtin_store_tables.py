"""What is said of the tables `SHARING` and `LEASE`, for `pytest --bluegreen-verify`: they are part of `shipped`.

Each table is explored with every record that a store may show: of two incarnations, of several epochs, with stamps that
need not be ordered as epochs are, and two records of one epoch, as an older copy of a store may have.

>>> found = SHARING_VERIFICATION.explore()
>>> found.ok, found.missed
(True, ())

Source: spec, sections 2 and 4; invariants I6 and I9, between processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

from bluegreen.machines.lease import LEASE, Grant, LeaseAsked, LeaseExpired, LeaseReleased
from bluegreen.machines.store_sync import (
    APART,
    JOINED,
    SHARING,
    Adopt,
    RecordRead,
    ReportOutage,
    ReportRecovery,
    Reread,
    Shared,
    StoreFailed,
    StrategyDecided,
    Write,
    WriteAccepted,
    WriteRefused,
)
from bluegreen.store import Stamp, StoreRecord
from bluegreen.types import Strategy
from bluegreen.verify.properties.base import Always, Eventually, Sometimes, Taken
from bluegreen.verify.verification import Verification

BLUE, GREEN = Strategy


def _records() -> Iterator[StoreRecord]:
    for incarnation in "ab":
        for epoch, announced, at in ((0, None, 0.0), (1, BLUE, 3.0), (2, GREEN, 1.0), (2, BLUE, 5.0)):
            yield StoreRecord(store_epoch=epoch, incarnation=incarnation, announced=announced, at=Stamp(at))


def _events() -> Iterator[Any]:
    for record in _records():
        yield from (RecordRead(record, route) for route in (None, BLUE, GREEN))
        yield WriteAccepted(attrs.evolve(record, verified=record.announced))
    for strategy in Strategy:
        for verified in (True, False):
            yield from (StrategyDecided(strategy, verified, Stamp(at)) for at in (2.0, 4.0))
    yield WriteRefused()
    yield StoreFailed("silent")


EVENTS: Final = tuple(_events())


def _every(_: str, __: Any) -> Iterable[Any]:
    return EVENTS


def _effects(taken: Taken, kind: type[Any]) -> list[Any]:
    return [effect for effect in taken.step.effects if isinstance(effect, kind)]


def _comparable(taken: Taken) -> bool:
    """Whether the epochs of what is known and what is there now belong to one store."""
    known, record = taken.context.known, taken.event.record
    return bool(known.incarnation and known.incarnation == record.incarnation)


def _newer(taken: Taken) -> bool:
    return _comparable(taken) and bool(taken.event.record.store_epoch > taken.context.known.store_epoch)


def _same(taken: Taken) -> bool:
    return _comparable(taken) and bool(taken.event.record == taken.context.known)


def _apart(taken: Taken) -> bool:
    """Whether nobody can say by epochs which of both is later, and it is to be settled now."""
    other = not _comparable(taken)
    return other if taken.state == JOINED else not _newer(taken) and not _same(taken)


def _decided_later(taken: Taken) -> bool:
    event, decided = taken.event, taken.context.decided
    return event.route is not None and decided is not None and decided.later_than(event.record.at)


def _is_read(taken: Taken) -> bool:
    return isinstance(taken.event, RecordRead)


def _adopts_news(taken: Taken) -> bool:
    """What is newer is heard; so is what was decided later than anything here, where epochs say nothing. Nothing else
    is: nothing old, nor what a later decision of this process stands against."""
    if not _is_read(taken):
        return not _effects(taken, Adopt)
    says = taken.event.record.announced
    other = says is not None and says is not taken.event.route
    wanted = (_newer(taken) and says is not None) or (_apart(taken) and other and not _decided_later(taken))
    return [one.strategy for one in _effects(taken, Adopt)] == ([says] if wanted else [])


def _filled(taken: Taken) -> bool:
    """A store that has lost what was decided here is told again, behind what was read there just now."""
    if not _is_read(taken) or _newer(taken):
        return not _is_read(taken) or not _effects(taken, Write)
    event, context = taken.event, taken.context
    knows = event.route is not None and context.decided is not None
    says = event.record.announced
    lost = _apart(taken) and (says is None or (says is not event.route and _decided_later(taken)))
    untold = _same(taken) and context.since and says is not event.route
    behind = Write(event.record.store_epoch, event.record.incarnation)
    return _effects(taken, Write) == ([behind] if knows and (lost or untold) else [])


def _keeps_last_record(taken: Taken) -> bool:
    """What is known is what was read or written last, and within one incarnation it never goes back while joined."""
    before, after = taken.context.known, taken.step.context.known
    if _is_read(taken):
        looks_again = taken.state == JOINED and not _apart(taken) and not _newer(taken)
        insists = _apart(taken) and bool(_effects(taken, Write))
        return bool(after == (before if looks_again or insists else taken.event.record))
    written = isinstance(taken.event, WriteAccepted) and taken.state == JOINED
    if written and (_newer(taken) or not _comparable(taken)):
        return bool(after == taken.event.record)
    return bool(after == before)


def _remembered(taken: Taken) -> bool:
    """When a process has decided, and whether that was after it had last heard of others."""
    event, since = taken.event, taken.context.since
    if isinstance(event, StrategyDecided):
        since = True
    elif _is_read(taken) and (_newer(taken) or _apart(taken)):
        since = bool(_effects(taken, Write))
    if taken.step.context.since is not since:
        return False
    at = taken.context.decided
    if isinstance(event, StrategyDecided):
        follows = taken.state == JOINED and not _adds(taken) and not event.verified
        at = taken.context.known.at if follows else event.at
    return bool(taken.step.context.decided == at)


def _adds(taken: Taken) -> bool:
    known, event = taken.context.known, taken.event
    return event.strategy is not known.announced or (event.verified and event.strategy is not known.verified)


def _told_others(taken: Taken) -> bool:
    if not isinstance(taken.event, StrategyDecided):
        return _is_read(taken) or not _effects(taken, Write)
    known = taken.context.known
    behind = Write(known.store_epoch, known.incarnation)
    return _effects(taken, Write) == ([behind] if _adds(taken) and taken.state == JOINED else [])


def _reported(taken: Taken) -> bool:
    """A fault is reported once, and that it is over, once."""
    before, after = taken.context.told, taken.step.context.told
    lost, back = bool(_effects(taken, ReportOutage)), bool(_effects(taken, ReportRecovery))
    if isinstance(taken.event, StoreFailed):
        return lost == (not before) and after and not back
    if _is_read(taken):
        return back == before and not after and not lost
    return not lost and not back and after == before


def _looked_again(taken: Taken) -> bool:
    """Whoever was refused looks what is there; so does whoever sees something old in a store that was in order."""
    refused = isinstance(taken.event, WriteRefused)
    old = _is_read(taken) and not _apart(taken) and not _newer(taken) and not _same(taken)
    wanted = taken.state == JOINED and (refused or old)
    return bool(_effects(taken, Reread)) == wanted


def _stands(taken: Taken) -> bool:
    """A process is apart after a fault, or after it has seen something old; else a look joins it."""
    if isinstance(taken.event, StoreFailed):
        return taken.step.state == APART
    if not _is_read(taken):
        return taken.step.state == taken.state
    old = taken.state == JOINED and not (_apart(taken) or _newer(taken) or _same(taken))
    return taken.step.state == (APART if old else JOINED)


SHARING_PROPERTIES: Final = (
    Always(
        "H heard", "what is newer is heard; where epochs say nothing, what was decided later; nothing else",
        _adopts_news,
    ),
    Always("H filled", "a store that has lost what was decided here is told again, behind what it holds", _filled),
    Always("H known", "what is known never goes back within an incarnation", _keeps_last_record),
    Always("H remembered", "a process knows when it decided", _remembered),
    Always("H told", "a decision that says something new is written at once, behind what is known", _told_others),
    Always("H reported", "a fault is reported once, and that it is over, once", _reported),
    Always("H looks again", "whoever was refused, or sees something old, looks again", _looked_again),
    Always("H stands", "a fault parts, a look joins", _stands),
    Sometimes(
        "H fills", "a store that has come back empty is filled",
        lambda taken: bool(
            _is_read(taken) and taken.state == JOINED and _apart(taken)
            and not taken.event.record.store_epoch and _effects(taken, Write)
        ),
    ),
    Eventually(
        "H comes back", "a fault that was reported is over, and that is reported",
        lambda taken: bool(_effects(taken, ReportOutage)),
        lambda taken: bool(_effects(taken, ReportRecovery)), of="step",
    ),
)  # fmt: skip

SHARING_VERIFICATION: Final = Verification(SHARING, Shared(), _every, SHARING_PROPERTIES)


def _one_holder(taken: Taken) -> bool:
    granted, held = _effects(taken, Grant), taken.context
    if not isinstance(taken.event, LeaseAsked):
        return not granted
    free = taken.state == "Free" or held == taken.event.holder
    return granted == ([Grant(taken.event.holder)] if free else [])


def _holder(taken: Taken) -> bool:
    """Who holds it after each event."""
    event, before = taken.event, taken.context if taken.state == "Held" else ""
    if isinstance(event, LeaseExpired) or (isinstance(event, LeaseReleased) and event.holder == before):
        before = ""
    elif isinstance(event, LeaseAsked):
        before = before or event.holder
    return taken.step.context == before and taken.step.state == ("Held" if before else "Free")


LEASE_PROPERTIES: Final = (
    Always("I9 one holder", "a lease is granted if nobody has it, or to its holder", _one_holder),
    Always("I9 holder", "only its holder gives it back, and its time ends it", _holder),
    Sometimes(
        "I9 kept", "its holder keeps it",
        lambda taken: bool(taken.state == "Held" and _effects(taken, Grant)),
    ),
    Eventually(
        "I9 ends", "a holder that has died does not keep it",
        lambda taken: taken.step.state == "Held", lambda taken: taken.step.state == "Free", of="step",
    ),
)  # fmt: skip

LEASE_VERIFICATION: Final = Verification(LEASE, "", properties=LEASE_PROPERTIES)
