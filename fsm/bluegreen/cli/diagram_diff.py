"""The command `diagram diff`: what differs between two tables, and between what they do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click

from bluegreen.diagram.annotated import as_dot, as_mermaid, as_svg
from bluegreen.diagram.diff.git_revision import RevisionError
from bluegreen.diagram.diff.inputs import Compared, compared, side
from bluegreen.diagram.diff.state_graph import STATES
from bluegreen.diagram.diff.svg import picture
from bluegreen.diagram.diff.text import as_json, markdown, missing, text
from bluegreen.diagram.renderers.svg import PictureError
from bluegreen.diagram.table_loader import SHIPPED

FORMATS: Final[Mapping[str, Callable[[Compared], str]]] = {
    "text": text,
    "markdown": markdown,
    "mermaid": lambda found: as_mermaid(picture(found)),
    "dot": lambda found: as_dot(picture(found)),
    "svg": lambda found: as_svg(picture(found)),
    "json": as_json,
}
"""How a comparison can be written."""

TOGETHER: Final = ("text", "markdown")
"""Formats in which several comparisons can follow each other."""


@click.command("diff")
@click.argument("old")
@click.argument("new")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="MODULE:NAME",
    help="The table of a revision; may be repeated; by default the one that the other side names, else strategy.",
)
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="DIRECTORY",
    help="Where the modules of a revision are, from the top of its repository; may be repeated.  "
    "[default: those of fsm, src and . that it has]",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice([*FORMATS]),
    default="text",
    show_default=True,
    help="How it is written; svg needs the extra diagram.",
)
@click.option(
    "--states",
    type=click.IntRange(1),
    default=STATES,
    show_default=True,
    help="Pairs of state and context of each side that are looked at, at most.",
)
@click.option(
    "--keep-going",
    is_flag=True,
    help="If a table cannot be had of a revision, say so and go on; that counts as a difference.",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; else it is printed."
)
def diff(
    old: str, new: str, tables: tuple[str, ...], paths: tuple[str, ...], kind: str, states: int, keep_going: bool,
    output: Path | None,
) -> None:  # fmt: skip
    """Compare two tables: their rows, and the machines' behaviour.

    OLD and NEW are each a shipped table (strategy, query, retry), MODULE:NAME, a file that `verify export json` has
    written, or a revision of the git repository here, whose own code is then run, in a process of its own.

    Exit status 0: nothing differs; 1: something does; 2: wrong usage, or a side cannot be had.
    """
    tables = tables or (_named(old) or _named(new) or "strategy",)
    if len(tables) > 1 and kind not in TOGETHER:
        raise click.UsageError(f"several tables are written as {' or '.join(TOGETHER)}, not as {kind}")
    said: list[str] = []
    same = True
    for table in tables:
        try:
            found = compared(*(side(one, table=table, paths=paths, states=states) for one in (old, new)))
            said.append(FORMATS[kind](found))
            same = same and found.same
        except RevisionError as error:
            if not keep_going or kind not in TOGETHER:
                raise click.UsageError(str(error)) from error
            said.append(missing(table, str(error)))
            same = False
        except (ValueError, PictureError) as error:
            raise click.UsageError(str(error)) from error
    whole = "\n\n".join(said)
    if output is None:
        click.echo(whole)
    else:
        output.write_text(whole + "\n", encoding="utf-8")
    sys.exit(0 if same else 1)


def _named(side: str) -> str | None:
    """The table that a side names, for a revision on the other one: what is not there is refused later."""
    module, colon, name = side.partition(":")
    is_module = all(word.isidentifier() for word in module.split("."))
    return side if is_module and (name.isidentifier() if colon else side in SHIPPED) else None
