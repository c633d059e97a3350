"""The command `verify interleavings`: threads over the real manager, in every order that matters."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final

import click

from bluegreen.verify.exploration.counterexample import as_list, mermaid
from selfcheck.cli.progress import counting
from selfcheck.interleaving.explorer import InterleavingResult, as_test, explore, needed, retold
from selfcheck.interleaving.programs import PROGRAMS, THREES, chance

BY_CHANCE: Final = {2: (4, 3), 3: (4, 2)}
"""For each number of threads: how many programs are made at random, and how many operations a thread does in them."""


@click.command("interleavings")
@click.option("--threads", type=click.IntRange(2, 3), default=2, show_default=True, help="Threads.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the programs and schedules drawn at random."
)
@click.option(
    "--schedules",
    type=click.IntRange(1),
    default=5_000,
    show_default=True,
    help="Schedules of a program at most; if there are more, a tenth as many again are drawn at random.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON, and nothing else.")
def interleavings(threads: int, seed: int, schedules: int, as_json: bool) -> None:
    """Run threads over the real manager in every order that makes a difference: races, deadlocks, lost wake-ups.

    Exit status 0: nothing is wrong in any schedule that was run; 1: something is; 2: the options are wrong.
    """
    began = time.perf_counter()
    count, operations = BY_CHANCE[threads]
    programs = [*(PROGRAMS if threads == 2 else THREES)]
    programs += [chance(seed + number, threads, operations) for number in range(count)]
    found: list[InterleavingResult] = []
    with counting("programs") as told:
        for program in programs:
            found.append(explore(program, schedules=schedules, chances=-(-schedules // 10), seed=seed))
            if told is not None:
                told(len(found), len(programs))
    report = as_report(found, seed, time.perf_counter() - began)
    click.echo(json.dumps(report, indent=2) if as_json else as_text(report))
    sys.exit(1 if report["violations"] else 0)


def as_report(found: list[InterleavingResult], seed: int, seconds: float) -> dict[str, Any]:
    """Return what was found, for JSON.

    Args:
        seconds: how long it took.
    """
    return {
        "seed": seed,
        "schedules": sum(one.schedules for one in found),
        "seconds": round(seconds, 1),
        "programs": [
            {
                "name": one.program.name,
                "given": one.program.given,
                "scripts": one.program.scripts,
                "schedules": one.schedules,
                "repeated": one.repeated,
                "complete": one.complete,
            }
            for one in found
        ],
        "violations": [
            {
                "program": one.program.name,
                "property": broken.name,
                "schedule": needed(ran),
                "counterexample": as_list((broken.name, broken.text), (), retold(ran)),
                "mermaid": mermaid((broken.name, broken.text), (), retold(ran)),
                "test": as_test(broken, ran),
            }
            for one in found
            for broken, ran in one.broken
        ],
    }


def as_text(report: dict[str, Any]) -> str:
    """Return what was found, for people."""
    lines: list[str] = []
    for one in report["programs"]:
        whole = "complete" if one["complete"] else "bounded"
        lines.append(f"{one['schedules']:7,} schedules, {whole}: {one['name']}")
    left = sum(not one["complete"] for one in report["programs"])
    lines.append(
        f"{report['schedules']:,} schedules of {len(report['programs'])} programs in {report['seconds']} s, "
        f"{left} of them bounded; seed {report['seed']}; violations: {len(report['violations'])}"
    )
    for one in report["violations"]:
        lines += [f"in {one['program']}:", one["counterexample"], one["mermaid"], one["test"]]
    return "\n".join(lines)
