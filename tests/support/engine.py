"""A test engine as it is after its start, and a connection to it as a connector would write one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from e6data_python_connector.server import e6x_engine_pb2 as pb
from e6data_python_connector.server.e6x_engine_pb2_grpc import QueryEngineServiceStub

from bluegreen.config.settings import Settings, relaxed_bounds
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.e6data import PROTOCOL
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.grpc.interceptor import SwitchingInterceptor
from bluegreen_adapters.testing.engine import EngineProcess

LOGIN = pb.AuthenticateRequest(user="user@example.com", password="secret")
WRONG = pb.AuthenticateRequest(user="user@example.com", password="wrong")
READ = "SELECT 1 /*+ rows(4) batch(2) */"
WRITE = "INSERT INTO t VALUES (1)"


def fresh(engine: EngineProcess) -> EngineProcess:
    """Put an engine back to where it was after its start: blue serves, green is gone, nothing is counted."""
    engine.clear_faults()
    engine.phase("retire", target="green")
    engine.phase("steady", active="blue")
    engine.reset_statistics()
    return engine


def quick(**changes: Any) -> Settings:
    """Settings with which nothing has to be waited for long.

    A detection has ten seconds: a login that the machine makes late is no refusal. Where a stack is silent, give less.
    """
    with relaxed_bounds():
        return Settings(**{"detection_timeout_s": 10.0, "failed_cooldown_s": 0.02, **changes})


def managing(engine: EngineProcess, settings: Settings | None = None) -> StrategyManager:
    """A manager of its own for the engine's scope."""
    return StrategyManager(Scope(engine.address), settings or Settings())


def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Poll for what another process or thread brings about. The limit only ends what would hang."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about in time"
        time.sleep(0.002)


def going_to(manager: StrategyManager, stack: str) -> bool:
    """Whether new queries go to this stack, and nothing runs on the other one."""
    return (manager.pending or manager.active) == stack and all(
        ticket.strategy == stack for ticket in manager.open_tickets
    )


TAKEN_BACK = ("rollback", "withdrawn", "double")
"""Kinds of switch that end on the stack where they began."""


def switched(engine: EngineProcess, manager: StrategyManager, kind: str, **options: Any) -> str:
    """Play a switch under load; return the stack on which it ends.

    A phase ends by the clock, so that a busy machine may sleep through it. A switch that is taken back begins only when
    the announced stack has had a request; otherwise nothing would have happened. A stack that was announced before the
    other one vanishes has all queries by then; otherwise some would be lost.
    """
    if kind == "announced_abrupt":
        target = "green" if engine.active == "blue" else "blue"
        engine.phase("announce", target=target)
        until(lambda: going_to(manager, target))
        engine.phase("abrupt", target=target)
        engine.phase("steady", active=target)
        return target
    if kind in TAKEN_BACK:
        announced = "green" if engine.active == "blue" else "blue"
        engine.phase("announce", target=announced)
        until(lambda: any(row.get(announced) for row in engine.statistics().requests.values()))
    return engine.switch(kind, **options)


class Client:
    """One connection on the raw stub: it sends what the answers gave it, and knows no strategies."""

    def __init__(self, channel: Any, link: Connection, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.channel, self.link = channel, link
        self.stub: Any = QueryEngineServiceStub(channel)
        self.metadata = (("cluster-name", "c"), *metadata)
        self.session = ""

    def login(self, request: Any = LOGIN) -> Client:
        self.session = self.stub.authenticate(request, metadata=self.metadata).sessionId
        return self

    def prepare(self, text: str, **options: Any) -> Any:
        request = pb.PrepareStatementRequest(sessionId=self.session, queryString=text)
        return self.stub.prepareStatement(request, metadata=self.metadata, **options)

    def about(self, kind: Any, query: Any) -> Any:
        return kind(sessionId=self.session, queryId=query.queryId, engineIP=query.engineIP)

    def call(self, name: str, kind: Any, query: Any, **options: Any) -> Any:
        metadata = (*self.metadata, ("plannerip", query.engineIP), ("strategy", "blue"))
        return getattr(self.stub, name)(self.about(kind, query), metadata=metadata, **options)

    def execute(self, query: Any, **options: Any) -> Any:
        return self.call("executeStatement", pb.ExecuteStatementRequest, query, **options)

    def describe(self, query: Any) -> Any:
        return self.call("getResultMetadata", pb.GetResultMetadataRequest, query)

    def status(self, query: Any, **options: Any) -> Any:
        return self.call("status", pb.StatusRequest, query, **options)

    def fetch(self, query: Any, **options: Any) -> bytes:
        batch: bytes = self.call(
            "getNextResultBatch", pb.GetNextResultBatchRequest, query, **options
        ).resultBatch
        return batch

    def clear(self, query: Any) -> Any:
        return self.call("clearOrCancelQuery", pb.ClearOrCancelQueryRequest, query)

    def cancel(self, query: Any) -> Any:
        return self.call("cancelQuery", pb.CancelQueryRequest, query)

    def schemas(self, **options: Any) -> list[str]:
        request = pb.GetSchemaNamesRequest(sessionId=self.session)
        return list(self.stub.getSchemaNames(request, metadata=self.metadata, **options).schemas)

    def started(self, text: str) -> Any:
        query = self.prepare(text)
        self.execute(query)
        return query

    def drained(self, query: Any) -> list[bytes]:
        return list(iter(lambda: self.fetch(query), b""))

    def run(self, text: str) -> list[bytes]:
        query = self.started(text)
        self.describe(query)
        batches = self.drained(query)
        self.clear(query)
        return batches


@contextmanager
def by_channel(engine: EngineProcess, manager: StrategyManager) -> Iterator[Client]:
    """A connection on a switching channel."""
    link = Connection(manager, PROTOCOL)
    with SwitchingChannel(grpc.insecure_channel(engine.address), link) as channel:
        yield Client(channel, link)


@contextmanager
def by_interceptor(engine: EngineProcess, manager: StrategyManager) -> Iterator[Client]:
    """A connection on a real channel with a switching interceptor."""
    link = Connection(manager, PROTOCOL)
    with grpc.insecure_channel(engine.address) as channel:
        yield Client(grpc.intercept_channel(channel, SwitchingInterceptor(link)), link)
    link.close()
