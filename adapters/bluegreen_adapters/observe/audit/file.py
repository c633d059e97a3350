"""One file that is being written: only whole lines stay in it, whatever the disk does."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bluegreen_adapters.observe.audit.format import (
    FIRST,
    FORMAT,
    HEAD_SUFFIX,
    Name,
    chained,
    headed,
    last_hash,
)

_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC


class AuditWriteError(Exception):
    """Not all lines could be written. `written`: how many were, and stay."""

    def __init__(self, written: int, reason: OSError) -> None:
        super().__init__(str(reason))
        self.written = written


class Before(NamedTuple):
    """What the next file says of one that is over: its name, the hash of its last line, and when that was written."""

    name: str
    hash: str
    time: str


class AuditFile:
    """A new file, and its head. It is locked as long as it is open, so that nobody removes it.

    After an error nothing can be appended to it if it is `broken`.

    Args:
        folder: where it is.
        name: how it is called; nothing may be there.
        time: when it begins, as `stamp` writes it.
        before: the file before it, if there is one.

    Raises:
        OSError: it could not be made; nothing of it is left.
    """

    def __init__(self, folder: Path, name: Name, time: str, before: Before | None) -> None:
        self.name, self.day, self.time = name, time[:10], time
        self.lines = self.size = 0
        self.hash = FIRST
        self.broken = False
        path = folder / str(name)
        head = path.with_name(path.name + HEAD_SUFFIX)
        self._made: list[Path] = []
        self._file = self._head = -1
        said = "null,"
        if before is not None:
            said = f'"{before.name}","follows":"{before.hash}","ended":"{before.time}",'
        first = (
            f'{{"audit":"begun","format":{FORMAT},"file":"{name}","process":{name.process},'
            f'"before":{said[:-1]}'
        )
        try:
            self._head = os.open(head, _NEW, 0o600)  # first: a file without its head is a finding
            self._made.append(head)
            self._note()
            self._file = os.open(path, _NEW | os.O_APPEND, 0o600)
            self._made.append(path)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self.write([first], time)
        except (OSError, AuditWriteError) as error:
            self._undo()
            raise error if isinstance(error, OSError) else OSError(str(error)) from None

    def write(self, texts: Sequence[str], time: str) -> None:
        """Append lines.

        Raises:
            Refused: not all of them; what is there are whole lines.
        """
        self.time = time
        data, found = chained(texts, time, self.hash)
        done = 0
        try:
            while done < len(data):
                done += os.write(self._file, data[done:] if done else data)
            self.lines, self.size, self.hash = self.lines + len(texts), self.size + len(data), found
            self._note()
        except OSError as error:
            self.broken = error.errno == errno.EFBIG  # another file may take them
            if done == len(data):
                raise AuditWriteError(len(texts), error) from None  # only the head was not
            raise AuditWriteError(self._kept(data[:done]), error) from None

    def _kept(self, data: bytes) -> int:
        """Cut off what is left of a line; return how many lines stay."""
        data = data[: data.rfind(b"\n") + 1]
        try:
            os.ftruncate(self._file, self.size + len(data))
        except OSError:
            self.broken = True  # nothing can follow a part of a line
        if data:
            written = data.count(b"\n")
            self.lines, self.size, self.hash = self.lines + written, self.size + len(data), last_hash(data)
            with contextlib.suppress(OSError):
                self._note()
            return written
        return 0

    def _note(self) -> None:
        os.pwrite(self._head, headed(self.lines, self.hash), 0)

    @property
    def removed(self) -> bool:
        """Whether somebody has removed it, so that what is written to it is lost."""
        return os.fstat(self._file).st_nlink == 0

    def close(self) -> None:
        """Let go of it."""
        for one in (self._file, self._head):
            if one >= 0:
                os.close(one)
        self._file = self._head = -1

    def _undo(self) -> None:
        self.close()
        for path in reversed(self._made):
            with contextlib.suppress(OSError):
                path.unlink()
