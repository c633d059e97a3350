"""What is refused to one user of a scope moves no other user (invariant I13), over the real connector and the wire.

Twelve kinds of refusal of one user, on one stack or on both, while another user is busy, idles for seconds, or has one
long query. Nobody waits: pauses advance the clock of the manager.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import grpc
import pytest
from e6data_python_connector.exceptions import OperationalError

from bluegreen.errors import BluegreenError
from bluegreen.runtime import registry
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Strategy
from bluegreen.verify.hypothesis.profiles import chosen
from support.clock import FakeClock
from support.engine import quick
from support.forgetting import nothing_known
from support.programmable import BATCH, DENIED, Answer, Fault, Plan, ProgrammableServer, Record, World
from support.proving import RAISED
from support.telling import tell
from support.ways import WAYS, AnyConnection, Way, causes, manager_of, over

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
if chosen().name != "dev":
    pytestmark.append(pytest.mark.slow)

GOOD, BAD = "good@example.com", "bad@example.com"
FOR_GOOD = 10**9
QUERY = "SELECT 1"
TOTAL = {"dev": 300, "ci": 10_000, "nightly": 50_000}
"""Queries of the good user in all tests of a kind of refusal together."""


@attrs.frozen
class Refusal:
    """How one user is refused.

    Args:
        role: the request that is refused.
        answer: what it is answered.
        other_serves: whether the other stack serves him, if that accepts him; none: it may.
        rotated: his password is changed after he was served; his sessions end.
        way: the way in that he uses; none: the same as the good user.
    """

    role: str
    answer: Answer | str
    other_serves: bool | None = True
    rotated: bool = False
    way: str | None = None


REFUSALS = {
    "login: access denied": Refusal("login", DENIED),
    "login: unauthenticated": Refusal("login", Answer("UNAUTHENTICATED", "unknown user")),
    "login: permission": Refusal("login", Answer("PERMISSION_DENIED", "not in the group of analysts")),
    "login: limit": Refusal("login", Answer("RESOURCE_EXHAUSTED", "too many sessions of this user")),
    "login: argument": Refusal("login", Answer("INVALID_ARGUMENT", "no such user")),
    "login: empty session": Refusal("login", "empty"),
    "begin: access denied for good": Refusal("prepare", DENIED),
    "begin: permission": Refusal("prepare", Answer("INTERNAL", "Access denied: no SELECT on t"), False),
    "begin: wrong statement": Refusal(
        "prepare", Answer("INVALID_ARGUMENT", "line 1:8: mismatched input 'status: 456'"), False
    ),
    "begin: limit": Refusal("prepare", Answer("RESOURCE_EXHAUSTED", "too many queries of this user"), None),
    "begin: expired token": Refusal(
        "prepare", Answer("UNAUTHENTICATED", "the token has expired"), None, way="oauth"
    ),
    "password rotated": Refusal("login", DENIED, rotated=True),
}
"""The kinds of refusal."""

STACKS = {"on one stack": ("blue",), "on both": ("blue", "green")}


@pytest.fixture(scope="module")
def server() -> Iterator[ProgrammableServer]:
    with ProgrammableServer() as programmable:
        yield programmable
    if _COUNTS:
        tell(
            f"two users: {sum(_COUNTS.values())} queries beside {len(_COUNTS)} kinds of refusal of another user"
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    """The clock of every manager; a pause lets it go on, and is over at once."""
    fake = FakeClock()
    sleep, aio_sleep = time.sleep, asyncio.sleep

    def paused(seconds: float) -> None:
        fake.advance(max(seconds, 0))
        sleep(0)

    async def aio_paused(delay: float, result: Any = None) -> Any:
        fake.advance(max(delay, 0))
        return await aio_sleep(0, result)

    monkeypatch.setattr(registry, "StrategyManager", partial(StrategyManager, clock=fake))
    monkeypatch.setattr(time, "sleep", paused)
    monkeypatch.setattr(asyncio, "sleep", aio_paused)
    with nothing_known():
        yield fake


@attrs.define(eq=False)
class User:
    """A user, and the connection that he has."""

    name: str
    way: Way
    server: ProgrammableServer
    connection: AnyConnection = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = self.opened()

    def opened(self) -> AnyConnection:
        """Open a connection in his name; the token of a way with tokens is his name."""
        own: dict[str, Any] = (
            {"access_token": self.name} if self.way.name == "oauth" else {"username": self.name}
        )
        return self.way.open(self.server, quick(detection_timeout_s=30.0), **own)  # type: ignore[arg-type]

    def query(self, connection: AnyConnection | None = None) -> str:
        """Run a query to its end; return the stack that served it."""
        cursor = (connection or self.connection).cursor()
        cursor.execute(QUERY)
        stacks = {row[2] for row in cursor.fetchall()}
        cursor.clear()
        (stack,) = stacks
        return str(stack)

    def tries(self) -> str | BaseException:
        """Run a query; return the stack that served it, or the error."""
        try:
            return self.query()
        except RAISED as error:
            return error

    def tries_anew(self) -> str | BaseException:
        """The same with a new connection."""
        self.connection.close()
        try:
            self.connection = self.opened()
        except RAISED as error:  # asyncio logs in when it connects
            return error
        return self.tries()


@contextmanager
def two_users(
    server: ProgrammableServer, way: Way, bad_way: Way
) -> Iterator[tuple[World, User, User, StrategyManager]]:
    """A world in which the good user has been served by blue once, and the bad one has connected."""
    world = server.begin(Plan())
    good, bad = User(GOOD, way, server), User(BAD, bad_way, server)
    try:
        assert good.query() == "blue"
        yield world, good, bad, manager_of(server)  # type: ignore[arg-type]
    finally:
        good.connection.close()
        bad.connection.close()


def undisturbed(world: World, since: int, queries: int) -> list[Record]:
    """Assert that the good user's requests are those of so many undisturbed queries and nothing else."""
    mine = [record for record in world.records[since:] if record.user == GOOD]
    assert all(record.ok for record in mine), mine
    assert {record.stack for record in mine} <= {"blue"}, mine
    roles = [record.role for record in mine]
    assert roles.count("login") == 0, "he was logged in again"
    for role in ("prepare", "execute", "clear"):
        assert roles.count(role) == queries, f"{role}: {roles.count(role)} requests for {queries} queries"
    return mine


