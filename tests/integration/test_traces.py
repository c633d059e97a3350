"""What happens to a query of the real connector is in the application's own trace, and nothing that is secret."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from bluegreen.config.settings import Settings
from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.observe.tracing.traces import Traces
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import fresh
from support.managing import SCOPE, Cluster

pytestmark = pytest.mark.integration

SECRET, TEXT = "s3cret-password", "very_private_table"
READ = f"SELECT * FROM {TEXT} /*+ rows(4) batch(2) */"
WRITE = f"INSERT INTO {TEXT} VALUES (1)"


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with EngineProcess(user="me@example.com", password=SECRET) as started:
        yield started


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("application")


@pytest.fixture
def connection(engine: EngineProcess, tracer: Tracer, exporter: InMemorySpanExporter) -> Iterator[Any]:
    fresh(engine)
    forget(Scope(engine.address))
    stop = Traces(tracer).follow_all()
    opened = e6data.connect(
        host=engine.host, port=engine.port, username="me@example.com", password=SECRET, database="sales"
    )
    yield opened
    opened.close()
    stop()
    said = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert SECRET not in said
    assert TEXT not in said


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def events_of(span: ReadableSpan) -> list[str]:
    return [one.name for one in span.events]


def test_the_detection_of_a_first_query_is_a_span_within_its_own(
    connection: Any, tracer: Tracer, exporter: InMemorySpanExporter, engine: EngineProcess
) -> None:
    with tracer.start_as_current_span("report"):
        connection.cursor().execute(READ)
    (report,), (detection,) = named(exporter, "report"), named(exporter, "bluegreen detection")
    assert events_of(report) == ["bluegreen.cache_missed"]
    assert detection.parent is not None
    assert detection.parent.span_id == report.context.span_id
    assert report.start_time <= detection.start_time < detection.end_time <= report.end_time  # type: ignore[operator]
    assert detection.attributes is not None
    assert {**detection.attributes} == {
        "bluegreen.scope": engine.address,
        "bluegreen.strategy": "blue",
        "bluegreen.tried": ("blue",),
        "bluegreen.followed": False,
        "bluegreen.state_version": 1,
        "bluegreen.row": "Detecting.auth_success[fresh]",
    }


def test_a_switch_is_a_span_from_its_announcement_to_its_commit(
    connection: Any, tracer: Tracer, exporter: InMemorySpanExporter, engine: EngineProcess
) -> None:
    cursor = connection.cursor()
    cursor.execute(READ)
    engine.phase("announce", target="green")
    with tracer.start_as_current_span("announced"):
        assert len(cursor.fetchall()) == 4
    assert not named(exporter, "bluegreen switch")
    with tracer.start_as_current_span("committed"):
        cursor.clear()
    (switch,), (announced,) = named(exporter, "bluegreen switch"), named(exporter, "announced")
    (committed,) = named(exporter, "committed")
    assert switch.parent is None
    assert [link.context.span_id for link in switch.links] == [announced.context.span_id]
    assert announced.start_time <= switch.start_time <= announced.end_time  # type: ignore[operator]
    assert committed.start_time <= switch.end_time <= committed.end_time  # type: ignore[operator]
    assert switch.attributes is not None
    assert switch.attributes["bluegreen.committed"] is True
    shown = [
        switch.attributes[f"bluegreen.{name}"] for name in ("scope", "previous", "strategy", "state_version")
    ]
    assert shown == [engine.address, "blue", "green", 3]
    assert switch.attributes["bluegreen.row"]


def test_a_replay_a_456_and_a_loss_are_events_of_the_span_of_their_query(
    connection: Any, tracer: Tracer, exporter: InMemorySpanExporter, engine: EngineProcess
) -> None:
    reading, writing = connection.cursor(), connection.cursor()
    reading.execute(READ)
    writing.execute(WRITE)
    engine.switch("abrupt", grace_s=0.0)
    with tracer.start_as_current_span("reading"):
        assert len(reading.fetchall()) == 4
    with tracer.start_as_current_span("writing"), pytest.raises(QueryLost):
        writing.fetchall()
    (first,), (second,) = named(exporter, "reading"), named(exporter, "writing")
    assert events_of(first) == [
        "bluegreen.request_failed", "bluegreen.query_replayed", "bluegreen.cache_missed",
    ]  # fmt: skip
    failed = first.events[0].attributes
    assert failed is not None
    assert (failed["bluegreen.fault"], failed["bluegreen.strategy"]) == ("wrong strategy", "blue")
    assert events_of(second)[:2] == ["bluegreen.request_failed", "bluegreen.query_lost"]


def test_a_request_that_is_sent_again_is_an_event(
    connection: Any, tracer: Tracer, exporter: InMemorySpanExporter, engine: EngineProcess
) -> None:
    connection.cursor().execute(READ)
    engine.fault(action="status", method="prepareStatement", count=2)
    with tracer.start_as_current_span("again"):
        connection.cursor().execute(READ)
    (again,) = named(exporter, "again")
    attempts = [
        (one.attributes or {})["bluegreen.attempt"]
        for one in again.events
        if one.name == "bluegreen.request_retried"
    ]
    assert attempts == [1, 2]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the connector's asyncio needs Python 3.11")
async def test_in_asyncio_what_happens_is_in_the_span_of_the_task_that_awaits(
    tracer: Tracer, exporter: InMemorySpanExporter, engine: EngineProcess
) -> None:
    fresh(engine)
    forget(Scope(engine.address))
    stop = Traces(tracer).follow_all()
    who = {"username": "me@example.com", "password": SECRET, "database": "sales"}
    connection = await e6data.connect_async(host=engine.host, port=engine.port, **who)
    cursor = connection.cursor()
    await cursor.execute(READ)
    engine.switch("abrupt", grace_s=0.0)
    with tracer.start_as_current_span("reading"):
        assert len(await cursor.fetchall()) == 4
    await connection.close()
    stop()
    (reading,) = named(exporter, "reading")
    assert events_of(reading) == [
        "bluegreen.request_failed", "bluegreen.query_replayed", "bluegreen.cache_missed",
    ]  # fmt: skip
    _, detection = named(exporter, "bluegreen detection")
    assert detection.parent is not None
    assert detection.parent.span_id == reading.context.span_id


def test_a_detection_that_finds_nothing_is_an_error(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    manager = StrategyManager(SCOPE, Settings())
    manager.observe(Traces(tracer))
    with pytest.raises(StrategyUnavailable):
        manager.start(Cluster().prove)
    (detection,) = named(exporter, "bluegreen detection")
    assert detection.status.status_code is StatusCode.ERROR
    assert detection.attributes is not None
    assert "bluegreen.strategy" not in detection.attributes


def test_without_a_span_of_the_application_nothing_is_kept(
    connection: Any, exporter: InMemorySpanExporter
) -> None:
    connection.cursor().execute(READ)
    (detection,) = exporter.get_finished_spans()
    assert detection.parent is None
