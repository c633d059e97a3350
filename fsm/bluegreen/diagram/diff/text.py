"""A comparison of two tables as text, as Markdown for a pull request, and as JSON.

>>> from bluegreen.diagram.diff.inputs import compared, side
>>> same = side("retry")
>>> print(text(compared(same, same)))
retry against retry: no row differs
behaviour: the same; all 24 pairs of states and contexts that can be reached were compared
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import attrs

from bluegreen.diagram.annotated import as_mermaid
from bluegreen.diagram.diff.behavioural import DIFFER, SAME, SO_FAR, Behaviour
from bluegreen.diagram.diff.inputs import Compared
from bluegreen.diagram.diff.structural import ADDED, CHANGED, REMOVED, RETARGETED, Change, does
from bluegreen.diagram.diff.svg import picture, summary

SIGNS: Final = {ADDED: "+", REMOVED: "-", RETARGETED: ">", CHANGED: "~"}
"""What stands before each kind of change."""


def text(compared: Compared) -> str:
    """Return the comparison as plain text."""
    lines = [f"{compared.new} against {compared.old}: {summary(compared)}"]
    for change in compared.changes:
        lines.append(f"  {SIGNS[change.kind]} {_headed(change)}")
        lines += [f"      {line}" for line in describe_change(change)]
    first, *rest = behaved(compared.behaviour)
    lines += [f"behaviour: {first}", *(f"  {line}" for line in rest)]
    lines += [f"  note: {note}" for note in compared.behaviour.notes]
    return "\n".join(lines)


def describe_change(change: Change) -> list[str]:
    """Return what there is to say of a change, line by line: what changed, or what a row is."""
    if change.details or change.part != "row":
        return list(map(str, change.details))
    row = change.row
    lines = [f"reducer: {row.reducer}"] if row.reducer else []
    lines += [f"effects: {', '.join(row.effects)}"] if row.effects else []
    return [*lines, f"why: {row.why}"]


def _headed(change: Change) -> str:
    return f"{change.kind} {change.part} {change.name}{_outcome(change)}"


def _outcome(change: Change) -> str:
    """What a row does; where it is among the details, it is not said twice."""
    if change.part != "row" or any(one.field == "outcome" for one in change.details):
        return ""
    found = does(change.row)
    return f" {found}" if change.row.target is not None else f": {found}"


def behaved(behaviour: Behaviour) -> Iterator[str]:
    """Yield what is said of the behaviour: in a line, and, if it differs, the events that show it."""
    pairs, shown = behaviour.pairs, behaviour.shown
    if behaviour.verdict == DIFFER and shown is not None:
        several = len(shown.events)
        after = f"after {several} event{'s' * (several != 1)}" if several else "from the start"
        yield f"they differ {after}" + (f", with {plain(shown.start)}" if shown.start else "")
        yield from (f"{number}. {plain(event)}" for number, event in enumerate(shown.events, 1))
        yield f"old: {plain(str(shown.old))}"
        yield f"new: {plain(str(shown.new))}"
    elif behaviour.verdict == SAME and behaviour.free:
        yield f"the same in every case of the facts, in all {pairs} states that can be reached"
    elif behaviour.verdict == SAME:
        yield f"the same; all {pairs} pairs of states and contexts that can be reached were compared"
    elif behaviour.verdict == SO_FAR:
        yield f"the same within a bound: {pairs} pairs of states and contexts were met, and there are more"
    else:
        yield "not comparable"


_MEMBER: Final = re.compile(r"<[A-Za-z_][\w.]*: '?([^'>]*)'?>")


def plain(words: str) -> str:
    """Return a text in which members of enumerations are called by their values.

    >>> plain("Authenticate(strategy=<Strategy.GREEN: 'green'>)")
    'Authenticate(strategy=green)'
    """
    return _MEMBER.sub(r"\1", words)


def markdown(compared: Compared) -> str:
    """Return the comparison as Markdown: a comment on a pull request, with the picture folded in."""
    name = compared.tables[1].name
    lines = [f"### Table {_code(name)}: {_code(compared.new)} against {_code(compared.old)}", ""]
    lines += [f"**{_text(summary(compared)).capitalize()}.**", ""]
    if compared.changes:
        lines += ["| | what | details |", "|---|---|---|"]
        for change in compared.changes:
            details = "<br>".join(map(_cell, describe_change(change)))
            part = "" if change.part == "row" else f"{change.part} "
            what = f"{part}{_code(change.name + _outcome(change))}".replace("|", "\\|")
            lines.append(f"| {change.kind} | {what} | {details} |")
        lines.append("")
    first, *rest = behaved(compared.behaviour)
    lines.append(f"**Behaviour:** {_text(first)}.")
    numbered = [line for line in rest if line[:1].isdigit()]
    answers = [line for line in rest if line not in numbered]
    lines += ["", *map(_text, numbered)] if numbered else []
    lines += ["", *(f"- {_text(line)}" for line in answers)] if answers else []
    notes = compared.behaviour.notes
    lines += ["", *(f"- note: {_text(note)}" for note in notes)] if notes else []
    if any(one.part in ("row", "state") for one in compared.changes):
        lines += ["", "<details><summary>As a picture</summary>", "", "```mermaid"]
        lines += [as_mermaid(picture(compared)), "```", "", "</details>"]
    return "\n".join(lines)


def missing(table: str, why: str) -> str:
    """Return what is said of a table that one side does not have; it is Markdown, and reads well as it is."""
    return f"### Table {_code(table)} cannot be compared\n\n{_text(why)}"


def _text(words: str) -> str:
    """Return a text in which nothing is a sign of Markdown or HTML."""
    escaped = words.replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", escaped)


def _cell(words: str) -> str:
    return _text(" ".join(words.split()))


def _code(words: str) -> str:
    fence = "``" if "`" in words else "`"
    return f"{fence}{words}{fence}"


def as_json(compared: Compared) -> str:
    """Return the comparison as JSON, for other tools."""
    said = {
        "old": compared.old,
        "new": compared.new,
        "table": compared.tables[1].name,
        "same": compared.same,
        "changes": [attrs.asdict(one) for one in compared.changes],
        "behaviour": attrs.asdict(compared.behaviour),
    }
    return json.dumps(said, indent=1)
