"""The strategy machine: which strategy, blue or green, does the next query go to?

Everything that decides it stands in `STRATEGY`, one row for one reason. The functions above the rows are
its vocabulary: facts that guards look at, reducers that make the next context, makers of effects.

Source: spec, section 2. A row that refines the spec says so in its `why`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import attrs

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import (
    EVENTS,
    Audit,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    CacheExpired,
    CacheInvalidated,
    CacheStrategy,
    ClearCache,
    CloseSessions,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    IssueTicket,
    PersistentFailure,
    Publish,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Raise,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
    StrategyEffect,
    StrategyEvent,
)
from bluegreen.table.guards import Fact, Guard
from bluegreen.table.table import State, Table, forbid, go, ignore, stay
from bluegreen.types import Strategy, Ticket

STABLE: Final = "Stable"
PENDING: Final = "PendingTransition"
DETECTING: Final = "Detecting"
FAILED: Final = "Failed"

BOTH: Final = (Strategy.BLUE, Strategy.GREEN)


@attrs.frozen
class Context:
    """The extended state of a scope.

    Args:
        active: what new queries get when no transition is pending. While Detecting and in Failed it is the
            strategy that was last in use, and routes nothing.
        pending: what the server announced; new queries get it while a transition is pending.
        previous: what was active before; what a rollback returns to.
        untried: while Detecting, what this detection has not heard from yet; the first one is being tried.
        held_down: a strategy that was announced and then refused.
        state_version: +1 on every step that changes (state, active, pending).
        open_blue: open tickets on blue.
        open_green: open tickets on green.
        verified: whether `active` has accepted a connection, rather than being announced or fallen back to.
        proved: whether `pending` has.
        settings: the scope's settings; never change.

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

    @classmethod
    def initial(cls, settings: Settings | None = None) -> Context:
        """Return the context of a scope about which nothing is known yet."""
        settings = settings or Settings()
        first = settings.default_strategy or Strategy.BLUE
        return cls(untried=(first, first.other), settings=settings)

    def open_on(self, strategy: Strategy) -> int:
        """Return how many tickets are open on `strategy`."""
        return self.open_blue if strategy is Strategy.BLUE else self.open_green

    @property
    def route(self) -> Strategy | None:
        """What a new query gets in Stable and PendingTransition: pending before active."""
        return self.pending or self.active

    @property
    def fallback(self) -> Strategy | None:
        """What a detection without an answer falls back to: the configured default, else what was last used."""
        return self.settings.default_strategy or self.active


# Facts: what guards may look at.

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
counted = Fact("counted", (True, False), lambda c, _: c.open_blue >= 0 and c.open_green >= 0)

is_fresh = fresh.is_(True).named("fresh")
names_active = names.is_("active").named("is active")
names_pending = names.is_("pending").named("is pending")
is_untried = turn.is_("first", "later").named("untried")
another = more.is_(True).named("another untried")
is_held = held.is_(True).named("held down")
others_served = served_since.is_(True).named("others served")
is_alone = alone.is_(True).named("alone")
is_verified = verified.is_(True).named("verified")
has_ticket = open_ticket.is_(True).named("ticket open")
safe_to_commit = (drained.is_(True) | commit_when.is_("first_safe_point")).named("safe to commit")
has_previous = previous_known.is_(True).named("previous known")
has_fallback = fallback_known.is_(True).named("fallback known")
armed_held_down: Guard = Fact("held_down_set", (True, False), lambda c, _: c.held_down is not None).is_(True)


# Reducers: (context, event) -> context.


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
    """Nothing is left to try."""
    return _next(context, untried=())


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
    )


def confirm(context: Context, _: Any) -> Context:
    """The server has confirmed the active strategy."""
    return context if context.verified else attrs.evolve(context, verified=True)


def prove_pending(context: Context, _: Any) -> Context:
    """The pending strategy has accepted a connection."""
    return context if context.proved else attrs.evolve(context, proved=True)


