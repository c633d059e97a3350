"""The connector with OAuth over TLS: tokens travel with each request, and no session is ever opened."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote_plus

import grpc
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.exceptions import OAuthError, OperationalError
from e6data_python_connector.result_decode import DecoderLease

from bluegreen.errors import BluegreenError, QueryLost
from bluegreen_adapters.testing.engine import EngineProcess
from bluegreen_adapters.testing.engine.statistics import Statistics
from support.engine import READ, fresh, switched, until
from support.tls import (
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    LONG_S,
    OAUTH_WAYS,
    SHORT_S,
    SecureCluster,
    secure_cluster,
)
from support.ways import AnyConnection, causes, manager_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("nothing_is_known")]

Connect = Callable[..., AnyConnection]
CLIENT_WAYS = tuple(way for way in OAUTH_WAYS if "client" in way)
LAZY_WAYS = tuple(way for way in OAUTH_WAYS if not way.endswith("-v2"))
"""Ways that fetch no rows before the application asks for them."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[SecureCluster]:
    with secure_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def decoder() -> Iterator[None]:
    """Keep the process that decodes V2 batches; without this, every connection would start one."""
    lease = DecoderLease()
    lease.start(time.monotonic() + 60)
    yield
    lease.close(time.monotonic() + 60)


@pytest.fixture
def cluster(shared_cluster: SecureCluster) -> SecureCluster:
    fresh(shared_cluster.engine)
    shared_cluster.endpoint.lifetime_s = LONG_S
    shared_cluster.endpoint.issued.clear()
    return shared_cluster


@pytest.fixture
def engine(cluster: SecureCluster) -> EngineProcess:
    return cluster.engine


