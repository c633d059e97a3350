"""The command `bluegreen audit`: check an audit, look into it, and hand it on."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import click

from bluegreen_adapters.observe.audit import verifier
from bluegreen_adapters.observe.audit.format import KINDS, files_in
from bluegreen_adapters.observe.audit.reader import COLUMNS, WHEN, Wanted, entries, flat, moment

F = TypeVar("F", bound=Callable[..., Any])
_STYLES: Final = {"errors": "red", "performance": "dim"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_SHOWN: Final = ("query", "query_id", "strategy", "before", "after", "active", "pending", "reason", "details")


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else moment(value, time.time())
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.group("audit")
def audit() -> None:
    """The audit of what changed something, of errors, and of queries that were lost."""


_folder = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))


def _filters(command: F) -> F:
    for add in (
        click.option("--event", "events", multiple=True, help="Lines with this name, query_lost or strategy_announced "
                     "for example; may be repeated."),
        click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Files of this kind; may be "
                     "repeated."),
        click.option("--query", help="Number of a query, or the id that its application holds."),
        click.option("--until", callback=_moment, metavar="TIME", help="No later than this time."),
        click.option("--since", callback=_moment, metavar="TIME", help=f"No earlier than this time: {WHEN}."),
        click.option("--scope", help="One scope alone, as it is written: host:port/cluster."),
        _folder,
    ):  # fmt: skip
        command = add(command)
    return command


@audit.command("verify")
@_folder
@click.option(
    "--strict", is_flag=True, help="Telemetry events that are known to be missing are findings too."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")
def verify(folder: Path, *, strict: bool, as_json: bool) -> None:
    """Check the files in FOLDER: each line, their chain, what is missing, and each step against the table.

    A part of a last line, which a crash leaves, is set aside and told. Exit status 0: all is right; 1: something is
    not, and each finding says where; 2: there is no audit.
    """
    with _report_error():
        _there(folder)
        found = verifier.verify(folder)
    if as_json:
        click.echo(json.dumps({"good": found.ok, **attrs.asdict(found)}, indent=2))
    else:
        click.echo(str(found))
    sys.exit(0 if found.ok and not (strict and found.missing) else 1)


@audit.command("show")
@_filters
@click.option("--json", "as_json", is_flag=True, help="Print each line as JSON.")
def show(folder: Path, *, as_json: bool, **chosen: Any) -> None:
    """Show what is in FOLDER, in the order of time."""
    with _report_error():
        _there(folder)
        if as_json:
            for entry in entries(folder, _wanted(chosen)):
                click.echo(json.dumps(entry.said, separators=(",", ":")))
        else:
            _show(folder, _wanted(chosen))


def _show(folder: Path, wanted: Wanted) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    for entry in entries(folder, wanted):
        said = flat(entry)
        text = Text(f"{said['time']} ", style="dim")
        text.append(f"{_printable(said['scope'] or '-')} ", style="cyan")
        text.append(f"{_printable(said['event'])} ", style=_STYLES.get(entry.name.kind, "bold"))
        told = " ".join(f"{name}={_printable(said[name])}" for name in _SHOWN if said[name] is not None)
        console.print(text.append(told, style="default"))


@audit.command("export")
@_filters
@click.option(
    "--to", type=click.Path(dir_okay=False, path_type=Path), help="A file; by default standard output."
)
def export(folder: Path, *, to: Path | None, **chosen: Any) -> None:
    """Write what is in FOLDER as CSV, in the order of time.

    A cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    with _report_error():
        _there(folder)
        wanted = _wanted(chosen)
        if to is None:
            _write(csv.writer(sys.stdout), folder, wanted)
        else:
            with to.open("w", encoding="utf-8", newline="") as file:
                _write(csv.writer(file), folder, wanted)


@contextmanager
def _report_error() -> Generator[None, None, None]:
    """Say which file could not be opened, read or written, and why; a pipe that nobody reads any more is no error."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(str(error)) from error


def _write(rows: Any, folder: Path, wanted: Wanted) -> None:
    rows.writerow(COLUMNS)
    for entry in entries(folder, wanted):
        said = flat(entry)
        rows.writerow([_cell(said[name]) for name in COLUMNS])


def _there(folder: Path) -> None:
    if not files_in(folder):
        click.echo(
            f"no audit is in {folder}: its files are called {KINDS[0]}-<time>-<process>-<number>.jsonl",
            err=True,
        )
        sys.exit(2)


def _wanted(chosen: dict[str, Any]) -> Wanted:
    kinds, events = frozenset(chosen.pop("kinds")), frozenset(chosen.pop("events"))
    return Wanted(kinds=kinds, events=events, **chosen)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _printable(value: object) -> str:
    """Return a value as it may be shown on a terminal: what a server said may hold anything."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text)
