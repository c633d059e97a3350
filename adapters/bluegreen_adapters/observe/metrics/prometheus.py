"""The metrics for Prometheus, by prometheus-client. Its variable PROMETHEUS_MULTIPROC_DIR works: what is kept are plain
counters, gauges and histograms, and gauges say how those of several processes become one.

>>> from prometheus_client import CollectorRegistry, generate_latest
>>> registry = CollectorRegistry()
>>> PrometheusMeter(registry).count("bluegreen_cache_misses", ("db.example:443",))
>>> b'bluegreen_cache_misses_total{scope="db.example:443"} 1.0' in generate_latest(registry)
True
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from bluegreen_adapters.observe.health.peers import Peers
from bluegreen_adapters.observe.metrics.collector import Labels, Measures
from bluegreen_adapters.observe.metrics.definitions import INSTRUMENTS, Instrument

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"


class PrometheusMeter:
    """Keeps every metric of `INSTRUMENTS`.

    Args:
        registry: where they are registered; a registry takes one meter.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._metrics = {one.name: _make_metric(one, registry) for one in INSTRUMENTS}
        self._known: dict[tuple[str, Labels], Any] = {}

    def begin(self, name: str, labels: Labels) -> None:
        """Show a counter or a histogram before anything is counted."""
        self._of(name, labels)

    def count(self, name: str, labels: Labels, by: float = 1) -> None:
        """Add to a counter."""
        self._of(name, labels).inc(by)

    def observe(self, name: str, labels: Labels, value: float) -> None:
        """Add a value to a histogram."""
        self._of(name, labels).observe(value)

    def set(self, name: str, labels: Labels, value: float) -> None:
        """Set a gauge."""
        self._of(name, labels).set(value)

    def _of(self, name: str, labels: Labels) -> Any:
        found = self._known.get((name, labels))
        if found is None:
            found = self._known[name, labels] = self._metrics[name].labels(*labels)
        return found


def _make_metric(one: Instrument, registry: CollectorRegistry) -> Any:
    if one.kind == "counter":
        return Counter(one.name, one.help, one.labels, registry=registry)
    if one.kind == "gauge":
        mode: Any = one.merged
        return Gauge(one.name, one.help, one.labels, registry=registry, multiprocess_mode=mode)
    return Histogram(one.name, one.help, one.labels, registry=registry, buckets=one.buckets)


def exposition(
    measures: Measures | None = None,
    registry: CollectorRegistry = REGISTRY,
    peers: Peers | None = None,
) -> Callable[[], tuple[str, bytes]]:
    """Return what `/metrics` of `pages` shows: of all processes, where `PROMETHEUS_MULTIPROC_DIR` is set.

    Args:
        measures: what is refreshed before.
        registry: what is shown of this process alone.
        peers: the other processes, whose gauges are refreshed too.

    >>> kind, shown = exposition(registry=CollectorRegistry())()
    >>> kind.startswith("text/plain"), shown
    (True, b'')
    """

    if peers is not None and measures is not None:
        peers.answers("refresh", lambda _: measures.refresh())

    def show() -> tuple[str, bytes]:
        if measures is not None:
            measures.refresh()
        shown = registry
        if _FOLDER in os.environ:
            if peers is not None:
                peers.ask("refresh")
            shown = CollectorRegistry()
            multiprocess.MultiProcessCollector(shown)  # type: ignore[no-untyped-call]
        return CONTENT_TYPE_LATEST, generate_latest(shown)

    return show
