"""The files of one kind that a process writes, one after the other, and what is missing in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bluegreen_adapters.observe.audit.file import AuditFile, AuditWriteError, Before
from bluegreen_adapters.observe.audit.format import Name

_GAP: Final = '{"audit":"gap"'
_PRUNED: Final = '{"audit":"pruned"'
_NO_LOSS: Final = (_GAP, _PRUNED, '{"journal":"opened"')
"""Lines that are no loss themselves: what they say is said again."""

Complain = Callable[[str, Exception], object]


def gap(missing: int, reason: str) -> str:
    """Return a line that says how many happenings are missing, and why."""
    return f'{{"audit":"gap","missing":{missing},"reason":{json.dumps(reason)}'


def pruned(name: Name, last: str) -> str:
    """Return a line that says which file was removed, and when its last line was written."""
    return f'{{"audit":"pruned","file":"{name}","last":"{last}"'


class Series:
    """Files of one kind.

    Args:
        folder: where they are.
        kind: which kind.
        complain: called with what could not be done, and why.

    Attributes:
        written: how many lines were written.
        dropped: how many were not, those aside that are written again.
        missing: how many happenings the next line has to say are missing.
        trouble: why lines are missing; none: the disk takes them.
        owed: lines that were not written, and have to be.
    """

    def __init__(self, folder: Path, kind: str, complain: Complain) -> None:
        self._folder, self._kind, self._complain = folder, kind, complain
        self._file: AuditFile | None = None
        self._number = 0
        self._before: Before | None = None
        self.written = self.dropped = self.missing = 0
        self.trouble: str | None = None
        self.owed: list[str] = []

    def prepare(self, time: str, file_bytes: int) -> bool:
        """End the file if it is full, of another day, or not to be written; return whether another one begins."""
        file = self._file
        if file is None:
            return False
        if file.broken or file.removed:
            self._let_go(file)
        elif file.size >= file_bytes or file.day != time[:10]:
            self.end()
        return self._file is None

    def write(self, texts: Sequence[str], began: str, time: str) -> bool:
        """Write lines, after one that says what is missing; return whether nothing was dropped.

        Args:
            began: when the writer began, for the name of a file.
            time: the time, as `stamp` writes it.
        """
        missing, lines = self.missing, [*self.owed, *texts]
        if missing:
            lines = [gap(missing, f"these lines were not written: {self.trouble}"), *lines]
        self.owed = []
        try:
            file = self._file or self._begin_file(began, time)
            file.write(lines, time)
            done = len(lines)
        except (OSError, AuditWriteError) as error:
            done = error.written if isinstance(error, AuditWriteError) else 0
            self._complain(f"{len(lines) - done} lines were not written", error)
            self.trouble = str(error)
        else:
            self.trouble = None
        self.written += done
        if missing and done:
            self.missing = 0
        self._lose(lines[done:] if done or not missing else lines[1:])
        return done == len(lines)

    def end(self) -> None:
        """Write the last line of the file, with the time of the one before, and let go of the file."""
        file = self._file
        if file is None:
            return
        try:
            file.write([f'{{"audit":"closed","lines":{file.lines}'], file.time)
        except AuditWriteError as error:
            self._complain("the last line of a file was not written", error)
        self._let_go(file)

    def leave(self) -> None:
        """Let go of the file as it is: it is another process's."""
        if self._file is not None:
            self._file.close()

    def _lose(self, lines: Sequence[str]) -> None:
        for one in lines:
            if one.startswith(_GAP):
                self.missing += int(json.loads(one + "}")["missing"])
            elif one.startswith(_PRUNED):
                self.owed.append(one)
            elif not one.startswith(_NO_LOSS):
                self.missing += 1
                self.dropped += 1

    def _begin_file(self, began: str, time: str) -> AuditFile:
        while True:
            self._number += 1
            name = Name(self._kind, began, os.getpid(), self._number)
            try:
                self._file = AuditFile(self._folder, name, time, self._before)
            except FileExistsError:  # of another audit of this process, or of a namesake in another container
                continue
            except OSError:
                self._number -= 1
                raise
            return self._file

    def _let_go(self, file: AuditFile) -> None:
        file.close()
        self._before = Before(str(file.name), file.hash, file.time)
        self._file = None
