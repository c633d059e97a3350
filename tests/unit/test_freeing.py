"""Queries that are let go are freed on their stack, and ids are known in the whole scope."""

from __future__ import annotations

import gc
from concurrent.futures import Future
from typing import Any

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.events import StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen_adapters.connection import transport
from bluegreen_adapters.connection.query import StreamHold
from bluegreen_adapters.connection.requests import Launch, Outcome
from support.flow_cluster import (
    DENIED,
    REFUSED,
    UNAVAILABLE,
    FlowCluster,
    FlowConnection,
    Message,
    StatusError,
)
from support.managing import BLUE, GREEN, SCOPE, on_blue


@pytest.fixture
def manager() -> StrategyManager:
    return on_blue(StrategyManager(SCOPE, Settings()))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FlowCluster:
    # The messages of these stacks are plain values, which have no description to make an empty one from.
    monkeypatch.setattr(transport, "blank_request", lambda _, __: Message())
    return FlowCluster()


@pytest.fixture
def connection(cluster: FlowCluster, manager: StrategyManager) -> FlowConnection:
    return cluster.connect(manager, "me")


def started(connection: FlowConnection, statement: str = "SELECT 1") -> Any:
    query = connection.begin(statement)
    connection.call("execute", query)
    return query


# -- let go


def test_query_whose_cursor_is_reused_is_freed(cluster: FlowCluster, connection: FlowConnection) -> None:
    query = None
    for _ in range(500):
        query = started(connection)
        assert len(cluster.open["blue"]) <= 2
    assert query is not None
    assert cluster.strategies("clear", "me").count("blue") >= 498


def test_query_that_was_let_go_is_freed_where_it_ran(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager
) -> None:
    query = started(connection)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    del query
    gc.collect()
    assert connection.query() == "green"
    assert cluster.open == {"blue": {}, "green": {}}
    assert cluster.strategies("clear", "me") == ["blue", "green"]
    assert manager.open_tickets == ()


def test_query_that_was_cleared_is_not_freed_again(cluster: FlowCluster, connection: FlowConnection) -> None:
    for _ in range(3):
        connection.query()
    assert len(cluster.strategies("clear", "me")) == 3


def test_failure_to_free_is_nobodys_problem(cluster: FlowCluster, connection: FlowConnection) -> None:
    started(connection)
    gc.collect()
    cluster.hook = lambda request: UNAVAILABLE if request.method == "clear" else None
    query = started(connection)
    for _ in range(5):
        assert connection.call("fetch", query).rows == "blue"
    assert cluster.strategies("clear", "me") == ["blue"] * 3, "each with a request of the application"


def test_failure_to_free_is_repeated_with_the_next_request(
    cluster: FlowCluster, connection: FlowConnection
) -> None:
    started(connection)
    gc.collect()
    failures = iter([UNAVAILABLE])
    cluster.hook = lambda request: next(failures, None) if request.method == "clear" else None
    query = started(connection)
    connection.call("clear", query)
    assert cluster.open == {"blue": {}, "green": {}}


def test_refusal_to_free_is_not_repeated(cluster: FlowCluster, connection: FlowConnection) -> None:
    started(connection)
    gc.collect()
    cluster.hook = lambda request: DENIED if request.method == "clear" else None
    query = started(connection)
    for _ in range(5):
        assert connection.call("fetch", query).rows == "blue"
    assert cluster.strategies("clear", "me") == ["blue"]