def hold_down_active(context: Context, event: Any) -> Context:
    """Detect again, the other one first; what was active is held down: nothing has ever shown that it serves."""
    return attrs.evolve(detect_other_first(context, event), held_down=context.active)


def lift_hold(context: Context, _: Any) -> Context:
    """Nothing is held down any more."""
    return attrs.evolve(context, held_down=None)


# Effects: (before, after, event) -> effect, or none.


def issue_ticket(_: Context, after: Context, __: Any) -> StrategyEffect | None:
    """IssueTicket on the strategy that routes."""
    return IssueTicket(after.route, after.state_version) if after.route else None


def issue_ticket_alone(_: Context, after: Context, event: QueryStarted) -> StrategyEffect | None:
    """IssueTicket on the strategy that accepts the connection of this query."""
    return IssueTicket(event.alone, after.state_version) if event.alone else None


def authenticate(before: Context, after: Context, _: Any) -> StrategyEffect | None:
    """Authenticate on the pending strategy, or on the next one to try if that changed."""
    if after.pending is not None:
        return Authenticate(after.pending)
    head = after.untried[:1]
    return (
        Authenticate(head[0])
        if head and (head != before.untried[:1] or after.state_version != before.state_version)
        else None
    )


def cache(_: Context, after: Context, __: Any) -> StrategyEffect | None:
    """CacheStrategy: the active strategy is good as of now."""
    return CacheStrategy(after.active, after.settings.cache_ttl_s) if after.active else None


def clear_cache(_: Context, __: Context, ___: Any) -> StrategyEffect | None:
    """ClearCache."""
    return ClearCache()


def close_drained(before: Context, after: Context, __: Any) -> StrategyEffect | None:
    """CloseSessions on the strategy that routes nothing, when its last ticket has ended, or none was open."""
    moved = after.state_version != before.state_version
    idle = [
        strategy
        for strategy in BOTH
        if strategy not in (after.active, after.pending)
        and after.open_on(strategy) == 0
        and (moved or before.open_on(strategy) > 0)
    ]
    return CloseSessions(idle[0]) if idle and after.active is not None else None


def publish(_: Context, after: Context, __: Any) -> StrategyEffect | None:
    """Publish what new queries get."""
    return Publish(after.route, after.state_version) if after.route else None


def raise_unavailable(_: Context, __: Context, ___: Any) -> StrategyEffect | None:
    """Raise: both strategies failed."""
    return Raise("both strategies failed")


def audit(_: Context, __: Context, event: Any) -> StrategyEffect | None:
    """Audit the step."""
    return Audit(event)


_ENDS: Final = (QueryCompleted, QueryCancelled, QueryFailed)
_REFUSALS: Final = (AuthFailure, PersistentFailure)
_OTHERS_SERVED: Final = (
    "others are served there: it is that connection's own problem (I13; refines the spec: no time window, since "
    "I13 must also hold for a connection that idles; others vouch for a strategy by their last acceptance there, "
    "until they are refused themselves)"
)
_ALONE: Final = (
    "accepted only there: for that connection alone the query begins there at once, so that nothing waits (I3 "
    "excepts it, I13)"
)
_NEVER_SERVED: Final = (
    "announced, committed with nothing in flight, and never shown to serve: the other one first, this one held "
    "down (refines the spec: L4)"
)
_TO_DETECTING: Final = (clear_cache, authenticate, audit)
_TO_PENDING: Final = (authenticate, publish, audit)
_TO_STABLE: Final = (cache, publish, close_drained, audit)

