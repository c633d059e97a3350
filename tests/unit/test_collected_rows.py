"""Rows that a connector collects before the application sees any: when they are void, and how it learns of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.runtime.manager import StrategyManager
from bluegreen_adapters.connection.query import Query
from bluegreen_adapters.connection.requests import Send
from support.flow_cluster import REFUSED, UNAVAILABLE, FlowCluster, FlowConnection, Message, Request, Rpc
from support.managing import SCOPE, on_blue

DISCARDED = "throw its rows away, and fetch from the beginning"


@pytest.fixture
def cluster() -> FlowCluster:
    return FlowCluster()


@pytest.fixture
def manager() -> StrategyManager:
    return on_blue(StrategyManager(SCOPE))


@pytest.fixture
def connection(cluster: FlowCluster, manager: StrategyManager) -> FlowConnection:
    return cluster.connect(manager, "anna")


def executed(connection: FlowConnection, statement: str = "SELECT 1") -> tuple[str, Query]:
    """Execute a statement; return the id of its query, and the query."""
    query_id = connection.begin(statement)
    connection.call("execute", query_id)
    return query_id, connection.link.bound[query_id]


def vanish(cluster: FlowCluster, outcome: Any = REFUSED) -> None:
    """Have blue answer everything with this outcome from now on."""

    def hook(request: Request) -> Any:
        return outcome if request.strategy == "blue" else None

    cluster.hook = hook


@pytest.mark.parametrize("outcome", [REFUSED, UNAVAILABLE], ids=["456", "transport"])
@pytest.mark.parametrize("finder", ["fetch", "look"])
def test_fetch_of_a_void_collection_is_refused(
    connection: FlowConnection, cluster: FlowCluster, outcome: Any, finder: str
) -> None:
    """Whichever request finds out that the stack has vanished, none of the collection fetches from the new run."""
    query_id, query = executed(connection)
    collection = query.collect()
    assert connection.call("fetch", query_id).rows == "blue"
    vanish(cluster, outcome)
    if finder == "look":
        connection.call("look", query_id)
    for _ in range(2):
        with pytest.raises(StrategyUnavailable, match=DISCARDED):
            connection.call("fetch", query_id)
    assert (query.is_void, query.hand_out(collection)) == (True, False)
    assert Request("fetch", "green", "anna", query.place.query_id) not in cluster.requests
    query.collect()
    assert connection.call("fetch", query_id).rows == "green"
    assert cluster.executed == {"SELECT 1": 2}


def test_fetch_under_way_when_its_collection_becomes_void_is_refused(
    connection: FlowConnection, cluster: FlowCluster
) -> None:
    """Its answer is of the old run; sent again, it would take a batch of the new one from the next collection."""
    query_id, query = executed(connection)
    query.collect()
    connection.call("fetch", query_id)
    rpc = Rpc("fetch", connection.link.protocol.methods["fetch"], Message(queryId=query_id))
    late = connection.link.call(rpc)
    command = next(late)
    while not isinstance(command, Send):
        command = late.send(cluster.answer(command))
    answer = cluster.answer(command)
    vanish(cluster)
    connection.call("look", query_id)
    query.collect()  # the cursor fetches from the beginning
    with pytest.raises(StrategyUnavailable, match=DISCARDED):
        late.send(answer)
    assert connection.call("fetch", query_id).rows == "green"


def test_query_without_rows_begins_again_unnoticed(connection: FlowConnection, cluster: FlowCluster) -> None:
    query_id, query = executed(connection)
    collection = query.collect()
    vanish(cluster)
    assert connection.call("fetch", query_id).rows == "green"
    assert query.hand_out(collection)


def test_query_is_lost_once_its_rows_are_handed_out(connection: FlowConnection, cluster: FlowCluster) -> None:
    query_id, query = executed(connection)
    collection = query.collect()
    connection.call("fetch", query_id)
    assert query.is_collectable
    assert query.hand_out(collection)
    assert not query.is_collectable
    vanish(cluster)
    with pytest.raises(QueryLost, match="rows of it have already been handed out"):
        connection.call("fetch", query_id)


def test_batch_that_arrives_after_the_hand_out_is_handed_out(
    connection: FlowConnection, cluster: FlowCluster
) -> None:
    """A connector that was interrupted before it had a row may go on by itself."""
    query_id, query = executed(connection)
    query.hand_out(query.collect())
    connection.call("fetch", query_id)
    vanish(cluster)
    with pytest.raises(QueryLost, match="handed out"):
        connection.call("look", query_id)


def test_rows_count_as_handed_out_if_two_collect_at_once(
    connection: FlowConnection, cluster: FlowCluster
) -> None:
    """The rows of the two cannot be told apart, so neither may be void."""
    query_id, query = executed(connection)
    one = query.collect()
    connection.call("fetch", query_id)
    other = query.collect()
    connection.call("fetch", query_id)
    vanish(cluster)
    with pytest.raises(QueryLost, match="handed out"):
        connection.call("fetch", query_id)
    assert query.hand_out(one)
    assert query.hand_out(other)


def test_batch_that_another_connection_fetches_is_handed_out(
    connection: FlowConnection, cluster: FlowCluster, manager: StrategyManager
) -> None:
    query_id, query = executed(connection)
    query.collect()
    assert cluster.connect(manager, "anna").call("fetch", query_id).rows == "blue"
    vanish(cluster)
    with pytest.raises(QueryLost, match="handed out"):
        connection.call("fetch", query_id)


def test_collected_write_is_lost_and_executed_once(connection: FlowConnection, cluster: FlowCluster) -> None:
    query_id, query = executed(connection, "INSERT INTO t VALUES (1)")
    query.collect()
    connection.call("fetch", query_id)
    vanish(cluster)
    with pytest.raises(QueryLost, match="it can write"):
        connection.call("fetch", query_id)
    assert cluster.executed == {"INSERT INTO t VALUES (1)": 1}


@pytest.mark.parametrize("attempt", range(30))
def test_rows_are_either_handed_out_or_void(
    connection: FlowConnection, cluster: FlowCluster, attempt: int
) -> None:
    """One thread hands out while another one finds out that the stack has vanished: exactly one of them wins."""
    query_id, query = executed(connection)
    collection = query.collect()
    connection.call("fetch", query_id)
    vanish(cluster)
    both = threading.Barrier(2)

    def hand_out() -> bool:
        both.wait()
        return query.hand_out(collection)

    def find_out() -> bool:
        both.wait()
        try:
            connection.call("look", query_id)
        except QueryLost:
            return True
        return False

    calls = (hand_out, find_out) if attempt % 2 else (find_out, hand_out)
    with ThreadPoolExecutor(2) as pool:
        done = {call: pool.submit(call) for call in calls}
        assert done[hand_out].result() == done[find_out].result()
