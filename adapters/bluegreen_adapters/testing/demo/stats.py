"""The figures of the demo: counted from what the application saw and from what the engine counted. Pure.

Failed is what the application saw fail. Whether that loss is allowed is decided by the engine, which knows what had
been executed when a stack went away, and by the rows that the application had; the type of the error decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import attrs

from bluegreen_adapters.testing.demo.results import QueryResult, Run
from bluegreen_adapters.testing.demo.schedule import QUERIES, SWITCHES

SAMPLES: Final = 8
"""How many different complaints are told."""


@attrs.frozen
class Figures:
    """The figures of one half.

    Args:
        switches: switches played.
        queries: queries begun.
        failed: queries that ended in an error, or never, and that the specification says must survive.
        lost_as_allowed: queries that ended in an error, and that nobody may run again: the application had rows
            of them, or they were writes that were accepted, when their stack went away, or it was the second one.
        wrong: reads with other rows than they must return, and writes that were reported done and were not.
        executed_twice: writes that were executed more than once.
        misrouted: RPCs with a strategy, session, query or address of the other stack.
        p50_ms, p99_ms: latency of the queries that succeeded, in milliseconds.
        worst_stall_ms: longest latency of a query that was in flight during a switch, in milliseconds.
        crashes: how often the process of the application died.
        seconds: how long it took.
        samples: what was failed or wrong, and how often; the most frequent.
    """

    switches: int
    queries: int
    failed: int
    lost_as_allowed: int
    wrong: int
    executed_twice: int
    misrouted: int
    p50_ms: float
    p99_ms: float
    worst_stall_ms: float
    crashes: int
    seconds: float
    samples: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON data."""
        return attrs.asdict(self)


def figures(run: Run) -> Figures:
    """Count one half."""
    failures = [outcome for outcome in run.outcomes if outcome.error is not None]
    bereft, twice = run.bereft, run.bereft_twice
    must_survive = [failure for failure in failures if not _is_allowed(failure, bereft, twice)]
    wrong = [complaint for outcome in run.outcomes if (complaint := _complaint(outcome, run)) is not None]
    latencies = sorted(outcome.latency_s for outcome in run.outcomes if outcome.error is None)
    stalls = [
        outcome.latency_s
        for outcome in run.outcomes
        if any(window.overlaps(outcome) for window in run.windows)
    ]
    complaints = Counter([*(str(failure.error) for failure in must_survive), *wrong])
    return Figures(
        switches=len(run.windows),
        queries=len(run.outcomes),
        failed=len(must_survive),
        lost_as_allowed=len(failures) - len(must_survive),
        wrong=len(wrong),
        executed_twice=len(run.statistics.executed_twice),
        misrouted=run.statistics.misrouted,
        p50_ms=_ms(percentile(latencies, 50)),
        p99_ms=_ms(percentile(latencies, 99)),
        worst_stall_ms=_ms(max(stalls, default=0.0)),
        crashes=run.crashes,
        seconds=round(max((outcome.ended_s for outcome in run.outcomes), default=0.0), 1),
        samples=dict(complaints.most_common(SAMPLES)),
    )


def _is_allowed(failure: QueryResult, bereft: Mapping[str, float], twice: Collection[str]) -> bool:
    """Return whether a query failed because its stack went away, and not before that for some reason of its own.

    A read has to survive that if the application had seen none of its rows, but once only.
    """
    gone_s = bereft.get(failure.text)
    excused = failure.writes or failure.seen or failure.text in twice
    return gone_s is not None and failure.ended_s >= gone_s and excused


def _complaint(outcome: QueryResult, run: Run) -> str | None:
    if outcome.error is not None:
        return None
    if outcome.writes and not run.executions.get(outcome.text):
        return "a write was reported done, and was not"
    return outcome.wrong


def percentile(ordered: Sequence[float], share: int, of: int = 100) -> float:
    """Return the least value that `share` out of `of` of the values do not exceed; 0 if there are none.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50), percentile([1.0, 2.0, 3.0, 4.0], 99)
    (2.0, 4.0)
    """
    if not ordered:
        return 0.0
    return ordered[max(0, -(-share * len(ordered) // of) - 1)]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def findings(stock: Figures, ours: Figures) -> list[str]:
    """Return what speaks against ours, each in a line; none: it has kept its promise.

    A run with fewer switches or queries than a verdict needs, or one that does the stock connector no harm,
    proves nothing, and that is said too.
    """
    said: list[str] = []
    for count, what in (
        (ours.failed, "queries that must survive and failed"),
        (ours.wrong, "wrong results"),
        (ours.executed_twice, "writes executed twice"),
        (ours.misrouted, "misrouted RPCs"),
        (ours.crashes, "crashes of the process"),
    ):
        if count:
            said.append(f"with bluegreen, {what}: {count:,}")
    if ours.switches < SWITCHES:
        said.append(f"too short for a verdict: {ours.switches:,} of {SWITCHES:,} switches")
    if ours.queries < QUERIES:
        said.append(f"too short for a verdict: {ours.queries:,} of {QUERIES:,} queries")
    if not stock.failed:
        said.append("the stock connector lost nothing either: these switches prove nothing")
    return said
