"""What differs between two tables, as a picture: changes are labelled, drawn in their own lines, and coloured.

>>> from bluegreen.diagram.diff.inputs import compared, side
>>> same = side("retry")
>>> [box.name for box in picture(compared(same, same)).boxes]
['Unplaced', 'Trying']
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from bluegreen.diagram.annotated import BOLD, DASHED, DOTTED, SOLID, AnnotatedArrow, Box, Mark, Marked, Note
from bluegreen.diagram.diff.inputs import Compared
from bluegreen.diagram.diff.structural import ADDED, CHANGED, KINDS, REMOVED, RETARGETED, Change, does
from bluegreen.diagram.model import Arrow, diagram_of

MARKS: Final = {
    ADDED: Mark(ADDED, "#00704f", BOLD, "#56d4a0"),
    REMOVED: Mark(REMOVED, "#b3430a", DASHED, "#ff9d5c"),
    RETARGETED: Mark(RETARGETED, "#0b63b5", SOLID, "#79c0ff"),
    CHANGED: Mark(CHANGED, "#7a5195", SOLID, "#d2a8ff"),
}
"""How each kind of change is drawn. The colours are told apart by colour-blind people; the words, by everybody."""

WAS: Final = Mark("before", "#0b63b5", DOTTED, "#79c0ff")
"""Where a row led that leads elsewhere now."""


MOST: Final = 30
"""States of which all are drawn."""


def picture(compared: Compared) -> Marked:
    """Return the picture: every state of both, every row that changed, and what did not change as thin arrows.

    Of more states than `MOST`, those that no change touches are left out.
    """
    old, new = (diagram_of(table) for table in compared.tables)
    names = dict.fromkeys((*(node.name for node in new.nodes), *(node.name for node in old.nodes)))
    changes = {one.name: one for one in compared.changes if one.part == "state"}
    touched = [one for one in compared.changes if one.part == "row"]
    lines = [line for one in touched for line in _lines(one)]
    notes = [note for one in touched for note in _notes(one)]
    every = len(names)
    if every > MOST:
        near = {end for line in lines for end in (line.source, line.target)} | {note.at for note in notes}
        names = {name: None for name in names if name in near or name in changes}
    drawn = {one.name for one in touched if one.new is not None}
    kept = dict.fromkeys(
        (arrow.source, arrow.target) for arrow in new.transitions() if arrow.name not in drawn
    )
    lines += [AnnotatedArrow(source, target) for source, target in kept if target is not None]
    known = [line for line in lines if line.source in names and line.target in names]
    caption = f"{compared.new} against {compared.old}: {summary(compared)}"
    if len(names) < every:
        caption += f"; {every - len(names)} states that no change touches are left out"
    boxes = tuple(_box(name, changes.get(name)) for name in names)
    return Marked(
        f"{new.name}: diff", caption, boxes, tuple(known), tuple(note for note in notes if note.at in names)
    )


def summary(compared: Compared) -> str:
    """Return how much differs, by what became of it, in words.

    >>> from bluegreen.diagram.diff.inputs import compared, side
    >>> same = side("retry")
    >>> summary(compared(same, same))
    'no row differs'
    """
    told: list[str] = []
    for part in dict.fromkeys(("row", *(one.part for one in compared.changes))):
        kinds = Counter(one.kind for one in compared.changes if one.part == part)
        for kind in (kind for kind in KINDS if kinds[kind]):
            noun = part if kinds[kind] == 1 else f"{part}s"
            told.append(f"{kinds[kind]} {noun} {kind}")
        if not kinds:
            told.append(f"no {part} differs")
    return ", ".join(told)


def _box(name: str, change: Change | None) -> Box:
    if change is None:
        return Box(name)
    return Box(name, MARKS[change.kind], tuple(map(str, change.details)))


def _lines(change: Change) -> list[AnnotatedArrow]:
    """The arrows of a row: as it is, or as it was if it is gone; if it leads elsewhere now, as it was as well."""
    row, was = change.row, change.old
    lines: list[AnnotatedArrow] = []
    if change.kind == RETARGETED and was is not None and was.target not in (None, was.source):
        lines.append(AnnotatedArrow(was.source, str(was.target), (_label(was),), WAS))
    if row.target not in (None, row.source):
        lines.append(
            AnnotatedArrow(
                row.source, str(row.target), (_label(row), *_describe_change(change)), MARKS[change.kind]
            )
        )
    return lines


def _notes(change: Change) -> list[Note]:
    """What a row says beside its state, if it does not lead away from it."""
    row, was = change.row, change.old
    notes: list[Note] = []
    if change.kind == RETARGETED and was is not None and was.target == was.source:
        notes.append(Note(was.source, (_label(was),), WAS))
    if row.target in (None, row.source):
        notes.append(
            Note(row.source, ("; ".join((_label(row), *_describe_change(change))),), MARKS[change.kind])
        )
    return notes


def _label(row: Arrow) -> str:
    guard = f" [{row.guard}]" if row.guard else ""
    said = f", {does(row)}" if row.target is None else ", to itself" if row.target == row.source else ""
    return f"{row.event}{guard}{said}"


def _describe_change(change: Change) -> list[str]:
    """What changed in a row that is still there; where it leads is drawn."""
    return [str(one) for one in change.details if one.field != "outcome" or change.kind == CHANGED]
