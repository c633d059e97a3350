"""Command line of the self-verification: `python -m selfcheck`, with `tests` on the path; see `make verify`."""

from __future__ import annotations

import click

from selfcheck.cli.diagrams import diagrams
from selfcheck.cli.explore import explore
from selfcheck.cli.interleavings import interleavings
from selfcheck.cli.mutants import mutants
from selfcheck.cli.spin import promela, spin


@click.group("selfcheck")
def selfcheck() -> None:
    """Verify the machines that ship: explore them, attack what runs, and attack what checks it."""


for command in (explore, mutants, interleavings, spin, promela, diagrams):
    selfcheck.add_command(command)

if __name__ == "__main__":
    selfcheck(prog_name="python -m selfcheck")
