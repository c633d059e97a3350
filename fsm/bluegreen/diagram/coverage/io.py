"""How often each row of a table was taken, from files: what tests have counted, and journals of real runs.

>>> from bluegreen.machines.retry import RETRY
>>> counted(RETRY, ()).steps
0
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.guards import ALWAYS
from bluegreen.table.table import Table
from bluegreen.verify.coverage.counter import Tally
from bluegreen.verify.trace.checker import check_log

FORMAT: Final = 1
"""The version of the files that `tally_json` writes."""

WANTED: Final = (
    "wanted: a file that `pytest --bluegreen-verify --bluegreen-tally=FILE` has written, what `Tally.as_dict` "
    "returns as JSON, or a journal"
)

_BEGUN: Final = b'{"journal":'


def tally_json(tallies: Iterable[Tally]) -> str:
    """Return tallies as JSON, for `counted` to read.

    >>> from bluegreen.machines.retry import RETRY
    >>> json.loads(tally_json([Tally(RETRY)]))["tallies"][0]["table"]
    'retry'
    """
    return json.dumps({"format": FORMAT, "tallies": [one.as_dict() for one in tallies]}) + "\n"


def counted(table: Table[Any, Any, Any], files: Iterable[Path]) -> Tally:
    """Return what files say of one table, all together.

    Raises:
        ValueError: a file is none of those that are wanted, counts no table with these rows, or is a journal that
            the log checker finds wrong. It names the file.
        OSError: a file cannot be read.
    """
    total = Tally(table)
    for file in files:
        data = file.read_bytes()
        try:
            if data.startswith(_BEGUN):
                total.merge(_of_journal(table, data))
            else:
                total.merge(_of_tallies(table, data))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    return total


def _of_tallies(table: Table[Any, Any, Any], data: bytes) -> Tally:
    try:
        said: Any = json.loads(data)
        several: Sequence[Mapping[str, Any]] = said.get("tallies", [said])
        fitting = [one for one in several if one["table"] == table.name]
        others = [str(one["table"]) for one in several]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"it has no counts: {error!r}; {WANTED}") from None
    if not fitting:
        raise ValueError(f"it counts {', '.join(others) or 'nothing'}, and not {table.name}")
    total = Tally(table)
    for one in fitting:
        total.merge(Tally.from_dict(table, one))
    return total


def _of_journal(table: Table[Any, Any, Any], data: bytes) -> Tally:
    """Count the records of a journal. It has what was taken: what was forbidden changed nothing, and is not in it."""
    if set(table.events).isdisjoint(STRATEGY.events):
        raise ValueError(f"it is a journal of the strategy machine, and not of {table.name}")
    lines = data.splitlines(keepends=True)
    report = check_log(lines, table)
    if report.divergence is not None:
        raise ValueError(f"the journal is wrong in {report.divergence}")
    names = {row.name: number for number, row in enumerate(table.rows)}
    taken = [0] * len(table.rows)
    for number, line in enumerate(lines, 1):
        if number not in report.torn and b',"step":' in line:
            taken[names[json.loads(line)["step"]["row"]]] += 1
    counted = Tally(table).as_dict()
    outcomes = _outcomes(table, taken)
    return Tally.from_dict(table, {**counted, "taken": taken, "outcomes": outcomes})


def _outcomes(table: Table[Any, Any, Any], taken: Sequence[int]) -> list[list[bool]]:
    """Return how guards came out, if these rows were taken: those of a cell exclude each other."""
    asked: dict[tuple[str, Any], set[int]] = {}
    for number, row in enumerate(table.rows):
        if taken[number]:
            asked.setdefault((row.state, row.event), set()).add(number)
    found: list[list[bool]] = []
    for number, row in enumerate(table.rows):
        here = asked.get((row.state, row.event), set[int]()) if row.guard is not ALWAYS else set[int]()
        found.append(sorted({number == other for other in here}))
    return found
