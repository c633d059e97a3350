"""The switching channel under a raw stub, against the test engine."""

from __future__ import annotations

import copy
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import grpc
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.server import e6x_engine_pb2 as pb

from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.runtime.manager import StrategyManager
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import (
    LOGIN,
    READ,
    WRITE,
    WRONG,
    Client,
    by_channel,
    fresh,
    managing,
    quick,
    switched,
    until,
)

pytestmark = pytest.mark.integration

WRONG_STRATEGY = {"action": "status", "code": "UNKNOWN", "details": "status: 456"}


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess(tokens=("token",)) as process:
        yield process


@pytest.fixture(scope="module")
def shared_odd_engine() -> Iterator[EngineProcess]:
    with EngineProcess(colliding_ids=True, rotate_sessions=True, refusal="invalid_argument") as process:
        yield process


@pytest.fixture
def odd_engine(shared_odd_engine: EngineProcess) -> EngineProcess:
    """Its two stacks give the same ids, its sessions change with every answer, its 456 looks different."""
    return fresh(shared_odd_engine)


@pytest.fixture
def manager(engine: EngineProcess) -> StrategyManager:
    return managing(engine, quick())


@pytest.fixture
def client(engine: EngineProcess, manager: StrategyManager) -> Iterator[Client]:
    with by_channel(engine, manager) as client:
        yield client.login()


def all_is_over(client: Client) -> bool:
    """Whether nothing is open, here, in the manager or in the connection's own books."""
    return client.link.manager.open_tickets == () and client.link.queries == ()


# -- ids


def test_the_application_sees_one_session_id_for_ever(client: Client, engine: EngineProcess) -> None:
    seen = {client.session}
    for phase in ("announce", "cutover", "retire"):
        engine.phase(phase, target="green")
        query = client.prepare(READ)
        seen |= {query.sessionId, client.execute(query).sessionId, client.clear(query).sessionId}
    seen.add(client.stub.authenticate(LOGIN).sessionId)
    assert len(seen) == 1
    assert engine.statistics().misrouted == 0


def test_a_query_keeps_its_id_when_it_moves_to_the_other_stack(client: Client, engine: EngineProcess) -> None:
    query = client.prepare(READ)
    held = query.queryId
    engine.phase("abrupt", target="green")
    client.execute(query)
    assert b"green" in client.fetch(query)
    assert client.link.queries == (held,)
    client.clear(query)
    assert engine.statistics().misrouted == 0


def test_ids_of_the_two_stacks_that_collide_are_never_crossed(odd_engine: EngineProcess) -> None:
    with by_channel(odd_engine, managing(odd_engine)) as client:
        client.login()
        first = client.started("SELECT 'on blue'")
        odd_engine.phase("announce", target="green")
        client.status(first)
        second = client.started("SELECT 'on green'")
        assert first.queryId != second.queryId
        assert b"on green" in client.fetch(second)
        assert b"on blue" in client.fetch(first)
        client.clear(first)
        # The id of the first query goes: the second one, whose id was the same on the wire, must stay.
        del first
        gc.collect()
        assert client.link.queries == (second.queryId,)
        assert client.fetch(second) == b""
        client.clear(second)
        assert all_is_over(client)
    assert odd_engine.statistics().misrouted == 0
    assert odd_engine.statistics().open_queries == {"blue": 0, "green": 0}


def test_sessions_that_change_with_every_answer_are_followed(odd_engine: EngineProcess) -> None:
    with by_channel(odd_engine, managing(odd_engine)) as client:
        client.login()
        for _ in range(30):  # three times as many answers as there are old ids that still work
            assert len(client.run(READ)) == 2
    assert odd_engine.statistics().errors == {}
    assert odd_engine.statistics().authentications == {"blue": 1}


def test_the_refusal_in_a_longer_sentence_is_understood(odd_engine: EngineProcess) -> None:
    with by_channel(odd_engine, managing(odd_engine)) as client:
        client.login()
        odd_engine.phase("abrupt", target="green")
        assert len(client.run(READ)) == 2
    assert odd_engine.statistics().total_refused > 0


def test_an_engine_address_left_over_from_the_other_stack_goes_nowhere(
    client: Client, engine: EngineProcess
) -> None:
    old = client.started(READ)
    engine.phase("announce", target="green")
    client.status(old)
    new = client.prepare(READ)
    assert new.engineIP != old.engineIP
    request = pb.ExecuteStatementRequest(sessionId=client.session, queryId=new.queryId, engineIP=old.engineIP)
    client.stub.executeStatement(request, metadata=(("plannerip", old.engineIP),))
    assert b"green" in client.fetch(new)
    assert engine.statistics().misrouted == 0


# -- what the application sees


@pytest.mark.parametrize("phase", ["announce", "cutover", "withdraw"])
def test_no_announcement_reaches_the_application(client: Client, engine: EngineProcess, phase: str) -> None:
    kept = client.started(READ)
    engine.phase(phase, target="green")
    answers = [
        client.stub.authenticate(LOGIN),
        client.status(kept),
        client.describe(kept),
        client.clear(kept),
        client.stub.getSchemaNames(pb.GetSchemaNamesRequest(sessionId=client.session)),
        client.prepare(READ),
    ]
    assert [answer.new_strategy for answer in answers] == [""] * len(answers)


