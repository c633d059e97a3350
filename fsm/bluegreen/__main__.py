"""`bluegreen` and `python -m bluegreen`: the command line.

Its commands are found through the entry point group `bluegreen.commands`: this module imports none of them,
and other distributions can add theirs.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final

from bluegreen import __version__

if TYPE_CHECKING:
    import click

GROUP: Final = "bluegreen.commands"
"""The entry point group of the commands; each is a `click.Command`."""

MISSING: Final = 'the command line needs the extra "cli": pip install "bluegreen[cli]"'
"""What is said where the extra is missing."""


def command_line() -> click.Group:
    """Return the command line with every command that is installed; none of them is imported yet.

    Raises:
        ModuleNotFoundError: the extra `cli` is not installed.
    """
    import click

    class Commands(click.Group):
        """Commands by entry point."""

        def list_commands(self, ctx: click.Context) -> list[str]:
            return sorted({*super().list_commands(ctx), *entry_points(group=GROUP).names})

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            known = super().get_command(ctx, cmd_name)
            found = tuple(entry_points(group=GROUP, name=cmd_name))
            return known or (_loaded(found[0]) if found else None)

    return click.version_option(__version__, prog_name="bluegreen")(
        Commands(
            "bluegreen", help="Applications notice nothing while their cluster is redeployed under them."
        )
    )


def _loaded(point: EntryPoint) -> click.Command:
    """Return a command; one that cannot be imported says so, and does not keep the others from the help."""
    import click

    try:
        command: click.Command = point.load()
    except ImportError as error:
        reason = f"{point.name} cannot be loaded: {error}"

        def refuse() -> None:
            raise click.ClickException(reason)

        return click.Command(point.name, callback=refuse, short_help=f"({reason})")
    return command


def main() -> None:
    """Run the command line; exits with its status."""
    if importlib.util.find_spec("click") is None or importlib.util.find_spec("rich") is None:
        sys.exit(MISSING)
    command_line()(prog_name="bluegreen")


if __name__ == "__main__":
    main()
