"""Processes that share a store, and everything that can happen to it: whether they agree once faults are over.

A process is its side of the store (`SHARING`) and where it sends queries. It decides, as its cluster tells it, at any
moment; it looks at any moment; it dies between a read and a write. The store loses a write, takes one later than its
writer waited, is away, comes back empty, as an older copy of itself with another incarnation or with the same one; and
clocks may say anything.

>>> world = SharingWorld(processes=1, decisions=1)
>>> found = world.explore()
>>> found.states, found.broken
(492, ())

Source: spec, sections 4 (Publish) and 7 (I6, between processes).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs

from bluegreen.machine import step
from bluegreen.sharing import (
    SHARING,
    Hear,
    ReadAgain,
    RecordRead,
    Shared,
    StoreFailed,
    StrategyDecided,
    Write,
    WriteAccepted,
    WriteRefused,
)
from bluegreen.store import Stamp, StoreRecord
from bluegreen.table import Table
from bluegreen.vocabulary import Strategy

_HEARD_S: Final = 3.0
"""When something is heard, by a clock that is later than any at which something is decided."""
_ROUNDS: Final = 4
"""Looks of every process, one after the other, within which they have to agree once nothing goes wrong any more."""


SHARED: Final = ((2, 2, 2), (3, 2, 1))
"""The worlds that are explored: processes, decisions, faults."""


@attrs.frozen(cache_hash=True)
class Member:
    """One process: its side of the store, and where it sends queries."""

    state: str = SHARING.initial
    shared: Shared = Shared()
    route: Strategy | None = None


@attrs.frozen(cache_hash=True)
class Shelf:
    """The store.

    Args:
        record: what it holds; the incarnation is the store's.
        away: whether it does not answer.
        copy: an older state of it that may be put back.
        late: writes that were sent, and will be taken or not when nobody waits for them any more.
    """

    record: StoreRecord = StoreRecord(incarnation="0")
    away: bool = False
    copy: StoreRecord | None = None
    late: tuple[StoreRecord, ...] = ()


@attrs.frozen(cache_hash=True)
class Place:
    """A moment of the world: the store, the processes (in no order), and how much may still happen."""

    shelf: Shelf
    members: tuple[Member, ...]
    decisions: int
    faults: int


@attrs.frozen
class Agreed:
    """What an exploration found.

    Args:
        states: how many moments there are.
        broken: what does not hold: in words, with the way there.
    """

    states: int
    broken: tuple[tuple[str, tuple[str, ...]], ...]


class SharingWorld:
    """The world.

    Args:
        processes: how many.
        decisions: how often somebody decides.
        faults: how often something goes wrong.
        table: what is explored in the place of `SHARING`.
        blind: whether the store takes a write whatever stands there, which none of ours does.
    """

    def __init__(
        self,
        processes: int = 2,
        decisions: int = 2,
        faults: int = 2,
        table: Table[Any, Any, Any] = SHARING,
        *,
        blind: bool = False,
    ) -> None:
        self.table, self.blind = table, blind
        self._first = Place(Shelf(), (Member(),) * processes, decisions, faults)

    def explore(self, most: int = 2_000_000) -> Agreed:
        """Look at every moment that can be reached; stop at the first that is wrong.

        Raises:
            ValueError: there are more than `most`.
        """
        came: dict[Place, tuple[Place, str] | None] = {self._first: None}
        waiting = [self._first]
        for place in waiting:  # it grows
            wrong = self._wrong(place)
            if wrong is not None:
                return Agreed(len(came), ((wrong, _way(came, place)),))
            for text, after, backward in self.moves(place):
                if backward:
                    return Agreed(
                        len(came), (("a process goes back to an older record", (*_way(came, place), text)),)
                    )
                if after not in came:
                    came[after] = place, text
                    waiting.append(after)
            if len(came) > most:
                raise ValueError(f"more than {most} states")
        return Agreed(len(came), ())

    # What happens.

    def moves(self, place: Place) -> Iterator[tuple[str, Place, bool]]:
        """Yield what can happen: in words, what it leads to, and whether a process goes back within an incarnation."""
        for index in range(len(place.members)):
            yield self._moved(place, index, "looks", self._look)
            if place.decisions:
                for strategy in Strategy:
                    for at in (1.0, 2.0):  # clocks may say anything

                        def decide(
                            shelf: Shelf, member: Member, strategy: Strategy = strategy, at: float = at
                        ) -> tuple[Shelf, Member]:
                            event = StrategyDecided(strategy, verified=True, at=Stamp(at))
                            return self._send(shelf, attrs.evolve(member, route=strategy), event)

                        fewer = attrs.evolve(place, decisions=place.decisions - 1)
                        yield self._moved(fewer, index, f"decides for {strategy}", decide)
                        if place.faults:
                            worse = attrs.evolve(fewer, faults=place.faults - 1)
                            yield self._late(worse, index, strategy, at)
            if place.faults:
                worse = attrs.evolve(place, faults=place.faults - 1)
                yield self._moved(worse, index, "dies, and begins anew", lambda shelf, _: (shelf, Member()))
        if place.faults:
            worse = attrs.evolve(place, faults=place.faults - 1)
            for text, shelf in self._faults(place.shelf):
                yield text, attrs.evolve(worse, shelf=shelf), False
        if place.shelf.away:
            yield "the store is back", attrs.evolve(place, shelf=attrs.evolve(place.shelf, away=False)), False
        if place.shelf.late:
            first, *rest = place.shelf.late
            shelf = attrs.evolve(place.shelf, late=tuple(rest))
            yield "a write is dropped", attrs.evolve(place, shelf=shelf), False
            shelf, _ = self._taken(shelf, first)
            yield "a write is taken late", attrs.evolve(place, shelf=shelf), False

    def _faults(self, shelf: Shelf) -> Iterator[tuple[str, Shelf]]:
        other = str(int(shelf.record.incarnation) + 1)
        if not shelf.away:
            yield "the store is away", attrs.evolve(shelf, away=True)
        yield "the store is begun anew", attrs.evolve(shelf, record=StoreRecord(incarnation=other))
        if shelf.copy is None:
            yield "a copy is made", attrs.evolve(shelf, copy=shelf.record)
        else:
            again = attrs.evolve(shelf.copy, incarnation=other)
            yield "an old copy is put back", attrs.evolve(shelf, record=again, copy=None)
            if shelf.away:  # nobody is told that it is another one
                yield (
                    "an old copy is put back in secret",
                    attrs.evolve(shelf, record=attrs.evolve(shelf.copy), copy=None),
                )

    def _moved(self, place: Place, index: int, text: str, does: Any) -> tuple[str, Place, bool]:
        before = place.members[index]
        shelf, after = does(place.shelf, before)
        return self._after(place, index, f"{index + 1} {text}", shelf, after)

    def _after(
        self, place: Place, index: int, text: str, shelf: Shelf, after: Member
    ) -> tuple[str, Place, bool]:
        before = place.members[index]
        was, known = before.shared.known, after.shared.known
        backward = (
            before.state == after.state == "Joined"
            and was.incarnation == known.incarnation
            and known.epoch < was.epoch
        )
        members = (*place.members[:index], after, *place.members[index + 1 :])
        ordered = tuple(sorted(members, key=repr))
        return text, attrs.evolve(place, shelf=shelf, members=ordered), backward

    def _late(self, place: Place, index: int, strategy: Strategy, at: float) -> tuple[str, Place, bool]:
        """A write that its writer does not wait for long enough: whether it was taken, it does not know."""
        member = attrs.evolve(place.members[index], route=strategy)
        taken = step(
            self.table, member.state, member.shared, StrategyDecided(strategy, verified=True, at=Stamp(at))
        )
        member = attrs.evolve(member, state=taken.state, shared=taken.context)
        writes = [_record(member, one) for one in taken.effects if isinstance(one, Write)]
        shelf = attrs.evolve(place.shelf, late=(*place.shelf.late, *writes))
        shelf, member = self._send(shelf, member, StoreFailed("late"))
        return self._after(
            place, index, f"{index + 1} decides for {strategy}, and does not wait", shelf, member
        )

    # What a process does.

    def _look(self, shelf: Shelf, member: Member) -> tuple[Shelf, Member]:
        event: Any = StoreFailed("away") if shelf.away else RecordRead(shelf.record, member.route)
        return self._send(shelf, member, event)

    def _send(self, shelf: Shelf, member: Member, event: Any) -> tuple[Shelf, Member]:
        taken = step(self.table, member.state, member.shared, event)
        member = attrs.evolve(member, state=taken.state, shared=taken.context)
        for effect in taken.effects:
            if isinstance(effect, Hear):  # the strategy machine makes it pending, and publishes that
                echo = StrategyDecided(effect.strategy, verified=False, at=Stamp(_HEARD_S))
                shelf, member = self._send(shelf, attrs.evolve(member, route=effect.strategy), echo)
            elif isinstance(effect, ReadAgain):
                shelf, member = self._look(shelf, member)
            elif isinstance(effect, Write):
                shelf, member = self._write(shelf, member, effect)
        return shelf, member

    def _write(self, shelf: Shelf, member: Member, behind: Write) -> tuple[Shelf, Member]:
        if shelf.away:
            return self._send(shelf, member, StoreFailed("away"))
        shelf, written = self._taken(shelf, _record(member, behind))
        return self._send(shelf, member, WriteRefused() if written is None else WriteAccepted(written))

    def _taken(self, shelf: Shelf, record: StoreRecord) -> tuple[Shelf, StoreRecord | None]:
        """Compare and set."""
        there = shelf.record
        if (record.incarnation, record.epoch) != (there.incarnation, there.epoch + 1) and not self.blind:
            return shelf, None
        return attrs.evolve(shelf, record=record), record

    # What has to hold.

    def _wrong(self, place: Place) -> str | None:
        """Return what is wrong: once nothing goes wrong any more, all that look have to agree with the store."""
        shelf, members = attrs.evolve(place.shelf, away=False, late=()), list(place.members)
        if not any(one.route for one in members) and shelf.record.announced is None:
            return None
        for _ in range(_ROUNDS):
            for index, member in enumerate(members):
                shelf, members[index] = self._look(shelf, member)
        routes = {one.route for one in members}
        states = {one.state for one in members}
        if routes != {shelf.record.announced}:
            return (
                f"they do not agree: {sorted(map(str, routes))}, and the store says {shelf.record.announced}"
            )
        return None if states == {"Joined"} else "somebody stays apart although the store answers"


def _record(member: Member, behind: Write) -> StoreRecord:
    assert member.route is not None
    return StoreRecord(
        epoch=behind.epoch + 1,
        incarnation=behind.incarnation,
        announced=member.route,
        verified=member.route,
        at=member.shared.decided or Stamp(),
    )


def _way(came: dict[Place, tuple[Place, str] | None], place: Place) -> tuple[str, ...]:
    words: list[str] = []
    before = came[place]
    while before is not None:
        words.append(before[1])
        before = came[before[0]]
    return tuple(reversed(words))
