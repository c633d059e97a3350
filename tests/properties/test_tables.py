"""Properties of the pure steps: for every context that a state allows, and every event.

The invariants are those of the specification, section 7. They are spelled out here once more: a condition of
a state that a table declares is not taken as a proof of itself.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY, EndTicket, Errored, Executed, Lose, QueryContext, Replay
from bluegreen.machines.strategy.context import FAILURES_COUNTED, REFUSALS_COUNTED, Context
from bluegreen.machines.strategy.effects import Authenticate, CloseSessions, IssueTicket
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    QueryCompleted,
    QueryStarted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
    StrategyEvent,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.rows import RowKind
from bluegreen.table.step import explain, may, step
from bluegreen.table.table import Table
from bluegreen.table.transitions_facade import Machine
from bluegreen.types import Strategy, Ticket
from support.strategies import (
    BLUE,
    ENDS,
    NEWS,
    STATES,
    events,
    news,
    query_steps,
    situations,
    steps,
    strategies,
)

Situation = tuple[str, Context]
Sent = tuple[str, Context, StrategyEvent]
QuerySent = tuple[str, QueryContext, Any]
AnyStep = tuple[Table[Any, Any, Any], str, Any, Any]
ANY_STEP: st.SearchStrategy[AnyStep] = st.one_of(
    steps().map(lambda one: (STRATEGY, *one)), query_steps().map(lambda one: (QUERY, *one))
)


def coherent(state: str, context: Context) -> bool:
    """I1, as the specification says it."""
    match state:
        case "Stable":
            return context.active is not None and context.pending is None
        case "PendingTransition":
            return None not in (context.active, context.pending) and context.active is not context.pending
        case "Failed":
            return context.pending is None
        case _:
            return len(context.untried) > 0


def accepted(state: str, context: Context, event: StrategyEvent) -> bool:
    return STRATEGY.row(state, context, event).outcome is not RowKind.FORBID


# Every step of any table.


@given(ANY_STEP)
def test_i12_exactly_one_guard_of_a_cell_is_true_and_it_is_the_row_that_is_taken(sent: AnyStep) -> None:
    table, state, context, event = sent
    enabled = [
        row
        for row in table.cell(state, type(event))
        if row.guard.holds({fact.name: fact.of(context, event) for fact in row.guard.facts})
    ]
    assert len(enabled) == 1
    assert table.row(state, context, event) is enabled[0]


@given(ANY_STEP)
def test_a_step_is_repeatable_and_a_forbidden_one_too(sent: AnyStep) -> None:
    table, state, context, event = sent
    outcomes: list[Any] = []
    for _ in range(2):
        try:
            outcomes.append(step(table, state, context, event))
        except EventForbidden as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@given(ANY_STEP)
def test_i10_a_machine_that_refuses_an_event_is_as_it_was(sent: AnyStep) -> None:
    table, state, context, event = sent
    machine = Machine(table, context)
    machine.set_state(state)
    row = table.row(state, context, event)
    if row.outcome is RowKind.FORBID:
        with pytest.raises(EventForbidden):
            machine.send(event)
        assert machine.state == state
        assert machine.context is context
    else:
        taken = machine.send(event)
        assert (machine.state, machine.context) == (taken.state, taken.context)


@given(ANY_STEP)
def test_asking_gives_the_answer_that_sending_gives(sent: AnyStep) -> None:
    table, state, context, event = sent
    told = explain(table, state, context, event)
    if may(table, state, context, event):
        assert told.startswith(str(step(table, state, context, event).row))
    else:
        with pytest.raises(EventForbidden):
            step(table, state, context, event)


@given(ANY_STEP)
def test_a_step_keeps_the_condition_of_the_state_that_it_leads_to(sent: AnyStep) -> None:
    table, state, context, event = sent
    assert table.holds(state, context)
    if may(table, state, context, event):
        taken = step(table, state, context, event)
        assert table.holds(taken.state, taken.context)


# The strategy machine.


@given(steps())
def test_i1_state_and_context_are_coherent_after_every_step(sent: Sent) -> None:
    state, context, _ = sent
    assert coherent(state, context)
    if accepted(*sent):
        taken = step(STRATEGY, *sent)
        assert coherent(taken.state, taken.context)


@given(situations())
def test_i3_a_query_starts_on_pending_or_else_on_active_and_never_elsewhere(situation: Situation) -> None:
    state, context = situation
    if state in ("Detecting", "Failed"):
        with pytest.raises(EventForbidden):
            step(STRATEGY, state, context, QueryStarted())
        return
    taken = step(STRATEGY, state, context, QueryStarted())
    route = context.pending if state == "PendingTransition" else context.active
    assert taken.effects == (IssueTicket(route, context.state_version),)  # type: ignore[arg-type]
    assert taken.state == state


@given(situations(), strategies)
def test_i3_a_query_that_is_alone_begins_where_its_connection_is_accepted(
    situation: Situation, alone: Strategy
) -> None:
    state, context = situation
    if state == "Failed":
        with pytest.raises(EventForbidden):
            step(STRATEGY, state, context, QueryStarted(alone))
        return
    taken = step(STRATEGY, state, context, QueryStarted(alone))
    assert taken.effects == (IssueTicket(alone, context.state_version),)
    assert taken.context.open_on(alone) == context.open_on(alone) + 1


@given(steps())
def test_i13_what_concerns_one_connection_changes_nothing_for_others(sent: Sent) -> None:
    state, context, event = sent
    alone = isinstance(event, QueryStarted) and event.alone is not None
    if not (alone or getattr(event, "served_since", False)) or not accepted(*sent):
        return
    taken = step(STRATEGY, *sent)
    counted = attrs.evolve(context, open_blue=taken.context.open_blue, open_green=taken.context.open_green)
    assert (taken.state, taken.context) == (state, counted)
    assert alone or taken.context == context
    assert [type(effect) for effect in taken.effects] == ([IssueTicket] if alone else [])


@given(steps())
def test_i4_active_is_replaced_only_by_a_safe_point_a_drain_that_timed_out_or_a_detection(sent: Sent) -> None:
    state, context, event = sent
    if not accepted(*sent):
        return
    taken = step(STRATEGY, *sent)
    if taken.context.active is not context.active:
        commits = state == "PendingTransition" and isinstance(event, (ConnectionOpened, DrainTimedOut, *ENDS))
        assert commits or state == "Detecting"
        assert taken.state == "Stable"
        assert taken.context.previous is (context.active or context.previous)


@given(steps())
def test_i5_open_tickets_are_those_started_minus_those_ended_on_each_strategy(sent: Sent) -> None:
    _, context, event = sent
    if not accepted(*sent):
        return
    taken = step(STRATEGY, *sent)
    for strategy in Strategy:
        started = sum(effect == IssueTicket(strategy, context.state_version) for effect in taken.effects)
        ended = isinstance(event, ENDS) and event.ticket.strategy is strategy
        assert taken.context.open_on(strategy) == context.open_on(strategy) + started - ended >= 0


@given(situations(), strategies)
def test_i5_a_ticket_that_is_not_open_cannot_end(situation: Situation, strategy: Strategy) -> None:
    state, context = situation
    assume(context.open_on(strategy) == 0)
    for end in ENDS:
        with pytest.raises(EventForbidden):
            step(STRATEGY, state, context, end(Ticket(1, strategy, 0)))


@given(st.data(), situations())
def test_i6_stale_news_changes_nothing_and_causes_nothing(data: st.DataObject, situation: Situation) -> None:
    state, context = situation
    event = data.draw(news(context, ages=(1, 2)))
    taken = step(STRATEGY, state, context, event)
    assert (taken.state, taken.context, taken.effects) == (state, context, ())


def test_i6_every_kind_of_stale_news_changes_nothing_in_any_sample_of_any_state() -> None:
    tried = 0
    for state, context in product(STATES, STRATEGY.contexts):
        if STRATEGY.holds(state, context):
            for kind, strategy in product(NEWS, Strategy):
                taken = step(STRATEGY, state, context, kind(strategy, context.state_version - 1))
                assert (taken.state, taken.context, taken.effects) == (state, context, ())
                tried += 1
    assert tried > 1000


@given(steps())
def test_i6_the_version_counts_the_steps_that_change_state_active_or_pending(sent: Sent) -> None:
    state, context, _ = sent
    if not accepted(*sent):
        return
    taken = step(STRATEGY, *sent)
    before, after = (
        (state, context.active, context.pending),
        (taken.state, taken.context.active, taken.context.pending),
    )
    assert taken.context.state_version == context.state_version + (before != after)


@given(situations("Stable"))
def test_i7_a_rollback_of_an_announcement_leads_back_to_the_state_before_it(situation: Situation) -> None:
    state, context = situation
    assert context.active is not None
    assume(context.held_down is not context.active.other)
    announced = step(STRATEGY, state, context, StrategyAnnounced(context.active.other, context.state_version))
    assert announced.state == "PendingTransition"
    back = step(STRATEGY, announced.state, announced.context, RollbackRequested())
    assert back.state == state
    aside = {"state_version": 0, "held_down": None, "rolled_back": False}
    assert attrs.evolve(back.context, **aside) == attrs.evolve(context, **aside)
    assert (back.context.held_down, back.context.rolled_back) == (context.active.other, True)


@given(situations("Stable"))
def test_i7_a_withdrawn_announcement_leads_back_to_the_state_before_it(situation: Situation) -> None:
    state, context = situation
    assert context.active is not None
    assume(context.held_down is not context.active.other)
    announced = step(STRATEGY, state, context, StrategyAnnounced(context.active.other, context.state_version))
    withdrawn = StrategyAnnounced(context.active, announced.context.state_version)
    back = step(STRATEGY, announced.state, announced.context, withdrawn)
    assert (back.state, attrs.evolve(back.context, state_version=context.state_version)) == (state, context)


@given(situations("Stable"))
def test_a_rollback_of_a_commit_leads_to_the_strategy_before_it(situation: Situation) -> None:
    state, context = situation
    assert context.active is not None
    assume(context.held_down is not context.active.other)
    announced = step(STRATEGY, state, context, StrategyAnnounced(context.active.other, context.state_version))
    committed = step(STRATEGY, announced.state, announced.context, DrainTimedOut())
    asked = step(STRATEGY, committed.state, committed.context, RollbackRequested())
    back = step(STRATEGY, asked.state, asked.context, DrainTimedOut())
    assert (back.state, back.context.active, back.context.previous) == (
        "Stable",
        context.active,
        context.active.other,
    )


@given(steps("Detecting"))
def test_i8_a_detection_never_tries_again_what_it_has_heard_from(sent: Sent) -> None:
    _, context, event = sent
    if not accepted(*sent):
        return
    taken = step(STRATEGY, *sent)
    if taken.state == "Detecting":
        assert set(taken.context.untried) <= set(context.untried)
        of_one = getattr(event, "served_since", False)
        if (
            isinstance(event, (Error456, AuthFailure))
            and event.state_version == context.state_version
            and not of_one
        ):
            assert event.strategy not in taken.context.untried
        assert len(set(taken.context.untried)) == len(taken.context.untried)
    for effect in taken.effects:
        if isinstance(effect, Authenticate):
            assert effect.strategy is taken.context.untried[0]


@given(situations("Detecting"), st.sampled_from([Error456, AuthFailure]))
def test_l2_a_detection_that_hears_only_refusals_fails_after_one_from_each_strategy(
    situation: Situation, refusal: type[Any]
) -> None:
    state, context = situation
    heard = 0
    while state == "Detecting":
        state, context, _, _ = step(
            STRATEGY, state, context, refusal(context.untried[0], context.state_version)
        )
        heard += 1
    assert state == "Failed"
    assert heard <= 2


@given(situations("Detecting"))
def test_l2_a_detection_that_hears_nothing_ends_when_its_time_is_over(situation: Situation) -> None:
    state, context = situation
    known = (context.settings.default_strategy, context.active)
    fallback = next((one for one in known if one in context.untried), None)
    taken = step(STRATEGY, state, context, DetectionTimedOut())
    if fallback is None:
        assert taken.state == "Failed"
    else:
        assert (taken.state, taken.context.active, taken.context.verified) == ("Stable", fallback, False)


@given(situations("Failed"))
def test_l3_one_reset_and_a_healthy_strategy_lead_from_failed_to_stable(situation: Situation) -> None:
    state, context = situation
    reset = step(STRATEGY, state, context, Reset())
    first = reset.context.untried[0]
    healthy = step(STRATEGY, reset.state, reset.context, AuthSuccess(first, reset.context.state_version))
    assert (healthy.state, healthy.context.active) == ("Stable", first)


@given(situations("Stable"), st.lists(st.sampled_from(["start", "end new", "open"]), max_size=20))
@example(("Stable", Context(active=BLUE, state_version=2, open_blue=2)), ["start"] * 20)
def test_l1_once_the_old_queries_have_ended_the_next_safe_point_commits_whatever_new_ones_do(
    situation: Situation, between: list[str]
) -> None:
    state, context = situation
    assert context.active is not None
    old, new = context.active, context.active.other
    assume(context.held_down is not new)
    state, context, _, _ = step(STRATEGY, state, context, StrategyAnnounced(new, context.state_version))
    for what in between:
        if what == "start":
            event: StrategyEvent = QueryStarted()
        elif what == "open":
            event = ConnectionOpened()
        elif context.open_on(new):
            event = QueryCompleted(Ticket(1, new, 0))
        else:
            continue
        state, context, _, _ = step(STRATEGY, state, context, event)
    while state == "PendingTransition" and context.open_on(old):
        state, context, _, _ = step(STRATEGY, state, context, QueryCompleted(Ticket(1, old, 0)))
    if state == "PendingTransition":
        state, context, _, _ = step(STRATEGY, state, context, ConnectionOpened())
    assert (state, context.active) == ("Stable", new)


@given(
    situations("PendingTransition"),
    st.sampled_from([Error456, AuthFailure, PersistentFailure]),
    st.integers(1, 5),
)
def test_l4_a_strategy_that_is_announced_but_refuses_costs_one_detection_until_its_hold_down_ends(
    situation: Situation, refusal: type[Any], repeats: int
) -> None:
    state, context = situation
    assert context.active is not None
    assert context.pending is not None
    good, bad = context.active, context.pending
    state, context, effects, _ = step(STRATEGY, state, context, refusal(bad, context.state_version))
    assert (state, context.untried) == ("Detecting", (good, bad))
    assert Authenticate(good) in effects
    state, context, _, _ = step(STRATEGY, state, context, AuthSuccess(good, context.state_version))
    assert (state, context.active, context.held_down) == ("Stable", good, bad)
    for _ in range(repeats):
        same = step(STRATEGY, state, context, StrategyAnnounced(bad, context.state_version))
        assert (same.state, same.context, same.effects) == (state, context, ())
    state, context, _, _ = step(STRATEGY, state, context, CooldownEnded())
    assert (
        step(STRATEGY, state, context, StrategyAnnounced(bad, context.state_version)).state
        == "PendingTransition"
    )


@given(steps())
def test_sessions_are_closed_only_where_nothing_is_routed_and_no_ticket_is_open(sent: Sent) -> None:
    if not accepted(*sent):
        return
    taken = step(STRATEGY, *sent)
    for effect in taken.effects:
        if isinstance(effect, CloseSessions):
            assert effect.strategy not in (taken.context.active, taken.context.pending)
            assert taken.context.open_on(effect.strategy) == 0


@given(steps("Stable"))
def test_sessions_are_closed_by_the_last_ticket_only_and_not_by_every_later_query(sent: Sent) -> None:
    event = sent[2]
    if not accepted(*sent):
        return
    taken = step(STRATEGY, *sent)
    for effect in taken.effects:
        if isinstance(effect, CloseSessions):
            assert isinstance(event, ENDS)
            assert event.ticket.strategy is effect.strategy


@given(st.data())
def test_the_settings_of_a_scope_never_change(data: st.DataObject) -> None:
    state, context = data.draw(situations())
    event = data.draw(events(context))
    if accepted(state, context, event):
        assert step(STRATEGY, state, context, event).context.settings is context.settings


@given(situations())
def test_the_generated_contexts_are_allowed_by_the_conditions_of_the_table(situation: Situation) -> None:
    """Otherwise the properties above would hold of other contexts than they say."""
    assert STRATEGY.holds(*situation)


# The query machine.


@given(query_steps())
def test_a_ticket_ends_exactly_when_its_query_ends_or_begins_anew(sent: QuerySent) -> None:
    state, context, _ = sent
    if not may(QUERY, *sent):
        return
    taken = step(QUERY, *sent)
    ended = [effect for effect in taken.effects if isinstance(effect, EndTicket)]
    replayed = [effect for effect in taken.effects if isinstance(effect, Replay)]
    final = QUERY.state(taken.state).final and not QUERY.state(state).final
    assert len(ended) == (final or bool(replayed))
    assert all(effect.event.ticket is context.ticket for effect in ended)
    assert not (final and replayed)
    if replayed:
        assert taken.state == "Started"


@given(query_steps())
def test_i2_the_ticket_of_a_query_is_never_changed_by_a_step(sent: QuerySent) -> None:
    if may(QUERY, *sent):
        assert step(QUERY, *sent).context.ticket is sent[1].ticket


def doubt_of(event: Any) -> str | None:
    """What an event leaves open of an execution, whether or not resends are left."""
    return event.doubt if isinstance(event, Errored) else None


@given(query_steps())
def test_i11_nothing_is_replayed_once_it_was_executed_unless_it_only_reads_and_no_row_is_out(
    sent: QuerySent,
) -> None:
    state, context, event = sent
    if not may(QUERY, *sent):
        return
    replays = [effect for effect in step(QUERY, *sent).effects if isinstance(effect, Replay)]
    perhaps_executed = state in ("Executing", "Fetching") or doubt_of(event) in ("execute", "gone")
    if replays and perhaps_executed:
        assert context.reads
        assert context.replay == "reads"
        assert not context.rows
        assert context.reruns == 0


@given(query_steps())
def test_a_query_is_lost_only_if_it_may_have_been_executed_and_then_never_silently(sent: QuerySent) -> None:
    """A 456, or an error that leaves it open, that is not answered by a replay loses such a query, and says so."""
    state, _, event = sent
    if not may(QUERY, *sent):
        return
    effects = step(QUERY, *sent).effects
    running = state in ("Executing", "Fetching") and event.name in ("refused_456", "errored")
    unsure = state in ("Started", "Prepared") and doubt_of(event) in ("execute", "gone")
    told = any(isinstance(effect, (Replay, Lose)) for effect in effects)
    if (running or unsure) and doubt_of(event) != "none":
        assert told
    else:
        assert not any(isinstance(effect, Lose) for effect in effects)


@given(st.sampled_from([one for one in QUERY.states if not one.final]), query_steps())
def test_a_query_is_executed_only_in_prepared(state: Any, sent: QuerySent) -> None:
    _, context, _ = sent
    assert may(QUERY, state.name, context, Executed()) is (state.name == "Prepared")


REFUSALS = st.integers(0, REFUSALS_COUNTED)


@given(steps(), st.integers(0, FAILURES_COUNTED), REFUSALS, REFUSALS)
def test_no_row_looks_at_what_is_counted_in_a_row(
    taken: tuple[str, Context, StrategyEvent], failed: int, blue: int, green: int
) -> None:
    """Only timers do: so one context stands for all that differ in their counts alone."""
    state, context, event = taken
    counted = attrs.evolve(context, failed_in_a_row=failed, refused_blue=blue, refused_green=green)
    assert STRATEGY.row(state, counted, event) is STRATEGY.row(state, context, event)
