"""The command `bluegreen config`: which settings hold, and where each comes from."""

from __future__ import annotations

import json
import sys
from typing import cast

import attrs
import click
from rich.console import Console
from rich.table import Table

from bluegreen.config.loader import Configured, configured
from bluegreen.config.settings import without_credentials
from bluegreen.errors import SettingsError


@click.group("config")
def config() -> None:
    """Settings: which hold, and where each comes from."""


@config.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")
def show(*, as_json: bool) -> None:
    """Show each setting, its value, and where that comes from: the environment, a file, or the default.

    Exit status 0: shown; 1: a value is wrong, and every finding is told.
    """
    try:
        found = configured()
    except SettingsError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    values = {name: _display(value) for name, value in attrs.asdict(found.settings).items()}
    if as_json:
        rows = {name: {"value": value, "from": found.origins[name]} for name, value in values.items()}
        click.echo(json.dumps(rows, indent=2))
    elif sys.stdout.isatty():
        _print(found, values)
    else:
        for name, value in values.items():
            click.echo(f"{name} = {value} ({found.origins[name]})")


def _print(found: Configured, values: dict[str, str]) -> None:
    table = Table("setting", "value", "from")
    for name, value in values.items():
        table.add_row(name, value, found.origins[name])
    Console().print(table)


def _display(value: object) -> str:
    """Return a value as it may be shown: the URL of a store may hold a password."""
    if value in (None, ()):
        return "none"
    if isinstance(value, tuple):
        return ";; ".join(map(str, cast("tuple[object, ...]", value)))
    return without_credentials(str(value))
