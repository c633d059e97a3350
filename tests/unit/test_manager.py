"""StrategyManager, promise by promise. Time is a fake clock; flows are driven by hand where callers wait."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import DetectionTimedOutError, EventForbidden, Refusal, StrategyUnavailable
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    CacheInvalidated,
    ConnectionOpened,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.runtime import fork_safety
from bluegreen.runtime import manager as manager_module
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Flow, Wait
from bluegreen.runtime.telemetry import Record
from bluegreen.table.step import step
from bluegreen.types import Scope, Strategy, Ticket
from support.clock import FakeClock
from support.managing import (
    BLUE,
    GREEN,
    SCOPE,
    Cluster,
    announce,
    asking,
    counts,
    ended_in_time,
    fail,
    nobody,
    on_blue,
    query,
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make(clock: FakeClock) -> Callable[..., StrategyManager]:
    def making(**chosen: Any) -> StrategyManager:
        return StrategyManager(SCOPE, Settings(**chosen), clock=clock)

    return making


@pytest.fixture
def manager(make: Callable[..., StrategyManager]) -> StrategyManager:
    """A manager that nothing is known to yet."""
    return make()


@pytest.fixture
def stable(manager: StrategyManager) -> StrategyManager:
    """A manager that is Stable on blue, without tickets."""
    return on_blue(manager)


# Selection.


def test_a_new_query_goes_to_the_active_strategy(stable: StrategyManager) -> None:
    assert query(stable).strategy is BLUE


def test_a_new_query_goes_to_the_pending_strategy_during_a_transition(stable: StrategyManager) -> None:
    old = query(stable)
    announce(stable)
    new = query(stable)
    assert (old.strategy, new.strategy) == (BLUE, GREEN)
    assert counts(stable) == (1, 1)


def test_a_running_query_keeps_its_strategy_whatever_happens(stable: StrategyManager) -> None:
    old = query(stable)
    announce(stable)
    stable.send(Error456(GREEN, stable.state_version))
    stable.send(AuthSuccess(GREEN, stable.state_version))
    assert (stable.active, old.strategy, counts(stable)) == (GREEN, BLUE, (1, 0))
    assert stable.end(QueryCompleted(old))
    assert counts(stable) == (0, 0)


def test_a_query_without_a_known_strategy_detects_one(manager: StrategyManager) -> None:
    cluster = Cluster(GREEN)
    assert manager.start(cluster.prove).strategy is GREEN
    assert cluster.asked == [BLUE, GREEN]
    assert (manager.state, manager.active) == ("Stable", GREEN)


def test_detection_begins_with_the_default_strategy(make: Callable[..., StrategyManager]) -> None:
    cluster = Cluster(BLUE, GREEN)
    assert make(default_strategy="green").start(cluster.prove).strategy is GREEN
    assert cluster.asked == [GREEN]


def test_start_now_gives_no_ticket_while_nothing_is_known(manager: StrategyManager) -> None:
    assert manager.try_start() is None
    assert manager.snapshot.sequence == 0


def test_a_query_begins_alone_where_only_its_connection_goes_and_others_do_not_follow(
    stable: StrategyManager,
) -> None:
    before = stable.state_version
    alone = stable.try_start("session", alone=GREEN)
    assert alone is not None
    assert (alone.strategy, alone.session, alone.state_version) == (GREEN, "session", before)
    assert (stable.state, stable.state_version, counts(stable)) == ("Stable", before, (0, 1))
    assert query(stable).strategy is BLUE
    assert stable.end(QueryCompleted(alone))
    assert counts(stable) == (1, 0)


def test_a_query_that_begins_alone_waits_for_no_detection(manager: StrategyManager) -> None:
    flow = manager.start_flow(asking, alone=GREEN)
    with pytest.raises(StopIteration) as ended:
        next(flow)
    assert ended.value.value.strategy is GREEN
    assert (manager.state, counts(manager)) == ("Detecting", (0, 1))


def test_a_query_does_not_begin_alone_in_failed(manager: StrategyManager) -> None:
    fail(manager)
    with pytest.raises(StrategyUnavailable):
        manager.try_start(alone=GREEN)
    assert counts(manager) == (0, 0)


@pytest.mark.parametrize("refusal", [AuthFailure, PersistentFailure])
def test_a_refusal_of_one_connection_moves_nobody_while_others_are_served(
    stable: StrategyManager, refusal: type[Any]
) -> None:
    before = stable.snapshot
    stable.send(refusal(BLUE, stable.state_version, served_since=True))
    assert stable.snapshot is before
    stable.send(refusal(BLUE, stable.state_version))
    assert stable.state == "Detecting"


def test_the_transition_is_committed_when_the_last_old_query_ends(stable: StrategyManager) -> None:
    first, second = query(stable), query(stable)
    announce(stable)
    new = query(stable)
    assert stable.end(QueryCompleted(first))
    assert stable.end(QueryFailed(new))
    assert (stable.state, stable.active, stable.pending) == ("PendingTransition", BLUE, GREEN)
    assert stable.end(QueryCancelled(second))
    assert (stable.state, stable.active, stable.pending) == ("Stable", GREEN, None)


def test_settings_come_from_the_environment_if_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLUEGREEN_DEFAULT_STRATEGY", "green")
    assert StrategyManager(SCOPE).settings.default_strategy is GREEN


# Tickets.


def test_tickets_are_numbered_and_carry_their_session_and_version(stable: StrategyManager) -> None:
    session = object()
    first, second = stable.start(nobody, session), stable.try_start(session)
    assert second is not None
    assert (first.query, second.query) == (1, 2)
    assert first.session is second.session is session
    assert first.state_version == stable.state_version


def test_open_tickets_are_listed_oldest_first(stable: StrategyManager) -> None:
    tickets = [query(stable) for _ in range(3)]
    assert stable.open_tickets == tuple(tickets)
    stable.end(QueryCompleted(tickets[1]))
    assert stable.open_tickets == (tickets[0], tickets[2])


@pytest.mark.parametrize("kind", [QueryCompleted, QueryCancelled, QueryFailed])
def test_ending_twice_is_harmless(stable: StrategyManager, kind: Any) -> None:
    ticket, other = query(stable), query(stable)
    assert stable.end(QueryCompleted(ticket))
    before = stable.snapshot
    assert not stable.end(kind(ticket))
    assert stable.snapshot is before
    assert stable.open_tickets == (other,)


def test_ending_twice_by_an_event_is_forbidden_and_changes_nothing(stable: StrategyManager) -> None:
    ticket, other = query(stable), query(stable)
    stable.send(QueryCompleted(ticket))
    before = stable.snapshot
    with pytest.raises(
        EventForbidden, match="query_failed is forbidden in Stable: the ticket is not open"
    ) as refused:
        stable.send(QueryFailed(ticket))
    assert "query_failed" not in refused.value.accepted
    assert stable.snapshot is before
    assert stable.open_tickets == (other,)


def test_a_ticket_that_was_ended_by_an_event_is_not_ended_again(stable: StrategyManager) -> None:
    ticket, _ = query(stable), query(stable)
    stable.send(QueryCompleted(ticket))
    assert not stable.end(QueryCompleted(ticket))
    assert counts(stable) == (1, 0)


def test_a_query_that_was_started_by_an_event_is_accounted_for(stable: StrategyManager) -> None:
    stable.send(QueryStarted())
    (ticket,) = stable.open_tickets
    assert counts(stable) == (1, 0)
    assert stable.end(QueryCompleted(ticket))
    assert counts(stable) == (0, 0)


def test_a_ticket_of_another_manager_ends_nothing_here(
    stable: StrategyManager, make: Callable[..., StrategyManager]
) -> None:
    ours = query(stable)
    theirs = make().start(Cluster(GREEN).prove)
    assert ours.query == theirs.query
    assert not stable.end(QueryCompleted(theirs))
    assert stable.open_tickets == (ours,)
    assert counts(stable) == (1, 0)


# Abandoned tickets.


def test_an_abandoned_query_ends_when_the_next_one_starts(stable: StrategyManager) -> None:
    ticket = query(stable)
    announce(stable)
    before = stable.snapshot
    stable.abandon(ticket)
    assert stable.snapshot is before
    assert query(stable).strategy is GREEN
    assert (stable.state, stable.active, counts(stable)) == ("Stable", GREEN, (0, 1))


def test_an_abandoned_query_ends_when_tickets_are_looked_at(stable: StrategyManager) -> None:
    stable.abandon(query(stable))
    assert stable.open_tickets == ()
    assert counts(stable) == (0, 0)


def test_a_query_may_be_abandoned_and_ended_in_any_order_and_twice(stable: StrategyManager) -> None:
    first, second = query(stable), query(stable)
    stable.abandon(first)
    stable.abandon(first)
    assert stable.end(QueryCompleted(first))
    assert stable.end(QueryCompleted(second))
    stable.abandon(second)
    assert stable.open_tickets == ()
    assert counts(stable) == (0, 0)


def test_a_finalizer_may_abandon_while_its_own_thread_holds_the_lock() -> None:
    """Garbage may be collected at any moment, also in the middle of a step."""

    class Application:
        def __init__(self, ticket: Ticket) -> None:
            self.ticket = ticket

        def __del__(self) -> None:
            held.append(manager._lock.locked())
            manager.abandon(self.ticket)

    class CollectingClock(FakeClock):
        def __call__(self) -> float:
            if applications and manager._lock.locked():
                applications.clear()
                gc.collect()
            return super().__call__()

    applications: list[Application] = []
    held: list[bool] = []
    manager = StrategyManager(SCOPE, Settings(), clock=CollectingClock())
    on_blue(manager)
    ticket = query(manager)
    applications.append(Application(ticket))
    assert ended_in_time(lambda: announce(manager))
    assert held == [True]
    assert manager.open_tickets == ()
    assert (manager.state, manager.active) == ("Stable", GREEN)


def test_a_detection_may_be_collected_while_the_lock_is_held() -> None:
    """A task that is lost in the middle of a detection closes its flow from a finalizer."""

    class CollectingClock(FakeClock):
        def __call__(self) -> float:
            if lost and manager._lock.locked():
                held.append(True)
                lost.clear()
                gc.collect()
            return super().__call__()

    lost: list[Flow[Ticket]] = []
    held: list[bool] = []
    manager = StrategyManager(SCOPE, Settings(), clock=CollectingClock())
    flow = manager.start_flow(asking)
    assert next(flow)[:2] == ("prove", BLUE)
    lost.append(flow)
    del flow
    assert ended_in_time(lambda: manager.send(AuthSuccess(BLUE, 0)))
    assert held == [True]
    manager.send(Reset())
    assert manager.start(Cluster(BLUE).prove).strategy is BLUE


# The cache.


def test_under_traffic_the_cache_never_expires(stable: StrategyManager, clock: FakeClock) -> None:
    for _ in range(50):
        clock.advance(299)
        assert stable.end(QueryCompleted(query(stable)))
        stable.proved(BLUE)
    assert stable.snapshot.context.state_version == 1


def test_an_idle_scope_asks_again_after_the_cache_ttl(stable: StrategyManager, clock: FakeClock) -> None:
    clock.advance(299.5)
    query(stable)
    clock.advance(0.5)
    cluster = Cluster(GREEN)
    assert stable.start(cluster.prove).strategy is GREEN
    assert cluster.asked == [BLUE, GREEN]  # the active one first


def test_a_proof_counts_from_when_it_came(stable: StrategyManager, clock: FakeClock) -> None:
    clock.advance(200)
    stable.proved(BLUE)
    clock.advance(299.5)
    query(stable)
    clock.advance(0.5)
    assert stable.try_start() is None
    assert stable.state == "Detecting"


def test_a_proof_of_the_other_strategy_renews_nothing(stable: StrategyManager, clock: FakeClock) -> None:
    clock.advance(200)
    stable.proved(GREEN)
    clock.advance(100)
    assert stable.try_start() is None


def test_an_authentication_on_the_active_strategy_renews_the_cache(
    stable: StrategyManager, clock: FakeClock
) -> None:
    clock.advance(200)
    stable.send(AuthSuccess(BLUE, stable.state_version))
    clock.advance(299)
    query(stable)


def test_the_cache_ttl_begins_anew_with_a_new_strategy(stable: StrategyManager, clock: FakeClock) -> None:
    clock.advance(299)
    announce(stable)
    clock.advance(10)
    stable.send(ConnectionOpened())
    assert (stable.state, stable.active) == ("Stable", GREEN)
    clock.advance(299)
    assert query(stable).strategy is GREEN


def test_a_proof_takes_no_lock(stable: StrategyManager) -> None:
    with stable._lock:
        assert ended_in_time(lambda: stable.proved(BLUE))


# Drain, cool-down, hold-down.


def test_a_transition_waits_for_old_queries_no_longer_than_the_drain_timeout(
    stable: StrategyManager, clock: FakeClock
) -> None:
    old = query(stable)
    announce(stable)
    clock.advance(3599)
    assert query(stable).strategy is GREEN
    assert stable.state == "PendingTransition"
    clock.advance(1)
    assert query(stable).strategy is GREEN
    assert (stable.state, stable.active) == ("Stable", GREEN)
    assert old.strategy is BLUE
    assert old in stable.open_tickets


def test_a_failed_scope_refuses_at_once_and_asks_nobody(manager: StrategyManager, clock: FakeClock) -> None:
    fail(manager)
    clock.advance(0.04)
    with pytest.raises(StrategyUnavailable, match="both strategies failed") as refused:
        manager.start(nobody)
    assert refused.value.failures == {"blue": "status 456", "green": "status 456"}
    assert not isinstance(refused.value, DetectionTimedOutError)


def test_the_first_query_after_the_cool_down_detects_again(
    manager: StrategyManager, clock: FakeClock
) -> None:
    fail(manager)
    clock.advance(1)
    cluster = Cluster(BLUE)
    assert manager.start(cluster.prove).strategy is BLUE
    assert cluster.asked == [BLUE]


def test_a_strategy_that_was_announced_and_refused_is_held_down(
    stable: StrategyManager, clock: FakeClock
) -> None:
    announce(stable)
    stable.send(Error456(GREEN, stable.state_version))
    assert stable.start(Cluster(BLUE).prove).strategy is BLUE
    clock.advance(0.5)
    stable.send(StrategyAnnounced(GREEN, stable.state_version))
    assert stable.state == "Stable"
    clock.advance(0.5)
    query(stable)
    announce(stable)


def test_a_timer_that_is_due_is_sent_once(stable: StrategyManager, clock: FakeClock) -> None:
    announce(stable)
    stable.send(Error456(GREEN, stable.state_version))
    stable.send(AuthSuccess(BLUE, stable.state_version))
    clock.advance(5)
    query(stable)
    sequence = stable.snapshot.sequence
    query(stable)
    assert stable.snapshot.sequence == sequence + 1


# Detection.


def test_each_strategy_is_asked_once_and_the_failure_names_both_answers(manager: StrategyManager) -> None:
    cluster = Cluster()
    with pytest.raises(StrategyUnavailable, match=r"blue: status 456; green: status 456") as refused:
        manager.start(cluster.prove)
    assert cluster.asked == [BLUE, GREEN]
    assert refused.value.scope == SCOPE


def test_a_refusal_that_is_no_456_is_an_authentication_failure(manager: StrategyManager) -> None:
    events: list[Any] = []
    manager.subscribe(lambda record: events.append(record.event))

    def prove(strategy: Strategy, left_s: float) -> None:
        raise Refusal("UNAUTHENTICATED", wrong_strategy=strategy is GREEN)

    with pytest.raises(StrategyUnavailable):
        manager.start(prove)
    assert events == [AuthFailure(BLUE, 0), Error456(GREEN, 0)]


def test_who_detects_is_told_how_many_seconds_are_left(manager: StrategyManager, clock: FakeClock) -> None:
    left: list[float] = []

    def prove(strategy: Strategy, left_s: float) -> None:
        left.append(left_s)
        clock.advance(12)
        raise Refusal("slow")

    with pytest.raises(StrategyUnavailable):
        manager.start(prove)
    assert left == [30, 18]


def test_a_detection_that_takes_too_long_falls_back_to_the_default_unverified(
    make: Callable[..., StrategyManager], clock: FakeClock
) -> None:
    manager = make(default_strategy="green")

    def prove(strategy: Strategy, left_s: float) -> None:
        clock.advance(left_s)
        raise Refusal("no answer", answered=False)

    assert manager.start(prove).strategy is GREEN
    assert manager.state == "Stable"
    assert not manager.snapshot.context.verified


def test_a_detection_that_takes_too_long_falls_back_to_what_was_used_before(
    stable: StrategyManager, clock: FakeClock
) -> None:
    stable.send(CacheInvalidated())

    def prove(strategy: Strategy, left_s: float) -> None:
        clock.advance(31)
        raise Refusal("no answer", answered=False)

    assert stable.start(prove).strategy is BLUE


def test_a_detection_without_a_fall_back_fails_in_time_and_says_so(
    manager: StrategyManager, clock: FakeClock
) -> None:
    def prove(strategy: Strategy, left_s: float) -> None:
        clock.advance(left_s)
        raise Refusal("no answer")

    with pytest.raises(DetectionTimedOutError, match=r"no strategy within 30 s \(blue: no answer\)"):
        manager.start(prove)
    assert manager.state == "Failed"


@pytest.mark.parametrize("seconds", [10, 120])
def test_a_detection_may_take_as_long_as_the_settings_say(
    make: Callable[..., StrategyManager], clock: FakeClock, seconds: float
) -> None:
    manager = make(detection_timeout_s=seconds)
    leader, follower = manager.start_flow(asking), manager.start_flow(asking)
    assert next(leader) == ("prove", BLUE, seconds)
    assert next(follower).timeout_s == seconds
    clock.advance(seconds)
    with pytest.raises(DetectionTimedOutError, match=f"no strategy within {seconds} s"):
        follower.send(False)


def test_news_of_others_ends_a_detection_that_is_under_way(manager: StrategyManager) -> None:
    flow = manager.start_flow(asking)
    assert next(flow) == ("prove", BLUE, 30)
    manager.send(AuthSuccess(GREEN, manager.state_version))
    with pytest.raises(StopIteration) as stop:
        flow.throw(Refusal("status 456"))
    assert stop.value.value.strategy is GREEN


def test_only_one_caller_detects_and_the_others_wait_for_it(manager: StrategyManager) -> None:
    leader, follower = manager.start_flow(asking), manager.start_flow(asking)
    assert next(leader) == ("prove", BLUE, 30)
    waiting = next(follower)
    assert isinstance(waiting, Wait)
    assert not waiting.future.done()
    with pytest.raises(StopIteration) as led:
        leader.send(None)
    assert waiting.future.done()
    with pytest.raises(StopIteration) as followed:
        follower.send(True)
    assert [led.value.value.strategy, followed.value.value.strategy] == [BLUE, BLUE]


def test_a_caller_waits_no_longer_than_the_detection_may_take(
    manager: StrategyManager, clock: FakeClock
) -> None:
    leader = manager.start_flow(asking)
    next(leader)
    clock.advance(12)
    follower = manager.start_flow(asking)
    assert next(follower).timeout_s == 18


def test_who_has_waited_for_a_stuck_detection_to_the_end_times_it_out(
    make: Callable[..., StrategyManager], clock: FakeClock
) -> None:
    manager = make(default_strategy="green")
    leader, follower = manager.start_flow(asking), manager.start_flow(asking)
    next(leader)
    next(follower)
    clock.advance(30)
    with pytest.raises(StopIteration) as stop:
        follower.send(False)
    assert stop.value.value.strategy is GREEN
    with pytest.raises(StopIteration) as late:  # the stuck one gets on at last: its answer is stale
        leader.send(None)
    assert late.value.value.strategy is GREEN


def test_who_waited_and_found_nothing_fails_in_time(manager: StrategyManager, clock: FakeClock) -> None:
    leader, follower = manager.start_flow(asking), manager.start_flow(asking)
    next(leader)
    next(follower)
    clock.advance(30)
    with pytest.raises(DetectionTimedOutError, match="no strategy within 30 s"):
        follower.send(False)
    assert manager.state == "Failed"


def test_a_wait_that_ends_early_goes_on(manager: StrategyManager, clock: FakeClock) -> None:
    leader, follower = manager.start_flow(asking), manager.start_flow(asking)
    next(leader)
    next(follower)
    clock.advance(29)
    again = follower.send(False)
    assert isinstance(again, Wait)
    assert again.timeout_s == 1


def test_a_caller_whose_own_time_is_up_while_others_detect_gives_up_alone(
    manager: StrategyManager, clock: FakeClock
) -> None:
    first, early = manager.start_flow(asking), manager.start_flow(asking)
    next(first)
    next(early)
    clock.advance(20)
    second = manager.start_flow(asking)
    with pytest.raises(OSError, match="gone"):
        first.throw(OSError("gone"))
    assert next(second) == ("prove", BLUE, 30)  # it came late, and leads now
    waiting = early.send(True)
    assert isinstance(waiting, Wait)
    assert waiting.timeout_s == 10
    clock.advance(10)
    with pytest.raises(DetectionTimedOutError):
        early.send(False)
    assert manager.state == "Detecting"
    with pytest.raises(StopIteration) as led:
        second.send(None)
    assert led.value.value.strategy is BLUE


def test_a_late_leader_does_not_end_the_detection_that_followed_its_own(
    manager: StrategyManager, clock: FakeClock
) -> None:
    stuck, waiting = manager.start_flow(asking), manager.start_flow(asking)
    next(stuck)
    next(waiting)
    clock.advance(30)
    with pytest.raises(DetectionTimedOutError):
        waiting.send(False)
    clock.advance(1)
    current = manager.start_flow(asking)
    assert next(current) == ("prove", BLUE, 30)
    with pytest.raises(DetectionTimedOutError):
        stuck.throw(Refusal("too late"))
    assert manager.state == "Detecting"
    with pytest.raises(StopIteration) as led:
        current.send(None)
    assert led.value.value.strategy is BLUE


def test_only_the_first_of_those_who_waited_times_a_detection_out(
    manager: StrategyManager, clock: FakeClock
) -> None:
    stuck, first, second = (manager.start_flow(asking) for _ in range(3))
    next(stuck)
    next(first)
    next(second)
    clock.advance(30)
    with pytest.raises(DetectionTimedOutError):
        first.send(False)
    clock.advance(1)
    current = manager.start_flow(asking)
    next(current)
    with pytest.raises(DetectionTimedOutError):
        second.send(False)
    assert manager.state == "Detecting"
    with pytest.raises(StopIteration):
        current.send(None)


@pytest.mark.parametrize("fault", [OSError("gone"), KeyboardInterrupt(), GeneratorExit()])
def test_a_leader_that_dies_leaves_the_detection_to_one_that_waits(
    manager: StrategyManager, fault: BaseException
) -> None:
    leader, follower = manager.start_flow(asking), manager.start_flow(asking)
    next(leader)
    waiting = next(follower)
    with pytest.raises(type(fault)):
        leader.throw(fault)
    assert waiting.future.done()
    assert follower.send(True) == ("prove", BLUE, 30)
    with pytest.raises(StopIteration) as stop:
        follower.send(None)
    assert stop.value.value.strategy is BLUE


def test_who_takes_a_detection_over_goes_on_where_it_stood(manager: StrategyManager) -> None:
    leader, follower = manager.start_flow(asking), manager.start_flow(asking)
    next(leader)
    next(follower)
    assert leader.throw(Refusal("status 456"))[1] is GREEN
    with pytest.raises(OSError, match="gone"):
        leader.throw(OSError("gone"))
    assert follower.send(True)[1] is GREEN  # blue has answered, and is not asked again
    with pytest.raises(StrategyUnavailable, match="blue: status 456; green: UNAVAILABLE"):
        follower.throw(Refusal("UNAVAILABLE", wrong_strategy=False))


def test_what_failed_before_is_forgotten_by_the_next_detection(
    manager: StrategyManager, clock: FakeClock
) -> None:
    fail(manager)
    clock.advance(1)

    def prove(strategy: Strategy, left_s: float) -> None:
        clock.advance(left_s)
        raise Refusal("silence")

    with pytest.raises(DetectionTimedOutError) as refused:
        manager.start(prove)
    assert refused.value.failures == {"blue": "silence"}


def test_an_exception_in_prove_goes_to_its_own_caller_and_the_next_one_detects(
    manager: StrategyManager,
) -> None:
    def prove(strategy: Strategy, left_s: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        manager.start(prove)
    assert manager.state == "Detecting"
    assert manager.start(Cluster(BLUE).prove).strategy is BLUE


# News.


def test_a_storm_of_456_leads_to_one_detection(stable: StrategyManager) -> None:
    version = stable.state_version
    for _ in range(100):
        stable.send(Error456(BLUE, version))
    cluster = Cluster(GREEN)
    assert stable.start(cluster.prove).strategy is GREEN
    for _ in range(100):
        stable.send(Error456(BLUE, version))
    assert cluster.asked == [GREEN]
    assert stable.state_version == version + 2


def test_stale_news_changes_nothing(stable: StrategyManager) -> None:
    announce(stable)
    before = stable.snapshot
    for event in (Error456, AuthFailure, StrategyAnnounced):
        for strategy in Strategy:
            stable.send(event(strategy, before.context.state_version - 1))
    assert stable.snapshot is before


@pytest.mark.parametrize("event", [QueryStarted(), RollbackRequested(), QueryCompleted(Ticket(7, BLUE, 0))])
def test_a_forbidden_event_leaves_everything_as_it_was(manager: StrategyManager, event: Any) -> None:
    records: list[Record] = []
    manager.subscribe(records.append)
    before = manager.snapshot
    with pytest.raises(EventForbidden):
        manager.send(event)
    assert manager.snapshot is before
    assert manager.open_tickets == ()
    assert records == []
    assert not manager._lock.locked()


def test_an_event_that_the_machine_does_not_know_leaves_everything_as_it_was(stable: StrategyManager) -> None:
    ticket, before = query(stable), stable.snapshot
    with pytest.raises(KeyError):
        stable.send(object())  # type: ignore[arg-type]
    assert stable.snapshot is not before or stable.snapshot.context.open_blue == 1
    assert stable.open_tickets == (ticket,)
    assert not stable._lock.locked()


def test_the_error_goes_to_whom_the_failing_event_came_from(manager: StrategyManager) -> None:
    leader = manager.start_flow(asking)
    next(leader)
    leader.throw(Refusal("status 456"))
    with pytest.raises(StrategyUnavailable, match="both strategies failed"):
        manager.send(Error456(GREEN, manager.state_version))
    assert manager.state == "Failed"
    with pytest.raises(StrategyUnavailable, match="both strategies failed"):  # refused as a new query is
        leader.send(None)


def test_an_event_that_fails_is_told_to_observers_before_it_raises(manager: StrategyManager) -> None:
    order: list[str] = []
    manager.subscribe(lambda record: order.append(record.step.state))
    manager.send(Error456(BLUE, 0))
    try:
        manager.send(Error456(GREEN, 0))
    except StrategyUnavailable:
        order.append("raised")
    assert order == ["Detecting", "Failed", "raised"]


def test_a_step_returns_its_effects_in_the_order_of_the_row(stable: StrategyManager) -> None:
    taken = stable.send(StrategyAnnounced(GREEN, stable.state_version))
    assert [type(effect).__name__ for effect in taken.effects] == ["Authenticate", "Publish", "Audit"]


def test_sessions_are_over_when_the_last_ticket_of_a_strategy_has_ended(stable: StrategyManager) -> None:
    old = query(stable)
    announce(stable)
    new = query(stable)
    blue, green = stable.session_generation(BLUE), stable.session_generation(GREEN)
    stable.send(Error456(GREEN, stable.state_version))
    stable.send(AuthSuccess(GREEN, stable.state_version))
    assert (stable.active, stable.session_generation(BLUE)) == (GREEN, blue)
    stable.end(QueryCompleted(old))
    assert stable.session_generation(BLUE) != blue
    assert stable.session_generation(GREEN) == green
    assert stable.end(QueryCompleted(new))


def test_a_stack_that_is_announced_but_refuses_costs_one_detection_however_many_queries_run(
    stable: StrategyManager,
) -> None:
    """A lone client's query ends, which commits what was announced; only its next one finds that refusing."""
    cluster = Cluster(BLUE)
    for _ in range(10):
        ticket = stable.start(cluster.prove)
        if ticket.strategy is GREEN:
            stable.end(QueryFailed(ticket))
            stable.send(Error456(GREEN, ticket.state_version))
            ticket = stable.start(cluster.prove)
        stable.send(StrategyAnnounced(GREEN, ticket.state_version))
        stable.end(QueryCompleted(ticket))
    assert cluster.asked == [BLUE]


