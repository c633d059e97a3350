"""Hypothesis strategies for the core: contexts that a state allows, and events aimed at a context."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bluegreen.config.settings import Settings
from bluegreen.machines.query import (
    BatchFetched,
    Cancelled,
    Cleared,
    Errored,
    Executed,
    Exhausted,
    Prepared,
    QueryContext,
    QueryEvent,
    Refused456,
    RowsHandedOut,
)
from bluegreen.machines.strategy.context import FAILURES_COUNTED, REFUSALS_COUNTED, Context
from bluegreen.machines.strategy.events import (
    EVENTS,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    StrategyEvent,
)
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.single_table import is_news
from bluegreen.verify.exploration.single_table import news as variants

BLUE, GREEN = Strategy.BLUE, Strategy.GREEN
ENDS = (QueryCompleted, QueryCancelled, QueryFailed)
NEWS = tuple(filter(is_news, EVENTS))
STATES = ("Detecting", "Stable", "PendingTransition", "Failed")

strategies = st.sampled_from(Strategy)
scope_settings = st.builds(
    Settings,
    commit_when=st.sampled_from(["drained", "first_safe_point"]),
    default_strategy=st.sampled_from([None, *Strategy]),
)
states = st.sampled_from(STATES)


@st.composite
def contexts(draw: st.DrawFn, state: str) -> Context:
    """Any context that the specification allows in `state` (section 7, I1)."""
    known = st.none() | strategies
    active = draw(known if state in ("Detecting", "Failed") else strategies)
    pending = active.other if active is not None and state == "PendingTransition" else None
    untried: tuple[Strategy, ...] = ()
    if state == "Detecting":
        untried = draw(st.sampled_from([(BLUE,), (GREEN,), (BLUE, GREEN), (GREEN, BLUE)]))
    # What is pending is never held down; in a transition, only what a rollback leaves can be.
    held_down = draw(known) if state != "PendingTransition" else draw(st.sampled_from([None, active]))
    return Context(
        active=active,
        pending=pending,
        previous=draw(st.sampled_from([None, active.other])) if active is not None else None,
        untried=untried,
        held_down=held_down,
        state_version=draw(st.integers(2, 9)),
        open_blue=draw(st.integers(0, 2)),
        open_green=draw(st.integers(0, 2)),
        verified=draw(st.booleans()),
        settings=draw(scope_settings),
        failed_in_a_row=draw(st.integers(0, FAILURES_COUNTED)),
        refused_blue=draw(st.integers(0, REFUSALS_COUNTED)),
        refused_green=draw(st.integers(0, REFUSALS_COUNTED)),
        rolled_back=held_down is not None
        and draw(st.booleans())
        and (state, held_down) != ("Stable", active),
    )


@st.composite
def situations(draw: st.DrawFn, state: str | None = None) -> tuple[str, Context]:
    """A state, and a context that it allows."""
    name = draw(states) if state is None else state
    return name, draw(contexts(name))


@st.composite
def news(draw: st.DrawFn, context: Context, *, ages: tuple[int, ...] = (0, 0, 1, 2)) -> StrategyEvent:
    """Something that an answer says about a strategy; `ages`: by how many versions it may be late."""
    cls = draw(st.sampled_from(NEWS))
    version = context.state_version - draw(st.sampled_from(ages))
    made: StrategyEvent = draw(st.sampled_from(list(variants(cls, draw(strategies), version))))
    return made


@st.composite
def events(draw: st.DrawFn, context: Context) -> StrategyEvent:
    """Any event: news fresh or late, tickets that are open or not."""
    cls = draw(st.sampled_from(EVENTS))
    if cls in ENDS:
        made: StrategyEvent = cls(Ticket(1, draw(strategies), 1))
    elif cls in NEWS:
        version = context.state_version - draw(st.sampled_from((0, 0, 1, 2)))
        made = draw(st.sampled_from(list(variants(cls, draw(strategies), version))))
    elif cls is QueryStarted:
        made = QueryStarted(draw(st.none() | strategies))
    else:
        made = cls()
    return made


@st.composite
def steps(draw: st.DrawFn, state: str | None = None) -> tuple[str, Context, StrategyEvent]:
    """A state, a context that it allows, and an event."""
    name, context = draw(situations(state))
    return name, context, draw(events(context))


QUERY_STATES = ("Started", "Prepared", "Executing", "Fetching", "Completed", "Cancelled", "Failed")

query_events: st.SearchStrategy[QueryEvent] = st.sampled_from(
    [
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
    ]
)


@st.composite
def query_contexts(draw: st.DrawFn, state: str = "Started") -> QueryContext:
    """Any context of a query that `state` allows: no id before Prepared, one after it; no row before Fetching."""
    flags: dict[str, Any] = {
        "Started": st.none(),
        "Prepared": st.just("q-1"),
        "Executing": st.just("q-1"),
        "Fetching": st.just("q-1"),
    }
    rows, received = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    return QueryContext(
        Ticket(1, draw(strategies), draw(st.integers(0, 9))),
        reads=draw(st.booleans()),
        replay=draw(st.sampled_from(["never", "reads"])),
        query_id=draw(flags.get(state, st.sampled_from([None, "q-1"]))),
        rows=rows,
        received=received and state not in ("Started", "Prepared", "Executing"),
        restarts=draw(st.integers(0, 2)),
        reruns=draw(st.integers(0, 1)),
    )


@st.composite
def query_situations(draw: st.DrawFn) -> tuple[str, QueryContext]:
    """A state of the query machine, and a context that it allows."""
    state = draw(st.sampled_from(QUERY_STATES))
    return state, draw(query_contexts(state))


@st.composite
def query_steps(draw: st.DrawFn) -> tuple[str, QueryContext, QueryEvent]:
    """A state of the query machine, a context that it allows, and an event."""
    return *draw(query_situations()), draw(query_events)
