"""A table in DOT, the language of Graphviz.

>>> from bluegreen.machines.query import QUERY
>>> print(dot(QUERY).splitlines()[0])
digraph "query" {
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from bluegreen.diagram.labels import Group, Level, groups, in_words, legend, quiet_lines, wrapped
from bluegreen.diagram.model import Diagram, Node, diagram_of
from bluegreen.table.rows import Declaration

INK: Final = "#1f2328"
PAPER: Final = "#ffffff"
BOX: Final = "#f3f5f8"
LINE: Final = "#57606a"
ACCENT: Final = "#0550ae"
"""The colours of a light page. What they say is also said by a line's width, a shape or a sign."""

_BOX_WIDTH: Final = {"overview": 40, "full": 64}
LABEL_WIDTH: Final = 34
"""Letters in a line of an arrow's label, about."""

LARGE: Final = 60
IN_TIME: Final = '    graph [splines="line", nslimit="1", nslimit1="1", mclimit="0.1"]'
"""For more states than that: the layout is less careful, so that it does not take minutes."""

_START: Final = "[*]"
_LABEL: Final = "-> "
"""What the name of a label begins with, and no state's does."""
_AS_LABEL: Final = (
    'peripheries="0", style="", fontsize="11", margin="0.05,0.03", width="0", height="0", class="label"'
)

_FONT: Final = f'fontname="Helvetica", fontcolor="{INK}"'
HEAD: Final = (
    f'    graph [bgcolor="{PAPER}", rankdir="LR", nodesep="0.4", ranksep="0.5", pad="0.2", fontsize="11", {_FONT}]',
    f'    node [shape="box", style="rounded,filled", fillcolor="{BOX}", color="{LINE}", fontsize="13", {_FONT}]',
    f'    edge [color="{LINE}", fontsize="11", arrowsize="0.8", {_FONT}]',
)
"""What every diagram begins with."""

THIN: Final = 'class="step"'
THICK: Final = f'penwidth="2.2", color="{ACCENT}", class="safe"'
_DISC: Final = (
    f'label="", shape="circle", style="filled", fillcolor="{INK}", color="{INK}", width="0.16", class="start"'
)


def dot(of: Declaration | Diagram, level: Level = "overview") -> str:
    """Return a table as DOT. The arrows of safe points are thick; a final state has a double line.

    Args:
        of: a table, or a part of one as a diagram.
        level: `overview` has the transitions; `full` also says what each row does, and lists in each state what
            does not lead out of it.
    """
    diagram = diagram_of(of)
    lines = [f"digraph {quoted(diagram.name)} {{", *HEAD]
    if len(diagram.nodes) > LARGE:
        lines.append(IN_TIME)
    if legend(diagram):
        lines.append(f'    graph [label={quoted(legend(diagram))}, labelloc="b", labeljust="r"]')
    for node in diagram.nodes:
        if node.initial:
            lines.append(f"    {quoted(_START)} [{_DISC}]")
            lines.append(f"    {quoted(_START)} -> {quoted(node.name)}")
    lines += [f"    {quoted(node.name)} [{_state(diagram, node, level)}]" for node in diagram.nodes]
    lines += _edges(diagram, level)
    return "\n".join([*lines, "}"])


def quoted(text: str, lines: str = "") -> str:
    """Return a text as a string of DOT.

    Args:
        text: any.
        lines: how each line is set, `l`, `r` or `n`; none if it has only one.
    """
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"{line}\\{lines}" for line in plain.split("\n")) + '"' if lines else f'"{plain}"'


def _state(diagram: Diagram, node: Node, level: Level) -> str:
    shape = ', peripheries="2"' if node.final else ""
    tags = f' <font point-size="10">({escape(", ".join(node.tags))})</font>' if node.tags else ""
    title = f"<b>{escape(node.name)}</b>{tags}"
    inside = _inside(diagram, node, level)
    if not inside:
        return f'label=<{title}>{shape}, class="state"'
    body = "".join(
        f'<tr><td align="left" valign="top"><font point-size="10"><i>{word}</i></font></td>'
        f'<td align="left" balign="left"><font point-size="10">{_broken(lines)}</font></td></tr>'
        for word, lines in inside
    )
    head = f'<tr><td colspan="2">{title}</td></tr>'
    table = f'<table border="0" cellborder="0" cellspacing="0" cellpadding="3">{head}<hr/>{body}</table>'
    return f'label=<{table}>{shape}, class="state"'


def _inside(diagram: Diagram, node: Node, level: Level) -> list[tuple[str, Sequence[str]]]:
    """What stands in the box of a state. A loop would be crossed by other arrows: what leads back stands there too."""
    width = _BOX_WIDTH[level]
    loops = groups((one for one in diagram.transitions() if one.source == one.target == node.name), level)
    inside: list[tuple[str, Sequence[str]]] = []
    if node.holds and level == "full":
        inside.append(("holds", wrapped(in_words(node.holds), width)))
    if loops:
        inside.append(("to itself", [part for group in loops for part in wrapped(group.label(), width)]))
    for word, several in quiet_lines(diagram, node) if level == "full" else ():
        inside.append((word, [part for line in several for part in wrapped(line, width)]))
    return inside


def _broken(lines: Sequence[str]) -> str:
    return "<br/>".join(escape(line) for line in lines)


def _edges(diagram: Diagram, level: Level) -> list[str]:
    """An arrow for each pair of states, and one for its safe points; in full, one for each group."""
    order = {node.name: index for index, node in enumerate(diagram.nodes)}
    found: dict[tuple[object, ...], list[Group]] = {}
    for index, group in enumerate(groups(diagram.transitions(), level)):
        key = (group.source, group.target, group.safe, index if level == "full" else 0)
        if group.source != group.target:
            found.setdefault(key, []).append(group)
    lines: list[str] = []
    for number, several in enumerate(found.values(), 1):
        source, target, safe = several[0].source, several[0].target, several[0].safe
        assert target is not None
        text = [part for group in several for part in wrapped(group.label(), LABEL_WIDTH)]
        lines += arrow(
            number, (source, target), text, THICK if safe else THIN, back=order[source] > order[target]
        )
    return lines


def arrow(
    number: int, ends: tuple[str, str], text: Sequence[str], style: str, *, back: bool = False
) -> list[str]:
    """Return an arrow as DOT. Its label is a node on its way: lines are led around nodes, but across labels.

    Args:
        number: of the arrow, its own within a diagram.
        ends: the names of the nodes from which and to which it leads.
        text: the lines of its label.
        style: attributes of DOT, such as `THIN`.
        back: whether it leads against the order of the nodes: it is laid out the other way round then, so that its
            label is between the two as well.
    """
    label = quoted(f"{_LABEL}{number}")
    source, target = quoted(ends[0]), quoted(ends[1])
    shown = f"    {label} [label={quoted(chr(10).join(text), 'l')}, {_AS_LABEL}]"
    if back:
        return [
            shown,
            f'    {target} -> {label} [dir="back", {style}]',
            f'    {label} -> {source} [dir="none", {style}]',
        ]
    return [shown, f'    {source} -> {label} [dir="none", {style}]', f"    {label} -> {target} [{style}]"]
