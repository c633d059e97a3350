"""`bluegreen demo`: the unmodified connector through many switches, without and with bluegreen."""

from __future__ import annotations

from bluegreen_adapters.testing.demo.command import demo

__all__ = ["demo"]
