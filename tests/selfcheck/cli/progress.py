"""How far a search is, for those who watch: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from selfcheck.explore.breadth_first import Progress as Seen

Searching = Callable[[Seen], None]
Counting = Callable[[int, int], None]


@contextlib.contextmanager
def searching(states: int) -> Generator[Searching | None, None, None]:
    """Show states, states per second and depth, against the bound on states; yields none without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with _bar() as bar:
        task = bar.add_task("exploring", total=states)

        def told(seen: Seen) -> None:
            rate = seen.states / max(seen.seconds, 0.001)
            text = f"{seen.states:,} states, {rate:,.0f}/s, depth {seen.depth}"
            bar.update(task, completed=seen.states, description=text)

        yield told


@contextlib.contextmanager
def counting(what: str) -> Generator[Counting | None, None, None]:
    """Show how many are done, and of how many; yields none without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with _bar() as bar:
        task = bar.add_task(what, total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=f"{what}: {done} of {total}")

        yield told


def _bar() -> Progress:
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
