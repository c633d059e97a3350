"""The query machine does what section 3 of its specification says.

The cases were written down from the specification's text, not from the rows. `reads`: the statement
provably only reads; `rows`: a row has reached the application; `received`: the connector has received rows, and the
application has seen none of them; `reruns`: how often it was replayed after it was executed.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import attrs
import pytest

from bluegreen.errors import EventForbidden
from bluegreen.machines.query import (
    QUERY,
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
    QueryContext,
    Refused456,
    Replay,
    RowsHandedOut,
)
from bluegreen.machines.strategy.events import QueryCancelled, QueryCompleted, QueryFailed
from bluegreen.table.rows import RowKind
from bluegreen.table.step import step
from bluegreen.types import Ticket

TICKET = Ticket(7, "blue", 3)
NEW = QueryContext(TICKET)
"""A statement that can write, or that is not provably a read."""
WRITE = attrs.evolve(NEW, query_id="q-1")
READ = attrs.evolve(WRITE, reads=True)
RECEIVED = attrs.evolve(READ, received=True)
COLLECTED = BatchFetched(handed_out=False)

LIVE = ("Started", "Prepared", "Executing", "Fetching")
RUNNING = ("Executing", "Fetching")
FINAL = ("Completed", "Cancelled", "Failed")
FAILS = EndTicket(QueryFailed(TICKET))
SERVER, HARMLESS, ON_EXECUTE, GONE = (
    Errored("none"),
    Errored("harmless"),
    Errored("execute"),
    Errored("gone"),
)

USED_UP = Errored("harmless", may_resend=False)
BROKEN = (
    (Refused456(), "its stack stopped serving it; "),
    (HARMLESS, "its stack is out of reach; "),
    (ON_EXECUTE, "its stack is out of reach; "),
    (GONE, "its stack does not know it any more; "),
)

CAN_WRITE = "it can write, so it is not run again"
ROWS_OUT = "rows of it have already been handed out"
NEVER = 'replay is set to "never"'
ONCE = "it was replayed once already"
NO_RESEND = "its request was sent as often as it may be"


def having(context: QueryContext, **changes: Any) -> QueryContext:
    return attrs.evolve(context, **changes)


Case = tuple[str, str, QueryContext, Any, str, "str | None", "dict[str, Any]", "list[Any]"]

# state, condition, context, event, outcome, target, what changes, effects
CASES: list[Case] = [
    # The way of a query to which nothing happens.
    ("Started", "", NEW, Prepared("q-1"), "go", "Prepared", {"query_id": "q-1"}, []),
    ("Prepared", "", WRITE, Executed(), "go", "Executing", {}, []),
    ("Executing", "rows", WRITE, BatchFetched(), "go", "Fetching", {"rows": True}, []),
    ("Executing", "no rows", WRITE, BatchFetched(rows=False), "go", "Fetching", {}, []),
    ("Executing", "empty result", WRITE, Exhausted(), "go", "Fetching", {}, []),
    ("Fetching", "rows", WRITE, BatchFetched(), "stay", None, {"rows": True}, []),
    ("Fetching", "no more rows", having(WRITE, rows=True), BatchFetched(rows=False), "stay", None, {}, []),
    ("Fetching", "", WRITE, Exhausted(), "stay", None, {}, []),
    # Rows that a connector collects before the application sees them.
    ("Executing", "collected", WRITE, COLLECTED, "go", "Fetching", {"received": True}, []),
    ("Fetching", "collected", WRITE, COLLECTED, "stay", None, {"received": True}, []),
    ("Fetching", "collected, no more rows", RECEIVED, BatchFetched(rows=False, handed_out=False), "stay", None, {}, []),
    ("Fetching", "collected after rows out", having(WRITE, rows=True), COLLECTED, "stay", None, {}, []),
    ("Fetching", "rows at once after collected ones", RECEIVED, BatchFetched(), "stay", None,
     {"rows": True, "received": False}, []),
    ("Fetching", "collected", RECEIVED, RowsHandedOut(), "stay", None, {"rows": True, "received": False}, []),
    ("Fetching", "again", having(WRITE, rows=True), RowsHandedOut(), "ignore", None, {}, []),
    ("Fetching", "nothing received", WRITE, RowsHandedOut(), "ignore", None, {}, []),
    ("Executing", "nothing received", WRITE, RowsHandedOut(), "ignore", None, {}, []),
    # Out of order.
    ("Started", "", NEW, Executed(), "forbid", None, {}, []),
    ("Started", "", NEW, BatchFetched(), "forbid", None, {}, []),
    ("Started", "", NEW, Exhausted(), "forbid", None, {}, []),
    ("Prepared", "", WRITE, Prepared("q-2"), "forbid", None, {}, []),
    ("Prepared", "", WRITE, BatchFetched(), "forbid", None, {}, []),
    ("Prepared", "", WRITE, Exhausted(), "forbid", None, {}, []),
    ("Started", "", NEW, RowsHandedOut(), "forbid", None, {}, []),
    ("Prepared", "", WRITE, RowsHandedOut(), "forbid", None, {}, []),
    # 456 before execution: replayed, at most twice, reads and writes alike.
    ("Started", "first", NEW, Refused456(), "stay", None, {"restarts": 1}, [FAILS, Replay(execute=False)]),
    ("Started", "second", having(NEW, restarts=1), Refused456(), "stay", None, {"restarts": 2},
     [FAILS, Replay(execute=False)]),
    ("Started", "third", having(NEW, restarts=2), Refused456(), "go", "Failed", {}, [FAILS]),
    ("Prepared", "write", WRITE, Refused456(), "go", "Started", {"query_id": None, "restarts": 1},
     [FAILS, Replay(execute=False)]),
    ("Prepared", "read", having(READ, restarts=1), Refused456(), "go", "Started",
     {"query_id": None, "restarts": 2}, [FAILS, Replay(execute=False)]),
    ("Prepared", "replay never", having(READ, replay="never"), Refused456(), "go", "Started",
     {"query_id": None, "restarts": 1}, [FAILS, Replay(execute=False)]),
    ("Prepared", "third", having(READ, restarts=2), Refused456(), "go", "Failed", {}, [FAILS]),
    ("Prepared", "third, replayed after it was executed", having(READ, restarts=2, reruns=1), Refused456(), "go",
     "Failed", {}, [FAILS]),
    # A transport error before execution: the same, and in the end the transport's own error.
    ("Started", "harmless", NEW, HARMLESS, "stay", None, {"restarts": 1}, [FAILS, Replay(execute=False)]),
    ("Started", "harmless, third", having(NEW, restarts=2), HARMLESS, "go", "Failed", {}, [FAILS]),
    ("Prepared", "harmless", WRITE, HARMLESS, "go", "Started", {"query_id": None, "restarts": 1},
     [FAILS, Replay(execute=False)]),
    ("Prepared", "harmless, third", having(WRITE, restarts=2), HARMLESS, "go", "Failed", {}, [FAILS]),
    # Nor is anything begun again for a request that may not be sent again.
    ("Started", "harmless, no resend left", NEW, USED_UP, "go", "Failed", {}, [FAILS]),
    ("Prepared", "harmless, no resend left", WRITE, USED_UP, "go", "Failed", {}, [FAILS]),
]  # fmt: skip

# What executes may have been executed: the execute of a query that has its id, or a begin that executes as well.
for Sent, Idless, Move in (
    ("Prepared", {}, ("go", "Started")),
    ("Started", {"query_id": None}, ("stay", None)),
):
    for Unsure, Fault in (
        (ON_EXECUTE, "the transport failed while it was sent for execution"),
        (GONE, "its stack did not know it when it was sent for execution"),
    ):
        Perhaps = f"{Fault}, so it may have been executed; "
        CASES += [
            (Sent, "read", having(READ, **Idless), Unsure, *Move, {"query_id": None, "reruns": 1},
             [FAILS, Replay(execute=False)]),
            (Sent, "read, attempts before execution used up", having(READ, restarts=2, **Idless), Unsure, *Move,
             {"query_id": None, "reruns": 1}, [FAILS, Replay(execute=False)]),
            (Sent, "write", having(WRITE, **Idless), Unsure, "go", "Failed", {},
             [FAILS, Lose(Perhaps + CAN_WRITE)]),
            (Sent, "replay never", having(READ, replay="never", **Idless), Unsure, "go", "Failed", {},
             [FAILS, Lose(Perhaps + NEVER)]),
            (Sent, "replayed before", having(READ, reruns=1, **Idless), Unsure, "go", "Failed", {},
             [FAILS, Lose(Perhaps + ONCE)]),
            (Sent, "no resend left", having(READ, **Idless), Errored(Unsure.doubt, may_resend=False), "go", "Failed",
             {}, [FAILS, Lose(Perhaps + NO_RESEND)]),
        ]  # fmt: skip

for Live in LIVE:
    Known = NEW if Live == "Started" else WRITE
    CASES += [
        (Live, "", Known, Cleared(), "go", "Completed", {}, [EndTicket(QueryCompleted(TICKET))]),
        (Live, "", Known, Cancelled(), "go", "Cancelled", {}, [EndTicket(QueryCancelled(TICKET))]),
        (Live, "the server's answer", Known, SERVER, "go", "Failed", {}, [FAILS]),
    ]

# 456, or a transport that fails, while the query is being executed: the drain promise was broken.
for Running in RUNNING:
    CASES += [
        (Running, "", WRITE, Prepared("q-2"), "forbid", None, {}, []),
        (Running, "", WRITE, Executed(), "forbid", None, {}, []),
    ]
    for Broken, Fault in BROKEN:
        CASES += [
            (Running, "read", READ, Broken, "go", "Started", {"query_id": None, "reruns": 1},
             [FAILS, Replay(execute=True)]),
            (Running, "read, attempts before execution used up", having(READ, restarts=2), Broken, "go",
             "Started", {"query_id": None, "reruns": 1}, [FAILS, Replay(execute=True)]),
            (Running, "write", WRITE, Broken, "go", "Failed", {}, [FAILS, Lose(Fault + CAN_WRITE)]),
            (Running, "rows out", having(READ, rows=True), Broken, "go", "Failed", {},
             [FAILS, Lose(Fault + ROWS_OUT)]),
            (Running, "replay never", having(READ, replay="never"), Broken, "go", "Failed", {},
             [FAILS, Lose(Fault + NEVER)]),
            (Running, "second time", having(READ, reruns=1), Broken, "go", "Failed", {},
             [FAILS, Lose(Fault + ONCE)]),
        ]  # fmt: skip
    CASES.append(
        (Running, "read, no resend left", READ, USED_UP, "go", "Failed", {},
         [FAILS, Lose("its stack is out of reach; " + NO_RESEND)]),
    )  # fmt: skip


# The application has seen none of its rows: the connector throws them away, and the query runs again.
for Broken, Fault in BROKEN:
    CASES += [
        ("Fetching", "read, rows received", RECEIVED, Broken, "go", "Started",
         {"query_id": None, "received": False, "reruns": 1}, [FAILS, DiscardRows(), Replay(execute=True)]),
        ("Fetching", "write, rows received", having(RECEIVED, reads=False), Broken, "go", "Failed", {},
         [FAILS, Lose(Fault + CAN_WRITE)]),
        ("Fetching", "second time, rows received", having(RECEIVED, reruns=1), Broken, "go", "Failed", {},
         [FAILS, Lose(Fault + ONCE)]),
    ]  # fmt: skip

# A final state ends the ticket exactly once.
for Over in FINAL:
    CASES += [
        (Over, "", WRITE, Cleared(), "forbid", None, {}, []),
        (Over, "", WRITE, Cancelled(), "forbid", None, {}, []),
    ]
    for Late in (
        Prepared("q-2"),
        Executed(),
        BatchFetched(),
        RowsHandedOut(),
        Exhausted(),
        Refused456(),
        SERVER,
        HARMLESS,
        ON_EXECUTE,
        GONE,
    ):
        CASES.append((Over, "", WRITE, Late, "ignore", None, {}, []))


def name_of(case: Case) -> str:
    doubt = f"_{case[3].doubt}" if isinstance(case[3], Errored) else ""
    return f"{case[0]}-{case[3].name}{doubt}-{case[1] or 'always'}".replace(" ", "_")


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_cell_does_what_the_specification_says(case: Case) -> None:
    state, _, context, event, outcome, target, changes, effects = case
    row = QUERY.row(state, context, event)
    assert (row.outcome, row.target) == (RowKind(outcome), target)
    if outcome == "forbid":
        with pytest.raises(EventForbidden):
            step(QUERY, state, context, event)
        return
    taken = step(QUERY, state, context, event)
    assert (taken.state, taken.row) == (target or state, row)
    assert taken.context == attrs.evolve(context, **changes)
    assert list(taken.effects) == effects


def test_every_state_and_event_of_the_specification_has_a_case() -> None:
    assert {(case[0], case[3].name) for case in CASES} == set(
        product(
            (*LIVE, *FINAL),
            (
                "prepared",
                "executed",
                "batch_fetched",
                "rows_handed_out",
                "exhausted",
                "cleared",
                "cancelled",
                "refused_456",
                "errored",
            ),
        )
    )


def test_every_row_is_taken_by_a_case() -> None:
    taken = {id(QUERY.row(case[0], case[2], case[3])) for case in CASES}
    assert [str(row) for row in QUERY.rows if id(row) not in taken] == []


def test_the_states_the_initial_one_and_the_final_ones_are_those_of_the_specification() -> None:
    assert QUERY.initial == "Started"
    assert [state.name for state in QUERY.states if not state.final] == list(LIVE)
    assert [state.name for state in QUERY.states if state.final] == list(FINAL)


def test_every_row_that_can_change_something_was_tried_when_the_table_was_defined() -> None:
    tried = {
        id(QUERY.row(state.name, context, event))
        for state in QUERY.states
        for context in QUERY.contexts
        if QUERY.holds(state.name, context)
        for event in QUERY.samples
    }
    live = [row for row in QUERY.rows if row.outcome in (RowKind.GO, RowKind.STAY)]
    assert [str(row) for row in live if id(row) not in tried] == []


def test_a_query_of_which_nothing_can_have_been_executed_is_never_lost() -> None:
    for state, _, context, event, outcome, _, _, effects in CASES:
        if outcome != "forbid" and any(isinstance(effect, Lose) for effect in effects):
            assert context.query_id is None or state in ("Prepared", *RUNNING)
            assert state in RUNNING or (isinstance(event, Errored) and event.doubt in ("execute", "gone"))


@pytest.mark.parametrize("unsure", [ON_EXECUTE, GONE], ids=["transport", "gone"])
@pytest.mark.parametrize("state", ["Started", "Prepared"])
def test_a_write_that_may_have_been_executed_is_not_sent_again(state: str, unsure: Errored) -> None:
    """Whichever RPC executes it, and whichever of the two it is about which nobody knows."""
    context = NEW if state == "Started" else WRITE
    taken = step(QUERY, state, context, unsure)
    assert taken.state == "Failed"
    assert [type(effect) for effect in taken.effects] == [EndTicket, Lose]


@pytest.mark.parametrize("broken", [Refused456(), HARMLESS, GONE], ids=["456", "transport", "gone"])
def test_a_read_runs_again_until_its_collected_rows_are_handed_out(broken: Any) -> None:
    collected = step(QUERY, "Executing", READ, COLLECTED)
    again = step(QUERY, collected.state, collected.context, broken)
    assert (again.state, again.context.received) == ("Started", False)
    seen = step(QUERY, collected.state, collected.context, RowsHandedOut())
    lost = step(QUERY, seen.state, seen.context, broken)
    assert lost.state == "Failed"
    assert ROWS_OUT in str(lost.effects)


@pytest.mark.parametrize("context", [NEW, having(NEW, reads=True)], ids=["write", "read"])
def test_a_statement_is_sent_for_execution_once_unless_it_only_reads_and_then_twice_at_most(
    context: QueryContext,
) -> None:
    """I11, with the worst that a server can do: a refusal of every attempt, as long as there is a replay."""
    executions, state = 0, "Started"
    for _ in range(20):
        for event in (Prepared("q"), Executed(), Refused456()):
            state, context, effects, _ = step(QUERY, state, context, event)
            executions += event == Executed()
        if not any(isinstance(effect, Replay) for effect in effects):
            break
    assert state == "Failed"
    assert executions == (2 if context.reads else 1)
