"""The query machine: one per ticket. What may be repaired, what is replayed, and when the ticket ends.

Source: spec, section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, ClassVar, Final, Literal

import attrs

from bluegreen.machines.strategy.events import QueryCancelled, QueryCompleted, QueryFailed
from bluegreen.table.guards import Fact
from bluegreen.table.table import State, Table, forbid, go, ignore, stay
from bluegreen.types import Ticket

Doubt = Literal["none", "harmless", "execute", "gone"]
"""What a failed RPC leaves open:

- `none`: nothing, the server answered with an error;
- `harmless`: the transport failed on an RPC that executes nothing;
- `execute`: the transport failed on the RPC that executes: it may have been executed;
- `gone`: the stack answered the RPC that executes with "I do not know this query": it may have been executed.

The RPC that executes may be the one that begins: then a query is in Started while it may be executed.
"""


@attrs.frozen
class Prepared:
    """The server has given the query an id."""

    query_id: str
    name: ClassVar[str] = "prepared"


@attrs.frozen
class Executed:
    """The server has accepted the query for execution."""

    name: ClassVar[str] = "executed"


@attrs.frozen
class BatchFetched:
    """A batch was fetched.

    Args:
        rows: whether there are rows in it.
        handed_out: whether the application has them by that. If a connector collects batches before it returns any
            row, its adapter says False here, and sends `RowsHandedOut` when the connector returns.
    """

    rows: bool = True
    handed_out: bool = True
    name: ClassVar[str] = "batch_fetched"


@attrs.frozen
class RowsHandedOut:
    """The application has got rows that the connector had received before."""

    name: ClassVar[str] = "rows_handed_out"


@attrs.frozen
class Exhausted:
    """The last batch was fetched."""

    name: ClassVar[str] = "exhausted"


@attrs.frozen
class Cleared:
    """The application has cleared the query."""

    name: ClassVar[str] = "cleared"


@attrs.frozen
class Cancelled:
    """The application has cancelled the query, or let it go."""

    name: ClassVar[str] = "cancelled"


@attrs.frozen
class Refused456:
    """An RPC of the query was refused at the gateway: it took no effect."""

    name: ClassVar[str] = "refused_456"


@attrs.frozen
class Errored:
    """An RPC of the query failed.

    Args:
        doubt: what that leaves open.
        may_resend: whether the request of the application that has failed may be sent again; false once its
            `retry_attempts` are used up.
    """

    doubt: Doubt = "none"
    may_resend: bool = True
    name: ClassVar[str] = "errored"


QueryEvent = (
    Prepared
    | Executed
    | BatchFetched
    | RowsHandedOut
    | Exhausted
    | Cleared
    | Cancelled
    | Refused456
    | Errored
)


@attrs.frozen
class QueryContext:
    """What is known about one query.

    Args:
        ticket: where it runs now.
        reads: whether its statement provably only reads.
        replay: the setting of that name.
        query_id: its id on the stack where it runs now.
        rows: whether a row has reached the application.
        received: whether the connector has received rows of this run of which the application has seen none.
        restarts: how often it was replayed before it was executed.
        reruns: how often it was replayed after.
    """

    ticket: Ticket
    reads: bool = False
    replay: str = "reads"
    query_id: str | None = None
    rows: bool = False
    received: bool = False
    restarts: int = 0
    reruns: int = 0


@attrs.frozen
class EndTicket:
    """Send this to the strategy machine: the ticket ends."""

    event: QueryCompleted | QueryCancelled | QueryFailed


@attrs.frozen
class Replay:
    """Prepare again on the right strategy, with a new ticket; and execute, if it had been executed."""

    execute: bool


@attrs.frozen
class DiscardRows:
    """Have the connector throw away the rows that it has received, and fetch from the beginning.

    They are of a run that has ended. Another run may return its rows in another order, so that rows of two runs must
    never be put together.
    """


@attrs.frozen
class Lose:
    """Raise `QueryLost` with this reason."""

    reason: str


QueryEffect = EndTicket | Replay | DiscardRows | Lose

RESTARTS: Final = 2
"""How often a query that has executed nothing is begun again (spec, section 5: 456)."""
RERUNS: Final = 1
"""How often a query that may have been executed is run again."""

restarts_left = Fact("restarts_left", (True, False), lambda c, _: c.restarts < RESTARTS).is_(True)
may_restart = restarts_left.named("replays left")
_reads = Fact("reads", (True, False), lambda c, _: c.reads)
_allowed = Fact("replay", ("never", "reads"), lambda c, _: c.replay)
_rows = Fact("rows_out", (True, False), lambda c, _: c.rows)
_received = Fact("rows_received", (True, False), lambda c, _: c.received)
_rerun_left = Fact("rerun_left", (True, False), lambda c, _: c.reruns < RERUNS)
_doubt = Fact("doubt", ("none", "harmless", "execute", "gone"), lambda _, e: e.doubt)
_resends = Fact("resends", (True, False), lambda _, e: e.may_resend)
_id_known = Fact("id_known", (True, False), lambda c, _: c.query_id is not None)

may_rerun = (_reads.is_(True) & _allowed.is_("reads") & _rows.is_(False) & _rerun_left.is_(True)).named(
    "read without rows out"
)
may_resend = _resends.is_(True).named("resends left")
has_received = _received.is_(True).named("rows received")
answered = _doubt.is_("none").named("server's answer")
harmless = _doubt.is_("harmless").named("transport, nothing executed")
unknown = _doubt.is_("gone").named("unknown to its stack")
ambiguous = _doubt.is_("execute", "gone").named("perhaps executed")


def take_id(context: QueryContext, event: Prepared) -> QueryContext:
    """Keep the id."""
    return attrs.evolve(context, query_id=event.query_id)


def note_rows(context: QueryContext, event: BatchFetched) -> QueryContext:
    """Remember that rows have reached the application, or the connector alone."""
    rows = context.rows or (event.rows and event.handed_out)
    return attrs.evolve(context, rows=rows, received=not rows and (context.received or event.rows))


def note_handed_out(context: QueryContext, _: RowsHandedOut) -> QueryContext:
    """Remember that the rows that the connector had received have reached the application."""
    return attrs.evolve(context, rows=True, received=False)


def restart(context: QueryContext, _: Any) -> QueryContext:
    """Begin anew: nothing had been executed."""
    return attrs.evolve(context, query_id=None, restarts=context.restarts + 1)


def rerun(context: QueryContext, _: Any) -> QueryContext:
    """Begin anew: it only reads, and nothing of it was seen."""
    return attrs.evolve(context, query_id=None, received=False, reruns=context.reruns + 1)


def completes(before: QueryContext, _: QueryContext, __: Any) -> QueryEffect:
    """EndTicket: query_completed."""
    return EndTicket(QueryCompleted(before.ticket))


def cancels(before: QueryContext, _: QueryContext, __: Any) -> QueryEffect:
    """EndTicket: query_cancelled."""
    return EndTicket(QueryCancelled(before.ticket))


def fails(before: QueryContext, _: QueryContext, __: Any) -> QueryEffect:
    """EndTicket: query_failed."""
    return EndTicket(QueryFailed(before.ticket))


def replays(_: QueryContext, __: QueryContext, ___: Any) -> QueryEffect:
    """Replay the prepare."""
    return Replay(execute=False)


def replays_execution(_: QueryContext, __: QueryContext, ___: Any) -> QueryEffect:
    """Replay the prepare and the execute."""
    return Replay(execute=True)


def discards_rows(_: QueryContext, __: QueryContext, ___: Any) -> QueryEffect:
    """DiscardRows: they are of a run that has ended."""
    return DiscardRows()


def loses_running(before: QueryContext, _: QueryContext, event: Any) -> QueryEffect:
    """Lose: its stack vanished under it."""
    return Lose(f"{_RUNNING_FAULTS[_doubt_of(event)]}; {_why_not_again(before)}")


def loses_ambiguous(before: QueryContext, _: QueryContext, event: Errored) -> QueryEffect:
    """Lose: nobody knows whether it was executed."""
    return Lose(f"{_EXECUTE_FAULTS[event.doubt]}, so it may have been executed; {_why_not_again(before)}")


_REFUSED: Final = "refused"
_RUNNING_FAULTS: Final = {
    _REFUSED: "its stack stopped serving it",
    "harmless": "its stack is out of reach",
    "execute": "its stack is out of reach",
    "gone": "its stack does not know it any more",
}
_EXECUTE_FAULTS: Final = {
    "execute": "the transport failed while it was sent for execution",
    "gone": "its stack did not know it when it was sent for execution",
}


def _doubt_of(event: Any) -> str:
    return event.doubt if isinstance(event, Errored) else _REFUSED


def _why_not_again(context: QueryContext) -> str:
    """Return why the query is not run again, in the order of the facts of `may_rerun`."""
    if context.rows:
        return "rows of it have already been handed out"
    if not context.reads:
        return "it can write, so it is not run again"
    if context.replay == "never":
        return 'replay is set to "never"'
    return "it was replayed once already" if context.reruns else "its request was sent as often as it may be"


STARTED: Final = "Started"
PREPARED: Final = "Prepared"
EXECUTING: Final = "Executing"
FETCHING: Final = "Fetching"
COMPLETED: Final = "Completed"
CANCELLED: Final = "Cancelled"
FAILED: Final = "Failed"

_LIVE: Final = (STARTED, PREPARED, EXECUTING, FETCHING)
_RUNNING: Final = (EXECUTING, FETCHING)
_OVER: Final = (COMPLETED, CANCELLED, FAILED)

ROWS = (
    go(STARTED, Prepared, PREPARED, update=take_id, why="the server has taken it on"),
    forbid(STARTED, (Executed, BatchFetched, RowsHandedOut, Exhausted), why="it has no id yet"),
    forbid((PREPARED, *_RUNNING), Prepared, why="it has an id already"),
    go(PREPARED, Executed, EXECUTING, why="accepted for execution"),
    forbid(PREPARED, (BatchFetched, RowsHandedOut, Exhausted), why="it was not executed"),
    forbid(_RUNNING, Executed, why="it is being executed already (I11)"),
    go(EXECUTING, BatchFetched, FETCHING, update=note_rows, why="the result has begun"),
    stay(FETCHING, BatchFetched, update=note_rows, why="the result goes on"),
    ignore(EXECUTING, RowsHandedOut, why="no row of this run has been received"),
    stay(
        FETCHING,
        RowsHandedOut,
        guard=has_received,
        update=note_handed_out,
        why="the application has seen rows: from now on it is not run again",
    ),
    ignore(
        FETCHING, RowsHandedOut, guard=~has_received, why="no row is there that the application has not seen"
    ),
    go(EXECUTING, Exhausted, FETCHING, why="an empty result"),
    stay(FETCHING, Exhausted, why="the ticket ends with clear, which must reach the same stack"),
    go(_LIVE, Cleared, COMPLETED, effects=(completes,), why="the application is done with it"),
    go(_LIVE, Cancelled, CANCELLED, effects=(cancels,), why="the application let it go"),
    # A 456 is answered at the gateway: nothing happened.
    stay(
        STARTED,
        Refused456,
        guard=may_restart,
        update=restart,
        effects=(fails, replays),
        why="nothing was executed",
    ),
    go(
        PREPARED,
        Refused456,
        STARTED,
        guard=may_restart,
        update=restart,
        effects=(fails, replays),
        why="nothing was executed: reads and writes alike",
    ),
    go(
        (STARTED, PREPARED),
        Refused456,
        FAILED,
        guard=~may_restart,
        effects=(fails,),
        why="at most 2 attempts; nothing was executed, so that the server's last answer goes to the application",
    ),
    go(
        EXECUTING,
        Refused456,
        STARTED,
        guard=may_rerun,
        update=rerun,
        effects=(fails, replays_execution),
        why="the drain promise was broken; nobody has seen a row",
    ),
    go(
        FETCHING,
        Refused456,
        STARTED,
        guard=may_rerun & ~has_received,
        update=rerun,
        effects=(fails, replays_execution),
        why="the drain promise was broken; nobody has seen a row",
    ),
    go(
        FETCHING,
        Refused456,
        STARTED,
        guard=may_rerun & has_received,
        update=rerun,
        effects=(fails, discards_rows, replays_execution),
        why="the drain promise was broken; the connector has rows, and the application has seen none of them",
    ),
    go(
        _RUNNING,
        Refused456,
        FAILED,
        guard=~may_rerun,
        effects=(fails, loses_running),
        why="never run a statement that can write twice, never hand out rows twice",
    ),
    # An error of the transport leaves open whether the RPC took effect.
    go(
        _LIVE,
        Errored,
        FAILED,
        guard=answered,
        effects=(fails,),
        why="the server's own answer goes to the application",
    ),
    stay(
        STARTED,
        Errored,
        guard=harmless & may_restart & may_resend,
        update=restart,
        effects=(fails, replays),
        why="nothing was executed",
    ),
    go(
        STARTED,
        Errored,
        FAILED,
        guard=harmless & ~(may_restart & may_resend),
        effects=(fails,),
        why="the attempts are used up: the transport's error goes to the application",
    ),
    stay(
        STARTED,
        Errored,
        guard=ambiguous & may_rerun & may_resend,
        update=rerun,
        effects=(fails, replays),
        why="its begin executes as well, so it may have been executed; but it only reads",
    ),
    go(
        STARTED,
        Errored,
        FAILED,
        guard=ambiguous & ~(may_rerun & may_resend),
        effects=(fails, loses_ambiguous),
        why="its begin executes as well, so it may have been executed (I11)",
    ),
    go(
        PREPARED,
        Errored,
        STARTED,
        guard=harmless & may_restart & may_resend,
        update=restart,
        effects=(fails, replays),
        why="nothing was executed",
    ),
    go(
        PREPARED,
        Errored,
        FAILED,
        guard=harmless & ~(may_restart & may_resend),
        effects=(fails,),
        why="the attempts are used up: the transport's error goes to the application",
    ),
    go(
        PREPARED,
        Errored,
        STARTED,
        guard=ambiguous & may_rerun & may_resend,
        update=rerun,
        effects=(fails, replays),
        why="it may have been executed, but it only reads",
    ),
    go(
        PREPARED,
        Errored,
        FAILED,
        guard=ambiguous & ~(may_rerun & may_resend),
        effects=(fails, loses_ambiguous),
        why="it may have been executed (I11)",
    ),
    go(
        EXECUTING,
        Errored,
        STARTED,
        guard=~answered & may_rerun & may_resend,
        update=rerun,
        effects=(fails, replays_execution),
        why="its stack is out of reach; nobody has seen a row",
    ),
    go(
        FETCHING,
        Errored,
        STARTED,
        guard=~answered & may_rerun & may_resend & ~has_received,
        update=rerun,
        effects=(fails, replays_execution),
        why="its stack is out of reach; nobody has seen a row",
    ),
    go(
        FETCHING,
        Errored,
        STARTED,
        guard=~answered & may_rerun & may_resend & has_received,
        update=rerun,
        effects=(fails, discards_rows, replays_execution),
        why="its stack is out of reach; the connector has rows, and the application has seen none of them",
    ),
    go(
        _RUNNING,
        Errored,
        FAILED,
        guard=~answered & ~(may_rerun & may_resend),
        effects=(fails, loses_running),
        why="never run a statement that can write twice, never hand out rows twice",
    ),
    # A final state ends the ticket exactly once.
    forbid(_OVER, (Cleared, Cancelled), why="it has ended already"),
    ignore(
        _OVER,
        (Prepared, Executed, BatchFetched, RowsHandedOut, Exhausted),
        why="late news of a query that has ended",
    ),
    ignore(_OVER, (Refused456, Errored), why="it has ended: there is nothing to repair"),
)


# What the connector receives is of the present run: a query that begins again has received nothing.
_fresh: Final = (_id_known.is_(True) & ~has_received).named("id known, no rows received")


def _contexts() -> Iterator[QueryContext]:
    ticket = Ticket(1, "blue", 7)
    flags = (False, True)
    seen = ((False, False), (False, True), (True, False))  # rows out, rows received
    for reads, replay, known, (rows, received), times in product(
        flags, ("never", "reads"), flags, seen, (0, 2)
    ):
        yield QueryContext(ticket, reads, replay, "q-1" if known else None, rows, received, times, times)


QUERY: Final[Table[QueryContext, QueryEvent, QueryEffect]] = Table(
    name="query",
    initial=STARTED,
    states=(
        State(STARTED, holds=(_id_known.is_(False) & ~has_received).named("no id, no rows received")),
        State(PREPARED, holds=_fresh, tags=("repairable",)),
        State(EXECUTING, holds=_fresh, tags=("executed",)),
        State(FETCHING, holds=_id_known.is_(True).named("id known"), tags=("executed",)),
        *(State(name, final=True) for name in _OVER),
    ),
    events=(
        Prepared,
        Executed,
        BatchFetched,
        RowsHandedOut,
        Exhausted,
        Cleared,
        Cancelled,
        Refused456,
        Errored,
    ),
    rows=ROWS,
    contexts=_contexts(),
    samples=(
        Prepared("q-2"),
        Executed(),
        BatchFetched(True),
        BatchFetched(True, handed_out=False),
        BatchFetched(False),
        RowsHandedOut(),
        Exhausted(),
        Cleared(),
        Cancelled(),
        Refused456(),
        Errored("none"),
        Errored("harmless"),
        Errored("execute"),
        Errored("gone"),
        Errored("harmless", may_resend=False),
        Errored("execute", may_resend=False),
    ),
)
"""The query machine."""


def is_replayed(state: str, context: QueryContext, event: QueryEvent) -> bool:
    """Return whether the query is begun again after `event`. Nothing changes."""
    return not {replays, replays_execution}.isdisjoint(QUERY.row(state, context, event).effects)
