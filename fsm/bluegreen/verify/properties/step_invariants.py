"""Properties of single steps: what progress needs of the strategy machine, and all of the query machine.

    >>> [one.name for one in QUERY_ALWAYS][:3]
    ['Q ordered', 'Q moved on', 'Q told']

Source: spec, sections 2, 3 and 7.
"""

from __future__ import annotations

from typing import Any, Final

from bluegreen.machines.query import (
    BatchFetched,
    Cancelled,
    Cleared,
    DiscardRows,
    EndTicket,
    Errored,
    Executed,
    Exhausted,
    Lose,
    Prepared,
    Refused456,
    Replay,
    RowsHandedOut,
)
from bluegreen.machines.strategy.context import (
    BOTH,
    DETECTING,
    FAILED,
    FAILURES_COUNTED,
    PENDING,
    REFUSALS_COUNTED,
    STABLE,
)
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    ConnectionOpened,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.verify.properties.base import STRATEGY_ALWAYS, Always, Taken
from bluegreen.verify.properties.response_properties import RESPONSES

_ENDS: Final = (QueryCompleted, QueryCancelled, QueryFailed)
_REFUSALS: Final = (Error456, AuthFailure, PersistentFailure)
_LIVE: Final = ("Started", "Prepared", "Executing", "Fetching")


def _committed(taken: Taken) -> bool:
    """Once the old queries have ended, the next safe point commits."""
    before, after, event = taken.context, taken.step.context, taken.event
    if taken.state != PENDING or not isinstance(event, (*_ENDS, ConnectionOpened)):
        return True
    ended = isinstance(event, _ENDS) and event.ticket.strategy is before.active
    safe = before.settings.commit_when == "first_safe_point" or before.open_on(before.active) - ended == 0
    if not safe:
        return taken.step.state == PENDING and after.active is before.active
    moved = taken.step.state == STABLE and (after.active, after.previous) == (before.pending, before.active)
    return bool(moved and after.verified == before.proved)


def _not_flapping(taken: Taken) -> bool:
    """What is held down is not announced again; what was announced, and refuses before it has ever served, is held
    down."""
    before, after, event = taken.context, taken.step.context, taken.event
    if isinstance(event, StrategyAnnounced) and event.strategy is before.held_down:
        return after.pending is before.pending or after.pending is None
    refused = isinstance(event, _REFUSALS) and event.state_version == before.state_version
    refused = refused and not getattr(event, "served_since", False)
    unproved = {PENDING: before.pending, STABLE: None if before.verified else before.active}.get(taken.state)
    if refused and event.strategy is unproved:
        return bool(after.held_down is unproved and not after.rolled_back and taken.step.state == DETECTING)
    return True


def _adopts_announcement(taken: Taken) -> bool:
    """A fresh announcement of the other strategy, not held down, is pending at once."""
    before, event = taken.context, taken.event
    if not isinstance(event, StrategyAnnounced) or taken.state != STABLE:
        return True
    told = event.state_version == before.state_version and event.strategy not in (
        before.active,
        before.held_down,
    )
    return (taken.step.state == PENDING and taken.step.context.pending is event.strategy) == told


def _detected(taken: Taken) -> bool:
    """A fresh refusal of what new queries get leads to a new detection, or to the next try of this one."""
    before, event = taken.context, taken.event
    if not isinstance(event, Error456) or event.state_version != before.state_version:
        return True
    if taken.state in (STABLE, PENDING) and event.strategy is before.route:
        return taken.step.state == DETECTING
    if taken.state == DETECTING and event.strategy in before.untried:
        return event.strategy not in taken.step.context.untried
    return taken.step.state == taken.state


def _refused(taken: Taken) -> bool:
    """No ticket without a strategy, none ended that is not open, no rollback to nowhere."""
    before, event = taken.context, taken.event
    if isinstance(event, QueryStarted):
        return taken.state in (STABLE, PENDING) or (taken.state == DETECTING and event.alone is not None)
    if isinstance(event, _ENDS):
        return bool(before.open_on(event.ticket.strategy) > 0)
    if isinstance(event, RollbackRequested):
        known = before.previous not in (None, before.active)
        return taken.state == PENDING or (taken.state == STABLE and known)
    return True


