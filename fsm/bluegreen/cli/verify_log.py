"""What `verify log` does, without a command line library: check files, say what was found, return an exit code."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from bluegreen.verify.trace.checker import check_log
from bluegreen.verify.trace.report import Report

USAGE: Final = """\
usage: verify log [--open] FILE...

Checks journals against the strategy table and its properties; - reads standard input.

--open   a journal without its last line is in order: its process may still be writing

exit code: 0 right and whole, 1 a line differs, 2 wrong usage, 3 right as far as it goes: an end is missing"""


def verify_logs(
    arguments: Sequence[str],
    say: Callable[[str], object] = print,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Check each file and say what was found; return the exit code, the worst one of several files.

    Args:
        arguments: as `USAGE` says.
        say: gets the text.

    >>> verify_logs(["--close", "x"], say=lambda text: None)
    2
    """
    options = [one for one in arguments if one.startswith("-") and one != "-"]
    files = [one for one in arguments if one not in options]
    if not files or any(one != "--open" for one in options):
        say(USAGE)
        return 2
    codes: list[int] = []
    for name in files:
        began = clock()
        try:
            report = _checked(name)
        except OSError as error:
            say(f"{name}: {error.strerror}")
            codes.append(2)
            continue
        took_s = clock() - began
        say(f"{name}: {report}")
        say(f"  {took_s:.1f} s, {report.records / max(took_s, 1e-9):,.0f} records per second")
        open_end = report.exit_code == 3 and report.lines > 0 and not report.torn and "--open" in options
        codes.append(0 if open_end else report.exit_code)
    return next(code for code in (1, 2, 3, 0) if code in codes)


def _checked(name: str) -> Report:
    if name == "-":
        return check_log(sys.stdin.buffer)
    with open(name, "rb") as lines:
        return check_log(lines)


if __name__ == "__main__":
    sys.exit(verify_logs(sys.argv[1:]))
