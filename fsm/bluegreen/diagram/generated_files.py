"""Directories of generated files: every picture of some tables, written, or compared with what is there.

Each file is made by the code alone, in the same bytes on every supported Python and platform.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from bluegreen.diagram.labels import LEVELS, Level
from bluegreen.diagram.model import diagram_of
from bluegreen.diagram.renderers.formats import FORMATS
from bluegreen.diagram.table_loader import SHIPPED
from bluegreen.table.rows import Declaration

DIRECTORY: Final = "diagrams"
INDEX: Final = "README.md"

_ENDINGS: Final[Mapping[Level, Mapping[str, str]]] = {
    "overview": {"svg": "svg", "png": "png", "mmd": "mermaid", "dot": "dot", "puml": "plantuml"},
    "full": {"svg": "svg", "mmd": "mermaid", "dot": "dot", "puml": "plantuml"},
}
"""For each level, the endings of the files and their formats."""

_LINES: Final = 20
"""Lines of a difference that are shown of each file."""

ABOUT: Final = "Everything here is drawn from the code. Draw it again with `bluegreen diagram write`."
"""First paragraph of the index, by default."""

_MACHINES: Final[Mapping[str, str]] = {
    "strategy": "Which strategy does the next query go to? One for each scope.",
    "query": "What may be repaired, and when does a ticket end? One for each query.",
    "retry": "What is sent again after an error, how often, and where? One for each request.",
    "sharing": "Whose word counts, when a shared store and a process differ? One for each scope with a store.",
    "lease": "Who detects for all processes? One for each scope, in the store.",
}


@attrs.frozen
class Chapter:
    """A part of the index beside the tables, with files of its own.

    Args:
        text: paragraphs of Markdown.
        files: the files by name.
    """

    text: str
    files: Mapping[str, str | bytes]


@attrs.frozen
class Gallery:
    """What a directory of generated files holds.

    Args:
        tables: the tables by the names that their files begin with; by default those that ship.
        chapters: further parts of the index, with their files.
        about: first paragraph of the index.
    """

    tables: Mapping[str, Declaration] = SHIPPED
    chapters: tuple[Chapter, ...] = ()
    about: str = ABOUT


DEFAULT: Final = Gallery()


def files(gallery: Gallery = DEFAULT) -> Mapping[str, bytes]:
    """Return every file by its name, each with its bytes.

    Raises:
        PictureError: a picture cannot be laid out.
    """
    made: dict[str, str | bytes] = {INDEX: _index(gallery)}
    for name, table in gallery.tables.items():
        for level in LEVELS:
            for ending, form in _ENDINGS[level].items():
                made[f"{name}.{level}.{ending}"] = FORMATS[form](table, level)
        made[f"{name}.table.md"] = f"# {name}\n\n{FORMATS['markdown'](table, 'full')!s}"
    for chapter in gallery.chapters:
        made.update(chapter.files)
    return {name: _bytes(text) for name, text in made.items()}


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else f"{text.rstrip()}\n".encode()


def write(directory: Path, gallery: Gallery = DEFAULT) -> tuple[str, ...]:
    """Write all files that are not there, or not the same; return their names. No other file is touched.

    Raises:
        PictureError: a picture cannot be laid out; nothing is written then.
        OSError: a file cannot be written.
    """
    made = files(gallery)
    directory.mkdir(parents=True, exist_ok=True)
    stale = [name for name, data in made.items() if _present(directory / name) != data]
    for name in stale:
        (directory / name).write_bytes(made[name])
    return tuple(stale)


def changes(directory: Path, gallery: Gallery = DEFAULT) -> Iterator[str]:
    """Yield what is wrong with a directory, file by file: what changed, what is missing, what nothing makes.

    Raises:
        PictureError: a picture cannot be laid out.
    """
    made = files(gallery)
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


def _index(gallery: Gallery) -> str:
    """Return the page of the directory."""
    parts = ["# Diagrams", gallery.about]
    parts += [part for name, table in gallery.tables.items() for part in _machine(name, table)]
    parts += [chapter.text for chapter in gallery.chapters]
    return "\n\n".join(parts)


def _machine(name: str, table: Declaration) -> Iterator[str]:
    diagram = diagram_of(table)
    counts = f"{len(diagram.nodes)} states, {len(diagram.events)} events, {len(diagram.arrows)} rows."
    yield f"## The {name} machine"
    yield f"{_MACHINES[name]} {counts}" if name in _MACHINES else counts
    yield f"![States and transitions of the {name} machine; the text formats say the same]({name}.overview.svg)"
    texts = "; ".join(
        f"{level}: "
        + ", ".join(f"[{form}]({name}.{level}.{ending})" for ending, form in _ENDINGS[level].items())
        for level in LEVELS
    )
    yield f"Every row, with guard and reason: [table]({name}.table.md). {texts[:1].upper()}{texts[1:]}."