def is_seen_to_serve(taken: Taken) -> bool:
    """Whether a step is the news that a strategy serves of which that was not known."""
    before, event = taken.context, taken.event
    if not isinstance(event, AuthSuccess) or event.state_version != before.state_version:
        return False
    unknown = {
        STABLE: None if before.verified else before.active,
        PENDING: None if before.proved else before.pending,
    }
    return taken.state == DETECTING or event.strategy is unknown.get(taken.state)


def _failures_counted(taken: Taken) -> bool:
    """Failed is entered with one more failure in a row; a strategy that serves ends the row, and nothing else does."""
    before, after = taken.context.failed_in_a_row, taken.step.context.failed_in_a_row
    if is_seen_to_serve(taken):
        return bool(after == 0)
    failed = taken.step.state == FAILED and taken.state != FAILED
    return bool(after == (min(before + 1, FAILURES_COUNTED) if failed else before))


def _refusals_counted(taken: Taken) -> bool:
    """A strategy is held down for a refusal with one more in a row; that it serves ends the row; nothing else does."""
    before, after, event = taken.context, taken.step.context, taken.event
    news = isinstance(event, (AuthSuccess, *_REFUSALS))
    for one in BOTH:
        right = before.refused_on(one)
        if news and event.strategy is one:
            if is_seen_to_serve(taken):
                right = 0
            elif taken.state != DETECTING and taken.step.state == DETECTING and after.held_down is one:
                right = min(right + 1, REFUSALS_COUNTED)
        if after.refused_on(one) != right:
            return False
    return True


LIVELY_ALWAYS: Final = (
    Always("I10 refused", "what cannot be done is refused, rather than taken for done", _refused),
    Always("L1 progress, stepwise", "a safe point with the old queries ended is in Stable on the new one", _committed),
    Always("L1 announced", "a fresh announcement of the other strategy is pending at once", _adopts_announcement),
    Always("L2 detected", "a refusal of what new queries get is answered by a detection", _detected),
    Always("L3 counted", "failures in a row are counted until a strategy serves", _failures_counted),
    Always("L4 counted", "refusals of a strategy in a row are counted until it serves", _refusals_counted),
    Always("L4 no flapping", "an announced strategy that refuses is held down", _not_flapping),
)  # fmt: skip
"""What progress needs of each step of the strategy machine."""


def _effects(taken: Taken, kind: type[Any]) -> list[Any]:
    return [effect for effect in taken.step.effects if isinstance(effect, kind)]


def _isolated(taken: Taken) -> bool:
    return bool(taken.step.context.ticket == taken.context.ticket)


def _ends_once(taken: Taken) -> bool:
    ends = _effects(taken, EndTicket)
    over = taken.step.state not in _LIVE or bool(_effects(taken, Replay))
    live = taken.state in _LIVE
    return len(ends) == (live and over) and all(end.event.ticket == taken.context.ticket for end in ends)


def _perhaps_ran(taken: Taken) -> bool:
    """Whether the query has been executed, or may have been by what the event says."""
    event = taken.event
    unsure = isinstance(event, Errored) and event.doubt in ("execute", "gone")
    return taken.state in ("Executing", "Fetching") or (taken.state in _LIVE and unsure)


def _replayed(taken: Taken) -> bool:
    before, event = taken.context, taken.event
    replay = bool(_effects(taken, Replay))
    if _perhaps_ran(taken):
        allowed = before.reads and not before.rows and before.replay == "reads" and before.reruns < 1
        return not replay or bool(allowed)
    if taken.state in _LIVE and isinstance(event, Refused456):
        return bool(replay == (before.restarts < 2))
    return not replay or bool(before.restarts < 2)


_ORDER: Final = {
    Prepared: ("Started",),
    Executed: ("Prepared",),
    BatchFetched: ("Executing", "Fetching"),
    RowsHandedOut: ("Executing", "Fetching"),
    Exhausted: ("Executing", "Fetching"),
    Cleared: _LIVE,
    Cancelled: _LIVE,
}
_LATE: Final = (Prepared, Executed, BatchFetched, RowsHandedOut, Exhausted)


