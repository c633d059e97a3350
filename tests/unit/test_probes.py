"""Suspected refusals and dead sessions are decided by a probe (`EVIDENCE.md`, "Probes")."""

from __future__ import annotations

import logging
from typing import Any

import attrs
import pytest

from bluegreen.config.settings import Settings
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Strategy
from bluegreen_adapters.connection.protocol import Probe, Protocol
from bluegreen_adapters.connection.requests import Outcome, Send
from support.flow_cluster import (
    DENIED,
    PROTOCOL,
    REFUSED,
    FlowCluster,
    FlowConnection,
    Message,
    Request,
    StatusError,
    failure,
)
from support.managing import BLUE, GREEN, SCOPE, on_blue

WRITE = "INSERT INTO t VALUES (1)"
ALL_OF_BLUE = {f"me/blue-{number}" for number in range(99)}


@pytest.fixture
def manager() -> StrategyManager:
    return on_blue(StrategyManager(SCOPE, Settings()))


@pytest.fixture
def cluster() -> FlowCluster:
    return FlowCluster()


@pytest.fixture
def connection(cluster: FlowCluster, manager: StrategyManager) -> FlowConnection:
    return cluster.connect(manager, "me")


def answering(method: str, outcome: Outcome, *stacks: str) -> Any:
    return lambda request: outcome if request.method == method and request.strategy in stacks else None


# -- is the session dead?


@pytest.mark.parametrize("statement", ["SELECT 1", WRITE])
def test_execute_in_a_dead_session_runs_once_in_a_new_one(
    cluster: FlowCluster, connection: FlowConnection, statement: str
) -> None:
    query = connection.begin(statement)
    cluster.dead = ALL_OF_BLUE - {"me/blue-3"}
    connection.call("execute", query)
    assert cluster.executed == {statement: 1}
    assert [one.method for one in cluster.requests[2:]] == ["execute", "names", "login", "execute"]


@pytest.mark.parametrize("method", ["execute", "fetch"])
def test_denial_in_a_live_session_is_the_applications_answer(
    cluster: FlowCluster, connection: FlowConnection, method: str
) -> None:
    """A file store denied access, in the very words of the gateway, after the statement had begun to write."""
    query = connection.begin(WRITE)
    if method == "fetch":
        connection.call("execute", query)
    cluster.hook = answering(method, DENIED, "blue", "green")
    with pytest.raises(StatusError) as caught:
        connection.call(method, query)
    assert caught.value is DENIED.cause
    assert cluster.strategies(method, "me") == ["blue"]
    assert cluster.strategies("login", "me") == ["blue"]


def test_without_a_probe_nobody_knows_and_nothing_is_sent_again(
    cluster: FlowCluster, manager: StrategyManager
) -> None:
    connection = cluster.connect(manager, "me", attrs.evolve(PROTOCOL, probe=None))
    query = connection.begin(WRITE)
    cluster.dead = ALL_OF_BLUE
    with pytest.raises(StatusError):
        connection.call("execute", query)
    assert cluster.strategies("execute", "me") == ["blue"]


def test_session_that_dies_is_renewed_for_what_may_be_repeated_without_a_probe(
    cluster: FlowCluster, manager: StrategyManager
) -> None:
    connection = cluster.connect(manager, "me", attrs.evolve(PROTOCOL, probe=None))
    query = connection.begin()
    connection.call("execute", query)
    cluster.dead = ALL_OF_BLUE - {"me/blue-3"}
    connection.call("look", query)
    assert cluster.strategies("login", "me") == ["blue", "blue"]


class Interceptor(FlowCluster):
    """Sends only methods that have passed it, and the method that the declared probe needs has not."""

    def outcome(self, send: Send) -> Outcome:
        if send.method == "names":
            raise LookupError(send.method)
        return super().outcome(send)


@pytest.mark.parametrize("is_dead", [True, False])
def test_query_is_begun_once_more_as_a_probe_if_the_declared_one_cannot_be_sent(
    manager: StrategyManager, monkeypatch: pytest.MonkeyPatch, is_dead: bool
) -> None:
    from bluegreen_adapters.connection import transport

    monkeypatch.setattr(transport, "blank_request", lambda _, __: Message())
    cluster = Interceptor()
    connection = cluster.connect(manager, "me")
    query = connection.begin(WRITE)
    if is_dead:
        cluster.dead = ALL_OF_BLUE - {"me/blue-3"}
        connection.call("execute", query)
    else:
        cluster.hook = answering("execute", DENIED, "blue")
        with pytest.raises(StatusError):
            connection.call("execute", query)
    assert cluster.executed == ({WRITE: 1} if is_dead else {})
    assert len(cluster.open["blue"]) == 1  # what was begun as a probe is freed


