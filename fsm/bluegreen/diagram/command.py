"""The command `diagram`: tables as pictures and texts. Its sub-commands are in modules of their own."""

from __future__ import annotations

import click

from bluegreen.diagram.show_command import show


@click.group()
def diagram() -> None:
    """Draw tables: as text, as pictures; keep what is drawn up to date."""


diagram.add_command(show)
