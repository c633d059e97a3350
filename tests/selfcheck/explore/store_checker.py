"""What is said of processes that share a faulty store, and what a search of them found.

>>> examine_sharing(Extent(processes=1, decisions=1, faults=1)).ok
True
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

import attrs

from bluegreen.machines.store_sync import JOINED, SHARING, Adopt, RecordRead
from bluegreen.table.table import Table
from bluegreen.verify.exploration.liveness import lasso
from bluegreen.verify.properties.base import Always, Eventually, Taken
from selfcheck.explore.breadth_first import Searched, path_to, search
from selfcheck.explore.checker import Violation
from selfcheck.model.store import NOTHING, Extent, Scene, SharingWorld


def _in_order(taken: Taken) -> bool:
    if not isinstance(taken.event, RecordRead) or not any(
        isinstance(one, Adopt) for one in taken.step.effects
    ):
        return True
    known, record = taken.context.known, taken.event.record
    comparable = known.incarnation == record.incarnation != ""
    if taken.state == JOINED and comparable:
        return bool(record.store_epoch > known.store_epoch)
    decided = taken.context.decided
    newer = comparable and record.store_epoch > known.store_epoch
    return newer or taken.event.route is None or decided is None or not decided.later_than(record.at)


def _never_back(taken: Taken) -> bool:
    known, after = taken.context.known, taken.step.context.known
    joined = taken.state == JOINED and known.incarnation == after.incarnation
    return not joined or after.store_epoch >= known.store_epoch


def _newer_heard(taken: Taken) -> bool:
    if taken.state != JOINED or not isinstance(taken.event, RecordRead):
        return True
    known, record = taken.context.known, taken.event.record
    newer = known.incarnation == record.incarnation and record.store_epoch > known.store_epoch
    heard = [one.strategy for one in taken.step.effects if isinstance(one, Adopt)]
    return not newer or heard == [record.announced]


STEPWISE: Final = (
    Always("H in order", "nothing old is heard, nor anything against a later decision", _in_order),
    Always("H newer", "within an incarnation the later epoch is heard, whatever clocks say", _newer_heard),
    Always("H never back", "what is known never goes back within an incarnation", _never_back),
)
"""Of each step of `SHARING` in a world."""


@attrs.frozen
class Sight:
    """What a property of a world looks at."""

    world: SharingWorld
    scene: Scene

    @property
    def whole(self) -> bool:
        """Whether the record says what was decided when it says that it was decided."""
        record = self.world.holdings.things[self.scene.holding].record
        at = record.at.wall_s
        return not at or not at.is_integer() or self.scene.made[int(at) - 1] is record.announced

    @property
    def kept(self) -> bool:
        """Whether no write has gone over another one: epochs of one life follow each other."""
        held = self.world.holdings.things[self.scene.holding]
        epochs = [one.store_epoch for one in (*held.before, held.record)]
        return epochs == list(range(epochs[0], epochs[0] + len(epochs)))

    @property
    def calm(self) -> bool:
        """Whether no fault and no decision is still to come."""
        return not self.scene.faults and not self.scene.decisions

    @property
    def agreed(self) -> bool:
        """Whether everybody knows what the store holds, goes by it, and writes nothing else."""
        record = self.world.holdings.things[self.scene.holding].record
        parties = [self.world.parties.things[one] for one in self.scene.parties]
        return self.scene.late == NOTHING and all(
            one.state == JOINED
            and not one.writes
            and (one.route, one.shared.known) == (record.announced, record)
            for one in parties
        )

    @property
    def on_the_newest(self) -> bool:
        """Whether what everybody goes by is the newest decision, if it was made in knowledge of all others."""
        record = self.world.holdings.things[self.scene.holding].record
        return self.agreed and self.scene.newest in (None, record.announced)


SHARED_ALWAYS: Final = (
    Always("H whole", "a record is never half of two", lambda sight: sight.whole, "world"),
    Always(
        "H kept",
        "no write goes over another one that its writer did not know",
        lambda sight: sight.kept,
        "world",
    ),
)
SHARED_EVENTUALLY: Final = (
    Eventually(
        "H agreed", "once faults are over, everybody and the store agree",
        lambda sight: sight.calm, lambda sight: sight.agreed,
    ),
    Eventually(
        "H newest", "once faults are over, the newest decision is what everybody goes by",
        lambda sight: sight.calm, lambda sight: sight.on_the_newest,
    ),
)  # fmt: skip
SHARED_PROPERTIES: Final = (*STEPWISE, *SHARED_ALWAYS, *SHARED_EVENTUALLY)


@attrs.frozen
class StoreResult:
    """What was found, and how much was looked at."""

    extent: Extent
    searched: Searched
    violations: tuple[Violation, ...]
    untaken: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything was seen, and nothing is wrong with it."""
        return self.searched.complete and not self.violations


def examine_sharing(
    extent: Extent | None = None, table: Table[Any, Any, Any] = SHARING, **options: Any
) -> StoreResult:
    """Explore processes that share a faulty store, and look at them.

    Args:
        options: those of `SharingWorld`.
    """
    world = SharingWorld(extent, table, **options)
    searched = search(world)
    violations = [*_stepwise(world, searched), *_scenes(world, searched)]
    violations += _lassos(world, searched)
    untaken = tuple(row.name for row in table.rows if row.name not in world.rows)
    return StoreResult(world.extent, searched, tuple(violations), untaken)


def _stepwise(world: SharingWorld, searched: Searched) -> Iterable[Violation]:
    for one in STEPWISE:
        bad = {
            id(move) for move in world.every_move() if not all(one.holds(taken) for taken in move.taken)
        }  # the moves are kept, so that no number is used again
        first = next(
            (
                (scene, move)
                for level in searched.levels if bad
                for scene in level
                for move, _ in world.arrows(scene) if id(move) in bad
            ),
            None,
        )  # fmt: skip
        if first is not None:
            yield Violation(one.name, one.text, (*_way(world, searched, first[0]), first[1].told))


def _scenes(world: SharingWorld, searched: Searched) -> Iterable[Violation]:
    for one in SHARED_ALWAYS:
        scene = next((s for level in searched.levels for s in level if not one.holds(Sight(world, s))), None)
        if scene is not None:
            yield Violation(one.name, one.text, _way(world, searched, scene))


def _lassos(world: SharingWorld, searched: Searched) -> Iterable[Violation]:
    calm = [scene for level in searched.levels for scene in level if Sight(world, scene).calm]
    graph = {scene: [(move.fair, after) for move, after in world.arrows(scene)] for scene in calm}
    for one in SHARED_EVENTUALLY:
        over = frozenset(scene for scene in calm if one.then(Sight(world, scene)))
        cycle = lasso(graph, calm, over.__contains__)
        if cycle:
            first = next(scene for level in searched.levels for scene in level if scene in cycle)
            yield Violation(one.name, one.text, _way(world, searched, first), cycle=len(cycle))


def _way(world: SharingWorld, searched: Searched, scene: Scene) -> tuple[str, ...]:
    path = path_to(world, searched.levels, scene)
    words: list[str] = []
    for before, after in pairwise(path):
        words.append(next(move.told for move, leads in world.arrows(before) if leads == after))
    return tuple(words)
