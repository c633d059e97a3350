"""Where the managers of a journal stand, and whether a record goes on from there."""

from __future__ import annotations

import json
import re
from typing import Any, Final, cast

import attrs

from bluegreen.machines.strategy.context import Context
from bluegreen.verify.trace.step_checker import Differs, Judge, Judged, difference

END: Final = re.compile(rb',"crc":"([0-9a-f]{8})"\}\n?\Z')
"""What every line ends with."""


@attrs.define(eq=False)
class Standing:
    """Where one manager of a journal stands after the lines that were read."""

    scope: bytes
    judge: Judge
    sequence: int
    state_version: int
    state: str
    context: Context
    prefix: bytes
    unknown: dict[bytes, int]
    """How many tickets were open when it was opened, whose numbers are not in the journal."""
    tickets: dict[int, tuple[bytes, int]] = attrs.field(factory=dict[int, "tuple[bytes, int]"])
    first: int = 0
    newest: int = 0
    owes: int = 0
    since: dict[int, int] = attrs.field(factory=dict[int, int])


def whole(line: bytes) -> re.Match[bytes]:
    """Return the end of a line, its check sum.

    Raises:
        Differs: it has none.
    """
    end = END.search(line)
    if end is None:
        raise Differs("it does not end with its check sum")
    return end


def unjoined(manager: Standing, found: re.Match[bytes], line: bytes) -> str:
    """Say why a record does not follow the one before it."""
    scope, sequence, version = found.group(1), int(found.group(3)), int(found.group(4))
    if scope != manager.scope:
        return difference(json.loads(scope), json.loads(manager.scope), "scope")
    if sequence != manager.sequence + 1:
        missing = sequence - manager.sequence - 1
        more = f": {missing} missing" if missing > 0 else ": it comes too late, or twice"
        return difference(sequence, manager.sequence + 1, "sequence") + more
    if version != manager.state_version:
        return difference(version, manager.state_version, "version.before")
    end = whole(line)
    try:
        written: Any = dict(json.loads(line[found.end() : end.start()]))
    except (TypeError, ValueError) as error:
        return f"it is no line of a journal: {error}"
    right = json.loads(manager.prefix[:-1] + b"}")
    return difference({"before": cast("dict[str, Any]", written).get("before")}, right)


def count(
    manager: Standing, known: Judged, query: bytes | None, on: bytes | None, issued: bytes | None
) -> None:
    """Count a ticket in or out. Nothing is changed if it is wrong."""
    if query is None or on is None or issued is None:
        raise Differs("ticket is null, and the step issues or ends one")
    number, ticket = int(query), (on, int(issued))
    if known.issues is not None:
        if number <= manager.newest:
            raise Differs(f"ticket {number} was issued already")
        if ticket != (known.issues, manager.state_version):
            wanted = f"{known.issues.decode()}, version {manager.state_version}"
            raise Differs(
                f"ticket {number} is on {on.decode()}, version {ticket[1]}, and must be on {wanted}"
            )
        manager.tickets[number] = ticket
        manager.first = manager.first or number
        manager.newest = number
    elif not known.ends:
        raise Differs(f"ticket is {number}, and the step issues and ends none")
    elif number in manager.tickets:
        if manager.tickets[number] != ticket:
            was = manager.tickets[number]
            raise Differs(f"ticket {number} was on {was[0].decode()}, version {was[1]}")
        del manager.tickets[number]
    elif manager.unknown.get(on, 0) > 0 and not 0 < manager.first <= number:
        manager.unknown[on] -= 1
    else:
        raise Differs(f"ticket {number} is not open")
