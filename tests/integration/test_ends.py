"""What ends in the middle - a cursor, a connection, a task, a loop, a process - leaves no ticket, and where it can tell
the engine, no query there; everybody else goes on."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from bluegreen_adapters import e6data
from bluegreen_adapters.testing.engine import EngineProcess
from support.ending import HELD, STATUSES, STOCK, ApplicationError, started
from support.engine import READ, quick, until
from support.ways import CATALOG, ENGINE, PASSWORD, SCHEMA, USER, WAYS, AnyConnection, Cursor, Way, manager_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("nothing_is_known")]

BOUND_S = 120.0
"""Ends what hangs; decides nothing."""

QUERYING = [
    pytest.param(way, id=way.name, marks=pytest.mark.skipif(way.absent is not None, reason=str(way.absent)))
    for way in WAYS.values()
    if "queries" not in way.lacks
]


def begun(connection: AnyConnection) -> Cursor:
    """A cursor in the middle of its result."""
    cursor = connection.cursor()
    cursor.execute(READ)
    assert len(cursor.fetchmany(1)) == 1
    return cursor


def stacks(connection: AnyConnection) -> list[str]:
    cursor = connection.cursor()
    cursor.execute(READ)
    seen = [row[2] for row in cursor.fetchall()]
    cursor.close()
    return seen


def switched(engine: EngineProcess, other: AnyConnection) -> None:
    """The switch that was announced comes to its end: nothing keeps it pending."""
    assert stacks(other) == ["green"] * 4
    manager = manager_of(engine)
    assert (manager.state, manager.active, manager.open_tickets) == ("Stable", "green", ())
    engine.phase("retire", target="green")
    assert stacks(other) == ["green"] * 4
    assert engine.statistics().misrouted == 0


# -- cursors and connections


def close_the_cursor(connections: list[AnyConnection], cursors: list[Cursor]) -> None:
    cursors[0].close()


def close_the_connection(connections: list[AnyConnection], cursors: list[Cursor]) -> None:
    connections.pop().close()


def fail_between_execute_and_fetch(connections: list[AnyConnection], cursors: list[Cursor]) -> None:
    def application() -> None:
        with connections.pop() as connection:
            cursors.append(connection.cursor())
            cursors[0].execute(READ)
            raise ApplicationError

    cursors.pop().close()
    with pytest.raises(ApplicationError):
        application()


@pytest.mark.parametrize("way", QUERYING)
@pytest.mark.parametrize("end", [close_the_cursor, close_the_connection, fail_between_execute_and_fetch])
def test_what_is_closed_in_the_middle_of_a_result_keeps_no_switch_pending(
    way: Way, end: Callable[[list[AnyConnection], list[Cursor]], None], engine: EngineProcess
) -> None:
    with way.open(engine) as other:
        stacks(other)
        connections = [way.open(engine)]
        cursors = [begun(connections[0])]
        engine.phase("announce", target="green")
        stacks(other)  # who hears of it
        end(connections, cursors)
        if end is close_the_cursor:
            assert engine.statistics().open_queries == {"blue": 0, "green": 0}
        switched(engine, other)
        for connection in connections:
            connection.close()


LET_GO = [way for way in WAYS.values() if not way.absent and not {"queries", "let_go"} & set(way.lacks)]


@pytest.mark.parametrize("way", LET_GO, ids=[way.name for way in LET_GO])
def test_a_cursor_that_is_let_go_keeps_no_switch_pending(way: Way, engine: EngineProcess) -> None:
    with way.open(engine) as other, way.open(engine) as connection:
        cursors = [begun(connection)]
        engine.phase("announce", target="green")
        stacks(other)
        cursors.clear()
        gc.collect()
        switched(engine, other)


@pytest.mark.parametrize(
    "way", [WAYS[name] for name in ("sync", "sync-v2", "oauth") if not WAYS[name].absent]
)
def test_a_connection_that_is_let_go_keeps_no_switch_pending(way: Way, engine: EngineProcess) -> None:
    with way.open(engine) as other:
        connections = [way.open(engine)]
        cursors = [begun(connections[0])]
        engine.phase("announce", target="green")
        stacks(other)
        cursors.clear()
        connections.clear()
        gc.collect()
        until(lambda: manager_of(engine).open_tickets == ())
        switched(engine, other)


def test_an_error_of_the_application_ends_its_query_with_the_frames_that_it_holds(
    engine: EngineProcess,
) -> None:
    def application(connection: AnyConnection) -> None:
        cursor = begun(connection)
        raise ApplicationError(cursor)

    with WAYS["sync"].open(engine) as other, WAYS["sync"].open(engine) as connection:
        engine.phase("announce", target="green")
        with pytest.raises(ApplicationError) as caught:
            application(connection)
        assert len(manager_of(engine).open_tickets) == 1
        del caught
        gc.collect()
        switched(engine, other)


# -- processes


def told(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate(timeout=BOUND_S)


def ended(process: subprocess.Popen[str], bound_s: float = BOUND_S) -> tuple[int, str, str]:
    """Let it go on; return its exit status and what it has said."""
    try:
        out, errors = process.communicate("\n", timeout=bound_s)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, out, errors


@functools.cache
def never_ends_by_itself() -> str | None:
    """Say why a process with an open connection with V2 batches cannot end here, whoever opened it.

    The connector ends its decoder with a thread that it starts while the interpreter shuts down. Python 3.12.1
    refuses that, and goes on waiting for the decoder's processes.
    """
    with EngineProcess(**ENGINE) as process:
        child = started("sys.exit", "result", STOCK, process)
        told(child)
        try:
            status, _, errors = ended(child, 10)
        except subprocess.TimeoutExpired:
            return f"the connector alone, without us, does not end either on Python {sys.version.split()[0]}"
    assert status == STATUSES["sys.exit"], errors
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "moment", "way"),
    [
        *((how, moment, "sync") for how in STATUSES for moment in ("result", "rpc")),
        *((how, moment, "aio") for how in ("sys.exit", "SIGKILL") for moment in ("result", "rpc")),
        *((how, "result", way) for how in ("sys.exit", "SIGKILL") for way in ("sync-v2", "oauth", "pool")),
    ],
)
def test_a_process_that_ends_in_the_middle_harms_no_other(
    how: str, moment: str, way: str, engine: EngineProcess
) -> None:
    if (absent := WAYS[way].absent) is not None:
        pytest.skip(absent)
    if (how, way) == ("sys.exit", "sync-v2") and (endless := never_ends_by_itself()) is not None:
        pytest.skip(endless)
    held = engine.fault(action="silent", method="executeStatementV2", statement=HELD)
    with WAYS["sync"].open(engine) as connection, WAYS["sync"].open(engine) as other:
        cursor = begun(connection)
        process = started(how, moment, way, engine)
        told(process)
        if moment == "rpc":
            until(lambda: engine.statistics().faults[held] == 1)
        engine.phase("announce", target="green")
        assert stacks(other) == ["green"] * 4
        status, _, errors = ended(process)
        assert status == STATUSES[how], errors
        assert ("ApplicationError" in errors) == (how == "exception"), errors
        assert "Exception ignored" not in errors
        assert errors.count("Traceback") == (how == "exception"), errors
        engine.phase("cutover", target="green")
        assert [row[2] for row in cursor.fetchmany(4)] == ["blue"] * 3
        cursor.close()
        switched(engine, other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.parametrize("phase", ["announce", "cutover"])
@pytest.mark.parametrize("way", ["sync", "oauth", "pool"])
def test_a_child_that_is_forked_in_a_switch_leaves_its_parents_queries_alone(
    way: str, phase: str, engine: EngineProcess
) -> None:
    process = started("fork", "result", way, engine)
    told(process)
    engine.phase(phase, target="green")
    status, out, errors = ended(process)
    assert status == 0, errors
    said = json.loads(out)
    child = said["child"]
    assert (child["inherited"], child["left"]) == ([], [])
    assert len(child["rows"]) == 8
    assert child["rows"][4:] == ["green"] * 4
    assert len(said["before"]) == 1
    assert said["after"] == said["before"]
    assert said["rest"] == ["blue"] * 3
    assert said["left"] == []
    assert said["new"] == ["green"] * 4
    statistics = engine.statistics()
    assert (statistics.misrouted, statistics.executed_twice) == (0, {})


def test_two_processes_go_through_the_same_switch_each_by_itself(engine: EngineProcess) -> None:
    """What one has heard the other has not: each finds out by its own requests, and drains its own queries."""
    with WAYS["sync"].open(engine) as connection:
        cursor = begun(connection)
        processes = [started("fork", "result", "sync", engine) for _ in range(2)]
        for process in processes:
            told(process)
        engine.phase("cutover", target="green", announces=False)
        for process in processes:
            status, out, errors = ended(process)
            assert status == 0, errors
            assert json.loads(out)["rest"] == ["blue"] * 3
        assert [row[2] for row in cursor.fetchmany(4)] == ["blue"] * 3
        cursor.close()
        switched(engine, connection)
        assert engine.statistics().open_queries == {"blue": 0, "green": 0}


# -- clusters


def test_two_clusters_switch_at_the_same_time_without_hearing_of_each_other(engine: EngineProcess) -> None:
    stop = threading.Event()

    def asking(process: EngineProcess) -> set[str]:
        seen: set[str] = set()
        with WAYS["sync"].open(process) as connection:
            while not stop.is_set():
                answer = stacks(connection)
                assert len(answer) == 4
                seen |= set(answer)
        return seen

    with EngineProcess(**ENGINE, active="green") as another, ThreadPoolExecutor(4) as pool:
        both = (engine, another)
        asked = [pool.submit(asking, process) for process in both]
        try:
            for process in both:
                until(lambda process=process: process.statistics().reads_executed >= 3)  # type: ignore[misc]
            kinds = [
                pool.submit(process.switch, kind)
                for process, kind in zip(both, ("graceful", "silent_drain"), strict=True)
            ]
            assert [kind.result(timeout=BOUND_S) for kind in kinds] == ["green", "blue"]
            for process in both:
                executed = process.statistics().reads_executed
                until(
                    lambda process=process, executed=executed: (
                        process.statistics().reads_executed > executed + 3
                    )
                )  # type: ignore[misc]
        finally:
            stop.set()
        assert [done.result(timeout=BOUND_S) for done in asked] == [{"blue", "green"}] * 2
        assert [manager_of(process).active for process in both] == ["green", "blue"]
        for process in both:
            assert process.statistics().misrouted == 0
            assert manager_of(process).open_tickets == ()


# -- asyncio


needs_aio = pytest.mark.skipif(WAYS["aio"].absent is not None, reason=str(WAYS["aio"].absent))


async def connected(engine: EngineProcess) -> Any:
    from e6data_python_connector import aio

    e6data.install(quick())
    return await aio.connect(
        host=engine.host, port=engine.port, username=USER, password=PASSWORD, catalog=CATALOG, database=SCHEMA
    )


async def stacks_of(connection: Any) -> list[str]:
    cursor = connection.cursor()
    await cursor.execute(READ)
    seen = [row[2] for row in await cursor.fetchall()]
    await cursor.close()
    return seen


async def switched_async(engine: EngineProcess, connection: Any) -> None:
    assert await stacks_of(connection) == ["green"] * 4
    manager = manager_of(engine)
    assert (manager.state, manager.active, manager.open_tickets) == ("Stable", "green", ())
    engine.phase("retire", target="green")
    assert await stacks_of(connection) == ["green"] * 4
    assert engine.statistics().misrouted == 0


async def cancelled(task: asyncio.Task[Any], engine: EngineProcess, fault: int) -> None:
    """Cancel a task as soon as the engine holds its request."""
    await asyncio.to_thread(until, lambda: engine.statistics().faults[fault] == 1)
    engine.phase("announce", target="green")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@needs_aio
@pytest.mark.parametrize("method", ["prepareStatementV2", "executeStatementV2", "getResultMetadata"])
async def test_a_task_that_is_cancelled_while_it_executes_keeps_no_switch_pending(
    method: str, engine: EngineProcess
) -> None:
    fault = engine.fault(action="silent", method=method, count=1)
    connection, other = await connected(engine), await connected(engine)
    cursor = connection.cursor()
    await cancelled(asyncio.create_task(cursor.execute(READ)), engine, fault)
    await stacks_of(other)
    await cursor.close()
    await connection.close()
    await switched_async(engine, other)
    await other.close()


@needs_aio
async def test_a_task_that_is_cancelled_while_it_fetches_leaves_a_query_that_can_be_closed(
    engine: EngineProcess,
) -> None:
    fault = engine.fault(action="silent", method="getNextResultBatch", count=1)
    connection = await connected(engine)
    cursor = connection.cursor()
    await cursor.execute(READ)
    await cancelled(asyncio.create_task(cursor.fetchall()), engine, fault)
    assert len(manager_of(engine).open_tickets) == 1
    await cursor.close()
    assert engine.statistics().open_queries == {"blue": 0, "green": 0}
    await stacks_of(connection)
    await switched_async(engine, connection)
    await connection.close()


@needs_aio
async def test_a_connection_that_is_closed_with_an_open_cursor_frees_its_query(engine: EngineProcess) -> None:
    connection, other = await connected(engine), await connected(engine)
    cursor = connection.cursor()
    await cursor.execute(READ)
    await cursor.fetchone()
    engine.phase("announce", target="green")
    await stacks_of(other)
    await connection.close()
    assert engine.statistics().open_queries == {"blue": 0, "green": 0}
    await switched_async(engine, other)
    await other.close()


@needs_aio
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # that is what an application does here
def test_a_loop_that_ends_with_an_open_connection_leaves_no_ticket(engine: EngineProcess) -> None:
    async def application() -> None:
        connection = await connected(engine)
        cursor = connection.cursor()
        await cursor.execute(READ)
        await cursor.fetchone()
        engine.phase("announce", target="green")
        assert len(manager_of(engine).open_tickets) == 1

    asyncio.run(application())
    gc.collect()
    with WAYS["sync"].open(engine) as other:
        stacks(other)
        switched(engine, other)
