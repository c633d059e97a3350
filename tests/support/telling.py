"""Figures and sections that a reader of a test run sees at its end, whether its tests pass or not.

With pytest-xdist, tests run in workers and the summary is written by the process that started them: each worker
hands over what it was told with `handed_over`, and that process adds it with `take`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LINES: list[str] = []
"""The figures, in the order in which they were told."""

SECTIONS: dict[str, list[str]] = {}
"""Whole sections by title. Several workers may tell the same one."""


def tell(line: str) -> None:
    """Show a line in the summary of this run."""
    LINES.append(line)


def tell_section(title: str, lines: Sequence[str]) -> None:
    """Show a section of its own in the summary of this run, once."""
    SECTIONS[title] = list(lines)


def handed_over() -> dict[str, Any]:
    """Return what this process was told, as plain values."""
    return {"lines": LINES, "sections": SECTIONS}


def take(told: dict[str, Any]) -> None:
    """Add what another process was told."""
    LINES.extend(told["lines"])
    SECTIONS.update(told["sections"])
