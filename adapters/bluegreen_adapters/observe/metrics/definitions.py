"""The metrics, declared once: whatever exports them reads this list, so names are the same everywhere.

Prometheus shows a counter with `_total` behind its name.

`bluegreen_transition_seconds` is how long a change of strategy keeps queries waiting, not what it waits for itself. One
that was `announced` waits for queries (that is `bluegreen_drain_seconds`), but new ones go to the announced strategy
at once: measured is the step at the safe point, from when its event was sent, with the wait for the lock. One that was
`detected` is measured from the first query that found no strategy until another one than before serves, with every
detection that failed between.
"""

from __future__ import annotations

from typing import Final

import attrs

TIMES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LONG_S: Final = (0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
WAITS_S: Final = (0.00001, 0.0001, 0.001, 0.01, 0.1, 1.0)


@attrs.frozen
class Instrument:
    """One metric.

    Args:
        name: with its unit last.
        kind: `counter`, `gauge` or `histogram`.
        help: what it counts or measures.
        labels: the names of its labels.
        buckets: of a histogram: upper bounds, in seconds.
        merged: of a gauge: how the values of several processes become one, as Prometheus names it.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ("scope",)
    buckets: tuple[float, ...] = ()
    merged: str = "livesum"


STRATEGY: Final = ("scope", "strategy")
WRONG_STRATEGY: Final = "wrong strategy"
"""The `fault` of a request that a 456 answered."""

INSTRUMENTS: Final = (
    Instrument("bluegreen_transitions", "counter", "Changes of state or strategy, by row.", ("scope", "row")),
    Instrument("bluegreen_queries", "counter", "Queries that have started.", STRATEGY),
    Instrument("bluegreen_queries_ended", "counter", "Queries that have ended.", (*STRATEGY, "event")),
    Instrument("bluegreen_cache_misses", "counter", "Queries that found no strategy, and waited for one."),
    Instrument("bluegreen_requests", "counter", "Requests that were sent to a stack."),
    Instrument(
        "bluegreen_request_failures",
        "counter",
        "Requests answered by an error; a 456 is a `wrong strategy`.",
        (*STRATEGY, "fault"),
    ),
    Instrument(
        "bluegreen_unlisted_refusals",
        "counter",
        "Replies with 456 that match no listed form, passed on as they are.",
        STRATEGY,
    ),
    Instrument("bluegreen_retries", "counter", "Requests that were sent again on the same stack.", STRATEGY),
    Instrument("bluegreen_replays", "counter", "Queries that began again elsewhere.", STRATEGY),
    Instrument("bluegreen_lost_queries", "counter", "Queries for which `QueryLost` was raised.", STRATEGY),
    Instrument(
        "bluegreen_store_faults", "counter", "Times that the shared store was lost.", ("scope", "store")
    ),
    Instrument("bluegreen_corrections", "counter", "Repairs of what did not agree.", ("scope", "check")),
    Instrument(
        "bluegreen_delivery_dropped", "counter", "Telemetry events that found a full queue.", ("delivery",)
    ),
    Instrument(
        "bluegreen_delivery_failed",
        "counter",
        "Telemetry events that their subscriber failed on.",
        ("delivery",),
    ),
    Instrument(
        "bluegreen_detection_seconds", "histogram", "What a detection took.", ("scope", "found"), TIMES_S
    ),
    Instrument(
        "bluegreen_session_seconds", "histogram", "What it took to open a session.", STRATEGY, TIMES_S
    ),
    Instrument(
        "bluegreen_transition_seconds",
        "histogram",
        "How long a change of strategy kept queries waiting, once it could happen.",
        ("scope", "how"),
        TIMES_S,
    ),
    Instrument("bluegreen_drain_seconds", "histogram", "From an announcement to its commit.", buckets=LONG_S),
    Instrument("bluegreen_lock_wait_seconds", "histogram", "Waits for a manager's lock.", buckets=WAITS_S),
    Instrument("bluegreen_state", "gauge", "1 for the state of the machine, else 0.", ("scope", "state")),
    Instrument("bluegreen_tickets", "gauge", "Queries that are open.", STRATEGY),
    Instrument("bluegreen_state_age_seconds", "gauge", "Time in the present state.", merged="livemax"),
    Instrument(
        "bluegreen_oldest_ticket_seconds",
        "gauge",
        "Age of the query that is open longest; 0: none is.",
        STRATEGY,
        merged="livemax",
    ),
    Instrument(
        "bluegreen_drain_age_seconds",
        "gauge",
        "Age of the oldest query that is not where new ones go; 0: all are there.",
        merged="livemax",
    ),
    Instrument("bluegreen_drain_limit_seconds", "gauge", "The setting `drain_timeout_s`.", merged="livemax"),
    Instrument(
        "bluegreen_store_staleness_seconds",
        "gauge",
        "Time since the shared store was read or written; a store without news is not read.",
        merged="livemax",
    ),
    Instrument(
        "bluegreen_healthy",
        "gauge",
        "1 if a check of health holds, else 0.",
        ("scope", "check"),
        merged="livemin",
    ),
)
"""Every metric, counters first."""
