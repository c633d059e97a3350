"""How long a switch lets queries wait: latencies of probes near a switch against those far from any. Pure.

Probes are look-ups of one shape, begun at a steady pace by threads that do nothing else, so that their latencies
differ by nothing but the moment. A probe belongs to a switch if it was in flight between the switch's beginning
and `TAIL_S` after its end; it is steady if it was begun after the first switch, and was not in flight during any
switch so extended. What was begun before the first switch counts for nothing: all threads connect then. Probes
that overlap switches of both classes count for both.

A probe that had been begun on a stack that vanished has to be run a second time. What that takes beyond a steady
one is its own run, so it counts for the unannounced class like any other; only the announced class leaves out
what was in flight when its stack vanished (`announced_abrupt`), and says how many those are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import attrs

from bluegreen_adapters.testing.demo.results import QueryResult, Run, Window
from bluegreen_adapters.testing.demo.schedule import PROBE
from bluegreen_adapters.testing.demo.stats import percentile

UNANNOUNCED: Final = ("silent_drain", "abrupt")
"""Kinds of switches that the server does not announce."""

ANNOUNCED: Final = ("graceful", "announced_abrupt", "rollback", "withdrawn", "double", "not_ready")
"""Kinds of switches that the server announces."""

TAIL_S: Final = 0.3
"""Seconds after its end that still belong to a switch: the first queries after it are those that find out."""

PERMILLE: Final = 999
SAMPLES: Final = 1_000
"""Probes without which a class has no 99.9th percentile, and so no verdict."""

ANNOUNCED_EXTRA_S: Final = 0.010
UNANNOUNCED_EXTRA_S: Final = 0.025
UNANNOUNCED_ROUND_TRIPS: Final = 2


@attrs.frozen
class Stall:
    """One class of switches.

    Args:
        name: `announced` or `unannounced`.
        samples: probes that belong to it.
        steady: probes that they are compared with.
        left_out: probes that were in flight when their stack vanished, and do not count.
        p999_ms: 99.9th percentile of their latencies, in milliseconds.
        worst_ms: the longest, in milliseconds.
        limit_ms: what the percentile must not exceed, in milliseconds.
        worst_of_ms: the longest for each kind of switch, in milliseconds.
    """

    name: str
    samples: int
    steady: int
    left_out: int
    p999_ms: float
    worst_ms: float
    limit_ms: float
    worst_of_ms: Mapping[str, float]

    @property
    def enough(self) -> bool:
        """Whether there are enough samples for a verdict, of both kinds."""
        return min(self.samples, self.steady) >= SAMPLES

    @property
    def kept(self) -> bool:
        """Whether the limit was kept."""
        return self.p999_ms <= self.limit_ms


@attrs.frozen
class Stalls:
    """Both classes, and what they are compared with.

    Args:
        steady_samples: steady probes.
        steady_p50_ms, steady_p999_ms: percentiles of their latencies, in milliseconds.
        round_trip_ms: median of one RPC, in milliseconds.
        announced, unannounced: the classes.
    """

    steady_samples: int
    steady_p50_ms: float
    steady_p999_ms: float
    round_trip_ms: float
    announced: Stall
    unannounced: Stall


def stalls(run: Run) -> Stalls:
    """Measure one run.

    Raises:
        ValueError: a switch was of a kind that belongs to neither class.
    """
    unknown = {window.kind for window in run.windows}.difference(ANNOUNCED, UNANNOUNCED)
    if unknown:
        limited = ", ".join((*ANNOUNCED, *UNANNOUNCED))
        raise ValueError(
            f"switches of {', '.join(sorted(unknown))} have no limit; those that have: {limited}"
        )
    probes = [done for done in run.outcomes if done.text.startswith(PROBE) and done.error is None]
    near = [_extended(window) for window in run.windows]
    first_s = min((window.began_s for window in near), default=0.0)
    steady = _latencies(probe for probe in probes if probe.began_s > first_s and not _meets(probe, near))
    steady_s = percentile(steady, PERMILLE, of=1000)
    vanishing = _of(near, "announced_abrupt")
    repeated = run.statistics.reads_repeated.keys()
    again = {probe.text for probe in probes if probe.text in repeated and _meets(probe, vanishing)}
    slower_s = UNANNOUNCED_ROUND_TRIPS * run.round_trip_s + UNANNOUNCED_EXTRA_S
    stall = partial(_stall, probes=probes, near=near, steady=len(steady))
    return Stalls(
        steady_samples=len(steady),
        steady_p50_ms=_ms(percentile(steady, 50)),
        steady_p999_ms=_ms(steady_s),
        round_trip_ms=_ms(run.round_trip_s),
        announced=stall("announced", ANNOUNCED, again, limit_s=steady_s + ANNOUNCED_EXTRA_S),
        unannounced=stall("unannounced", UNANNOUNCED, frozenset(), limit_s=steady_s + slower_s),
    )


def _stall(
    name: str,
    kinds: Sequence[str],
    left_out: Collection[str],
    *,
    probes: Sequence[QueryResult],
    near: Sequence[Window],
    steady: int,
    limit_s: float,
) -> Stall:
    met = [probe for probe in probes if _meets(probe, _of(near, *kinds))]
    counted = [probe for probe in met if probe.text not in left_out]
    latencies = _latencies(counted)
    of_kind = {
        kind: _latencies(probe for probe in counted if _meets(probe, _of(near, kind))) for kind in kinds
    }
    return Stall(
        name,
        len(counted),
        steady,
        len(met) - len(counted),
        p999_ms=_ms(percentile(latencies, PERMILLE, of=1000)),
        worst_ms=_ms(latencies[-1] if latencies else 0.0),
        limit_ms=_ms(limit_s),
        worst_of_ms={kind: _ms(some[-1]) for kind, some in of_kind.items() if some},
    )


def _of(windows: Iterable[Window], *kinds: str) -> list[Window]:
    return [window for window in windows if window.kind in kinds]


def _extended(window: Window) -> Window:
    return attrs.evolve(window, ended_s=window.ended_s + TAIL_S)


def _meets(probe: QueryResult, windows: Iterable[Window]) -> bool:
    return any(window.overlaps(probe) for window in windows)


def _latencies(probes: Iterable[QueryResult]) -> list[float]:
    return sorted(probe.latency_s for probe in probes)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
