"""Figures that a reader of a test run sees at its end, whether its tests pass or not."""

from __future__ import annotations

LINES: list[str] = []


def tell(line: str) -> None:
    """Show a line in the summary of this run."""
    LINES.append(line)
