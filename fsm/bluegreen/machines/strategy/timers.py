"""Timers of the strategy machine: the events that the runtime owes it as time passes.

Source: spec, section 2.
"""

from __future__ import annotations

from typing import Final

import attrs

from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE
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


@attrs.frozen
class Timer:
    """When the runtime owes the machine an event: `after` (a setting, seconds) in `states`, while `armed` holds.

    A timer is never the only way out of a state. It is looked at when a query starts; no thread waits for it.
    """

    event: StrategyEvent
    states: tuple[str, ...]
    after: str
    armed: Guard | None = None


TIMERS: Final = (
    Timer(CacheExpired(), (STABLE,), "cache_ttl_s"),
    Timer(DrainTimedOut(), (PENDING,), "drain_timeout_s"),
    Timer(CooldownEnded(), (STABLE, DETECTING), "failed_cooldown_s", armed=armed_held_down),
    Timer(Reset(), (FAILED,), "failed_cooldown_s"),
)
"""Every time-out of a scope, as data. A detection's own bound is counted by whoever runs it."""
