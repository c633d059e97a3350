"""Reads an audit: its lines in the order of their times, whichever process wrote them, those alone that are wanted."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import attrs

from bluegreen.verify.trace.format import Whole
from bluegreen_adapters.observe.audit.format import Name, files_in, last_time, lines_of, stamp, unsealed

FRAME: Final = ("begun", "opened", "closed")
"""Lines that say nothing of what happened. Who wants them names them."""

COLUMNS: Final = (
    "time", "kind", "event", "scope", "sequence", "query", "query_id", "strategy", "before", "after", "active",
    "pending", "row", "reason", "details", "file", "line",
)  # fmt: skip
"""What a line says, apart; what has no column is in `details`, as JSON."""

_AGO: Final = re.compile(r"(\d+)([mhd])")
_UNIT_S: Final = {"m": 60.0, "h": 3_600.0, "d": 86_400.0}
WHEN: Final = "2026-11-27, 2026-11-27T12:30 (UTC, or with an offset), or 90m, 12h or 7d ago"


class Entry(NamedTuple):
    """One line: where it is, the name of what happened, and what it says."""

    name: Name
    line: int
    time: str
    event: str
    said: dict[str, Any]


@attrs.frozen
class Wanted:
    """Which lines are wanted; none: all of them.

    Args:
        scope: of this scope, as it is written.
        since: written at this time or later, as `stamp` writes it.
        until: written at this time or earlier.
        query: of the query with this number, or with this id that its application holds.
        kinds: in files of these kinds.
        events: with these names, those of events of the machine too.
    """

    scope: str | None = None
    since: str | None = None
    until: str | None = None
    query: str | None = None
    kinds: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()

    def holds(self, entry: Entry) -> bool:
        """Whether a line is wanted."""
        said = entry.said
        if self.events:
            if entry.event not in self.events and _machine_event(said) not in self.events:
                return False
        elif entry.event in FRAME:
            return False
        if (self.since is not None and entry.time < self.since) or (
            self.until is not None and entry.time > self.until
        ):
            return False
        if self.scope is not None and said.get("scope") != self.scope:
            return False
        return self.query is None or self.query in _queries(said)


def moment(text: str, now_s: float) -> str:
    """Return a time that somebody wrote, as it stands in lines.

    >>> moment("2026-11-27T12:30+02:00", 0.0), moment("2h", 7200.5)
    ('2026-11-27T10:30:00.000Z', '1970-01-01T00:00:00.500Z')

    Raises:
        ValueError: it is none.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return stamp(now_s - int(ago[1]) * _UNIT_S[ago[2]])
    try:
        at = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; accepted: {WHEN}") from None
    return stamp((at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)).timestamp())


def entries(folder: Path, wanted: Wanted) -> Iterator[Entry]:
    """Yield the lines that are wanted. Only files that overlap in time are open together; what is torn is left out."""
    waiting: list[tuple[str, Name, Path]] = []
    for name, path in files_in(folder):
        if wanted.kinds and name.kind not in wanted.kinds:
            continue
        try:
            with path.open("rb") as file:
                first = unsealed(next(lines_of(file), b""))
            last = last_time(path)
        except FileNotFoundError:
            continue  # it need not be kept any more
        if first is None or last is None:
            continue
        if (wanted.since is None or last >= wanted.since) and (
            wanted.until is None or first.time <= wanted.until
        ):
            waiting.append((first.time, name, path))
    waiting.sort(reverse=True)
    heap: list[tuple[str, Name, int, Entry, Iterator[Entry]]] = []
    while waiting or heap:
        while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
            _, name, path = waiting.pop()
            with suppress(FileNotFoundError):
                _push(heap, _entries_of(name, path))
        if heap:
            _, _, _, entry, others = heapq.heappop(heap)
            if wanted.holds(entry):
                yield entry
            _push(heap, others)


def flat(entry: Entry) -> dict[str, Any]:
    """Return what a line says by `COLUMNS`; the scope's own names of fields stay in `details`."""
    said = dict(entry.said)
    found: dict[str, Any] = dict.fromkeys(COLUMNS)
    for name in ("audit", "journal", "time", "hash"):
        said.pop(name, None)
    for name in ("scope", "sequence", "query", "query_id", "strategy", "row", "reason"):
        found[name] = said.pop(name, None)
    found["strategy"] = said.pop("ticket_strategy", None) or found["strategy"]
    step, ticket = said.pop("step", None), said.pop("ticket", None)
    if isinstance(step, dict):
        taken = cast("dict[str, Any]", step)
        before, after = taken["before"], taken["after"]
        found |= {"before": before["state"], "after": after["state"], "row": taken["row"]}
        found |= {"active": after["active"], "pending": after["pending"]}
        found["strategy"] = taken["event"].get("strategy")
    if isinstance(ticket, dict):
        held = cast("dict[str, Any]", ticket)
        found |= {"query": held["query"], "strategy": held["strategy"]}
    found |= {"time": entry.time, "kind": entry.name.kind, "file": str(entry.name), "line": entry.line}
    found["event"] = _machine_event(entry.said) or entry.event
    found["details"] = json.dumps(said) if said else None
    return found


def _push(heap: list[tuple[str, Name, int, Entry, Iterator[Entry]]], others: Iterator[Entry]) -> None:
    entry = next(others, None)
    if entry is not None:
        heapq.heappush(heap, (entry.time, entry.name, entry.line, entry, others))


def _entries_of(name: Name, path: Path) -> Iterator[Entry]:
    whole = Whole()
    with path.open("rb") as file:
        for number, raw in enumerate(lines_of(file), 1):
            line = unsealed(raw)
            if line is None:
                continue
            try:
                text = whole.of(line.text) if line.text.startswith('{"scope":') else line.text
                said = dict[str, Any](json.loads(text + "}"))
            except (TypeError, ValueError):
                continue  # `verify` says so
            event = said.get("audit") or said.get("journal") or "step"
            yield Entry(name, number, line.time, str(event), {**said, "time": line.time, "hash": line.hash})


def _machine_event(said: dict[str, Any]) -> str | None:
    step = said.get("step")
    return str(cast("dict[str, Any]", step)["event"]["name"]) if isinstance(step, dict) else None


def _queries(said: dict[str, Any]) -> set[str]:
    ticket = said.get("ticket")
    held = cast("dict[str, Any]", ticket).get("query") if isinstance(ticket, dict) else None
    return {str(one) for one in (said.get("query"), said.get("query_id"), held) if one is not None}