# All of a step, or nothing of it.


def test_a_ticket_that_an_interrupt_keeps_from_its_caller_is_ended(
    stable: StrategyManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stable, "_run_effects", strike)
        with pytest.raises(KeyboardInterrupt):
            stable.try_start()
    assert counts(stable) == (1, 0)
    assert stable.open_tickets == ()
    assert counts(stable) == (0, 0)


def test_an_effect_that_nobody_handles_is_an_error(
    stable: StrategyManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unheard(table: Any, state: str, context: Any, event: Any) -> Any:
        return step(table, state, context, event)._replace(effects=("unheard of",))

    monkeypatch.setattr(manager_module, "step", unheard)
    with pytest.raises(AssertionError, match="unhandled value 'unheard of'"):
        stable.send(ConnectionOpened())


# A forked child.


@pytest.mark.unjournaled  # it is no child
def test_a_child_keeps_what_was_read_and_nothing_that_was_held(
    stable: StrategyManager, clock: FakeClock
) -> None:
    ticket, abandoned = query(stable), query(stable)
    stable.abandon(abandoned)
    announce(stable)
    lock, version = stable._lock, stable.state_version
    with lock:
        fork_safety._after_fork_in_child()
        assert (stable.state, stable.active, stable.pending) == ("PendingTransition", BLUE, GREEN)
        assert stable.state_version == version
        assert stable.open_tickets == ()
        assert counts(stable) == (0, 0)
        assert not stable.end(QueryCompleted(ticket))
        ours = query(stable)
        assert (ours.query, ours.strategy) == (3, GREEN)
        clock.advance(3600)
        query(stable)
        assert (stable.state, stable.active) == ("Stable", GREEN)


def test_a_child_does_not_wait_for_the_detection_of_its_parent(manager: StrategyManager) -> None:
    parents = manager.start_flow(asking)
    next(parents)
    manager.after_fork()
    assert manager.start(Cluster(GREEN).prove).strategy is GREEN
    with pytest.raises(StopIteration) as stop:  # the thread that forked, if it was the one that detected
        parents.send(None)
    assert stop.value.value.strategy is GREEN


# Observers and reads.


def test_observers_get_a_record_of_each_audited_step(stable: StrategyManager, clock: FakeClock) -> None:
    records: list[Record] = []
    stable.subscribe(records.append)
    clock.advance(7)
    before = stable.snapshot
    announcement = StrategyAnnounced(GREEN, stable.state_version)
    taken = stable.send(announcement)
    assert records == [Record(SCOPE, before.sequence + 1, clock(), before, announcement, taken)]
    query(stable)
    assert len(records) == 1


def test_an_observer_that_raises_harms_nothing(
    stable: StrategyManager, caplog: pytest.LogCaptureFixture
) -> None:
    records: list[Record] = []

    def faulty(record: Record) -> None:
        raise ValueError("a fault of the observer's own")

    stable.subscribe(faulty)
    stable.subscribe(records.append)
    announce(stable)
    assert len(records) == 1
    assert "an observer raised" in caplog.text
    assert "a fault of the observer's own" in caplog.text


def test_an_observer_may_use_the_manager(stable: StrategyManager) -> None:
    started: list[Ticket] = []
    stable.subscribe(lambda record: started.append(query(stable)))
    assert ended_in_time(lambda: announce(stable))
    assert [ticket.strategy for ticket in started] == [GREEN]


def test_an_observer_that_unsubscribed_hears_nothing_more(stable: StrategyManager) -> None:
    first: list[Record] = []
    second: list[Record] = []
    undo = stable.subscribe(first.append)
    stable.subscribe(second.append)
    undo()
    undo()
    announce(stable)
    assert (len(first), len(second)) == (0, 1)


def test_an_observer_that_subscribed_twice_unsubscribes_once(stable: StrategyManager) -> None:
    heard: list[Record] = []

    def observer(record: Record) -> None:
        heard.append(record)

    undo, _ = stable.subscribe(observer), stable.subscribe(observer)
    undo()
    announce(stable)
    assert len(heard) == 1


def test_reading_takes_no_lock(stable: StrategyManager) -> None:
    with stable._lock:
        assert ended_in_time(
            lambda: (
                stable.snapshot,
                stable.state,
                stable.state_version,
                stable.active,
                stable.pending,
                stable.session_generation(BLUE),
            )
        )


def test_reading_changes_nothing(stable: StrategyManager) -> None:
    stable.abandon(query(stable))
    before = stable.snapshot
    for _ in range(3):
        assert (stable.state, stable.state_version, stable.active, stable.pending) == (
            "Stable",
            1,
            BLUE,
            None,
        )
    assert stable.snapshot is before


def test_the_level_of_a_scope_is_not_the_level_of_another_nor_of_the_application(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="bluegreen")
    loud, quiet = (
        on_blue(StrategyManager(Scope(f"{level}:1"), Settings(logging_level=level)))
        for level in ("INFO", "ERROR")
    )
    caplog.clear()
    announce(loud)
    announce(quiet)
    assert "INFO:1: Stable -> PendingTransition" in caplog.text
    assert "ERROR:1" not in caplog.text
    assert logging.getLogger("bluegreen").level == logging.DEBUG


def test_a_server_that_changes_its_mind_with_each_answer_fills_no_log_and_observers_are_told_all(
    stable: StrategyManager, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="bluegreen")
    told: list[Record] = []
    stable.subscribe(told.append)
    for _ in range(10):
        for strategy in (GREEN, BLUE) * 100:
            stable.send(StrategyAnnounced(strategy, stable.state_version))
        clock.advance(1.0)
    assert len(told) == 2000
    first, later = caplog.messages[:99], caplog.messages[99:]  # the step to blue was the first of a hundred
    assert [line.rpartition("version ")[2] for line in first] == [str(version) for version in range(2, 101)]
    assert [line.rpartition("version ")[2] for line in later] == [
        f"{2 + 200 * second} ({101 if second == 1 else 199} steps before it are left out)"
        for second in range(1, 10)
    ]


def test_a_warning_is_logged_once_for_each_scope_and_key(
    make: Callable[..., StrategyManager], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="bluegreen")
    first, second, quiet = make(), make(), make(logging_level="ERROR")
    for manager in (first, second, first, quiet):
        manager.warn_once("form prepare", "%s answered %d times", "blue", 7)
    first.warn_once("form execute", "another")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "unit.example:443/tests: blue answered 7 times"),
        ("WARNING", "unit.example:443/tests: blue answered 7 times"),
        ("WARNING", "unit.example:443/tests: another"),
    ]


def test_warnings_that_a_server_words_fill_neither_the_log_nor_the_memory(
    stable: StrategyManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="bluegreen")
    for number in range(1000):
        stable.warn_once(f"key {number}", "%d", number)
    assert [record.args[-1] for record in caplog.records if record.args] == list(range(100))


def test_each_step_is_logged_with_what_changed(
    make: Callable[..., StrategyManager], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="bluegreen")
    stable = on_blue(make(logging_level="DEBUG"))
    announce(stable)
    assert (
        "unit.example:443/tests: Stable -> PendingTransition on strategy_announced; "
        "active blue -> blue, pending green, version 2"
    ) in caplog.text
    assert "publish green, version 2" in caplog.text
