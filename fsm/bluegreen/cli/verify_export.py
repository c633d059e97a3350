"""What `verify export` does, without a command line library: write a table for other tools."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Final

from bluegreen.table.rows import Declaration
from bluegreen.verify.export.formats import to_json, to_scxml

USAGE: Final = """\
usage: export json|scxml MODULE:TABLE

Writes a table, for example bluegreen.machines.strategy.table:STRATEGY, for other tools."""


def export(arguments: Sequence[str], say: Callable[[str], object] = print) -> int:
    """Write a table as `USAGE` says; return the exit code, 2 for wrong usage.

    >>> export(["yaml", "bluegreen.machines.query:QUERY"], say=lambda text: None)
    2
    """
    writers = {"json": to_json, "scxml": to_scxml}
    if len(arguments) != 2 or arguments[0] not in writers or ":" not in arguments[1]:
        say(USAGE)
        return 2
    module, _, name = arguments[1].partition(":")
    try:
        table = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        say(f"{arguments[1]} is no table: {error}")
        return 2
    if not isinstance(table, Declaration):
        say(f"{arguments[1]} is no table, but a {type(table).__name__}")
        return 2
    say(writers[arguments[0]](table).rstrip("\n"))
    return 0


if __name__ == "__main__":
    sys.exit(export(sys.argv[1:]))
