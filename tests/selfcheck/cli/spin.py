"""Commands `spin` and `promela`: a second model checker, and the model that it gets."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from selfcheck.model.composition import Composition
from selfcheck.spin.compare import compare
from selfcheck.spin.promela import MODEL, TABLES
from selfcheck.spin.runner import SpinError, write


@click.command("spin")
@click.option("--queries", type=click.IntRange(0, 2), default=1, show_default=True, help="Queries at a time.")
def spin(queries: int) -> None:
    """Let SPIN search the composition of the shipped machines too, and compare.

    Exit status 0: both searches found the same states, and nothing wrong; 1: not; 2: SPIN could not be asked.
    """
    try:
        agreed = compare(Composition.of(queries))
    except SpinError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo(str(agreed))
    sys.exit(0 if agreed.same and not agreed.ours.broken else 1)


@click.command("promela")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--queries", type=click.IntRange(0, 3), default=1, show_default=True, help="Queries at a time.")
def promela(directory: Path, queries: int) -> None:
    """Write the composition of the shipped machines into DIRECTORY: a model for SPIN, with a header of its tables.

    Exit status 0: it is written; 1: it cannot be.
    """
    try:
        write(Composition.of(queries), directory)
    except OSError as error:
        raise click.ClickException(f"cannot write to {directory}: {error}") from error
    click.echo(f"{MODEL} and {TABLES} are in {directory}; check them with: spin -run {MODEL}")