# -- does the stack refuse the strategy?

SUSPECT = failure("UNKNOWN", "This stack is being redeployed (status: 456), try the next one")


def test_begin_refused_in_other_words_goes_on_elsewhere_if_a_login_is_refused_too(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager
) -> None:
    connection.query()
    cluster.hook = lambda request: (
        (SUSPECT if request.method == "begin" else REFUSED if request.method == "login" else None)
        if request.strategy == "blue"
        else None
    )
    assert connection.query() == "green"
    assert manager.active is GREEN


def test_suspected_answer_is_shown_if_no_stack_takes_the_query(
    cluster: FlowCluster, connection: FlowConnection
) -> None:
    """An engine's error looks like a refusal, and at the next moment both stacks refuse: it may be either."""
    echo = failure("INVALID_ARGUMENT", "mismatched input 'status: 456'")

    def answer(request: Request) -> Outcome | None:
        if request.method == "begin" and request.strategy == "blue":
            cluster.hook = lambda request: REFUSED
            return echo
        return None

    connection.query()
    cluster.hook = answer
    with pytest.raises(StatusError, match="mismatched input"):
        connection.query()


def test_text_that_an_engine_echoes_is_passed_on_and_moves_nobody(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager
) -> None:
    connection.query()
    version = manager.state_version
    cluster.hook = answering("begin", SUSPECT, "blue", "green")
    with pytest.raises(StatusError) as caught:
        connection.query()
    assert caught.value is SUSPECT.cause
    assert (manager.active, manager.state_version) == (BLUE, version)
    assert cluster.strategies("begin", "me") == ["blue", "blue"]


@pytest.mark.parametrize("refused", [REFUSED, SUSPECT])
def test_declared_probe_decides_instead_of_a_login(
    cluster: FlowCluster, manager: StrategyManager, refused: Any
) -> None:
    probe = Probe("names", lambda session_id: Message(sessionId=session_id or ""))
    connection = cluster.connect(manager, "me", attrs.evolve(PROTOCOL, probe=probe))
    connection.query()
    cluster.hook = lambda request: (
        (SUSPECT if request.method == "begin" else refused if request.method == "names" else None)
        if request.strategy == "blue"
        else None
    )
    assert connection.query() == "green"


@pytest.mark.parametrize("serves", [True, False])
def test_probe_may_be_a_callable(cluster: FlowCluster, manager: StrategyManager, serves: bool) -> None:
    asked: list[tuple[Strategy, str | None]] = []

    def probe(strategy: Strategy, session_id: str | None) -> bool:
        asked.append((strategy, session_id))
        return serves

    connection = cluster.connect(manager, "me", attrs.evolve(PROTOCOL, probe=probe))
    connection.query()
    cluster.hook = answering("begin", SUSPECT, "blue")
    if serves:
        with pytest.raises(StatusError):
            connection.query()
    else:
        assert connection.query() == "green"
    assert asked == [(BLUE, "me/blue-1")]


@pytest.mark.parametrize("is_dead", [True, False])
def test_begin_denied_in_other_words_renews_only_a_dead_session(
    cluster: FlowCluster, connection: FlowConnection, is_dead: bool
) -> None:
    words = failure("PERMISSION_DENIED", "Access denied: session 7 or its user may not do this")
    connection.query()
    left = [words]
    cluster.hook = lambda request: left.pop() if request.method == "begin" and left else None
    if is_dead:
        cluster.dead = ALL_OF_BLUE - {f"me/blue-{number}" for number in range(3, 9)}
        assert connection.query() == "blue"
    else:
        with pytest.raises(StatusError) as caught:
            connection.query()
        assert caught.value is words.cause
    assert len(cluster.strategies("login", "me")) == (2 if is_dead else 1)


