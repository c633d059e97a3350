"""The test engine, driven by the stock connector and by plain gRPC."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import pytest
from e6data_python_connector import e6data_grpc
from e6data_python_connector import strategy as cluster_strategy
from e6data_python_connector.datainputstream import get_query_columns_info, read_rows_from_chunk
from e6data_python_connector.result_batch import decode_result_batches
from e6data_python_connector.server import e6x_engine_pb2 as pb
from e6data_python_connector.server import e6x_engine_pb2_grpc as pb_grpc

from bluegreen_adapters.testing.engine import EngineError, EngineProcess, InjectedFault, encoding
from bluegreen_adapters.testing.engine.handlers import METHODS
from support.forgetting import nothing_known
from support.tls import Authority

pytestmark = pytest.mark.integration

Connect = Callable[..., Any]


@pytest.fixture(autouse=True)
def _connector_knows_nothing() -> Iterator[None]:
    with nothing_known():
        yield


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess(tokens=("token",)) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine: EngineProcess) -> EngineProcess:
    """An engine as it is after its start: blue serves, nothing is counted, no session is open."""
    shared_engine.phase("retire", target="green")
    shared_engine.phase("steady", active="blue")
    shared_engine.clear_faults()
    shared_engine.reset_statistics()
    return shared_engine


@pytest.fixture
def connect(engine: EngineProcess) -> Iterator[Connect]:
    """Opens connections of the stock connector, and closes them in the end."""
    opened: list[Any] = []

    def make(**changes: Any) -> Any:
        fields: dict[str, Any] = {
            "host": engine.host,
            "port": engine.port,
            "catalog": "main",
            "database": "sales",
        }
        if "access_token" not in changes:
            fields |= {"username": "user@example.com", "password": "secret"}
        connection = e6data_grpc.Connection(**(fields | changes))
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()


class Wire:
    """Plain gRPC to one stack, with one session."""

    def __init__(self, engine: EngineProcess, strategy: str = "blue") -> None:
        self.channel = grpc.insecure_channel(engine.address)
        self.stub: Any = pb_grpc.QueryEngineServiceStub(self.channel)
        self.metadata = (("strategy", strategy),)
        asked = pb.AuthenticateRequest(user="user@example.com", password="secret")
        self.session: str = self.call("authenticate", asked).sessionId

    def call(self, name: str, request: Any, timeout: float | None = 10) -> Any:
        return getattr(self.stub, name)(request, metadata=self.metadata, timeout=timeout)

    def prepare(self, text: str) -> Any:
        return self.call(
            "prepareStatement", pb.PrepareStatementRequest(sessionId=self.session, queryString=text)
        )

    def about(self, request_class: Any, query: Any) -> Any:
        return request_class(sessionId=self.session, queryId=query.queryId, engineIP=query.engineIP)

    def execute(self, text: str) -> Any:
        query = self.prepare(text)
        self.call("executeStatement", self.about(pb.ExecuteStatementRequest, query))
        return query

    def code(self, name: str, request: Any, timeout: float | None = 10) -> Any:
        with pytest.raises(grpc.RpcError) as caught:
            self.call(name, request, timeout)
        return caught.value.code()


@pytest.fixture
def wire(engine: EngineProcess) -> Iterator[Wire]:
    opened = Wire(engine)
    yield opened
    opened.channel.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- what the connector gets


@pytest.mark.parametrize("catalog", ["main", None], ids=["with catalog (V2 calls)", "without catalog"])
def test_a_select_in_several_batches_is_decoded_rightly(
    connect: Connect, engine: EngineProcess, catalog: str | None
) -> None:
    text = "SELECT 'zwölf' /*+ rows(10) batch(4) */"
    cursor = connect(catalog=catalog).cursor()
    cursor.execute(text)
    assert [column[:2] for column in cursor.description] == [
        ("n", "LONG"),
        ("statement", "STRING"),
        ("stack", "STRING"),
    ]
    assert cursor.rowcount == 10
    assert cursor.fetchmany(3) == [[n, text, "blue"] for n in range(3)]
    assert cursor.fetchall()[-1] == [9, text, "blue"]
    cursor.clear()
    seen = engine.statistics()
    assert engine.executions() == {text: 1}
    assert (seen.misrouted, seen.total_refused, seen.errors) == (0, 0, {})
    assert seen.open_queries == {"blue": 0, "green": 0}


def test_batches_arrive_one_by_one_and_then_an_empty_one(connect: Connect) -> None:
    cursor = connect().cursor()
    cursor.execute("SELECT 1 /*+ rows(10) batch(4) */")
    assert [len(rows) for rows in cursor.fetchall_buffer()] == [4, 4, 2]
    assert cursor.fetch_batch() is None


def test_a_write_has_no_rows_and_is_executed_once(connect: Connect, engine: EngineProcess) -> None:
    cursor = connect().cursor()
    cursor.execute("INSERT INTO orders VALUES (1)")
    assert cursor.fetchall() == []
    seen = engine.statistics()
    assert (seen.writes_executed, seen.reads_executed, seen.executed_twice) == (1, 0, {})


def test_catalogue_calls_are_answered(connect: Connect, engine: EngineProcess) -> None:
    connection = connect()
    assert connection.get_session_id
    assert connection.get_catalogs()[0] == {"name": "main", "isDefault": True}
    assert connection.get_schema_names("main") == ["sales", "ops"]
    assert connection.get_tables("main", "sales") == ["customers", "orders"]
    assert connection.get_columns("main", "sales", "customers")[1] == {
        "fieldName": "name",
        "fieldType": "STRING",
    }
    assert connection.dry_run("SELECT 1") == "valid"
    assert engine.statistics().misrouted == 0


def test_status_explain_and_cancel_are_answered(connect: Connect, engine: EngineProcess) -> None:
    cursor = connect().cursor()
    query = cursor.execute("SELECT 1")
    assert cursor.status(query).status
    assert "3 rows" in cursor.explain()
    assert "3 rows" in cursor.explain_analyse()["planner"]
    cursor.cancel(query)
    assert engine.statistics().open_queries["blue"] == 0
    with pytest.raises(grpc.RpcError, match="is not known"):
        cursor.status(query)


def test_a_failing_statement_is_an_error_of_its_own(connect: Connect, engine: EngineProcess) -> None:
    with pytest.raises(grpc.RpcError, match="no such table"):
        connect().cursor().execute("SELECT * FROM t /*+ fail(no such table) */")
    assert engine.executions() == {}


def test_a_wrong_password_gives_no_session(connect: Connect) -> None:
    e6data_grpc._set_active_strategy("blue")
    with pytest.raises(ValueError, match="Invalid credentials"):
        _ = connect(password="guess").get_session_id


def test_a_token_needs_no_session(connect: Connect, engine: EngineProcess) -> None:
    e6data_grpc._set_active_strategy("blue")
    cursor = connect(access_token="token").cursor()
    cursor.execute("SELECT 1")
    assert len(cursor.fetchall()) == 3
    cursor.close()
    seen = engine.statistics()
    assert (seen.open_sessions["blue"], seen.misrouted) == (0, 0)
    with pytest.raises(grpc.RpcError, match="token is not valid"):
        connect(access_token="forged").cursor().execute("SELECT 1")


def test_an_expired_session_is_denied_and_the_connector_opens_another(
    connect: Connect, engine: EngineProcess
) -> None:
    connection = connect()
    assert connection.get_session_id
    assert engine.expire_sessions("blue") == 1
    with pytest.raises(grpc.RpcError, match="Access denied"):
        connection.get_tables("main", "sales")
    connection.cursor().execute("SELECT 1")
    assert engine.statistics().authentications == {"blue": 2}


# -- phases


def test_after_the_retirement_a_call_to_the_old_stack_is_refused(
    connect: Connect, engine: EngineProcess
) -> None:
    connection = connect()
    assert connection.get_session_id
    engine.phase("retire", target="green")
    with pytest.raises(grpc.RpcError) as caught:
        connection.get_tables("main", "sales")
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert caught.value.details() == "status: 456"
    assert engine.statistics().refused == {"getTablesV2": {"blue": 1}}


def test_the_connector_follows_an_announcement(connect: Connect, engine: EngineProcess) -> None:
    connection = connect()
    engine.phase("announce", target="green")
    for expected in ("green", "green"):
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        assert cursor.fetchall()[0][2] == expected
        cursor.clear()
    assert engine.statistics().misrouted == 0


def test_a_query_that_the_connector_sends_to_the_wrong_stack_is_seen(
    connect: Connect, engine: EngineProcess
) -> None:
    connection = connect()
    cursor = connection.cursor()
    query = cursor.execute("SELECT 1")
    engine.phase("announce", target="green")
    e6data_grpc._local_strategy_cache["query_strategy_map"][query] = "green"
    with pytest.raises(grpc.RpcError):
        cursor.status(query)
    (offence,) = engine.statistics().offences
    assert (offence.method, offence.strategy, offence.query_id) == ("status", "green", query)


def test_a_response_carries_the_announcement_of_its_stack(engine: EngineProcess, wire: Wire) -> None:
    request = pb.GetSchemaNamesRequest(sessionId=wire.session)
    assert wire.call("getSchemaNames", request).new_strategy == ""
    engine.phase("announce", target="green")
    assert wire.call("getSchemaNames", request).new_strategy == "green"
    engine.phase("withdraw")
    assert wire.call("getSchemaNames", request).new_strategy == "blue"


def test_a_running_query_is_served_until_the_retirement(engine: EngineProcess, wire: Wire) -> None:
    engine.phase("announce", target="green")
    query = wire.execute("SELECT 1 /*+ rows(3) batch(1) */")
    for phase in ("cutover", "drain"):
        engine.phase(phase)
        assert wire.call("getNextResultBatch", wire.about(pb.GetNextResultBatchRequest, query)).resultBatch
    engine.phase("retire")
    refused = wire.code("getNextResultBatch", wire.about(pb.GetNextResultBatchRequest, query))
    assert refused is grpc.StatusCode.UNKNOWN
    seen = engine.statistics()
    assert seen.lost_allowed == {"SELECT 1 /*+ rows(3) batch(1) */"}
    assert seen.misrouted == 0
    assert [moment.phase for moment in seen.timeline][-4:] == ["announce", "cutover", "drain", "retire"]


def test_a_dead_stack_is_unavailable(engine: EngineProcess, wire: Wire) -> None:
    engine.phase("abrupt", target="green", unavailable=True)
    request = pb.GetSchemaNamesRequest(sessionId=wire.session)
    assert wire.code("getSchemaNames", request) is grpc.StatusCode.UNAVAILABLE


def test_silence_ends_with_the_client_or_with_the_phase(engine: EngineProcess, wire: Wire) -> None:
    engine.phase("silent", target="blue")
    request = pb.GetSchemaNamesRequest(sessionId=wire.session)
    assert wire.code("getSchemaNames", request, 0.05) is grpc.StatusCode.DEADLINE_EXCEEDED
    waiting = wire.stub.getSchemaNames.future(request, metadata=wire.metadata)
    while engine.statistics().requests["getSchemaNames"]["blue"] < 2:
        pass
    engine.phase("steady", active="blue")
    assert waiting.code() is grpc.StatusCode.UNAVAILABLE


def test_however_many_requests_are_silent_the_others_are_served(engine: EngineProcess, wire: Wire) -> None:
    engine.phase("silent", target="blue")
    request = pb.GetSchemaNamesRequest(sessionId=wire.session)
    waiting = [wire.stub.getSchemaNames.future(request, metadata=wire.metadata) for _ in range(300)]
    green = Wire(engine, "green")
    assert len(green.call("getSchemaNames", pb.GetSchemaNamesRequest(sessionId=green.session)).schemas) == 2
    assert not any(call.done() for call in waiting)
    for call in waiting:
        call.cancel()
    green.channel.close()


def test_a_stack_that_vanishes_while_it_executes_gives_no_clear_answer(
    engine: EngineProcess, wire: Wire
) -> None:
    text = "INSERT INTO t /*+ sleep_ms(100) */"
    query = wire.prepare(text)
    request = wire.about(pb.ExecuteStatementRequest, query)
    waiting = wire.stub.executeStatement.future(request, metadata=wire.metadata)
    while engine.statistics().writes_executed < 1:
        pass
    engine.phase("abrupt", target="green")
    assert waiting.code() is grpc.StatusCode.UNAVAILABLE
    assert engine.statistics().lost_allowed == {text}


def test_a_suspended_cluster_is_resumed_by_the_connector(connect: Connect, engine: EngineProcess) -> None:
    e6data_grpc._set_active_strategy("blue")
    cluster_strategy._set_active_strategy("blue")
    engine.phase("suspended", active="blue")
    with pytest.raises(grpc.RpcError, match="status: 503"):
        _ = connect(auto_resume=False).get_session_id
    assert connect(auto_resume=True).get_session_id
    seen = engine.statistics()
    assert seen.requests["cluster.resume"] == {"blue": 1}
    assert engine.active == "blue"


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("graceful", "green"),
        ("announced_abrupt", "green"),
        ("silent_drain", "green"),
        ("abrupt", "green"),
        ("rollback", "blue"),
        ("withdrawn", "blue"),
        ("double", "blue"),
        ("not_ready", "green"),
        ("outage", "blue"),
    ],
)
def test_a_whole_switch_is_played_and_ends_in_a_steady_cluster(
    engine: EngineProcess, kind: str, end: str
) -> None:
    assert engine.switch(kind, grace_s=0.02) == end
    assert engine.active == end
    assert engine.statistics().timeline[-1].phase == "steady"
    client = Wire(engine, end)
    assert client.session
    client.channel.close()


def test_a_draining_switch_waits_for_what_runs(engine: EngineProcess, wire: Wire) -> None:
    query = wire.execute("SELECT 1")
    with ThreadPoolExecutor(1) as pool:
        switch = pool.submit(engine.switch, "graceful", grace_s=0.01, drain_s=60)
        while engine.statistics().timeline[-1].phase != "drain":
            pass
        assert wire.call("getNextResultBatch", wire.about(pb.GetNextResultBatchRequest, query)).resultBatch
        assert not switch.done()
        wire.call("clear", wire.about(pb.ClearRequest, query))
        assert switch.result() == "green"
    assert engine.statistics().vanished == ()


def test_a_draining_switch_loses_what_runs_too_long(engine: EngineProcess, wire: Wire) -> None:
    wire.execute("SELECT 1")
    assert engine.switch("graceful", grace_s=0.01, drain_s=0) == "green"
    assert [gone.statement for gone in engine.statistics().vanished] == ["SELECT 1"]


# -- faults


def test_a_dropped_answer_comes_after_the_effect(engine: EngineProcess, wire: Wire) -> None:
    number = engine.fault(InjectedFault("drop", method="executeStatement", statement="INSERT", count=1))
    query = wire.prepare("INSERT INTO t")
    request = wire.about(pb.ExecuteStatementRequest, query)
    assert wire.code("executeStatement", request) is grpc.StatusCode.UNAVAILABLE
    assert engine.statistics().lost_allowed == {"INSERT INTO t"}
    wire.call("executeStatement", request)
    seen = engine.statistics()
    assert seen.executed_twice == {"INSERT INTO t": 2}
    assert seen.faults[number] == 1


def test_an_injected_status_comes_without_the_effect(engine: EngineProcess, wire: Wire) -> None:
    engine.fault(action="status", method="prepareStatement", nth=2, code="RESOURCE_EXHAUSTED", details="busy")
    request = pb.PrepareStatementRequest(sessionId=wire.session, queryString="SELECT 1")
    wire.prepare("SELECT 1")
    assert wire.code("prepareStatement", request) is grpc.StatusCode.RESOURCE_EXHAUSTED
    wire.prepare("SELECT 1")
    assert engine.statistics().open_queries["blue"] == 2


def test_an_injected_denial_or_silence_is_one_request_long(engine: EngineProcess, wire: Wire) -> None:
    engine.fault(action="access_denied", method="getSchemaNames", nth=1)
    engine.fault(action="silent", method="getSchemaNames", nth=2)
    request = pb.GetSchemaNamesRequest(sessionId=wire.session)
    assert wire.code("getSchemaNames", request) is grpc.StatusCode.INTERNAL
    assert wire.code("getSchemaNames", request, 0.05) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(wire.call("getSchemaNames", request).schemas) == 2


# -- the wire itself


def test_every_call_is_answered(engine: EngineProcess, wire: Wire) -> None:
    service = pb.DESCRIPTOR.services_by_name["QueryEngineService"]
    ending = {"clear", "cancelQuery", "clearOrCancelQuery"}
    for name in METHODS:
        request_class = getattr(pb, service.methods_by_name[name].input_type.name)
        query = wire.execute("SELECT 1")
        known = set(request_class.DESCRIPTOR.fields_by_name)
        given = {"sessionId": wire.session, "queryId": query.queryId, "engineIP": query.engineIP}
        given |= {"queryString": "SELECT 1", "user": "user@example.com", "password": "secret"}
        wire.call(name, request_class(**{key: value for key, value in given.items() if key in known}))
        if name not in ending:
            wire.call("clear", wire.about(pb.ClearRequest, query))
    seen = engine.statistics()
    assert set(seen.requests) == set(METHODS)
    assert (seen.errors, seen.misrouted, seen.open_queries["blue"]) == ({}, 0, 2)


def test_v2_envelopes_are_decoded_by_the_connector(wire: Wire) -> None:
    query = wire.execute("SELECT 1 /*+ rows(5) batch(1) */")
    _, columns = get_query_columns_info(
        BytesIO(wire.call("getResultMetadata", wire.about(pb.GetResultMetadataRequest, query)).resultMetaData)
    )
    rows: list[Any] = []
    ended = False
    while not ended:
        envelope = wire.call("getNextResultBatchV2", wire.about(pb.GetNextResultBatchRequest, query))
        rows += [row for chunk in decode_result_batches(columns, envelope.resultBatches) for row in chunk]
        ended = envelope.endOfStream
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("text", ["SELECT 1", "SELECT 'ünïcode €'", "SELECT '" + "x" * 70_000 + "'"])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_connector_decodes_what_is_encoded(text: str, size: int) -> None:
    count, columns = get_query_columns_info(BytesIO(encoding.metadata(size)))
    rows = read_rows_from_chunk(columns, encoding.batch(range(7, 7 + size), text, "green"), strict=True)
    assert count == size
    assert rows == [[n, text, "green"] for n in range(7, 7 + size)]


def test_session_ids_can_rotate_and_query_ids_can_collide() -> None:
    with EngineProcess(rotate_sessions=True, colliding_ids=True) as engine:
        engine.phase("announce", target="green")
        blue, green = Wire(engine), Wire(engine, "green")
        first, second = blue.prepare("SELECT 1"), green.prepare("SELECT 1")
        assert first.queryId == second.queryId == "q-1"
        assert first.engineIP != second.engineIP
        assert first.sessionId != blue.session
        blue.session = first.sessionId
        blue.call("executeStatement", blue.about(pb.ExecuteStatementRequest, first))
        blue.channel.close()
        green.channel.close()


# -- the process


def test_an_engine_that_cannot_listen_says_why() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(EngineError, match="cannot listen on"):
            EngineProcess(port=taken.getsockname()[1])


def test_with_a_certificate_it_serves_tls_and_nothing_else(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    root = Path(authority.root).read_bytes()
    with EngineProcess(certificate=authority.certificate, key=authority.key) as engine:
        with grpc.secure_channel(engine.address, grpc.ssl_channel_credentials(root)) as channel:
            stub = pb_grpc.QueryEngineServiceStub(channel)
            login = pb.AuthenticateRequest(user="user@example.com", password="secret")
            assert stub.authenticate(login, metadata=[("strategy", "blue")], timeout=60).sessionId
        with grpc.insecure_channel(engine.address) as channel:
            stub = pb_grpc.QueryEngineServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.authenticate(login, metadata=[("strategy", "blue")], timeout=60)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert engine.statistics().requests == {"authenticate": {"blue": 1}}


@pytest.mark.parametrize("broken", ["certificate", "key"])
@pytest.mark.parametrize("content", [None, "no PEM"], ids=["missing", "no-pem"])
def test_an_engine_that_cannot_serve_tls_says_why(tmp_path: Path, broken: str, content: str | None) -> None:
    authority = Authority(tmp_path)
    files = {"certificate": authority.certificate, "key": authority.key}
    files[broken] = str(tmp_path / "broken.pem")
    if content is not None:
        Path(files[broken]).write_text(content)
    with pytest.raises(EngineError, match=r"cannot serve TLS with .*broken\.pem"):
        EngineProcess(**files)


def test_a_token_that_is_revoked_is_refused() -> None:
    def schemas(token: str) -> list[str]:
        metadata = [("strategy", "blue"), ("authorization", f"Bearer {token}")]
        return list(stub.getSchemaNames(pb.GetSchemaNamesRequest(), metadata=metadata, timeout=60).schemas)

    with EngineProcess(tokens=("a", "b")) as engine, grpc.insecure_channel(engine.address) as channel:
        stub = pb_grpc.QueryEngineServiceStub(channel)
        assert schemas("a")
        assert [engine.revoke_token("a"), engine.revoke_token("a")] == [True, False]
        with pytest.raises(grpc.RpcError, match="token is not valid"):
            schemas("a")
        assert schemas("b")
        assert engine.statistics().with_token == {"getSchemaNames": {"blue": 3}}


def test_without_the_connector_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "raise ModuleNotFoundError('No module named x', name='e6data_python_connector')"
    (tmp_path / "e6data_python_connector.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match=r"pip install \"bluegreen\[e6data\]\""):
        EngineProcess()


def test_a_refused_command_raises_and_the_engine_goes_on(engine: EngineProcess) -> None:
    with pytest.raises(EngineError, match="'dusk' is no phase"):
        engine.phase("dusk")
    with pytest.raises(ValueError, match="graceful"):
        engine.switch("sudden")
    assert engine.active == "blue"


def test_an_engine_that_was_killed_or_stopped_says_so() -> None:
    engine = EngineProcess()
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="has ended with exit status -9"):
        engine.statistics()
    with pytest.raises(EngineError, match="has been stopped"):
        engine.statistics()
    engine.stop()


def test_an_engine_ends_by_itself_after_its_time() -> None:
    engine = EngineProcess(max_seconds=0.05)

    def ask_until_it_ends() -> None:
        while True:
            engine.statistics()

    with pytest.raises(EngineError, match="has ended with exit status 0"):
        ask_until_it_ends()
    assert not listens(engine.port)


def test_stopping_in_a_forked_child_does_nothing(
    engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)
    engine.stop()
    assert engine.active == "blue"


def test_stopping_is_quick_while_a_forked_child_lives() -> None:
    program = """
        import os, time
        from bluegreen_adapters.testing.engine import EngineProcess, client
        client._STOP_TIMEOUT_S = 600
        engine = EngineProcess()
        wake, hold = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(hold)
            os.read(wake, 1)
            os._exit(0)
        engine.stop()
        print("stopped", flush=True)
        os.close(hold)
        os.waitpid(child, 0)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "stopped\n", done.stderr


def test_the_engine_dies_with_the_process_that_started_it() -> None:
    program = """
        import os, signal
        from bluegreen_adapters.testing.engine import EngineProcess
        print(EngineProcess().port, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    port = int(done.stdout)
    while listens(port):
        time.sleep(0.01)


def test_the_engine_can_be_run_by_hand() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    commands = '{"do": "phase", "name": "cutover", "target": "green"}\n\n{"do": "stop"}\n'
    done = subprocess.run(
        [sys.executable, "-m", "bluegreen_adapters.testing.engine"],
        env=environment,
        input=commands,
        capture_output=True,
        text=True,
        check=True,
    )
    ready, phase, stopped = (json.loads(line) for line in done.stdout.splitlines())
    assert ready["port"] > 0
    assert phase["value"]["active"] == "green"
    assert stopped == {"ok": True, "value": None}


def test_importing_the_package_imports_neither_grpc_nor_the_connector() -> None:
    program = (
        "import sys, bluegreen_adapters.testing.engine; "
        "print({'grpc', 'e6data_python_connector'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
