"""Every way in which a table can be drawn, by the name of its format.

>>> from bluegreen.machines.query import QUERY
>>> render(QUERY, "mermaid").splitlines()[0]
'stateDiagram-v2'
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from bluegreen.diagram.labels import Level
from bluegreen.diagram.model import Diagram, diagram_of
from bluegreen.diagram.renderers.dot import dot
from bluegreen.diagram.renderers.markdown import cells
from bluegreen.diagram.renderers.mermaid import state_diagram
from bluegreen.diagram.renderers.plantuml import plantuml
from bluegreen.diagram.renderers.svg import png, svg
from bluegreen.table.rows import Declaration


def as_json(of: Declaration | Diagram, level: Level = "overview") -> str:
    """Return the diagram of a table as JSON, for other tools. What `verify export json` writes is the table itself.

    Args:
        of: a table, or a part of one as a diagram.
        level: `overview` has the transitions only.
    """
    diagram = diagram_of(of)
    if level == "overview":
        diagram = attrs.evolve(diagram, arrows=diagram.transitions())
    return json.dumps(attrs.asdict(diagram), indent=1, ensure_ascii=False)


Render = Callable[[Declaration | Diagram, Level], str | bytes]

TEXTS: Final[Mapping[str, Callable[[Declaration | Diagram, Level], str]]] = {
    "mermaid": state_diagram,
    "dot": dot,
    "plantuml": plantuml,
    "markdown": cells,
    "json": as_json,
    "svg": svg,
}
"""The formats that are text, by name."""

FORMATS: Final[Mapping[str, Render]] = {**TEXTS, "png": png}
"""All formats, by name."""


def render(of: Declaration | Diagram, form: str = "mermaid", level: Level = "overview") -> str:
    """Return a table in a format that is text.

    Args:
        of: a table, or a part of one as a diagram.
        form: one of `TEXTS`.
        level: `overview` or `full`.

    Raises:
        ValueError: there is no such format; names it and those that there are.
        PictureError: a picture cannot be laid out.
    """
    if form not in TEXTS:
        raise ValueError(f"there is no format {form!r}; accepted: {', '.join(TEXTS)}")
    return TEXTS[form](of, level)
