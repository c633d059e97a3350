"""Commands `diagram write` and `diagram check`: a directory with every picture of some tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from bluegreen.diagram.generated_files import DEFAULT, DIRECTORY, Gallery, changes
from bluegreen.diagram.generated_files import write as write_files
from bluegreen.diagram.renderers.svg import PictureError
from bluegreen.diagram.table_loader import table_named

_DIRECTORY = click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=DIRECTORY)
_TABLES = click.argument("tables", nargs=-1, metavar="[TABLE]...")


@click.command("write")
@_DIRECTORY
@_TABLES
def write(directory: Path, tables: Sequence[str]) -> None:
    """Draw each TABLE into DIRECTORY in every format; files that are up to date are left alone.

    TABLE is a short name or MODULE:NAME; by default, every table that ships. DIRECTORY is `diagrams` by default.

    Exit status 0: it is drawn; 1: a picture cannot be laid out, or a file cannot be written; 2: there is no such table.
    """
    write_directory(directory, _gallery(tables))


@click.command("check")
@_DIRECTORY
@_TABLES
def check(directory: Path, tables: Sequence[str]) -> None:
    """Compare DIRECTORY with what the code says, byte by byte; write nothing. The arguments are those of `write`.

    Exit status 0: it is up to date; 1: something is stale, missing or too much, or a picture cannot be laid out;
    2: there is no such table.
    """
    sys.exit(check_directory(directory, _gallery(tables), " ".join(_refresh(directory, tables))))


def write_directory(directory: Path, gallery: Gallery) -> None:
    """Write the files of a gallery that are not up to date, and say which.

    Raises:
        ClickException: a picture cannot be laid out, or a file cannot be written.
    """
    try:
        names = write_files(directory, gallery)
    except (PictureError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for name in names:
        click.echo(f"{directory / name} is written")


def check_directory(directory: Path, gallery: Gallery, refresh: str) -> int:
    """Say what is wrong with a directory, and which command refreshes it; return the exit status."""
    try:
        wrong = list(changes(directory, gallery))
    except PictureError as error:
        raise click.ClickException(str(error)) from error
    for one in wrong:
        click.echo(f"{directory}/{one}", err=True)
    if wrong:
        click.echo(f"refresh with: {refresh}", err=True)
    return 1 if wrong else 0


def _refresh(directory: Path, tables: Sequence[str]) -> Sequence[str]:
    return ("bluegreen diagram write", str(directory), *tables)


def _gallery(tables: Sequence[str]) -> Gallery:
    if not tables:
        return DEFAULT
    try:
        found = [table_named(name) for name in tables]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return Gallery({table.name: table for table in found})
