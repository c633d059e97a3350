"""Checks the files of an audit: each line, their chain, what is missing, and every step against the table.

What a crash leaves is told from what somebody has changed: a last line without its end is set aside, and lines that the
head of a file does not count yet are right if their chain is. Everything else that differs is a finding.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any, Final, cast

import attrs

from bluegreen.verify.trace.checker import check_log
from bluegreen.verify.trace.format import Whole, first_line, sealed
from bluegreen_adapters.observe.audit.format import (
    DAY_S,
    FIRST,
    FORMAT,
    HEAD_SUFFIX,
    RETENTION_DAYS,
    AuditLine,
    Name,
    files_in,
    hash_of,
    head_of,
    lines_of,
    seconds,
    unsealed,
)

FINDINGS_LIMIT: Final = 20
"""How many findings of a file are told; the others are counted."""


@attrs.frozen
class AuditFinding:
    """Something that is wrong, or worth a look: in which file, in which line (0: in none of them), and what."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


@attrs.frozen
class Verified:
    """What was found.

    Args:
        files: how many files were read.
        lines: how many whole lines they have.
        records: how many of those are steps, each of which the table takes as well.
        findings: what is wrong.
        torn: lines of which a crash left a part; they are set aside.
        gaps: lines that say what is missing: it was dropped, and that is known.
        missing: how many happenings that are.
        open: how many files have no last line: they are written, or their process has crashed.
        pruned: how many files were removed since they need not be kept.
    """

    files: int
    lines: int
    records: int
    findings: tuple[AuditFinding, ...]
    torn: tuple[AuditFinding, ...]
    gaps: tuple[AuditFinding, ...]
    missing: int
    open: int
    pruned: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def __str__(self) -> str:
        said = f"{self.files} files, {self.lines} lines, {self.records} steps: "
        said += "right" if self.ok else f"{len(self.findings)} findings"
        notes = [f"  {one}" for one in self.findings]
        notes += [f"  set aside: {one}" for one in self.torn]
        notes += [f"  gap: {one}" for one in self.gaps]
        if self.open:
            notes.append(
                f"  {self.open} files have no last line: they are written now, or their process was killed"
            )
        if self.pruned:
            notes.append(f"  {self.pruned} files were removed, since they need not be kept any more")
        return "\n".join([said, *notes])


