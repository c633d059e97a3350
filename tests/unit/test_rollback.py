"""A rollback holds while the server goes on announcing, and hold-downs grow with each refusal in a row."""

from __future__ import annotations

import pytest

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import (
    AuthSuccess,
    Error456,
    QueryCompleted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.runtime.manager import StrategyManager
from support.clock import FakeClock
from support.flow_cluster import REFUSED, FlowCluster, FlowConnection, Request
from support.managing import BLUE, GREEN, SCOPE, Cluster, accepting, announce, on_blue

LONG_S = 3600.0
"""Longer than any hold-down, and less than any time-out of a transition."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(clock: FakeClock) -> StrategyManager:
    settings = Settings(cache_ttl_s=1800, drain_timeout_s=86_400)
    return on_blue(StrategyManager(SCOPE, settings, clock=clock))


@pytest.fixture
def cluster() -> FlowCluster:
    return FlowCluster()


@pytest.fixture
def connection(manager: StrategyManager, cluster: FlowCluster) -> FlowConnection:
    return cluster.connect(manager, "me")


def announced(cluster: FlowCluster, connection: FlowConnection) -> str:
    """The server announces green with each answer; return where the next query runs."""
    cluster.announces = "green"
    return connection.query()


def test_rollback_of_an_announcement_holds_while_the_server_announces(
    manager: StrategyManager, cluster: FlowCluster, connection: FlowConnection, clock: FakeClock
) -> None:
    long_query = connection.begin()
    announced(cluster, connection)
    assert (manager.state, manager.pending) == ("PendingTransition", GREEN)
    manager.send(RollbackRequested())
    for _ in range(5):
        assert connection.query() == "blue"
        clock.advance(LONG_S / 10)
    assert (manager.state, manager.active) == ("Stable", BLUE)
    connection.call("clear", long_query)


def test_rollback_after_the_commit_holds_while_the_server_announces(
    manager: StrategyManager, cluster: FlowCluster, connection: FlowConnection, clock: FakeClock
) -> None:
    """The server announces green before the commit back, while blue is pending, and after it."""
    while manager.active is not GREEN:
        announced(cluster, connection)
    on_green = connection.begin()
    manager.send(RollbackRequested())
    assert manager.pending is BLUE
    for _ in range(3):
        assert connection.query() == "blue"
    assert manager.pending is BLUE, "the announcements of green have not withdrawn it"
    connection.call("clear", on_green)
    for _ in range(5):
        assert connection.query() == "blue"
        clock.advance(LONG_S / 10)
    assert (manager.state, manager.active) == ("Stable", BLUE)


def test_rollback_ends_where_the_stack_refuses(
    manager: StrategyManager, cluster: FlowCluster, connection: FlowConnection
) -> None:
    """The server has the last word: what was rolled back serves again when the other stack does not."""
    long_query = connection.begin()
    announced(cluster, connection)
    manager.send(RollbackRequested())
    connection.call("clear", long_query)

    def gone(request: Request) -> object:
        return REFUSED if request.strategy == "blue" else None

    cluster.hook = gone  # type: ignore[assignment]
    assert connection.query() == "green"
    assert not manager.snapshot.context.rolled_back


def test_rollback_ends_with_a_reset(
    manager: StrategyManager, cluster: FlowCluster, connection: FlowConnection
) -> None:
    long_query = connection.begin()
    announced(cluster, connection)
    manager.send(RollbackRequested())
    manager.send(Reset())
    assert connection.query() == "blue"
    assert manager.pending is GREEN
    connection.call("clear", long_query)


def test_rollback_of_a_rollback_leads_back_and_holds(manager: StrategyManager) -> None:
    ticket = manager.start(accepting)
    announce(manager)
    manager.end(QueryCompleted(ticket))
    assert manager.active is GREEN
    held = manager.start(accepting)
    manager.send(RollbackRequested())
    assert manager.pending is BLUE
    manager.send(RollbackRequested())
    manager.send(StrategyAnnounced(BLUE, manager.state_version))
    assert (manager.state, manager.active) == ("Stable", GREEN)
    manager.end(QueryCompleted(held))


# Hold-downs.


def refuse_pending(manager: StrategyManager) -> None:
    """Green is announced and refuses; blue is found to serve."""
    held = manager.start(accepting)
    announce(manager)
    manager.send(Error456(GREEN, manager.state_version))
    assert manager.start(Cluster(BLUE).prove).strategy is BLUE
    manager.end(QueryCompleted(held))


def held_for_s(manager: StrategyManager, clock: FakeClock) -> float:
    """Return after how long an announcement of green counts again, in whole seconds."""
    began_s = clock()
    while manager.state == "Stable":
        clock.advance(1)
        manager.end(QueryCompleted(manager.start(accepting)))
        manager.send(StrategyAnnounced(GREEN, manager.state_version))
    manager.send(StrategyAnnounced(BLUE, manager.state_version))
    return clock() - began_s


def test_hold_down_doubles_up_to_64_times_and_begins_anew_once_it_serves(
    manager: StrategyManager, clock: FakeClock
) -> None:
    seen = []
    for _ in range(9):
        refuse_pending(manager)
        seen.append(held_for_s(manager, clock))
    assert seen == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    announce(manager)
    manager.send(AuthSuccess(GREEN, manager.state_version))
    manager.send(StrategyAnnounced(BLUE, manager.state_version))
    refuse_pending(manager)
    assert held_for_s(manager, clock) == 1
