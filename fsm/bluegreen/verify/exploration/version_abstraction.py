"""Contexts up to their version and counts: all that differ in nothing else are explored as one.

The strategy table compares versions for equality only, so that the context of a fixed version stands for every other
one. What is counted in a row is for timers alone, and no row looks at it: so the context with fixed counts stands for
those with any other. From `COUNTED` a step shows whether it counts one more, begins anew, or leaves the count alone.
"""

from __future__ import annotations

from typing import Final

import attrs

from bluegreen.machines.strategy.context import Context

NOW: Final = 1
"""The version of every explored context; an event with another one is stale."""

COUNTED: Final = 1
"""Every count in a row of every explored context."""


def rebase(context: Context) -> Context:
    """Return the context with version `NOW` and counts `COUNTED`."""
    counts = (context.failed_in_a_row, context.refused_blue, context.refused_green)
    if context.state_version == NOW and counts == (COUNTED, COUNTED, COUNTED):
        return context
    return attrs.evolve(
        context, state_version=NOW, failed_in_a_row=COUNTED, refused_blue=COUNTED, refused_green=COUNTED
    )
