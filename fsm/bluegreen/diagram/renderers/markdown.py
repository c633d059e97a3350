"""A table as a Markdown table: a line for each event, a column for each state, and what happens in each cell.

>>> from bluegreen.machines.retry import RETRY
>>> print(cells(RETRY).splitlines()[-1])
| not_authenticated | forbid: no stack has been asked | [renewals left] stay: authentication: a new session ... |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bluegreen.diagram.labels import Level, actions_of, in_words, marked
from bluegreen.diagram.model import Arrow, Diagram, diagram_of
from bluegreen.table.rows import Declaration

_ELSEWHERE: Final = "…"
"""Stands in a cell whose rows are not in the part that is drawn: a table has rows for every cell."""


def cells(of: Declaration | Diagram, level: Level = "overview") -> str:
    """Return a table as Markdown: event by state, with guard and reason.

    Args:
        of: a table, or a part of one as a diagram.
        level: `full` also says what each row does.
    """
    diagram = diagram_of(of)
    safe = {arrow.event for arrow in diagram.arrows if arrow.safe_point}
    head = ["event", *(_titled(node.name, node.initial, node.final) for node in diagram.nodes)]
    rows = [
        [
            marked(event, event in safe),
            *(
                "<br>".join(_escape(one, level) for one in diagram.cell(node.name, event)) or _ELSEWHERE
                for node in diagram.nodes
            ),
        ]
        for event in diagram.events
    ]
    return table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table.

    >>> print(table(["a"], [["b|c"]]))
    | a |
    | --- |
    | b\\|c |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _titled(name: str, initial: bool, final: bool) -> str:
    notes = [word for word, true in (("initial", initial), ("final", final)) if true]
    return f"{_plain(name)} ({', '.join(notes)})" if notes else _plain(name)


def _escape(arrow: Arrow, level: Level) -> str:
    guard = f"[{in_words(arrow.guard)}] " if arrow.guard else ""
    outcome = f"→ {arrow.target}" if arrow.target is not None else arrow.outcome
    actions = f" / {', '.join(actions_of(arrow))}" if level == "full" and actions_of(arrow) else ""
    return _plain(f"{guard}{outcome}{actions}: {arrow.why}")


def _plain(text: str) -> str:
    """Nothing in it is taken for markup, or ends the cell."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("*", "\\*")
