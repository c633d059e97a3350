"""The interceptor, on a channel that the application keeps, against the test engine."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.server import e6x_engine_pb2 as pb

from bluegreen.errors import QueryLost
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import READ, WRITE, Client, by_interceptor, managing, quick

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess() as process:
        yield process


@pytest.fixture
def client(engine: EngineProcess) -> Iterator[Client]:
    with by_interceptor(engine, managing(engine, quick())) as client:
        yield client.login()


@pytest.mark.parametrize("phase", ["announce", "cutover", "drain", "retire", "abrupt"])
def test_a_switch_is_not_noticed(client: Client, engine: EngineProcess, phase: str) -> None:
    query = client.prepare(READ)
    session = client.session
    engine.phase(phase, target="green")
    answer = client.execute(query)
    assert (answer.sessionId, answer.new_strategy) == (session, "")
    assert len(client.drained(query)) == 2
    client.clear(query)
    assert len(client.run(WRITE)) == 0
    assert len(client.schemas()) == 2
    assert engine.statistics().misrouted == 0
    assert engine.executions() == {READ: 1, WRITE: 1}
    assert client.link.manager.open_tickets == ()
    assert client.link.manager.active == "green"


def test_a_read_whose_stack_vanishes_runs_again(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    engine.phase("abrupt", target="green")
    assert b"green" in client.fetch(query)
    assert engine.executions() == {READ: 2}


def test_what_must_not_run_again_is_lost(client: Client, engine: EngineProcess) -> None:
    query = client.started(WRITE)
    engine.phase("abrupt", target="green")
    with pytest.raises(QueryLost, match="can write"):
        client.fetch(query)
    assert engine.executions() == {WRITE: 1}


def test_clearing_a_query_whose_stack_has_vanished_is_no_error(client: Client, engine: EngineProcess) -> None:
    query = client.started(READ)
    engine.phase("abrupt", target="green")
    assert client.clear(query) == pb.ClearOrCancelQueryResponse()
    assert client.link.manager.open_tickets == ()


def test_errors_of_the_server_pass_as_they_are(client: Client, engine: EngineProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.execute(client.prepare("SELECT 1 /*+ fail(no such column) */"))
    assert caught.value.details() == "no such column"
    engine.fault(action="silent", method="getSchemaNames")
    with pytest.raises(grpc.RpcError) as caught:
        client.schemas(timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_with_call_and_future_work_as_ever(client: Client, engine: EngineProcess) -> None:
    request = pb.GetSchemaNamesRequest(sessionId=client.session)
    engine.phase("abrupt", target="green")
    answer, call = client.stub.getSchemaNames.with_call(request)
    assert (len(answer.schemas), call.code()) == (2, grpc.StatusCode.OK)
    future = client.stub.getSchemaNames.future(request)
    called: list[grpc.Future] = []
    future.add_done_callback(called.append)
    assert len(future.result(timeout=60).schemas) == 2
    assert (future.done(), future.exception(), future.cancelled(), called) == (True, None, False, [future])


def test_what_needs_no_session_works_before_the_first_login(engine: EngineProcess) -> None:
    with by_interceptor(engine, managing(engine)) as client:
        assert client.stub.healthCheck(pb.HealthCheckRequest()) == pb.HealthCheckResponse()
