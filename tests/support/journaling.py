"""Every manager that a test makes keeps a journal, and the test fails if the log checker finds fault with it, or if
what a manager keeps does not agree with itself in the end."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bluegreen.runtime.manager import StrategyManager
from bluegreen.verify.trace.checker import check_log
from bluegreen.verify.trace.writer import Journal


@contextmanager
def journaled(folder: Path) -> Iterator[None]:
    """Write a journal of every manager that is made in this context, also in forked children; then check it."""
    path = folder / "journal.jsonl"
    kept: list[Journal] = []
    managers: weakref.WeakSet[StrategyManager] = weakref.WeakSet()
    make = StrategyManager.__init__

    def made(self: StrategyManager, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        if not kept:
            kept.append(Journal(path))
        kept[0].follow(self)
        managers.add(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StrategyManager, "__init__", made)
        yield
    for journal in kept:
        journal.close()
    wrong = [f"{one.scope}: {found.check}: {found.found}" for one in managers for found in one.examine()]
    for one in folder.glob("journal.jsonl*"):
        with one.open("rb") as lines:
            report = check_log(lines)
        one.unlink()
        if report.exit_code == 1:
            wrong.append(str(report))
    assert not wrong, "\n".join(wrong)