@pytest.fixture
def connect(cluster: SecureCluster, request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Opens connections that share one token, and closes them in the end."""
    opened: list[AnyConnection] = []
    scope = f"test-{next(_numbers)}"  # the connector keeps tokens by scope, for as long as anybody uses them

    def open_one(name: str, **changes: object) -> AnyConnection:
        way = cluster.ways[name]
        if way.absent is not None:
            pytest.skip(way.absent)
        if name.endswith("-v2"):
            request.getfixturevalue("decoder")
        own = {"oauth_scope": scope} if name in CLIENT_WAYS else {}
        opened.append(way.open(cluster.engine, **own, **changes))
        return opened[-1]

    yield open_one
    while opened:
        opened.pop().close()


def rows(connection: AnyConnection, text: str = READ) -> list[str]:
    """Run a query to its end; return the stacks that its rows came from."""
    cursor = connection.cursor()
    cursor.execute(text)
    seen = [row[2] for row in cursor.fetchall()] if text.startswith("SELECT") else []
    cursor.clear()
    cursor.close()
    return seen


def sound(engine: EngineProcess) -> Statistics:
    """Return what was counted, after a look at what holds in every test of this module."""
    seen = engine.statistics()
    assert seen.offences == ()
    assert seen.misrouted == 0
    assert seen.executed_twice == {}
    assert "authenticate" not in seen.requests
    assert seen.with_token == seen.requests
    assert seen.authentications == {}
    return seen


# -- switches


@pytest.mark.parametrize("name", OAUTH_WAYS)
@pytest.mark.parametrize("kind", ["graceful", "announced_abrupt", "silent_drain", "rollback", "abrupt"])
def test_reads_and_writes_notice_no_switch(
    connect: Connect, cluster: SecureCluster, name: str, kind: str
) -> None:
    engine, done = cluster.engine, threading.Event()
    finished: list[str] = []
    lost: set[str] = set()

    def work(number: int, connection: AnyConnection) -> None:
        for turn in itertools.count(1):
            if done.is_set():
                return
            write = turn % 4 == 0
            read = f"SELECT {number}, {turn} /*+ rows(4) */"
            text = f"INSERT INTO t{number} VALUES ({turn})" if write else read
            try:
                assert len(rows(connection, text)) == (0 if write else 4)
            except (OperationalError, grpc.RpcError) as error:
                if not any(isinstance(cause, QueryLost) for cause in causes(error)):
                    raise
                lost.add(text)
            finished.append(text)

    connections = [connect(name), connect(name)]
    with ThreadPoolExecutor(len(connections)) as pool:
        threads = [pool.submit(work, *numbered) for numbered in enumerate(connections)]
        try:
            until(lambda: len(finished) > 4 or any(thread.done() for thread in threads))
            switched(engine, manager_of(engine), kind, grace_s=0.15, drain_s=5)
            after = len(finished)
            until(lambda: len(finished) > after + 4 or any(thread.done() for thread in threads))
        finally:
            done.set()
        for thread in threads:
            thread.result()
    seen = sound(engine)
    assert lost <= seen.lost_allowed
    if "abrupt" not in kind:
        assert lost == set()
    assert set(seen.requests["prepareStatementV2"]) == {"blue", "green"}
    assert manager_of(engine).active == engine.active
    assert manager_of(engine).open_tickets == ()
    assert len(cluster.endpoint.issued) == (1 if name in CLIENT_WAYS else 0)


@pytest.mark.parametrize("name", OAUTH_WAYS)
def test_nothing_is_lost_where_nothing_has_to_be(connect: Connect, engine: EngineProcess, name: str) -> None:
    connection = connect(name)
    assert rows(connection) == ["blue"] * 4
    cursor = connection.cursor()
    if name in LAZY_WAYS:
        cursor.execute(READ)
    engine.phase("abrupt", target="green")
    if name in LAZY_WAYS:
        assert [row[2] for row in cursor.fetchall()] == ["green"] * 4
        cursor.clear()
    assert rows(connection) == ["green"] * 4
    engine.phase("abrupt", target="blue")
    assert rows(connection) == ["blue"] * 4
    assert connection.tables() == ["customers", "orders"]
    sound(engine)


@pytest.mark.parametrize("name", OAUTH_WAYS)
@pytest.mark.parametrize("active", ["blue", "green"])
def test_a_suspended_cluster_is_resumed_by_the_connector(
    connect: Connect, engine: EngineProcess, name: str, active: str
) -> None:
    connection = connect(name)
    rows(connection)
    if active == "green":
        engine.switch("graceful", grace_s=0)
        assert rows(connection) == ["green"] * 4
    engine.phase("suspended", active=active)
    assert rows(connection) == [active] * 4
    seen = sound(engine)
    assert seen.requests["cluster.resume"] == {active: 1}
    assert seen.errors == {"prepareStatementV2": {"UNAVAILABLE": 1}}


@pytest.mark.parametrize("name", OAUTH_WAYS)
def test_a_cluster_that_is_suspended_on_the_other_stack_is_resumed_too(
    connect: Connect, engine: EngineProcess, name: str
) -> None:
    engine.phase("suspended", active="green")
    assert rows(connect(name)) == ["green"] * 4
    assert sound(engine).requests["cluster.resume"] == {"green": 1}


# -- tokens that end


@pytest.mark.parametrize("name", CLIENT_WAYS)
def test_a_token_that_has_expired_is_renewed_by_the_connector(
    connect: Connect, cluster: SecureCluster, name: str
) -> None:
    engine, issued = cluster.engine, cluster.endpoint.issued
    connection = connect(name)
    for turn, active in enumerate(("blue", "green", "blue"), start=1):
        if engine.active != active:
            engine.phase("abrupt", target=active)
        assert rows(connection) == [active] * 4
        assert len(issued) == turn
        assert engine.revoke_token(issued[-1])
    seen = sound(engine)
    assert seen.errors == {"prepareStatementV2": {"UNAUTHENTICATED": 2}}
    assert manager_of(engine).active == "blue"


@pytest.mark.parametrize("name", [way for way in CLIENT_WAYS if way in LAZY_WAYS])
def test_a_query_that_runs_again_takes_the_token_of_the_request_that_needs_it(
    connect: Connect, cluster: SecureCluster, name: str
) -> None:
    engine, issued = cluster.engine, cluster.endpoint.issued
    cluster.endpoint.lifetime_s = SHORT_S
    cursor = connect(name).cursor()
    cursor.execute(READ)
    assert len(issued) > 1
    for token in tuple(issued):
        assert engine.revoke_token(token)
    engine.phase("abrupt", target="green")
    assert [row[2] for row in cursor.fetchall()] == ["green"] * 4
    cursor.clear()
    assert sound(engine).errors == {}


@pytest.mark.parametrize("name", [way for way in CLIENT_WAYS if way in LAZY_WAYS])
def test_a_query_that_cannot_run_again_for_its_token_says_so_and_the_next_one_runs(
    connect: Connect, cluster: SecureCluster, name: str
) -> None:
    engine, issued = cluster.engine, cluster.endpoint.issued
    connection = connect(name)
    cursor = connection.cursor()
    cursor.execute(READ)
    assert engine.revoke_token(issued[-1])
    engine.phase("abrupt", target="green")
    with pytest.raises(grpc.RpcError) as caught:
        cursor.fetchall()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    cursor.clear()
    assert manager_of(engine).open_tickets == ()
    assert rows(connection) == ["green"] * 4
    sound(engine)


@pytest.mark.parametrize("name", [way for way in OAUTH_WAYS if way not in CLIENT_WAYS])
def test_a_refused_token_is_the_applications_affair_and_no_switch(
    connect: Connect, engine: EngineProcess, name: str
) -> None:
    connection = connect(name, access_token="forged")
    with pytest.raises((OperationalError, grpc.RpcError)) as caught:
        connection.cursor().execute(READ)
    refusal = [cause for cause in causes(caught.value) if isinstance(cause, grpc.RpcError)]
    assert refusal[-1].code() is grpc.StatusCode.UNAUTHENTICATED
    seen = sound(engine)
    assert seen.requests == {"prepareStatementV2": {"blue": 1}}
    assert manager_of(engine).active == "blue"
    assert manager_of(engine).open_tickets == ()


# -- secrets


@pytest.mark.parametrize("name", LAZY_WAYS)
def test_no_secret_is_ever_logged(
    connect: Connect, cluster: SecureCluster, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, issued = cluster.engine, cluster.endpoint.issued
    caplog.set_level(logging.DEBUG, "bluegreen")
    connection = connect(name)
    rows(connection)
    for phase in ("announce", "cutover", "drain", "retire"):
        engine.phase(phase, target="green")
        rows(connection)
    if name in CLIENT_WAYS:
        engine.revoke_token(issued[-1])
        rows(connection)
    cursor = connection.cursor()
    cursor.execute(READ)
    engine.phase("abrupt", target="blue")
    cursor.fetchall()
    cursor.clear()
    engine.phase("both_down")
    with pytest.raises((OperationalError, grpc.RpcError)) as caught:
        rows(connection)
    said = [
        f"{caplog.handler.format(record)} {record.args!r}"
        for record in caplog.records
        if record.name.startswith("bluegreen")
    ]
    assert any("active green -> blue" in line for line in said)
    told = [
        f"{cause} {cause!r} {vars(cause)}"
        for cause in causes(caught.value)
        if isinstance(cause, BluegreenError)
    ]
    assert told
    secrets = {ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, quote_plus(CLIENT_SECRET), "Bearer", *issued}
    assert [secret for secret in secrets for line in (*said, *told) if secret in line] == []


# -- the endpoint itself


def test_the_endpoint_refuses_a_wrong_secret(connect: Connect, cluster: SecureCluster) -> None:
    refused = cluster.endpoint.refused
    with pytest.raises(OAuthError, match="client_secret"):
        connect("oauth-client", client_secret="wrong").cursor().execute(READ)
    assert cluster.endpoint.refused == refused + 1
    assert cluster.engine.statistics().requests == {}
    assert cluster.endpoint.issued == []
