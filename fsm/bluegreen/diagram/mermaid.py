"""A table as a Mermaid state diagram.

>>> from bluegreen.strategy import STRATEGY
>>> print(state_diagram(STRATEGY).splitlines()[1])
    [*] --> Detecting
"""

from __future__ import annotations

from typing import Any

from bluegreen.guards import ALWAYS
from bluegreen.rows import Outcome
from bluegreen.table import Table


def state_diagram(table: Table[Any, Any, Any]) -> str:
    """Return the transitions of `table` as Mermaid text; rows that stay, ignore or forbid are left out.

    Rows with the same source, target and guard share an arrow. The order is the table's, so that the same
    table always gives the same text.
    """
    arrows: dict[tuple[str, str, str], list[str]] = {}
    for row in table.rows:
        if row.outcome is Outcome.GO and row.target is not None:
            guard = "" if row.guard is ALWAYS else f" [{_plain(str(row.guard))}]"
            arrows.setdefault((row.state, row.target, guard), []).append(row.event.name)
    lines = ["stateDiagram-v2", f"    [*] --> {table.initial}"]
    lines += [
        f"    {source} --> {target} : {', '.join(events)}{guard}"
        for (source, target, guard), events in arrows.items()
    ]
    lines += [f"    {state.name} --> [*]" for state in table.states if state.final]
    return "\n".join(lines)


def _plain(guard: str) -> str:
    """Return a guard in words: some of its signs mean something to Mermaid."""
    return guard.replace(" & ", " and ").replace(" | ", " or ").replace("!", "not ").replace("=", " ")
