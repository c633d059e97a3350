"""Commands to the test engine are carried out, or refused without any change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bluegreen_adapters.testing.engine.__main__ import options_from
from bluegreen_adapters.testing.engine.control import EngineControl
from bluegreen_adapters.testing.engine.gateway import Gateway
from bluegreen_adapters.testing.engine.options import EngineOptions


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(EngineOptions())


def ask(gateway: Gateway, **command: Any) -> dict[str, Any]:
    answer = json.loads(EngineControl(gateway).answer(json.dumps(command)))
    assert isinstance(answer, dict)
    return answer


def test_a_phase_begins_with_its_options_and_changes(gateway: Gateway) -> None:
    answer = ask(gateway, do="phase", name="drain", target="green", announces=False, green={"new": "silent"})
    assert answer["value"]["active"] == "green"
    assert gateway.phase.blue.announces is None
    assert gateway.phase.green.new == "silent"
    assert ask(gateway, do="state")["value"] == answer["value"]


def test_faults_are_armed_and_disarmed(gateway: Gateway) -> None:
    assert ask(gateway, do="fault", action="silent", method=["status"])["value"] == 0
    assert gateway.faults.counts == [0]
    assert ask(gateway, do="clear_faults")["ok"]
    assert gateway.faults.counts == []


def test_sessions_expire_and_questions_are_answered(gateway: Gateway) -> None:
    gateway.stacks["blue"].open_session("u")
    assert ask(gateway, do="expire_sessions", strategy="blue")["value"] == 1
    assert ask(gateway, do="running", strategy="blue")["value"] == 0
    assert ask(gateway, do="executions")["value"] == {}
    assert ask(gateway, do="statistics")["value"]["misrouted"] == 0
    assert ask(gateway, do="reset_statistics")["ok"]


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"do": "dance"}',
        '{"do": "phase", "name": "dusk"}',
        '{"do": "phase", "name": "steady", "speed": 3}',
        '{"do": "phase", "name": "steady", "blue": {"new": "maybe"}}',
        '{"do": "fault", "action": "explode"}',
        '{"do": "running", "strategy": "red"}',
        '{"do": "state", "loud": true}',
    ],
)
def test_a_command_that_makes_no_sense_is_refused_and_changes_nothing(gateway: Gateway, line: str) -> None:
    before = gateway.phase
    answer = json.loads(EngineControl(gateway).answer(line))
    assert answer["ok"] is False
    assert answer["error"]
    assert gateway.phase is before
    assert gateway.faults.counts == []


def test_options_from_the_command_line_are_those_of_the_class() -> None:
    assert options_from([]) == EngineOptions()
    given = [
        "--active",
        "green",
        "--token",
        "a",
        "--token",
        "b",
        "--refusal",
        "invalid_argument",
        "--port",
        "80",
        "--certificate",
        "c.pem",
        "--key",
        "k.pem",
    ]
    options = options_from([*given, "--rotate-sessions", "--max-seconds", "5"])
    assert options == EngineOptions(
        active="green",
        tokens=("a", "b"),
        refusal="invalid_argument",
        port=80,
        certificate="c.pem",
        key="k.pem",
        rotate_sessions=True,
        max_seconds=5,
    )


@pytest.mark.parametrize(
    "fields", [{"active": "red"}, {"refusal": "shout"}, {"port": -1}, {"max_seconds": 0}]
)
def test_an_option_outside_of_its_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        EngineOptions(**fields)


@pytest.mark.parametrize(("given", "missing"), [("certificate", "key"), ("key", "certificate")])
def test_a_certificate_and_its_key_come_together(given: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"{given}='a.pem' without a {missing}; accepted: both or neither"):
        EngineOptions(**{given: "a.pem"})


def test_a_token_that_is_revoked_is_accepted_no_more() -> None:
    gateway = Gateway(EngineOptions(tokens=("a", "b")))
    commands = EngineControl(gateway)
    revoke = '{"do": "revoke_token", "token": "a"}'
    assert [json.loads(commands.answer(revoke))["value"] for _ in range(2)] == [True, False]
    assert gateway.options.tokens == ("a", "b")
