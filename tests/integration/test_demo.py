"""A short demo, with the real engine, the real connector and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from bluegreen.verify.trace.checker import check_log
from bluegreen_adapters.testing.demo.results import Ledger
from bluegreen_adapters.testing.demo.runner import Progress, run
from bluegreen_adapters.testing.demo.schedule import Planned, Schedule
from bluegreen_adapters.testing.demo.stats import figures
from bluegreen_adapters.testing.demo.worker import Orders
from bluegreen_adapters.testing.demo.worker_process import DemoError, Supervisor
from bluegreen_adapters.testing.engine import EngineProcess

pytestmark = pytest.mark.integration

SHORT = Schedule(
    switches=(Planned(0.3, "announced_abrupt"), Planned(1.2, "graceful"), Planned(2.1, "abrupt")),
    ends_s=3.0,
    least_queries=50,
    most_s=20.0,
)

DEMO = "from bluegreen_adapters.testing.demo import demo; demo()"


def spoken(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DEMO, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.slow
def test_with_bluegreen_three_switches_under_load_lose_nothing_that_must_survive(tmp_path: Path) -> None:
    told: list[Progress] = []
    steps = tmp_path / "steps.jsonl"
    found = figures(run(SHORT, installed=True, threads=4, seed=1, told=told.append, steps=str(steps)))
    with steps.open("rb") as lines:
        checked = check_log(lines)
    assert (checked.exit_code, checked.records > found.queries) == (0, True)
    assert found.samples == {}
    assert (found.failed, found.wrong, found.executed_twice, found.misrouted, found.crashes) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert found.switches == 3
    assert found.queries >= SHORT.least_queries
    assert told[-1].queries == found.queries


@pytest.mark.slow
def test_the_json_goes_to_standard_output_alone_and_counts_both_halves() -> None:
    said = spoken("--json", "--switches", "2", "--threads", "3", "--seed", "5")
    data = json.loads(said.stdout)
    assert data["seed"] == 5
    for half in ("stock", "bluegreen"):
        assert data[half]["switches"] == 2
        assert data[half]["queries"] > 0
    assert data["bluegreen"]["failed"] == 0
    assert "too short for a verdict: 2 of 20 switches" in data["findings"]
    assert said.returncode == 1
    assert "2/2 switches" in said.stderr


@pytest.fixture
def orders(engine: EngineProcess) -> Orders:
    return Orders(
        host=engine.host,
        port=engine.port,
        user=engine.options.user,
        password=engine.options.password,
        installed=True,
        threads=2,
        seed=1,
        ends_s=0.0,
        least_queries=40,
        most_s=30.0,
    )


@pytest.fixture
def engine() -> object:
    with EngineProcess() as started:
        yield started


def once(count: int, act: Callable[[], None]) -> Callable[[Ledger], None]:
    """Act when so many queries have ended."""

    def told(ledger: Ledger) -> None:
        if len(ledger.outcomes) == count:
            act()

    return told


@pytest.mark.slow
def test_a_load_that_dies_is_started_again_and_its_queries_have_failed(orders: Orders) -> None:
    def kill() -> None:
        os.kill(load.pid, signal.SIGKILL)

    with Supervisor(orders, once(10, kill)) as load:
        load.begin(time.monotonic())
        load.finish()
    assert load.crashes == 1
    died = [outcome for outcome in load.ledger.outcomes if outcome.error is not None]
    assert 1 <= len(died) <= orders.threads
    assert {outcome.error for outcome in died} == {f"the process died with exit status {-signal.SIGKILL}"}
    assert len(load.ledger.outcomes) >= orders.least_queries
    texts = [outcome.text for outcome in load.ledger.outcomes]
    assert len(set(texts)) == len(texts)


def test_a_load_that_cannot_start_says_why(orders: Orders) -> None:
    unknown = attrs.evolve(orders, log=os.path.join(os.devnull, "no such directory"))
    with pytest.raises(DemoError, match=r"(?s)the load did not start: exit status 1: .*no such directory"):
        Supervisor(unknown, lambda ledger: None)


@pytest.mark.slow
def test_a_query_that_the_engine_never_answers_does_not_hang_the_demo(
    engine: EngineProcess, orders: Orders
) -> None:
    engine.phase("silent", active="green", target="blue")
    with Supervisor(
        attrs.evolve(orders, installed=False, threads=1, most_s=0.1), lambda ledger: None
    ) as load:
        load.begin(time.monotonic())
        load.finish()
    assert [outcome.error is not None for outcome in load.ledger.outcomes] == [True]
