"""A table as a PlantUML state diagram.

>>> from bluegreen.machines.query import QUERY
>>> print(*plantuml(QUERY).splitlines()[:2], sep="\\n")
@startuml query
hide empty description
"""

from __future__ import annotations

import re

from bluegreen.diagram.labels import Level, groups, in_words, legend, quiet_lines
from bluegreen.diagram.model import Diagram, Node, diagram_of
from bluegreen.table.rows import Declaration


def plantuml(of: Declaration | Diagram, level: Level = "overview") -> str:
    """Return a table as PlantUML text. Lines are drawn bold where a safe point leads.

    Args:
        of: a table, or a part of one as a diagram.
        level: `overview` has the transitions; `full` also says what each row does, and lists in each state what
            does not lead out of it.
    """
    diagram = diagram_of(of)
    ids = {node.name: _id(node.name, index) for index, node in enumerate(diagram.nodes)}
    lines = [f"@startuml {re.sub(r'[^A-Za-z0-9_-]', '_', diagram.name)}", "hide empty description"]
    for node in diagram.nodes:
        lines.append(f'state "{_escaped(node.name)}" as {ids[node.name]}')
        lines += [f"{ids[node.name]} : {_escaped(line)}" for line in _inside(diagram, node, level)]
    lines += [f"[*] --> {ids[node.name]}" for node in diagram.nodes if node.initial]
    for group in groups(diagram.transitions(), level):
        assert group.target is not None
        arrow = "-[bold]->" if group.safe else "-->"
        lines.append(f"{ids[group.source]} {arrow} {ids[group.target]} : {_escaped(group.label())}")
    lines += [f"{ids[node.name]} --> [*]" for node in diagram.nodes if node.final]
    if legend(diagram):
        lines += ["legend right", legend(diagram), "end legend"]
    return "\n".join([*lines, "@enduml"])


def _inside(diagram: Diagram, node: Node, level: Level) -> list[str]:
    lines = [f"({tag})" for tag in node.tags]
    if level == "full":
        lines += [f"holds {in_words(node.holds)}"] if node.holds else []
        lines += [f"{word} {line}" for word, several in quiet_lines(diagram, node) for line in several]
    return lines


def _escaped(text: str) -> str:
    """Signs that mean something to PlantUML inside a label become what Creole has for them."""
    plain = " ".join(text.split())
    return re.sub(
        r'[\\"<>~*/_\-]{2,}|[\\"<~]', lambda found: "".join(f"<U+{ord(one):04X}>" for one in found[0]), plain
    )


def _id(name: str, index: int) -> str:
    taken = name.lower() in ("state", "end", "note", "legend", "hide")
    return name if re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) and not taken else f"state_{index}"
