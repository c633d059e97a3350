"""Timers of the strategy machine: the events that the runtime owes it as time passes.

Source: spec, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import attrs

from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE, Context
from bluegreen.machines.strategy.events import (
    CacheExpired,
    CooldownEnded,
    DrainTimedOut,
    Reset,
    StrategyEvent,
)
from bluegreen.machines.strategy.facts_and_guards import (
    armed_held_down,
)
from bluegreen.table.guards import Guard

FIRST_COOLDOWN_S: Final = 0.05
"""Cool-down after the first failure in a row, in seconds."""


def unscaled(setting_s: float, _: Context) -> float:
    """Return the setting as it is."""
    return setting_s


def cool_down(longest_s: float, context: Context) -> float:
    """Return how long Failed refuses at once: 50 ms, and twice as long after each further failure in a row.

    It stops doubling before it would exceed `longest_s`. With 1 s that is 0.8 s, so that a detection after it ends
    within 1 s of the moment at which a stack serves again.
    """
    doublings = int(math.log2(max(longest_s / FIRST_COOLDOWN_S, 1.0)))
    return min(longest_s, FIRST_COOLDOWN_S * 2.0 ** min(max(context.failed_in_a_row - 1, 0), doublings))


def hold_down(first_s: float, context: Context) -> float:
    """Return how long a strategy is held down: `first_s`, and twice as long after each further refusal in a row."""
    refused = 0 if context.held_down is None else context.refused_on(context.held_down)
    return first_s * 2.0 ** max(refused - 1, 0)


@attrs.frozen
class Timer:
    """When the runtime owes the machine an event.

    A timer is never the only way out of a state. It is looked at when a query starts; no thread waits for it.

    Args:
        event: what is sent.
        states: where it runs.
        after: name of the setting that says after how many seconds.
        scaled: (the setting, the context) -> the seconds; by default the setting itself.
        armed: it runs while this holds; None: always.
    """

    event: StrategyEvent
    states: tuple[str, ...]
    after: str
    scaled: Callable[[float, Context], float] = unscaled
    armed: Guard | None = None

    def delay_s(self, context: Context) -> float:
        """Return after how many seconds the event is due."""
        return self.scaled(float(getattr(context.settings, self.after)), context)


TIMERS: Final = (
    Timer(CacheExpired(), (STABLE,), "cache_ttl_s"),
    Timer(DrainTimedOut(), (PENDING,), "drain_timeout_s"),
    Timer(CooldownEnded(), (STABLE, DETECTING), "failed_cooldown_s", hold_down, armed_held_down),
    Timer(Reset(), (FAILED,), "failed_cooldown_s", cool_down),
)
"""Every time-out of a scope, as data. A detection's own bound is counted by whoever runs it."""
