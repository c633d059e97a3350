"""Facts and guards of the strategy machine: what a row may look at, each with finitely many values.

Source: spec, section 2.
"""

from __future__ import annotations

from typing import Any

from bluegreen.machines.strategy.context import PENDING, STABLE, Context
from bluegreen.machines.strategy.events import (
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
)
from bluegreen.table.guards import Fact, Guard

fresh = Fact("fresh", (True, False), lambda c, e: e.state_version == c.state_version)
names = Fact(
    "names",
    ("active", "pending", "other"),
    lambda c, e: "active" if e.strategy is c.active else "pending" if e.strategy is c.pending else "other",
    within={STABLE: ("active", "other"), PENDING: ("active", "pending")},
)
turn = Fact(
    "turn",
    ("first", "later", "tried"),
    lambda c, e: (
        "tried" if e.strategy not in c.untried else "first" if e.strategy is c.untried[0] else "later"
    ),
)
more = Fact("more", (True, False), lambda c, _: len(c.untried) > 1)
verified = Fact("verified", (True, False), lambda c, _: c.verified)
held = Fact("held", (True, False), lambda c, e: e.strategy is c.held_down)
rolled_back = Fact("rolled_back", (True, False), lambda c, _: c.rolled_back)
served_since = Fact("served_since", (True, False), lambda _, e: e.served_since)
alone = Fact("alone", (True, False), lambda _, e: e.alone is not None)
open_ticket = Fact("open_ticket", (True, False), lambda c, e: c.open_on(e.ticket.strategy) > 0)
previous_known = Fact("previous_known", (True, False), lambda c, _: c.previous not in (None, c.active))
fallback_known = Fact("fallback_known", (True, False), lambda c, _: c.fallback is not None)
commit_when = Fact("commit_when", ("drained", "first_safe_point"), lambda c, _: c.settings.commit_when)


def _is_drained(context: Context, event: Any) -> bool:
    """Whether no ticket is open on the active strategy once `event` has ended the one that it names."""
    if context.active is None:
        return True
    ending = isinstance(event, (QueryCompleted, QueryCancelled, QueryFailed))
    left = context.open_on(context.active) - (ending and event.ticket.strategy is context.active)
    return left <= 0


drained = Fact("drained", (True, False), _is_drained)
settled = Fact(
    "settled",
    ("nothing", "active", "both", "same"),
    lambda c, _: (
        "nothing"
        if c.active is None
        else "active"
        if c.pending is None
        else "same"
        if c.pending is c.active
        else "both"
    ),
)
pending_set = Fact("pending_set", (True, False), lambda c, _: c.pending is not None)
trying = Fact("trying", (True, False), lambda c, _: bool(c.untried))
stray_proof = Fact("stray_proof", (True, False), lambda c, _: c.proved and c.pending is None)
stray_rollback = Fact("stray_rollback", (True, False), lambda c, _: c.rolled_back and c.held_down is None)
counted = Fact("counted", (True, False), lambda c, _: c.open_blue >= 0 and c.open_green >= 0)

is_fresh = fresh.is_(True).named("fresh")
names_active = names.is_("active").named("is active")
names_pending = names.is_("pending").named("is pending")
is_untried = turn.is_("first", "later").named("untried")
another = more.is_(True).named("another untried")
is_held = held.is_(True).named("held down")
is_rolled_back = rolled_back.is_(True).named("rolled back")
others_served = served_since.is_(True).named("others served")
is_alone = alone.is_(True).named("alone")
is_verified = verified.is_(True).named("verified")
has_ticket = open_ticket.is_(True).named("ticket open")
safe_to_commit = (drained.is_(True) | commit_when.is_("first_safe_point")).named("safe to commit")
has_previous = previous_known.is_(True).named("previous known")
has_fallback = fallback_known.is_(True).named("fallback known")
held_down_set = Fact("held_down_set", (True, False), lambda c, _: c.held_down is not None)
armed_held_down: Guard = held_down_set.is_(True) & ~is_rolled_back
