"""Reducers of the strategy machine: (context, event) -> the next context.

Source: spec, section 2.
"""

from __future__ import annotations

from typing import Any

import attrs

from bluegreen.machines.strategy.context import FAILURES_COUNTED, REFUSALS_COUNTED, Context
from bluegreen.machines.strategy.events import (
    AuthSuccess,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    StrategyAnnounced,
)
from bluegreen.types import Strategy


def _next(context: Context, **changes: Any) -> Context:
    """The context after a change of (state, active, pending): one version later."""
    return attrs.evolve(context, state_version=context.state_version + 1, **changes)


def _count(context: Context, strategy: Strategy, by: int) -> Context:
    if strategy is Strategy.BLUE:
        return attrs.evolve(context, open_blue=context.open_blue + by)
    return attrs.evolve(context, open_green=context.open_green + by)


def _count_refusals(context: Context, strategy: Strategy, refusals: int) -> Context:
    if strategy is Strategy.BLUE:
        return attrs.evolve(context, refused_blue=refusals)
    return attrs.evolve(context, refused_green=refusals)


def _served(context: Context, strategy: Strategy) -> Context:
    """`strategy` was seen to serve: what is counted in a row begins anew, and it is held down no more."""
    held = context.held_down if context.held_down is not strategy else None
    served = attrs.evolve(
        context, failed_in_a_row=0, held_down=held, rolled_back=context.rolled_back and held is not None
    )
    return _count_refusals(served, strategy, 0)


def _hold_down(context: Context, strategy: Strategy) -> Context:
    """`strategy` has refused: hold it down, for longer with each time in a row."""
    held = attrs.evolve(context, held_down=strategy, rolled_back=False)
    return _count_refusals(held, strategy, min(context.refused_on(strategy) + 1, REFUSALS_COUNTED))


def start_on_active(context: Context, _: Any) -> Context:
    """Count a ticket on the active strategy."""
    assert context.active is not None
    return _count(context, context.active, +1)


def start_on_pending(context: Context, _: Any) -> Context:
    """Count a ticket on the pending strategy."""
    assert context.pending is not None
    return _count(context, context.pending, +1)


def start_alone(context: Context, event: QueryStarted) -> Context:
    """Count a ticket on the strategy that accepts the connection of this query."""
    assert event.alone is not None
    return _count(context, event.alone, +1)


def end_ticket(context: Context, event: QueryCompleted | QueryCancelled | QueryFailed) -> Context:
    """Count the ticket out."""
    return _count(context, event.ticket.strategy, -1)


def commit(context: Context, _: Any) -> Context:
    """previous := active; active := pending; pending := none."""
    return _next(
        context,
        previous=context.active,
        active=context.pending,
        pending=None,
        verified=context.proved,
        proved=False,
    )


def end_and_commit(context: Context, event: Any) -> Context:
    """Count the ticket out, then commit: one step."""
    return commit(end_ticket(context, event), event)


def announce(context: Context, event: StrategyAnnounced) -> Context:
    """pending := the announced strategy."""
    return _next(context, pending=event.strategy)


def announce_previous(context: Context, _: Any) -> Context:
    """pending := previous. A wish: it is held down no longer, and what is active is, so that the server's announcements
    do not lead back there."""
    return _next(context, pending=context.previous, held_down=context.active, rolled_back=True)


def drop_pending(context: Context, _: Any) -> Context:
    """pending := none."""
    return _next(context, pending=None, proved=False)


def roll_back(context: Context, event: Any) -> Context:
    """pending := none. A wish: what was pending is held down, so that the next announcement does not undo it."""
    return attrs.evolve(drop_pending(context, event), held_down=context.pending, rolled_back=True)


def hold_down_pending(context: Context, _: Any) -> Context:
    """Detect again, active first; what was pending is held down."""
    assert context.pending is not None
    return _detect(_hold_down(context, context.pending), context.active)


def detect_active_first(context: Context, _: Any) -> Context:
    """Detect again, the strategy last in use first."""
    return _detect(context, context.active)


def start_over(context: Context, _: Any) -> Context:
    """Detect again, the strategy last in use first; what was rolled back may be announced again."""
    held = None if context.rolled_back else context.held_down
    return _detect(context, context.active, held_down=held, rolled_back=False)


def detect_pending_first(context: Context, _: Any) -> Context:
    """Detect again, the pending strategy first."""
    return _detect(context, context.pending)


def detect_other_first(context: Context, _: Any) -> Context:
    """Detect again, the strategy that is not active first."""
    return _detect(context, context.active.other if context.active else None)


def _detect(context: Context, first: Strategy | None, **changes: Any) -> Context:
    first = first or context.settings.default_strategy or Strategy.BLUE
    return _next(context, pending=None, proved=False, untried=(first, first.other), **changes)


def prefer(context: Context, event: StrategyAnnounced) -> Context:
    """The announced strategy goes first in untried."""
    rest = tuple(strategy for strategy in context.untried if strategy is not event.strategy)
    return attrs.evolve(context, untried=(event.strategy, *rest))


def cross_out(context: Context, event: Any) -> Context:
    """This detection has heard from the strategy: it is not tried again."""
    rest = tuple(strategy for strategy in context.untried if strategy is not event.strategy)
    return attrs.evolve(context, untried=rest)


def give_up(context: Context, _: Any) -> Context:
    """Nothing is left to try: one more failure in a row."""
    failed = min(context.failed_in_a_row + 1, FAILURES_COUNTED)
    return _next(context, untried=(), failed_in_a_row=failed)


def adopt(context: Context, event: AuthSuccess) -> Context:
    """active := the strategy that answered; previous as in a commit, if it differs."""
    return _served(_adopt(context, event.strategy, verified=True), event.strategy)


def adopt_fallback(context: Context, _: Any) -> Context:
    """active := the fall-back, unverified. If that had been rolled back, the rollback is over."""
    assert context.fallback is not None
    left = context.rolled_back and context.held_down is context.fallback
    held = attrs.evolve(context, held_down=None, rolled_back=False) if left else context
    return _adopt(held, context.fallback, verified=False)


def _adopt(context: Context, strategy: Strategy, *, verified: bool) -> Context:
    moved = context.active not in (None, strategy)
    return _next(
        context,
        active=strategy,
        previous=context.active if moved else context.previous,
        untried=(),
        verified=verified,
    )


def confirm(context: Context, _: Any) -> Context:
    """The server has confirmed the active strategy."""
    if context.verified or context.active is None:
        return context
    return _served(attrs.evolve(context, verified=True), context.active)


def prove_pending(context: Context, _: Any) -> Context:
    """The pending strategy has accepted a connection."""
    if context.proved or context.pending is None:
        return context
    return _served(attrs.evolve(context, proved=True), context.pending)


def hold_down_active(context: Context, event: Any) -> Context:
    """Detect again, the other one first; what was active is held down: nothing has ever shown that it serves."""
    assert context.active is not None
    return detect_other_first(_hold_down(context, context.active), event)


def lift_hold(context: Context, _: Any) -> Context:
    """Nothing is held down any more."""
    return attrs.evolve(context, held_down=None)
