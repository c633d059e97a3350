"""What OpenTelemetry shows is what Prometheus shows: the same names, labels and values."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from bluegreen_adapters.observe.metrics.collector import Meter
from bluegreen_adapters.observe.metrics.definitions import INSTRUMENTS
from bluegreen_adapters.observe.metrics.otel import OpenTelemetryMeter
from bluegreen_adapters.observe.metrics.prometheus import PrometheusMeter

Found = dict[tuple[str, frozenset[tuple[str, str]]], Any]


def fill(meter: Meter) -> None:
    """Give every instrument two series, with values that are all different."""
    numbers = itertools.count(1)
    for one in INSTRUMENTS:
        for which in ("first", "second"):
            labels = tuple(f"{label} {which}" for label in one.labels)
            if one.kind == "counter":
                meter.begin(one.name, labels)
                meter.count(one.name, labels, next(numbers))
                meter.count(one.name, labels)
            elif one.kind == "gauge":
                meter.set(one.name, labels, next(numbers))
                meter.set(one.name, labels, next(numbers) / 8)
            else:
                meter.begin(one.name, labels)
                meter.observe(one.name, labels, next(numbers) / 1024)
                meter.observe(one.name, labels, one.buckets[2])


def shown_by_prometheus() -> Found:
    registry = CollectorRegistry()
    fill(PrometheusMeter(registry))
    found: Found = {}
    for metric in registry.collect():
        counts: dict[Any, list[float]] = {}
        for sample in metric.samples:
            labels = frozenset((key, text) for key, text in sample.labels.items() if key != "le")
            if sample.name.endswith("_bucket"):
                counts.setdefault(labels, []).append(sample.value)
            elif metric.type == "histogram" and sample.name.endswith("_sum"):
                each = counts[labels]
                found[metric.name, labels] = (
                    sample.value,
                    [each[0], *(after - before for before, after in itertools.pairwise(each))],
                )
            elif sample.name in (metric.name, f"{metric.name}_total"):
                found[metric.name, labels] = sample.value
    return found


def shown_by_opentelemetry() -> Found:
    reader = InMemoryMetricReader()
    fill(OpenTelemetryMeter(MeterProvider([reader]).get_meter("test")))
    data = reader.get_metrics_data()
    assert data is not None
    found: Found = {}
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        assert metric.unit == ("s" if metric.name.endswith("_seconds") else "1")
        for point in metric.data.data_points:
            labels = frozenset((key, str(text)) for key, text in (point.attributes or {}).items())
            shown: Any = point
            sums = hasattr(shown, "bucket_counts")
            found[metric.name, labels] = (shown.sum, list(shown.bucket_counts)) if sums else shown.value
    return found


def test_every_metric_has_the_same_name_labels_and_values_in_both() -> None:
    ours, theirs = shown_by_opentelemetry(), shown_by_prometheus()
    assert {name for name, _ in ours} == {one.name for one in INSTRUMENTS}
    assert ours == theirs


def test_labels_that_are_not_those_of_the_declaration_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        OpenTelemetryMeter().count("bluegreen_cache_misses", ("one", "two"))
