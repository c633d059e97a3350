"""The metrics for OpenTelemetry, under the same names and labels. It needs the API only: the application has the SDK.

>>> from opentelemetry.sdk.metrics import MeterProvider
>>> from opentelemetry.sdk.metrics.export import InMemoryMetricReader
>>> reader = InMemoryMetricReader()
>>> meter = OpenTelemetryMeter(MeterProvider([reader]).get_meter("example"))
>>> meter.count("bluegreen_cache_misses", ("db.example:443",))
>>> metric = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0]
>>> metric.name, metric.data.data_points[0].value
('bluegreen_cache_misses', 1)
"""

from __future__ import annotations

from typing import Any

from opentelemetry import metrics

from bluegreen_adapters.observe.metrics.collector import Labels
from bluegreen_adapters.observe.metrics.definitions import INSTRUMENTS, Instrument


class OpenTelemetryMeter:
    """Keeps every metric of `INSTRUMENTS`. Buckets of histograms are a hint that a view of the application overrules.

    Args:
        meter: where the instruments are made; by default one of the provider that the application has set.
    """

    def __init__(self, meter: metrics.Meter | None = None) -> None:
        source = metrics.get_meter("bluegreen") if meter is None else meter
        self._labels = {one.name: one.labels for one in INSTRUMENTS}
        self._kept = {one.name: _make_instrument(one, source) for one in INSTRUMENTS}
        self._known: dict[tuple[str, Labels], dict[str, str]] = {}

    def begin(self, name: str, labels: Labels) -> None:
        """Show a counter before anything is counted; a histogram without a value cannot be shown."""
        kept = self._kept[name]
        if isinstance(kept, metrics.Counter):
            kept.add(0, self._of(name, labels))

    def count(self, name: str, labels: Labels, by: float = 1) -> None:
        """Add to a counter."""
        self._kept[name].add(by, self._of(name, labels))

    def observe(self, name: str, labels: Labels, value: float) -> None:
        """Add a value to a histogram."""
        self._kept[name].record(value, self._of(name, labels))

    def set(self, name: str, labels: Labels, value: float) -> None:
        """Set a gauge."""
        self._kept[name].set(value, self._of(name, labels))

    def _of(self, name: str, labels: Labels) -> dict[str, str]:
        found = self._known.get((name, labels))
        if found is None:
            found = self._known[name, labels] = dict(zip(self._labels[name], labels, strict=True))
        return found


def _make_instrument(one: Instrument, meter: metrics.Meter) -> Any:
    unit = "s" if one.name.endswith("_seconds") else "1"
    if one.kind == "counter":
        return meter.create_counter(one.name, unit, one.help)
    if one.kind == "gauge":
        return meter.create_gauge(one.name, unit, one.help)
    return meter.create_histogram(one.name, unit, one.help, explicit_bucket_boundaries_advisory=one.buckets)
