"""Queries that the application lets go are freed on their own stack, and ids of queries are known in the whole scope.

A server in this process counts which queries each stack still holds. Nothing waits for time to pass, only for what
another thread brings about.
"""

from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import attrs
import pytest
from e6data_python_connector.server import e6x_engine_pb2 as pb

from support.engine import quick, until
from support.forgetting import nothing_known
from support.programmable import BATCH, ENDS, ROLES, Answer, Fault, Plan, ProgrammableServer, World
from support.proving import RAISED
from support.ways import WAYS, AnyConnection, Way, decoders_kept, over

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

QUERY = "SELECT 1"
FIRST = "SELECT 0"
EXECUTES = 500
LEFT = 2
"""How many queries that were let go a stack may hold: one that is being freed, and one that is about to be."""

REUSING = tuple(name for name, way in WAYS.items() if not {"queries", "reuse"} & way.lacks.keys())
"""Ways with a cursor that executes again before its query is cleared."""

LETTING_GO = tuple(name for name in REUSING if "let_go" not in WAYS[name].lacks and name != "sqlalchemy")
"""Ways in which a cursor that nobody refers to is noticed. A result of SQLAlchemy's is closed by its own finalizer."""


@pytest.fixture(scope="module")
def decoders() -> Iterator[None]:
    with decoders_kept():
        yield


@pytest.fixture
def server(decoders: None) -> Iterator[ProgrammableServer]:
    with ProgrammableServer(threads=16) as programmable, nothing_known():
        yield programmable


def opened(way: Way, server: ProgrammableServer) -> AnyConnection:
    return way.open(server, quick(detection_timeout_s=30.0))  # type: ignore[arg-type]


def used(way: Way, server: ProgrammableServer) -> AnyConnection:
    """Open a connection, and run one query to its end: an interceptor learns from a call that passes how to send it."""
    connection = opened(way, server)
    cursor = connection.cursor()
    cursor.execute(FIRST)
    cursor.clear()
    return connection


def ended(world: World) -> list[str]:
    """Return the ids of the queries that some stack was asked to end, with the stack in front."""
    return [f"{record.stack} {record.query}" for record in world.records if record.role in ENDS]


def failed_ends(world: World) -> int:
    """Return how often a stack was asked in vain to end a query."""
    return sum(record.role in ENDS and not record.ok for record in world.records)


def test_every_way_that_can_free_is_tested() -> None:
    """The ways are chosen by what they lack; none of them may get lost by that."""
    channels = {"channel", "channel-aio", "interceptor", "interceptor-aio"}
    assert set(REUSING) == {"sync", "sync-v2", "oauth", "pool", "sqlalchemy", *channels}
    assert set(LETTING_GO) == {"sync", "oauth", *channels}


@over(*REUSING)
def test_reused_cursor_leaves_few_queries_behind(server: ProgrammableServer, way: Way) -> None:
    """500 executes on one cursor that is never closed."""
    world = server.begin(Plan(rows=1))
    with used(way, server) as connection:
        cursor = connection.cursor()
        for _ in range(EXECUTES):
            cursor.execute(QUERY)
        until(lambda: len(world.open()) <= LEFT)
        assert world.executions[QUERY] == EXECUTES
        assert cursor.fetchall()[0][2] == "blue", "the last query still runs"
    assert world.trespasses == []


@over(*REUSING)
def test_query_that_the_transport_failed_to_free_is_freed_later(server: ProgrammableServer, way: Way) -> None:
    world = server.begin(Plan(rows=1))
    with used(way, server) as connection:
        world.arm(*(Fault(role, Answer("UNAVAILABLE"), count=2) for role in ENDS))
        cursor = connection.cursor()

        def freed() -> bool:
            cursor.execute(QUERY)
            return failed_ends(world) == 2 and len(world.open()) <= LEFT

        until(freed)
    assert world.trespasses == []


@over(*LETTING_GO)
def test_stack_that_frees_nothing_is_asked_three_times_for_each_query(
    server: ProgrammableServer, way: Way
) -> None:
    world = server.begin(Plan(rows=1))
    with used(way, server) as connection:
        cursor = connection.cursor()
        cursor.execute(QUERY)
        world.arm(*(Fault(role, Answer("UNAVAILABLE"), count=EXECUTES) for role in ENDS))

        def given_up() -> bool:
            cursor.execute(QUERY)
            return Counter(ended(world)).total() >= 30

        until(given_up)
        assert max(Counter(ended(world)).values()) == 3
    assert world.trespasses == []


@over(*LETTING_GO)
@pytest.mark.parametrize("how", ["dropped", "in a cycle"])
def test_forgotten_cursors_leave_few_queries_behind(server: ProgrammableServer, way: Way, how: str) -> None:
    """Cursors that nobody refers to, freed by counting references or by the garbage collector."""
    world = server.begin(Plan(rows=1))
    with used(way, server) as connection:
        for _ in range(30):
            cursor: Any = connection.cursor()
            cursor.execute(QUERY)
            if how == "in a cycle":
                cursor.itself = [cursor]
        del cursor
        gc.collect()
        last = connection.cursor()
        last.execute(QUERY)
        until(lambda: len(world.open()) <= 1 + LEFT)
        assert last.fetchall()[0][2] == "blue", "a query that is in use is not freed"
    assert world.trespasses == []


