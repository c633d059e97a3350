"""The command `diagram coverage`: which rows of a table were taken, how often, and which never can be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from bluegreen.diagram.annotated import Marked, as_dot, as_mermaid, as_svg
from bluegreen.diagram.coverage.io import counted
from bluegreen.diagram.coverage.overlay import Overlay, explored, overlay
from bluegreen.diagram.coverage.text import markdown, picture, text
from bluegreen.diagram.diff.state_graph import NotExplored, table_and_beside
from bluegreen.diagram.renderers.svg import PictureError
from bluegreen.diagram.table_loader import SHIPPED, table_named
from bluegreen.verify.coverage.reachable import Reach

WRITTEN: Final[Mapping[str, Callable[[Overlay], str]]] = {"text": text, "markdown": markdown}
DRAWN: Final[Mapping[str, Callable[[Marked], str]]] = {"mermaid": as_mermaid, "dot": as_dot, "svg": as_svg}


@click.command("coverage")
@click.argument("table")
@click.option(
    "--from",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A tally of tests, see pytest --bluegreen-tally, or a journal of real runs; may be repeated.",
)
@click.option("--explore", is_flag=True, help="Count what the explorer takes too: each step once.")
@click.option(
    "--format",
    "kind",
    type=click.Choice([*WRITTEN, *DRAWN]),
    default="text",
    show_default=True,
    help="How it is written; svg needs the extra diagram.",
)
@click.option(
    "--fail-under",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit with 1 if fewer of the rows that can be taken were.",
)
@click.option(
    "--states",
    type=click.IntRange(1),
    help="Pairs of state and context that the explorer keeps at most; by default what the table's verification says.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; else it is printed."
)
def coverage(
    table: str, files: tuple[Path, ...], explore: bool, kind: str, fail_under: float | None, states: int | None,
    output: Path | None,
) -> None:  # fmt: skip
    """Show which rows of TABLE were taken: counts, guards seen both ways, and what no run can take.

    Exit status 0: it is shown; 1: fewer rows were taken than --fail-under asks for; 2: wrong usage.
    """
    if not files and not explore:
        raise click.UsageError("nothing to count: give --from FILE, or --explore")
    try:
        found, names = _load_counts(table, files, explore, states)
        said = WRITTEN[kind](found) if kind in WRITTEN else DRAWN[kind](picture(found, names))
    except (ValueError, OSError, PictureError) as error:
        raise click.UsageError(str(error)) from error
    if output is None:
        click.echo(said)
    else:
        output.write_text(said + "\n", encoding="utf-8")
    if fail_under is not None and found.percent < fail_under:
        click.echo(
            f"{found.percent:.2f} % of the rows that can be taken were, {fail_under:g} % are asked for",
            err=True,
        )
        sys.exit(1)


def _load_counts(
    name: str, files: tuple[Path, ...], explore: bool, states: int | None
) -> tuple[Overlay, tuple[str, ...]]:
    """Return what was counted, and the names of the states."""
    table: Any = table_named(name)
    is_file = name not in SHIPPED and Path(name).is_file()
    beside: list[Any] = []
    if not is_file:
        table, beside = table_and_beside(name)
    tally = counted(table, files)
    reached: Reach | None = None
    why = "a file has no code" if is_file else ""
    if not is_file:
        try:
            reached = explored(table, beside, states)
        except NotExplored as error:
            why = str(error)
    if explore:
        if reached is None:
            raise ValueError(f"{name} cannot be explored: {why}")
        tally.merge(reached.tally)
    return overlay(table, tally, reached, why), tuple(one.name for one in table.states)
