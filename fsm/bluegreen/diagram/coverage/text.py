"""What was counted on a table, as text, as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bluegreen.diagram.annotated import DASHED, DOTTED, SOLID, AnnotatedArrow, Box, Mark, Marked, Note
from bluegreen.diagram.coverage.overlay import INFEASIBLE, MISSED, STATUSES, TAKEN, Counted, Overlay
from bluegreen.diagram.diff.structural import does

MARKS: Final = {
    TAKEN: Mark(TAKEN, "#0b63b5", SOLID, "#79c0ff"),
    MISSED: Mark(MISSED, "#b3430a", DASHED, "#ff9d5c"),
    INFEASIBLE: Mark(INFEASIBLE, "#57606a", DOTTED, "#a3adb8"),
}
"""How each kind of row is drawn."""


def text(found: Overlay) -> str:
    """Return it as plain text: a line for each row, in table order."""
    lines = [str(found)]
    for one in found.rows:
        status = f"taken {one.times:,}" if one.times else one.status
        guard = f" ({_guard(one)})" if _guard(one) else ""
        lines.append(f"  {status:<12} {_named(one)}{guard}")
    return "\n".join([*lines, *(f"  note: {note}" for note in notes(found))])


def markdown(found: Overlay) -> str:
    """Return it as Markdown: a table with a line for each row, those first that were not taken."""
    lines = [f"### {found}", "", "| | times | row | guard |", "|---|---:|---|---|"]
    order = (MISSED, INFEASIBLE, TAKEN)
    for one in sorted(found.rows, key=lambda one: order.index(one.status)):
        name = _named(one).replace("|", "\\|")
        lines.append(f"| {one.status} | {one.times:,} | `{name}` | {_guard(one)} |")
    several = [*notes(found)]
    return "\n".join([*lines, *([""] if several else []), *(f"- note: {note}" for note in several)])


def picture(found: Overlay, states: tuple[str, ...]) -> Marked:
    """Return it as a picture: an arrow for each pair of states and each kind of row, and notes for what leads nowhere.

    Args:
        states: all states, in table order.
    """
    arrows: dict[tuple[str, str, str], list[str]] = {}
    quiet: dict[tuple[str, str], list[Counted]] = {}
    for one in found.rows:
        source, target = one.arrow.source, one.arrow.target
        if target is None or target == source:
            quiet.setdefault((source, one.status), []).append(one)
        elif target in states:
            arrows.setdefault((source, target, one.status), []).append(_label(one))
    lines = [
        AnnotatedArrow(source, target, tuple(label), MARKS[status])
        for (source, target, status), label in arrows.items()
    ]
    beside = [
        Note(state, tuple(_quiet(quiet[state, status], status)), MARKS[status])
        for state in states
        for status in STATUSES
        if (state, status) in quiet
    ]
    return Marked(
        f"{found.table}: coverage", str(found), tuple(map(Box, states)), tuple(lines), tuple(beside)
    )


def notes(found: Overlay) -> Iterator[str]:
    """Yield what the figures leave open."""
    if not found.complete:
        yield f"which rows are infeasible is not known: {found.why}"
    yield from (
        f"taken, although the explorer cannot, whose events leave something out: {one}"
        for one in found.beyond
    )


def _named(one: Counted) -> str:
    return f"{one.arrow.name} {does(one.arrow)}"


def _label(one: Counted) -> str:
    guard = f" [{one.arrow.guard}]" if one.arrow.guard else ""
    times = f", {_times(one.times)}" if one.times else ""
    half = f", guard {_guard(one)}" if one.unseen and one.times else ""
    return f"{one.arrow.event}{guard}{times}{half}"


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times:,} times"


def _quiet(several: list[Counted], status: str) -> Iterator[str]:
    """What does not lead away: how much of it was taken; each that was not."""
    if status == TAKEN:
        times = sum(one.times for one in several)
        rows = "1 row that stays" if len(several) == 1 else f"{len(several)} rows that stay"
        yield f"{rows} here, {_times(times)}"
        several = [one for one in several if one.unseen]
    yield from (f"{_label(one)}: {_outcome(one)}" for one in several)


def _outcome(one: Counted) -> str:
    return "to itself" if one.arrow.target is not None else one.arrow.outcome


def _guard(one: Counted) -> str:
    """How the guard came out: nothing if there is none, or nobody asked."""
    seen = " and ".join("true" if each else "false" for each in one.seen)
    told = [f"seen {seen}"] if seen else ["never asked"] if one.arrow.guard else []
    told += [f"never {'true' if each else 'false'} in any run" for each in one.never]
    return ", ".join(told)
