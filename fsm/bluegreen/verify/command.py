"""The command `verify`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from bluegreen.strategy import STRATEGY
from bluegreen.verify import mutants as making
from bluegreen.verify.alone import explore_query, explore_strategy
from bluegreen.verify.counterexample import as_test, listed, mermaid
from bluegreen.verify.explorer import Bounds, Progress
from bluegreen.verify.findings import STEPS, Found, examine
from bluegreen.verify.moves import EVENTS, Liberties
from bluegreen.verify.promises import QUERY_ALWAYS
from bluegreen.verify.world import Size, World


@click.command()
@click.option("--processes", type=click.IntRange(1, 3), default=1, show_default=True, help="Processes.")
@click.option(
    "--queries", type=click.IntRange(0, 4), default=1, show_default=True, help="Queries in flight at a time."
)
@click.option(
    "--switches", type=click.IntRange(0, 5), default=1, show_default=True, help="Switches of the cluster."
)
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(sorted(EVENTS)),
    help="What time and people may bring; may be repeated.",
)
@click.option(
    "--reads/--writes-only", default=False, show_default=True, help="Whether there are statements that read."
)
@click.option("--crashes/--no-crashes", default=False, show_default=True, help="Whether a process may crash.")
@click.option(
    "--states",
    type=click.IntRange(1),
    default=5_000_000,
    show_default=True,
    help="States that are kept at most.",
)
@click.option(
    "--memory-mb",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    help="Memory that is used at most.",
)
@click.option("--mutants", "with_mutants", is_flag=True, help="Try wrong tables too; takes minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON, and nothing else.")
def verify(
    processes: int, queries: int, switches: int, events: tuple[str, ...], reads: bool, crashes: bool,
    states: int, memory_mb: int, with_mutants: bool, as_json: bool,
) -> None:  # fmt: skip
    """Explore the machines, alone and in a world: what never may happen, what has to, what follows.

    Exit status 0: everything was seen, and nothing is wrong; 1: something is; 2: a bound ended the search.
    """
    liberties = Liberties(events=events, kinds=(True, False) if reads else (False,), steps=())
    size = Size(processes, queries, switches)

    def make(**more: Any) -> World:
        return World(size, liberties, crashes=crashes, **more)

    alone = [explore_strategy(properties=STEPS)]
    alone += [explore_query(properties=QUERY_ALWAYS, reads=one) for one in (True, False)]
    found = examine(make, bounds=Bounds(states, memory_mb), told=_told)
    verdicts = [*making.field_bugs(), *_generated()] if with_mutants else []
    survivors = [one for one in verdicts if not one.killer and not one.reason]
    report = {
        "alone": [
            {"states": one.states, "steps": one.steps, "violations": len(one.violations)} for one in alone
        ],
        **_report(found),
        "rows_never_taken": [*alone[0].missed],
        "mutants": len(verdicts),
        "score": making.score(verdicts) if verdicts else None,
        "survivors": [one.name for one in survivors],
        "vacuous": making.vacuous(verdicts, tuple(one.name for one in (*STEPS, *QUERY_ALWAYS)))
        if verdicts
        else [],
    }
    click.echo(json.dumps(report, indent=2) if as_json else _text(report, found))
    broken = any(one.violations for one in alone) or found.violations or found.unreached or survivors
    sys.exit(1 if broken else 0 if found.searched.complete else 2)


def _generated() -> list[making.Verdict]:
    return [verdict for table in making.TABLES for verdict in making.generated(table)]


def _told(progress: Progress) -> None:
    rate = progress.states / max(progress.seconds, 0.001)
    click.echo(f"{progress.states:,} states, depth {progress.depth}, {rate:,.0f} states/s", err=True)


def _report(found: Found) -> dict[str, Any]:
    searched = found.searched
    return {
        "states": searched.states,
        "unreduced": found.unreduced,
        "steps": searched.steps,
        "depth": searched.depth,
        "seconds": round(searched.seconds, 2),
        "complete": searched.complete,
        "unreached": list(found.unreached),
        "violations": [
            {
                "property": one.name, "detail": one.detail, "path": list(one.path),
                "mermaid": mermaid((one.name, one.detail), one.events, one.path),
                "test": as_test((one.name, one.detail), one.events),
            }
            for one in found.violations
        ],
    }  # fmt: skip


def _text(report: dict[str, Any], found: Found) -> str:
    lines = [
        f"{STRATEGY.name} and query alone: {sum(one['steps'] for one in report['alone']):,} steps, "
        f"{sum(one['violations'] for one in report['alone'])} violations",
        f"world: {report['states']:,} states ({report['unreduced']:,} before symmetry), {report['steps']:,} steps, "
        f"depth {report['depth']}, {report['seconds']} s, {'complete' if report['complete'] else 'NOT complete'}",
        f"violations: {len(found.violations)}; never reached: {', '.join(found.unreached) or 'nothing'}",
    ]
    for one in found.violations:
        told = one.name, one.detail
        lines += [
            listed(told, one.events, one.path),
            mermaid(told, one.events, one.path),
            as_test(told, one.events),
        ]
    if report["mutants"]:
        lines.append(f"mutants: {report['mutants']}, score {report['score']:.1%}")
        lines += [f"  survives: {name}" for name in report["survivors"]]
        lines += [f"  no mutant kills: {name}" for name in report["vacuous"]]
    return "\n".join(lines)
