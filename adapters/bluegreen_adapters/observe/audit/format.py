"""The files of an audit: their names, and lines that are chained by hashes.

A process writes files of its own, `changes-20261127T050852123456Z-41-1.jsonl`, one kind a file. Each line ends with the
time at which it was written and with a hash of itself and of the line before; a file begins with the last hash of the
file before it. Beside each file stands its head, `.head`: how many lines it has, and the hash of the last one, so that
a tail that is cut off is missed. It is no signature: who can write the files can compute all of it anew.

    >>> line, found = sealed('{"audit":"store_back"', "2026-11-27T05:08:52.123Z", FIRST)
    >>> unsealed(line).text, unsealed(line).hash == found
    ('{"audit":"store_back"', True)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Final, NamedTuple

KINDS: Final[tuple[str, ...]] = ("changes", "errors", "performance")
RETENTION_DAYS: Final = {"changes": 90.0, "errors": 30.0, "performance": 7.0}
"""For how many days each kind is kept."""

DAY_S: Final = 86_400.0
FORMAT: Final = 1
FIRST: Final = "0" * 64
"""What the first line of a file has for the hash of the line before it."""

LINE_LIMIT: Final = 1 << 20
"""No line has more bytes; what has is read in parts, none of which is a line."""

_NAME: Final = re.compile(r"(changes|errors|performance)-(\d{8}T\d{12}Z)-(\d+)-(\d+)\.jsonl\Z")
_HASHED: Final = 67
_TAIL: Final = re.compile(
    rb',"time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)","hash":"([0-9a-f]{64})"\}\n\Z'
)
_TAIL_BYTES: Final = 110
_HEAD: Final = re.compile(rb"(\d{12}) ([0-9a-f]{64})\n\Z")
HEAD_SUFFIX: Final = ".head"


class Name(NamedTuple):
    """The name of a file: its kind, its writer (when it began, and its process id), and its number."""

    kind: str
    began: str
    process: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Name | None:
        """Return what a name says; none: it is no file of an audit."""
        found = _NAME.match(text)
        if found is None:
            return None
        return cls(found[1], found[2], int(found[3]), int(found[4]))

    def __str__(self) -> str:
        return f"{self.kind}-{self.began}-{self.process}-{self.number}.jsonl"

    @property
    def began_s(self) -> float:
        """When its writer began, in seconds since 1970."""
        return datetime.strptime(self.began, "%Y%m%dT%H%M%S%fZ").replace(tzinfo=timezone.utc).timestamp()


class AuditLine(NamedTuple):
    """A line: what was sealed, when it was written, and its hash."""

    text: str
    time: str
    hash: str


def stamp(at_s: float) -> str:
    """Return a time, seconds since 1970, as it stands in a line."""
    at = datetime.fromtimestamp(at_s, timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def seconds(time: str) -> float:
    """Return the time that stands in a line, in seconds since 1970."""
    return datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


def began(at_s: float) -> str:
    """Return a time as it stands in the name of a file."""
    return f"{datetime.fromtimestamp(at_s, timezone.utc):%Y%m%dT%H%M%S%f}Z"


def sealed(text: str, time: str, before: str) -> tuple[bytes, str]:
    """Return a line as it is written, and its hash.

    Args:
        text: an object without its closing brace.
        time: when, as `stamp` writes it.
        before: the hash of the line before.
    """
    return chained((text,), time, before)


def chained(texts: Iterable[str], time: str, before: str) -> tuple[bytes, str]:
    """Return lines as they are written, one after the other, and the hash of the last one, as `sealed` does."""
    tail, lines, hashed = f',"time":"{time}","hash":"', list[str](), hashlib.sha256
    for text in texts:
        body = text + tail
        before = hashed((before + body).encode()).hexdigest()
        lines.append(f'{body}{before}"}}\n')
    return "".join(lines).encode(), before


def unsealed(line: bytes) -> AuditLine | None:
    """Return what a line says, whatever its hash is worth; none: it is no line of an audit."""
    found = _TAIL.search(line, max(0, len(line) - _TAIL_BYTES))
    if found is None:
        return None
    try:
        return AuditLine(line[:-_TAIL_BYTES].decode(), found[1].decode(), found[2].decode())
    except UnicodeDecodeError:
        return None


def hash_of(line: bytes, before: str) -> str:
    """Return the hash that a line has to have after the one before it."""
    return hashlib.sha256(before.encode() + line[:-_HASHED]).hexdigest()


def last_hash(data: bytes) -> str:
    """Return the hash of the last of some whole lines."""
    return data[-_HASHED:-3].decode()


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file; no more than `LINE_LIMIT` bytes are in memory."""
    while line := file.readline(LINE_LIMIT):
        yield line


def headed(lines: int, found: str) -> bytes:
    """Return what the head of a file holds."""
    return b"%012d %b\n" % (lines, found.encode())


def head_of(path: Path) -> tuple[int, str] | None:
    """Return how many lines a file has at least, and the hash of the last of them; none: its head is not there.

    Raises:
        ValueError: it is no head.
    """
    try:
        data = path.with_name(path.name + HEAD_SUFFIX).read_bytes()
    except FileNotFoundError:
        return None
    found = _HEAD.match(data)
    if found is None:
        raise ValueError("its head is not written as an audit writes it")
    return int(found[1]), found[2].decode()


def last_time(path: Path, size: int = 1 << 16) -> str | None:
    """Return when the last whole line of a file was written; none: it has no such line near its end."""
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - size))
        for line in reversed(file.read(size).splitlines(keepends=True)):
            found = _TAIL.search(line)
            if found is not None:
                return found[1].decode()
    return None


def files_in(folder: Path) -> list[tuple[Name, Path]]:
    """Return the files of an audit, those of a kind and a writer in their order."""
    named = [(Name.parse(path.name), path) for path in folder.iterdir()]
    return sorted((name, path) for name, path in named if name is not None)
