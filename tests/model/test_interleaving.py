"""Threads over the real manager in every order that matters: how many orders, what is noticed, and replays."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import QueryCompleted, QueryStarted, Reset, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Strategy, Ticket
from selfcheck.cli import interleavings as interleavings_command
from selfcheck.cli.interleavings import interleavings
from selfcheck.interleaving.execution import INTERLEAVED_ALWAYS, Ran, running
from selfcheck.interleaving.explorer import as_test, drawn, explore, needed, replay, retold
from selfcheck.interleaving.linearizability import (
    Answer,
    Model,
    Operation,
    answered,
    in_one_order,
    in_sequence,
    stepped,
)
from selfcheck.interleaving.partial_order import every_schedule
from selfcheck.interleaving.programs import PROGRAMS, THREES, chance
from selfcheck.interleaving.scheduler import Access, Choose, Ended, Scheduler, taking
from selfcheck.mutation.known_runtime_bugs import (
    Blind,
    Busy,
    Crowded,
    Forgetful,
    Hasty,
    Keeping,
    Trusting,
    first_broken,
)

# Some managers are wrong on purpose, and thousands are made: the records of each are held against `step` here.
pytestmark = pytest.mark.unjournaled

BY_NAME = {one.name: one for one in (*PROGRAMS, *THREES)}

# The real manager.

COUNTS = {
    "456 races commit": 19,
    "announcement races start": 72,
    "commit races end": 70,
    "rollback races announcement": 107,
    "an end from two threads": 135,
    "abandon races start": 172,
    "proof races expiry": 238,
    "a detection that crashes": 142,
    "a detection that both refuse": 347,
    "time-out races success": 1093,
    "a whole switch": 1635,
    "two detections": 3140,
    "an end from three threads": 386,
    "an announcement, an end and a start": 556,
}


LONG = ("a whole switch", "two detections")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in COUNTS]
)
def test_a_program_has_as_many_schedules_as_it_had_and_nothing_is_wrong_in_any(name: str) -> None:
    explored = explore(BY_NAME[name])
    assert (explored.schedules, explored.complete, explored.broken) == (COUNTS[name], True, ())


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - set(COUNTS)))
def test_nothing_is_wrong_in_the_first_schedules_of_larger_programs_and_some_by_chance(name: str) -> None:
    explored = explore(BY_NAME[name], schedules=200, chances=200, seed=1)
    assert (explored.schedules, explored.complete, explored.broken) == (400, False, ())


@pytest.mark.parametrize("threads", [2, 3])
def test_nothing_is_wrong_in_programs_made_by_chance(threads: int) -> None:
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    for number in range(5):
        explored = explore(chance(seed + number, threads, 3), schedules=100, chances=50, seed=seed)
        assert explored.broken == (), explored.program


# Wrong managers.

NOTICED = {
    Forgetful: "L2 woken",
    Blind: "I8 in time",
    Crowded: "I9 single flight",
    Hasty: "I10 in one order",
    Trusting: "I10 in one order",
    Busy: "R4 outside the lock",
    Keeping: "L1 goes on",
}


@cache
def shown(kind: type[StrategyManager]) -> Ran:
    """The run that shows what is wrong with a manager, out of the first program in which anything is."""
    rare = kind is Blind
    explored = first_broken(kind, PROGRAMS[-1:] if rare else PROGRAMS, chances=300 if rare else 0)
    assert explored is not None
    return {one.name: ran for one, ran in explored.broken}[NOTICED[kind]]


@pytest.mark.parametrize("kind", NOTICED, ids=lambda kind: kind.__name__)
def test_each_wrong_manager_is_noticed_and_its_schedule_replays_to_the_same(
    kind: type[StrategyManager],
) -> None:
    ran = shown(kind)
    print("\n".join(retold(ran)))
    again = replay(ran.program, needed(ran), kind)
    assert again.schedule == ran.schedule
    assert [one.name for one in again.broken] == [one.name for one in ran.broken]


@pytest.mark.parametrize("kind", NOTICED, ids=lambda kind: kind.__name__)
def test_a_schedule_that_shows_a_wrong_manager_is_a_test_that_passes_with_the_real_one(
    kind: type[StrategyManager],
) -> None:
    ran = shown(kind)
    (broken,) = [one for one in ran.broken if one.name == NOTICED[kind]]
    with pytest.raises(AssertionError):
        pasted(as_test(broken, ran, kind))
    pasted(as_test(broken, ran))


def pasted(text: str) -> None:
    module: dict[str, Any] = {}
    exec(compile(text, "pasted", "exec"), module)
    (test,) = [value for name, value in module.items() if name.startswith("test_")]
    test()


def test_a_bug_that_needs_a_switch_is_shown_with_the_one_that_it_needs() -> None:
    assert shown(Hasty).switches == 2  # there, and back
    assert shown(Forgetful).switches == 2


def test_without_a_preemption_the_lock_that_is_released_early_is_not_noticed() -> None:
    ran = shown(Hasty)
    assert replay(ran.program, (), Hasty).broken == ()


# Replay.


def told(ran: Ran) -> list[Any]:
    return [attrs.astuple(one, recurse=False) for one in ran.operations]


def test_a_schedule_replays_to_the_same_history() -> None:
    with running(BY_NAME["a refusal, a commit and a start"]) as run:
        for ran in drawn(run, 20, seed=random.randrange(10_000)):
            again = replay(ran.program, ran.schedule)
            assert again.schedule == ran.schedule
            assert [one[:5] for one in told(again)] == [one[:5] for one in told(ran)]
            assert again.last == ran.last
            assert replay(ran.program, needed(ran)).schedule == ran.schedule


def test_the_same_seed_draws_the_same_schedules_and_another_one_does_not() -> None:
    with running(BY_NAME["commit races end"]) as run:
        one, same, other = ([ran.schedule for ran in drawn(run, 10, seed)] for seed in (3, 3, 4))
    assert one == same != other


def outcome(ran: Ran) -> object:
    """What can be seen of a run: what was answered, which operation had ended before which, and what is left."""
    operations = sorted(ran.operations, key=lambda one: (one.thread, one.began))
    answers = tuple(
        (
            one.name,
            [(type(step.event).__name__, step.ticket, step.error) for step in one.answers],
            type(one.error),
        )
        for one in operations
    )
    before = tuple(one.ended < other.began for one in operations for other in operations)
    return repr((answers, before, ran.last[0].state, ran.last[0].context, sorted(map(repr, ran.last[1]))))


@pytest.mark.parametrize(
    "name", ["commit races end", "an end from three threads", "a detection that crashes"]
)
def test_what_comes_out_by_chance_comes_out_of_the_reduced_schedules_too(name: str) -> None:
    with running(BY_NAME[name]) as run:
        every = {outcome(ran) for ran in every_schedule(run) if ran is not None}
        by_chance = {outcome(ran) for ran in drawn(run, 300, seed=random.randrange(10_000))}
    assert by_chance <= every
    assert len(by_chance) > 5


# The scheduler and the reduction, on programs that are small enough to run every schedule.


def small(seed: int) -> list[list[tuple[str, str]]]:
    """Two or three threads that read and write two cells, take a lock, and wait for a signal."""
    by_chance = random.Random(seed)
    threads = by_chance.choice([2, 2, 3])
    scripts: list[list[tuple[str, str]]] = []
    for _ in range(threads):
        script: list[tuple[str, str]] = []
        while len(script) < (4 if threads == 2 else 3):
            kind = by_chance.random()
            if kind < 0.3:
                cell = by_chance.choice([("add", "x"), ("read", "y"), ("read", "x")])
                script += [("acquire", "lock"), cell, ("release", "lock")]
            elif kind < 0.45:
                script.append(("wait", "signal"))
            else:
                script.append(
                    by_chance.choice([("give", "signal"), ("read", "x"), ("add", "y"), ("set", "x")])
                )
        scripts.append(script)
    return scripts


def results(
    scripts: list[list[tuple[str, str]]], *, reduce: bool, most: int = 2_000
) -> tuple[set[object], int] | None:
    """What comes of every schedule, and how many there are; none if there are too many."""
    scheduler = Scheduler(len(scripts))

    def run(choose: Choose) -> tuple[Ended, object]:
        cells = {"x": 0, "y": 0, "lock": 0, "signal": 0}
        read: list[tuple[int, str, int]] = []

        def body(number: int) -> Any:
            def act() -> None:
                for verb, name in scripts[number]:
                    names = frozenset({name})
                    looks = verb in ("read", "wait")
                    access = Access(
                        verb, *((names,) if looks else ()), **({} if looks else {"writes": names})
                    )
                    ready = {"acquire": lambda: not cells["lock"], "wait": lambda: cells["signal"] > 0}.get(
                        verb
                    )
                    scheduler.point(access._replace(frees=verb == "release"), ready)
                    if verb == "add":
                        cells[name] += number + 1
                    elif not looks:
                        cells[name] = {"set": 10 * number, "release": 0}.get(verb, 1)
                    read.append((number, name, cells[name]))

            return act

        ended = scheduler.run([body(number) for number in range(len(scripts))], choose)
        mine = tuple(tuple(one for one in read if one[0] == number) for number in range(len(scripts)))
        return ended, (mine, tuple(cells.items()), tuple(sorted(ended.waiting)))

    count, found = 0, set[object]()
    try:
        for one in every_schedule(run, reduce=reduce):
            count += 1
            found |= {one} - {None}
            if count > most:
                return None
    finally:
        scheduler.close()
    return found, count


def test_what_the_reduction_leaves_out_changes_no_result() -> None:
    seed, compared, all_runs, runs = random.randrange(10_000), 0, 0, 0
    print(f"seed {seed}")
    while compared < 25:
        scripts = small(seed)
        seed += 1
        every = results(scripts, reduce=False)
        if every is None:
            continue
        reduced = results(scripts, reduce=True)
        assert reduced is not None
        assert reduced[0] == every[0], scripts
        compared, all_runs, runs = compared + 1, all_runs + every[1], runs + reduced[1]
    print(f"{all_runs} schedules, {runs} of them run")
    assert runs < all_runs / 5


def test_a_thread_that_waits_for_what_is_no_point_is_told_apart_from_one_that_ends() -> None:
    scheduler = Scheduler(1)
    ended = scheduler.run([lambda: scheduler.point(Access("waits"), lambda: False)], taking(()))
    assert ended.waiting == {0: Access("waits")}
    assert scheduler.run([lambda: None], taking(())).waiting == {}
    scheduler.close()


def test_an_error_in_a_body_is_raised_where_the_run_was_asked_for() -> None:
    scheduler = Scheduler(2)

    def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        scheduler.run([fails, lambda: scheduler.point(Access("goes on"))], taking(()))
    assert scheduler.run([lambda: None, lambda: None], taking(())).waiting == {}
    scheduler.close()


# Linearizability.

STABLE = Model("Stable", attrs.evolve(Context.initial(), active=Strategy.BLUE, untried=(), state_version=1))


def started(model: Model, number: int) -> tuple[Answer, Model]:
    taken = stepped(model.state, model.context, QueryStarted())
    assert taken is not None
    ticket = Ticket(number, taken.effects[0].strategy, taken.effects[0].state_version)
    answer = Answer(QueryStarted(), False, taken, ticket)
    after = model.after(answer)
    assert after is not None
    return answer, after


def announced(model: Model) -> tuple[Answer, Model]:
    event = StrategyAnnounced("green", 1)
    answer = Answer(event, False, stepped(model.state, model.context, event))
    after = model.after(answer)
    assert after is not None
    return answer, after


def test_two_that_overlap_may_be_answered_in_either_order_but_not_against_time() -> None:
    first, between = started(STABLE, 1)
    second, last = announced(between)
    overlapping = [Operation("start", 0, 9, (first,), 0), Operation("send", 1, 8, (second,), 1)]
    assert in_one_order(overlapping, STABLE, last)
    assert in_one_order(overlapping[::-1], STABLE, last)
    against = [Operation("start", 5, 9, (first,), 0), Operation("send", 1, 3, (second,), 1)]
    assert not in_one_order(against, STABLE, last)


def test_a_history_that_ends_elsewhere_than_the_manager_is_wrong() -> None:
    answer, after = started(STABLE, 1)
    assert in_one_order([Operation("start", 0, 1, (answer,))], STABLE, after)
    assert not in_one_order([Operation("start", 0, 1, (answer,))], STABLE, STABLE)
    assert not in_one_order([], STABLE, after)


def test_a_ticket_that_is_ended_twice_is_in_no_order() -> None:
    _, model = started(STABLE, 1)
    (ticket,) = model.open
    ends = QueryCompleted(ticket)
    taken = stepped(model.state, model.context, ends)
    done, gone = Answer(ends, True, taken), Answer(ends, True)
    last = model.after(done)
    assert last is not None
    once = [Operation("end", 0, 9, (done,), 0, True), Operation("end", 0, 9, (gone,), 1, False)]
    twice = [Operation("end", 0, 9, (done,), 0, True), Operation("end", 0, 9, (done,), 1, True)]
    assert in_one_order(once, model, last)
    assert not in_one_order(twice, model, last)
    assert not in_one_order([Operation("end", 0, 9, (gone,), 0, False)], model, model)


def test_the_same_number_is_not_issued_twice() -> None:
    first, between = started(STABLE, 1)
    again, _ = started(STABLE, 1)
    both = [Operation("start", 0, 9, (first,), 0), Operation("start", 0, 9, (again,), 1)]
    assert not in_one_order(both, STABLE, between)


@pytest.mark.parametrize(
    ("operation", "right"),
    [
        (Operation("end 0", 0, 1, (), 0, True), False),
        (Operation("end 0", 0, 1, (Answer(Reset(), True),), 0, False), True),
        (Operation("end 0", 0, 1, (Answer(Reset(), True),), 0, True), False),
        (Operation("start", 0, 1, (), 0, Ticket(1, "blue", 1)), False),
        (Operation("start", 0, 1, (), 0, None, StrategyUnavailable("scope", "why")), True),
        (Operation("start", 0, 1, (), 0, None, KeyError()), False),
        (Operation("send reset", 0, 1, (Answer(Reset(), False, error=KeyError),), 0, None, KeyError()), True),
        (Operation("send reset", 0, 1, (Answer(Reset(), False),), 0, None, KeyError()), False),
        (Operation("abandon", 0, 1, (), 0, None, KeyError()), False),
    ],
)
def test_what_an_operation_returns_is_what_its_last_step_was_answered(
    operation: Operation, right: bool
) -> None:
    assert answered(operation) is right


def test_records_with_a_gap_or_a_step_that_does_not_follow_are_noticed() -> None:
    ran = replay(BY_NAME["announcement races start"], ())
    records, first, last = ran.records, ran.first[0], ran.last[0]
    assert len(records) == 4
    assert in_sequence(records[::-1], first, last)  # in whatever order they come
    assert not in_sequence(records[1:], first, last)
    assert not in_sequence(records[:-1], first, last)
    assert not in_sequence((*records[:2], records[0], *records[3:]), first, last)
    moved = attrs.evolve(records[1], step=records[1].step._replace(state="Failed"))
    assert not in_sequence((records[0], moved, *records[2:]), first, last)


# The command.


def run(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, kind: type[StrategyManager] = StrategyManager
) -> Any:
    monkeypatch.setattr(
        interleavings_command, "explore", lambda program, **options: explore(program, kind, **options)
    )
    return CliRunner().invoke(interleavings, [*arguments])


@pytest.mark.parametrize("threads", ["2", "3"])
def test_the_command_says_how_many_schedules_were_run_and_that_nothing_is_wrong(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(monkeypatch, "--threads", threads, "--schedules", "30", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert report["violations"] == []
    assert {len(one["scripts"]) for one in report["programs"]} == {int(threads)}
    assert all(one["schedules"] == 33 or one["complete"] for one in report["programs"])


def test_the_command_shows_what_is_wrong_and_ends_with_exit_status_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interleavings_command, "PROGRAMS", PROGRAMS[:1])
    monkeypatch.setattr(interleavings_command, "BY_CHANCE", {2: (0, 0)})
    done = run(monkeypatch, "--schedules", "30", kind=Hasty)
    assert done.exit_code == 1
    assert "in 456 races commit:\nI10 in one order: " in done.output
    assert "def test_I10_in_one_order():" in done.output
    assert "sequenceDiagram" in done.output


@pytest.mark.parametrize("arguments", [["--threads", "4"], ["--schedules", "0"]])
def test_wrong_options_of_the_command_end_with_exit_status_two(arguments: list[str]) -> None:
    done = CliRunner().invoke(interleavings, [*arguments])
    assert done.exit_code == 2
    assert "is not in the range" in done.output


def test_every_property_has_a_name_of_its_own() -> None:
    assert len({one.name for one in INTERLEAVED_ALWAYS}) == len(INTERLEAVED_ALWAYS)
