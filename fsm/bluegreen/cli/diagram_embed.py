"""The command `diagram embed`: the blocks of documents."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bluegreen.diagram.embed import refresh


@click.command("embed")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--check", is_flag=True, help="Write nothing; say which files are stale.")
def embed(files: tuple[Path, ...], check: bool) -> None:
    """Fill the blocks of FILES, such as `<!-- bluegreen:diagram module:NAME level=full -->`.

    Exit status 0: all are up to date, or have been filled; 1: with --check, some are stale; 2: a block names
    what there is not.
    """
    sys.exit(refresh(files, check=check, say=lambda text: click.echo(text, err=True)))
