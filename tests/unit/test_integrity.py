"""What a manager keeps is broken on purpose: it is found, named, and mended, and open queries stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE
from bluegreen.machines.strategy.events import (
    AuthSuccess,
    CacheExpired,
    ConnectionOpened,
    Error456,
    QueryCompleted,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.consistency import CORRECTIONS, ManagerView, corrected, examined
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import Corrected, TelemetryEvent
from bluegreen.table.step import step
from bluegreen.types import Scope, Ticket
from bluegreen.verify.unvalidated_table import Unchecked
from bluegreen_adapters.stores.memory import MemoryStore
from support.clock import FakeClock
from support.flow_cluster import FlowCluster
from support.managing import BLUE, GREEN, accepting

pytestmark = pytest.mark.unjournaled

SCOPE = Scope("broken.example:443")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(clock: FakeClock) -> StrategyManager:
    return StrategyManager(SCOPE, clock=clock)


@pytest.fixture
def told(manager: StrategyManager) -> Iterator[list[TelemetryEvent]]:
    heard: list[TelemetryEvent] = []
    stop = manager.observe(heard.append)
    yield heard
    stop()


def test_a_sound_manager_is_left_alone_in_every_state(
    manager: StrategyManager, told: list[TelemetryEvent]
) -> None:
    for _ in range(2):
        assert manager.examine() == manager.repair() == ()
        ticket = manager.start(accepting)
        assert manager.examine() == manager.repair() == ()
        manager.send(StrategyAnnounced(GREEN, manager.state_version))
        before = manager.snapshot
        assert manager.examine() == manager.repair() == ()
        assert manager.snapshot is before
        manager.end(QueryCompleted(ticket))
    assert not [one for one in told if isinstance(one, Corrected)]


def test_a_transition_without_a_second_strategy_is_reset_and_the_next_query_finds_where_to_go(
    manager: StrategyManager, told: list[TelemetryEvent]
) -> None:
    ticket = manager.start(accepting)
    version = manager.state_version
    manager._snapshot = manager._snapshot._replace(state=PENDING)
    (found,) = manager.repair()
    assert (found.check, found.correction) == ("transition_state_validity", "reset_transition_state")
    assert "PendingTransition with active blue, pending None" in found.found
    assert (manager.state, manager.open_tickets, manager.examine()) == (DETECTING, (ticket,), ())
    assert manager.state_version > version, "news from before is stale"
    assert manager.start(accepting).strategy is BLUE, "what was in use is tried first"
    assert manager.end(QueryCompleted(ticket)), "the open query has stayed open"
    corrections = [one for one in told if isinstance(one, Corrected)]
    assert [(one.scope, one.check, one.found) for one in corrections] == [(SCOPE, found.check, found.found)]


@pytest.mark.parametrize(
    ("state", "changes", "says"),
    [
        ("Paused", {}, "there is no state 'Paused'"),
        (STABLE, {"active": "pink"}, "active is 'pink', which is no strategy"),
        (STABLE, {"active": None}, "Stable with active None"),
        (PENDING, {"active": GREEN, "pending": GREEN}, "PendingTransition with active green, pending green"),
        (STABLE, {"pending": GREEN}, "Stable with active blue, pending green"),
        (DETECTING, {"untried": ()}, "Detecting with active blue"),
        (FAILED, {"untried": (BLUE,)}, "Failed with active blue"),
        (STABLE, {"open_green": -1}, "Stable with active blue"),
    ],
)
def test_an_impossible_state_is_named_and_left(
    manager: StrategyManager, state: str, changes: dict[str, object], says: str
) -> None:
    manager.start(accepting)
    before = manager.snapshot
    context = attrs.evolve(before.context)
    for name, value in changes.items():
        object.__setattr__(context, name, value)  # as a defect would: no converter and no validator sees it
    manager._snapshot = before._replace(state=state, context=context)
    first = manager.repair()[0]
    assert first.check == "transition_state_validity"
    assert says in first.found
    assert (manager.state, manager.examine()) == (DETECTING, ())
    assert manager.start(accepting).strategy in (BLUE, GREEN)
    assert len(manager.open_tickets) == 2


@pytest.mark.parametrize(
    "breaks",
    [
        lambda tickets: tickets.clear(),
        lambda tickets: tickets.update({9: Ticket(9, GREEN, 1)}),
        lambda tickets: tickets.update({9: Ticket(8, BLUE, 1)}),
        lambda tickets: tickets.update({"x": "no ticket"}),
    ],
)
def test_tickets_that_are_not_what_they_are_counted_as_are_cleaned_up(
    manager: StrategyManager, breaks: Callable[[dict[object, object]], object]
) -> None:
    manager.start(accepting)
    breaks(manager._tickets)  # type: ignore[arg-type]
    (found,) = manager.repair()
    assert (found.check, found.correction) == ("query_mapping_integrity", "cleanup_stale_mappings")
    assert manager.examine() == ()
    assert manager.start(accepting).strategy is BLUE


def test_a_transition_that_waits_for_queries_that_there_are_not_commits_when_that_is_cleaned_up(
    manager: StrategyManager,
) -> None:
    manager.start(accepting)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    assert (manager.state, manager.active) == (PENDING, BLUE)
    manager._tickets.clear()
    manager.repair()
    assert (manager.state, manager.active) == (STABLE, GREEN)


def test_a_cache_whose_timer_is_gone_is_built_anew_and_expires(
    manager: StrategyManager, clock: FakeClock
) -> None:
    manager.end(QueryCompleted(manager.start(accepting)))
    manager._armed, manager._next_due_s = {}, float("inf")
    (found,) = manager.repair()
    assert (found.check, found.correction) == ("cache_consistency", "rebuild_cache")
    assert found.found == "timers run for none; those that have to: cache_expired"
    clock.advance(manager.settings.cache_ttl_s + 1)
    asked: list[object] = []
    manager.start(lambda strategy, left_s: asked.append(strategy))
    assert asked == [BLUE], "what is cached is found out anew"


def test_a_proof_from_the_future_does_not_keep_a_cache_for_ever(
    manager: StrategyManager, clock: FakeClock
) -> None:
    manager.end(QueryCompleted(manager.start(accepting)))
    manager._proved_s = clock() + 1e9
    (found,) = manager.repair()
    assert found.check == "cache_consistency"
    assert "proved 1e+09 s from now" in found.found
    assert manager.examine() == ()
    clock.advance(manager.settings.cache_ttl_s + 1)
    asked: list[object] = []
    manager.start(lambda strategy, left_s: asked.append(strategy))
    assert asked


def test_what_the_store_says_is_heard_by_a_process_that_has_missed_it(clock: FakeClock) -> None:
    store = MemoryStore()
    first, second = (StrategyManager(SCOPE, clock=clock) for _ in range(2))
    for one in (first, second):
        one.join(store)
        one.end(QueryCompleted(one.start(accepting)))
    first.send(StrategyAnnounced(GREEN, first.state_version))
    exchange = second.exchange
    assert exchange is not None
    exchange._hear = lambda strategy: None  # the news is lost on its way to the machine
    exchange.attend()
    assert second.examine() == (), "what was said just now may be on its way"
    clock.advance(2)
    (found,) = second.examine()
    assert (found.check, found.correction) == ("strategy_consistency", "use_authoritative_strategy")
    assert found.found == "the store says green, new queries go to blue"
    exchange._hear = second._adopt_news
    assert second.repair() == (found,)
    assert second.start(accepting).strategy is GREEN
    clock.advance(2)
    assert second.examine() == first.examine() == ()


def test_others_are_told_again_where_queries_go(clock: FakeClock) -> None:
    store = MemoryStore()
    manager = StrategyManager(SCOPE, clock=clock)
    manager.join(store)
    manager.end(QueryCompleted(manager.start(accepting)))
    exchange = manager.exchange
    assert exchange is not None
    exchange._route = GREEN
    clock.advance(2)
    (found,) = manager.repair()
    assert found.found == "others were told green, new queries go to blue"
    clock.advance(2)
    assert manager.examine() == ()
    assert store.read(SCOPE).announced is BLUE


def test_every_context_of_the_table_is_sound_in_its_states_and_every_correction_is() -> None:
    for context in STRATEGY.contexts:
        for state in STRATEGY.states:
            tickets = [Ticket(number, BLUE, 0) for number in range(context.open_blue)]
            tickets += [Ticket(10 + number, GREEN, 0) for number in range(context.open_green)]
            kept = ManagerView(state.name, context, {one.query: one for one in tickets})
            found = examined(kept)
            assert (not found) == STRATEGY.holds(state.name, context)
            mended = corrected(kept, found)
            assert examined(mended) == ()
            if found:
                step(
                    STRATEGY,
                    mended.state,
                    mended.context,
                    StrategyAnnounced(GREEN, mended.context.state_version),
                )


def test_each_check_has_its_correction() -> None:
    assert list(CORRECTIONS) == [
        "transition_state_validity", "strategy_consistency", "query_mapping_integrity", "cache_consistency",
    ]  # fmt: skip


# An impossible state that a query meets before any check has run.


GARBAGE: dict[str, tuple[object, ...]] = {
    "active": (None, BLUE, GREEN, "pink", 7),
    "pending": (None, BLUE, GREEN, "pink"),
    "previous": (None, BLUE, "pink"),
    "untried": ((), (BLUE,), (GREEN, BLUE), (BLUE, BLUE), ("pink",), (None,)),
    "held_down": (None, BLUE, GREEN, "pink"),
    "rolled_back": (True, False),
    "open_blue": (-1, 0, 5, "x", None),
    "open_green": (-1, 0, 5, "x"),
    "failed_in_a_row": (-5, 0, 10**6, "x"),
    "refused_green": (-5, 0, 10**6, None),
    "verified": (True, False),
    "proved": (True, False),
}
STATES = (*(state.name for state in STRATEGY.states), "Paused", "")


def corrupt(manager: StrategyManager, state: str, changes: Mapping[str, object]) -> None:
    """Replace what is kept, as a defect would: no converter and no validator sees it."""
    context = attrs.evolve(manager.snapshot.context)
    for name, value in changes.items():
        object.__setattr__(context, name, value)
    manager._snapshot = manager._snapshot._replace(state=state, context=context)


@given(
    st.sampled_from(STATES),
    st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in GARBAGE.items()}),
    st.sampled_from([0.0, 0.06, 5.0, 400.0]),
)
def test_query_that_meets_an_impossible_state_gets_a_strategy(
    state: str, changes: dict[str, object], seconds: float
) -> None:
    """Whatever is kept: a possible state does what its rows say, and any other one leads to a detection."""
    clock = FakeClock()
    manager = StrategyManager(SCOPE, clock=clock)
    ticket = manager.start(accepting)
    corrupt(manager, state, changes)
    clock.advance(seconds)
    was_failed = not manager.examine() and state == FAILED
    try:
        assert manager.start(accepting).strategy in (BLUE, GREEN)
    except StrategyUnavailable:
        assert was_failed
    assert manager.examine() == ()
    assert manager.end(QueryCompleted(ticket))
    assert manager.examine() == ()


@pytest.mark.parametrize(
    "event",
    [
        StrategyAnnounced(GREEN, 1),
        Error456(BLUE, 1),
        AuthSuccess(BLUE, 1),
        ConnectionOpened(),
        CacheExpired(),
    ],
    ids=lambda event: event.name,
)
@pytest.mark.parametrize(
    ("state", "changes"),
    [("Paused", {}), (STABLE, {"active": None}), (PENDING, {}), (FAILED, {"untried": (BLUE,)})],
)
def test_news_that_meets_an_impossible_state_leads_to_a_detection(
    manager: StrategyManager, told: list[TelemetryEvent], event: Any, state: str, changes: dict[str, object]
) -> None:
    manager.start(accepting)
    corrupt(manager, state, changes)
    manager.send(event)
    assert manager.state == DETECTING
    (correction,) = (one for one in told if isinstance(one, Corrected))
    assert correction.check == "transition_state_validity"


def test_end_of_a_query_that_meets_an_impossible_state_is_counted(manager: StrategyManager) -> None:
    first, second = manager.start(accepting), manager.start(accepting)
    corrupt(manager, PENDING, {"open_blue": 0})
    assert manager.end(QueryCompleted(first))
    assert (manager.state, manager.open_tickets) == (DETECTING, (second,))


def test_step_of_a_defective_table_that_leads_to_an_impossible_state_is_corrected(
    manager: StrategyManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row forgets what is pending: the next query detects, and the application sees nothing of it."""
    rows = tuple(
        attrs.evolve(row, reducer=lambda context, event: attrs.evolve(context, pending=None))
        if (row.state, row.event, row.target) == (STABLE, StrategyAnnounced, PENDING)
        else row
        for row in STRATEGY.rows
    )
    manager.start(accepting)
    wrong = Unchecked(STRATEGY.name, STRATEGY.initial, STRATEGY.states, STRATEGY.events, rows)
    monkeypatch.setattr("bluegreen.runtime.manager.STRATEGY", wrong)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    assert manager.examine()
    assert manager.start(accepting).strategy is BLUE
    assert (manager.state, manager.examine()) == (STABLE, ())


def test_application_that_meets_an_impossible_state_sees_nothing_of_it(manager: StrategyManager) -> None:
    cluster = FlowCluster()
    connection = cluster.connect(manager, "me")
    open_query = connection.begin()
    for state, changes in (
        ("Paused", {}),
        (STABLE, {"active": "pink"}),
        (PENDING, {"pending": BLUE}),
        (DETECTING, {}),
    ):
        corrupt(manager, state, changes)
        assert connection.query() == "blue"
    corrupt(manager, STABLE, {"active": None})
    connection.call("execute", open_query)
    corrupt(manager, STABLE, {"open_blue": -1})
    connection.call("clear", open_query)
    assert manager.open_tickets == ()
