"""Command `explore`: every state of the shipped machines, alone and in models of the world around them."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any, Final

import attrs
import click

from bluegreen.config.settings import Settings
from bluegreen.machines.query import QUERY
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.types import Strategy
from bluegreen.verify.coverage.rows_and_guards import Coverage, rows_and_guards
from bluegreen.verify.exploration.counterexample import (
    as_list,
    as_query_test,
    as_test,
    describe_event,
    mermaid,
)
from bluegreen.verify.exploration.single_table import ExplorationResult, explore_query, explore_strategy
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS
from selfcheck.cli.progress import searching
from selfcheck.explore.breadth_first import Bounds
from selfcheck.explore.checker import Violation, WorldResult, examine
from selfcheck.explore.lying_store import lied_to
from selfcheck.explore.store_checker import StoreResult, examine_sharing
from selfcheck.explore.thread_modular_checker import ThreadModularResult, judge
from selfcheck.model.actions import EVENTS, ModelOptions
from selfcheck.model.lease import LeaseResult, examine_lease
from selfcheck.model.product import Size, World
from selfcheck.model.store import Extent
from selfcheck.model.users import UsersResult, examine_users


@click.command("explore")
@click.option(
    "--processes",
    type=click.IntRange(1, 3),
    default=2,
    show_default=True,
    help="Processes that share a store.",
)
@click.option(
    "--queries",
    type=click.IntRange(0, 4),
    default=3,
    show_default=True,
    help="Queries in flight at a time, in each process.",
)
@click.option(
    "--switches", type=click.IntRange(0, 5), default=3, show_default=True, help="Switches of the cluster."
)
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(["none", *sorted(EVENTS)]),
    help="What time and people may bring: everything by default; may be repeated.",
)
@click.option(
    "--reads/--writes-only", default=False, show_default=True, help="Whether there are statements that read."
)
@click.option("--crashes/--no-crashes", default=True, show_default=True, help="Whether a process may crash.")
@click.option(
    "--together",
    is_flag=True,
    help="Explore all processes as one world, with a store that keeps what was written and queries that they "
    "share, instead of each with whatever the others can do to it; for small worlds.",
)
@click.option(
    "--states",
    type=click.IntRange(1),
    default=50_000_000,
    show_default=True,
    help="States that are kept at most.",
)
@click.option(
    "--memory-mb",
    type=click.IntRange(1),
    default=8192,
    show_default=True,
    help="Memory that is used at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON, and nothing else.")
def explore(
    processes: int, queries: int, switches: int, events: tuple[str, ...], reads: bool,
    crashes: bool, together: bool, states: int, memory_mb: int, as_json: bool,
) -> None:  # fmt: skip
    """Explore the machines, alone and in a world: what never may happen, what has to, what follows.

    Exit status 0: everything was seen, and nothing is wrong; 1: something is; 2: a bound ended the search, or the
    options are wrong.
    """
    chosen = tuple(one for one in events or EVENTS if one != "none")
    liberties = ModelOptions(events=chosen, kinds=(True, False) if reads else (False,), steps=())
    alone = [*_alone()]
    bounds = Bounds(states, memory_mb)
    with searching(states) as told:
        if together:
            make = partial(World, Size(processes, queries, switches), liberties, crashes=crashes)
            whole = examine(make, bounds=bounds, told=told)
            report = _report(alone, whole, {"unreduced": whole.unreduced})
        else:
            # Begins that execute double what each query may do, so that they have a smaller world of their own.
            plain = attrs.evolve(liberties, at_once=queries <= EXECUTING_BEGINS)
            found = judge(queries, switches, plain, crashes=crashes, bounds=bounds, told=told)
            covered = {
                "unreduced": found.worlds(1),
                "processes": processes,
                "switches": switches,
                "worlds": found.worlds(processes),
            }
            report = _report(alone, found, covered)
            if not plain.at_once:
                small = judge(EXECUTING_BEGINS, min(switches, 2), liberties, crashes=crashes, bounds=bounds)
                report = _with_executing_begins(report, small)
            report = _with_users(report, examine_users(min(switches, 1)))
            report = _with_a_store(report, _sharing(), lied_to(min(queries, 2)), _silent(switches, liberties))
    click.echo(json.dumps(report, indent=2) if as_json else _text(report))
    wrong = report["violations"] or report["unreached"]
    sys.exit(1 if wrong else 0 if report["complete"] else 2)


def _alone() -> list[tuple[str, ExplorationResult]]:
    """Explore each table by itself, under each setting that it looks at."""
    drained, at_once = Settings(), Settings(commit_when="first_safe_point")
    fallen_back = Settings(default_strategy=Strategy.GREEN)
    found = [
        (STRATEGY.name, explore_strategy(properties=STEPS, settings=one))
        for one in (drained, at_once, fallen_back)
    ]
    return found + [
        (QUERY.name, explore_query(properties=QUERY_ALWAYS, reads=reads, replay=replay))
        for reads in (True, False)
        for replay in ("reads", "never")
    ]


EXECUTING_BEGINS: Final = 2
"""How many queries at most are explored with begins that execute as well."""

EXTENTS: Final = (Extent(2, 2, 1), Extent(3, 1, 1))
"""How many processes share a faulty store, how often they decide, and how many faults there are."""


def _sharing() -> list[StoreResult | LeaseResult]:
    return [*map(examine_sharing, EXTENTS), *map(examine_lease, (2, 3))]


def _silent(switches: int, liberties: ModelOptions) -> ThreadModularResult:
    """Explore a process with one query and a store that says nothing wrong: what is pending was announced there."""
    return judge(1, min(switches, 1), liberties, words=False)


def _with_a_store(
    report: dict[str, Any],
    sharing: list[StoreResult | LeaseResult],
    lied: ThreadModularResult,
    silent: ThreadModularResult,
) -> dict[str, Any]:
    """Add what was found where the store is faulty, or lies, or is silent."""
    searches = [one.searched for one in (*sharing, lied, silent)]
    broken = [one for found in (*sharing, lied, silent) for one in found.violations]
    report["sharing"] = [
        {"text": _told(one), "states": one.searched.states, "steps": one.searched.steps} for one in sharing
    ]
    report["lied_to"] = {"states": lied.searched.states, "steps": lied.searched.steps}
    report["complete"] = report["complete"] and all(one.complete for one in searches)
    report["violations"] += [_of_store(one) for one in broken]
    return report


def _with_executing_begins(report: dict[str, Any], found: ThreadModularResult) -> dict[str, Any]:
    """Add what was found where a begin may execute as well."""
    report["executing_begins"] = {"states": found.searched.states, "steps": found.searched.steps}
    report["complete"] = report["complete"] and found.searched.complete
    report["violations"] += [
        _violation(STRATEGY.name, one.name, one.detail, one.events, one.path) for one in found.violations
    ]
    report["unreached"] = [name for name in report["unreached"] if name in found.unreached]
    return report


def _with_users(report: dict[str, Any], users: UsersResult) -> dict[str, Any]:
    """Add what was found of two users, of whom one is refused for reasons of its own."""
    report["users"] = {"states": users.searched.states, "steps": users.searched.steps}
    report["complete"] = report["complete"] and users.searched.complete
    report["violations"] += [_of_store(one) | {"table": "users"} for one in users.violations]
    report["unreached"] += users.unreached if report["switches"] else ()
    return report


def _told(one: StoreResult | LeaseResult) -> str:
    if isinstance(one, LeaseResult):
        return f"{one.processes} processes and a lease"
    extent = one.extent
    faults = "fault" if extent.faults == 1 else "faults"
    decisions = "decision" if extent.decisions == 1 else "decisions"
    return (
        f"{extent.processes} processes, {extent.decisions} {decisions}, {extent.faults} {faults} of the store"
    )


def _of_store(one: Violation) -> dict[str, Any]:
    told = one.name, one.detail
    shown = {
        "counterexample": as_list(told, one.events, one.path),
        "mermaid": mermaid(told, one.events, one.path),
    }
    events = [describe_event(event) for event in one.events]
    return {"table": "sharing", "property": one.name, "events": events, "test": "", **shown}


def _coverage(alone: list[tuple[str, ExplorationResult]]) -> list[Coverage]:
    covered: list[Coverage] = []
    for table in (STRATEGY, QUERY):
        missed = [one.missed for name, one in alone if name == table.name]
        never = [row for row in missed[0] if all(row in other for other in missed)]
        covered.append(rows_and_guards(table, never))
    return covered


def _report(
    alone: list[tuple[str, ExplorationResult]],
    found: WorldResult | ThreadModularResult,
    covered: dict[str, int],
) -> dict[str, Any]:
    searched = found.searched
    violations = [
        _violation(name, broken.name, broken.detail, broken.events, ())
        for name, one in alone
        for broken in one.violations
    ]
    violations += [
        _violation(STRATEGY.name, one.name, one.detail, one.events, one.path) for one in found.violations
    ]
    return {
        "alone": [{"table": name, "states": one.states, "steps": one.steps} for name, one in alone],
        "coverage": [
            {"text": str(one), "untaken": list(one.untaken), "one_way": list(one.one_way)}
            for one in _coverage(alone)
        ],
        "states": searched.states,
        **covered,
        "steps": searched.steps,
        "depth": searched.depth,
        "seconds": round(searched.seconds, 2),
        "complete": searched.complete,
        "unreached": list(found.unreached),
        "violations": violations,
    }


def _violation(
    table: str, name: str, detail: str, events: tuple[Any, ...], path: tuple[str, ...]
) -> dict[str, Any]:
    told = name, detail
    strategy = table == STRATEGY.name
    return {
        "table": table,
        "property": name,
        "events": [describe_event(event) for event in events],
        "counterexample": as_list(told, events, path),
        "mermaid": mermaid(told, events, path),
        "test": as_test(told, events) if strategy else as_query_test(told, events, QUERY.contexts[0]),
    }


def _text(report: dict[str, Any]) -> str:
    alone = report["alone"]
    lines = [
        f"alone: {sum(one['states'] for one in alone):,} states, {sum(one['steps'] for one in alone):,} steps"
    ]
    for one in report["coverage"]:
        lines.append(f"  {one['text']}")
        lines += [f"    not taken: {name}" for name in one["untaken"]]
        lines += [f"    guard seen one way only: {name}" for name in one["one_way"]]
    whole = "complete" if report["complete"] else "NOT complete: a bound ended it"
    lines.append(
        f"world: {report['states']:,} states ({report['unreduced']:,} before symmetry reduction), "
        f"{report['steps']:,} steps, depth {report['depth']}, {report['seconds']} s, {whole}"
    )
    if "worlds" in report:
        lines.append(
            "  of one process, with all that its cluster, the store and other processes can do to it; "
            f"{report['processes']} processes make at most {report['worlds']:,} worlds of these"
        )
        lines.append(
            "  the store says anything at any time, any number of times; a wrong word costs a query one refusal, never "
            f"the query: {report['lied_to']['states']:,} states of a cluster that stands still"
        )
        if begins := report.get("executing_begins"):
            lines.append(
                f"  with begins that execute, up to {EXECUTING_BEGINS} queries: {begins['states']:,} states, "
                f"{begins['steps']:,} steps"
            )
        lines.append(
            "  two users, one of whom any stack may refuse at any time, which changes nothing for the other one: "
            f"{report['users']['states']:,} states, {report['users']['steps']:,} steps"
        )
        lines.append("store:")
        lines += [
            f"  {one['text']}: {one['states']:,} states, {one['steps']:,} steps" for one in report["sharing"]
        ]
    unreached = ", ".join(report["unreached"]) or "nothing"
    lines.append(f"violations: {len(report['violations'])}; ought to happen and did not: {unreached}")
    for one in report["violations"]:
        lines += [text for text in (one["counterexample"], one["mermaid"], one["test"]) if text]
    return "\n".join(lines)