ROWS = (
    # Detecting: nobody knows; callers wait together for one detection.
    stay(DETECTING, ConnectionOpened, why="the connection joins the detection that is under way"),
    forbid(DETECTING, QueryStarted, when=~is_alone, why="no strategy yet; wait for the detection"),
    stay(
        DETECTING,
        QueryStarted,
        when=is_alone,
        do=start_alone,
        effects=(issue_ticket_alone,),
        why=_ALONE,
    ),
    stay(
        DETECTING, _ENDS, when=has_ticket, do=end_ticket, why="a query ended that began before the detection"
    ),
    forbid(
        DETECTING, _ENDS, when=~has_ticket, why="no ticket is open on that strategy (refines the spec: I5)"
    ),
    go(
        DETECTING,
        StrategyAnnounced,
        DETECTING,
        when=is_fresh & turn.is_("later") & ~is_held,
        do=prefer,
        effects=(authenticate, audit),
        why="the server's word is the best guess: try it first",
    ),
    ignore(
        DETECTING,
        StrategyAnnounced,
        when=is_fresh & turn.is_("later") & is_held,
        why="held down: announced, then refused (refines the spec: L4)",
    ),
    ignore(DETECTING, StrategyAnnounced, when=is_fresh & turn.is_("first"), why="it is being tried already"),
    ignore(
        DETECTING,
        StrategyAnnounced,
        when=is_fresh & turn.is_("tried"),
        why="this detection has tried it (I8)",
    ),
    ignore(DETECTING, StrategyAnnounced, when=~is_fresh, why="stale (refines the spec: I6)"),
    go(
        DETECTING,
        Error456,
        DETECTING,
        when=is_fresh & is_untried & another,
        do=cross_out,
        effects=(authenticate, audit),
        why="try the other one",
    ),
    go(
        DETECTING,
        Error456,
        FAILED,
        when=is_fresh & is_untried & ~another,
        do=give_up,
        effects=(clear_cache, audit, raise_unavailable),
        why="both strategies failed",
    ),
    ignore(
        DETECTING, Error456, when=~(is_fresh & is_untried), why="stale, or this detection has heard from it"
    ),
    go(
        DETECTING,
        AuthFailure,
        DETECTING,
        when=is_fresh & is_untried & ~others_served & another,
        do=cross_out,
        effects=(authenticate, audit),
        why="try the other one",
    ),
    go(
        DETECTING,
        AuthFailure,
        FAILED,
        when=is_fresh & is_untried & ~others_served & ~another,
        do=give_up,
        effects=(clear_cache, audit, raise_unavailable),
        why="both strategies failed",
    ),
    ignore(DETECTING, AuthFailure, when=is_fresh & is_untried & others_served, why=_OTHERS_SERVED),
    ignore(
        DETECTING,
        AuthFailure,
        when=~(is_fresh & is_untried),
        why="stale, or this detection has heard from it",
    ),
    go(DETECTING, AuthSuccess, STABLE, when=is_fresh, do=adopt, effects=_TO_STABLE, why="this one answers"),
    ignore(DETECTING, AuthSuccess, when=~is_fresh, why="stale"),
    ignore(DETECTING, PersistentFailure, why="detection has its own bound"),
    ignore(DETECTING, CacheExpired, why="nothing is cached"),
    stay(DETECTING, CacheInvalidated, why="a detection is under way"),
    go(
        DETECTING,
        DetectionTimedOut,
        STABLE,
        when=has_fallback,
        do=adopt_fallback,
        effects=(close_drained, audit),
        why="fall back, marked unverified; the cache stays empty",
    ),
    go(
        DETECTING,
        DetectionTimedOut,
        FAILED,
        when=~has_fallback,
        do=give_up,
        effects=(clear_cache, audit, raise_unavailable),
        why="nothing answered, and nothing is known to fall back to",
    ),
    stay(DETECTING, CooldownEnded, do=lift_hold, why="the hold-down is over"),
    ignore(DETECTING, DrainTimedOut, why="no transition is pending"),
    forbid(DETECTING, RollbackRequested, why="no strategy yet; detection decides"),
    stay(DETECTING, Reset, why="a detection is under way"),
    # Stable: one strategy serves.
    stay(STABLE, ConnectionOpened, why="nothing is pending"),
    stay(
        STABLE,
        QueryStarted,
        when=~is_alone,
        do=start_on_active,
        effects=(issue_ticket,),
        why="new queries go to active (I3)",
    ),
    stay(
        STABLE,
        QueryStarted,
        when=is_alone,
        do=start_alone,
        effects=(issue_ticket_alone,),
        why=_ALONE,
    ),
    stay(
        STABLE,
        _ENDS,
        when=has_ticket,
        do=end_ticket,
        effects=(close_drained,),
        why="the last ticket of the other strategy ends its sessions",
    ),
    forbid(STABLE, _ENDS, when=~has_ticket, why="no ticket is open on that strategy (refines the spec: I5)"),
    go(
        STABLE,
        StrategyAnnounced,
        PENDING,
        when=is_fresh & ~names_active & ~is_held,
        do=announce,
        effects=_TO_PENDING,
        why="the server announced the other one",
    ),
    ignore(STABLE, StrategyAnnounced, when=names_active, why="already active"),
    ignore(STABLE, StrategyAnnounced, when=~names_active & is_held, why="held down: announced, then refused"),
    ignore(STABLE, StrategyAnnounced, when=~names_active & ~is_held & ~is_fresh, why="stale (I6)"),
    go(
        STABLE,
        Error456,
        DETECTING,
        when=is_fresh & names_active & is_verified,
        do=detect_other_first,
        effects=_TO_DETECTING,
        why="the active strategy refuses: the other one first",
    ),
    go(
        STABLE,
        Error456,
        DETECTING,
        when=is_fresh & names_active & ~is_verified,
        do=hold_down_active,
        effects=_TO_DETECTING,
        why=_NEVER_SERVED,
    ),
    ignore(STABLE, Error456, when=~(is_fresh & names_active), why="stale (I6)"),
    go(
        STABLE,
        _REFUSALS,
        DETECTING,
        when=is_fresh & names_active & ~others_served & is_verified,
        do=detect_other_first,
        effects=_TO_DETECTING,
        why="the active strategy serves nobody that is known of: the other one first",
    ),
    go(
        STABLE,
        _REFUSALS,
        DETECTING,
        when=is_fresh & names_active & ~others_served & ~is_verified,
        do=hold_down_active,
        effects=_TO_DETECTING,
        why=_NEVER_SERVED,
    ),
    ignore(STABLE, _REFUSALS, when=is_fresh & names_active & others_served, why=_OTHERS_SERVED),
    ignore(STABLE, _REFUSALS, when=~(is_fresh & names_active), why="stale (I6)"),
    stay(
        STABLE,
        AuthSuccess,
        when=is_fresh & names_active,
        do=confirm,
        effects=(cache,),
        why="another connection authenticated",
    ),
    stay(
        STABLE,
        AuthSuccess,
        when=~(is_fresh & names_active),
        why="stale, so it proves nothing (refines the spec: I6), or for a query on the other strategy",
    ),
    go(
        STABLE,
        CacheExpired,
        DETECTING,
        do=detect_active_first,
        effects=_TO_DETECTING,
        why="nothing has proved it for a while; open tickets stay as they are",
    ),
    go(
        STABLE,
        CacheInvalidated,
        DETECTING,
        do=detect_active_first,
        effects=_TO_DETECTING,
        why="somebody asked for it",
    ),
    ignore(STABLE, DetectionTimedOut, why="stale: the detection is over"),
    stay(STABLE, CooldownEnded, do=lift_hold, why="the hold-down is over"),
    ignore(STABLE, DrainTimedOut, why="no transition is pending"),
    go(
        STABLE,
        RollbackRequested,
        PENDING,
        when=has_previous,
        do=announce_previous,
        effects=_TO_PENDING,
        why="back to the strategy before, at a safe point like any transition; a wish ends its hold-down",
    ),
    forbid(STABLE, RollbackRequested, when=~has_previous, why="no previous strategy is known"),
    go(STABLE, Reset, DETECTING, do=detect_active_first, effects=_TO_DETECTING, why="somebody asked for it"),
    # PendingTransition: new queries go to pending, old ones finish on active.
    go(
        PENDING,
        ConnectionOpened,
        STABLE,
        when=safe_to_commit,
        do=commit,
        effects=_TO_STABLE,
        why="a safe point (under first_safe_point like any other; refines the spec's [drained])",
    ),
    stay(PENDING, ConnectionOpened, when=~safe_to_commit, why="queries are still running on active"),
    stay(
        PENDING,
        QueryStarted,
        when=~is_alone,
        do=start_on_pending,
        effects=(issue_ticket,),
        why="new queries go to pending (I3)",
    ),
    stay(
        PENDING,
        QueryStarted,
        when=is_alone,
        do=start_alone,
        effects=(issue_ticket_alone,),
        why=_ALONE,
    ),
    go(
        PENDING,
        _ENDS,
        STABLE,
        when=has_ticket & safe_to_commit,
        do=end_and_commit,
        effects=_TO_STABLE,
        why="a safe point",
    ),
    stay(
        PENDING,
        _ENDS,
        when=has_ticket & ~safe_to_commit,
        do=end_ticket,
        why="queries are still running on active",
    ),
    forbid(PENDING, _ENDS, when=~has_ticket, why="no ticket is open on that strategy (refines the spec: I5)"),
    go(
        PENDING,
        StrategyAnnounced,
        STABLE,
        when=is_fresh & names_active,
        do=drop_pending,
        effects=_TO_STABLE,
        why="the announcement was withdrawn",
    ),
    ignore(PENDING, StrategyAnnounced, when=names_pending, why="already pending"),
    ignore(PENDING, StrategyAnnounced, when=~is_fresh & names_active, why="stale (I6)"),
    go(
        PENDING,
        Error456,
        DETECTING,
        when=is_fresh & names_pending,
        do=hold_down_pending,
        effects=_TO_DETECTING,
        why="announced, but it refuses: active first, pending held down",
    ),
    stay(PENDING, Error456, when=names_active, why="the old stack refuses; new work is not there"),
    ignore(PENDING, Error456, when=~is_fresh & names_pending, why="stale (I6)"),
    go(
        PENDING,
        _REFUSALS,
        DETECTING,
        when=is_fresh & names_pending & ~others_served,
        do=hold_down_pending,
        effects=_TO_DETECTING,
        why="announced, but it serves nobody that is known of: active first, pending held down",
    ),
    ignore(PENDING, _REFUSALS, when=is_fresh & names_pending & others_served, why=_OTHERS_SERVED),
    ignore(PENDING, _REFUSALS, when=~(is_fresh & names_pending), why="stale, or about the old stack"),
    stay(
        PENDING,
        AuthSuccess,
        when=is_fresh & names_pending,
        do=prove_pending,
        why="a connection is ready on the new stack",
    ),
    stay(PENDING, AuthSuccess, when=~(is_fresh & names_pending), why="stale, or on the old stack"),
    ignore(PENDING, CacheExpired, why="an announcement is fresher than the cache"),
    go(
        PENDING,
        CacheInvalidated,
        DETECTING,
        do=detect_pending_first,
        effects=_TO_DETECTING,
        why="somebody asked for it; the announced one is the best guess",
    ),
    ignore(PENDING, DetectionTimedOut, why="stale: the detection is over"),
    ignore(PENDING, CooldownEnded, why="what is pending is not held down"),
    go(
        PENDING,
        DrainTimedOut,
        STABLE,
        do=commit,
        effects=_TO_STABLE,
        why="waited long enough; open tickets keep their strategy",
    ),
    go(
        PENDING,
        RollbackRequested,
        STABLE,
        do=drop_pending,
        effects=_TO_STABLE,
        why="as it was before the announcement (I7)",
    ),
    go(PENDING, Reset, DETECTING, do=detect_active_first, effects=_TO_DETECTING, why="somebody asked for it"),
    # Failed: neither answered; refuse at once until the cool-down has passed.
    go(
        FAILED,
        ConnectionOpened,
        DETECTING,
        do=detect_active_first,
        effects=_TO_DETECTING,
        why="a new connection is a reason to try again, last known first",
    ),
    forbid(FAILED, QueryStarted, why="both strategies failed"),
    stay(FAILED, _ENDS, when=has_ticket, do=end_ticket, why="a query ended that began before"),
    forbid(FAILED, _ENDS, when=~has_ticket, why="no ticket is open on that strategy (refines the spec: I5)"),
    ignore(FAILED, (StrategyAnnounced, Error456, *_REFUSALS), why="not connected"),
    ignore(FAILED, AuthSuccess, why="stale: the detection is over"),
    ignore(FAILED, CacheExpired, why="nothing is cached"),
    go(FAILED, CacheInvalidated, DETECTING, do=detect_active_first, effects=_TO_DETECTING, why="try again"),
    ignore(FAILED, DetectionTimedOut, why="stale: the detection is over"),
    ignore(FAILED, CooldownEnded, why="reset ends Failed, not this"),
    ignore(FAILED, DrainTimedOut, why="no transition is pending"),
    forbid(FAILED, RollbackRequested, why="both strategies failed"),
    go(FAILED, Reset, DETECTING, do=detect_active_first, effects=_TO_DETECTING, why="the cool-down is over"),
)

