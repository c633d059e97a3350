"""One process with whatever else can happen to it: it sees what the worlds of several processes see, and no less."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import attrs
import numpy as np
import pytest
from click.testing import CliRunner

from bluegreen.config.settings import Settings
from bluegreen.types import Strategy
from selfcheck.cli import explore as command
from selfcheck.explore.array_liveness import Region
from selfcheck.explore.breadth_first import Bounds, search
from selfcheck.explore.checker import examine
from selfcheck.explore.message_reduction import Hearing
from selfcheck.explore.thread_modular import Modular, distinct
from selfcheck.explore.thread_modular_checker import judge
from selfcheck.model.actions import EVENTS, ModelOptions
from selfcheck.model.process import Machines, Process
from selfcheck.model.product import Size, World
from selfcheck.model.store import Extent
from selfcheck.mutation.known_bugs import FIELD_BUGS

pytestmark = pytest.mark.slow

CALM = ModelOptions(events=(), kinds=(False,), steps=())
BUGS = {bug.name: bug for bug in FIELD_BUGS}


@pytest.mark.parametrize(
    ("queries", "switches", "events", "kinds", "states", "steps"),
    [
        (1, 1, (), (False,), 12_978, 70_875),
        (2, 1, (), (True, False), 928_284, 7_850_916),
        (1, 3, tuple(EVENTS), (False,), 225_522, 1_946_146),
    ],
)
def test_a_process_has_as_many_states_as_it_had_and_nothing_is_wrong_in_them(
    queries: int, switches: int, events: tuple[str, ...], kinds: tuple[bool, ...], states: int, steps: int
) -> None:
    found = judge(queries, switches, ModelOptions(events=events, kinds=kinds, steps=()))
    assert (found.violations, found.unreached, found.ok) == ((), (), True)
    assert (found.searched.states, found.searched.steps) == (states, steps)


@pytest.mark.parametrize(
    "settings", [Settings(commit_when="first_safe_point"), Settings(default_strategy=Strategy.GREEN)], ids=str
)
def test_nothing_is_wrong_under_the_other_settings_that_the_tables_look_at(settings: Settings) -> None:
    found = judge(1, 1, ModelOptions(kinds=(False,), steps=()), settings=settings)
    assert (found.violations, found.unreached, found.ok) == ((), (), True)


def test_nothing_is_wrong_where_connectors_collect_rows() -> None:
    found = judge(1, 1, ModelOptions(events=(), steps=("exhaust", "collect")))
    assert (found.violations, found.unreached, found.ok) == ((), (), True)
    without = judge(1, 1, ModelOptions(events=(), steps=("exhaust",)))
    assert found.searched.states > without.searched.states


def _seen(space: Modular, levels: Any) -> set[tuple[str, Strategy, int, str, Any, tuple[str, ...]]]:
    """Each (phase, machine without its news, queries) of an exploration."""
    seen: set[Any] = set()
    for level in levels:
        for phase, machine, queries in zip(*space.unpack(level)[:2], space.unpack(level)[2].T, strict=True):
            where, one = space.phases.things[phase], space.parts.machines.things[machine]
            held = [space.parts.queries.things[query] for query in queries.tolist()]
            seen.add(_plain(where, one.state, one.context, [one for one in held if one is not None]))
    return seen


def _plain(phase: Any, state: str, context: Any, queries: Any) -> Any:
    shown = sorted(f"{one.holds and str(one.strategy)} {one.executions} {one.gone}" for one in queries)
    return phase.name, phase.origin, phase.begun, state, context, tuple(shown)


@pytest.mark.parametrize(("processes", "switches"), [(1, 1), (2, 0), (2, 1)])
def test_whatever_a_process_is_in_a_world_of_several_it_is_seen_alone(processes: int, switches: int) -> None:
    alone = Modular(1, switches, CALM)
    seen = _seen(alone, alone.search().levels)
    world = World(Size(processes, 1, switches), CALM, crashes=True)
    searched = search(world, bounds=Bounds(states=60_000 if processes > 1 else 20_000_000))
    in_worlds: set[Any] = set()
    for level in searched.levels:
        for state in level:
            place, numbers = world.unpack(state)
            for number in numbers:
                process: Process = world.processes[number]
                in_worlds.add(_plain(world.places[place][0], process.state, process.context, process.queries))
    assert len(in_worlds) > 5
    assert in_worlds <= seen  # more is seen where the store says what nobody wrote


@pytest.mark.parametrize(
    ("bug", "broken"),
    [
        ("stale announcement flips back", "I6 fenced"),
        ("first connection clears a global flag", "L1 progress, stepwise"),
        ("rollback forgets tickets", "I5 accounted"),
        ("timer as the only way out", "L1 progress"),
        ("replay of a write", "I11 at most once"),
    ],
)
def test_a_wrong_table_is_noticed_and_the_way_there_is_told(bug: str, broken: str) -> None:
    table = BUGS[bug].table()
    events = ("connection_opened", "rollback_requested")
    found = judge(
        1, 1, ModelOptions(events=events, kinds=(False,), steps=()),
        bounds=Bounds(states=200_000), **{table.name: table},
    )  # fmt: skip
    violation = next(one for one in found.violations if one.name == broken)
    assert violation.path
    assert violation.events


def test_a_way_begins_at_the_beginning_and_each_step_of_it_can_be_taken() -> None:
    table = BUGS["timer as the only way out"].table()
    found = judge(1, 1, CALM, strategy=table)
    violation = next(one for one in found.violations if one.name == "L1 progress")
    assert violation.cycle > 0
    assert violation.path[0].startswith(("authenticate", "cluster", "crash"))
    whole = examine(partial(World, Size(1, 1, 1), CALM, crashes=False, strategy=table))
    explicit = next(one for one in whole.violations if one.name == "L1 progress")
    assert len(violation.path) <= len(explicit.path)


def test_what_never_happens_is_told_only_of_what_was_seen_whole() -> None:
    whole = judge(1, 0, CALM, words=False)
    assert "S PendingTransition" in whole.unreached
    cut = judge(1, 1, CALM, bounds=Bounds(states=100))
    assert (cut.searched.complete, cut.unreached, cut.ok) == (False, (), False)
    assert sum(map(len, cut.searched.levels)) == cut.searched.states == cut.worlds(1)


def test_queries_that_change_places_are_one_state_and_are_counted_by_name() -> None:
    space = Modular(3, 0, CALM)
    phase, machine = np.zeros(3, np.int64), np.zeros(3, np.int64)
    columns = np.array([[1, 2, 3], [2, 2, 1], [0, 1, 0]]).T
    states = space.pack(phase, machine, columns)
    assert len(distinct(space.pack(phase, machine, columns[::-1]))) == len(distinct(states)) == 3
    assert sorted(space.orbits(states).tolist()) == [3, 3, 6]
    assert sorted(space.unpack(states)[2].T.tolist()) == [[0, 0, 1], [1, 2, 2], [1, 2, 3]]


@pytest.mark.parametrize(
    ("enabled", "lasting"), [([True, True], [0, 1]), ([True, False], [0, 1]), ([False, False], [0, 1])]
)
def test_a_cycle_lasts_if_nothing_that_it_could_do_all_the_time_is_put_off(
    enabled: list[bool], lasting: list[int]
) -> None:
    there, back = np.array([0, 1]), np.array([1, 0])
    taken = Region(2, there, back, np.array([1, 0]), {1: np.array(enabled)})
    assert taken.lasting().tolist() == lasting
    put_off = Region(2, there, back, np.array([0, 0]), {1: np.array(enabled)})
    assert put_off.lasting().tolist() == ([] if all(enabled) else lasting)


def test_news_that_can_do_nothing_any_more_is_left_out_and_news_that_does_the_same_is_one() -> None:
    from bluegreen.machines.strategy.context import Context
    from bluegreen.machines.strategy.events import AuthFailure, Error456, PersistentFailure, StrategyAnnounced

    hearing = Hearing(Machines(), (), tickets=1)
    active = Context(active=Strategy.BLUE, state_version=1, verified=True, settings=Settings())
    blue, green = Strategy.BLUE, Strategy.GREEN
    news = [cls(blue, 1) for cls in (AuthFailure, Error456, PersistentFailure, StrategyAnnounced)]
    assert len(hearing.plain("Stable", active, news)) == 1
    assert hearing.plain("Stable", active, [Error456(green, 1), StrategyAnnounced(blue, 1)]) == ()
    held = attrs.evolve(active, held_down=green)
    assert hearing.plain("Stable", held, [StrategyAnnounced(green, 1)]) == ()
    lifted = Hearing(Machines(), [EVENTS["cooldown_ended"]], tickets=1)
    assert lifted.plain("Stable", held, [StrategyAnnounced(green, 1)]) == (StrategyAnnounced(green, 1),)


def test_the_command_says_how_many_worlds_are_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "EXTENTS", (Extent(2, 1, 1),))
    done = CliRunner().invoke(
        command.explore, ["--queries", "1", "--switches", "1", "--event", "none", "--json"]
    )
    report = json.loads(done.output)
    assert (done.exit_code, report["complete"], report["violations"], report["unreached"]) == (
        0,
        True,
        [],
        [],
    )
    assert (report["states"], report["unreduced"], report["processes"]) == (12_978, 12_978, 2)
    assert report["worlds"] == 10_545_990
