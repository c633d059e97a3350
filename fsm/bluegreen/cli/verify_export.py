"""What `verify export` does, without a command line library: write a table for other tools."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bluegreen.rows import Declaration
from bluegreen.verify.composition import Composition
from bluegreen.verify.export import to_json, to_scxml
from bluegreen.verify.promela import MODEL, TABLES
from bluegreen.verify.spin import write

USAGE: Final = """\
usage: export json|scxml MODULE:TABLE
       export promela DIRECTORY [QUERIES]

The first writes a table, for example bluegreen.strategy:STRATEGY, for other tools. The second writes the
composition of our machines with so many queries (1) as a model for SPIN, with a header of its tables."""

MOST: Final = 3
"""Queries of a composition at most: SPIN would take them, but not its search."""


def export(arguments: Sequence[str], say: Callable[[str], object] = print) -> int:
    """Write a table as `USAGE` says; return the exit code, 2 for wrong usage.

    >>> export(["yaml", "bluegreen.query:QUERY"], say=lambda text: None)
    2
    """
    if arguments[:1] == ["promela"]:
        return _promela(arguments[1:], say)
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


def _promela(arguments: Sequence[str], say: Callable[[str], object]) -> int:
    directory, queries = (*arguments, "1", "1")[:2]
    if len(arguments) not in (1, 2) or queries not in map(str, range(MOST + 1)):
        say(f"{USAGE}\n\nQUERIES: 0 to {MOST}")
        return 2
    try:
        write(Composition.of(int(queries)), Path(directory))
    except OSError as error:
        say(f"cannot write to {directory}: {error}")
        return 2
    say(f"{MODEL} and {TABLES} are in {directory}; check them with: spin -run {MODEL}")
    return 0


if __name__ == "__main__":
    sys.exit(export(sys.argv[1:]))