def test_the_requests_of_the_application_are_never_changed(client: Client, engine: EngineProcess) -> None:
    prepare = pb.PrepareStatementRequest(sessionId="mine", queryString=READ)
    before = prepare.SerializeToString()
    query = client.stub.prepareStatement(prepare)
    execute = pb.ExecuteStatementRequest(sessionId="mine", queryId=query.queryId, engineIP="10.9.9.9")
    engine.phase("abrupt", target="green")
    client.stub.executeStatement(execute)
    assert prepare.SerializeToString() == before
    assert (execute.sessionId, execute.queryId, execute.engineIP) == ("mine", query.queryId, "10.9.9.9")


def test_a_request_that_the_application_uses_again_is_not_replayed_with_its_new_text(
    client: Client, engine: EngineProcess
) -> None:
    request = pb.PrepareStatementRequest(sessionId=client.session, queryString="SELECT 'first'")
    first = client.stub.prepareStatement(request)
    request.queryString = "SELECT 'second'"
    execute = client.about(pb.ExecuteStatementRequest, first)
    client.stub.executeStatement(execute)
    execute.queryId = "another"
    engine.phase("abrupt", target="green")
    assert b"first" in client.fetch(first)


def test_the_answer_to_a_begin_behaves_like_the_message(client: Client) -> None:
    answer = client.prepare(READ)
    plain = pb.PrepareStatementResponse.FromString(answer.SerializeToString())
    assert answer == plain
    assert repr(answer) == repr(plain)
    assert answer.DESCRIPTOR is plain.DESCRIPTOR
    assert (answer.queryId, answer.engineIP) == (plain.queryId, plain.engineIP)
    assert isinstance(answer.queryId, str)
    assert {answer.queryId: 1}[str(answer.queryId)] == 1
    with pytest.raises(AttributeError):
        answer.no_such_field  # noqa: B018


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_the_answer_to_a_begin_keeps_the_query(
    client: Client, copied: Callable[[Any], Any]
) -> None:
    answer = copied(client.prepare(READ))
    gc.collect()
    assert client.link.queries == (answer.queryId,)
    client.execute(answer)
    assert len(client.drained(answer)) == 2


def test_with_call_returns_a_call_that_tells_how_it_went(client: Client, engine: EngineProcess) -> None:
    request = pb.GetSchemaNamesRequest(sessionId=client.session)
    answer, call = client.stub.getSchemaNames.with_call(request)
    assert len(answer.schemas) == 2
    assert (call.code(), call.details(), call.done(), call.cancel()) == (grpc.StatusCode.OK, "", True, False)
    assert list(call.trailing_metadata()) == []
    query = client.started(READ)
    engine.phase("abrupt", target="green")
    gone, call = client.stub.clear.with_call(client.about(pb.ClearRequest, query))
    assert (gone, call.code()) == (pb.ClearResponse(), grpc.StatusCode.OK)


# -- the session on the pending stack


def test_a_session_is_opened_on_the_announced_stack_before_the_next_query(
    client: Client, engine: EngineProcess
) -> None:
    query = client.started(READ)
    engine.phase("announce", target="green")
    client.status(query)
    until(lambda: engine.statistics().authentications.get("green") == 1)
    assert engine.statistics().requests["prepareStatement"] == {"blue": 1}
    client.drained(client.started(READ))
    assert engine.statistics().authentications == {"blue": 1, "green": 1}


@pytest.mark.parametrize("last", ["clear", "schemas", "login"])
def test_a_session_is_opened_ahead_of_time_even_if_the_answer_ends_the_last_ticket(
    engine: EngineProcess, manager: StrategyManager, last: str
) -> None:
    with by_channel(engine, manager) as other, by_channel(engine, manager) as client:
        other.login()
        if last != "login":
            query = client.login().started(READ)
        engine.phase("announce", target="green")
        {"clear": lambda: client.clear(query), "schemas": client.schemas, "login": client.login}[last]()
        until(lambda: engine.statistics().authentications == {"blue": 2, "green": 1})
        client.run(READ)
        assert engine.statistics().authentications == {"blue": 2, "green": 1}


def test_an_announcement_after_a_withdrawn_one_opens_a_session_ahead_of_time_too(
    client: Client, engine: EngineProcess, manager: StrategyManager
) -> None:
    query = client.started(READ)
    for times in (1, 2):
        engine.phase("announce", target="green")
        client.status(query)
        until(lambda times=times: engine.statistics().authentications.get("green") == times)
        engine.phase("withdraw", target_refuses=False)
        client.status(query)
        assert manager.state == "Stable"


def test_a_silent_pending_stack_stalls_no_query_that_is_running(
    client: Client, engine: EngineProcess
) -> None:
    query = client.started(READ)
    silent = {"new": "silent", "prepared": "silent", "running": "silent"}
    engine.phase("announce", target="green", green=silent)
    assert len(client.drained(query)) == 2
    until(lambda: engine.statistics().requests["authenticate"].get("green") == 1)
    client.clear(query)
    # The next query belongs on green (I3). Its share of the time is waited for, then it goes to blue.
    assert all(b"blue" in batch for batch in client.run(READ))
    assert engine.statistics().misrouted == 0


