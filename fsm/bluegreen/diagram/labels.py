"""What every renderer writes beside an arrow: rows that are drawn as one, and their words.

>>> from bluegreen.diagram.model import diagram_of
>>> from bluegreen.machines.query import QUERY
>>> [group.label() for group in groups(diagram_of(QUERY).cell("Prepared", "refused_456"), "full")]
['refused_456 [replays left] / restart, fails, replays', 'refused_456 [not replays left] / fails']
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import attrs

from bluegreen.diagram.model import Arrow, Diagram, Node

Level = Literal["overview", "full"]
"""How much is drawn: the transitions, or every row with what it does."""

LEVELS: Final[tuple[Level, ...]] = ("overview", "full")

SAFE_POINT: Final = "◊"
"""What marks an event that is a safe point. A sign, since a colour alone tells nothing to some."""

QUIET: Final = (("stay", "stays"), ("ignore", "ignores"), ("forbid", "forbids"))
"""The outcomes that lead nowhere, with the word for each."""


@attrs.frozen
class Group:
    """Rows that differ only in their events: they are drawn as one.

    Args:
        source: the state they are about.
        target: where they lead; none if nowhere.
        outcome: theirs.
        guard: theirs, in words.
        actions: what becomes of the context, and the effects, by name; empty in an overview.
        events: their events, each marked if it is a safe point.
        safe: whether some event is.
    """

    source: str
    target: str | None
    outcome: str
    guard: str
    actions: tuple[str, ...]
    events: tuple[str, ...]
    safe: bool

    def label(self) -> str:
        """Return what is written beside it, in the order of UML: events, guard, actions."""
        guard = f" [{self.guard}]" if self.guard else ""
        actions = f" / {', '.join(self.actions)}" if self.actions else ""
        return f"{', '.join(self.events)}{guard}{actions}"


def groups(arrows: Iterable[Arrow], level: Level) -> tuple[Group, ...]:
    """Return the groups of some arrows, each where its first row stands.

    Args:
        level: in an overview, rows that do different things are one too.
    """
    found: dict[tuple[object, ...], list[Arrow]] = {}
    for arrow in arrows:
        actions = actions_of(arrow) if level == "full" else ()
        key = (arrow.source, arrow.target, arrow.outcome, arrow.guard, actions)
        found.setdefault(key, []).append(arrow)
    return tuple(
        Group(
            several[0].source,
            several[0].target,
            several[0].outcome,
            in_words(several[0].guard),
            actions_of(several[0]) if level == "full" else (),
            tuple(marked(arrow.event, arrow.safe_point) for arrow in several),
            any(arrow.safe_point for arrow in several),
        )
        for several in found.values()
    )


def actions_of(arrow: Arrow) -> tuple[str, ...]:
    """Return what a row does, by name: what becomes of the context, and then its effects."""
    return ((arrow.reducer,) if arrow.reducer else ()) + arrow.effects


def marked(event: str, safe_point: bool) -> str:
    """Return the name of an event, with the sign of safe points if it is one."""
    return f"{SAFE_POINT} {event}" if safe_point else event


def in_words(guard: str) -> str:
    """Return a guard in words: its signs mean something else to most languages of diagrams.

    >>> in_words("!(fresh & names=active|other)")
    'not (fresh and names active or other)'
    """
    text = re.sub(r"\s*\|\s*", " or ", guard.replace(" & ", " and "))
    return re.sub(r"(?<![<>])=", " ", text.replace("!", "not "))


def quiet_lines(diagram: Diagram, node: Node) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return what does not lead out of a state: `stays`, `ignores`, `forbids`, each with its lines, if any."""
    inside = groups((one for one in diagram.arrows if one.source == node.name and one.target is None), "full")
    found = ((word, tuple(one.label() for one in inside if one.outcome == kind)) for kind, word in QUIET)
    return tuple((word, lines) for word, lines in found if lines)


def legend(diagram: Diagram) -> str:
    """Return what the sign in a diagram means; empty if there is none in it."""
    return f"{SAFE_POINT} safe point, thick line" if any(one.safe_point for one in diagram.arrows) else ""


def describe_overview(diagram: Diagram) -> str:
    """Return what an overview shows, in sentences: for those who do not see it."""
    states = ", ".join(node.name for node in diagram.nodes)
    lines = [f"States: {states}."]
    lines += [f"It begins in {node.name}." for node in diagram.nodes if node.initial]
    final = [node.name for node in diagram.nodes if node.final]
    lines += [f"Final: {', '.join(final)}."] if final else []
    for group in groups(diagram.transitions(), "overview"):
        condition = f" if {group.guard}" if group.guard else ""
        events = ", ".join(event.removeprefix(f"{SAFE_POINT} ") for event in group.events)
        lines.append(f"{group.source} to {group.target}: {events}{condition}.")
    return " ".join(lines)


def wrapped(text: str, width: int) -> Sequence[str]:
    """Return a text in lines of at most `width` letters, unless a word is longer; all but the first are indented.

    >>> wrapped("connection_opened, ◊ cache_invalidated", 20)
    ['connection_opened,', '    ◊ cache_invalidated']
    """
    kept = text.replace(f"{SAFE_POINT} ", f"{SAFE_POINT}\0")  # a sign stays with its event
    lines = textwrap.wrap(
        kept, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\0", " ") for line in lines] or [""]
