"""The explorer page: one HTML file in which a table is walked through, event by event. It needs no network.

Source: spec, section 2.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import Final

from bluegreen.diagram.model import Diagram, Node, diagram_of
from bluegreen.diagram.page.data import Data, compiled, free
from bluegreen.diagram.page.initial_states import beginnings_of
from bluegreen.diagram.renderers.dot import LARGE, quoted
from bluegreen.diagram.renderers.svg import laid_out
from bluegreen.table.rows import Declaration
from bluegreen.verify.exploration.single_table import TICKETS
from bluegreen.verify.verification import Verification

SCRIPTS: Final = ("page_walk.js", "page_play.js", "page_picture.js", "page_view.js", "page.js")
"""The page's program, in the order in which it is loaded."""

LOOP: Final = "\N{ANTICLOCKWISE OPEN CIRCLE ARROW}"
"""What marks an event that leads back to its state."""

_HASTE: Final = "splines=line, nslimit=1, nslimit1=1, mclimit=0.3"
"""How a diagram with more than `LARGE` arrows is laid out: a better one of 200 states takes minutes."""

Group = tuple[str, str, tuple[str, ...]]
"""One arrow of the picture: where it comes from, where it leads, and the events that take it."""


def explorer_page(of: Declaration | Verification, *, tickets: int = TICKETS, free_facts: bool = False) -> str:
    """Return the explorer page of a table.

    Args:
        of: a table, or a `Verification` of one, which says in which context it begins and what may be sent. Where
            that is not known, as of a table from JSON or from a machine of `transitions`, the facts that guards
            look at are free to choose.
        tickets: open tickets at a time at most, in the strategy machine; with more, the page grows.
        free_facts: whether facts are free to choose in any case.

    Raises:
        PictureError: the diagram cannot be laid out; see `picture.svg`.
        ValueError: too much can be reached; names the limit.
    """
    table = of.table if isinstance(of, Verification) else of
    beginnings = () if free_facts else beginnings_of(of, tickets)
    data = compiled(beginnings) if beginnings else free(table)
    diagram = diagram_of(table)
    states = {node.name: index for index, node in enumerate(diagram.nodes)}
    events = {name: index for index, name in enumerate(diagram.events)}
    data["arrows"] = [
        {
            "source": states[source],
            "target": states[target],
            "events": [events[one] for one in taken],
            "number": number,
        }
        for (source, target, taken), number in number_arrows(diagram)
    ]
    narrow = picture(diagram, narrow=True) if len(data["arrows"]) <= LARGE else ""
    return filled(data, picture(diagram), narrow)


def filled(data: Data, drawn: str, narrow: str = "") -> str:
    """Return the page with its data and its pictures in it. What it may do is said in it: it loads nothing.

    Args:
        data: what `walks` gives, with `arrows`.
        drawn: the diagram as SVG.
        narrow: the same for narrow screens; by default the other one is scrolled there.
    """
    style = _part("page.css")
    scripts = [_part(name) for name in SCRIPTS]
    allowed = " ".join(f"'{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src {allowed}"
    parts = {
        "policy": policy,
        "title": escape(str(data["name"])),
        "style": style,
        "picture": drawn,
        "narrow": narrow,
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    return re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], _part("page.html"))


def arrows(diagram: Diagram) -> tuple[Group, ...]:
    """Return the arrows of the picture: one for each pair of states, with every event that leads from one to the other.

    >>> from bluegreen.machines.query import QUERY
    >>> arrows(diagram_of(QUERY))[0]
    ('Started', 'Prepared', ('prepared',))
    """
    found: dict[tuple[str, str], list[str]] = {}
    for arrow in diagram.transitions():
        assert arrow.target is not None
        found.setdefault((arrow.source, arrow.target), []).append(arrow.event)
    return tuple((*ends, tuple(dict.fromkeys(taken))) for ends, taken in found.items())


def number_arrows(diagram: Diagram) -> Iterator[tuple[Group, int]]:
    """Return the arrows with their numbers, from 1; those that lead back to their state have none, which is 0."""
    number = 0
    for group in arrows(diagram):
        number += group[0] != group[1]
        yield group, number if group[0] != group[1] else 0


def picture(diagram: Diagram, *, narrow: bool = False) -> str:
    """Return the picture of the page as SVG: a state is the group `s<number>`, the events of an arrow `a<number>`.

    Args:
        narrow: for narrow screens: an arrow has a number, counted from 1, and the page lists what that stands for.

    Raises:
        PictureError: it cannot be laid out.
    """
    drawn = laid_out(_dot(diagram, narrow=narrow), "svg").decode()
    drawn = re.sub(r"\A.*?(?=<svg )|<!--.*?-->\n?", "", drawn, flags=re.DOTALL)
    return re.sub(r"<title>.*?</title>\n?", "", drawn)  # a tool tip with the program's names for things


def _dot(diagram: Diagram, *, narrow: bool) -> str:
    number = {node.name: index for index, node in enumerate(diagram.nodes)}
    # The letters of this font are as wide as those of any other of its kind, so that labels fit in every browser.
    font = 'fontname="Courier"'
    haste = f", {_HASTE}" if len(arrows(diagram)) > LARGE else ""
    apart = "nodesep=0.15, ranksep=0.25" if narrow else "nodesep=0.3, ranksep=0.35"
    lines = [
        "digraph page {",
        f"graph [bgcolor=transparent, {apart}{haste}, {font}]",
        f'node [shape=box, style="rounded,filled", margin="0.2,0.1", fontsize=15, {font}]',
        f"edge [fontsize=12, arrowsize=0.8, {font}]",
    ]
    loops = {source: taken for source, target, taken in arrows(diagram) if source == target}
    for node in diagram.nodes:
        at = number[node.name]
        lines.append(f's{at} [id=s{at}, class="state", {_box(node, loops.get(node.name, ()))}]')
        if node.initial:
            lines += [
                'start [shape=circle, style=filled, label="", width=0.15, class="start"]',
                f"start -> s{at}",
            ]
    for index, ((source, target, taken), place) in enumerate(number_arrows(diagram)):
        if place:
            label = str(place) if narrow else "\n".join(taken)
            lines += _arrow(index, number[source], number[target], quoted(label, "l"))
    return "\n".join([*lines, "}"])


def _box(node: Node, loops: Sequence[str]) -> str:
    """A loop would be crossed by other arrows: what leads back to its state stands in the box."""
    lines = [escape(node.name), *(f'<font point-size="12">{LOOP} {escape(one)}</font>' for one in loops)]
    rows = "".join(f"<tr><td>{line}</td></tr>" for line in lines)
    table = f'<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{rows}</table>'
    return f"label=<{table}>, peripheries={2 if node.final else 1}"


def _arrow(index: int, source: int, target: int, label: str) -> list[str]:
    """The label is a node on the way: lines are led around nodes, but across the labels of other lines."""
    node = (
        f'a{index} [id=a{index}, class="label", label={label}, fontsize=12, style="", peripheries=0, '
        'margin="0.05,0.03", width=0, height=0]'
    )
    if source < target:
        ends = f"s{source} -> a{index} [id=a{index}x, dir=none]", f"a{index} -> s{target} [id=a{index}y]"
    else:  # what leads back is laid out the other way round, so that its label is between the two as well
        ends = (
            f"s{target} -> a{index} [id=a{index}y, dir=back]",
            f"a{index} -> s{source} [id=a{index}x, dir=none]",
        )
    return [node, *ends]


def _part(name: str) -> str:
    return files("bluegreen.diagram.page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