_NO_PENDING: Final = pending_set.is_(False).named("no pending")
_COUNTED: Final = counted.is_(True).named("tickets >= 0") & stray_proof.is_(False).named("no stray proof")
_IDLE: Final = trying.is_(False).named("nothing untried")

STATES = (
    State(
        DETECTING, holds=_NO_PENDING & trying.is_(True).named("something untried") & _COUNTED, tags=("waits",)
    ),
    State(STABLE, holds=settled.is_("active").named("active only") & _IDLE & _COUNTED, tags=("routes",)),
    State(
        PENDING,
        holds=settled.is_("both").named("active and pending differ") & _IDLE & _COUNTED,
        tags=("routes",),
    ),
    State(FAILED, holds=_NO_PENDING & _IDLE & _COUNTED),
)


def _contexts() -> Iterator[Context]:
    """Contexts for the definition-time check of reducers: one of each kind, up to exchanging blue and green."""
    green, blue = Strategy.GREEN, Strategy.BLUE
    settings = (Settings(), Settings(commit_when="first_safe_point"), Settings(default_strategy=green))
    for tickets, policy in product(((0, 0), (1, 0), (0, 1), (1, 1)), settings):
        for active, pending, untried, held_down in (
            *product((None, blue), (None,), ((), (green,), (blue, green), (green, blue)), (None, green)),
            (blue, green, (), None),
        ):
            drains = policy.commit_when == "drained"
            known = active is not None and policy.default_strategy is None
            yield Context(
                active, pending, green if active else None, untried, held_down, 7, *tickets, known,
                pending is not None and drains, policy,
            )  # fmt: skip


_NEWS: Final = tuple(product(BOTH, (7, 6)))


def _samples() -> Iterator[StrategyEvent]:
    for event in EVENTS:
        if event in _ENDS:
            yield from (event(Ticket(1, strategy, 7)) for strategy in BOTH)
        elif event is QueryStarted:
            yield from (QueryStarted(alone) for alone in (None, *BOTH))
        elif event in _REFUSALS:
            yield from (event(*news, served_since=served) for news in _NEWS for served in (False, True))
        elif attrs.fields(event):
            yield from (event(*news) for news in _NEWS)
        else:
            yield event()


STRATEGY: Final[Table[Context, StrategyEvent, StrategyEffect]] = Table(
    name="strategy",
    initial=DETECTING,
    states=STATES,
    events=EVENTS,
    rows=ROWS,
    contexts=_contexts(),
    samples=_samples(),
)
"""The strategy machine."""


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
