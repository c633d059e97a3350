"""A connection on a switching channel as a subject of a state machine: what happens to it comes over a wire."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Final

import attrs
import grpc
import grpc.aio
import pytest
from e6data_python_connector.server import e6x_engine_pb2 as pb
from e6data_python_connector.server.e6x_engine_pb2_grpc import QueryEngineServiceStub
from hypothesis import strategies as st

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden, QueryLost, StrategyUnavailable
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    ConnectionOpened,
    DetectionTimedOut,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.sansio import Sleep
from bluegreen.types import Scope, Strategy, Ticket
from bluegreen.verify.exploration.single_table import is_news
from bluegreen.verify.hypothesis.systems_under_test import Did
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.e6data import PROTOCOL
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.testing.engine import EngineProcess
from support.clock import FakeClock
from support.engine import LOGIN
from support.subjects import SETTINGS, WatchedManager, due_s

ARGUMENTS: Final = {"settings": st.sampled_from([attrs.evolve(one, retry_attempts=1) for one in SETTINGS])}
METADATA: Final = (("cluster-name", "c"),)
OPEN_LIMIT: Final = 3
ENDINGS: Final = (QueryCompleted, QueryCancelled, QueryFailed)
SERVES: Final = {
    "new": "serve", "prepared": "serve", "running": "serve", "announces": None, "forgets": False,
}  # fmt: skip
OPENS_SESSIONS: Final = "authenticate"
FREES: Final = PROTOCOL.freeing[0]
DENIED: Final = {"action": "status", "code": "PERMISSION_DENIED", "details": "not you"}
NO_ACCESS: Final = {"action": "status", "code": "INTERNAL", "details": "Access denied"}
BROKEN: Final = {"action": "status", "code": "INVALID_ARGUMENT", "details": "the statement is wrong"}

Ask = Callable[[str, Any], Any]
"""(method, request) -> the answer, or what the application gets instead."""


class Cluster:
    """The test engine behind all connections, which come one after the other.

    Args:
        engine: the server.
    """

    def __init__(self, engine: EngineProcess) -> None:
        self.engine = engine
        self.address = engine.address
        self.statements = itertools.count(1)
        self._conducts: dict[str, Any] = {}
        self._armed = False

    def conducts(self, **changes: Any) -> None:
        """Let both stacks serve and announce nothing, except for these changes; no fault is armed."""
        conducts = {one.value: {**SERVES, **changes.get(one.value, {})} for one in Strategy}
        if conducts != self._conducts:  # each command is a message to another process
            self.engine.phase("announce", target="green", **conducts)
            self._conducts = conducts
        if self._armed:
            self.engine.clear_faults()
            self._armed = False

    def fails(self, fault: dict[str, Any], **where: Any) -> None:
        """Arm a fault."""
        self.conducts()
        self.engine.fault(**fault, **where)
        self._armed = True


@attrs.define
class Held:
    """A query that the application has begun."""

    answer: Any
    writes: bool
    executed: bool = False

    @property
    def id(self) -> Any:
        return self.answer.queryId


class WireConnection:
    """One connection to a test engine. Each event comes about as it does on a wire; nothing is sent to the manager
    but what an operator sends.

    Args:
        cluster: the server.
        open_channel: makes what carries calls from a link.
        settings: the scope's settings.
    """

    def __init__(
        self, cluster: Cluster, open_channel: Callable[[Connection], Ask], settings: Settings
    ) -> None:
        self.cluster = cluster
        cluster.engine.reset_statistics()
        self.clock = FakeClock(0.0)
        self.manager = WatchedManager(Scope(cluster.address), settings, self.clock)
        self.link = Connection(self.manager, PROTOCOL, credentials=self._credentials)
        self._ask = open_channel(self.link)
        self._slow_s = 0.0
        self._held: list[Held] = []
        self._begun = 0
        self._counts: dict[str, dict[str, int]] = {}
        self._ran_on: set[str] = set()  # the strategies of all tickets so far

    @property
    def state(self) -> str:
        return self.manager.state

    @property
    def context(self) -> Context:
        return self.manager.snapshot.context

    def events(self, _: str, context: Context) -> Iterator[Any]:
        """Yield what the wire, the clock and an operator can bring about."""
        version = context.state_version
        for cls in STRATEGY.events:
            if cls in ENDINGS:
                yield from (cls(ticket) for ticket in self._tickets())
            elif is_news(cls):
                yield from (cls(strategy, version) for strategy in Strategy)
            elif cls is not QueryStarted or len(self._held) < OPEN_LIMIT:
                yield cls()

    def send(self, event: Any) -> list[Did]:
        before = self._tickets()
        try:
            with suppress(grpc.RpcError, QueryLost, StrategyUnavailable):
                self._bring(event)
        except EventForbidden:
            assert [one.event for one in self.manager.told()] == [event]
            raise
        self._await_sessions()
        told = self.manager.told()
        self._check_routes({*before, *self.manager.issued})
        self._held = [one for one in self._held if one.id in self.link.queries]
        return told

    def close(self) -> None:
        """Nothing is open when the connection is closed."""
        self.link.close()
        assert self.manager.open_tickets == ()
        assert (self.context.open_blue, self.context.open_green) == (0, 0)

    # What comes about.

    def _credentials(self) -> Any:
        self.clock.advance(self._slow_s)
        return LOGIN, METADATA

    def _bring(self, event: Any) -> None:
        match event:
            case QueryStarted():
                self.cluster.conducts()
                self._begin()
            case QueryCompleted() | QueryCancelled() | QueryFailed():
                self.cluster.conducts()
                self._end(event)
            case StrategyAnnounced():
                self.cluster.conducts(**{one.value: {"announces": event.strategy.value} for one in Strategy})
                self._look(event.strategy.other)
            case Error456() | PersistentFailure() | AuthFailure() | DetectionTimedOut():
                self._refuse(event)
            case ConnectionOpened():
                self.cluster.conducts()
                self._ask(OPENS_SESSIONS, LOGIN)
            case AuthSuccess():
                self.cluster.conducts()
                self._free()
            case _ if (seconds := due_s(self.manager, event)) is not None:
                self.cluster.conducts()
                self.clock.advance(seconds)
                self._free()
            case _:
                self.manager.send(event)

    def _refuse(self, event: Any) -> None:
        match event:
            case Error456() if self._is_held_elsewhere(event.strategy):
                self.cluster.conducts(**{event.strategy.value: {"prepared": "refuse", "running": "refuse"}})
                self._look(event.strategy)
            case PersistentFailure() if self._is_held_elsewhere(event.strategy):
                gone = {"prepared": "unavailable", "running": "unavailable"}
                self.cluster.conducts(**{event.strategy.value: gone})
                self._look(event.strategy)
            case Error456():
                self.cluster.conducts(**self._new_work_at(event.strategy, "refuse"))
                self._free()
            case PersistentFailure():
                self.cluster.conducts(**{event.strategy.value: {"new": "unavailable"}})
                self._free()
            case AuthFailure() if self._is_last(event.strategy):
                self.cluster.conducts(**self._new_work_at(event.strategy, "unavailable"))
                self._free()
            case AuthFailure() if self._has_session(event.strategy):
                self.cluster.fails(NO_ACCESS, method="getSchemaNames", strategy=event.strategy.value)
                self._free()
            case AuthFailure():
                self.cluster.fails(DENIED, method=OPENS_SESSIONS, strategy=event.strategy.value)
                self._free()
            case _:
                self._slow_s = self.manager.settings.detection_timeout_s
                self.cluster.conducts(**{one.value: {"new": "refuse"} for one in Strategy})
                try:
                    self._free()
                finally:
                    self._slow_s = 0.0

    def _is_held_elsewhere(self, strategy: Strategy) -> bool:
        """Whether queries are held on a strategy to which new ones do not go."""
        routes = self.state in ("Stable", "PendingTransition") and strategy is self.context.route
        return not routes and any(one.strategy is strategy for one in self._tickets())

    def _has_session(self, strategy: Strategy) -> bool:
        """Whether new queries go to a strategy in a session that is open, so that it is a query that is denied."""
        routes = self.state == "Stable" and strategy is self.context.route
        return routes and self.link.sessions.on(strategy) is not None

    def _is_last(self, strategy: Strategy) -> bool:
        """Whether a detection asks this strategy after the other one."""
        return self.state == "Detecting" and strategy is not self.context.untried[0]

    def _new_work_at(self, strategy: Strategy, answer: str) -> dict[str, dict[str, str]]:
        """How stacks answer so that this strategy gives this answer: the one that is asked before it, too."""
        asked = Strategy if self._is_last(strategy) else (strategy,)
        return {one.value: {"new": answer} for one in asked}

    def _begin(self) -> None:
        self._begun += 1
        writes, number = self._begun % 2 == 0, next(self.cluster.statements)
        text = f"INSERT INTO t VALUES ({number})" if writes else f"SELECT {number} /*+ rows(2) */"
        request = pb.PrepareStatementRequest(sessionId="s", queryString=text)
        self._held.append(Held(self._ask("prepareStatement", request), writes))

    def _look(self, preferred: Strategy) -> None:
        """An RPC of a query, on this strategy if there is one; of none, if new work can be sent."""

        def rank(one: Held) -> tuple[bool, bool]:
            return self._ticket(one).strategy is not preferred, not (one.writes and one.executed)

        held = sorted(self._held, key=rank)  # first what cannot be begun anew, which would lead a detection
        routes = self.state in ("Stable", "PendingTransition")
        if held and (not routes or self._ticket(held[0]).strategy is preferred):
            self._use("status", pb.StatusRequest, held[0])
        else:
            self._free()

    def _free(self) -> None:
        self._ask("getSchemaNames", pb.GetSchemaNamesRequest(sessionId="s"))

    def _use(self, name: str, kind: Any, query: Held) -> Any:
        return self._ask(name, kind(sessionId="s", queryId=query.id, engineIP="10.9.9.9"))

    def _execute(self, query: Held) -> None:
        self._use("executeStatement", pb.ExecuteStatementRequest, query)
        query.executed = True

    def _end(self, event: Any) -> None:
        query = next(one for one in self._held if self._ticket(one) == event.ticket)
        if isinstance(event, QueryCancelled):
            self._use("cancelQuery", pb.CancelQueryRequest, query)
            return
        if isinstance(event, QueryFailed):
            failing = "getNextResultBatch" if query.executed else "executeStatement"
            self.cluster.fails(BROKEN, method=failing)
        if not query.executed:
            self._execute(query)
            if query.writes:
                return  # it is ended another time: what has written cannot be begun again meanwhile
        while self._use("getNextResultBatch", pb.GetNextResultBatchRequest, query).resultBatch:
            pass
        self._use("clear", pb.ClearRequest, query)

    # What is checked besides.

    def _ticket(self, query: Held) -> Ticket:
        ticket = self.link.bound[query.id].ticket
        assert ticket is not None
        return ticket

    def _tickets(self) -> tuple[Ticket, ...]:
        return tuple(self._ticket(one) for one in self._held)

    def _await_sessions(self) -> None:
        """A session that is opened ahead of time is there, so that a run that is repeated does the same.

        What is freed in the background has been freed, so that it does not reach the server in the next run.
        """
        for opening in self.link.sessions.warming:
            self._wait(opening)
        deadline_s = time.monotonic() + 60
        while self.link._freeing and time.monotonic() < deadline_s:
            self._pass_time()
        assert self.link._freeing == 0

    def _wait(self, opening: Future[Any]) -> None:
        opening.exception(60)

    def _pass_time(self) -> None:
        time.sleep(0.001)

    def _check_routes(self, tickets: set[Ticket]) -> None:
        """I2, I11, by the server's own record: each RPC went where a ticket says, and writes ran once at most."""
        seen = self.cluster.engine.statistics()
        allowed = {ticket.strategy.value for ticket in tickets}
        self._ran_on |= allowed
        for method, counts in seen.requests.items():
            before = self._counts.get(method, {})
            went = {strategy for strategy, count in counts.items() if count > before.get(strategy, 0)}
            if (
                method == FREES
            ):  # in the background too, where some query has run; `misrouted` says which one it is
                assert went <= self._ran_on, (method, went, self._ran_on)
                continue
            # Logins go anywhere.
            assert method == OPENS_SESSIONS or went <= allowed, (method, went, tickets)
        self._counts = seen.requests
        assert seen.misrouted == 0, seen.offences
        assert seen.executed_twice == {}


