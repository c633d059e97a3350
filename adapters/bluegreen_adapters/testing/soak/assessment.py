"""What a soak has found, and whether the promise was kept. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from bluegreen_adapters.testing.demo.results import Run, Vitals
from bluegreen_adapters.testing.demo.stats import Figures, figures
from bluegreen_adapters.testing.soak.latency import SAMPLES, Stall, Stalls, stalls

WARM_SHARE: Final = 0.2
"""Share of the run after which the process holds what it needs: every thread connected, every cache filled."""

TOLERANCE: Final = 0.10
"""Share by which memory may be more in the last fifth of the run than in the fifth after the warm-up."""

FEW: Final = 20
"""Samples of memory without which there is no verdict on it."""


@attrs.frozen
class Leaks:
    """What the application's process held, at the start and at the end.

    Args:
        objects_before, objects_after: links, sessions and queries, before the first connection and after the
            last one was closed.
        tickets_after: open tickets after that.
        queries_after: queries of the engine that were open then.
        counted: whether the process told at both ends what it held.
        memory_before_mb, memory_after_mb: median of the resident memory in the fifth of the run after the
            warm-up and in the last fifth, in megabytes; none: not enough samples.
    """

    objects_before: int
    objects_after: int
    tickets_after: int
    queries_after: int
    counted: bool
    memory_before_mb: float | None
    memory_after_mb: float | None

    @property
    def memory_kept(self) -> bool:
        """Whether memory is at the end as at the start, within `TOLERANCE`."""
        if self.memory_before_mb is None or self.memory_after_mb is None:
            return True
        return self.memory_after_mb <= self.memory_before_mb * (1 + TOLERANCE)


@attrs.frozen
class Found:
    """All that a soak has found."""

    figures: Figures
    stalls: Stalls
    leaks: Leaks

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return {**attrs.asdict(self), "findings": self.findings()}

    def findings(self) -> list[str]:
        """Return what speaks against us, each in a line; none: the promise was kept."""
        return [
            *self._losses(),
            *self._leaks(),
            *_slow(self.stalls.announced),
            *_slow(self.stalls.unannounced),
        ]

    def _losses(self) -> list[str]:
        counted = self.figures
        if not counted.switches or not counted.queries:
            return ["nothing was measured: no switch, or no query"]
        return [
            f"{what}: {count:,}"
            for count, what in (
                (counted.failed, "queries that must survive and failed"),
                (counted.wrong, "wrong results"),
                (counted.executed_twice, "writes executed twice"),
                (counted.misrouted, "misrouted RPCs"),
                (counted.crashes, "crashes of the process"),
            )
            if count
        ]

    def _leaks(self) -> list[str]:
        leaks = self.leaks
        said: list[str] = []
        if not leaks.counted:
            said.append("what is left was not counted: the process did not report at its end")
        if leaks.tickets_after:
            said.append(f"tickets still open: {leaks.tickets_after:,}")
        if leaks.queries_after:
            said.append(f"queries still open on the engine: {leaks.queries_after:,}")
        if leaks.objects_after > leaks.objects_before:
            said.append(f"links, sessions and queries still alive: {leaks.objects_after:,}")
        if not leaks.memory_kept:
            said.append(f"memory grew from {leaks.memory_before_mb} to {leaks.memory_after_mb} MB")
        return said


def _slow(stall: Stall) -> list[str]:
    if stall.kept or not stall.enough:
        return []
    slow = f"{stall.name} switches: 99.9 % of the queries within {stall.p999_ms:,.1f} ms"
    return [f"{slow}, allowed are {stall.limit_ms:,.1f} ms"]


def assess(run: Run) -> Found:
    """Count a run."""
    return Found(figures(run), stalls(run), _leaks(run))


def _leaks(run: Run) -> Leaks:
    counted = [vitals for vitals in run.vitals if vitals.objects is not None]
    first, last = (counted[0], counted[-1]) if len(counted) > 1 else (None, None)
    before, after = _memory(run.vitals)
    return Leaks(
        objects_before=_objects(first),
        objects_after=_objects(last),
        tickets_after=last.tickets if last is not None else 0,
        queries_after=sum(run.statistics.open_queries.values()),
        counted=last is not None,
        memory_before_mb=before,
        memory_after_mb=after,
    )


def _objects(vitals: Vitals | None) -> int:
    return 0 if vitals is None or vitals.objects is None else vitals.objects


def _memory(vitals: Sequence[Vitals]) -> tuple[float | None, float | None]:
    """Return the median memory in the fifth after the warm-up and in the last fifth, in megabytes."""
    running = [moment for moment in vitals if moment.objects is None and moment.resident is not None]
    if len(running) < FEW:
        return None, None
    fifth = len(running) // 5
    start = int(len(running) * WARM_SHARE)
    return _median_mb(running[start : start + fifth]), _median_mb(running[-fifth:])


def _median_mb(vitals: Sequence[Vitals]) -> float:
    held = sorted(moment.resident or 0 for moment in vitals)
    return round(held[len(held) // 2] / 1e6, 1)


def caveats(of: Found) -> list[str]:
    """Return in a line each what the run was too short to judge."""
    said = [
        f"{stall.name} switches: {stall.samples:,} probes against {stall.steady:,} steady ones, {SAMPLES:,} each are "
        "needed for a verdict on their latency"
        for stall in (of.stalls.announced, of.stalls.unannounced)
        if not stall.enough
    ]
    if of.leaks.memory_before_mb is None:
        said.append("memory: not enough samples for a verdict")
    return said