@pytest.mark.parametrize("method", ["execute", "fetch", "look", "clear", "cancel", "names", "change"])
def test_nothing_but_a_begin_is_ever_suspected(
    cluster: FlowCluster, connection: FlowConnection, manager: StrategyManager, method: str
) -> None:
    query = connection.begin(WRITE)
    if method != "execute":
        connection.call("execute", query)
    version, before = manager.state_version, len(cluster.requests)
    cluster.hook = answering(method, SUSPECT, "blue", "green")
    with pytest.raises(StatusError) as caught:
        connection.call(method, "" if method in ("names", "change") else query)
    assert caught.value is SUSPECT.cause
    assert [one.method for one in cluster.requests[before:]] == [method]
    assert manager.state_version == version


# -- replies that may be refusals, and that no form describes


def test_reply_with_456_that_is_no_known_form_is_counted_and_reported_once(
    cluster: FlowCluster,
    connection: FlowConnection,
    manager: StrategyManager,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[Any] = []
    manager.observe(seen.append)
    connection.query()
    cluster.hook = answering("execute", failure("ABORTED", "error 456: moved"), "blue")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(StatusError):
                connection.query()
    counted = [one for one in seen if type(one).__name__ == "UnlistedRefusal"]
    assert [(one.method, one.code, one.strategy) for one in counted] == [("execute", "ABORTED", BLUE)] * 3
    warned = [record.getMessage() for record in caplog.records if "no known form" in record.getMessage()]
    assert len(warned) == 1
    assert "moved" not in warned[0]


def test_setting_adds_a_form(cluster: FlowCluster) -> None:
    settings = Settings(forms=("wrong_strategy ABORTED: stack <name> has moved (456)",))
    manager = on_blue(StrategyManager(SCOPE, settings))
    connection = cluster.connect(manager, "me")
    connection.query()
    cluster.hook = lambda request: (
        failure("ABORTED", "stack blue has moved (456)") if request.strategy == "blue" else None
    )
    assert connection.query() == "green"
    assert manager.active is GREEN


def test_request_is_named_in_messages_of_a_protocol_without_the_session_field(
    cluster: FlowCluster, manager: StrategyManager
) -> None:
    """A wrong session field is reported as that, not as wrong credentials."""
    protocol: Protocol = attrs.evolve(PROTOCOL, session="token")
    connection = cluster.connect(manager, "me", protocol)
    with pytest.raises(ValueError, match=r"toy: the response of login has no field 'token' \(session\)"):
        connection.query()


def test_hook_of_the_test_sees_each_request(cluster: FlowCluster, connection: FlowConnection) -> None:
    seen: list[Request] = []
    cluster.hook = seen.append
    connection.query()
    assert seen == cluster.requests


def test_suspected_begin_is_no_probe_of_itself(manager: StrategyManager) -> None:
    """Where the declared probe cannot be sent, a text that contains a form is passed on."""
    cluster = Interceptor()
    connection = cluster.connect(manager, "me")
    connection.query()
    words = failure("INTERNAL", "Access denied: no SELECT on table t")
    cluster.hook = answering("begin", words, "blue", "green")
    with pytest.raises(StatusError) as caught:
        connection.query()
    assert caught.value is words.cause
    assert cluster.strategies("begin", "me") == ["blue", "blue"]


@pytest.mark.parametrize("method", ["begin", "execute"])
@pytest.mark.parametrize("code", ["UNIMPLEMENTED", "DEADLINE_EXCEEDED", "ABORTED"])
def test_any_answer_to_a_replay_reaches_the_application(
    cluster: FlowCluster, connection: FlowConnection, method: str, code: str
) -> None:
    query = connection.begin()
    connection.call("execute", query)
    answer = failure(code, "not now")
    cluster.hook = lambda request: (
        REFUSED if request.strategy == "blue" else answer if request.method == method else None
    )
    with pytest.raises(StatusError) as caught:
        connection.call("fetch", query)
    assert caught.value is answer.cause


def test_end_that_names_no_query_is_sent_once(cluster: FlowCluster, connection: FlowConnection) -> None:
    """A connector clears a cursor whose prepare has failed; in an outage nothing is to be tried again for that."""
    connection.query()
    before = len(cluster.strategies("clear", "me"))
    cluster.hook = answering("clear", failure("UNAVAILABLE", "down"), "blue", "green")
    with pytest.raises(StatusError):
        connection.call("clear", "")
    assert cluster.strategies("clear", "me")[before:] == ["blue"]