def test_many_threads_on_one_connection_open_one_session_for_each_stack_and_switch(
    client: Client, engine: EngineProcess
) -> None:
    done = threading.Event()
    finished: list[int] = []

    def work() -> None:
        while not done.is_set():
            finished.append(len(client.run(READ)))

    with ThreadPoolExecutor(8) as pool:
        threads = [pool.submit(work) for _ in range(8)]
        until(lambda: len(finished) > 16)
        engine.switch("graceful", grace_s=0.1, drain_s=5)
        after = len(finished)
        until(lambda: len(finished) > after + 16 or any(thread.done() for thread in threads))
        done.set()
        for thread in threads:
            thread.result()
    seen = engine.statistics()
    assert set(finished) == {2}
    assert seen.authentications == {"blue": 1, "green": 1}
    assert (seen.misrouted, seen.total_refused, seen.reads_repeated.get("x")) == (0, 0, None)


def test_a_silent_stack_leaves_time_to_try_the_other_one(engine: EngineProcess) -> None:
    engine.phase("silent", active="green", target="blue")
    with by_channel(engine, managing(engine, quick())) as client:
        client.login()
        assert len(client.run(READ)) == 2
    assert engine.statistics().authentications == {"green": 1}


# -- a 456, and other failures: one test for each row of the spec


@pytest.mark.parametrize("text", [READ, WRITE])
def test_a_query_that_is_refused_when_it_begins_begins_elsewhere(
    client: Client, engine: EngineProcess, text: str
) -> None:
    engine.phase("cutover", target="green", announces=False)
    client.run(text)
    assert engine.executions() == {text: 1}
    assert engine.statistics().requests["executeStatement"] == {"green": 1}


@pytest.mark.parametrize("text", [READ, WRITE])
def test_a_query_that_is_refused_when_it_is_executed_begins_elsewhere(
    client: Client, engine: EngineProcess, text: str
) -> None:
    query = client.prepare(text)
    engine.phase("drain", target="green", announces=False)
    client.execute(query)
    client.drained(query)
    client.clear(query)
    assert engine.executions() == {text: 1}
    assert engine.statistics().misrouted == 0
    assert all_is_over(client)


def test_a_query_that_is_refused_everywhere_ends_after_two_replays_and_was_never_begun(
    client: Client, engine: EngineProcess
) -> None:
    engine.fault(method="prepareStatement", **WRONG_STRATEGY)
    engine.phase("announce", target="green")  # both stacks open sessions
    before = engine.statistics().total_requests
    with pytest.raises(StrategyUnavailable, match="neither strategy takes the request") as caught:
        client.prepare(READ)
    assert "456" not in str(caught.value)
    assert engine.statistics().requests["prepareStatement"].keys() == {"blue", "green"}
    assert engine.statistics().total_requests - before < 10
    assert all_is_over(client)


@pytest.mark.parametrize("look", ["describe", "fetch", "status"])
def test_a_read_without_rows_whose_stack_vanishes_runs_again_behind_its_id(
    client: Client, engine: EngineProcess, look: str
) -> None:
    query = client.started(READ)
    engine.phase("abrupt", target="green")
    first = getattr(client, look)(query)
    rest = client.drained(query)
    assert [*([first] if look == "fetch" else []), *rest] == client.run(READ)
    assert engine.executions() == {READ: 3}
    assert engine.statistics().misrouted == 0


def test_a_read_runs_again_once_only(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    engine.fault(method="getNextResultBatch", **WRONG_STRATEGY)
    engine.phase("announce", target="green")
    with pytest.raises(QueryLost, match="replayed once already"):
        client.fetch(query)
    assert engine.executions() == {READ: 2}
    assert client.link.manager.open_tickets == ()


def test_a_read_with_rows_out_is_lost_and_says_where(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    version = client.link.manager.state_version
    client.fetch(query)
    engine.phase("abrupt", target="green")
    with pytest.raises(QueryLost, match="rows of it have already been handed out") as caught:
        client.fetch(query)
    lost = caught.value
    assert (lost.query, lost.strategy, lost.state_version) == (query.queryId, "blue", version)
    with pytest.raises(QueryLost):
        client.fetch(query)
    assert engine.executions() == {READ: 1}
    assert client.clear(query) == pb.ClearOrCancelQueryResponse()
    assert all_is_over(client)


@pytest.mark.parametrize("look", ["describe", "fetch"])
def test_a_write_whose_stack_vanishes_is_lost_and_never_run_again(
    client: Client, engine: EngineProcess, look: str
) -> None:
    query = client.started(WRITE)
    engine.phase("abrupt", target="green")
    with pytest.raises(QueryLost, match="can write"):
        getattr(client, look)(query)
    assert engine.executions() == {WRITE: 1}
    assert client.link.manager.open_tickets == ()


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"])
def test_a_write_whose_execution_has_no_answer_is_not_sent_again_and_says_so(
    client: Client, engine: EngineProcess, code: str
) -> None:
    engine.fault(action="drop", method="executeStatement", statement="INSERT", code=code)
    query = client.prepare(WRITE)
    with pytest.raises(QueryLost, match="may have been executed; it can write") as caught:
        client.execute(query)
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    assert caught.value.__cause__.code() is grpc.StatusCode[code]
    assert engine.executions() == {WRITE: 1}
    assert engine.statistics().requests["executeStatement"] == {"blue": 1}


def test_a_read_whose_execution_has_no_answer_runs_again(client: Client, engine: EngineProcess) -> None:
    engine.fault(action="drop", method="executeStatement", count=1)
    assert len(client.run(READ)) == 2
    assert engine.executions() == {READ: 2}


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "CANCELLED"])
def test_a_read_that_was_given_up_is_not_sent_again(client: Client, engine: EngineProcess, code: str) -> None:
    engine.fault(action="drop", method="executeStatement", code=code)
    with pytest.raises(grpc.RpcError) as caught:
        client.execute(client.prepare(READ))
    assert caught.value.code() is grpc.StatusCode[code]
    assert engine.executions() == {READ: 1}