def busy(good: User, bad: User, _: FakeClock, queries: int) -> tuple[int, list[str | BaseException]]:
    """He runs one query after the other, while the bad user tries in between, with old and new connections."""
    outcomes: list[str | BaseException] = []
    for number in range(queries):
        if number % 3 == 0 and number < 60:
            outcomes.append(bad.tries() if number % 2 else bad.tries_anew())
        assert good.query() == "blue"
    return queries, outcomes


def idle(good: User, bad: User, clock: FakeClock, queries: int) -> tuple[int, list[str | BaseException]]:
    """He runs a query now and then, with seconds and minutes in between, in which the bad user tries."""
    outcomes: list[str | BaseException] = []
    for number in range(queries):
        if number < 40:
            for pause_s in (0.5, 5.0, 60.0):
                outcomes.append(bad.tries() if number % 2 else bad.tries_anew())
                clock.advance(pause_s)
        assert good.query() == "blue"
    return queries, outcomes


def one_long_query(
    good: User, bad: User, clock: FakeClock, queries: int
) -> tuple[int, list[str | BaseException]]:
    """He has one query that runs all the time, and then goes on."""
    outcomes: list[str | BaseException] = []
    cursor = good.connection.cursor()
    cursor.execute(QUERY)
    first = cursor.fetchmany(BATCH)  # the connector's `fetchall` forgets the rest of a batch
    for number in range(6):
        outcomes.append(bad.tries() if number % 2 else bad.tries_anew())
        clock.advance(5.0)
    rest = cursor.fetchall()
    cursor.clear()
    assert [row[0] for row in (*first, *rest)] == [0, 1, 2]
    assert {row[2] for row in (*first, *rest)} == {"blue"}
    for _ in range(queries - 1):
        assert good.query() == "blue"
    return queries, outcomes


Habit = Callable[[User, User, FakeClock, int], tuple[int, list[str | BaseException]]]
HABITS: dict[str, Habit] = {"busy": busy, "idle": idle, "one long query": one_long_query}
_COUNTS: dict[str, int] = {}


