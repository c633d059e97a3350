"""What the metrics say of the real connector through a switch that is announced, and one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from bluegreen.runtime.registry import forget, managed
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.observe.metrics.collector import Measures
from bluegreen_adapters.observe.metrics.prometheus import PrometheusMeter
from bluegreen_adapters.observe.queue import Delivery
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import fresh

pytestmark = pytest.mark.integration

READ = "SELECT * FROM t /*+ rows(4) batch(2) */"


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess(user="me@example.com", password="secret") as started:
        yield started


@pytest.fixture
def engine(shared_engine: EngineProcess) -> EngineProcess:
    forget(Scope(shared_engine.address))
    return fresh(shared_engine)


@pytest.fixture
def connection(engine: EngineProcess) -> Iterator[Any]:
    who = {"username": "me@example.com", "password": "secret", "database": "sales"}
    opened = e6data.connect(host=engine.host, port=engine.port, **who)
    yield opened
    opened.close()


def read(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(READ)
    assert len(cursor.fetchall()) == 4
    cursor.clear()


def test_a_change_that_was_announced_keeps_nobody_waiting_and_one_that_was_not_as_long_as_its_detection(
    engine: EngineProcess, connection: Any
) -> None:
    registry = CollectorRegistry()
    measures = Measures(PrometheusMeter(registry))
    delivery = Delivery(measures)
    stop = delivery.follow(managed(Scope(engine.address)))
    measures.refresh()
    read(connection)
    for phase in ("announce", "cutover", "retire"):
        engine.phase(phase, target="green")
        read(connection)
    engine.phase("abrupt", target="blue")
    read(connection)
    stop()
    assert delivery.close(30)
    measures.refresh()

    def value(name: str, **labels: str) -> float:
        found = registry.get_sample_value(name, {"scope": engine.address, **labels})
        assert found is not None, name
        return found

    announced, detected = (
        value("bluegreen_transition_seconds_count", how=how) for how in ("announced", "detected")
    )
    assert (announced, detected) == (1, 1)
    waited_s = value("bluegreen_transition_seconds_sum", how="detected")
    detections_s = value("bluegreen_detection_seconds_sum", found="blue")
    assert value("bluegreen_transition_seconds_sum", how="announced") < waited_s
    assert 0 < waited_s <= detections_s
    assert value("bluegreen_requests_total") == engine.statistics().total_requests
    refused = value("bluegreen_request_failures_total", strategy="green", fault="wrong strategy")
    assert refused == engine.statistics().total_refused
    assert value("bluegreen_drain_age_seconds") == 0
    assert value("bluegreen_oldest_ticket_seconds", strategy="blue") == 0
