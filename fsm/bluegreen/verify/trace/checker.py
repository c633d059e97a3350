"""The log checker: takes every step of a journal again, and names the first line that differs.

A line is held against four things: the lines before it, the table, the properties, and its check sum. It is
read once, and forgotten: what is kept is where each manager stands, its open tickets, and judgements of
steps that look alike.

    >>> print(check_log([]))
    0 lines, 0 records of 0 managers: the log is empty
"""

from __future__ import annotations

import json
import re
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any, Final

import attrs

from bluegreen.errors import BluegreenError
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.table import Table
from bluegreen.verify.properties.base import Always, Eventually
from bluegreen.verify.trace.format import FORMAT, situation
from bluegreen.verify.trace.properties import LOG_ALWAYS, LOG_EVENTUALLY
from bluegreen.verify.trace.replay_state import END, Standing, count, unjoined, whole
from bluegreen.verify.trace.report import Divergence, Report
from bluegreen.verify.trace.step_checker import Differs, Judge, Judged, Key, begins, difference

AROUND: Final = 3
"""How many lines are shown before and after the one that differs."""

_NUMBER: Final = rb"(0|-?[1-9]\d*)"
_RECORD: Final = re.compile(
    rb'\{"scope":("(?:[^"\\]|\\.)*"),"manager":' + _NUMBER + rb',"sequence":' + _NUMBER
    + rb',"at_s":[-+.\de]+,"version":\{"before":' + _NUMBER + rb',"after":' + _NUMBER + rb',"event":(?:null|' + _NUMBER
    + rb')\},"ticket":(?:null|\{"query":' + _NUMBER + rb',"strategy":"(\w+)","version":' + _NUMBER + rb'\}),"step":'
)  # fmt: skip
_BEGUN: Final = b'{"journal":"begun",'


class _Log:
    """What is known after the lines that were read."""

    def __init__(
        self, table: Table[Any, Any, Any], always: Sequence[Always], eventually: Sequence[Eventually]
    ) -> None:
        self.table, self.always, self.eventually = table, tuple(always), tuple(eventually)
        self.judges: dict[str, Judge] = {}
        self.managers: dict[bytes, Standing] = {}
        self.crc = self.written = 0  # of the process whose lines come now
        self.running = self.begun = False
        self.lines = self.records = self.followed = self.unclosed = self.open_tickets = 0
        self.owed: list[str] = []

    def take(self, line: bytes) -> None:
        """Take one line.

        Raises:
            Differs: it is wrong.
        """
        found = _RECORD.match(line)
        if found is None:
            self._other(line)
            return
        if line[-1:] == b"\n":
            line = line[:-1]
        scope, number, sequence, before, after, told, query, on, issued = found.groups()
        manager = self.managers.get(number)
        if manager is None:
            raise Differs(f"manager is {number.decode()}, and none was opened under this number")
        text, version = line[found.end() : -18], manager.state_version
        if (
            int(sequence) != manager.sequence + 1
            or int(before) != version
            or scope != manager.scope
            or not text.startswith(manager.prefix)
        ):
            raise Differs(unjoined(manager, found, line))
        judge = manager.judge
        key: Key = (
            text,
            int(after) - version,
            None if told is None else int(told) - version,
            on,
            version if judge.by_version else 0,
        )
        known = judge.memo.get(key)
        if known is None:
            whole(line)
            context = manager.context
            if context.state_version != version:  # it is remembered from another time
                context = attrs.evolve(context, state_version=version)
            known = judge.judge(key, manager.state, context, int(query or 0), int(issued or 0))
        if query is not None or known.issues or known.ends:
            count(manager, known, query, on, issued)
        if known.broken:
            raise Differs("; ".join(f"{one.name} is broken: {one.text}" for one in known.broken))
        crc = zlib.crc32(line[:-18], self.crc)
        if line[-18:] != b',"crc":"%08x"}' % crc:
            raise Differs(_changed(crc))
        self.crc = crc
        self.written += 1
        self.records += 1
        manager.sequence += 1
        manager.state_version = int(after)
        manager.state, manager.context, manager.prefix = known.state, known.context, known.prefix
        if known.when & ~manager.owes or known.then & manager.owes:
            self._owe(manager, known)

    def _owe(self, manager: Standing, known: Judged) -> None:
        """Note what must follow now, and what has."""
        for bit in range(len(self.eventually)):
            if known.then >> bit & 1:
                manager.since.pop(bit, None)
            elif known.when >> bit & 1:
                manager.since.setdefault(bit, self.lines)
        manager.owes = sum(1 << bit for bit in manager.since)

    def _other(self, line: bytes) -> None:
        """Take a line that is no record."""
        end = whole(line)
        try:
            said: dict[str, Any] = dict(json.loads(line))
        except (TypeError, ValueError) as error:
            raise Differs(f"it is no line of a journal: {error}") from None
        kind = said.get("journal")
        if kind == "begun":
            self.end(closed=False)
            self.crc, self.written, self.running = 0, 0, True
            if said.get("format") != FORMAT:
                raise Differs(difference(said.get("format"), FORMAT, "format"))
        elif not self.running:
            raise Differs("nothing has begun: the line before it is missing")
        elif kind == "opened":
            self._open(said)
        elif kind == "closed":
            if said.get("lines") != self.written:
                raise Differs(difference(said.get("lines"), self.written, "lines"))
        else:
            raise Differs("it is no line of a journal")
        self.crc = zlib.crc32(line[: end.start()], self.crc)
        if end.group(1) != b"%08x" % self.crc:
            raise Differs(_changed(self.crc))
        self.written += 1
        if kind == "closed":
            self.end(closed=True)

    def _open(self, said: dict[str, Any]) -> None:
        """Take a manager up."""
        try:
            number, scope, sequence, version = (
                said[name] for name in ("manager", "scope", "sequence", "version")
            )
            settings, at = said["settings"], said["at"]
            shared = json.dumps(settings, sort_keys=True)
            judge = self.judges.get(shared)
            if judge is None:
                judge = self.judges[shared] = Judge(self.table, settings, self.always, self.eventually)
            context = judge.context(at, version)
            if situation(at["state"], context) != json.dumps(at, separators=(",", ":")):
                raise ValueError("it is not written as a journal writes it")
            if not self.table.holds(at["state"], context):
                raise ValueError(f"its context does not fit {at['state']}")
        except (BluegreenError, LookupError, TypeError, ValueError) as error:
            raise Differs(f"what it opens is no machine: {error!r}") from None
        key = str(number).encode()
        if key in self.managers:
            raise Differs(f"manager {number} was opened already")
        unknown = {b"blue": context.open_blue, b"green": context.open_green}
        self.managers[key] = Standing(
            json.dumps(scope).encode(),
            judge,
            sequence,
            version,
            at["state"],
            context,
            begins(at["state"], context),
            unknown,
        )
        self.followed += 1

    def end(self, *, closed: bool) -> None:
        """The lines of one process are over."""
        if not self.running:
            return
        for manager in self.managers.values():
            self.open_tickets += len(manager.tickets) + sum(manager.unknown.values())
            for bit, line in manager.since.items():
                self.owed.append(f"{self.eventually[bit].name}, since line {line}")
        self.unclosed += not closed
        self.managers = {}
        self.running = False


