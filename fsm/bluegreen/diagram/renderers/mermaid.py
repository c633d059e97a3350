"""A table as a Mermaid state diagram.

>>> from bluegreen.machines.strategy.table import STRATEGY
>>> print(state_diagram(STRATEGY).splitlines()[1])
    [*] --> Detecting
"""

from __future__ import annotations

import re
from typing import Final

from bluegreen.diagram.labels import Level, groups, in_words, quiet_lines
from bluegreen.diagram.model import Diagram, diagram_of
from bluegreen.table.rows import Declaration

_SIGNS: Final = {"#": "#35;", ";": "#59;", ":": "#58;", "<": "#lt;", ">": "#gt;", '"': "#quot;"}
_TAKEN: Final = {"state", "note", "end", "as", "class", "classdef", "direction", "style", "default", "root"}
"""Words that cannot stand for a state: Mermaid would take them for its own."""


def state_diagram(of: Declaration | Diagram, level: Level = "overview") -> str:
    """Return a table as Mermaid text.

    Rows with the same source, target and guard share an arrow. The order is the table's, so that the same
    table always gives the same text.

    Args:
        of: a table, or a part of one as a diagram.
        level: `overview` has the transitions; `full` also says what each row does, and lists in each state what
            does not lead out of it.
    """
    diagram = diagram_of(of)
    ids = {node.name: _id(node.name, index) for index, node in enumerate(diagram.nodes)}
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{escaped(name)}" as {shown}' for name, shown in ids.items() if shown != name]
    lines += [f"    [*] --> {ids[node.name]}" for node in diagram.nodes if node.initial]
    drawn = {node.name for node in diagram.nodes if node.initial or node.final}
    for group in groups(diagram.transitions(), level):
        assert group.target is not None
        drawn |= {group.source, group.target}
        lines.append(f"    {ids[group.source]} --> {ids[group.target]} : {escaped(group.label())}")
    lines += [f"    {ids[node.name]} --> [*]" for node in diagram.nodes if node.final]
    lines += [f"    {ids[node.name]}" for node in diagram.nodes if node.name not in drawn]
    if level == "full":
        lines += _notes(diagram, ids)
    return "\n".join(lines)


def _notes(diagram: Diagram, ids: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for node in diagram.nodes:
        inside = [f"holds {in_words(node.holds)}"] if node.holds else []
        inside += [f"{word} {line}" for word, several in quiet_lines(diagram, node) for line in several]
        if inside:
            lines.append(f"    note right of {ids[node.name]}")
            lines += [f"        {escaped(line)}" for line in inside]
            lines.append("    end note")
    return lines


def escaped(text: str) -> str:
    """Return a text for a label: signs that mean something to Mermaid become entities.

    >>> escaped("held down: announced; then refused")
    'held down#58; announced#59; then refused'
    """
    return "".join(_SIGNS.get(sign, sign) for sign in " ".join(text.split()))


def _id(name: str, index: int) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) and name.lower() not in _TAKEN else f"state_{index}"
