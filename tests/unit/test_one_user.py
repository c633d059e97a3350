"""Invariant I13: what is refused to one connection moves no other one that would be served (`acceptance`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import CacheInvalidated, Error456
from bluegreen.runtime.manager import StrategyManager
from bluegreen_adapters.connection.requests import Outcome, Reply
from support.clock import FakeClock
from support.flow_cluster import (
    DENIED,
    REFUSED,
    UNAVAILABLE,
    FlowCluster,
    FlowConnection,
    Message,
    Request,
    StatusError,
    failure,
)
from support.managing import BLUE, GREEN, SCOPE, on_blue

Refusing = Callable[[Request], Outcome | None]

KINDS: dict[str, tuple[str, Outcome]] = {
    "login, access denied": ("login", DENIED),
    "login, unauthenticated": ("login", failure("UNAUTHENTICATED", "bad token")),
    "login, permission": ("login", failure("PERMISSION_DENIED", "not in group")),
    "login, limit": ("login", failure("RESOURCE_EXHAUSTED", "too many sessions")),
    "login, argument": ("login", failure("INVALID_ARGUMENT", "no such user")),
    "login, echoes 456": ("login", failure("UNKNOWN", "no user 'status: 456'")),
    "login, empty session": ("login", Reply(Message())),
    "begin, access denied for good": ("begin", DENIED),
    "begin, permission": ("begin", failure("INTERNAL", "Access denied: no SELECT on table t")),
    "begin, echoes 456": ("begin", failure("INVALID_ARGUMENT", "mismatched input 'status: 456'")),
    "begin, limit": ("begin", failure("RESOURCE_EXHAUSTED", "too many queries of this user")),
    "begin, wrong statement": ("begin", failure("INVALID_ARGUMENT", "mismatched input 'SELEC'")),
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(clock: FakeClock) -> StrategyManager:
    return on_blue(StrategyManager(SCOPE, Settings(), clock=clock))


@pytest.fixture
def cluster() -> FlowCluster:
    return FlowCluster()


def refusing(kind: str, user: str, *stacks: str) -> Refusing:
    method, outcome = KINDS[kind]
    return lambda request: (
        outcome if (request.method, request.user) == (method, user) and request.strategy in stacks else None
    )


def tried(connection: FlowConnection) -> str:
    """Run a query; return the stack that served it, or what the application was told."""
    try:
        return connection.query()
    except Exception as error:  # noqa: BLE001  whatever the application gets is the answer here
        return str(error)


@pytest.mark.parametrize("idle_s", [0.0, 30.0], ids=["busy", "idle"])
@pytest.mark.parametrize("stacks", [("blue",), ("blue", "green")], ids=["on one stack", "on both"])
@pytest.mark.parametrize("kind", KINDS)
def test_refusal_of_one_user_moves_no_other_user(
    cluster: FlowCluster,
    manager: StrategyManager,
    clock: FakeClock,
    kind: str,
    stacks: tuple[str, ...],
    idle_s: float,
) -> None:
    good, bad = cluster.connect(manager, "good"), cluster.connect(manager, "bad")
    long_query = good.begin("SELECT 'long'")
    assert (good.query(), bad.query()) == ("blue", "blue")
    version = manager.state_version
    cluster.hook = refusing(kind, "bad", *stacks)
    cluster.dead = {f"bad/blue-{number}" for number in range(99)}  # so that it logs in again
    seen = set()
    for _ in range(6):
        seen.add(tried(bad))
        clock.advance(idle_s)
        assert good.query() == "blue"
    assert (manager.active, manager.state_version, manager.pending) == (BLUE, version, None)
    assert cluster.strategies("login", "good") == ["blue"]
    assert good.call("fetch", long_query).rows == "blue"
    assert all(ticket.strategy is BLUE for ticket in manager.open_tickets)
    assert seen <= {"green"} or not seen & {"blue"}


@pytest.mark.parametrize("kind", ["login, limit", "begin, access denied for good"])
def test_refused_user_begins_alone_on_the_other_stack(
    cluster: FlowCluster, manager: StrategyManager, kind: str
) -> None:
    good, bad = cluster.connect(manager, "good"), cluster.connect(manager, "bad")
    good.query()
    cluster.hook = refusing(kind, "bad", "blue")
    assert [bad.query() for _ in range(3)] == ["green"] * 3
    assert good.query() == "blue"


@pytest.mark.parametrize("kind", ["login, limit", "begin, access denied for good"])
def test_stack_that_refused_a_user_is_not_asked_again_within_the_hold_down(
    cluster: FlowCluster, manager: StrategyManager, clock: FakeClock, kind: str
) -> None:
    good, bad = cluster.connect(manager, "good"), cluster.connect(manager, "bad")
    good.query()
    cluster.hook = refusing(kind, "bad", "blue")
    method = KINDS[kind][0]
    bad.query()
    asked = len(cluster.strategies(method, "bad"))
    bad.query()
    assert cluster.strategies(method, "bad")[asked:].count("blue") == 0
    clock.advance(manager.settings.failed_cooldown_s)
    bad.query()
    assert cluster.strategies(method, "bad")[asked:].count("blue") >= 1


@pytest.mark.parametrize("kind", ["login, limit", "login, echoes 456", "begin, permission", "begin, limit"])
def test_user_refused_everywhere_gets_the_servers_own_answer(
    cluster: FlowCluster, manager: StrategyManager, kind: str
) -> None:
    good, bad = cluster.connect(manager, "good"), cluster.connect(manager, "bad")
    good.query()
    cluster.hook = refusing(kind, "bad", "blue", "green")
    _, outcome = KINDS[kind]
    assert not isinstance(outcome, Reply)
    with pytest.raises(StatusError) as caught:
        bad.query()
    assert caught.value is outcome.cause
    assert manager.active is BLUE
    assert len(manager.open_tickets) == 0


@pytest.mark.parametrize("connections", [1, 2, 5])
def test_stack_that_accepts_logins_and_denies_everybodys_queries_is_left(
    cluster: FlowCluster, manager: StrategyManager, connections: int
) -> None:
    everybody = [cluster.connect(manager, f"user{number}") for number in range(connections)]
    assert {one.query() for one in everybody} == {"blue"}
    cluster.hook = lambda request: DENIED if (request.method, request.strategy) == ("begin", "blue") else None
    assert {one.query() for one in everybody} == {"green"}
    assert manager.active is GREEN
    assert {one.query() for one in everybody} == {"green"}


def test_new_connections_alone_do_not_keep_a_stack_that_denies_queries(
    cluster: FlowCluster, manager: StrategyManager
) -> None:
    """A pool opens one connection for each query: their logins are accepted, and prove nothing."""
    cluster.hook = lambda request: DENIED if (request.method, request.strategy) == ("begin", "blue") else None
    for number in range(4):
        one = cluster.connect(manager, f"user{number}")
        assert one.query() == "green"
        one.link.close()
    assert manager.active is GREEN


def test_connections_that_have_gone_vouch_for_a_short_time(
    cluster: FlowCluster, manager: StrategyManager, clock: FakeClock
) -> None:
    bad = cluster.connect(manager, "bad")
    bad.query()
    gone = cluster.connect(manager, "good")
    gone.query()
    gone.link.close()
    del gone
    cluster.hook = refusing("login, limit", "bad", "blue")
    cluster.dead = {f"bad/blue-{number}" for number in range(99)}
    assert bad.query() == "green"
    assert manager.active is BLUE
    clock.advance(manager.settings.probe_after_s + manager.settings.failed_cooldown_s)
    assert bad.query() == "green"
    assert manager.active is GREEN


def test_bad_user_that_leads_a_detection_is_no_witness(
    cluster: FlowCluster, manager: StrategyManager, clock: FakeClock
) -> None:
    good, bad = cluster.connect(manager, "good"), cluster.connect(manager, "bad")
    good.query()
    cluster.hook = refusing("login, limit", "bad", "blue")
    clock.advance(manager.settings.cache_ttl_s)
    assert bad.query() == "green"
    assert manager.state == "Detecting"
    assert good.query() == "blue"
    assert (manager.state, manager.active) == ("Stable", BLUE)


def test_transport_of_one_connection_moves_nobody_while_others_are_served(
    cluster: FlowCluster, manager: StrategyManager, clock: FakeClock
) -> None:
    good, bad = cluster.connect(manager, "good"), cluster.connect(manager, "bad")
    assert (good.query(), bad.query()) == ("blue", "blue")
    cluster.hook = lambda request: (
        UNAVAILABLE if (request.user, request.strategy) == ("bad", "blue") else None
    )
    assert bad.query() == "green"
    assert (good.query(), manager.active) == ("blue", BLUE)
    clock.advance(manager.settings.probe_after_s + 1)
    assert bad.query() == "green"
    assert manager.active is GREEN  # nobody was served there for a while, and the transport is everybody's


def test_one_456_still_moves_everybody(cluster: FlowCluster, manager: StrategyManager) -> None:
    good, other = cluster.connect(manager, "good"), cluster.connect(manager, "other")
    assert (good.query(), other.query()) == ("blue", "blue")
    cluster.hook = lambda request: REFUSED if request.strategy == "blue" else None
    assert (good.query(), manager.active, other.query()) == ("green", GREEN, "green")


def test_login_accepted_before_a_step_proves_nothing_after_it(
    cluster: FlowCluster, manager: StrategyManager
) -> None:
    """A session that was opened ahead of time is used after the announcement was withdrawn."""
    first, late = cluster.connect(manager, "first"), cluster.connect(manager, "late")
    assert (first.query(), late.query()) == ("blue", "blue")
    running = first.begin("SELECT 'keeps the transition pending'")
    cluster.announces = "green"
    late.call("names")
    first.call("names")
    assert manager.pending is GREEN
    cluster.announces = ""
    cluster.hook = lambda request: REFUSED if request.strategy == "green" else None
    assert first.query() == "blue"
    assert (manager.active, manager.snapshot.context.held_down) == (BLUE, GREEN)
    manager.send(CacheInvalidated())  # a detection; green refuses, whatever it accepted when it was announced
    manager.send(Error456(BLUE, manager.state_version))
    logins = len(cluster.strategies("login", "late"))
    assert tried(late) != "green"
    assert "green" in cluster.strategies("login", "late")[logins:]
    assert first.call("fetch", running).rows == "blue"


@pytest.mark.parametrize("green_serves", [True, False])
def test_denial_of_one_statement_denies_no_other_statement(
    cluster: FlowCluster, manager: StrategyManager, green_serves: bool
) -> None:
    """In the very words of a refused session. Within the hold-down, too, the next statement is asked for."""
    good, bad = cluster.connect(manager, "good"), cluster.connect(manager, "bad")
    assert (good.query(), bad.query()) == ("blue", "blue")
    denied = {"SELECT secret"}

    def hook(request: Request) -> Outcome | None:
        if request.strategy == "green" and not green_serves:
            return REFUSED
        return DENIED if request.method == "begin" and request.user == "bad" and asked[-1] in denied else None

    cluster.hook = hook
    asked = ["SELECT secret"]
    with pytest.raises(StatusError) as caught:
        bad.query(asked[-1])
    assert caught.value is DENIED.cause
    asked.append("SELECT 1")
    assert bad.query(asked[-1]) in ("blue", "green")
    assert (good.query(), manager.active) == ("blue", BLUE)


# -- tokens instead of logins


@pytest.mark.parametrize("connections", [1, 3])
def test_stack_that_denies_every_token_is_left(
    cluster: FlowCluster, manager: StrategyManager, connections: int
) -> None:
    everybody = [cluster.connect_with_token(manager) for _ in range(connections)]
    assert {one.query() for one in everybody} == {"blue"}
    cluster.hook = lambda request: DENIED if (request.method, request.strategy) == ("begin", "blue") else None
    assert {one.query() for one in everybody} == {"green"}
    assert {one.query() for one in everybody} == {"green"}
    assert manager.active is GREEN


def test_token_denied_everywhere_is_answered_and_moves_nobody(
    cluster: FlowCluster, manager: StrategyManager
) -> None:
    connection = cluster.connect_with_token(manager)
    connection.query()
    version = manager.state_version
    for green in (DENIED, REFUSED):
        cluster.hook = lambda request, green=green: (  # type: ignore[misc]
            (DENIED if request.strategy == "blue" else green) if request.method == "begin" else None
        )
        with pytest.raises(StatusError) as caught:
            connection.query()
        assert caught.value is DENIED.cause
        assert (manager.active, manager.state_version) == (BLUE, version)


@pytest.mark.parametrize("method", ["login", "begin"])
def test_form_of_a_setting_counts_for_logins_too(cluster: FlowCluster, clock: FakeClock, method: str) -> None:
    """The gateway of one site refuses in words of its own, for logins as for queries."""
    settings = Settings(forms=("wrong_strategy INTERNAL: this site is closed",))
    manager = on_blue(StrategyManager(SCOPE, settings, clock=clock))
    closed = failure("INTERNAL", "this site is closed")
    assert cluster.connect(manager, "other").query() == "blue", "who vouches for blue"
    cluster.hook = lambda request: closed if request.method == method and request.strategy == "blue" else None
    assert cluster.connect(manager, "good").query() == "green"
    assert manager.active == GREEN
