"""Bugs of connectors in the field, each introduced into our tables again.

>>> len(FIELD_BUGS), all(bug.table().rows != bug.base.rows for bug in FIELD_BUGS)
(22, True)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs

from bluegreen.machines.query import (
    QUERY,
    BatchFetched,
    Errored,
    Refused456,
    RowsHandedOut,
    ambiguous,
    answered,
    fails,
    harmless,
    loses_ambiguous,
    loses_running,
    may_rerun,
    may_resend,
    may_restart,
    replays,
    replays_execution,
    rerun,
    restart,
    unknown,
)
from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE
from bluegreen.machines.strategy.effects import audit, authenticate, clear_cache
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.facts_and_guards import (
    has_ticket,
    is_fresh,
    is_held,
    is_verified,
    names_active,
)
from bluegreen.machines.strategy.reducers import (
    announce,
    commit,
    detect_other_first,
    drop_pending,
    end_and_commit,
    end_ticket,
    give_up,
    hold_down_active,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.guards import Fact, Guard
from bluegreen.table.rows import Row, Rows, flatten
from bluegreen.table.table import Table, forbid, go, ignore, stay

_ENDS: Final = (QueryCompleted, QueryCancelled, QueryFailed)
_WHY: Final = "a bug of the field"


@attrs.frozen
class FieldBug:
    """One bug: its name, and the cells of a table with which it is back."""

    name: str
    rows: tuple[Row, ...] = attrs.field(converter=flatten)
    base: Table[Any, Any, Any] = STRATEGY

    def table(self) -> Table[Any, Any, Any]:
        """Return the table with the bug.

        Raises:
            TableError: the definition checks refuse it: it could never have been written.
        """
        base, cells = self.base, {(row.state, row.event) for row in self.rows}
        kept = tuple(row for row in base.rows if (row.state, row.event) not in cells)
        return Table(
            base.name,
            base.initial,
            base.states,
            base.events,
            (*kept, *self.rows),
            base.contexts,
            base.samples,
        )


def _idle(context: Any, event: Any) -> bool:
    return bool(context.open_blue + context.open_green - isinstance(event, _ENDS) <= 0)


_nothing_open: Final = Fact("nothing_open", (True, False), _idle).is_(True).named("nothing in flight")


def _end_elsewhere(context: Any, event: Any) -> Any:
    wrong = type(event)(attrs.evolve(event.ticket, strategy=event.ticket.strategy.other))
    after = end_ticket(context, wrong)
    return after if min(after.open_blue, after.open_green) >= 0 else context


def _drop_everything(context: Any, event: Any) -> Any:
    return attrs.evolve(drop_pending(context, event), open_blue=0, open_green=0)


def _switch_at_once(context: Any, event: Any) -> Any:
    return attrs.evolve(
        context, active=event.strategy, previous=context.active, state_version=context.state_version + 1
    )


def _move_over(context: Any, _: Any) -> Any:
    moved = attrs.evolve(context.ticket, strategy=context.ticket.strategy.other)
    return attrs.evolve(context, ticket=moved, rows=True)


def _overlapping() -> Iterable[Row | Rows]:
    yield go(PENDING, _ENDS, STABLE, guard=has_ticket & _nothing_open, update=end_and_commit, why=_WHY)
    yield stay(PENDING, _ENDS, guard=has_ticket & ~_nothing_open, update=end_ticket, why=_WHY)
    yield forbid(PENDING, _ENDS, guard=~has_ticket, why=_WHY)


def _timed() -> Iterable[Row | Rows]:
    yield stay(PENDING, _ENDS, guard=has_ticket, update=end_ticket, why=_WHY)
    yield forbid(PENDING, _ENDS, guard=~has_ticket, why=_WHY)
    yield stay(PENDING, ConnectionOpened, why=_WHY)


def _everybody() -> Iterable[Row | Rows]:
    refused, kinds = is_fresh & names_active, (AuthFailure, PersistentFailure)
    to_detecting = (clear_cache, authenticate, audit)
    for verified, reduce in ((is_verified, detect_other_first), (~is_verified, hold_down_active)):
        yield go(
            STABLE, kinds, DETECTING, guard=refused & verified, update=reduce, effects=to_detecting, why=_WHY
        )
    yield ignore(STABLE, kinds, guard=~refused, why=_WHY)


def _nothing_done(
    state: str,
    begun_again: Guard,
    *,
    passed_on: Guard | None = None,
    unsure: Guard | None = None,
    again: Guard = may_restart & may_resend,
) -> Iterable[Row | Rows]:
    """Some errors of a query are taken to say that nothing was executed: it begins again."""
    yield go(
        state,
        Errored,
        "Started",
        guard=begun_again & again,
        update=restart,
        effects=(fails, replays),
        why=_WHY,
    )
    yield go(state, Errored, "Failed", guard=begun_again & ~again, effects=(fails,), why=_WHY)
    if passed_on is not None:
        yield go(state, Errored, "Failed", guard=passed_on, effects=(fails,), why=_WHY)
    if unsure is not None:
        read, lost = unsure & may_rerun & may_resend, unsure & ~(may_rerun & may_resend)
        yield go(state, Errored, "Started", guard=read, update=rerun, effects=(fails, replays), why=_WHY)
        yield go(state, Errored, "Failed", guard=lost, effects=(fails, loses_ambiguous), why=_WHY)


def _runs_again(event: type[Any], again: Guard) -> Iterable[Row | Rows]:
    """A query begins again, and its connector keeps what it has received."""
    yield go(
        "Fetching", event, "Started", guard=again, update=rerun, effects=(fails, replays_execution), why=_WHY
    )
    yield go("Fetching", event, "Failed", guard=~again, effects=(fails, loses_running), why=_WHY)


def _lift_all(context: Any, _: Any) -> Any:
    return attrs.evolve(context, held_down=None, rolled_back=False)


def _last_resort(context: Any) -> Any:
    return context.settings.default_strategy or context.active


def _back_to_what_refused(context: Any, _: Any) -> Any:
    return attrs.evolve(
        context,
        active=_last_resort(context),
        previous=context.active if context.active not in (None, _last_resort(context)) else context.previous,
        untried=(),
        verified=False,
        state_version=context.state_version + 1,
    )


_resort_known: Final = Fact("resort_known", (True, False), lambda c, _: _last_resort(c) is not None)
_has_resort: Final = _resort_known.is_(True).named("a last resort")

FIELD_BUGS: Final = (
    FieldBug("starvation while any query is in flight", _overlapping()),
    FieldBug(
        "stale announcement flips back",
        (
            go(STABLE, StrategyAnnounced, PENDING, guard=~names_active & ~is_held, update=announce, why=_WHY),
            ignore(STABLE, StrategyAnnounced, guard=names_active | is_held, why=_WHY),
        ),
    ),
    FieldBug(
        "first connection clears a global flag", (go(PENDING, ConnectionOpened, STABLE, update=commit, why=_WHY),)
    ),
    FieldBug(
        "clear on the wrong stack",
        (
            stay(STABLE, QueryCompleted, guard=has_ticket, update=_end_elsewhere, why=_WHY),
            forbid(STABLE, QueryCompleted, guard=~has_ticket, why=_WHY),
        ),
    ),
    FieldBug(
        "late 456 clears a fresh cache",
        (
            go(STABLE, Error456, DETECTING, guard=names_active, update=detect_other_first, why=_WHY),
            ignore(STABLE, Error456, guard=~names_active, why=_WHY),
        ),
    ),
    FieldBug(
        "replay of a write",
        (
            go(
                ("Executing", "Fetching"), Refused456, "Started",
                update=rerun, effects=(fails, replays_execution), why=_WHY,
            ),
        ),
        QUERY,
    ),
    FieldBug("rows of two runs are put together", _runs_again(Refused456, may_rerun), QUERY),
    FieldBug(
        "rows that the application has seen are fetched again",
        (ignore("Fetching", RowsHandedOut, why=_WHY),),
        QUERY,
    ),
    FieldBug("timer as the only way out", _timed()),
    FieldBug("lost wake-up: what a detection found is told to nobody", (ignore(DETECTING, AuthSuccess, why=_WHY),)),
    FieldBug(
        "an announcement switches at once",
        (
            stay(STABLE, StrategyAnnounced, guard=is_fresh & ~names_active, update=_switch_at_once, why=_WHY),
            ignore(STABLE, StrategyAnnounced, guard=~(is_fresh & ~names_active), why=_WHY),
        ),
    ),
    FieldBug(
        "a running query is moved over",
        (go("Executing", BatchFetched, "Fetching", update=_move_over, why=_WHY),),
        QUERY,
    ),
    FieldBug(
        "a detection does not hear that it was refused",
        (ignore(DETECTING, (Error456, AuthFailure), why=_WHY),),
    ),
    FieldBug(
        "a time-out falls back to what has just refused",
        (
            go(DETECTING, DetectionTimedOut, STABLE, guard=_has_resort, update=_back_to_what_refused, why=_WHY),
            go(DETECTING, DetectionTimedOut, FAILED, guard=~_has_resort, update=give_up, why=_WHY),
        ),
    ),
    FieldBug(
        "the next announcement undoes a rollback",
        (go(PENDING, RollbackRequested, STABLE, update=drop_pending, why=_WHY),),
    ),
    FieldBug(
        "time ends a rollback",
        (stay((STABLE, DETECTING), CooldownEnded, update=_lift_all, why=_WHY),),
    ),
    FieldBug("one user's refusal moves everybody", _everybody()),
    FieldBug(
        "an engine's text taken for a refusal",
        _nothing_done("Prepared", answered | harmless, unsure=ambiguous),
        QUERY,
    ),
    FieldBug(
        "a stack that does not know a query is taken for one that has refused it",
        _nothing_done("Prepared", harmless | unknown, passed_on=answered, unsure=ambiguous & ~unknown),
        QUERY,
    ),
    FieldBug(
        "a begin that executes is sent again",
        _nothing_done("Started", harmless | ambiguous, passed_on=answered),
        QUERY,
    ),
    FieldBug(
        "a request that was sent as often as it may be begins again elsewhere",
        _nothing_done("Started", harmless, passed_on=answered, unsure=ambiguous, again=may_restart),
        QUERY,
    ),
    FieldBug(
        "rollback forgets tickets", (go(PENDING, RollbackRequested, STABLE, update=_drop_everything, why=_WHY),)
    ),
)  # fmt: skip
"""The bugs that a table can have. `RUNTIME_BUGS` has those beside it."""
