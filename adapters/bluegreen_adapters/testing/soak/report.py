"""The table of a soak."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bluegreen_adapters.testing.soak.assessment import TOLERANCE, Found, caveats
from bluegreen_adapters.testing.soak.latency import TAIL_S, Stall

CAPTION = (
    "Latencies are of probes: look-ups of one shape at a steady pace. Those of a switch were in flight between its "
    f"beginning and {TAIL_S * 1000:.0f} ms after its end."
)


def show(console: Console, found: Found) -> None:
    """Show what was found, and the verdict."""
    console.print(table(found))
    for sample, times in found.figures.samples.items():
        console.print(f"  {times:>4} x {escape(sample)}", highlight=False)
    for caveat in caveats(found):
        console.print(f"[yellow]{escape(caveat)}[/]", highlight=False)
    findings = found.findings()
    for finding in findings:
        console.print(f"[red]{escape(finding)}[/]", highlight=False)
    if not findings:
        counted = found.figures
        console.print(
            f"[green]{counted.queries:,} queries saw {counted.switches:,} switches; nothing was lost that must "
            "survive, and nothing is left.[/]",
            highlight=False,
        )


def table(found: Found) -> Table:
    """Return the table."""
    counted, leaks, stalls = found.figures, found.leaks, found.stalls
    shown = Table(caption=CAPTION, caption_justify="left")
    shown.add_column("", no_wrap=True)
    shown.add_column("seen", justify="right", no_wrap=True)
    shown.add_column("allowed", justify="right", no_wrap=True)
    rows: list[tuple[str, str, str]] = [
        ("switches", f"{counted.switches:,}", ""),
        ("queries", f"{counted.queries:,}", ""),
        ("failed (must survive)", f"{counted.failed:,}", "0"),
        ("lost as the spec allows", f"{counted.lost_as_allowed:,}", ""),
        ("wrong results", f"{counted.wrong:,}", "0"),
        ("writes executed twice", f"{counted.executed_twice:,}", "0"),
        ("misrouted RPCs", f"{counted.misrouted:,}", "0"),
        ("crashes of the process", f"{counted.crashes:,}", "0"),
        ("tickets open at the end", f"{leaks.tickets_after:,}", "0"),
        ("queries open on the engine at the end", f"{leaks.queries_after:,}", "0"),
        (
            "links, sessions, queries alive at the end",
            f"{leaks.objects_after:,}",
            f"{leaks.objects_before:,}",
        ),
        ("memory at the end", _mb(leaks.memory_after_mb), _grown(leaks.memory_before_mb)),
        ("round trip", f"{stalls.round_trip_ms:,.1f} ms", ""),
        (f"steady p50 ({stalls.steady_samples:,} probes)", f"{stalls.steady_p50_ms:,.1f} ms", ""),
        ("steady p99.9", f"{stalls.steady_p999_ms:,.1f} ms", ""),
        *_rows(stalls.announced),
        *_rows(stalls.unannounced),
    ]
    for row in rows:
        shown.add_row(*row)
    return shown


def _rows(stall: Stall) -> list[tuple[str, str, str]]:
    left_out = f", {stall.left_out:,} begun again left out" if stall.left_out else ""
    return [
        (
            f"{stall.name} switches, p99.9 ({stall.samples:,} probes{left_out})",
            f"{stall.p999_ms:,.1f} ms",
            f"{stall.limit_ms:,.1f} ms",
        ),
        (f"{stall.name} switches, worst", f"{stall.worst_ms:,.1f} ms", ""),
        *((f"  {kind}, worst", f"{worst_ms:,.1f} ms", "") for kind, worst_ms in stall.worst_of_ms.items()),
    ]


def _mb(megabytes: float | None) -> str:
    return "not measured" if megabytes is None else f"{megabytes:,.1f} MB"


def _grown(megabytes: float | None) -> str:
    return "" if megabytes is None else f"{megabytes * (1 + TOLERANCE):,.1f} MB"
