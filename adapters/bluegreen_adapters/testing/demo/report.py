"""What the demo shows: its progress, live on a terminal and as plain lines elsewhere, and the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from bluegreen_adapters.testing.demo.runner import Progress
from bluegreen_adapters.testing.demo.stats import Figures

STOCK: Final = "stock connector"
OURS: Final = "with bluegreen"

CAPTION: Final = (
    "Must survive: every query but those of which the application had rows, and writes that had been accepted, "
    "when their stack vanished. Latencies are of queries that succeeded; the stall is of "
    "any query that a switch met."
)

ROWS: Final[tuple[tuple[str, Callable[[Figures], str], bool], ...]] = (
    ("switches", lambda of: f"{of.switches:,}", False),
    ("queries", lambda of: f"{of.queries:,}", False),
    ("failed (must survive)", lambda of: f"{of.failed:,}", True),
    ("lost as the spec allows", lambda of: f"{of.lost_as_allowed:,}", False),
    ("wrong results", lambda of: f"{of.wrong:,}", True),
    ("writes executed twice", lambda of: f"{of.executed_twice:,}", True),
    ("misrouted RPCs", lambda of: f"{of.misrouted:,}", True),
    ("crashes of the process", lambda of: f"{of.crashes:,}", True),
    ("p50 latency", lambda of: f"{of.p50_ms:,.1f} ms", False),
    ("p99 latency", lambda of: f"{of.p99_ms:,.1f} ms", False),
    ("worst stall in a switch", lambda of: f"{of.worst_stall_ms:,.0f} ms", False),
)
"""Label, text, and whether anything but 0 is a fault."""


class LiveProgress:
    """Shows how far each half is: bars on a terminal, a line for each switch elsewhere.

    Args:
        console: where to.
        switches: how many there will be.
    """

    def __init__(self, console: Console, switches: int) -> None:
        self._console = console
        self._switches = switches
        self._halves: dict[str, TaskID] = {}
        self._told: dict[str, int] = {}
        self._bars = Bars(
            TextColumn("{task.description:<15}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[kind]:<16}"),
            TextColumn("{task.fields[queries]:>5} queries"),
            TextColumn("{task.fields[failed]:>4} errors"),
            TimeElapsedColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )

    def show(self, half: str, progress: Progress) -> None:
        """Show how far a half is."""
        if not self._console.is_terminal:
            self._tell(half, progress)
            return
        if half not in self._halves:
            self._halves[half] = self._bars.add_task(half, total=self._switches, kind="", queries=0, failed=0)
        self._bars.update(
            self._halves[half],
            completed=progress.switches,
            kind=progress.kind or "",
            queries=progress.queries,
            failed=progress.failed,
        )

    def _tell(self, half: str, progress: Progress) -> None:
        if progress.switches <= self._told.get(half, 0):
            return
        self._told[half] = progress.switches
        self._console.print(
            f"{half}: {progress.switches}/{self._switches} switches, "
            f"{progress.queries} queries, {progress.failed} errors",
            highlight=False,
        )

    def __enter__(self) -> LiveProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


def table(stock: Figures, ours: Figures) -> Table:
    """Return the table of both halves."""
    shown = Table(caption=CAPTION, caption_justify="left")
    shown.add_column("", no_wrap=True)
    shown.add_column(STOCK, justify="right", no_wrap=True)
    shown.add_column(OURS, justify="right", no_wrap=True)
    for label, text, faulty in ROWS:
        cells = [_marked(text(of), faulty) for of in (stock, ours)]
        shown.add_row(label, *cells)
    return shown


def _marked(text: str, faulty: bool) -> str:
    if not faulty:
        return text
    return f"[green]{text}[/]" if text == "0" else f"[red]{text}[/]"


def show(console: Console, stock: Figures, ours: Figures, findings: list[str]) -> None:
    """Show the table, what went wrong with ours, and the verdict."""
    console.print(table(stock, ours))
    for sample, times in ours.samples.items():
        console.print(f"  {times:>4} x {escape(sample)}", highlight=False)
    if findings:
        for finding in findings:
            console.print(f"[red]{escape(finding)}[/]", highlight=False)
        return
    console.print(
        f"[green]With bluegreen, {ours.queries:,} queries saw {ours.switches} switches and lost nothing that "
        f"must survive. The stock connector failed {stock.failed:,} of {stock.queries:,}.[/]",
        highlight=False,
    )


def as_json(stock: Figures, ours: Figures, findings: list[str], **facts: int) -> str:
    """Return everything that `show` shows as one JSON object."""
    data = {**facts, "stock": stock.to_json(), "bluegreen": ours.to_json(), "findings": findings}
    return json.dumps(data, indent=2)
