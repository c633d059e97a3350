"""Metrics: their definitions, what collects them, and exporters for Prometheus and OpenTelemetry."""
