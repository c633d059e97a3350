"""Store machine: what a process makes of what it finds in a store that others write as well.

`SHARING` decides whose word counts, when the store and the process differ. Within one incarnation of a store the
later epoch counts, whatever clocks say. Where epochs cannot be compared, since the store is another one by now or an
older copy of itself, the later decision counts; whoever sees something old looks again before that is believed. So no
process goes back to what it knows to be old, and a store that was lost is filled again by the first process that looks.

Source: spec, sections 2 (epochs and versions) and 4 (Publish); invariant I6, between processes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import attrs

from bluegreen.store import Stamp, StoreRecord
from bluegreen.table.guards import Fact
from bluegreen.table.table import State, Table, go, ignore, stay
from bluegreen.types import Strategy

APART: Final = "Apart"
JOINED: Final = "Joined"


@attrs.frozen
class Shared:
    """What a process knows of the store of its scope.

    Args:
        known: the record that was read or written last.
        decided: when it was decided where new queries of this process go: here, or by whoever it goes along with.
        told: whether it was told that the store has failed.
        since: whether it has decided since it last heard what others have decided.
    """

    known: StoreRecord = StoreRecord()
    decided: Stamp | None = None
    told: bool = False
    since: bool = False


@attrs.frozen
class RecordRead:
    """The store was read.

    Args:
        record: what it holds.
        route: where this process sends new queries; none while it does not know.
    """

    name: ClassVar[str] = "record_read"
    record: StoreRecord
    route: Strategy | None = None


@attrs.frozen
class StrategyDecided:
    """This process has decided where its new queries go.

    Args:
        strategy: where.
        verified: whether the strategy was found to serve.
        at: when.
    """

    name: ClassVar[str] = "strategy_decided"
    strategy: Strategy
    verified: bool
    at: Stamp


@attrs.frozen
class WriteAccepted:
    """The store has taken a record of this process."""

    name: ClassVar[str] = "write_accepted"
    record: StoreRecord


@attrs.frozen
class WriteRefused:
    """The store has not taken a record: another process was faster, or the store is another one by now."""

    name: ClassVar[str] = "write_refused"


@attrs.frozen
class StoreFailed:
    """The store does not answer, not in time, or with something that is no record."""

    name: ClassVar[str] = "store_failed"
    reason: str = ""


SharingEvent = RecordRead | StrategyDecided | WriteAccepted | WriteRefused | StoreFailed


@attrs.frozen
class Adopt:
    """Tell the strategy machine what the store says."""

    strategy: Strategy


@attrs.frozen
class Write:
    """Write where this process sends its queries, behind the record with this epoch and incarnation."""

    store_epoch: int
    incarnation: str


@attrs.frozen
class Reread:
    """Read the store: somebody else has written."""


@attrs.frozen
class ReportOutage:
    """Report, once, that the store has failed."""

    reason: str


@attrs.frozen
class ReportRecovery:
    """Report that the store is back."""


SharingEffect = Adopt | Write | Reread | ReportOutage | ReportRecovery

era = Fact(
    "era",
    ("same", "other"),
    lambda c, e: "same" if e.record.incarnation == c.known.incarnation != "" else "other",
)
# Two records of one epoch may differ, where an older copy of a store has got so far again: that is as bad as older.
order = Fact(
    "order",
    ("older", "same", "newer"),
    lambda c, e: (
        "same" if e.record == c.known else "newer" if e.record.store_epoch > c.known.store_epoch else "older"
    ),
)
says = Fact(
    "says",
    ("nothing", "ours", "other"),
    lambda _, e: (
        "nothing" if e.record.announced is None else "ours" if e.record.announced is e.route else "other"
    ),
)
routes = Fact("routes", (True, False), lambda c, e: e.route is not None and c.decided is not None)
later = Fact("later", (True, False), lambda c, e: c.decided is not None and c.decided.later_than(e.record.at))
adds = Fact(
    "adds",
    (True, False),
    lambda c, e: e.strategy is not c.known.announced or (e.verified and e.strategy is not c.known.verified),
)
since = Fact("since", (True, False), lambda c, _: c.since)
told = Fact("told", (True, False), lambda c, _: c.told)

comparable = era.is_("same").named("same store")
is_newer = order.is_("newer").named("newer")
is_older = order.is_("older").named("older")
is_same = order.is_("same").named("nothing new")
says_other = says.is_("other").named("says otherwise")
says_nothing = says.is_("nothing").named("says nothing")
has_route = routes.is_(True).named("has decided")
decided_later = later.is_(True).named("decided later")
adds_something = adds.is_(True).named("adds something")
is_told = told.is_(True).named("told")

untold = (~says.is_("ours") & since.is_(True) & has_route).named("decided since")
ours_counts = ((says_nothing | (says_other & decided_later)) & has_route).named("ours counts")
theirs_counts = (says_other & ~(has_route & decided_later)).named("theirs counts")
in_order = comparable & is_newer
out_of_order = ~comparable | is_older
FOLLOWED: Final = "nobody has written since"


def adopt(context: Shared, event: WriteAccepted) -> Shared:
    """This is what the store holds now."""
    return attrs.evolve(context, known=event.record)


def join(context: Shared, event: RecordRead) -> Shared:
    """The store answers, and this is what others have written."""
    return attrs.evolve(context, known=event.record, told=False, since=False)


def insist(context: Shared, _: RecordRead) -> Shared:
    """The store answers, and what was decided here counts. Until it is written there, what others write is judged so
    again: two who fill a store at once must not take its first epoch for the later decision."""
    return attrs.evolve(context, told=False, since=True)


def rejoin(context: Shared, _: RecordRead) -> Shared:
    """The store answers, and nothing has changed there."""
    return attrs.evolve(context, told=False)


def decide(context: Shared, event: StrategyDecided) -> Shared:
    """Remember when this was decided."""
    return attrs.evolve(context, decided=event.at, since=True)


def go_along(context: Shared, event: StrategyDecided) -> Shared:
    """Whoever goes by what others have decided has decided nothing since, unless it has found out by itself."""
    at = event.at if event.verified else context.known.at
    return attrs.evolve(context, decided=at, since=True)


def tell(context: Shared, _: StoreFailed) -> Shared:
    """It was told."""
    return attrs.evolve(context, told=True)


def hear(_: Shared, after: Shared, __: Any) -> SharingEffect | None:
    """Hear what the record says, if it says anything."""
    return Adopt(after.known.announced) if after.known.announced else None


def write(_: Shared, after: Shared, event: RecordRead | StrategyDecided) -> SharingEffect | None:
    """Write behind the record that was read just now, or else behind the one that is known."""
    behind = event.record if isinstance(event, RecordRead) else after.known
    return Write(behind.store_epoch, behind.incarnation)


def read_again(_: Shared, __: Shared, ___: Any) -> SharingEffect | None:
    """ReadAgain."""
    return Reread()


def report_lost(_: Shared, __: Shared, event: StoreFailed) -> SharingEffect | None:
    """ReportLost."""
    return ReportOutage(event.reason)


def report_back(before: Shared, _: Shared, __: Any) -> SharingEffect | None:
    """ReportBack, if the fault was told."""
    return ReportRecovery() if before.told else None


def _meets(state: str, makes: Any, *first: Any) -> tuple[Any, ...]:
    """The rows of a process that meets a store whose epochs it cannot compare with what it knows."""
    met = out_of_order if state == APART else ~comparable
    return (
        makes(
            RecordRead, met & ours_counts, insist, (*first, write),
            "the store is empty, or what it says is older than what was decided here: fill it",
        ),
        makes(
            RecordRead, met & theirs_counts, join, (*first, hear),
            "what it says was written later than anything was decided here",
        ),
        makes(
            RecordRead, met & ~ours_counts & ~theirs_counts, join, first,
            "it says the same, or neither side knows anything",
        ),
    )  # fmt: skip


def _joins(event: type[Any], when: Any, do: Any, effects: tuple[Any, ...], why: str) -> Any:
    return go(APART, event, JOINED, guard=when, update=do, effects=effects, why=why)


def _stays(event: type[Any], when: Any, do: Any, effects: tuple[Any, ...], why: str) -> Any:
    return stay(JOINED, event, guard=when, update=do, effects=effects, why=why)


ROWS = (
    # Apart: there is no store, or it does not answer, or it was not looked at yet. Every process is on its own.
    _joins(RecordRead, in_order, join, (report_back, hear), "others have written while it was away"),
    _joins(
        RecordRead, comparable & is_same & untold, rejoin, (report_back, write),
        "nobody has written while it was away, but something was decided here: tell it now",
    ),
    _joins(RecordRead, comparable & is_same & ~untold, rejoin, (report_back,), FOLLOWED),
    *_meets(APART, _joins, report_back),
    stay(APART, StrategyDecided, update=decide, why="it is told when the store is back"),
    ignore(APART, (WriteAccepted, WriteRefused), why="an answer that was too late; the next look tells"),
    stay(APART, StoreFailed, guard=~is_told, update=tell, effects=(report_lost,), why="it was not there at first"),
    ignore(APART, StoreFailed, guard=is_told, why="that is known: reported once, not for each query"),
    # Joined: the store answers.
    _stays(RecordRead, in_order, join, (hear,), "the latest word counts, whoever wrote it"),
    _stays(
        RecordRead, comparable & is_same & untold, None, (write,),
        "what was decided here since was refused, or was lost on its way: tell it again",
    ),
    ignore(JOINED, RecordRead, guard=comparable & is_same & ~untold, why=FOLLOWED),
    go(
        JOINED, RecordRead, APART, guard=comparable & is_older, effects=(read_again,),
        why="an answer that was too late, or an older copy of the store: nothing old is heard (I6), look again",
    ),
    *_meets(JOINED, _stays),
    stay(JOINED, StrategyDecided, guard=adds_something, update=decide, effects=(write,), why="others must know"),
    stay(JOINED, StrategyDecided, guard=~adds_something, update=go_along, why="the store says so already"),
    stay(JOINED, WriteAccepted, guard=in_order | ~comparable, update=adopt, why="this is what the store holds now"),
    ignore(JOINED, WriteAccepted, guard=comparable & ~is_newer, why="others have written since, and that was read"),
    stay(JOINED, WriteRefused, effects=(read_again,), why="somebody else was faster: hear what they say"),
    go(JOINED, StoreFailed, APART, update=tell, effects=(report_lost,), why="every process is on its own now"),
)  # fmt: skip


def _records() -> tuple[StoreRecord, ...]:
    blue, green = Strategy
    first = StoreRecord(store_epoch=3, incarnation="a", announced=blue, at=Stamp(3.0))
    return (
        first,
        attrs.evolve(first, store_epoch=0, announced=None),
        attrs.evolve(first, store_epoch=5, announced=green, at=Stamp(5.0)),
        attrs.evolve(first, store_epoch=1, incarnation="b", announced=green, at=Stamp(1.0)),
        attrs.evolve(first, store_epoch=0, incarnation="b", announced=None),
    )


def _samples() -> tuple[SharingEvent, ...]:
    reads = tuple(RecordRead(record, route) for record in _records() for route in (None, *Strategy))
    decided = tuple(
        StrategyDecided(one, verified, Stamp(at))
        for one in Strategy
        for verified in (True, False)
        for at in (2.0, 6.0)
    )
    return (*reads, *decided, *map(WriteAccepted, _records()), WriteRefused(), StoreFailed("silent"))


SHARING: Final[Table[Shared, SharingEvent, SharingEffect]] = Table(
    name="sharing",
    initial=APART,
    states=(State(APART), State(JOINED, holds=told.is_(False).named("nothing to report"), tags=("answers",))),
    events=(RecordRead, StrategyDecided, WriteAccepted, WriteRefused, StoreFailed),
    rows=ROWS,
    contexts=tuple(
        Shared(known, decided, told, since)
        for known in (StoreRecord(), *_records())
        for decided in (None, Stamp(2.0), Stamp(6.0))
        for told in (False, True)
        for since in (False, True)
    ),
    samples=_samples(),
)
"""What a process makes of what it finds in a store."""
