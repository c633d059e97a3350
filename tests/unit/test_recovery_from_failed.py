"""Both stacks are down, and come back: the application that retries is served within a second of that."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.events import ConnectionOpened, Reset
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Flow
from bluegreen_adapters.connection.query import Rpc
from support.clock import FakeClock
from support.flow_cluster import PROTOCOL, REFUSED, UNAVAILABLE, FlowCluster, FlowConnection, Message
from support.managing import BLUE, SCOPE, accepting, refusing
from support.timed_flows import TimedFlows

RETRY_S = 0.02
"""How long the application waits before it tries again."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(clock: FakeClock) -> StrategyManager:
    return StrategyManager(SCOPE, Settings(), clock=clock)


def querying(connection: FlowConnection) -> Flow[None]:
    link = connection.link
    begun = yield from link.call(Rpc("begin", PROTOCOL.methods["begin"], Message(queryString="SELECT 1")))
    for name in ("execute", "fetch", "clear"):
        yield from link.call(Rpc(name, PROTOCOL.methods[name], Message(queryId=begun.queryId)))


def outages() -> Iterator[float]:
    """Yield how long both stacks are down: a moment, or so long that the cool-down has stopped growing."""
    drawn = random.Random(456)
    for _ in range(100):
        yield drawn.choice([drawn.uniform(0.0, 0.2), drawn.uniform(0.0, 3.0), drawn.uniform(20.0, 30.0)])


@pytest.mark.parametrize("answer", [UNAVAILABLE, REFUSED], ids=["unavailable", "456"])
def test_both_stacks_down_and_back_next_query_succeeds_within_a_second(
    manager: StrategyManager, clock: FakeClock, answer: object
) -> None:
    cluster = FlowCluster()
    flows = TimedFlows(cluster, clock)
    connection = cluster.connect(manager, "me")
    assert connection.query() == "blue"
    states = set()
    for outage_s in outages():
        cluster.hook = lambda _: answer  # type: ignore[return-value]
        back_s = clock() + outage_s
        while clock() < back_s:
            (ended,) = flows.run({0.0: querying(connection)})
            assert isinstance(ended.result, StrategyUnavailable)
            states.add(manager.state)
            clock.advance(RETRY_S)
        cluster.hook = lambda _: None
        back_s = clock()
        while isinstance(flows.run({0.0: querying(connection)})[0].result, StrategyUnavailable):
            clock.advance(RETRY_S)
        assert clock() - back_s <= 1.0
    assert states == {"Failed"}


def test_cool_down_begins_short_doubles_and_begins_anew(manager: StrategyManager, clock: FakeClock) -> None:
    """Counted: how long the scope refuses at once after each detection that fails."""

    def refused_for_s() -> float:
        began_s, asked = clock(), list[object]()

        def prove(strategy: object, left_s: float) -> None:
            asked.append(strategy)
            refusing(strategy, left_s)  # type: ignore[arg-type]

        while not asked:
            with pytest.raises(StrategyUnavailable):
                manager.start(prove)
            if not asked:
                clock.advance(0.01)
        return clock() - began_s

    expected = [0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 0.8, 0.8]
    assert [refused_for_s() for _ in expected] == pytest.approx(expected, abs=0.011)
    clock.advance(0.8)
    assert manager.start(accepting).strategy is BLUE
    assert manager.snapshot.context.failed_in_a_row == 0
    manager.send(Reset())
    assert [refused_for_s() for _ in range(3)] == pytest.approx([0.0, 0.05, 0.1], abs=0.011)


def test_new_connection_ends_failed_and_not_the_row(manager: StrategyManager) -> None:
    """It is a reason to try again at once; that it fails as well is counted all the same."""
    for failed in (1, 2, 3):
        with pytest.raises(StrategyUnavailable):
            manager.start(refusing)
        assert manager.snapshot.context.failed_in_a_row == failed
        manager.send(ConnectionOpened())
        assert manager.state == "Detecting"
