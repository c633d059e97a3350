"""The commands `diagram write` and `diagram check`: the directory of everything that is drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bluegreen.diagram.gallery import DIRECTORY, changes
from bluegreen.diagram.gallery import write as written
from bluegreen.diagram.picture import PictureError

_DIRECTORY = click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=DIRECTORY)


@click.command("write")
@_DIRECTORY
def write(directory: Path) -> None:
    """Draw everything anew into DIRECTORY, by default `diagrams`; files that are up to date are left alone.

    Exit status 0: it is drawn; 1: a picture cannot be laid out, or a file cannot be written.
    """
    try:
        names = written(directory)
    except (PictureError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for name in names:
        click.echo(f"{directory / name} is written")


@click.command("check")
@_DIRECTORY
def check(directory: Path) -> None:
    """Compare DIRECTORY, by default `diagrams`, with what the code says, byte by byte; write nothing.

    Exit status 0: it is up to date; 1: something is stale, missing or too much, or a picture cannot be laid out.
    """
    sys.exit(checked(directory))


def checked(directory: Path) -> int:
    """Say what is wrong with a directory, and how to refresh it; return the exit status."""
    try:
        wrong = list(changes(directory))
    except PictureError as error:
        raise click.ClickException(str(error)) from error
    for one in wrong:
        click.echo(f"{directory}/{one}", err=True)
    if wrong:
        click.echo(f"refresh with: bluegreen diagram write {directory}", err=True)
    return 1 if wrong else 0