class _File:
    """What is known of one file while it is read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines = self.records = self.missing = 0
        self.hash, self.time = FIRST, ""
        self.begins: dict[str, Any] = {}
        self.closed = False
        self.findings: list[AuditFinding] = []
        self.torn: list[AuditFinding] = []
        self.gaps: list[AuditFinding] = []
        self.pruned: set[str] = set()
        self._whole = Whole()
        self.fed: deque[int] = deque(maxlen=16)

    def wrong(self, line: int, what: str) -> None:
        if len(self.findings) < FINDINGS_LIMIT:
            self.findings.append(AuditFinding(self.name, line, what))
        elif len(self.findings) == FINDINGS_LIMIT:
            self.findings.append(AuditFinding(self.name, line, "and more after it"))

    def read(self, path: Path) -> Iterator[bytes]:
        """Check line after line, and yield those that the table is to judge, as a journal has them."""
        try:
            head = head_of(path)
            if head is None:
                self.wrong(0, "its head is not there: lines may be missing at its end")
        except ValueError as error:
            head = None
            self.wrong(0, str(error))
        counted, last = head or (0, FIRST)
        with path.open("rb") as file:
            crc, number = 0, 0
            for raw in lines_of(file):
                number += 1
                line = self._line(number, raw)
                if number == counted and self.hash != last:
                    self.wrong(number, "its hash is not the one that the head of the file has")
                text = None if line is None or self.findings else self._journal(number, line)
                if text is not None:
                    data, crc = sealed(text, crc)
                    self.fed.append(number)
                    yield data
        if self.lines < counted:
            self.wrong(self.lines, f"the head of the file counts {counted} lines: the last ones are missing")
        if not number:
            self.torn.append(
                AuditFinding(self.name, 0, "it is empty: its process was killed before its first line")
            )

    def _line(self, number: int, raw: bytes) -> AuditLine | None:
        line = unsealed(raw)
        if line is None:
            if raw.endswith(b"\n"):
                self.wrong(number, "it is no line of an audit")
            elif self._is_line(raw[:-1] + b"\n"):
                self.wrong(number, "its end was changed")
            else:
                self.torn.append(
                    AuditFinding(self.name, number, f"{len(raw)} bytes of a line without its end")
                )
                return None
            self.lines = number
            return None
        if hash_of(raw, self.hash) != line.hash:
            self.wrong(
                number, "its hash is wrong: it was changed, or lines before it are missing, new or moved"
            )
        elif self.closed:
            self.wrong(number, "it comes after the last line")
        self.lines, self.hash, self.time = number, line.hash, line.time
        return line

    def _is_line(self, raw: bytes) -> bool:
        line = unsealed(raw)
        return line is not None and hash_of(raw, self.hash) == line.hash

    def _journal(self, number: int, line: AuditLine) -> str | None:
        """Take note of a line; return it if the table is to judge it."""
        text = line.text
        try:
            if text.startswith('{"scope":'):
                self.records += 1
                return self._whole.of(text)
            if number > 1 and text.startswith('{"journal":'):
                return text
            said: Any = json.loads(text + "}")
            return self._describe(number, cast("dict[str, Any]", dict(said)), line.time)
        except (LookupError, TypeError, ValueError) as error:
            self.wrong(number, f"it does not say what its kind says: {error!r}")
            return None

    def _describe(self, number: int, said: dict[str, Any], time: str) -> str | None:
        kind = said.get("audit")
        if (number == 1) != (kind == "begun"):
            self.wrong(number, "a file begins with `first_line`, and has it once")
        elif kind == "begun":
            if said["format"] != FORMAT:
                self.wrong(number, f"its format is {said['format']!r}, and must be {FORMAT}")
            if said["file"] != self.name:
                self.wrong(number, f"it belongs to {said['file']}")
            self.begins = said
            return first_line(int(said["process"]), seconds(time))
        elif kind == "gap":
            self.missing += int(said["missing"])
            self.gaps.append(AuditFinding(self.name, number, f"{said['missing']} missing: {said['reason']}"))
        elif kind == "pruned":
            self.pruned.add(str(said["file"]))
        elif kind == "closed":
            self.closed = True
            if said["lines"] != number - 1:
                self.wrong(number, f"it counts {said['lines']} lines before it, and there are {number - 1}")
        return None


def verify_file(path: str | os.PathLike[str]) -> Verified:
    """Check one file, for itself."""
    return _summed([_read(Path(path))])


def verify(folder: str | os.PathLike[str]) -> Verified:
    """Check all files of a folder, each for itself and as they follow each other; memory does not grow with their size.

    Args:
        folder: as `Audit` got it; it may be written meanwhile.

    Raises:
        OSError: it cannot be read.
    """
    place = Path(folder)
    found: list[_File] = []
    pruned: set[str] = set()
    for _, path in files_in(place):
        try:
            found.append(_read(path))
        except FileNotFoundError:
            pruned.add(path.name)  # just now; the line that says so may be in a file that was read before
    pruned.update(name for one in found for name in one.pruned)
    _follow(found, pruned)
    _alone(place, found, pruned)
    return _summed(found)


def _read(path: Path) -> _File:
    one = _File(path.name)
    lines = one.read(path)
    report = check_log(lines)
    if report.divergence is not None:
        number = one.fed[-1 - len(report.divergence.after)]
        one.wrong(number, f"the table does not do this: {report.divergence.what}")
    for _ in lines:
        pass  # the table has judged enough; the chain is checked to its end
    return one


def _follow(files: Sequence[_File], pruned: Set[str]) -> None:
    """Hold the first line of each file against the last one of the file before it."""
    last = {one.name: one.hash for one in files}
    newest = max((one.time for one in files), default="")
    for one in files:
        before = one.begins.get("before")
        if before in last:
            if last[before] != one.begins["follows"]:
                one.wrong(
                    1, f"it does not follow the last line of {before}, of which lines are missing or changed"
                )
        elif before is not None and before not in pruned and not _is_over(one, newest):
            one.wrong(1, f"{before} is missing, and no line says that it was removed")


def _is_over(file: _File, newest: str) -> bool:
    """Whether the file before this one need not be kept any more; the line that says so need not be, either."""
    name = Name.parse(file.name)
    assert name is not None
    try:
        return seconds(newest) - seconds(str(file.begins["ended"])) > RETENTION_DAYS[name.kind] * DAY_S
    except (LookupError, ValueError):
        return False


def _alone(place: Path, files: list[_File], pruned: Set[str]) -> None:
    """Look for heads of which the file is missing."""
    known = {one.name for one in files}
    for path in sorted(place.glob(f"*{HEAD_SUFFIX}")):
        name = path.name.removesuffix(HEAD_SUFFIX)
        if name in known or name in pruned or Name.parse(name) is None or place.joinpath(name).exists():
            continue
        try:
            head = head_of(place / name)
        except ValueError:
            continue  # its process was killed when it began
        if head is not None and head[0]:
            lost = _File(name)
            lost.wrong(0, f"it is missing, with {head[0]} lines, and no line says that it was removed")
            files.append(lost)


def _summed(files: list[_File]) -> Verified:
    return Verified(
        len(files),
        sum(one.lines for one in files),
        sum(one.records for one in files),
        tuple(finding for one in files for finding in one.findings),
        tuple(finding for one in files for finding in one.torn),
        tuple(finding for one in files for finding in one.gaps),
        sum(one.missing for one in files),
        sum(not one.closed for one in files),
        len({name for one in files for name in one.pruned}),
    )
