"""Tables by the name under which a command line gets them: a short name, `module:NAME`, or a file of JSON.

>>> table_named("query").name, table_named("bluegreen.machines.retry:RETRY").name
('query', 'retry')
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import transitions

from bluegreen.errors import TableError
from bluegreen.machines.lease import LEASE
from bluegreen.machines.query import QUERY
from bluegreen.machines.retry import RETRY
from bluegreen.machines.store_sync import SHARING
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.rows import Declaration
from bluegreen.verify.export.formats import read_json

SHIPPED: Final[Mapping[str, Declaration]] = {
    table.name: table for table in (STRATEGY, QUERY, RETRY, SHARING, LEASE)
}
"""The tables of this library, by name."""

ACCEPTED: Final = (
    f"accepted: {', '.join(SHIPPED)}, MODULE:TABLE, a file that `verify export json` has written"
)


def table_named(name: str) -> Declaration:
    """Return the table with that name.

    Args:
        name: a shipped table's; `module:NAME` of a table, of a `Verification` of one, or of a machine of `transitions`;
            or the path of a file with exported JSON. Modules are looked for in the working directory as well.

    Raises:
        ValueError: there is no such table; says why, and what is accepted.
    """
    return _as_table(found_named(name), name)


def found_named(name: str) -> object:
    """Return what is found under a name: a table, or what one can be made of. See `table_named`.

    Raises:
        ValueError: nothing is; says why, and what is accepted.
    """
    if name in SHIPPED:
        return SHIPPED[name]
    path = Path(name)
    if path.is_file():
        return _read(path)
    module, _, attribute = name.partition(":")
    if not module or not attribute or path.suffix == ".json":
        raise ValueError(f"there is no table {name!r}; {ACCEPTED}")
    try:
        return getattr(_imported(module), attribute)
    except (ImportError, AttributeError, TableError) as error:
        raise ValueError(f"{name} is no table: {error}; {ACCEPTED}") from error


def _read(path: Path) -> Declaration:
    try:
        text = path.read_text(encoding="utf-8")
        told = json.loads(text).get("name")
        return read_json(text, like=SHIPPED.get(told))
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is no exported table: {error!r}; {ACCEPTED}") from error


def _imported(module: str) -> Any:
    here = str(Path.cwd())  # a console script has its own directory there, not the user's
    if here not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(module)


def _as_table(found: Any, name: str) -> Declaration:
    table = getattr(found, "table", found)
    if isinstance(table, Declaration):
        return table
    if isinstance(found, transitions.Machine):
        from bluegreen.verify.export.from_transitions import from_transitions

        try:
            return from_transitions(found)
        except TypeError as error:
            raise ValueError(f"{name} cannot be made a table: {error}") from error
    raise ValueError(f"{name} is no table, but a {type(found).__name__}; {ACCEPTED}")