def _changed(crc: int) -> str:
    return f"crc must be {crc:08x}: this line was changed, or lines before it are missing or out of order"


def check_log(
    lines: Iterable[bytes | str],
    table: Table[Any, Any, Any] = STRATEGY,
    *,
    always: Sequence[Always] = LOG_ALWAYS,
    eventually: Sequence[Eventually] = LOG_EVENTUALLY,
) -> Report:
    """Check a journal, or several one after the other. Stops at the first line that differs.

    Args:
        lines: with their line ends; a last line without one was torn by a crash, if it is not whole.
        table: what the steps are held against.
        always: what must hold of each step.
        eventually: what must follow; what has not when the log ends is reported, and is no divergence.
    """
    log, source = _Log(table, always, eventually), iter(lines)
    recent: deque[bytes] = deque(maxlen=AROUND)
    torn: list[int] = []
    take, line = log.take, b""
    while True:
        try:
            for raw in source:
                line = raw if isinstance(raw, bytes) else raw.encode()
                log.lines += 1
                take(line)
                recent.append(line)
            break
        except Differs as found:
            after = [one if isinstance(one, bytes) else one.encode() for one in islice(source, AROUND)]
            if not _is_torn(line, after):
                shown = Divergence(
                    log.lines,
                    str(found),
                    tuple(map(_excerpt, recent)),
                    _excerpt(line),
                    tuple(map(_excerpt, after)),
                )
                return Report(log.lines, log.records, log.followed, shown)
            torn.append(log.lines)
            source = chain(after, source)
    log.end(closed=False)
    return Report(
        log.lines,
        log.records,
        log.followed,
        None,
        tuple(torn),
        log.unclosed,
        tuple(log.owed),
        log.open_tickets,
    )


def _is_torn(line: bytes, after: Sequence[bytes]) -> bool:
    """Whether a crash left this part of a line: it has no end, and nothing of its process follows."""
    if END.search(line) is not None:
        return False
    return after[0].startswith(_BEGUN) if after else not line.endswith(b"\n")


def _excerpt(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\n")