def test_a_fetch_without_an_answer_runs_the_read_again_if_no_row_is_out(
    client: Client, engine: EngineProcess
) -> None:
    query = client.started(READ)
    engine.fault(action="drop", method="getNextResultBatch", count=1)
    assert len(client.drained(query)) == 2
    assert engine.executions() == {READ: 2}


def test_a_fetch_without_an_answer_loses_the_query_if_rows_are_out(
    client: Client, engine: EngineProcess
) -> None:
    query = client.started(READ)
    client.fetch(query)
    engine.fault(action="drop", method="getNextResultBatch", count=1)
    with pytest.raises(QueryLost, match="rows of it"):
        client.fetch(query)
    assert engine.statistics().requests["getNextResultBatch"] == {"blue": 2}


def test_one_failure_that_cannot_be_retried_starts_no_detection(
    client: Client, engine: EngineProcess, manager: StrategyManager
) -> None:
    version = manager.state_version
    engine.fault(action="drop", method="executeStatement", count=1)
    with pytest.raises(QueryLost):
        client.execute(client.prepare(WRITE))
    client.run(READ)
    assert (manager.state_version, engine.statistics().authentications) == (version, {"blue": 1})


@pytest.mark.parametrize("stage", ["prepared", "executed"])
def test_nothing_that_was_executed_is_replayed_if_that_is_the_setting(
    engine: EngineProcess, stage: str
) -> None:
    with by_channel(engine, managing(engine, quick(replay="never"))) as client:
        client.login()
        query = client.prepare(READ)
        if stage == "executed":
            client.execute(query)
            engine.phase("abrupt", target="green")
            with pytest.raises(QueryLost, match='replay is set to "never"'):
                client.fetch(query)
        else:
            engine.phase("abrupt", target="green")
            client.execute(query)
            assert len(client.drained(query)) == 2
    assert engine.executions() == {READ: 1}


@pytest.mark.parametrize("end", ["clear", "cancel"])
def test_ending_a_query_whose_stack_has_vanished_is_no_error(
    client: Client, engine: EngineProcess, end: str
) -> None:
    query = client.started(WRITE)
    engine.phase("abrupt", target="green")
    assert type(getattr(client, end)(query)).__name__.endswith("Response")
    assert all_is_over(client)


@pytest.mark.parametrize("end", ["clear", "cancel"])
def test_end_of_a_query_whose_stack_does_not_answer_is_not_a_success(
    client: Client, engine: EngineProcess, end: str
) -> None:
    query = client.started(WRITE)
    engine.phase("abrupt", target="green", unavailable=True)
    with pytest.raises(grpc.RpcError, match="failed to connect"):
        getattr(client, end)(query)
    assert all_is_over(client)


def test_ending_a_query_twice_reaches_no_other_stack(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    engine.phase("announce", target="green")
    client.cancel(query)
    client.clear(query)
    engine.phase("cutover")
    client.run(READ)
    client.clear(query)
    assert engine.statistics().misrouted == 0
    assert engine.statistics().errors == {}


def test_an_rpc_of_a_query_that_has_ended_reaches_no_other_stack(
    client: Client, engine: EngineProcess
) -> None:
    query = client.started(READ)
    client.clear(query)
    engine.phase("announce", target="green")
    client.run(READ)
    client.run(READ)
    with pytest.raises(grpc.RpcError, match="not known to blue"):
        client.status(query)
    assert engine.statistics().misrouted == 0


def test_calls_that_belong_to_no_query_follow_the_switch(client: Client, engine: EngineProcess) -> None:
    for phase in ("announce", "cutover", "drain", "retire"):
        engine.phase(phase, target="green")
        assert len(client.schemas()) == 2
    engine.phase("abrupt", active="green")
    assert len(client.schemas()) == 2
    assert client.link.manager.open_tickets == ()


def test_an_error_of_the_server_is_given_to_the_application_as_it_is(client: Client) -> None:
    query = client.prepare("SELECT 1 /*+ fail(no such column) */")
    with pytest.raises(grpc.RpcError) as caught:
        client.execute(query)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "no such column")
    assert client.link.manager.open_tickets == ()
    client.clear(query)


def test_a_method_that_the_server_does_not_have_leaves_the_query_as_it_is(
    client: Client, engine: EngineProcess
) -> None:
    query = client.started(READ)
    engine.fault(action="status", method="explain", code="UNIMPLEMENTED")
    with pytest.raises(grpc.RpcError) as caught:
        client.call("explain", pb.ExplainRequest, query)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    engine.phase("abrupt", target="green")
    assert len(client.drained(query)) == 2