@over(*LETTING_GO)
def test_freeing_delays_no_execute(server: ProgrammableServer, way: Way) -> None:
    """The stack does not answer the request that frees a query; the application goes on all the same."""
    world = server.begin(Plan(rows=1))
    released, asked = threading.Event(), threading.Event()

    def hold(method: str, _: object) -> None:
        if ROLES[method] in ENDS:
            asked.set()
            assert released.wait(60)

    try:
        with used(way, server) as connection:
            server.before = hold
            before = ended(world)
            cursor = connection.cursor()
            for _ in range(5):
                cursor.execute(QUERY)
            assert cursor.fetchall()[0][2] == "blue"
            assert not released.is_set()
            assert ended(world) == before, "no stack has answered yet"
            until(asked.is_set)
            released.set()
            cursor.execute(QUERY)
            until(lambda: len(world.open()) <= LEFT)
    finally:
        released.set()
        server.before = None


@over(*LETTING_GO)
@pytest.mark.parametrize("colliding", [False, True], ids=["own ids", "colliding ids"])
def test_query_is_freed_on_its_own_stack(server: ProgrammableServer, way: Way, colliding: bool) -> None:
    """Let go after a switch, it is freed where it runs, and not where the connection is by then."""
    world = server.begin(Plan(rows=1, colliding=colliding))
    with used(way, server) as connection:
        old: Any = connection.cursor()
        old.execute(QUERY)
        (on_blue,) = world.open("blue")
        switch(world)
        until_on_green(connection)
        mine = connection.cursor()
        mine.execute(QUERY)
        del old
        gc.collect()
        until_on_green(connection)
        until(lambda: on_blue.over)
        assert mine.fetchall()[0][2] == "green"
    assert world.trespasses == []


def switch(world: World) -> None:
    """Let blue announce green, and drain."""
    world.plan = attrs.evolve(world.plan, announced_from=0)


def until_on_green(connection: AnyConnection) -> None:
    """Run queries until one runs on green."""

    def runs_there() -> bool:
        cursor = connection.cursor()
        cursor.execute(QUERY)
        (row,) = cursor.fetchmany(1)
        cursor.clear()
        return bool(row[2] == "green")

    until(runs_there)


# Cancelling by id.


def by_connector(connection: AnyConnection, query_id: str, engine: str) -> None:
    connection.raw.query_cancel(engine, query_id)


def by_stub(connection: Any, query_id: str, engine: str) -> None:
    request = pb.CancelQueryRequest(sessionId=connection.session(), queryId=query_id, engineIP=engine)
    connection.send("cancelQuery", request, engine)


CANCELS: dict[str, Callable[[Any, str, str], None]] = {
    "sync": by_connector,
    "oauth": by_connector,
    "channel": by_stub,
    "interceptor": by_stub,
    "channel-aio": by_stub,
    "interceptor-aio": by_stub,
}


@over(*CANCELS)
@pytest.mark.parametrize("whose", ["old", "new"])
@pytest.mark.parametrize("colliding", [False, True], ids=["own ids", "colliding ids"])
def test_cancel_by_id_ends_the_right_query(
    server: ProgrammableServer, way: Way, colliding: bool, whose: str
) -> None:
    """While one query runs on the old stack and one on the new, a third connection cancels one of them by its id."""
    world = server.begin(Plan(rows=2 * BATCH, colliding=colliding))
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(opened(way, server)) for _ in range(3))
        old = first.cursor()
        old.execute(QUERY)
        assert len(old.fetchmany(BATCH)) == BATCH
        switch(world)
        new = second.cursor()
        until(lambda: _runs_on_green(new))
        ids = {"old": str(old.query_id), "new": str(new.query_id)}
        until(lambda: len(world.open()) <= 2 + LEFT)
        on_blue = next(query for query in world.open("blue") if query.handed)
        on_green = next(query for query in world.open("green") if query.handed)
        CANCELS[way.name](third, ids[whose], "engine-blue" if whose == "old" else "engine-green")
        assert (on_blue.over, on_green.over) == (whose == "old", whose == "new")
        rest = (new if whose == "old" else old).fetchmany(BATCH)
        assert len(rest) == BATCH, "the other query goes on"
    assert world.trespasses == []


def _runs_on_green(cursor: Any) -> bool:
    cursor.execute(QUERY)
    rows = cursor.fetchmany(BATCH)
    return bool(rows[0][2] == "green")


@over(*CANCELS)
@pytest.mark.parametrize(
    "query_id", [pytest.param("q-777", id="unknown"), pytest.param("q-1", id="of a query on each stack")]
)
def test_cancel_by_id_is_refused_if_in_doubt(server: ProgrammableServer, way: Way, query_id: str) -> None:
    """While both stacks hold work, an id that says nothing about its stack is sent to none of them."""
    world = server.begin(Plan(rows=2 * BATCH, colliding=True))
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(opened(way, server)) for _ in range(3))
        old = first.cursor()
        old.execute(QUERY)
        old.fetchmany(BATCH)
        switch(world)
        new = second.cursor()
        until(lambda: _runs_on_green(new))
        before = ended(world)
        with pytest.raises(RAISED):
            CANCELS[way.name](third, query_id, "")
        assert [one for one in ended(world)[len(before) :] if one.endswith(query_id)] == []
        assert len(old.fetchmany(BATCH)) == len(new.fetchmany(BATCH)) == BATCH
    assert world.trespasses == []
