"""Reducers of the strategy machine: (context, event) -> the next context.

Source: spec, section 2.
"""

from __future__ import annotations

from typing import Any

import attrs

from bluegreen.machines.strategy.context import FAILURES_COUNTED, Context
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
    """pending := previous; an explicit wish, so that it is no longer held down."""
    return _next(context, pending=context.previous, held_down=None)


def drop_pending(context: Context, _: Any) -> Context:
    """pending := none."""
    return _next(context, pending=None, proved=False)


def hold_down_pending(context: Context, _: Any) -> Context:
    """Detect again, active first; what was pending is held down."""
    return _detect(context, context.active, held_down=context.pending)


def detect_active_first(context: Context, _: Any) -> Context:
    """Detect again, the strategy last in use first."""
    return _detect(context, context.active)


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
    return _adopt(context, event.strategy, verified=True)


def adopt_fallback(context: Context, _: Any) -> Context:
    """active := the fall-back, unverified."""
    assert context.fallback is not None
    return _adopt(context, context.fallback, verified=False)


def _adopt(context: Context, strategy: Strategy, *, verified: bool) -> Context:
    moved = context.active not in (None, strategy)
    return _next(
        context,
        active=strategy,
        previous=context.active if moved else context.previous,
        untried=(),
        held_down=None if verified and context.held_down is strategy else context.held_down,
        verified=verified,
        failed_in_a_row=0 if verified else context.failed_in_a_row,
    )


def confirm(context: Context, _: Any) -> Context:
    """The server has confirmed the active strategy."""
    return context if context.verified else _served(context, verified=True)


def prove_pending(context: Context, _: Any) -> Context:
    """The pending strategy has accepted a connection."""
    return context if context.proved else _served(context, proved=True)


def _served(context: Context, **changes: Any) -> Context:
    """A strategy was seen to serve: what is counted in a row begins anew."""
    return attrs.evolve(context, failed_in_a_row=0, **changes)


def hold_down_active(context: Context, event: Any) -> Context:
    """Detect again, the other one first; what was active is held down: nothing has ever shown that it serves."""
    return attrs.evolve(detect_other_first(context, event), held_down=context.active)


def lift_hold(context: Context, _: Any) -> Context:
    """Nothing is held down any more."""
    return attrs.evolve(context, held_down=None)
