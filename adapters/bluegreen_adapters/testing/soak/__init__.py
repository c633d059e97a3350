"""`bluegreen soak`: the connector, covered, through hundreds of switches: what is lost, what stalls, what leaks."""

from __future__ import annotations

from bluegreen_adapters.testing.soak.command import soak

__all__ = ["soak"]
