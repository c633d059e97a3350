"""What a manager tells of a real connector through switches: everything that happens, and nothing that is secret."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bluegreen.config.settings import Settings
from bluegreen.errors import QueryLost
from bluegreen.machines.strategy.events import QueryCompleted, QueryStarted
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed
from bluegreen.runtime.telemetry import (
    CacheMissed,
    DetectionEnded,
    LockWaited,
    LossReported,
    QueryBegun,
    QueryReplayed,
    Record,
    RequestFailed,
    RequestRetried,
    SessionOpened,
    TelemetryEvent,
)
from bluegreen.types import Scope, Strategy
from bluegreen_adapters import e6data
from bluegreen_adapters.connection import statement_logging
from bluegreen_adapters.observe.audit.cli import audit as audit_command
from bluegreen_adapters.observe.audit.verifier import verify
from bluegreen_adapters.observe.audit.writer import AuditWriter
from bluegreen_adapters.observe.logging.logs import Logs, to_stream
from bluegreen_adapters.observe.queue import Delivery
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import fresh
from support.managing import BLUE, GREEN, SCOPE, fail, on_blue, query

pytestmark = pytest.mark.integration

SECRET, TEXT = "s3cret-password", "very_private_table"
READ = f"SELECT * FROM {TEXT} /*+ rows(4) batch(2) */"
WRITE = f"INSERT INTO {TEXT} VALUES (1)"


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with EngineProcess(user="me@example.com", password=SECRET) as started:
        yield started


@pytest.fixture
def happened(engine: EngineProcess) -> Iterator[list[TelemetryEvent]]:
    fresh(engine)
    forget(Scope(engine.address))
    found: list[TelemetryEvent] = []
    stop = managed(Scope(engine.address)).observe(found.append)
    yield found
    stop()
    assert SECRET not in repr(found)
    assert TEXT not in repr(found)


@pytest.fixture
def connection(engine: EngineProcess, happened: list[TelemetryEvent]) -> Iterator[Any]:
    opened = e6data.connect(
        host=engine.host, port=engine.port, username="me@example.com", password=SECRET, database="sales"
    )
    yield opened
    opened.close()


def of(happened: list[TelemetryEvent], kind: type[Any]) -> list[Any]:
    return [one for one in happened if isinstance(one, kind)]


def test_each_request_that_a_stack_gets_is_counted(
    connection: Any, engine: EngineProcess, happened: list[TelemetryEvent]
) -> None:
    for phase in ("steady", "announce", "cutover", "retire"):
        engine.phase(phase, **({"active": "blue"} if phase == "steady" else {"target": "green"}))
        cursor = connection.cursor()
        cursor.execute(READ)
        assert len(cursor.fetchall()) == 4
        cursor.clear()
    engine.phase("abrupt", target="blue")
    cursor = connection.cursor()
    cursor.execute(READ)
    cursor.clear()
    assert engine.statistics().total_refused > 0
    assert managed(Scope(engine.address)).requests == engine.statistics().total_requests


def test_a_first_query_is_told_from_its_detection_to_its_end(
    connection: Any, happened: list[TelemetryEvent]
) -> None:
    cursor = connection.cursor()
    cursor.execute(READ)
    assert len(cursor.fetchall()) == 4
    cursor.clear()
    assert [type(one) for one in happened if not isinstance(one, Record)] == [
        CacheMissed, SessionOpened, DetectionEnded,
    ]  # fmt: skip
    (opened,), (detection,) = of(happened, SessionOpened), of(happened, DetectionEnded)
    assert (opened.strategy, opened.ahead, detection.tried, detection.found) == (BLUE, False, (BLUE,), BLUE)
    assert 0 < opened.took_s <= detection.took_s
    started = [one for one in of(happened, Record) if isinstance(one.event, QueryStarted)]
    ended = [one for one in of(happened, Record) if isinstance(one.event, QueryCompleted)]
    assert {one.ticket for one in started} == {one.event.ticket for one in ended}
    sequences = [one.sequence for one in of(happened, Record)]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def test_a_read_that_begins_again_elsewhere_and_a_write_that_is_lost_are_told(
    engine: EngineProcess, connection: Any, happened: list[TelemetryEvent]
) -> None:
    reading, writing = connection.cursor(), connection.cursor()
    reading.execute(READ)
    writing.execute(WRITE)
    engine.switch("abrupt", grace_s=0.0)
    assert len(reading.fetchall()) == 4
    with pytest.raises(QueryLost) as lost:
        writing.fetchall()
    failed = [one for one in of(happened, RequestFailed) if one.fault == "wrong strategy"]
    assert {one.strategy for one in failed} == {Strategy.BLUE}
    replayed, told = of(happened, QueryReplayed), of(happened, LossReported)
    assert [(one.executes, one.ticket.strategy) for one in replayed] == [(True, Strategy.BLUE)]
    assert [(one.query, one.reason) for one in told] == [(lost.value.query, lost.value.reason)]
    _, detection = of(happened, DetectionEnded)
    assert (detection.tried, detection.found, detection.followed) == ((GREEN,), GREEN, False)


def test_a_request_that_is_sent_again_is_told_each_time(
    engine: EngineProcess, connection: Any, happened: list[TelemetryEvent]
) -> None:
    connection.cursor().execute(READ)
    engine.fault(action="status", method="prepareStatement", count=2)
    connection.cursor().execute(READ)
    again = of(happened, RequestRetried)
    assert [(one.method, one.attempt) for one in again] == [("prepareStatement", 1), ("prepareStatement", 2)]
    assert all(one.delay_s > 0 for one in again)


@pytest.fixture
def named() -> Iterator[None]:
    yield
    statement_logging.tell("nothing")


@pytest.mark.usefixtures("named")
def test_which_query_runs_what_is_told_to_who_asks_as_a_digest(
    connection: Any, happened: list[TelemetryEvent]
) -> None:
    statement_logging.tell()
    cursor = connection.cursor()
    query_id = cursor.execute(READ)
    connection.get_schema_names("hive")  # a query of one request, which has no id
    (begun,) = of(happened, QueryBegun)
    digest = hashlib.sha256(READ.encode()).hexdigest()
    assert (begun.query, begun.statement) == (query_id, f"sha256:{digest}")
    assert begun.ticket in {one.ticket for one in of(happened, Record)}
    statement_logging.tell("nothing")
    connection.cursor().execute(READ)
    assert of(happened, QueryBegun) == [begun]


@pytest.mark.usefixtures("named")
def test_who_asks_for_the_text_gets_it_on_one_line_of_the_log_and_of_the_audit(
    connection: Any, engine: EngineProcess, tmp_path: Path
) -> None:
    statement = "SELECT 'two\nlines'  /*+ rows(4) batch(2) */"
    manager, lines = managed(Scope(engine.address)), io.StringIO()
    manager.reconfigure(logging_level="DEBUG")
    audit = AuditWriter(tmp_path)
    delivery = Delivery(Logs(to_stream(lines)), audit)
    stop = delivery.follow(manager)
    statement_logging.tell("text")
    query_id = connection.cursor().execute(statement)
    stop()
    assert delivery.close(60)
    audit.close()
    (line,) = [one for one in map(json.loads, lines.getvalue().splitlines()) if one["event"] == "query_begun"]
    assert (line["level"], line["query_id"], line["statement"]) == ("DEBUG", query_id, statement)
    said = CliRunner().invoke(audit_command, ["show", str(tmp_path), "--query", query_id, "--json"])
    (noted,) = map(json.loads, said.output.splitlines())
    assert (noted["audit"], noted["query"], noted["statement"]) == ("query_begun", line["query"], statement)
    assert verify(tmp_path).ok


def test_who_waits_for_the_lock_is_told_how_long() -> None:
    looked = threading.Semaphore(0)

    def clock() -> float:
        looked.release()
        return time.monotonic()

    manager = on_blue(StrategyManager(SCOPE, Settings(), clock=clock))
    happened: list[TelemetryEvent] = []
    manager.observe(happened.append)
    while looked.acquire(blocking=False):
        pass
    thread = threading.Thread(target=query, args=(manager,))
    with manager._lock:
        thread.start()
        # It looks at the clock for what is due, and again when it finds the lock taken.
        assert all(looked.acquire(timeout=60) for _ in range(2))
    thread.join(60)
    assert [one.waited_s > 0 for one in of(happened, LockWaited)] == [True]
    assert manager.open_tickets[0].strategy is BLUE


def test_a_witness_that_raises_harms_neither_the_query_nor_the_other_witnesses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = on_blue(StrategyManager(SCOPE, Settings()))
    happened: list[TelemetryEvent] = []

    def broken(_: TelemetryEvent) -> None:
        raise ZeroDivisionError

    undo = manager.observe(broken)
    manager.observe(happened.append)
    query(manager)
    undo()
    query(manager)
    assert len(of(happened, Record)) == 2
    assert caplog.text.count("an observer raised") == 1


def test_a_detection_that_finds_nothing_is_told_with_what_each_answered() -> None:
    manager = StrategyManager(SCOPE, Settings())
    happened: list[TelemetryEvent] = []
    manager.observe(happened.append)
    fail(manager)
    (detection,) = of(happened, DetectionEnded)
    assert (detection.found, detection.tried, set(detection.failures)) == (
        None,
        (BLUE, GREEN),
        {"blue", "green"},
    )