def own_answer(refusal: Refusal, outcome: str | BaseException) -> bool:
    """Whether an outcome is what the server answered, with status and text."""
    if isinstance(outcome, (str, BluegreenError)):
        return False
    if isinstance(refusal.answer, str):  # an empty session: the connector's own error says so
        return isinstance(outcome, (ValueError, OperationalError))
    for cause in causes(outcome):
        if isinstance(cause, grpc.RpcError):
            told = (cause.code().name, cause.details())  # type: ignore[attr-defined]
            return told == (refusal.answer.code, refusal.answer.text)
    return False


@over("sync", "aio")
@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("stacks", STACKS)
@pytest.mark.parametrize("kind", REFUSALS)
def test_refusal_of_one_user_disturbs_no_other_user(
    server: ProgrammableServer, clock: FakeClock, kind: str, stacks: str, habit: str, way: Way
) -> None:
    """No change of strategy, and no request of the good user that is refused, repeated or a login."""
    refusal = REFUSALS[kind]
    share = -(-TOTAL[chosen().name] // (len(REFUSALS) * len(STACKS) * len(HABITS) * 2))
    with two_users(server, way, WAYS[refusal.way] if refusal.way else way) as (world, good, bad, manager):
        if refusal.rotated or refusal.role == "prepare":
            assert bad.query() == "blue"
        version, since = manager.state_version, len(world.records)
        refused = [
            Fault(refusal.role, refusal.answer, count=FOR_GOOD, stack=stack, user=BAD)
            for stack in STACKS[stacks]
        ]
        world.arm(*refused)
        if refusal.rotated:
            world.expire(BAD)
        queries, outcomes = HABITS[habit](good, bad, clock, share)
        assert (manager.state, manager.active, manager.pending) == ("Stable", Strategy.BLUE, None)
        assert manager.state_version == version
        undisturbed(world, since, queries)
    _COUNTS[kind] = _COUNTS.get(kind, 0) + queries
    if stacks == "on both" or refusal.other_serves is False:
        wrong = [one for one in outcomes if not own_answer(refusal, one)]
    elif refusal.other_serves:
        wrong = [one for one in outcomes if one != "green"]
    else:
        wrong = [one for one in outcomes if one != "green" and not own_answer(refusal, one)]
    assert not wrong, f"the bad user got {wrong[0]!r}, {len(wrong)} of {len(outcomes)} times"


def test_kinds_of_refusal_are_twelve() -> None:
    assert len(REFUSALS) == 12
    assert {refusal.role for refusal in REFUSALS.values()} == {"login", "prepare"}


@over("sync", "aio", "oauth", "channel")
@pytest.mark.parametrize("served_before", [True, False], ids=["served before", "never served"])
@pytest.mark.parametrize("connections", [1, 3])
def test_stack_that_denies_all_queries_is_left(
    server: ProgrammableServer, clock: FakeClock, connections: int, served_before: bool, way: Way
) -> None:
    """It accepts every login and denies every begin: everybody ends up on the other stack, and the scope with them."""
    world = server.begin(Plan())
    users = [User(f"user{number}@example.com", way, server) for number in range(connections)]
    try:
        if served_before:
            assert [user.query() for user in users] == ["blue"] * connections
        world.arm(Fault("prepare", DENIED, count=FOR_GOOD, stack="blue"))
        outcomes: list[str | BaseException] = []
        for _ in range(10):
            outcomes += [user.tries() for user in users]
            clock.advance(1.0)
        manager = manager_of(server)  # type: ignore[arg-type]
        assert (manager.state, manager.active) == ("Stable", Strategy.GREEN), outcomes
        assert outcomes[-connections:] == ["green"] * connections, outcomes[-connections:]
        told = [one for one in outcomes if not isinstance(one, str)]
        assert all(own_answer(REFUSALS["begin: access denied for good"], one) for one in told), told
        # The stack that is left is not asked again and again.
        late = [record for record in world.records[-3 * connections :] if record.stack == "blue"]
        assert not late, late
    finally:
        for user in users:
            user.connection.close()
