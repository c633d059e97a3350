"""The command `diagram show`: one table in one format."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bluegreen.diagram.labels import LEVELS, Level
from bluegreen.diagram.model import diagram_of, part_of
from bluegreen.diagram.renderers.formats import FORMATS
from bluegreen.diagram.renderers.svg import PictureError
from bluegreen.diagram.table_loader import table_named


@click.command("show")
@click.argument("table")
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS]),
    default="mermaid",
    show_default=True,
    help="What is written.",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="overview",
    show_default=True,
    help="The transitions only, or every row with what it does.",
)
@click.option("--focus", metavar="STATE", help="Only this state, its neighbours, and what joins them to it.")
@click.option("--events", metavar="A,B", help="Only the rows of these events.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file; by default, standard output.",
)
def show(
    table: str, form: str, level: Level, focus: str | None, events: str | None, output: Path | None
) -> None:
    """Draw TABLE: strategy, query, retry, module:NAME, or a file that `verify export json` has written.

    Exit status 0: it is drawn; 1: a picture cannot be laid out; 2: there is no such table, state or event.
    """
    try:
        shown = part_of(diagram_of(table_named(table)), focus, events)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        drawn = FORMATS[form](shown, level)
    except PictureError as error:
        raise click.ClickException(str(error)) from error
    data = drawn if isinstance(drawn, bytes) else f"{drawn.rstrip()}\n".encode()
    if output is not None:
        output.write_bytes(data)
    else:
        sys.stdout.buffer.write(data)
