"""Blocks of a document that are filled from the code, so that they cannot go stale.

A block stands between `<!-- bluegreen:NAME -->` and `<!-- /bluegreen:NAME -->`; `embedded` fills it. Names
are the keys of `BLOCKS`; and `diagram`, which is followed by a table and by how it is drawn:
`<!-- bluegreen:diagram package.module:TABLE format=mermaid level=full focus=STATE events=a,b -->`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bluegreen import errors
from bluegreen.config.settings import ENVIRONMENT_PREFIX, describe
from bluegreen.diagram.labels import LEVELS
from bluegreen.diagram.model import diagram_of, part_of
from bluegreen.diagram.renderers.formats import render
from bluegreen.diagram.renderers.markdown import table
from bluegreen.diagram.renderers.mermaid import state_diagram
from bluegreen.diagram.renderers.svg import PictureError
from bluegreen.diagram.table_loader import table_named
from bluegreen.machines.query import QUERY
from bluegreen.machines.strategy.table import STRATEGY


def _mermaid(text: str) -> str:
    return f"```mermaid\n{text}\n```"


def settings_table() -> str:
    """Return the settings as a Markdown table: name, environment variable, default, what is accepted."""
    rows = [
        [f"`{name}`", f"`{ENVIRONMENT_PREFIX}{name.upper()}`", default, accepted]
        for name, default, accepted in describe()
    ]
    return table(["setting", "environment", "default", "accepted"], rows)


def errors_table() -> str:
    """Return the exceptions as a Markdown table: name, what it also is, when it is raised."""
    rows: list[list[str]] = []
    for name, cls in vars(errors).items():
        if inspect.isclass(cls) and issubclass(cls, errors.BluegreenError):
            bases = ", ".join(f"`{base.__name__}`" for base in cls.__bases__ if base is not Exception)
            summary = re.split(r"\n\s*\n", inspect.getdoc(cls) or "")[0].replace("\n", " ")
            rows.append([f"`{name}`", bases or "`Exception`", summary])
    return table(["error", "is a", "when"], rows)


BLOCKS: Final[Mapping[str, Callable[[], str]]] = {
    "strategy": lambda: _mermaid(state_diagram(STRATEGY)),
    "query": lambda: _mermaid(state_diagram(QUERY)),
    "settings": settings_table,
    "errors": errors_table,
}
"""What a block can hold."""

DIAGRAM: Final = "diagram"
"""The block that holds any table, drawn in any way."""

_OPTIONS: Final = ("format", "level", "focus", "events")
_FENCED: Final = ("mermaid", "dot", "plantuml", "json")
"""The formats that are code to Markdown; the others are put in as they are."""

_BLOCK: Final = re.compile(r"(<!-- bluegreen:(\S+)((?: \S+)*) -->\n).*?(<!-- /bluegreen:\2 -->)", re.DOTALL)


def embedded(document: str) -> str:
    """Return `document` with every block filled anew.

    Raises:
        ValueError: a block names something that there is not; it says what there is.
        PictureError: a block holds a picture, which cannot be laid out.

    >>> print(embedded("<!-- bluegreen:query -->\\n<!-- /bluegreen:query -->").splitlines()[3])
    stateDiagram-v2
    """

    def filled(match: re.Match[str]) -> str:
        name, words = match[2], match[3].split()
        if name == DIAGRAM:
            content = _diagram(words)
        elif name in BLOCKS and not words:
            content = BLOCKS[name]()
        else:
            known = ", ".join((*BLOCKS, DIAGRAM))
            raise ValueError(f"no block is called {' '.join((name, *words))!r}; known: {known}")
        return f"{match[1]}\n{content}\n\n{match[4]}"

    return _BLOCK.sub(filled, document)


def _diagram(words: Sequence[str]) -> str:
    """Draw what a block asks for: a table, and options as `name=value`."""
    options = {name: value for name, _, value in (word.partition("=") for word in words[1:])}
    if not words or any(name not in _OPTIONS for name in options):
        raise ValueError(f"{' '.join(words)!r} is no diagram; accepted: a table, and {'=, '.join(_OPTIONS)}=")
    level = options.get("level", "overview")
    if level not in LEVELS:
        raise ValueError(f"there is no level {level!r}; accepted: {', '.join(LEVELS)}")
    form = options.get("format", "mermaid")
    shown = part_of(diagram_of(table_named(words[0])), options.get("focus"), options.get("events"))
    text = render(shown, form, level).rstrip()
    return f"```{form}\n{text}\n```" if form in _FENCED else text


def refresh(files: Iterable[Path], *, check: bool, say: Callable[[str], object]) -> int:
    """Fill the blocks of some files; return the exit status.

    Args:
        files: documents, in UTF-8.
        check: whether nothing is written, and 1 is returned if one is stale.
        say: is told which are stale, and what is wrong.

    Raises:
        OSError: a file cannot be read or written.
    """
    status = 0
    for file in files:
        before = file.read_bytes().decode()
        try:
            after = embedded(before)
        except (ValueError, PictureError) as error:
            say(f"{file}: {error}")
            return 2
        if after == before:
            continue
        if check:
            status = 1
            say(f"{file} is stale; refresh it with: python -m bluegreen.diagram {file}")
        else:
            file.write_bytes(after.encode())
    return status
