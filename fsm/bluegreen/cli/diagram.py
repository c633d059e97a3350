"""The command `diagram`: tables as pictures and texts. Its sub-commands are in modules of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bluegreen.diagram.coverage_command import coverage
from bluegreen.diagram.diff_command import diff
from bluegreen.diagram.embed_command import embed
from bluegreen.diagram.gallery import DIRECTORY
from bluegreen.diagram.gallery_command import check, checked, write
from bluegreen.diagram.page_command import page
from bluegreen.diagram.show_command import show


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--check", "wanted", is_flag=True, help=f"The same as `check {DIRECTORY}`.")
def diagram(context: click.Context, wanted: bool) -> None:
    """Draw tables: as text, as pictures; keep what is drawn up to date."""
    if context.invoked_subcommand is not None:
        return
    if wanted:
        sys.exit(checked(Path(DIRECTORY)))
    click.echo(context.get_help())


diagram.add_command(page)
diagram.add_command(show)
diagram.add_command(write)
diagram.add_command(check)
diagram.add_command(embed)
diagram.add_command(diff)
diagram.add_command(coverage)
