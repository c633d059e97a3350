"""Command `diagrams`: the directory of everything that is drawn of this project."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bluegreen.cli.diagram_gallery import check_directory, write_directory
from bluegreen.diagram.generated_files import DIRECTORY
from selfcheck.scenarios.gallery import own_gallery


@click.command("diagrams")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=DIRECTORY)
@click.option("--check", is_flag=True, help="Write nothing; say what is stale.")
def diagrams(directory: Path, check: bool) -> None:
    """Draw everything anew into DIRECTORY, by default `diagrams`; files that are up to date are left alone.

    Exit status 0: it is up to date; 1: something is stale, missing or too much, or a picture cannot be laid out.
    """
    if check:
        sys.exit(check_directory(directory, own_gallery(), "make diagrams"))
    write_directory(directory, own_gallery())
