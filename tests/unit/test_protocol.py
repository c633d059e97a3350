"""The description of a wire protocol: what a status means, what is put into a message, what only reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from bluegreen.types import Strategy
from bluegreen_adapters.connection.protocol import (
    Fault,
    Method,
    Probe,
    Protocol,
    ProtocolError,
    Request,
    Role,
    SqlClassifier,
    StatusRule,
    only_reads,
    read,
    rewritten,
)

TOY = Protocol(
    "toy",
    methods={
        "login": Method(Role.AUTHENTICATE),
        "run": Method(Role.BEGIN),
        "drop": Method(Role.END, effect="cleared"),
    },
    statuses=(
        StatusRule(Fault.WRONG_STRATEGY, ("UNKNOWN", "INVALID_ARGUMENT"), "status: 456"),
        StatusRule(Fault.NOT_AUTHENTICATED, ("INTERNAL",), "Access denied"),
        StatusRule(Fault.ANSWER, ("UNAVAILABLE",), "status: 503, cluster is suspended"),
    ),
)


@attrs.define
class Message:
    sessionId: str = ""
    queryId: str = ""


@pytest.mark.parametrize(
    ("code", "details", "fault"),
    [
        ("UNKNOWN", "status: 456", Fault.WRONG_STRATEGY),
        ("INVALID_ARGUMENT", "Not served here. Status: 456. Try again.", Fault.ANSWER),
        ("UNKNOWN", "status: 4560", Fault.ANSWER),
        ("INTERNAL", "status: 456", Fault.ANSWER),
        ("INTERNAL", "Access denied", Fault.NOT_AUTHENTICATED),
        ("INTERNAL", "no such column", Fault.ANSWER),
        ("UNAVAILABLE", "status: 503, cluster is suspended", Fault.ANSWER),
        ("UNAVAILABLE", "failed to connect", Fault.TRANSIENT),
        ("DEADLINE_EXCEEDED", "", Fault.AMBIGUOUS),
        ("CANCELLED", "", Fault.AMBIGUOUS),
        ("UNIMPLEMENTED", "Method not found!", Fault.UNSUPPORTED),
        ("RESOURCE_EXHAUSTED", "busy", Fault.ANSWER),
    ],
)
def test_a_status_means(code: str, details: str, fault: Fault) -> None:
    assert TOY.fault(code, details) is fault


def test_by_default_any_code_with_456_is_a_wrong_strategy() -> None:
    assert Protocol("toy", methods={}, queries=False).fault("ABORTED", "status: 456") is Fault.WRONG_STRATEGY


def test_a_method_is_found_by_its_path_and_an_unknown_one_belongs_to_no_query() -> None:
    assert TOY.method("/Service/run") == ("run", Method(Role.BEGIN))
    assert TOY.method("/Service/other") == ("other", Method(Role.FREE))
    assert TOY.authenticator == "login"
    assert Protocol("toy", methods={}, queries=False).authenticator is None


@pytest.mark.parametrize(
    "address", ["10.0.0.1\r\nstrategy: green", "10.0.0.1\n", "a b", "\x00", "\u00fc", "1" * 256, "\x1b[2J"]
)
def test_what_a_server_says_is_an_address_does_not_become_a_header_unless_it_is_one(address: str) -> None:
    assert TOY.routed((("key", "value"),), Strategy.GREEN, address) == (
        ("key", "value"),
        ("strategy", "green"),
    )


def test_metadata_gets_the_strategy_and_this_engine_whatever_was_there() -> None:
    given = (("Strategy", "blue"), ("PLANNERIP", "10.0.0.1"), ("token", "t"), ("data-bin", b"\0"))
    kept = (("token", "t"), ("data-bin", b"\0"))
    routed = TOY.routed(given, Strategy.GREEN, "10.0.0.2")
    assert routed == (*kept, ("plannerip", "10.0.0.2"), ("strategy", "green"))
    assert TOY.routed(given, Strategy.BLUE, "") == (*kept, ("strategy", "blue"))


def test_a_message_is_rewritten_in_a_copy_and_only_where_it_has_the_field() -> None:
    message = Message("mine", "q-1")
    changed = rewritten(message, {"sessionId": "theirs", "queryId": None, "engineIP": "10.0.0.1"})
    assert (message, changed) == (Message("mine", "q-1"), Message("theirs", "q-1"))
    assert rewritten(message, {"engineIP": "10.0.0.1", "queryId": None}) is message
    assert (read(message, "queryId"), read(message, "engineIP"), read(None, "queryId")) == ("q-1", None, None)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "select * from t;",
        "  ( select 1 )",
        "-- a note\nSELECT 1",
        "/* a note: insert */ SELECT 1 -- more",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "VALUES (1)",
        "SHOW TABLES",
        "DESCRIBE t",
        "SELECT updated_at, inserted FROM settings",
    ],
)
def test_this_only_reads(statement: str) -> None:
    assert only_reads(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "INSERT INTO t SELECT 1",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        "SELECT * INTO t2 FROM t",
        "SELECT * FROM t FOR UPDATE",
        "SELECT nextval('s')",
        "SELECT 1; DELETE FROM t",
        "SELECT 1; SELECT 2",
        "EXPLAIN ANALYZE SELECT 1",
        "CALL p()",
        "selection",
        "/* not closed SELECT 1",
        "/*! INSERT INTO t VALUES (1) */ SELECT 1",
        "SELECT 1 /*! INTO OUTFILE 'x' */",
        "SET x = 1",
    ],
)
def test_this_is_not_provably_a_read(statement: str) -> None:
    assert not only_reads(statement)


def test_nothing_of_a_request_or_its_metadata_is_in_a_representation() -> None:
    from bluegreen_adapters.connection.query import Rpc
    from bluegreen_adapters.connection.requests import Send

    secret: Any = {"password": "s3cret"}
    for value in (
        Send("login", secret, (("authorization", "s3cret"),), options={"credentials": "s3cret"}),
        Rpc("login", Method(Role.FREE), secret, (("authorization", "s3cret"),), options={"c": "s3cret"}),
    ):
        assert "s3cret" not in repr(value)


# -- a description is checked like a table


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        (lambda: Method(Role.USE, effect=as_any("excuted")), "effect of a method with role USE must be one of None"),
        (lambda: Method(Role.USE, effect="fetched", rows=as_any("batch")),
         r"rows must be a tuple of names, got 'batch': write \('batch',\)"),
        (lambda: Method(as_any("begin")), "role must be one of Role.AUTHENTICATE"),
        (lambda: Method(Role.END), "effect of a method with role END must be one of 'cleared', 'cancelled', got None"),
        (lambda: Method(Role.FREE, rows=("rows",)), "rows and done are for methods that fetch or execute"),
        (lambda: StatusRule(Fault.GONE, ("FAILED_PRECONDITON",)), "code 'FAILED_PRECONDITON' is no gRPC status"),
        (lambda: StatusRule(Fault.GONE, as_any("UNAVAILABLE")), "codes must be a tuple of status names"),
        (lambda: StatusRule(Fault.GONE, form="<id>"), "must have text beside its placeholders"),
        (lambda: Protocol("x", methods=as_any({"Run": Role.BEGIN})), r"methods\['Run'\] must be a Method"),
        (lambda: Protocol("x", methods={"Login": Method(Role.AUTHENTICATE)}), "no method has role BEGIN"),
        (lambda: Protocol("x", methods={"/x.Y/Run": Method(Role.BEGIN)}), "bare names, got '/x.Y/Run': write 'Run'"),
        (lambda: attrs.evolve(TOY, strategy_key="X-Stack"), "strategy_key must be lower case .* got 'X-Stack'"),
        (lambda: attrs.evolve(TOY, proof_keys=("Authorization",)), "proof_keys must be lower case"),
        (lambda: attrs.evolve(TOY, proof_keys=as_any("authorization")), "proof_keys must be a tuple of names"),
        (lambda: attrs.evolve(TOY, session=""), "session must be a name, got ''"),
        (lambda: attrs.evolve(TOY, statuses=as_any("456")), "statuses must be a tuple of StatusRule"),
        (lambda: attrs.evolve(TOY, probe=Probe("run", Message)), "probe must be a request without effect"),
    ],
)  # fmt: skip
def test_mistake_in_a_description_is_a_finding(wrong: Callable[[], object], finding: str) -> None:
    with pytest.raises(ProtocolError, match=finding):
        wrong()


def test_findings_of_a_protocol_come_all_at_once() -> None:
    methods = as_any({"/x.Y/Login": Method(Role.AUTHENTICATE), "Run": Role.BEGIN})
    with pytest.raises(ProtocolError) as caught:
        Protocol("x", methods=methods, strategy_key="X-Stack", session="", proof_keys=("A",))
    assert len(caught.value.findings) == 6
    assert all(finding.startswith("x: ") for finding in caught.value.findings)


def test_fields_that_messages_do_not_have_are_findings_when_the_stub_is_made() -> None:
    from e6data_python_connector.server import e6x_engine_pb2 as pb

    protocol = Protocol(
        "x", session="token", query="stmt", statement="sql",
        methods={"login": Method(Role.AUTHENTICATE), "run": Method(Role.BEGIN),
                 "fetch": Method(Role.USE, effect="fetched", rows=("batch",))},
    )  # fmt: skip
    for name, request, response, fields in (
        ("login", pb.AuthenticateRequest, pb.AuthenticateResponse, ["token"]),
        ("run", pb.PrepareStatementRequest, pb.PrepareStatementResponse, ["stmt", "sql"]),
        ("fetch", pb.GetNextResultBatchRequest, pb.GetNextResultBatchResponse, ["stmt", "batch"]),
    ):
        with pytest.raises(ProtocolError) as caught:
            protocol.check_messages(f"/service/{name}", request, response)
        told = caught.value.findings
        assert [f"has no field {field!r}" in one for field, one in zip(fields, told, strict=True)] == [
            True
        ] * len(told)
        protocol.check_messages(f"/service/{name}", object, object)  # no descriptor: nothing can be told
    protocol.check_messages("/service/other", pb.ClearRequest, pb.ClearResponse)
    with pytest.raises(ProtocolError):
        protocol.check_messages("/service/run", pb.PrepareStatementRequest, pb.ClearResponse, stream=True)


def test_begin_executes_if_nothing_else_does() -> None:
    executing = Protocol(
        "x", methods={"run": Method(Role.BEGIN, effect="executed"), "go": Method(Role.USE, effect="executed")}
    )
    assert TOY.kind("run") is Request.EXECUTE
    assert executing.kind("run") is Request.EXECUTE
    assert (
        Protocol("x", methods={"run": Method(Role.BEGIN), "go": Method(Role.USE, effect="executed")}).kind(
            "run"
        )
        is Request.BEGIN
    )
    assert TOY.kind("unheard-of") is Request.CALL


def test_classifier_of_a_protocol_decides_for_requests_that_are_no_sql() -> None:
    protocol = attrs.evolve(TOY, reads=lambda request: request.queryId == "read")
    assert protocol.only_reads(Message(queryId="read"))
    assert not protocol.only_reads(Message(queryId="SELECT 1"))
    assert not TOY.only_reads(Message())  # no field with a statement


def as_any(value: object) -> Any:
    """Return a value of a wrong type as if it were right."""
    return value


def test_classifier_of_a_protocol_knows_its_dialect_and_functions() -> None:
    @attrs.define
    class Begin:
        queryString: str

    statement = Begin("SELECT my_hash(a)::int FROM t")
    ours = attrs.evolve(TOY, classifier=SqlClassifier("postgres", pure_functions=("my_hash",)))
    assert ours.only_reads(statement)
    assert not TOY.only_reads(statement)
