"""Each kind of switch as a run that the explorer finds: what a process does while its cluster is redeployed.

Nothing here is drawn by hand. A `Switch` says what has to come about, in order; a search finds a shortest way from
each to the next, and what happens on the way is what the tables do.

    >>> happened = run(SWITCHES["withdrawn"])
    >>> [one.name for one in happened if isinstance(one, Phase)]
    ['announce', 'withdraw', 'steady']
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from bluegreen.machines.query import EXECUTING, FETCHING, Lose
from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE
from bluegreen.types import Strategy
from selfcheck.explore.breadth_first import path_to, search
from selfcheck.explore.checker import along
from selfcheck.model.actions import Action, ModelOptions
from selfcheck.model.cluster import Phase
from selfcheck.model.product import Moment, Size, World

Happened = Phase | Action
"""What happens in a run: the cluster comes into a phase, or the process does something."""

Goal = Callable[[Moment, Happened], bool]
"""Whether it has come about: the moment, and what has just happened."""

BLUE, GREEN = Strategy.BLUE, Strategy.GREEN


@attrs.frozen
class Switch:
    """One kind of switch, from blue to green.

    Args:
        title: what happens, in a few words.
        told: what an application sees of it.
        through: what has to come about, in order.
        events: what time brings, by name.
        kinds: whether its statements read.
        switches: how many the cluster makes.
    """

    title: str
    told: str
    through: tuple[Goal, ...]
    events: tuple[str, ...] = ()
    kinds: tuple[bool, ...] = (False,)
    switches: int = 1


def _at(
    phase: str,
    state: str,
    active: Strategy = BLUE,
    runs: str = "",
    *,
    origin: Strategy = BLUE,
    waits: int = 0,
    held: Strategy | None = None,
) -> Goal:
    """The phase and from where the switch goes; the state, what is active and held down; where queries run, and how
    many wait to begin again."""

    def happens(moment: Moment, _: Happened) -> bool:
        process, context = moment.process, moment.process.context
        running = [
            str(one.strategy) for one in process.queries if one.holds and one.state in (EXECUTING, FETCHING)
        ]
        return (
            (moment.phase.name, moment.phase.origin) == (phase, origin)
            and (process.state, context.active, context.held_down) == (state, active, held)
            and sorted(running) == runs.split()
            and sum(not one.holds for one in process.queries) == waits
            and len(process.queries) == len(running) + waits
        )

    return happens


def _lost(_: Moment, happened: Happened) -> bool:
    """A query cannot be finished, and its application is told."""
    taken = happened.trail.taken if isinstance(happened, Action) else ()
    return any(isinstance(effect, Lose) for one in taken for effect in one.step.effects)


def _answered(phase: str, text: str) -> Goal:
    """In this phase, what happens is called so."""
    return lambda moment, happened: (
        moment.phase.name == phase and isinstance(happened, Action) and happened.text.startswith(text)
    )


_RUNS: Final = _at("steady", STABLE, runs="blue")
_GREEN: Final = _at("steady", STABLE, GREEN, origin=GREEN)

SWITCHES: Final[Mapping[str, Switch]] = {
    "graceful": Switch(
        "announced, and drained",
        "A query that began before it ends on blue, one that began after it runs on green; when nothing is open on "
        "blue any more, green is active.",
        (
            _RUNS,
            _at("announce", PENDING, runs="blue"),
            _at("announce", PENDING, runs="blue green"),
            _at("drain", PENDING, runs="blue green"),
            _answered("drain", "fetch on blue: serve"),
            _at("drain", STABLE, GREEN, runs="green"),
            _at("steady", STABLE, GREEN, runs="green", origin=GREEN),
            _GREEN,
        ),
    ),
    "announced_abrupt": Switch(
        "announced, and then blue is gone",
        "New queries are on green already. The write that still ran on blue is lost, and its application is told; with "
        "that the transition ends.",
        (
            _RUNS,
            _at("announce", PENDING, runs="blue"),
            _at("announce", PENDING, runs="blue green"),
            _at("abrupt", PENDING, runs="blue green"),
            _lost,
            _at("abrupt", STABLE, GREEN, runs="green"),
            _GREEN,
        ),
    ),
    "rollback": Switch(
        "announced, begun, and taken back",
        "What went to green ends there; the next query goes to blue again.",
        (
            _RUNS,
            _at("announce", PENDING, runs="blue"),
            _at("cutover", PENDING, runs="blue green"),
            _at("rollback", STABLE, runs="blue green"),
            _at("rollback", STABLE, runs="blue"),
            _at("steady", STABLE),
        ),
    ),
    "withdrawn": Switch(
        "announced, and withdrawn before it begins",
        "Nothing changes: what is pending is dropped.",
        (
            _RUNS,
            _at("announce", PENDING, runs="blue"),
            _at("withdraw", STABLE, runs="blue"),
            _at("steady", STABLE),
        ),
    ),
    "double": Switch(
        "there, and back again while a query of the way there still runs",
        "The query that began on green ends there, although blue is announced and becomes active again meanwhile.",
        (
            _RUNS,
            _at("announce", PENDING, runs="blue green"),
            _at("drain", STABLE, GREEN, runs="green"),
            _at("announce", PENDING, GREEN, runs="green", origin=GREEN),
            _at("announce", PENDING, GREEN, runs="blue green", origin=GREEN),
            _at("drain", PENDING, GREEN, runs="blue green", origin=GREEN),
            _at("drain", STABLE, BLUE, runs="blue", origin=GREEN),
            _at("steady", STABLE, BLUE),
        ),
        switches=2,
    ),
    "not_ready": Switch(
        "announced before green is ready",
        "A query that green refuses begins again on blue, and green is held down for a while; announced again when "
        "it is ready, it is taken.",
        (
            _RUNS,
            _at("not_ready", PENDING, runs="blue"),
            _at("not_ready", DETECTING, runs="blue", waits=1, held=GREEN),
            _at("not_ready", STABLE, runs="blue blue", held=GREEN),
            _at("not_ready", STABLE, held=GREEN),
            _at("announce", PENDING, runs="blue"),
            _at("drain", STABLE, GREEN),
            _GREEN,
        ),
        events=("cooldown_ended",),
    ),
    "unannounced": Switch(
        "not announced: blue refuses new work, and drains",
        "The query that blue refuses begins again on green; the one before it ends on blue.",
        (
            _RUNS,
            _at("cutover", DETECTING, runs="blue", waits=1),
            _at("cutover", STABLE, GREEN, runs="blue green"),
            _at("drain", STABLE, GREEN, runs="green"),
            _GREEN,
        ),
    ),
    "silent": Switch(
        "not announced, not drained: blue refuses everything",
        "A read that had begun on blue runs again on green, behind the id that its application has.",
        (
            _RUNS,
            _at("steady", STABLE, origin=GREEN, waits=1),
            _at("steady", DETECTING, origin=GREEN, waits=1),
            _at("steady", STABLE, GREEN, runs="green", origin=GREEN),
            _GREEN,
        ),
        kinds=(True,),
    ),
    "abrupt": Switch(
        "blue is gone",
        "A write that had begun on blue is lost, and its application is told; it is not run again. The next query "
        "goes to green.",
        (
            _RUNS,
            _at("abrupt", STABLE, runs="blue"),
            _lost,
            _at("abrupt", STABLE, GREEN, runs="green"),
            _GREEN,
        ),
    ),
    "both_down": Switch(
        "neither answers, and then blue is back",
        "Queries are refused at once until the cool-down has passed; the detection after that finds blue.",
        (
            _at("steady", STABLE),
            _at("both_down", FAILED),
            _at("steady", DETECTING),
            _at("steady", STABLE, runs="blue"),
        ),
    ),
}
"""Every kind of switch that the cluster of the model can make, by name."""


class _Leg:
    """A space for `search`: from one state of a world to the nearest at which a goal comes about."""

    def __init__(self, world: World, begins: int, goal: Goal) -> None:
        self.world, self.begins, self.goal = world, begins, goal
        self.ends: tuple[int, Happened, int] | None = None
        """The state before the goal, what happens there, and the state after it."""

    def first(self) -> tuple[int]:
        return (self.begins,)

    def follow(self, state: int) -> list[int]:
        after: list[int] = []
        for happened, number in self._happening(state):
            if self.ends is None and self.goal(self._moment(number), happened):
                self.ends = state, happened, number
            after.append(number)
        return after

    def _happening(self, state: int) -> Iterator[tuple[Happened, int]]:
        place, (process,) = self.world.unpack(state)
        yield from self.world.moves(place, process)
        for number in self.world.turned(state):
            yield self._moment(number).phase, number

    def _moment(self, state: int) -> Moment:
        place, (process,) = self.world.unpack(state)
        return self.world.moment(place, process)


def run(switch: Switch) -> tuple[Happened, ...]:
    """Return a run through all that has to come about in a switch, by a shortest way from each to the next.

    Raises:
        ValueError: there is none.
    """
    liberties = ModelOptions(
        events=switch.events, stale=False, lossy=False, at_once=False, kinds=switch.kinds, steps=()
    )
    world = World(Size(1, 2, switch.switches), liberties, crashes=False)
    state = next(one for one in world.first() if world.places[world.unpack(one)[0]][0].origin is BLUE)
    happened: list[Happened] = []
    for number, goal in enumerate(switch.through, 1):
        leg = _Leg(world, state, goal)
        searched = search(leg, stop=lambda: leg.ends is not None)  # noqa: B023  it is over before the next leg
        if leg.ends is None:
            raise ValueError(f"{switch.title}: number {number} of what has to come about never does")
        before, last, state = leg.ends
        happened += [*along(world, path_to(leg, searched.levels, before)), last]
    return tuple(happened)
