"""Context of the strategy machine: what a scope keeps between two events.

Source: spec, section 2.
"""

from __future__ import annotations

from typing import Final

import attrs

from bluegreen.config.settings import Settings
from bluegreen.types import Strategy

STABLE: Final = "Stable"
PENDING: Final = "PendingTransition"
DETECTING: Final = "Detecting"
FAILED: Final = "Failed"

BOTH: Final = (Strategy.BLUE, Strategy.GREEN)

FAILURES_COUNTED: Final = 12
"""Longest row of failures that is counted: the cool-down has stopped growing by then, whatever the settings say."""

COUNTS: Final = ("failed_in_a_row", "refused_blue", "refused_green")
"""The fields of a context that count in a row; no row looks at them, the timers do."""

REFUSALS_COUNTED: Final = 7
"""Longest row of refusals of a strategy that is counted: with each one the hold-down doubles, up to 64 times."""


@attrs.frozen
class Context:
    """The extended state of a scope.

    Args:
        active: what new queries get when no transition is pending. While Detecting and in Failed it is the
            strategy that was last in use, and routes nothing.
        pending: what the server announced; new queries get it while a transition is pending.
        previous: what was active before; what a rollback returns to.
        untried: while Detecting, what this detection has not heard from yet; the first one is being tried.
        held_down: a strategy that was announced and then refused, or that a rollback has left. Announcements of it
            change nothing.
        state_version: +1 on every step that changes (state, active, pending).
        open_blue: open tickets on blue.
        open_green: open tickets on green.
        verified: whether `active` has accepted a connection, rather than being announced or fallen back to.
        proved: whether `pending` has.
        settings: the scope's settings; never change.
        failed_in_a_row: how many detections in a row have ended in Failed, up to `FAILURES_COUNTED`. No row looks at
            it: the cool-down of Failed does.
        refused_blue: how many times in a row blue was held down for a refusal, up to `REFUSALS_COUNTED`; 0 once it has
            served. No row looks at it: the hold-down does.
        refused_green: the same of green.
        rolled_back: whether a rollback has left `held_down`. It is a person's wish: no time ends it.

    Source: spec, section 2.
    """

    active: Strategy | None = None
    pending: Strategy | None = None
    previous: Strategy | None = None
    untried: tuple[Strategy, ...] = ()
    held_down: Strategy | None = None
    state_version: int = 0
    open_blue: int = 0
    open_green: int = 0
    verified: bool = False
    proved: bool = False
    settings: Settings = attrs.field(factory=Settings)
    failed_in_a_row: int = 0
    refused_blue: int = 0
    refused_green: int = 0
    rolled_back: bool = False

    @classmethod
    def initial(cls, settings: Settings | None = None) -> Context:
        """Return the context of a scope about which nothing is known yet."""
        settings = settings or Settings()
        first = settings.default_strategy or Strategy.BLUE
        return cls(untried=(first, first.other), settings=settings)

    def open_on(self, strategy: Strategy) -> int:
        """Return how many tickets are open on `strategy`."""
        return self.open_blue if strategy is Strategy.BLUE else self.open_green

    def refused_on(self, strategy: Strategy) -> int:
        """Return how many times in a row `strategy` was held down for a refusal."""
        return self.refused_blue if strategy is Strategy.BLUE else self.refused_green

    @property
    def route(self) -> Strategy | None:
        """What a new query gets in Stable and PendingTransition: pending before active."""
        return self.pending or self.active

    @property
    def route_verified(self) -> bool:
        """True if `route` was found to serve."""
        return self.verified if self.pending is None else self.proved

    @property
    def fallback(self) -> Strategy | None:
        """What a detection without an answer falls back to: the configured default, else what was last used.

        Never a strategy that has refused in this detection: those are not in `untried` any more.
        """
        known = (self.settings.default_strategy, self.active)
        return next((one for one in known if one in self.untried), None)