def _ordered(taken: Taken) -> bool:
    kind = _kind(taken)
    return kind not in _ORDER or taken.state in _ORDER[kind] or (kind in _LATE and taken.state not in _LIVE)


def _kind(taken: Taken) -> Any:
    kind: Any = taken.event.__class__
    return kind


def _moved_on(taken: Taken) -> bool:
    """Where each answer leads, if it is what it should be."""
    right = {
        Prepared: "Prepared", Executed: "Executing", BatchFetched: "Fetching", Exhausted: "Fetching",
        RowsHandedOut: taken.state, Cleared: "Completed", Cancelled: "Cancelled",
    }.get(_kind(taken))  # fmt: skip
    if taken.state not in _LIVE:
        return taken.step.state == taken.state
    if right is None:
        return taken.step.state == ("Started" if _effects(taken, Replay) else "Failed")
    return taken.step.state == right


def _reports_loss(taken: Taken) -> bool:
    """Whoever loses a query that was executed, or may have been, is told; who gets the server's answer is not."""
    over = taken.state in _LIVE and taken.step.state == "Failed"
    answered = isinstance(taken.event, Errored) and taken.event.doubt == "none"
    return bool(_effects(taken, Lose)) == (over and _perhaps_ran(taken) and not answered)


def _limited(taken: Taken) -> bool:
    """A request that may not be sent again begins nothing again."""
    event = taken.event
    return not isinstance(event, Errored) or event.may_resend or not _effects(taken, Replay)


def _answered(taken: Taken) -> bool:
    """The server's own answer ends the query: it is neither hidden nor taken for a reason to begin again."""
    event = taken.event
    if taken.state not in _LIVE or not isinstance(event, Errored) or event.doubt != "none":
        return True
    return taken.step.state == "Failed" and not _effects(taken, Replay)


def _remembered(taken: Taken) -> bool:
    """Rows that were handed out, and attempts that were made, are remembered."""
    before, after, event = taken.context, taken.step.context, taken.event
    if taken.state not in _LIVE:
        return True
    fetched = isinstance(event, BatchFetched) and event.rows
    at_once = isinstance(event, BatchFetched) and event.rows and event.handed_out
    rows = bool(before.rows or at_once or (before.received and isinstance(event, RowsHandedOut)))
    replayed = bool(_effects(taken, Replay))
    received = bool(not rows and not replayed and (before.received or fetched))
    return (
        bool(after.rows == rows and after.received == received)
        and after.restarts + after.reruns == before.restarts + before.reruns + replayed
    )


def _discarded(taken: Taken) -> bool:
    """A query that begins again has its connector throw away what it has received, before the replay."""
    order = [
        isinstance(effect, Replay)
        for effect in taken.step.effects
        if isinstance(effect, (DiscardRows, Replay))
    ]
    if True not in order:
        return not order
    return order == ([False, True] if taken.context.received else [True])


QUERY_ALWAYS: Final = (
    Always("Q ordered", "what the order of a query's events excludes is refused", _ordered),
    Always("Q moved on", "each event leads where it should", _moved_on),
    Always("Q told", "a query that may have been executed, and is lost, is told of; no other is", _reports_loss),
    Always("Q answered", "the server's own answer ends the query, and is passed on", _answered),
    Always("Q limited", "no query begins anew for a request that may not be sent again", _limited),
    Always("Q remembered", "rows that were handed out and attempts are counted", _remembered),
    Always("Q discarded", "rows of a run that has ended are thrown away before the next one begins", _discarded),
    Always("I2 isolated", "a query's ticket stays as it is until the query begins anew", _isolated),
    Always("I5 ends once", "a query that ends, or begins anew, ends its ticket, once", _ends_once),
    Always("I11 replayed", "what may have been executed is replayed only if it reads and shows no row", _replayed),
)  # fmt: skip
"""What the specification says of each step of the query machine."""

STEPS: Final = (*STRATEGY_ALWAYS, *LIVELY_ALWAYS, *RESPONSES)
"""What holds of each step of the strategy machine."""
