"""The command `diagram page`: one HTML file in which a table is walked through."""

from __future__ import annotations

from pathlib import Path

import click

from bluegreen.diagram.page.initial_states import MOST_TICKETS
from bluegreen.diagram.page.page import explorer_page
from bluegreen.diagram.renderers.svg import PictureError
from bluegreen.diagram.table_loader import found_named, table_named
from bluegreen.verify.exploration.single_table import TICKETS
from bluegreen.verify.verification import Verification


@click.command("page")
@click.argument("table")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file; by default, standard output.",
)
@click.option(
    "--tickets",
    type=click.IntRange(0, MOST_TICKETS),
    default=TICKETS,
    show_default=True,
    help="Open tickets at a time at most, in the strategy machine.",
)
@click.option("--free", is_flag=True, help="Facts are free to choose, also where a first context is known.")
def page(table: str, output: Path | None, tickets: int, free: bool) -> None:
    """Write a page that walks through TABLE: strategy, query, retry, module:NAME, or a file of exported JSON.

    NAME is a table, a Verification of one, which says where it begins, or a machine of transitions. The page is one
    file that loads nothing.

    Exit status 0: it is written; 1: the diagram cannot be laid out; 2: there is no such table, or it is too large.
    """
    try:
        found = found_named(table)
        of = found if isinstance(found, Verification) else table_named(table)
        text = explorer_page(of, tickets=tickets, free_facts=free)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except PictureError as error:
        raise click.ClickException(str(error)) from error
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
