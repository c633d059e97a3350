"""The description of a wire protocol: what a status means, what is put into a message, what only reads."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from bluegreen.vocabulary import Strategy
from bluegreen_adapters.protocol import Fault, Method, Protocol, Role, StatusRule, only_reads, read, rewritten

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
    from bluegreen_adapters.commands import Send
    from bluegreen_adapters.queries import Rpc

    secret: Any = {"password": "s3cret"}
    for value in (
        Send("login", secret, (("authorization", "s3cret"),), options={"credentials": "s3cret"}),
        Rpc("login", Method(Role.FREE), secret, (("authorization", "s3cret"),), options={"c": "s3cret"}),
    ):
        assert "s3cret" not in repr(value)
