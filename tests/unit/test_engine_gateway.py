"""The gateway of the test engine routes, obeys the phase, and sees every request that goes astray."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen_adapters.testing.engine.gateway import (
    BAD_TOKEN,
    SILENCE,
    SUSPENDED,
    UNAVAILABLE,
    VANISHED,
    EngineCall,
    Gateway,
    Served,
)
from bluegreen_adapters.testing.engine.handlers import METHODS
from bluegreen_adapters.testing.engine.options import REFUSALS, EngineOptions
from bluegreen_adapters.testing.engine.phases import named
from bluegreen_adapters.testing.engine.stacks import ACCESS_DENIED, Problem

REFUSED = REFUSALS["unknown"]


class Client:
    """Sends requests of one session, as a connector does."""

    def __init__(self, gateway: Gateway, strategy: str = "blue", *, token: str | None = None) -> None:
        self.gateway, self.strategy, self.token = gateway, strategy, token
        self.session = ""
        self.engine_ip = ""

    def send(self, name: str, strategy: str | None = None, **fields: Any) -> Any:
        method = METHODS[name]
        request = SimpleNamespace(sessionId=self.session)
        if method.has_query:
            request.engineIP = self.engine_ip
        request.__dict__.update(fields)
        call = EngineCall(method, request, self.strategy if strategy is None else strategy, self.token)
        self.gateway.arrived(call)
        met = self.gateway.admit(call)
        if isinstance(met, Problem):
            self.gateway.answered(call, met)
        if isinstance(met, Served):
            if name == "authenticate":
                self.session = call.session_id
            return met.fields
        return met

    def authenticate(self, password: str = "secret") -> Any:
        return self.send("authenticate", user="user@example.com", password=password)

    def prepare(self, text: str) -> Any:
        fields = self.send("prepareStatement", queryString=text)
        if isinstance(fields, dict):
            self.engine_ip = fields["engineIP"]
            return fields["queryId"]
        return fields


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(EngineOptions(tokens=("token",)), clock=lambda: 0.0)


@pytest.fixture
def blue(gateway: Gateway) -> Client:
    client = Client(gateway)
    client.authenticate()
    return client


def test_a_wrong_password_opens_no_session(gateway: Gateway) -> None:
    client = Client(gateway)
    assert client.authenticate("guess") == {}
    assert client.session == ""
    assert gateway.statistics().authentications == {}


def test_without_a_session_a_call_is_denied(gateway: Gateway) -> None:
    assert Client(gateway).prepare("SELECT 1") == ACCESS_DENIED


def test_a_token_stands_for_a_session(gateway: Gateway) -> None:
    assert Client(gateway, token="token").prepare("SELECT 1") == "blue-q-1"
    assert Client(gateway, token="forged").prepare("SELECT 1") == BAD_TOKEN


def test_an_expired_session_is_denied_and_its_query_goes_on_in_a_new_one(
    gateway: Gateway, blue: Client
) -> None:
    query = blue.prepare("SELECT 1")
    gateway.stacks["blue"].expire_sessions()
    assert blue.send("executeStatement", queryId=query) == ACCESS_DENIED
    blue.authenticate()
    assert blue.send("executeStatement", queryId=query) == {}


@pytest.mark.parametrize("strategy", ["", "red"])
def test_a_request_without_a_valid_strategy_is_refused_and_misrouted(
    gateway: Gateway, blue: Client, strategy: str
) -> None:
    assert blue.send("getSchemaNames", strategy) == REFUSED
    seen = gateway.statistics()
    assert seen.misrouted == 1
    assert seen.requests["getSchemaNames"] == {"none": 1}
    assert blue.send("healthCheck", strategy) == {}


def test_a_strategy_is_read_in_any_case(gateway: Gateway, blue: Client) -> None:
    assert isinstance(blue.send("getSchemaNames", "BLUE"), dict)
    assert gateway.statistics().misrouted == 0


def test_a_session_of_the_other_stack_is_misrouted(gateway: Gateway, blue: Client) -> None:
    gateway.enter(named("announce", target="green"))
    assert blue.send("getSchemaNames", "green") == ACCESS_DENIED
    (offence,) = gateway.statistics().offences
    assert (offence.method, offence.strategy, offence.session_id) == ("getSchemaNames", "green", blue.session)


def test_a_query_of_the_other_stack_is_misrouted_even_if_refused(gateway: Gateway, blue: Client) -> None:
    query = blue.prepare("SELECT 1")
    green = Client(gateway, "green")
    assert green.send("status", queryId=query) == REFUSED
    assert [offence.reason for offence in gateway.statistics().offences] == ["query of the other stack"]


def test_with_colliding_ids_the_engine_address_tells_a_crossed_query() -> None:
    gateway = Gateway(EngineOptions(colliding_ids=True))
    gateway.enter(named("announce", target="green"))
    blue, green = Client(gateway), Client(gateway, "green")
    for client in (blue, green):
        client.authenticate()
    assert blue.prepare("SELECT 'b'") == green.prepare("SELECT 'g'") == "q-1"
    green.engine_ip = blue.engine_ip
    green.send("status", queryId="q-1")
    assert [offence.reason for offence in gateway.statistics().offences] == [
        "engine address of the other stack"
    ]


def test_new_work_prepared_and_running_queries_are_told_apart(gateway: Gateway, blue: Client) -> None:
    prepared, running = blue.prepare("SELECT 'p'"), blue.prepare("SELECT 'r'")
    blue.send("executeStatement", queryId=running)
    gateway.enter(named("cutover", target="green"))
    assert blue.prepare("SELECT 'n'") == REFUSED
    assert blue.send("getSchemaNames") == REFUSED
    assert blue.authenticate() == REFUSED
    assert blue.send("status", queryId=prepared)["status"] is False
    gateway.enter(named("drain", target="green"))
    assert blue.send("executeStatement", queryId=prepared) == REFUSED
    assert blue.send("status", queryId=running)["status"] is True
    gateway.enter(named("retire", target="green"))
    assert blue.send("status", queryId=running) == REFUSED
    assert gateway.statistics().misrouted == 0


def test_what_is_refused_has_no_effect(gateway: Gateway, blue: Client) -> None:
    query = blue.prepare("INSERT INTO t")
    gateway.enter(named("drain", target="green"))
    blue.send("executeStatement", queryId=query)
    seen = gateway.statistics()
    assert seen.writes_executed == 0
    assert seen.refused == {"executeStatement": {"blue": 1}}
    assert seen.lost_allowed == frozenset()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("unavailable", UNAVAILABLE), ("suspended", SUSPENDED), ("silent", SILENCE), ("refuse", REFUSED)],
)
def test_every_answer_has_its_form(gateway: Gateway, blue: Client, answer: str, expected: object) -> None:
    gateway.enter(gateway.phase.altered({"blue": {"new": answer}}))
    assert blue.send("getSchemaNames") == expected


def test_a_refusal_can_have_the_longer_form() -> None:
    gateway = Gateway(EngineOptions(refusal="invalid_argument"))
    problem = Client(gateway, "green").authenticate()
    assert problem.code == "INVALID_ARGUMENT"
    assert "Status: 456" in problem.details


def test_a_response_carries_what_its_stack_announces(gateway: Gateway) -> None:
    assert (gateway.announcement("blue"), gateway.announcement("green"), gateway.announcement(None)) == (
        "",
    ) * 3
    gateway.enter(named("rollback", target="green"))
    assert (gateway.announcement("blue"), gateway.announcement("green")) == ("", "blue")


def test_a_stack_that_went_away_meanwhile_does_not_answer(gateway: Gateway, blue: Client) -> None:
    query = blue.prepare("INSERT INTO t /*+ sleep_ms(50) */")
    call = EngineCall(
        METHODS["executeStatement"],
        SimpleNamespace(sessionId=blue.session, queryId=query, engineIP=""),
        "blue",
    )
    gateway.arrived(call)
    served = gateway.admit(call)
    assert isinstance(served, Served)
    assert served.after_s == 0.05
    assert gateway.completed(call, served) is None
    gateway.enter(named("abrupt", target="green"))
    assert gateway.completed(call, served) == VANISHED
    assert gateway.statistics().lost_allowed == {"INSERT INTO t /*+ sleep_ms(50) */"}


def test_a_write_whose_execute_had_no_clear_answer_may_be_lost(gateway: Gateway, blue: Client) -> None:
    write, read = blue.prepare("INSERT INTO t"), blue.prepare("SELECT 1")
    gateway.enter(gateway.phase.altered({"blue": {"prepared": "unavailable"}}))
    for query in (write, read):
        assert blue.send("executeStatement", queryId=query) == UNAVAILABLE
    assert gateway.statistics().lost_allowed == {"INSERT INTO t"}


def test_a_read_that_handed_out_rows_may_be_lost_and_one_that_did_not_must_survive(
    gateway: Gateway, blue: Client
) -> None:
    begun, waiting = blue.prepare("SELECT 'begun'"), blue.prepare("SELECT 'waiting'")
    for query in (begun, waiting):
        blue.send("executeStatement", queryId=query)
    blue.send("getNextResultBatch", queryId=begun)
    gateway.enter(named("both_down"))
    for query in (begun, waiting):
        assert blue.send("getNextResultBatch", queryId=query) == REFUSED
    assert gateway.statistics().lost_allowed == {"SELECT 'begun'"}


def test_a_request_that_its_client_gave_up_is_an_error_without_clear_answer(
    gateway: Gateway, blue: Client
) -> None:
    query = blue.prepare("INSERT INTO t")
    call = EngineCall(
        METHODS["executeStatement"],
        SimpleNamespace(sessionId=blue.session, queryId=query, engineIP=""),
        "blue",
    )
    gateway.arrived(call)
    gateway.given_up(call)
    seen = gateway.statistics()
    assert seen.errors == {"executeStatement": {"CANCELLED": 1}}
    assert seen.lost_allowed == {"INSERT INTO t"}


def test_an_unknown_query_is_an_error_and_not_a_refusal(gateway: Gateway, blue: Client) -> None:
    problem = blue.send("status", queryId="blue-q-77")
    assert problem.code == "INTERNAL"
    assert "blue-q-77" in problem.details


def test_leaks_show_as_open_sessions_and_queries(gateway: Gateway, blue: Client) -> None:
    query = blue.prepare("SELECT 1")
    blue.prepare("SELECT 2")
    seen = gateway.statistics()
    assert seen.open_sessions == {"blue": 1, "green": 0}
    assert seen.open_queries == {"blue": 2, "green": 0}
    blue.send("executeStatement", queryId=query)
    assert gateway.running("blue") == 1
    blue.send("clear", queryId=query)
    assert gateway.running("blue") == 0
    assert gateway.statistics().open_queries == {"blue": 1, "green": 0}


def test_v2_hands_out_envelopes_and_says_when_the_stream_ends(blue: Client) -> None:
    query = blue.prepare("SELECT 1 /*+ rows(5) batch(1) */")
    assert blue.send("getNextResultBatchV2", queryId=query).code == "INTERNAL"
    blue.send("executeStatement", queryId=query)
    envelopes = [blue.send("getNextResultBatchV2", queryId=query) for _ in range(4)]
    assert [len(envelope["resultBatches"]) for envelope in envelopes] == [2, 2, 1, 0]
    assert [envelope["endOfStream"] for envelope in envelopes] == [False, False, True, True]


def test_resetting_the_statistics_keeps_the_present_phase_in_the_timeline(gateway: Gateway) -> None:
    gateway.enter(named("announce", target="green"))
    gateway.reset_statistics()
    assert [moment.phase for moment in gateway.statistics().timeline] == ["announce"]
