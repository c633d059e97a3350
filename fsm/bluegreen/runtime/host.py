"""The clocks of this host, and its name: what a record says about when and by whom it was written."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import time
from pathlib import Path

from bluegreen.store import Stamp


@functools.cache
def boot() -> str:
    """Return what names the boot of this host, for whose duration its monotonic clock counts; empty: unknown."""
    with contextlib.suppress(OSError):  # only Linux has it
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def stamp() -> Stamp:
    """Return the time now, by both clocks."""
    return Stamp(time.time(), time.monotonic(), boot())


def who() -> str:
    """Return this process, for people: its host and its number."""
    return f"{socket.gethostname()}:{os.getpid()}"
