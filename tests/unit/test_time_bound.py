"""The whole wait of a caller for a strategy and a session is one deadline, however many callers wait."""

from __future__ import annotations

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import DetectionTimedOutError, Refusal, StrategyUnavailable
from bluegreen.machines.strategy.events import AuthSuccess, CacheInvalidated, Reset, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Flow, Wait
from bluegreen.types import Strategy
from bluegreen_adapters.connection.query import Rpc
from bluegreen_adapters.connection.requests import Outcome
from support.clock import FakeClock
from support.flow_cluster import PROTOCOL, REFUSED, FlowCluster, FlowConnection, Message, Request
from support.managing import BLUE, GREEN, SCOPE, on_blue
from support.timed_flows import TimedFlows

TIMEOUT_S = 10.0
BOTH = {"blue", "green"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cluster() -> FlowCluster:
    return FlowCluster()


@pytest.fixture
def flows(cluster: FlowCluster, clock: FakeClock) -> TimedFlows:
    return TimedFlows(cluster, clock)


def managing(clock: FakeClock, default: str | None = None) -> StrategyManager:
    settings = Settings(detection_timeout_s=TIMEOUT_S, default_strategy=default)
    return StrategyManager(SCOPE, settings, clock=clock)


def beginning(connection: FlowConnection) -> Flow[object]:
    rpc = Rpc("begin", PROTOCOL.methods["begin"], Message(queryString="SELECT 1"))
    yield from connection.link.call(rpc)


@pytest.mark.parametrize("default", [None, "blue", "green"])
@pytest.mark.parametrize("callers", [1, 4, 16])
@pytest.mark.parametrize("known", [False, True], ids=["nothing known", "blue known"])
def test_both_stacks_silent_nobody_waits_longer_than_the_time_out(
    flows: TimedFlows, clock: FakeClock, callers: int, default: str | None, known: bool
) -> None:
    manager = managing(clock, default)
    if known:
        on_blue(manager)
        manager.send(CacheInvalidated())
    flows.silent = BOTH
    connections = [flows.cluster.connect(manager, str(number)) for number in range(callers)]
    ended = flows.run({0.05 * number: beginning(one) for number, one in enumerate(connections)})
    assert all(isinstance(one.result, StrategyUnavailable) for one in ended)
    assert max(one.seconds for one in ended) <= TIMEOUT_S
    context = manager.snapshot.context
    fallback = Strategy.parse(default) if default else BLUE if known else None
    if fallback is None:
        assert manager.state in ("Failed", "Detecting")
    else:
        assert (manager.state, context.active, context.verified) == ("Stable", fallback, False)
    assert manager.open_tickets == ()


@pytest.mark.parametrize("callers", [1, 4])
def test_many_callers_of_one_connection_wait_no_longer(
    flows: TimedFlows, clock: FakeClock, callers: int
) -> None:
    flows.silent = BOTH
    connection = flows.cluster.connect(managing(clock), "me")
    ended = flows.run({3.0 * number: beginning(connection) for number in range(callers)})
    assert max(one.seconds for one in ended) <= TIMEOUT_S


def test_hung_login_on_the_active_stack_leaves_time_for_the_other_one(
    flows: TimedFlows, clock: FakeClock
) -> None:
    manager = on_blue(managing(clock))
    flows.silent = {"blue"}
    (ended,) = flows.run({0.0: beginning(flows.cluster.connect(manager, "me"))})
    assert not isinstance(ended.result, Exception)
    assert (manager.state, manager.active) == ("Stable", GREEN)
    assert ended.seconds < TIMEOUT_S


def test_session_after_the_fallback_is_opened_in_what_is_left(flows: TimedFlows, clock: FakeClock) -> None:
    """A caller that comes late to a detection shares its result, and has its own time for a session there."""
    manager = managing(clock, "green")
    flows.silent = BOTH
    connections = [flows.cluster.connect(manager, str(number)) for number in range(2)]
    first, late = flows.run({0.0: beginning(connections[0]), 9.0: beginning(connections[1])})
    assert (first.seconds, late.seconds) == (TIMEOUT_S, TIMEOUT_S)


def test_time_of_requests_is_no_wait_for_a_place(cluster: FlowCluster, clock: FakeClock) -> None:
    """A begin that takes long and is then refused begins again elsewhere: its caller has waited for no place yet."""

    def refuses_late(request: Request) -> Outcome | None:
        if (request.method, request.strategy) != ("begin", "blue"):
            return None
        clock.advance(3 * TIMEOUT_S)
        return REFUSED

    manager = on_blue(managing(clock))
    cluster.hook = refuses_late
    assert cluster.connect(manager, "me").query() == "green"


# The detection itself.


def asking(strategy: Strategy, left_s: float) -> Flow[None]:
    yield "prove", strategy, left_s


SILENT = Refusal("no answer", wrong_strategy=False, answered=False)


@pytest.fixture
def manager(clock: FakeClock) -> StrategyManager:
    return managing(clock, "green")


def test_try_that_is_not_answered_is_no_refusal(manager: StrategyManager, clock: FakeClock) -> None:
    """Both are tried once, and the one that was silent can still be fallen back to."""
    flow = manager.start_flow(asking)
    assert next(flow)[1] is GREEN
    clock.advance(5)
    assert flow.throw(SILENT)[1] is BLUE
    assert manager.snapshot.context.untried == (GREEN, BLUE)
    clock.advance(5)
    with pytest.raises(StopIteration) as started:
        flow.throw(SILENT)
    assert started.value.value.strategy is GREEN
    assert not manager.snapshot.context.verified
    assert manager.failures == {"green": "no answer", "blue": "no answer"}


def test_nothing_falls_back_to_what_has_refused(manager: StrategyManager, clock: FakeClock) -> None:
    flow = manager.start_flow(asking)
    next(flow)
    assert flow.throw(Refusal("status 456"))[1] is BLUE
    clock.advance(TIMEOUT_S)
    with pytest.raises(DetectionTimedOutError):
        flow.throw(SILENT)
    assert manager.state == "Failed"


def test_leader_with_hardly_any_time_left_decides_nothing_for_others(
    manager: StrategyManager, clock: FakeClock
) -> None:
    """Its own time is over, theirs is not: another one leads, and no strategy was given up."""
    short = manager.start_flow(asking, deadline_s=clock() + 0.5)
    long = manager.start_flow(asking)
    next(short)
    waiting = next(long)
    assert isinstance(waiting, Wait)
    clock.advance(0.5)
    with pytest.raises(DetectionTimedOutError):
        short.throw(SILENT)
    assert manager.state == "Detecting"
    assert waiting.future.done()
    assert long.send(True) == ("prove", GREEN, TIMEOUT_S - 0.5)


def test_detection_that_begins_anew_tries_again_what_was_silent(
    manager: StrategyManager, clock: FakeClock
) -> None:
    flow = manager.start_flow(asking)
    next(flow)
    assert flow.throw(SILENT)[1] is BLUE
    manager.send(AuthSuccess(BLUE, manager.state_version))
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    manager.send(Reset())
    assert flow.throw(SILENT)[1] is BLUE
    assert flow.throw(SILENT)[1] is GREEN
