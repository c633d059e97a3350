"""The strategy machine: which strategy, blue or green, does the next query go to?

Everything that decides it stands in `STRATEGY`, one row for one reason. Its vocabulary is in the modules beside it:
`facts_and_guards` that rows ask, `reducers` that make the next context, `effects` that are to be carried out.

Source: spec, section 2. A row that refines the spec says so in its `why`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

import attrs

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.context import BOTH, DETECTING, FAILED, PENDING, STABLE, Context
from bluegreen.machines.strategy.effects import (
    StrategyEffect,
    audit,
    authenticate,
    cache,
    clear_cache,
    close_drained,
    issue_ticket,
    issue_ticket_alone,
    publish,
    raise_timed_out,
    raise_unavailable,
)
from bluegreen.machines.strategy.events import (
    EVENTS,
    AuthFailure,
    AuthSuccess,
    CacheExpired,
    CacheInvalidated,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
    StrategyEvent,
)
from bluegreen.machines.strategy.facts_and_guards import (
    another,
    counted,
    has_fallback,
    has_previous,
    has_ticket,
    is_alone,
    is_fresh,
    is_held,
    is_rolled_back,
    is_untried,
    is_verified,
    names_active,
    names_pending,
    others_served,
    pending_set,
    safe_to_commit,
    settled,
    stray_proof,
    stray_rollback,
    trying,
    turn,
)
from bluegreen.machines.strategy.reducers import (
    adopt,
    adopt_fallback,
    announce,
    announce_previous,
    commit,
    confirm,
    cross_out,
    detect_active_first,
    detect_other_first,
    detect_pending_first,
    drop_pending,
    end_and_commit,
    end_ticket,
    give_up,
    hold_down_active,
    hold_down_pending,
    lift_hold,
    prefer,
    prove_pending,
    roll_back,
    start_alone,
    start_on_active,
    start_on_pending,
    start_over,
)
from bluegreen.table.table import State, Table, forbid, go, ignore, stay
from bluegreen.types import Strategy, Ticket

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
_ROLLED_BACK: Final = (
    "a rollback is a person's wish: time does not end it, nor does the server by announcing. What was left is used "
    "again once it is found to serve when the other one does not, and may be announced again after a reset"
)
_TO_DETECTING: Final = (clear_cache, authenticate, audit)
_TO_PENDING: Final = (authenticate, publish, audit)
_TO_STABLE: Final = (cache, publish, close_drained, audit)

ROWS = (
    # Detecting: nobody knows; callers wait together for one detection.
    stay(DETECTING, ConnectionOpened, why="the connection joins the detection that is under way"),
    forbid(DETECTING, QueryStarted, guard=~is_alone, why="no strategy yet; wait for the detection"),
    stay(
        DETECTING,
        QueryStarted,
        guard=is_alone,
        update=start_alone,
        effects=(issue_ticket_alone,),
        why=_ALONE,
    ),
    stay(
        DETECTING,
        _ENDS,
        guard=has_ticket,
        update=end_ticket,
        why="a query ended that began before the detection",
    ),
    forbid(
        DETECTING, _ENDS, guard=~has_ticket, why="no ticket is open on that strategy (refines the spec: I5)"
    ),
    go(
        DETECTING,
        StrategyAnnounced,
        DETECTING,
        guard=is_fresh & turn.is_("later") & ~is_held,
        update=prefer,
        effects=(authenticate, audit),
        why="the server's word is the best guess: try it first",
    ),
    ignore(
        DETECTING,
        StrategyAnnounced,
        guard=is_fresh & turn.is_("later") & is_held,
        why="held down: announced, then refused (refines the spec: L4)",
    ),
    ignore(DETECTING, StrategyAnnounced, guard=is_fresh & turn.is_("first"), why="it is being tried already"),
    ignore(
        DETECTING,
        StrategyAnnounced,
        guard=is_fresh & turn.is_("tried"),
        why="this detection has tried it (I8)",
    ),
    ignore(DETECTING, StrategyAnnounced, guard=~is_fresh, why="stale (refines the spec: I6)"),
    go(
        DETECTING,
        Error456,
        DETECTING,
        guard=is_fresh & is_untried & another,
        update=cross_out,
        effects=(authenticate, audit),
        why="try the other one",
    ),
    go(
        DETECTING,
        Error456,
        FAILED,
        guard=is_fresh & is_untried & ~another,
        update=give_up,
        effects=(clear_cache, audit, raise_unavailable),
        why="both strategies failed",
    ),
    ignore(
        DETECTING, Error456, guard=~(is_fresh & is_untried), why="stale, or this detection has heard from it"
    ),
    go(
        DETECTING,
        AuthFailure,
        DETECTING,
        guard=is_fresh & is_untried & ~others_served & another,
        update=cross_out,
        effects=(authenticate, audit),
        why="try the other one",
    ),
    go(
        DETECTING,
        AuthFailure,
        FAILED,
        guard=is_fresh & is_untried & ~others_served & ~another,
        update=give_up,
        effects=(clear_cache, audit, raise_unavailable),
        why="both strategies failed",
    ),
    ignore(DETECTING, AuthFailure, guard=is_fresh & is_untried & others_served, why=_OTHERS_SERVED),
    ignore(
        DETECTING,
        AuthFailure,
        guard=~(is_fresh & is_untried),
        why="stale, or this detection has heard from it",
    ),
    go(
        DETECTING,
        AuthSuccess,
        STABLE,
        guard=is_fresh,
        update=adopt,
        effects=_TO_STABLE,
        why="this one answers",
    ),
    ignore(DETECTING, AuthSuccess, guard=~is_fresh, why="stale"),
    ignore(DETECTING, PersistentFailure, why="detection has its own bound"),
    ignore(DETECTING, CacheExpired, why="nothing is cached"),
    stay(DETECTING, CacheInvalidated, why="a detection is under way"),
    go(
        DETECTING,
        DetectionTimedOut,
        STABLE,
        guard=has_fallback,
        update=adopt_fallback,
        effects=(close_drained, audit),
        why="fall back to the default, else to what was last used, but never to one that has refused in this "
        "detection; marked unverified, and the cache stays empty (a try that was not answered is no refusal)",
    ),
    go(
        DETECTING,
        DetectionTimedOut,
        FAILED,
        guard=~has_fallback,
        update=give_up,
        effects=(clear_cache, audit, raise_timed_out),
        why="nothing answered, and whatever is known to fall back to has refused",
    ),
    stay(DETECTING, CooldownEnded, guard=~is_rolled_back, update=lift_hold, why="the hold-down is over"),
    ignore(DETECTING, CooldownEnded, guard=is_rolled_back, why=_ROLLED_BACK),
    ignore(DETECTING, DrainTimedOut, why="no transition is pending"),
    forbid(DETECTING, RollbackRequested, why="no strategy yet; detection decides"),
    stay(DETECTING, Reset, why="a detection is under way"),
    # Stable: one strategy serves.
    stay(STABLE, ConnectionOpened, why="nothing is pending"),
    stay(
        STABLE,
        QueryStarted,
        guard=~is_alone,
        update=start_on_active,
        effects=(issue_ticket,),
        why="new queries go to active (I3)",
    ),
    stay(
        STABLE,
        QueryStarted,
        guard=is_alone,
        update=start_alone,
        effects=(issue_ticket_alone,),
        why=_ALONE,
    ),
    stay(
        STABLE,
        _ENDS,
        guard=has_ticket,
        update=end_ticket,
        effects=(close_drained,),
        why="the last ticket of the other strategy ends its sessions",
    ),
    forbid(STABLE, _ENDS, guard=~has_ticket, why="no ticket is open on that strategy (refines the spec: I5)"),
    go(
        STABLE,
        StrategyAnnounced,
        PENDING,
        guard=is_fresh & ~names_active & ~is_held,
        update=announce,
        effects=_TO_PENDING,
        why="the server announced the other one",
    ),
    ignore(STABLE, StrategyAnnounced, guard=names_active, why="already active"),
    ignore(
        STABLE, StrategyAnnounced, guard=~names_active & is_held, why="held down: announced, then refused"
    ),
    ignore(STABLE, StrategyAnnounced, guard=~names_active & ~is_held & ~is_fresh, why="stale (I6)"),
    go(
        STABLE,
        Error456,
        DETECTING,
        guard=is_fresh & names_active & is_verified,
        update=detect_other_first,
        effects=_TO_DETECTING,
        why="the active strategy refuses: the other one first",
    ),
    go(
        STABLE,
        Error456,
        DETECTING,
        guard=is_fresh & names_active & ~is_verified,
        update=hold_down_active,
        effects=_TO_DETECTING,
        why=_NEVER_SERVED,
    ),
    ignore(STABLE, Error456, guard=~(is_fresh & names_active), why="stale (I6)"),
    go(
        STABLE,
        _REFUSALS,
        DETECTING,
        guard=is_fresh & names_active & ~others_served & is_verified,
        update=detect_other_first,
        effects=_TO_DETECTING,
        why="the active strategy serves nobody that is known of: the other one first",
    ),
    go(
        STABLE,
        _REFUSALS,
        DETECTING,
        guard=is_fresh & names_active & ~others_served & ~is_verified,
        update=hold_down_active,
        effects=_TO_DETECTING,
        why=_NEVER_SERVED,
    ),
    ignore(STABLE, _REFUSALS, guard=is_fresh & names_active & others_served, why=_OTHERS_SERVED),
    ignore(STABLE, _REFUSALS, guard=~(is_fresh & names_active), why="stale (I6)"),
    stay(
        STABLE,
        AuthSuccess,
        guard=is_fresh & names_active,
        update=confirm,
        effects=(cache,),
        why="another connection authenticated",
    ),
    stay(
        STABLE,
        AuthSuccess,
        guard=~(is_fresh & names_active),
        why="stale, so it proves nothing (refines the spec: I6), or for a query on the other strategy",
    ),
    go(
        STABLE,
        CacheExpired,
        DETECTING,
        update=detect_active_first,
        effects=_TO_DETECTING,
        why="nothing has proved it for a while; open tickets stay as they are",
    ),
    go(
        STABLE,
        CacheInvalidated,
        DETECTING,
        update=detect_active_first,
        effects=_TO_DETECTING,
        why="somebody asked for it",
    ),
    ignore(STABLE, DetectionTimedOut, why="stale: the detection is over"),
    stay(STABLE, CooldownEnded, guard=~is_rolled_back, update=lift_hold, why="the hold-down is over"),
    ignore(STABLE, CooldownEnded, guard=is_rolled_back, why=_ROLLED_BACK),
    ignore(STABLE, DrainTimedOut, why="no transition is pending"),
    go(
        STABLE,
        RollbackRequested,
        PENDING,
        guard=has_previous,
        update=announce_previous,
        effects=_TO_PENDING,
        why="back to the strategy before, at a safe point like any transition; a wish ends its hold-down, and holds "
        "down what is left",
    ),
    forbid(STABLE, RollbackRequested, guard=~has_previous, why="no previous strategy is known"),
    go(
        STABLE,
        Reset,
        DETECTING,
        update=start_over,
        effects=_TO_DETECTING,
        why="somebody asked for it; a rollback is over",
    ),
    # PendingTransition: new queries go to pending, old ones finish on active.
    go(
        PENDING,
        ConnectionOpened,
        STABLE,
        guard=safe_to_commit,
        update=commit,
        effects=_TO_STABLE,
        why="a safe point (under first_safe_point like any other; refines the spec's [drained])",
    ),
    stay(PENDING, ConnectionOpened, guard=~safe_to_commit, why="queries are still running on active"),
    stay(
        PENDING,
        QueryStarted,
        guard=~is_alone,
        update=start_on_pending,
        effects=(issue_ticket,),
        why="new queries go to pending (I3)",
    ),
    stay(
        PENDING,
        QueryStarted,
        guard=is_alone,
        update=start_alone,
        effects=(issue_ticket_alone,),
        why=_ALONE,
    ),
    go(
        PENDING,
        _ENDS,
        STABLE,
        guard=has_ticket & safe_to_commit,
        update=end_and_commit,
        effects=_TO_STABLE,
        why="a safe point",
    ),
    stay(
        PENDING,
        _ENDS,
        guard=has_ticket & ~safe_to_commit,
        update=end_ticket,
        why="queries are still running on active",
    ),
    forbid(
        PENDING, _ENDS, guard=~has_ticket, why="no ticket is open on that strategy (refines the spec: I5)"
    ),
    go(
        PENDING,
        StrategyAnnounced,
        STABLE,
        guard=is_fresh & names_active & ~is_rolled_back,
        update=drop_pending,
        effects=_TO_STABLE,
        why="the announcement was withdrawn",
    ),
    ignore(
        PENDING,
        StrategyAnnounced,
        guard=is_fresh & names_active & is_rolled_back,
        why="a rollback leaves it, though the server goes on announcing it",
    ),
    ignore(PENDING, StrategyAnnounced, guard=names_pending, why="already pending"),
    ignore(PENDING, StrategyAnnounced, guard=~is_fresh & names_active, why="stale (I6)"),
    go(
        PENDING,
        Error456,
        DETECTING,
        guard=is_fresh & names_pending,
        update=hold_down_pending,
        effects=_TO_DETECTING,
        why="announced, but it refuses: active first, pending held down",
    ),
    stay(PENDING, Error456, guard=names_active, why="the old stack refuses; new work is not there"),
    ignore(PENDING, Error456, guard=~is_fresh & names_pending, why="stale (I6)"),
    go(
        PENDING,
        _REFUSALS,
        DETECTING,
        guard=is_fresh & names_pending & ~others_served,
        update=hold_down_pending,
        effects=_TO_DETECTING,
        why="announced, but it serves nobody that is known of: active first, pending held down",
    ),
    ignore(PENDING, _REFUSALS, guard=is_fresh & names_pending & others_served, why=_OTHERS_SERVED),
    ignore(PENDING, _REFUSALS, guard=~(is_fresh & names_pending), why="stale, or about the old stack"),
    stay(
        PENDING,
        AuthSuccess,
        guard=is_fresh & names_pending,
        update=prove_pending,
        why="a connection is ready on the new stack",
    ),
    stay(PENDING, AuthSuccess, guard=~(is_fresh & names_pending), why="stale, or on the old stack"),
    ignore(PENDING, CacheExpired, why="an announcement is fresher than the cache"),
    go(
        PENDING,
        CacheInvalidated,
        DETECTING,
        update=detect_pending_first,
        effects=_TO_DETECTING,
        why="somebody asked for it; the announced one is the best guess",
    ),
    ignore(PENDING, DetectionTimedOut, why="stale: the detection is over"),
    ignore(PENDING, CooldownEnded, why="what is pending is not held down"),
    go(
        PENDING,
        DrainTimedOut,
        STABLE,
        update=commit,
        effects=_TO_STABLE,
        why="waited long enough; open tickets keep their strategy",
    ),
    go(
        PENDING,
        RollbackRequested,
        STABLE,
        update=roll_back,
        effects=_TO_STABLE,
        why="as it was before the announcement (I7); what was announced is held down, so that the next announcement "
        "does not undo it",
    ),
    go(
        PENDING,
        Reset,
        DETECTING,
        update=start_over,
        effects=_TO_DETECTING,
        why="somebody asked for it; a rollback is over",
    ),
    # Failed: neither answered; refuse at once until the cool-down has passed.
    go(
        FAILED,
        ConnectionOpened,
        DETECTING,
        update=detect_active_first,
        effects=_TO_DETECTING,
        why="a new connection is a reason to try again, last known first",
    ),
    forbid(FAILED, QueryStarted, why="both strategies failed"),
    stay(FAILED, _ENDS, guard=has_ticket, update=end_ticket, why="a query ended that began before"),
    forbid(FAILED, _ENDS, guard=~has_ticket, why="no ticket is open on that strategy (refines the spec: I5)"),
    ignore(FAILED, (StrategyAnnounced, Error456, *_REFUSALS), why="not connected"),
    ignore(FAILED, AuthSuccess, why="stale: the detection is over"),
    ignore(FAILED, CacheExpired, why="nothing is cached"),
    go(
        FAILED,
        CacheInvalidated,
        DETECTING,
        update=detect_active_first,
        effects=_TO_DETECTING,
        why="try again",
    ),
    ignore(FAILED, DetectionTimedOut, why="stale: the detection is over"),
    ignore(FAILED, CooldownEnded, why="reset ends Failed, not this"),
    ignore(FAILED, DrainTimedOut, why="no transition is pending"),
    forbid(FAILED, RollbackRequested, why="both strategies failed"),
    go(
        FAILED,
        Reset,
        DETECTING,
        update=detect_active_first,
        effects=_TO_DETECTING,
        why="the cool-down is over",
    ),
)

_NO_PENDING: Final = pending_set.is_(False).named("no pending")
_COUNTED: Final = (
    counted.is_(True).named("tickets >= 0")
    & stray_proof.is_(False).named("no stray proof")
    & stray_rollback.is_(False).named("no stray rollback")
)
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
        for active, pending, untried, (held_down, rolled_back) in (
            *product((None, blue), (None,), ((), (green,), (blue, green), (green, blue)),
                     ((None, False), (green, False), (green, True))),
            (blue, green, (), (None, False)),
            (blue, green, (), (blue, True)),
        ):  # fmt: skip
            drains = policy.commit_when == "drained"
            known = active is not None and policy.default_strategy is None
            yield Context(
                active, pending, green if active else None, untried, held_down, 7, *tickets, known,
                pending is not None and drains, policy, failed_in_a_row=1, refused_blue=1, refused_green=1,
                rolled_back=rolled_back,
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