# -- when tickets end


def cleared(client: Client, query: list[Any]) -> None:
    client.clear(query[0])


def cancelled(client: Client, query: list[Any]) -> None:
    client.cancel(query[0])


def failed(client: Client, query: list[Any]) -> None:
    with pytest.raises(grpc.RpcError):
        client.stub.explain(pb.ExplainRequest(queryId=query[0].queryId, sessionId="x"), timeout=5)


def let_go(client: Client, query: list[Any]) -> None:
    query.clear()
    gc.collect()


def closed(client: Client, query: list[Any]) -> None:
    client.channel.close()


@pytest.mark.parametrize("end", [cleared, cancelled, failed, let_go, closed])
def test_a_ticket_ends_and_lets_the_switch_happen(
    engine: EngineProcess, manager: StrategyManager, end: Callable[[Client, list[Any]], None]
) -> None:
    engine.fault(action="status", method="explain", code="INTERNAL", details="planner error")
    with by_channel(engine, manager) as client, by_channel(engine, manager) as other:
        client.login()
        other.login()
        query = [client.started(READ)]
        engine.phase("announce", target="green")
        client.status(query[0])
        other.run(READ)
        assert (manager.state, len(manager.open_tickets)) == ("PendingTransition", 1)
        end(client, query)
        assert all_is_over(client)
        other.run(READ)
        assert (manager.state, manager.active, manager.open_tickets) == ("Stable", "green", ())
    assert engine.statistics().misrouted == 0


def test_a_connection_that_is_let_go_as_a_whole_ends_its_tickets(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    with by_channel(engine, manager) as client, by_channel(engine, manager) as other:
        held = [client.login().started(READ).queryId, client]
        del client
        assert len(manager.open_tickets) == 1
        held.pop()
    gc.collect()
    assert manager.open_tickets == ()
    assert other.link.queries == ()


def test_an_answer_without_an_id_begins_no_query(client: Client) -> None:
    assert client.link.queries == ()
    assert client.stub.healthCheck(pb.HealthCheckRequest()) == pb.HealthCheckResponse()
    assert client.link.manager.open_tickets == ()


def test_a_closed_channel_refuses_every_call(client: Client) -> None:
    query = client.started(READ)
    client.channel.close()
    for call in (client.schemas, lambda: client.fetch(query), lambda: client.prepare(READ), client.login):
        with pytest.raises(ValueError, match="closed"):
            call()
    assert client.link.manager.open_tickets == ()


# -- sessions that end, and credentials


def test_an_expired_session_is_renewed_once_for_all_threads(client: Client, engine: EngineProcess) -> None:
    queries = [client.prepare(f"INSERT INTO t VALUES ({number})") for number in range(8)]
    assert engine.expire_sessions("blue") == 1
    barrier = threading.Barrier(8)

    def execute(query: Any) -> None:
        barrier.wait()
        client.execute(query)
        client.clear(query)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(execute, queries))
    seen = engine.statistics()
    assert seen.authentications == {"blue": 2}
    assert (seen.writes_executed, seen.executed_twice) == (8, {})


