"""The command `verify mutants`: wrong tables, and what notices them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import click

from bluegreen.verify.exploration.counterexample import as_list, as_test, mermaid
from bluegreen.verify.mutation.operators import MutantResult
from selfcheck.cli.progress import counting
from selfcheck.mutation.runner import Mutation, mutate


@click.command("mutants")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes; by default as many as there are processors."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON, and nothing else.")
def mutants(workers: int | None, as_json: bool) -> None:
    """Try wrong tables and known bugs of the field: whether anything notices them.

    Exit status 0: at least 95 % are noticed, each survivor is explained, and each property notices something; 1: not.
    """
    with counting("mutants") as told:
        found = mutate(workers, told)
    click.echo(json.dumps(as_report(found), indent=2) if as_json else as_text(found))
    sys.exit(0 if ok(found) else 1)


def ok(found: Mutation) -> bool:
    """Whether the properties are strong enough."""
    unnoticed = any(not one.killer for one in found.bugs)
    return found.score >= 0.95 and not (unnoticed or found.unexplained or found.vacuous)


def as_report(found: Mutation) -> dict[str, Any]:
    """Return what became of the mutants, for JSON."""
    return {
        "mutants": len(found.generated),
        "score": round(found.score, 4),
        "field_bugs": [_bug(one) for one in found.bugs],
        "killed_by": dict(Counter(one.killer for one in found.generated if one.killer)),
        "killers": {one.name: one.killer for one in found.generated if one.killer},
        "survivors": {one.name: one.reason for one in found.survivors},
        "unexplained": [one.name for one in found.unexplained],
        "vacuous": list(found.vacuous),
    }


def _bug(one: MutantResult) -> dict[str, Any]:
    told = one.killer, one.reason
    shown: dict[str, Any] = {"name": one.name, "killer": one.killer}
    if one.killer:
        shown |= {
            "counterexample": as_list(told, one.events, one.path),
            "mermaid": mermaid(told, one.events, one.path),
        }
    if one.killer and one.events and not one.path and hasattr(one.events[0], "name") and _of_manager(one):
        shown["test"] = as_test(told, one.events)
    elif one.test:
        shown["test"] = one.test
    return shown


def _of_manager(one: MutantResult) -> bool:
    """Whether its events are those of the strategy machine, which a manager takes."""
    return all(type(event).__module__ == "bluegreen.machines.strategy.events" for event in one.events)


def as_text(found: Mutation) -> str:
    """Return what became of the mutants, for people."""
    lines: list[str] = []
    for one in found.bugs:
        if one.killer:
            told = one.killer, one.reason
            lines += [
                f"{one.name}: noticed",
                as_list(told, one.events, one.path),
                mermaid(told, one.events, one.path),
            ]
        else:
            lines.append(f"{one.name}: NOT noticed")
    counted = Counter(one.killer for one in found.generated if one.killer)
    lines.append(f"mutants: {len(found.generated)}, score {found.score:.1%}, noticed by")
    lines += [f"  {count:4} {name}" for name, count in counted.most_common()]
    lines += [f"  survives: {one.name}: {one.reason or 'NOBODY KNOWS WHY'}" for one in found.survivors]
    lines += [f"  no mutant breaks: {name}" for name in found.vacuous] or [
        "every property is broken by some mutant"
    ]
    return "\n".join(lines)
