"""Retention: files of an audit whose last line is older than their kind is kept are removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from bluegreen_adapters.observe.audit.format import (
    DAY_S,
    HEAD_SUFFIX,
    Name,
    files_in,
    last_time,
    seconds,
    stamp,
)


def prune(folder: Path, now_s: float, days: Mapping[str, float], told: Callable[[Name, str], object]) -> int:
    """Remove the files of a folder that are kept no longer; return how many were.

    A file that somebody writes is left alone: whoever writes it holds a lock on it.

    Args:
        now_s: the time, in seconds since 1970.
        days: for how many days each kind is kept.
        told: called with the name of a file, and the time of its last line, before it is removed.
    """
    removed = 0
    for name, path in files_in(folder):
        with contextlib.suppress(OSError):  # somebody else has removed it, or may alone
            removed += _pruned(name, path, now_s - days[name.kind] * DAY_S, told)
    return removed


def _pruned(name: Name, path: Path, before_s: float, told: Callable[[Name, str], object]) -> bool:
    if name.began_s >= before_s:
        return False  # it need not be opened to find out
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        last = last_time(path) or stamp(os.fstat(file).st_mtime)  # it may have no whole line
        if seconds(last) >= before_s:
            return False
        told(name, last)
        path.with_name(path.name + HEAD_SUFFIX).unlink(missing_ok=True)  # first: no head is left alone
        path.unlink()
    finally:
        os.close(file)
    return True