def test_a_session_that_expires_harms_no_other_connection(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    with by_channel(engine, manager) as client, by_channel(engine, manager) as other:
        client.login()
        query = client.started(READ)
        engine.expire_sessions("blue")
        other.login()
        kept = other.started(READ)
        assert len(client.drained(query)) == 2
        assert len(other.drained(kept)) == 2
    assert engine.statistics().authentications == {"blue": 3}
    assert engine.statistics().errors["getNextResultBatch"] == {"INTERNAL": 1}


def test_execute_denied_in_a_live_session_is_answered_unchanged(
    client: Client, engine: EngineProcess
) -> None:
    """An engine may deny access to something else in the same words; only a dead session is renewed."""
    query = client.prepare(WRITE)
    engine.fault(action="access_denied", method="executeStatement")
    with pytest.raises(grpc.RpcError, match="Access denied"):
        client.execute(query)
    assert engine.statistics().requests["executeStatement"] == {"blue": 1}
    assert engine.executions() == {}


def test_a_session_that_ends_together_with_its_stack_costs_no_write(
    client: Client, engine: EngineProcess
) -> None:
    query = client.prepare(WRITE)
    engine.expire_sessions("blue")
    engine.fault(action="status", method="authenticate", strategy="blue", code="UNAVAILABLE")
    engine.phase("announce", target="green")
    client.execute(query)
    assert engine.statistics().requests["executeStatement"] == {"blue": 1, "green": 1}
    assert engine.executions() == {WRITE: 1}


def test_wrong_credentials_harm_nobody_else(
    client: Client, engine: EngineProcess, manager: StrategyManager
) -> None:
    version = manager.state_version
    with by_channel(engine, manager) as stranger:
        assert stranger.login(WRONG).session == ""
        with pytest.raises(StrategyUnavailable, match="credentials are not accepted"):
            stranger.run(READ)
    assert len(client.run(READ)) == 2
    assert (manager.state, manager.state_version) == ("Stable", version)
    assert manager.open_tickets == ()


def test_wrong_credentials_of_the_first_connection_decide_nothing(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    with by_channel(engine, manager) as stranger:
        assert stranger.login(WRONG).session == ""
        assert manager.state == "Detecting"
        assert stranger.login(LOGIN).session
        assert len(stranger.run(READ)) == 2


def test_authenticating_as_somebody_else_uses_no_session_of_before(client: Client) -> None:
    assert client.login(WRONG).session == ""
    with pytest.raises(StrategyUnavailable):
        client.run(READ)


# -- nobody serves


@pytest.mark.parametrize("unavailable", [False, True])
def test_if_both_stacks_refuse_a_query_fails_fast_and_the_next_one_works_when_they_are_back(
    client: Client, engine: EngineProcess, manager: StrategyManager, unavailable: bool
) -> None:
    client.run(READ)
    engine.phase("both_down", unavailable=unavailable)
    for _ in range(3):
        before = engine.statistics().total_requests
        with pytest.raises(StrategyUnavailable) as caught:
            client.prepare(READ)
        assert "status: 456" not in str(caught.value)
        assert engine.statistics().total_requests - before < 10
    engine.phase("steady", active="blue")
    until(lambda: attempt(client))
    assert len(client.run(READ)) == 2
    assert manager.open_tickets == ()


def attempt(client: Client) -> bool:
    try:
        client.run(READ)
    except StrategyUnavailable:
        return False
    return True


def test_what_is_transient_is_retried(
    client: Client, engine: EngineProcess, manager: StrategyManager
) -> None:
    version = manager.state_version
    for method in ("prepareStatement", "getResultMetadata", "clearOrCancelQuery"):
        engine.fault(action="status", method=method, count=2)
    assert len(client.run(READ)) == 2
    seen = engine.statistics()
    assert seen.faults == (2, 2, 2)
    assert seen.requests["prepareStatement"] == {"blue": 3}
    assert (seen.executed_twice, manager.state_version) == ({}, version)


def test_a_transient_failure_of_the_first_authentication_is_retried(
    engine: EngineProcess, manager: StrategyManager
) -> None:
    engine.fault(action="status", method="authenticate", count=1)
    with by_channel(engine, manager) as client:
        assert client.login().session
    assert engine.statistics().requests["authenticate"] == {"blue": 2}


@pytest.mark.parametrize("stage", ["authenticate", "prepare"])
def test_a_suspended_cluster_says_so_to_the_application(
    engine: EngineProcess, manager: StrategyManager, stage: str
) -> None:
    with by_channel(engine, manager) as client:
        if stage == "prepare":
            client.login()
        engine.phase("suspended", active="blue")
        with pytest.raises(grpc.RpcError) as caught:
            client.login() if stage == "authenticate" else client.prepare(READ)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "status: 503" in (caught.value.details() or "")
        assert manager.state != "Failed"
        engine.phase("steady", active="blue")
        assert len(client.login().run(READ)) == 2


# -- futures, deadlines, several threads


def test_a_future_is_repaired_like_any_call(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    engine.phase("abrupt", target="green")
    future = client.stub.getNextResultBatchV2.future(
        client.about(pb.GetNextResultBatchRequest, query), timeout=60
    )
    called: list[Any] = []
    future.add_done_callback(called.append)
    assert len(future.result(timeout=60).resultBatches) == 2
    until(lambda: called == [future])
    assert (future.done(), future.cancelled(), future.running()) == (True, False, False)
    assert (future.code(), future.exception(), future.traceback()) == (grpc.StatusCode.OK, None, None)
    assert not future.cancel()


def test_what_is_done_about_a_future_has_the_context_of_whoever_made_it(
    client: Client, engine: EngineProcess, manager: StrategyManager
) -> None:
    request: ContextVar[str] = ContextVar("request", default="nobody's")
    seen: list[tuple[str, str]] = []
    stop = manager.observe(lambda happening: seen.append((type(happening).__name__, request.get())))
    query = client.started(READ)
    seen.clear()
    engine.phase("abrupt", target="green")
    token = request.set("mine")
    future = client.stub.getNextResultBatch.future(client.about(pb.GetNextResultBatchRequest, query))
    request.reset(token)
    assert b"green" in future.result(60).resultBatch
    stop()
    assert {name for name, _ in seen} >= {"RequestFailed", "DetectionEnded", "QueryReplayed"}
    assert {whose for _, whose in seen} == {"mine"}


def test_a_callback_of_a_future_gets_one_that_is_done(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    engine.phase("abrupt", target="green")
    seen: list[Any] = []
    future = client.stub.getNextResultBatch.future(client.about(pb.GetNextResultBatchRequest, query))
    future.add_done_callback(lambda done: seen.append((done.done(), done.result(timeout=0).resultBatch)))
    until(lambda: len(seen) == 1)
    assert seen[0][0]
    assert b"green" in seen[0][1]


def test_a_future_that_nobody_asks_for_its_result_keeps_no_ticket(client: Client) -> None:
    client.stub.getSchemaNames.future(pb.GetSchemaNamesRequest(sessionId=client.session))
    until(lambda: client.link.manager.open_tickets == ())


def test_a_future_opens_the_session_that_it_needs(client: Client, engine: EngineProcess) -> None:
    kept = client.started(READ)
    engine.phase("announce", target="green", green={"new": "unavailable"})
    client.status(kept)
    until(lambda: engine.statistics().requests["authenticate"].get("green") == 1)
    engine.phase("announce", target="green")
    future = client.stub.getSchemaNames.future(pb.GetSchemaNamesRequest(sessionId=client.session), timeout=9)
    assert 0 < future.time_remaining() <= 9
    assert len(future.result().schemas) == 2
    assert list(future.trailing_metadata()) == list(future.initial_metadata()) == []
    assert not future.is_active()
    assert not future.add_callback(lambda: None)
    assert engine.statistics().requests["getSchemaNames"] == {"green": 1}


def test_a_future_that_needs_no_rpc_is_done_at_once(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    client.clear(query)
    future = client.stub.clear.future(client.about(pb.ClearRequest, query))
    assert (future.done(), future.result(), future.cancel()) == (True, pb.ClearResponse(), False)
    assert (future.time_remaining(), future.trailing_metadata(), future.initial_metadata()) == (None, (), ())
    assert engine.statistics().requests.get("clear") is None


def test_a_future_that_cannot_be_begun_raises_at_once(client: Client, engine: EngineProcess) -> None:
    client.channel.port.channel.close()
    with pytest.raises(ValueError, match="losed"):  # at once, as gRPC does
        client.stub.getSchemaNames.future(pb.GetSchemaNamesRequest(sessionId=client.session))
    assert client.link.manager.open_tickets == ()


def test_a_future_tells_whom_it_was_told_to_when_it_has_ended(client: Client, engine: EngineProcess) -> None:
    engine.phase("steady", active="blue", blue={"new": "silent"})
    future = client.stub.getSchemaNames.future(pb.GetSchemaNamesRequest(sessionId=client.session))
    told = threading.Event()
    assert future.running()
    assert future.add_callback(told.set)
    engine.phase("steady", active="blue")
    assert told.wait(60)
    assert (future.done(), future.details()) == (True, "")


def test_a_future_can_be_cancelled(client: Client, engine: EngineProcess) -> None:
    engine.fault(action="silent", method="getSchemaNames")
    future = client.stub.getSchemaNames.future(pb.GetSchemaNamesRequest(sessionId=client.session))
    with pytest.raises(grpc.FutureTimeoutError):
        future.result(timeout=0.01)
    assert future.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        future.result(timeout=60)
    assert future.cancelled()
    assert future.code() is grpc.StatusCode.CANCELLED
    assert client.link.manager.open_tickets == ()


def test_the_error_of_a_future_is_raised_by_its_result(client: Client, engine: EngineProcess) -> None:
    engine.fault(action="status", method="getSchemaNames", code="INTERNAL", details="no")
    future = client.stub.getSchemaNames.future(pb.GetSchemaNamesRequest(sessionId=client.session))
    assert future.exception(timeout=60).code() is grpc.StatusCode.INTERNAL
    assert future.traceback() is not None
    assert future.details() == "no"
    with pytest.raises(grpc.RpcError, match="no"):
        future.result()
    client.channel.close()
    with pytest.raises(ValueError, match="closed"):
        client.stub.getSchemaNames.future(pb.GetSchemaNamesRequest())


@pytest.fixture
def patient(engine: EngineProcess) -> Iterator[Client]:
    """A client that waits for a silent stack longer than its application does."""
    with by_channel(engine, managing(engine, quick(detection_timeout_s=60.0))) as client:
        yield client.login()


def test_a_deadline_of_the_application_holds_while_a_query_is_repaired(
    patient: Client, engine: EngineProcess
) -> None:
    client, manager = patient, patient.channel.link.manager
    query = client.started(READ)
    engine.phase("abrupt", target="green", green={"new": "silent"})
    with pytest.raises(StrategyUnavailable, match="deadline of the call"):
        client.fetch(query, timeout=2.0)
    engine.phase("abrupt", target="green")
    assert len(client.run(READ)) == 2
    assert all(ticket.query == 0 for ticket in manager.open_tickets)


def test_a_short_deadline_of_one_caller_is_not_held_against_a_strategy(
    patient: Client, engine: EngineProcess
) -> None:
    client, manager = patient, patient.channel.link.manager
    version = manager.state_version
    engine.fault(action="silent", method="authenticate", count=1)
    engine.expire_sessions("blue")
    with pytest.raises(StrategyUnavailable, match="deadline of the call"):
        client.schemas(timeout=2.0)
    assert manager.state_version == version
    assert len(client.schemas()) == 2


def test_a_replay_has_the_deadline_of_the_call_that_needs_it(client: Client, engine: EngineProcess) -> None:
    query = client.prepare(READ, timeout=2.0)
    client.execute(query, timeout=2.0)
    deadline_s = time.monotonic() + 2.0
    until(lambda: time.monotonic() > deadline_s)
    engine.phase("abrupt", target="green")
    engine.fault(method=["prepareStatement", "executeStatement"], delay_s=0.05)
    assert len(client.drained(query)) == 2


def test_the_deadline_of_a_call_is_sent_with_it(client: Client, engine: EngineProcess) -> None:
    engine.fault(action="silent", method="status", count=1)
    query = client.started(READ)
    with pytest.raises(grpc.RpcError) as caught:
        client.status(query, timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(client.drained(query)) == 2


def test_many_calls_of_a_query_repair_it_once(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    engine.phase("abrupt", target="green")
    barrier = threading.Barrier(8)

    def ask(_: int) -> int:
        barrier.wait()
        return int(client.status(query).rowCount)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [4] * 8
    assert engine.executions() == {READ: 2}
    assert engine.statistics().misrouted == 0
    assert len(client.link.manager.open_tickets) == 1


@pytest.mark.parametrize(("text", "times"), [(READ, 2), (WRITE, 1)])
def test_a_query_is_not_repaired_while_it_is_being_executed(
    client: Client, engine: EngineProcess, text: str, times: int
) -> None:
    text = f"{text} /*+ sleep_ms(300) */"
    query = client.prepare(text)
    with ThreadPoolExecutor(1) as pool:
        execution = pool.submit(client.execute, query)
        until(lambda: engine.executions() == {text: 1})
        engine.phase("announce", target="green", blue={"running": "refuse"})
        if times == 1:
            with pytest.raises(QueryLost, match="can write"):
                client.status(query)
        else:
            client.status(query)
        assert execution.result().sessionId == client.session
    assert engine.executions() == {text: times}


def test_a_query_can_be_cancelled_while_it_is_being_executed(client: Client, engine: EngineProcess) -> None:
    query = client.prepare("SELECT 1 /*+ sleep_ms(2000) */")
    with ThreadPoolExecutor(1) as pool:
        execution = pool.submit(client.execute, query)
        until(lambda: engine.statistics().reads_executed == 1)
        client.cancel(query)
        assert not execution.done()
        execution.result()
    assert all_is_over(client)


def test_a_query_that_is_cancelled_while_it_is_repaired_leaves_nothing_behind(
    client: Client, engine: EngineProcess
) -> None:
    query = client.started(READ)
    engine.phase("abrupt", target="green", green={"new": "silent"})
    with ThreadPoolExecutor(2) as pool:
        fetch = pool.submit(client.fetch, query)
        until(lambda: engine.statistics().requests["authenticate"].get("green") == 1)
        cancel = pool.submit(client.cancel, query)
        engine.phase("abrupt", target="green")
        assert fetch.exception() is None or isinstance(fetch.exception(), Exception)
        cancel.result()
    assert all_is_over(client)
    assert engine.statistics().open_queries["green"] == 0


def test_a_channel_that_is_closed_while_a_query_is_repaired_keeps_no_ticket(
    client: Client, engine: EngineProcess
) -> None:
    query = client.started(READ)
    engine.phase("abrupt", target="green", green={"new": "silent"})
    with ThreadPoolExecutor(1) as pool:
        fetch = pool.submit(client.fetch, query)
        until(lambda: engine.statistics().requests["authenticate"].get("green") == 1)
        client.channel.close()
        assert fetch.exception() is not None
    assert client.link.manager.open_tickets == ()


@pytest.mark.parametrize(
    "kind", ["graceful", "announced_abrupt", "silent_drain", "rollback", "withdrawn", "double", "not_ready"]
)
def test_eight_threads_with_reads_and_writes_notice_no_switch(engine: EngineProcess, kind: str) -> None:
    manager = managing(engine)
    done = threading.Event()
    finished: list[int] = []

    def work(number: int) -> None:
        with by_channel(engine, manager) as client:
            client.login()
            turn = 0
            while not done.is_set():
                turn += 1
                text = f"INSERT INTO t VALUES ({number}, {turn})" if turn % 4 == 0 else READ
                assert len(client.run(text)) == (0 if turn % 4 == 0 else 2)
                finished.append(turn)

    with ThreadPoolExecutor(8) as pool:
        threads = [pool.submit(work, number) for number in range(8)]
        until(lambda: len(finished) > 16)
        switched(engine, manager, kind, grace_s=0.2, drain_s=5)
        after = len(finished)
        until(lambda: len(finished) > after + 16 or any(thread.done() for thread in threads))
        done.set()
        for thread in threads:
            thread.result()
    seen = engine.statistics()
    assert (seen.misrouted, seen.executed_twice) == (0, {})
    assert manager.open_tickets == ()
    assert manager.active == engine.active


# -- tokens instead of sessions


@pytest.mark.parametrize("kind", ["graceful", "silent_drain", "abrupt"])
def test_a_connection_with_a_token_needs_no_session(engine: EngineProcess, kind: str) -> None:
    manager = managing(engine, quick())
    with by_channel(engine, manager) as client:
        client.metadata += (("authorization", "Bearer token"),)
        assert len(client.run(READ)) == 2
        engine.switch(kind, grace_s=0.05)
        assert len(client.run(READ)) == 2
        assert len(client.schemas()) == 2
    assert engine.statistics().misrouted == 0
    assert engine.statistics().authentications == {}
    assert manager.active == "green"


def test_a_connection_with_a_token_gives_up_after_a_few_requests_if_nobody_serves(
    engine: EngineProcess,
) -> None:
    with by_channel(engine, managing(engine, quick())) as client:
        client.metadata += (("authorization", "Bearer token"),)
        client.run(READ)
        engine.phase("both_down")
        before = engine.statistics().total_requests
        with pytest.raises(StrategyUnavailable):
            client.prepare(READ)
        assert engine.statistics().total_requests - before < 10
        engine.phase("steady", active="blue")
        assert len(client.run(READ)) == 2
