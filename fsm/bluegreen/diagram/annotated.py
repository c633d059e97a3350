"""A picture in which some states and arrows are marked: with a word, a kind of line, and a colour, in this order.

>>> new = Mark("added", "#00704f", "bold")
>>> lamp = Marked("lamp", "a new row", (Box("On"), Box("Off")), (AnnotatedArrow("On", "Off", ("turned",), new),))
>>> print(as_mermaid(lamp))
flowchart LR
    s0(["On"])
    s1(["Off"])
    s0 ==>|"added: turned"| s1
    linkStyle 0 stroke:#00704f,color:#00704f

A line without a mark is a thin one: it is there so that one sees where one is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import wrap
from typing import Final

import attrs

from bluegreen.diagram.renderers.dot import BOX, IN_TIME, INK, LARGE, LINE, PAPER, quoted
from bluegreen.diagram.renderers.svg import draw_svg

SOLID: Final = "solid"
BOLD: Final = "bold"
DASHED: Final = "dashed"
DOTTED: Final = "dotted"


@attrs.frozen
class Mark:
    """How something is marked.

    Args:
        word: what is said of it.
        colour: on a light page, as `#rrggbb`; it says nothing that the word does not.
        line: `solid`, `bold`, `dashed` or `dotted`.
        dark: the colour on a dark page.
    """

    word: str
    colour: str
    line: str = SOLID
    dark: str = "#e6edf3"


@attrs.frozen
class Box:
    """A state: its name, its mark, and what else stands in it, line by line."""

    name: str
    mark: Mark | None = None
    lines: tuple[str, ...] = ()


@attrs.frozen
class AnnotatedArrow:
    """An arrow from a state to one that may be the same, with its label line by line."""

    source: str
    target: str
    label: tuple[str, ...] = ()
    mark: Mark | None = None

    @property
    def said(self) -> tuple[str, ...]:
        """The label, with the word of its mark before it."""
        if self.mark is None:
            return self.label
        first, *rest = self.label or ("",)
        return (f"{self.mark.word}: {first}" if first else self.mark.word, *rest)


@attrs.frozen
class Note:
    """What is said beside a state: what happens there and does not lead away."""

    at: str
    lines: tuple[str, ...]
    mark: Mark

    @property
    def said(self) -> tuple[str, ...]:
        """The lines, each with the word of the mark before it."""
        return tuple(f"{self.mark.word}: {line}" for line in self.lines)


@attrs.frozen
class Marked:
    """A picture: its states, its arrows, and what is said beside states. All names are those of boxes.

    Args:
        title: what it is, in a word or two.
        caption: what stands below it.
    """

    title: str
    caption: str
    boxes: tuple[Box, ...]
    lines: tuple[AnnotatedArrow, ...]
    notes: tuple[Note, ...] = ()


_DASHES: Final = {DASHED: ",stroke-dasharray:8 4", DOTTED: ",stroke-dasharray:2 4"}
_ARROWS: Final = {SOLID: "-->", BOLD: "==>", DASHED: "-.->", DOTTED: "-.->"}


def as_mermaid(marked: Marked) -> str:
    """Return the picture as a flow chart of Mermaid: its state diagrams have only one kind of line."""
    names = _number_rows(marked)
    out = ["flowchart LR"]
    styles: list[str] = []
    for number, box in enumerate(marked.boxes):
        out.append(f"    s{number}([{_mermaid(_in_box(box))}])")
        if box.mark is not None:
            dashes = _DASHES.get(box.mark.line, "")
            styles.append(f"    style s{number} stroke:{box.mark.colour},stroke-width:3px{dashes}")
    for number, line in enumerate(marked.lines):
        arrow = _ARROWS[line.mark.line if line.mark else SOLID]
        label = f"|{_mermaid(line.said)}|" if line.said else ""
        out.append(f"    {names[line.source]} {arrow}{label} {names[line.target]}")
        if line.mark is not None:
            colour, dashes = line.mark.colour, _DASHES.get(line.mark.line, "")
            styles.append(f"    linkStyle {number} stroke:{colour},color:{colour}{dashes}")
    for number, note in enumerate(marked.notes):
        out.append(f"    n{number}[{_mermaid(note.said)}]")
        out.append(f"    {names[note.at]} -.- n{number}")
        styles.append(f"    style n{number} stroke:{note.mark.colour}{_DASHES.get(note.mark.line, '')}")
    return "\n".join((*out, *styles))


def _number_rows(marked: Marked) -> dict[str, str]:
    return {box.name: f"s{number}" for number, box in enumerate(marked.boxes)}


def _in_box(box: Box) -> tuple[str, ...]:
    title = box.name if box.mark is None else f"{box.mark.word}: {box.name}"
    return (title, *box.lines)


_ENTITIES: Final = {'"': "#quot;", "#": "#35;", "<": "#lt;", ">": "#gt;", "`": "#96;"}


def _mermaid(lines: Sequence[str]) -> str:
    """Return lines as a quoted text of Mermaid, in which nothing is a sign."""
    plain = (re.sub('["#<>`]', lambda found: _ENTITIES[found.group()], line) for line in lines)
    return '"' + "<br/>".join(plain) + '"'


_WIDTH: Final = 34
_FONT: Final = 'fontname="Helvetica"'
_NODE: Final = f'shape="box", style="rounded,filled", fillcolor="{BOX}", color="{LINE}", fontcolor="{INK}"'
_HEAD: Final = (
    f'    graph [bgcolor="{PAPER}", rankdir="LR", nodesep="0.35", ranksep="0.45", pad="0.2", labelloc="b"]',
    f'    graph [{_FONT}, fontsize="11", fontcolor="{INK}", labeljust="l"]',
    f'    node [{_NODE}, {_FONT}, fontsize="13", margin="0.16,0.1"]',
    f'    edge [color="{LINE}", {_FONT}, fontsize="11", arrowsize="0.8"]',
)
_STYLES: Final = {
    SOLID: 'style="solid", penwidth="2"',
    BOLD: 'style="solid", penwidth="3.5"',
    DASHED: 'style="dashed", penwidth="2"',
    DOTTED: 'style="dotted", penwidth="2"',
}


def as_dot(marked: Marked) -> str:
    """Return the picture as DOT. A label is a node on the way of its arrow: other arrows are led around it."""
    names = _number_rows(marked)
    places = {box.name: number for number, box in enumerate(marked.boxes)}
    out = [f"digraph {_quoted(marked.title)} {{", *_HEAD, f"    graph [label={_quoted(marked.caption)}]"]
    if len(marked.boxes) > LARGE:
        out.insert(1 + len(_HEAD), IN_TIME)
    for box in marked.boxes:
        style = "" if box.mark is None else f", {_pen(box.mark, filled=True)}"
        out.append(f"    {names[box.name]} [label={_quoted(*_in_box(box))}{style}]")
    for number, line in enumerate(marked.lines):
        source, target = names[line.source], names[line.target]
        look = "" if line.mark is None else _pen(line.mark)
        if not line.said:
            out.append(f"    {source} -> {target} [{look}]")
            continue
        colour = INK if line.mark is None else line.mark.colour
        plain = f'shape="plain", style="", fontsize="11", fontcolor="{colour}", margin="0.06,0.02"'
        out.append(f"    l{number} [label={_quoted(*_wrapped(line.said), sign='l')}, {plain}]")
        first, second = f"dir=none, {look}".rstrip(", "), look
        if places[line.source] < places[line.target]:
            out += [f"    {source} -> l{number} [{first}]", f"    l{number} -> {target} [{second}]"]
        else:  # what leads back is laid out the other way round, so that its label is between the two as well
            back = f"dir=back, {look}".rstrip(", ")
            out += [f"    {target} -> l{number} [{back}]", f"    l{number} -> {source} [{first}]"]
    for number, note in enumerate(marked.notes):
        look = f'fontsize="11", fontcolor="{note.mark.colour}", {_pen(note.mark, filled=True)}'
        out.append(f"    n{number} [label={_quoted(*_wrapped(note.said), sign='l')}, {look}]")
        out.append(f'    {names[note.at]} -> n{number} [dir=none, style="dotted"]')
    return "\n".join((*out, "}"))


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for one in lines for part in wrap(one, _WIDTH, subsequent_indent="  ")]


def _pen(mark: Mark, *, filled: bool = False) -> str:
    look = _STYLES[mark.line]
    if filled:
        look = look.replace('style="', 'style="rounded,filled,').replace('penwidth="3.5"', 'penwidth="2"')
    return f'color="{mark.colour}", {look}'


def _quoted(*lines: str, sign: str = "n") -> str:
    return quoted(lines[0]) if len(lines) == 1 and sign == "n" else quoted("\n".join(lines), sign)


def as_svg(marked: Marked) -> str:
    """Return the picture as SVG, for light and dark pages.

    Raises:
        PictureError: it cannot be laid out; says what is missing, or what the program said.
    """
    said = [
        f"{marked.caption}.",
        *(f"{line.source} to {line.target}: {', '.join(line.said)}." for line in marked.lines if line.said),
        *(f"In {note.at}: {', '.join(note.said)}." for note in marked.notes),
    ]
    marks = [*(box.mark for box in marked.boxes), *(line.mark for line in marked.lines)]
    marks += [note.mark for note in marked.notes]
    dark = {mark.colour: mark.dark for mark in marks if mark is not None}
    return draw_svg(as_dot(marked), marked.title, " ".join(said), dark)