class AsyncWireConnection(WireConnection):
    """The same, on an event loop that runs while something is asked."""

    def __init__(
        self,
        cluster: Cluster,
        open_channel: Callable[[Connection], Ask],
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._loop = loop
        super().__init__(cluster, open_channel, settings)

    def _wait(self, opening: Future[Any]) -> None:
        async def opened() -> None:
            await asyncio.wait_for(asyncio.wrap_future(opening), 60)

        self._loop.run_until_complete(opened())

    def _pass_time(self) -> None:
        self._loop.run_until_complete(asyncio.sleep(0.001))


@contextmanager
def connections() -> Iterator[Callable[[Settings], WireConnection]]:
    """Yield what makes connections of threads, all on one channel to one engine."""
    with _without_pauses(), EngineProcess() as engine, grpc.insecure_channel(engine.address) as real:

        def open_channel(link: Connection) -> Ask:
            stub: Any = QueryEngineServiceStub(SwitchingChannel(real, link))
            return lambda name, request: getattr(stub, name)(request, metadata=METADATA)

        cluster = Cluster(engine)
        yield lambda settings: WireConnection(cluster, open_channel, settings)


@contextmanager
def async_connections() -> Iterator[Callable[[Settings], WireConnection]]:
    """Yield what makes connections of an event loop, all on one channel to one engine."""
    loop = asyncio.new_event_loop()
    with _without_pauses(), EngineProcess() as engine:
        real: Any = loop.run_until_complete(_opened(engine.address))

        def open_channel(link: Connection) -> Ask:
            stub: Any = QueryEngineServiceStub(AsyncSwitchingChannel(real, link))

            async def asked(name: str, request: Any) -> Any:
                return await getattr(stub, name)(request, metadata=METADATA)

            return lambda name, request: loop.run_until_complete(asked(name, request))

        cluster = Cluster(engine)
        try:
            yield lambda settings: AsyncWireConnection(cluster, open_channel, settings, loop)
        finally:
            loop.run_until_complete(real.close())
            loop.close()


async def _opened(address: str) -> Any:
    return grpc.aio.insecure_channel(address)


@contextmanager
def _without_pauses() -> Iterator[None]:
    """A stack that fails is asked again at once."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (
            "bluegreen_adapters.connection.transport",
            "bluegreen_adapters.connection.session_pool",
        ):
            patched.setattr(f"{module}.pause", lambda delay_s: Sleep(0))
        yield


OPENERS: Final = {"threads": connections, "asyncio": async_connections}


def beyond() -> dict[str, str]:
    """Return the names of the rows that one connection cannot bring about, each with the reason."""
    return {row.name: why for row in STRATEGY.rows for names, why in _BEYOND.items() if row.name in names}


_ENDS: Final = ("query_completed", "query_cancelled", "query_failed")
_BEYOND: Final[dict[tuple[str, ...], str]] = {
    tuple(
        row.name
        for row in STRATEGY.rows
        if row.event in (QueryStarted, AuthFailure, PersistentFailure)
        and ("[alone]" in row.name or ("others served" in row.name and "!others served" not in row.name))
    ): "one connection: nobody else is served, so that it is never alone",
    tuple(
        f"{state.name}.{end}[!ticket open]" for state in STRATEGY.states for end in _ENDS
    ): "a connection ends each of its queries once",
    (
        "Failed.auth_failure",
        "Failed.auth_success",
        "Stable.detection_timed_out",
        "PendingTransition.detection_timed_out",
        "Failed.detection_timed_out",
    ): "a detection that is over by then: somebody else must have ended it",
    (
        "Detecting.strategy_announced[!fresh]",
        "Detecting.auth_success[!fresh]",
        "Detecting.auth_failure[!(fresh & untried)]",
        "PendingTransition.error_456[!fresh & is pending]",
    ): "stale: somebody else must have moved the machine while an answer was on its way",
}
