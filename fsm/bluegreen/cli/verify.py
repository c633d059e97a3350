"""Command `verify`: explore tables of yours, check journals, and export tables for other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from bluegreen.cli.verify_export import export
from bluegreen.cli.verify_log import verify_logs
from bluegreen.errors import TableError
from bluegreen.verify.coverage.rows_and_guards import rows_and_guards
from bluegreen.verify.exploration.counterexample import as_list, describe_event, mermaid
from bluegreen.verify.exploration.single_table import ExplorationResult
from bluegreen.verify.pytest_plugin.discovery import Declared, declared
from bluegreen.verify.verification import Mutated

_AS_IT_IS: Final = {"ignore_unknown_options": True}


class _TablesOrCommands(click.Group):
    """A group in which anything but a sub-command is a table to verify."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "tables", tables, args


@click.group(cls=_TablesOrCommands, subcommand_metavar="MODULE:NAME... | COMMAND [ARGS]...")
def verify() -> None:
    """Explore tables: what never may happen, what has to, what follows.

    MODULE:NAME names a Verification, or a Table; MODULE alone stands for every Verification in it. Modules are
    looked for in the working directory as well. `bluegreen verify MODULE:NAME --help` lists the options.

    Exit status 0: everything was seen, and nothing is wrong; 1: something is; 2: a bound ended the search, or there is
    no such table. A sub-command says what its own exit status means.
    """


@click.command("tables")
@click.argument("entries", metavar="MODULE:NAME...", nargs=-1, required=True)
@click.option("--mutants", is_flag=True, help="Also try wrong tables: does a property notice each of them?")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON, and nothing else.")
def tables(entries: Sequence[str], mutants: bool, as_json: bool) -> None:
    """Explore each table that is named.

    Exit status 0: everything was seen, and nothing is wrong; 1: something is; 2: a bound ended the search, or there is
    no such table.
    """
    here = str(Path.cwd())  # a console script has its own directory there, not the user's
    if here not in sys.path:
        sys.path.insert(0, here)
    reports = [_report(one, mutants=mutants) for one in declared(entries)]
    violations = [broken for one in reports for broken in one.get("violations", ())]
    everything = {"tables": reports, "violations": violations}  # the explorer page reads the second one
    click.echo(json.dumps(everything, indent=2) if as_json else "\n".join(map(_text, reports)))
    sys.exit(max((_status(one) for one in reports), key=(0, 2, 1).index))


def _report(one: Declared, *, mutants: bool) -> dict[str, Any]:
    if one.error is not None or one.verification is None:
        return {"table": one.name, "error": str(one.error), "is_refused": isinstance(one.error, TableError)}
    found = one.verification.explore()
    report = {"table": one.name, "error": "", **_as_report(one.name, found)}
    covered = rows_and_guards(one.verification.table, found.missed)
    report["coverage"] = {
        "text": str(covered), "untaken": list(covered.untaken), "one_way": list(covered.one_way)
    }  # fmt: skip
    if mutants:
        report["mutants"] = _of_mutants(one.verification.mutate())
    return report


def _as_report(name: str, found: ExplorationResult) -> dict[str, Any]:
    return {
        "states": found.states,
        "steps": found.steps,
        "complete": found.complete,
        "unreached": list(found.unreached),
        "violations": [
            {
                "table": name,
                "property": one.name,
                "events": [describe_event(event) for event in one.events],
                "counterexample": as_list((one.name, one.detail), one.events),
                "mermaid": mermaid((one.name, one.detail), one.events),
            }
            for one in found.violations
        ],
        "text": str(found),
    }


def _of_mutants(found: Mutated) -> dict[str, Any]:
    return {
        "text": str(found),
        "survivors": list(found.survivors),
        "stale": list(found.stale),
        "vacuous": list(found.vacuous),
    }


def _text(report: dict[str, Any]) -> str:
    if report["error"]:
        return f"{report['table']}: {report['error']}"
    lines = [f"{report['table']}: {report['text']}", f"  {report['coverage']['text']}"]
    lines += [f"    guard seen one way only: {name}" for name in report["coverage"]["one_way"]]
    lines += [one["mermaid"] for one in report["violations"]]
    if "mutants" in report:
        lines.append(f"  {report['mutants']['text']}")
    return "\n".join(lines)


def _status(report: dict[str, Any]) -> int:
    """Return 0 for a table that is right, 1 for one that is wrong, 2 for one that was not seen whole."""
    if report["error"]:
        return 1 if report["is_refused"] else 2
    found = report.get("mutants", {})
    if report["violations"] or report["unreached"] or found.get("survivors") or found.get("stale"):
        return 1
    return 0 if report["complete"] else 2


@verify.command("log", context_settings=_AS_IT_IS, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def log(arguments: tuple[str, ...]) -> None:
    """Check journals against the table. `verify log` alone says how, and what the exit status means."""
    sys.exit(verify_logs(arguments, click.echo))


@verify.command("export", context_settings=_AS_IT_IS, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def export_table(arguments: tuple[str, ...]) -> None:
    """Write a table for other tools. `verify export` alone says how."""
    sys.exit(export(arguments, click.echo))
