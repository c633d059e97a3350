"""SPIN, run on the model of a composition: how many states it stores, what it reaches, what it finds wrong.

SPIN is a model checker of its own (https://spinroot.com; Debian package `spin`) which makes a C program of a model;
so a C compiler is needed too.

Source: spec, section 7.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from bluegreen.errors import BluegreenError
from selfcheck.model.composition import Composition
from selfcheck.spin.promela import FORMULAS, MODEL, TABLES, promela, tables

_COMPILER: Final = ("gcc", "-O1", "-w", "-DNOREDUCE")
_SAFETY: Final = ("-DSAFETY", "-DNOCLAIM", "-DNOFAIR")
_DEPTH: Final = "-m10000000"


class SpinError(BluegreenError):
    """SPIN or the C compiler is missing, or did not do what it was asked for; the message says which and why."""


@attrs.frozen
class Judgement:
    """What SPIN says of a composition.

    Args:
        states: how many it stored; it stops at the first error.
        reached: control states: that of the strategy machine, and that of each query, or "nobody".
        broken: what does not hold: the assertion in its words, or the name of a formula.
    """

    states: int
    reached: frozenset[tuple[str, ...]]
    broken: tuple[str, ...]


def write(composition: Composition, directory: Path) -> None:
    """Write the model and the header that it includes into a directory, which has to be there."""
    (directory / MODEL).write_text(promela(composition), encoding="utf-8")
    (directory / TABLES).write_text(tables(composition), encoding="utf-8")


def missing() -> str | None:
    """Say which program SPIN's verdict needs and is not installed here; none: it can be asked."""
    absent = [name for name in ("spin", _COMPILER[0]) if shutil.which(name) is None]
    return f"not installed: {' and '.join(absent)} (Debian packages spin and gcc)" if absent else None


def judge(composition: Composition, *, timeout_s: float = 600.0) -> Judgement:
    """Let SPIN check a composition: its assertions in all states, then each formula under weak fairness.

    Args:
        timeout_s: bound of each program that is run, in seconds.

    Raises:
        SpinError: a program is missing, failed, or took too long.
    """
    if (absent := missing()) is not None:
        raise SpinError(absent)
    with tempfile.TemporaryDirectory(prefix="bluegreen-spin-") as name:
        directory = Path(name)
        write(composition, directory)

        def run(*command: str) -> str:
            return _run(command, directory, timeout_s)

        run("spin", "-a", MODEL)
        run(*_COMPILER, *_SAFETY, "-o", "safety", "pan.c")
        said = run("./safety", _DEPTH)
        broken = list(_broken(said))
        run(*_COMPILER, "-o", "liveness", "pan.c")
        broken += (
            formula
            for formula in FORMULAS
            if _broken(run("./liveness", "-A", "-a", "-f", _DEPTH, "-N", formula))
        )
    states = re.search(r"(\d+) states, stored", said)
    if states is None or "max search depth too small" in said:
        raise SpinError(f"the search came to no end: {said[-2000:]}")
    return Judgement(int(states[1]), frozenset(_reached(said)), tuple(broken))


def _run(command: Sequence[str], directory: Path, timeout_s: float) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SpinError(f"{' '.join(command)}: not done after {timeout_s:g} s") from error
    if done.returncode != 0:
        raise SpinError(f"{' '.join(command)}: exit status {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


def _broken(said: str) -> list[str]:
    """Return what the search found."""
    if "errors: 0" in said:
        return []
    found = re.findall(r"^pan:\d+: (.*?) \(at depth \d+\)", said, re.MULTILINE)
    if not found:
        raise SpinError(f"errors that are not named: {said[-2000:]}")
    return found


def _reached(said: str) -> list[tuple[str, ...]]:
    return [tuple(line.split()[1:]) for line in said.splitlines() if line.startswith("reached ")]
