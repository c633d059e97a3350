"""The command `diagram`: tables as pictures and texts. Its sub-commands are in modules of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bluegreen.cli.diagram_coverage import coverage
from bluegreen.cli.diagram_diff import diff
from bluegreen.cli.diagram_embed import embed
from bluegreen.cli.diagram_gallery import check, check_directory, write
from bluegreen.cli.diagram_page import page
from bluegreen.cli.diagram_show import show
from bluegreen.diagram.generated_files import DEFAULT, DIRECTORY


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--check", "wanted", is_flag=True, help=f"The same as `check {DIRECTORY}`.")
def diagram(context: click.Context, wanted: bool) -> None:
    """Draw tables: as text, as pictures; keep what is drawn up to date."""
    if context.invoked_subcommand is not None:
        return
    if wanted:
        sys.exit(check_directory(Path(DIRECTORY), DEFAULT, f"bluegreen diagram write {DIRECTORY}"))
    click.echo(context.get_help())


diagram.add_command(page)
diagram.add_command(show)
diagram.add_command(write)
diagram.add_command(check)
diagram.add_command(embed)
diagram.add_command(diff)
diagram.add_command(coverage)
