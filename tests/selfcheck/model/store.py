"""Processes that share a store which loses writes, answers late, goes away, and comes back empty or as an older copy.

Each process has `SHARING`, and of the strategy machine what the store sees of it: where new queries go. It decides, by
itself or because of a word that it hears; it looks, and what was read may be believed later; it writes, and two of its
threads may do so at once. Every step about a store is one of the table. What a process can do with a store is found
once, whatever the others do, and processes have no names.

    >>> searched = search(SharingWorld(Extent(processes=1, decisions=1, faults=0)))
    >>> searched.states, searched.complete
    (32, True)

Source: spec, sections 2 and 4; invariants I6 and I9, between processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import attrs

from bluegreen.machines.store_sync import (
    SHARING,
    Adopt,
    RecordRead,
    Reread,
    Shared,
    StoreFailed,
    StrategyDecided,
    Write,
    WriteAccepted,
    WriteRefused,
)
from bluegreen.store import Stamp, StoreRecord
from bluegreen.table.step import step
from bluegreen.table.table import Table
from bluegreen.types import Strategy
from bluegreen.verify.properties.base import Taken
from selfcheck.explore.action_tables import Numbers
from selfcheck.explore.breadth_first import search

__all__ = ["Extent", "Holding", "Move", "Party", "Scene", "SharingWorld", "search"]


@attrs.frozen
class Extent:
    """How much happens: processes, decisions that they make, and faults, in any order."""

    processes: int = 2
    decisions: int = 2
    faults: int = 2


class Party(NamedTuple):
    """A process.

    Args:
        state, shared: of its machine.
        route: where its new queries go.
        read: what one of its threads has read, and not yet told the machine.
        writes: what its threads are writing.
    """

    state: str
    shared: Shared
    route: Strategy | None
    read: StoreRecord | None
    writes: tuple[StoreRecord, ...]


class Holding(NamedTuple):
    """A store: what it holds, what it held before in this life, which life that is, and whether it has gone back in
    it, so that epochs are used twice."""

    record: StoreRecord
    before: tuple[StoreRecord, ...]
    life: int
    went_back: bool = False


class Scene(NamedTuple):
    """Everything at one moment.

    Args:
        holding: number of the store.
        late: number of a write whose writer knows nothing of it any more, and that may still land.
        parties: numbers of the processes, sorted.
        faults, decisions: how many are still to come.
        made: the decisions that were made; how many there are is what an honest clock shows.
        newest: the decision that was made last, if whoever made it knew all others, and epochs tell it from them.
    """

    holding: int
    late: int
    parties: tuple[int, ...]
    faults: int
    decisions: int
    made: tuple[Strategy, ...]
    newest: Strategy | None


class Move(NamedTuple):
    """What a process, or the store, does: with what is left of each, and how many faults and decisions it takes."""

    text: str
    fair: str
    party: int
    holding: int
    late: int
    faults: int = 0
    decided: Strategy | None = None
    jumped: bool = False
    taken: tuple[Taken, ...] = ()
    before: int = 0

    @property
    def told(self) -> str:
        """It in words, with the number of the process as it was."""
        return (
            self.text
            if self.text.startswith(("the store", "a late"))
            else f"process {self.before} {self.text}"
        )


NOTHING: Final = 0
"""The number of the write that is not there."""
_KEPT: Final = 2
"""Records that an older copy of the store may have."""
_WRITES: Final = 2
"""Threads of a process that write at a time; no more decide meanwhile."""
_NEW: Final = Party(SHARING.initial, Shared(), None, None, ())


def _empty(life: int) -> StoreRecord:
    return StoreRecord(incarnation=f"life {life}")


class SharingWorld:
    """A space for `search`.

    Args:
        extent: how large it is.
        table: the table about a store, or one in its place.
        overwrites: whether the store takes whatever is written, behind whichever record; a bug.
        halves: whether a record says what was decided now with the time of what was known before; a bug.
    """

    def __init__(
        self,
        extent: Extent | None = None,
        table: Table[Any, Any, Any] = SHARING,
        *,
        overwrites: bool = False,
        halves: bool = False,
    ) -> None:
        self.extent, self._table = extent or Extent(), table
        self._overwrites, self._halves = overwrites, halves
        self.parties: Numbers[Party] = Numbers()
        self.holdings: Numbers[Holding] = Numbers()
        self.writes: Numbers[StoreRecord | None] = Numbers()
        self.writes[None]  # its number is NOTHING
        self.rows: set[str] = set()
        self._moves: dict[tuple[int, int, int, int], list[Move]] = {}

    def first(self) -> list[Scene]:
        """Return the scene in which everything begins: an empty store, and nobody has looked."""
        extent = self.extent
        parties = (self.parties[_NEW],) * extent.processes
        holding = self.holdings[Holding(_empty(1), (), 1)]
        return [Scene(holding, NOTHING, parties, extent.faults, extent.decisions, (), None)]

    def follow(self, state: Scene) -> list[Scene]:
        """Return the scenes that follow."""
        return [after for _, after in self.arrows(state)]

    def arrows(self, scene: Scene) -> list[tuple[Move, Scene]]:
        """Return every move from a scene, and where it leads."""
        found: list[tuple[Move, Scene]] = []
        for index, party in enumerate(scene.parties):
            if index and party == scene.parties[index - 1]:
                continue
            rest = scene.parties[:index] + scene.parties[index + 1 :]
            found += [
                (move, self._after(scene, rest, move))
                for move in self.moves(party, scene.holding, scene.late, len(scene.made))
                if move.faults <= scene.faults and (move.decided is None or scene.decisions)
            ]
        return found

    def _after(self, scene: Scene, rest: tuple[int, ...], move: Move) -> Scene:
        newest, made, decisions = scene.newest, scene.made, scene.decisions
        parties = tuple(sorted((*rest, move.party)))
        if move.decided is not None:
            made, decisions = (*made, move.decided), decisions - 1
            newest = move.decided if not move.jumped and self._knew_all(scene, rest, move) else None
        elif newest is not None and move.faults and not self._remembered(parties, newest):
            newest = None  # nobody is left who knows it
        if self.holdings.things[move.holding].went_back:
            newest = None  # epochs do not tell it from others
        return Scene(move.holding, move.late, parties, scene.faults - move.faults, decisions, made, newest)

    def _knew_all(self, scene: Scene, rest: tuple[int, ...], move: Move) -> bool:
        """Whether whoever decides knows what the store holds, and nobody is writing anything else."""
        party = self.parties.things[move.party]
        record, now = self.holdings.things[scene.holding].record, Stamp(len(scene.made) + 1.0)
        others = [self.parties.things[one] for one in rest]
        writes = any(one.writes for one in others) or any(one.at != now for one in party.writes)
        apart = any(one.route not in (None, record.announced) for one in others)
        return party.shared.known == record and not writes and not apart and scene.late == NOTHING

    def _remembered(self, parties: tuple[int, ...], strategy: Strategy) -> bool:
        return any(self.parties.things[one].route is strategy for one in parties)

    # What a process and a store can do.

    def moves(self, party: int, holding: int, late: int, tick: int) -> list[Move]:
        """Return what one process, or the store beside it, can do."""
        key = party, holding, late, tick
        if key not in self._moves:
            found = [
                *self._of_party(*key), *self._of_writes(*key), *self._of_store(party, holding, late)
            ]  # fmt: skip
            self._moves[key] = [one._replace(before=party) for one in found]
        return self._moves[key]

    def every_move(self) -> Iterator[Move]:
        """Yield every move that was found so far."""
        for found in self._moves.values():
            yield from found

    def _of_party(self, number: int, holding: int, late: int, tick: int) -> Iterator[Move]:
        party = self.parties.things[number]
        held = self.holdings.things[holding]
        if party.read is None:
            yield self._move("looks", _due(party), party._replace(read=held.record), holding, late)
        else:
            event = RecordRead(party.read, party.route)
            yield self._sent(f"believes what it has read: {_told(party.read)}", _due(party), party._replace(read=None),
                             event, held, late, tick)  # fmt: skip
        yield self._sent("gets no answer", "", party._replace(read=None), StoreFailed("silent"), held, late, tick,
                         faults=1)  # fmt: skip
        if len(party.writes) < _WRITES:
            for strategy in Strategy:
                if strategy is not party.route:
                    for jumped in (False, True):
                        at = Stamp(0.0 if jumped else tick + 1.0)
                        text = f"decides: {strategy}" + (", and its clock is wrong" if jumped else "")
                        yield self._sent(text, "", party._replace(route=strategy),
                                         StrategyDecided(strategy, True, at), held, late, tick,
                                         faults=int(jumped), decided=strategy, jumped=jumped)  # fmt: skip
        for left in {NOTHING, *map(self.writes.__getitem__, party.writes)} if late == NOTHING else {late}:
            yield self._move("is killed, and begins anew", "", _NEW, holding, left, faults=1)

    def _of_writes(self, number: int, holding: int, late: int, tick: int) -> Iterator[Move]:
        party = self.parties.things[number]
        held = self.holdings.things[holding]
        for record in dict.fromkeys(party.writes):
            left = list(party.writes)
            left.remove(record)
            after = party._replace(writes=tuple(left))
            told = _told(record)
            silent = StoreFailed("silent")
            if not self._takes(held, record):
                yield self._sent(f"writes {told}: refused", told, after, WriteRefused(), held, late, tick)
            else:
                taken = _holds(held, record)
                accepted = WriteAccepted(record)
                yield self._sent(f"writes {told}", told, after, accepted, taken, late, tick)
                yield self._sent(
                    f"writes {told}: it is lost", "", after, accepted, held, late, tick, faults=1
                )
                yield self._sent(f"writes {told}, and gets no answer", "", after, silent, taken, late, tick,
                                 faults=1)  # fmt: skip
            if late == NOTHING:
                yield self._sent(f"writes {told}: it is late", "", after, silent, held, self.writes[record], tick,
                                 faults=1)  # fmt: skip

    def _of_store(self, number: int, holding: int, late: int) -> Iterator[Move]:
        held, record = self.holdings.things[holding], self.writes.things[late]
        if record is not None:
            after = _holds(held, record) if self._takes(held, record) else held
            yield Move("a late write arrives", "arrive", number, self.holdings[after], NOTHING)
        life = held.life + 1
        yield self._lost("the store comes back empty", number, Holding(_empty(life), (), life), late)
        for old in held.before:
            again = attrs.evolve(old, incarnation=f"life {life}")
            told = f"the store comes back as an older copy: {_told(old)}"
            yield self._lost(f"{told}, of another incarnation", number, Holding(again, (), life), late)
            yield self._lost(
                f"{told}, of the same incarnation", number, Holding(old, (), held.life, True), late
            )

    def _lost(self, text: str, number: int, held: Holding, late: int) -> Move:
        return Move(text, "", number, self.holdings[held], late, 1)

    def _takes(self, held: Holding, record: StoreRecord) -> bool:
        """Compare and set, as every store does it."""
        there = held.record
        return self._overwrites or (
            record.incarnation == there.incarnation and record.store_epoch == there.store_epoch + 1
        )

    def _move(self, text: str, fair: str, party: Party, holding: int, late: int, **more: Any) -> Move:
        return Move(text, fair, self.parties[party], holding, late, **more)

    def _sent(
        self, text: str, fair: str, party: Party, event: Any, held: Holding, late: int, tick: int, **more: Any
    ) -> Move:
        """Send an event to the machine of a process, and do what it asks for."""
        taken: list[Taken] = []
        events = [event]
        for one in events:  # it grows: to hear a word is to decide
            found = step(self._table, party.state, party.shared, one)
            self.rows.add(found.row.name)
            taken.append(Taken(party.state, party.shared, one, found))
            party = party._replace(state=found.state, shared=found.context)
            for effect in found.effects:
                match effect:
                    case Adopt() if effect.strategy is not party.route:
                        party = party._replace(route=effect.strategy)
                        events.append(StrategyDecided(effect.strategy, False, Stamp(tick + 0.5)))
                    case Write() if party.route is not None:
                        party = party._replace(writes=self._writing(party, effect))
                    case Reread():
                        party = party._replace(read=held.record)
                    case _:
                        pass
        return self._move(text, fair, party, self.holdings[held], late, taken=tuple(taken), **more)

    def _writing(self, party: Party, behind: Write) -> tuple[StoreRecord, ...]:
        decided = party.shared.decided or Stamp()
        record = StoreRecord(
            store_epoch=behind.store_epoch + 1,
            incarnation=behind.incarnation,
            announced=party.route,
            at=party.shared.known.at if self._halves and party.shared.known.store_epoch else decided,
        )
        return tuple(sorted({*party.writes, record}, key=repr))


def _due(party: Party) -> str:
    """The name under which a process has to look, and to believe what it has read: of all that are alike."""
    return f"look {party.state} {party.shared} {party.route}"


def _holds(held: Holding, record: StoreRecord) -> Holding:
    return Holding(record, (*held.before, held.record)[-_KEPT:], held.life, held.went_back)


def _told(record: StoreRecord) -> str:
    return f"{record.announced or 'nothing'} ({record.incarnation}, epoch {record.store_epoch})"