def test_no_more_than_a_few_are_freed_at_once(
    cluster: FlowCluster, connection: FlowConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack that does not answer gets a bounded number of requests, and the application waits for none of them."""
    unanswered: list[Future[Outcome]] = []

    def answer(command: Any) -> Any:
        if isinstance(command, Launch):
            unanswered.append(Future())
            return unanswered[-1]
        return FlowCluster.answer(cluster, command)

    monkeypatch.setattr(cluster, "answer", answer)
    for _ in range(50):
        started(connection)
    assert len(unanswered) == 32
    unanswered[0].set_result(UNAVAILABLE)
    started(connection)
    assert len(unanswered) == 33


def test_freeing_is_not_begun_in_a_finalizer(cluster: FlowCluster, connection: FlowConnection) -> None:
    query = started(connection)
    before = len(cluster.requests)
    del query
    gc.collect()
    assert len(cluster.requests) == before


# -- ids of other connections


def test_cancel_by_id_from_another_connection_goes_where_the_query_runs(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager
) -> None:
    query = started(connection)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    other = cluster.connect(manager, "me")
    other.query()
    other.call("cancel", str(query))
    assert cluster.strategies("cancel", "me") == ["blue"]
    assert cluster.open["blue"] == {}
    assert manager.open_tickets == ()


def test_ids_that_collide_are_told_apart_by_their_engine(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager
) -> None:
    cluster.colliding = True
    mine = started(connection)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    stranger = cluster.connect(manager, "stranger")
    theirs = started(stranger)
    assert str(mine) == str(theirs)
    cluster.connect(manager, "me").call("cancel", str(mine), engineIP="engine-blue")
    assert (len(cluster.open["blue"]), len(cluster.open["green"])) == (0, 1)
    assert stranger.call("fetch", theirs).rows == "green"


@pytest.mark.parametrize("name", ["cancel", "clear"])
def test_end_of_an_unknown_query_is_refused_if_both_stacks_hold_work(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager, name: str
) -> None:
    kept = [started(connection)]
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    kept.append(started(connection))
    with pytest.raises(
        StrategyUnavailable, match=f"{name} was not sent: no connection of this process knows"
    ):
        connection.call(name, "q-of-another-process")
    assert cluster.strategies(name, "me") == []


def test_end_of_an_unknown_query_goes_to_the_only_stack_that_holds_work(
    cluster: FlowCluster, connection: FlowConnection
) -> None:
    cluster.open["blue"]["q-of-another-process"] = "SELECT 1"
    connection.call("cancel", "q-of-another-process")
    assert cluster.open["blue"] == {}


def test_rows_fetched_by_another_connection_forbid_to_run_the_query_again(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager
) -> None:
    query = started(connection)
    assert cluster.connect(manager, "me").call("fetch", str(query)).rows == "blue"
    held = connection.link.bound[str(query)]
    assert held.context is not None
    assert held.context.rows


# -- streams without a query's id


@pytest.mark.parametrize("over", ["ended", "let_go"])
def test_stream_without_id_holds_its_ticket_until_it_has_ended(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager, over: str
) -> None:
    from bluegreen_adapters.connection.query import Rpc

    hold = StreamHold()
    rpc = Rpc("names", connection.link.protocol.methods["names"], Message(), stream=hold)
    cluster.run(connection.link.call(rpc))
    assert [ticket.strategy for ticket in manager.open_tickets] == [BLUE]
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    connection.link.streamed(rpc, Message(rows="more"))
    assert manager.state == "PendingTransition"
    getattr(connection.link, over)(rpc)
    getattr(connection.link, over)(rpc)
    assert manager.open_tickets == ()


def test_stream_that_breaks_off_ends_its_ticket(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager
) -> None:
    from bluegreen_adapters.connection.query import Rpc

    rpc = Rpc("names", connection.link.protocol.methods["names"], Message(), stream=StreamHold())
    cluster.run(connection.link.call(rpc))
    with pytest.raises(StatusError):
        cluster.run(connection.link.broken(rpc, UNAVAILABLE))
    assert manager.open_tickets == ()


# -- ends that nobody has confirmed


def test_end_of_a_query_that_could_not_be_begun_again_reaches_where_it_may_run(
    cluster: FlowCluster, connection: FlowConnection
) -> None:
    """Its execute was lost in transport, so that its first stack may still run it."""
    query = connection.begin()
    cluster.hook = lambda request: UNAVAILABLE if request.method in ("execute", "begin", "login") else None
    with pytest.raises(Exception, match=r".+"):
        connection.call("execute", query)
    assert list(cluster.open["blue"]) == [str(query)]
    connection.call("cancel", query)
    assert cluster.open["blue"] == {}


def test_query_begun_again_after_the_transport_failed_is_freed_where_it_was(
    cluster: FlowCluster, connection: FlowConnection
) -> None:
    query = connection.begin()
    failed: list[str] = []

    def once(request: Any) -> Any:
        if request.method == "execute" and not failed:
            failed.append(request.strategy)
            return UNAVAILABLE
        return None

    cluster.hook = once
    connection.call("execute", query)
    assert len(cluster.open["blue"]) == 2
    connection.call("clear", query)
    assert cluster.open == {"blue": {}, "green": {}}


@pytest.mark.parametrize("name", ["cancel", "clear"])
def test_end_in_a_dead_session_of_a_stack_that_drains_is_no_success(
    cluster: FlowCluster, connection: FlowConnection, name: str
) -> None:
    query = started(connection)
    cluster.dead = {f"me/blue-{number}" for number in range(99)}
    cluster.hook = lambda request: (
        REFUSED if (request.method, request.strategy) == ("login", "blue") else None
    )
    with pytest.raises(StrategyUnavailable, match="opens no new session to end it in"):
        connection.call(name, query)
    assert list(cluster.open["blue"]) == [str(query)]
