"""The files of `diagrams/`: everything that is drawn of the shipped machines, made anew or held against what is there.

Each file is made by the code alone, in the same bytes on every supported Python and platform.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bluegreen.diagram.composed import composition_dot, composition_told
from bluegreen.diagram.formats import FORMATS
from bluegreen.diagram.labels import LEVELS, Level
from bluegreen.diagram.model import diagram_of
from bluegreen.diagram.named import SHIPPED
from bluegreen.diagram.picture import drawn
from bluegreen.diagram.sequence import sequence
from bluegreen.diagram.switches import SWITCHES, run

DIRECTORY: Final = "diagrams"
INDEX: Final = "README.md"

_ENDINGS: Final[Mapping[Level, Mapping[str, str]]] = {
    "overview": {"svg": "svg", "png": "png", "mmd": "mermaid", "dot": "dot", "puml": "plantuml"},
    "full": {"svg": "svg", "mmd": "mermaid", "dot": "dot", "puml": "plantuml"},
}
"""For each level, the endings of the files and their formats."""

_LINES: Final = 20
"""Lines of a difference that are shown of each file."""

_ABOUT: Final = (
    "Everything here is drawn from the code, and a test compares each byte. After a change of a table, make it anew "
    "with `make diagrams`, or `bluegreen diagram write`. How to draw other tables is told in "
    "[another page](../fsm/bluegreen/diagram/README.md)."
)
_COMPOSITION: Final = "Who sends which event, and whom each effect is for, as read off the reachable steps."
_RUNS: Final = (
    "Runs of the [world model](../fsm/bluegreen/verify/world.py), as its search finds them: what is said, and what the "
    "machine does with it. A stack that takes a request and never answers is not among them: in the model every "
    "request has an answer, and a silent one is the transport's time-out; the tests play it with a real server."
)
_MACHINES: Final[Mapping[str, str]] = {
    "strategy": "Which strategy does the next query go to? One for each scope.",
    "query": "What may be repaired, and when does a ticket end? One for each query.",
    "recovery": "What is tried again after an error? One for each operation.",
    "sharing": "Whose word counts, when a shared store and a process differ? One for each scope with a store.",
    "lease": "Who detects for all processes? One for each scope, in the store.",
}


def files() -> Mapping[str, bytes]:
    """Return every file by its name, each with its bytes.

    Raises:
        PictureError: a picture cannot be laid out.
    """
    made: dict[str, str | bytes] = {INDEX: _index()}
    for name, table in SHIPPED.items():
        for level in LEVELS:
            for ending, form in _ENDINGS[level].items():
                made[f"{name}.{level}.{ending}"] = FORMATS[form](table, level)
        made[f"{name}.table.md"] = f"# {name}\n\n{FORMATS['markdown'](table, 'full')!s}"
    made["composition.dot"] = composition_dot()
    made["composition.svg"] = drawn(composition_dot(), "composition", composition_told())
    for name, switch in SWITCHES.items():
        made[f"switch.{name}.mmd"] = sequence(run(switch))
    return {name: _bytes(text) for name, text in made.items()}


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else f"{text.rstrip()}\n".encode()


def write(directory: Path) -> tuple[str, ...]:
    """Write all files that are not there, or not the same; return their names. No other file is touched.

    Raises:
        PictureError: a picture cannot be laid out; nothing is written then.
        OSError: a file cannot be written.
    """
    made = files()
    directory.mkdir(parents=True, exist_ok=True)
    stale = [name for name, data in made.items() if _present(directory / name) != data]
    for name in stale:
        (directory / name).write_bytes(made[name])
    return tuple(stale)


def changes(directory: Path) -> Iterator[str]:
    """Yield what is wrong with a directory, file by file: what changed, what is missing, what nothing makes.

    Raises:
        PictureError: a picture cannot be laid out.
    """
    made = files()
    for name, data in made.items():
        before = _present(directory / name)
        if before is None:
            yield f"{name} is missing"
        elif before != data:
            yield f"{name} is stale\n{_difference(before, data)}"
    here = (file.name for file in directory.iterdir()) if directory.is_dir() else ()
    for name in sorted(set(here) - set(made)):
        yield f"{name} is made by nothing: delete it"


def _present(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _difference(before: bytes, after: bytes) -> str:
    try:
        old, new = (data.decode().splitlines() for data in (before, after))
    except UnicodeDecodeError:
        return f"    {len(before)} bytes, now {len(after)}"
    lines = list(difflib.unified_diff(old, new, "committed", "from the code", lineterm="", n=1))
    shown = [f"    {line[:160]}" for line in lines[:_LINES]]
    more = len(lines) - len(shown)
    return "\n".join([*shown, f"    ... and {more} lines more"] if more > 0 else shown)


def _index() -> str:
    """The page of the directory."""
    parts = ["# Diagrams", _ABOUT]
    parts += [part for name in SHIPPED for part in _machine(name)]
    parts += [
        "## The composition",
        _COMPOSITION,
        "![The parts and what they say to each other](composition.svg)",
    ]
    parts += ["As text: [DOT](composition.dot).", "## Each kind of switch", _RUNS]
    for name, switch in SWITCHES.items():
        parts += [f"### {_capital(switch.title)}", switch.told, f"```mermaid\n{sequence(run(switch))}\n```"]
        parts += [f"As a file: [switch.{name}.mmd](switch.{name}.mmd)."]
    return "\n\n".join(parts)


def _machine(name: str) -> Iterator[str]:
    diagram = diagram_of(SHIPPED[name])
    yield f"## The {name} machine"
    yield f"{_MACHINES[name]} {len(diagram.nodes)} states, {len(diagram.events)} events, {len(diagram.arrows)} rows."
    yield f"![States and transitions of the {name} machine; the text formats say the same]({name}.overview.svg)"
    texts = "; ".join(
        f"{level}: "
        + ", ".join(f"[{form}]({name}.{level}.{ending})" for ending, form in _ENDINGS[level].items())
        for level in LEVELS
    )
    yield f"Every row, with guard and reason: [table]({name}.table.md). {_capital(texts)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
