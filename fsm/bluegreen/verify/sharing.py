"""What holds of the two machines of a shared store: `SHARING` and `LEASE`.

>>> SHARING_VERIFICATION.explore().good, LEASE_VERIFICATION.explore().good
(True, True)

Source: spec, sections 2, 4 and 7: invariants I6 and I9, between processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, Final

from bluegreen.sharing import (
    APART,
    JOINED,
    LEASE,
    SHARING,
    Grant,
    Hear,
    LeaseAsked,
    LeaseExpired,
    LeaseReleased,
    ReadAgain,
    RecordRead,
    ReportBack,
    ReportLost,
    Shared,
    StoreFailed,
    StrategyDecided,
    Write,
    WriteAccepted,
    WriteRefused,
)
from bluegreen.store import Stamp, StoreRecord
from bluegreen.verify.properties import Always, Eventually, Taken
from bluegreen.verify.verification import Verification
from bluegreen.vocabulary import Strategy

_STAMPS: Final = (Stamp(1.0), Stamp(2.0))


def _records() -> Iterator[StoreRecord]:
    for incarnation in ("a", "b"):
        yield StoreRecord(incarnation=incarnation)
        for epoch, strategy, at in product((1, 2), Strategy, _STAMPS):
            for verified in (None, strategy) if incarnation == "a" else (None,):
                yield StoreRecord(
                    epoch=epoch, incarnation=incarnation, announced=strategy, verified=verified, at=at
                )


RECORDS: Final = tuple(_records())
"""What can stand in a store: two lives of it, two epochs each, written at two moments."""

_EVENTS: Final = (
    *(RecordRead(record, route) for record in RECORDS for route in (None, *Strategy)),
    *(StrategyDecided(*of) for of in product(Strategy, (True, False), _STAMPS)),
    *map(WriteAccepted, RECORDS),
    WriteRefused(),
    StoreFailed("silent"),
)


def _sent(_: str, __: Any) -> Iterable[Any]:
    return _EVENTS


def _effects(taken: Taken, kind: type[Any]) -> list[Any]:
    return [effect for effect in taken.step.effects if isinstance(effect, kind)]


def _same(taken: Taken) -> bool:
    return bool(taken.event.record.incarnation == taken.context.known.incarnation)


def _reads(taken: Taken) -> bool:
    return isinstance(taken.event, RecordRead)


def _met(taken: Taken) -> bool:
    """A record whose epoch cannot be compared with what is known: of another store, or an older copy of this one."""
    older = taken.event.record.epoch < taken.context.known.epoch
    return not _same(taken) or (taken.state == APART and older)


def _never_back(taken: Taken) -> bool:
    before, after = taken.context.known, taken.step.context.known
    same = taken.state == JOINED and before.incarnation == after.incarnation
    return not same or after.epoch >= before.epoch


def _in_order(taken: Taken) -> bool:
    """The latest word is heard, whatever clocks say; what is not later is not."""
    if not _reads(taken) or _met(taken):
        return True
    newer = taken.event.record.epoch > taken.context.known.epoch
    said = taken.event.record.announced
    return [one.strategy for one in _effects(taken, Hear)] == ([said] if newer and said else [])


def _whose(taken: Taken) -> bool:
    """Where epochs cannot be compared, whoever has decided later is heard, and fills what is empty."""
    if not _reads(taken) or not _met(taken):
        return True
    record, route, decided = taken.event.record, taken.event.route, taken.context.decided
    knows = route is not None and decided is not None
    later = decided is not None and decided.later_than(record.at)
    if record.announced is route or (record.announced is None and not knows):
        wanted: tuple[type[Any], ...] = ()
    elif knows and (record.announced is None or later):
        wanted = (Write,)
    else:
        wanted = (Hear,) if record.announced is not None else ()
    return [type(one) for one in taken.step.effects if isinstance(one, (Hear, Write))] == list(wanted)


def _fills(taken: Taken) -> bool:
    """What was decided while the store was away is told when it is back, if nobody has written since."""
    event, context = taken.event, taken.context
    if not _reads(taken) or _met(taken) or event.record.epoch != context.known.epoch:
        return True
    knows = event.route is not None and context.decided is not None
    due = taken.state == APART and context.unsaid and knows and event.record.announced is not event.route
    return bool(_effects(taken, Write)) == due


def _tells(taken: Taken) -> bool:
    if not isinstance(taken.event, StrategyDecided):
        return True
    known, event = taken.context.known, taken.event
    adds = event.strategy is not known.announced or (event.verified and event.strategy is not known.verified)
    return bool(_effects(taken, Write)) == (taken.state == JOINED and adds)


def _behind(taken: Taken) -> bool:
    known = taken.step.context.known
    return all(
        (one.epoch, one.incarnation) == (known.epoch, known.incarnation) for one in _effects(taken, Write)
    )


def _decides(taken: Taken) -> bool:
    """Whether the event is a decision that the store does not have, as far as is known."""
    known, event = taken.context.known, taken.event
    if not isinstance(event, StrategyDecided):
        return False
    adds = event.strategy is not known.announced or (event.verified and event.strategy is not known.verified)
    return taken.state == APART or adds


def _remembers(taken: Taken) -> bool:
    decided = taken.event.at if _decides(taken) else taken.context.decided
    if _effects(taken, Hear):
        decided = taken.event.record.at
    return bool(taken.step.context.decided == decided)


def _says(taken: Taken) -> bool:
    """A decision is to be said until the store has it, or something later."""
    before, after = taken.context, taken.step.context
    if _decides(taken):
        return bool(after.unsaid)
    if after.known != before.known or (_reads(taken) and taken.state == APART):
        return bool(after.unsaid) == bool(_effects(taken, Write))
    return bool(after.unsaid == before.unsaid)


def _adopts(taken: Taken) -> bool:
    before, after = taken.context.known, taken.step.context.known
    if _reads(taken):
        stale = taken.state == JOINED and _same(taken) and taken.event.record.epoch <= before.epoch
        return bool(after == (before if stale else taken.event.record))
    if isinstance(taken.event, WriteAccepted):
        newer = _same(taken) and taken.event.record.epoch > before.epoch
        return bool(after == (taken.event.record if taken.state == JOINED and newer else before))
    return bool(after == before)


def _reported(taken: Taken) -> bool:
    failed = isinstance(taken.event, StoreFailed)
    lost = failed and not taken.context.told
    back = taken.state == APART and _reads(taken) and taken.context.told
    told = taken.context.told or failed
    return (
        bool(_effects(taken, ReportLost)) == lost
        and bool(_effects(taken, ReportBack)) == back
        and taken.step.context.told == (told and not (taken.state == APART and _reads(taken)))
    )


def _joined(taken: Taken) -> bool:
    if isinstance(taken.event, StoreFailed):
        return taken.step.state == APART
    return bool(taken.step.state == (JOINED if _reads(taken) else taken.state))


def _again(taken: Taken) -> bool:
    due = isinstance(taken.event, WriteRefused) and taken.state == JOINED
    return bool(_effects(taken, ReadAgain)) == due


SHARING_PROPERTIES: Final = (
    Always("never back", "within one life of a store no process goes back", _never_back),
    Always("in order", "within it the latest word is heard, whatever clocks say", _in_order),
    Always("whose word", "where epochs cannot be compared, who decided later is heard", _whose),
    Always("fills", "what was decided while the store was away is told when it is back", _fills),
    Always("tells", "what others do not know yet is written", _tells),
    Always("behind", "a write goes behind the record that is known", _behind),
    Always("remembers", "when something was decided is remembered", _remembers),
    Always("says", "a decision is to be said until the store has it, or something later", _says),
    Always("adopts", "what was read or written last is what is known", _adopts),
    Always("reported", "a fault is reported once, and its end once", _reported),
    Always("joined", "whoever has read is joined, and whoever could not is apart", _joined),
    Always("again", "whoever was late reads who was faster", _again),
)
"""What holds of `SHARING`."""

SHARING_VERIFICATION: Final = Verification(SHARING, Shared(), _sent, SHARING_PROPERTIES)


def _one_holder(taken: Taken) -> bool:
    """Whoever has asked gets it if nobody else has it, and only then."""
    if not isinstance(taken.event, LeaseAsked):
        return not taken.step.effects and (taken.state, taken.context) in (
            (taken.step.state, taken.step.context), ("Held", taken.context),
        )  # fmt: skip
    free = taken.state == "Free" or taken.context == taken.event.holder
    granted = taken.step.effects == (Grant(taken.event.holder),)
    return granted == free and taken.step.context == (taken.event.holder if free else taken.context)


def _given_back(taken: Taken) -> bool:
    if not isinstance(taken.event, LeaseReleased):
        return True
    has = taken.state == "Held" and taken.context == taken.event.holder
    return taken.step.state == ("Free" if has else taken.state)


def _expires(taken: Taken) -> bool:
    return not isinstance(taken.event, LeaseExpired) or taken.step.state == "Free"


def _held(taken: Taken) -> bool:
    return (taken.step.state == "Held") == bool(taken.step.context)


LEASE_PROPERTIES: Final = (
    Always("one holder", "one holder at a time", _one_holder),
    Always("given back", "who has it can give it back, and nobody else", _given_back),
    Always("expires", "a lease whose time is over is free, although nobody gives it back", _expires),
    Always("held", "a lease that is held has a holder", _held),
    Eventually(
        "passes on",
        "whoever has died does not keep it",
        lambda taken: taken.step.state == "Held",
        lambda taken: taken.step.state == "Free",
        of="step",
    ),
)
"""What holds of `LEASE`."""

LEASE_VERIFICATION: Final = Verification(LEASE, "", properties=LEASE_PROPERTIES)
