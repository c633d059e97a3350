"""Blocks of a document that are filled from the code, so that they cannot go stale.

A block stands between `<!-- bluegreen:NAME -->` and `<!-- /bluegreen:NAME -->`; `embedded` fills it. Names
are the keys of `BLOCKS`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Final

from bluegreen import errors
from bluegreen.diagram.markdown import table
from bluegreen.diagram.mermaid import state_diagram
from bluegreen.query import QUERY
from bluegreen.settings import ENVIRONMENT_PREFIX, describe
from bluegreen.strategy import STRATEGY


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

_BLOCK: Final = re.compile(r"(<!-- bluegreen:(\S+) -->\n).*?(<!-- /bluegreen:\2 -->)", re.DOTALL)


def embedded(document: str) -> str:
    """Return `document` with every block filled anew.

    Raises:
        KeyError: a block has a name that is none of `BLOCKS`; it names both.

    >>> print(embedded("<!-- bluegreen:query -->\\n<!-- /bluegreen:query -->").splitlines()[3])
    stateDiagram-v2
    """

    def filled(match: re.Match[str]) -> str:
        name = match.group(2)
        if name not in BLOCKS:
            raise KeyError(f"no block is called {name!r}; known: {', '.join(BLOCKS)}")
        return f"{match.group(1)}\n{BLOCKS[name]()}\n\n{match.group(3)}"

    return _BLOCK.sub(filled, document)
