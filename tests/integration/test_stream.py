"""Streams of answers, through the channel and the interceptor, against a small server with two stacks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import attrs
import grpc
import pytest

from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.machines.strategy.events import AuthSuccess, CacheInvalidated, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.protocol import Method, Protocol, Role
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.grpc.interceptor import SwitchingInterceptor
from support.engine import quick

PROTOCOL = Protocol(
    "toy",
    methods={
        "begin": Method(Role.BEGIN, repeatable=True),
        "execute": Method(Role.USE, effect="executed"),
        "rows": Method(Role.USE, effect="fetched", rows=("rows",), done="done"),
        "names": Method(Role.FREE, repeatable=True),
        "end": Method(Role.END, effect="cleared", repeatable=True),
    },
)


@attrs.define
class Message:
    """A message of a protocol without protobuf."""

    queryId: str = ""
    queryString: str = ""
    rows: str = ""
    done: bool = False
    new_strategy: str = ""

    def bytes(self) -> bytes:
        return json.dumps(attrs.asdict(self)).encode()

    @classmethod
    def of(cls, data: bytes) -> Message:
        return cls(**json.loads(data)) if data else cls()


@attrs.define
class Server:
    """Two stacks behind one port.

    A stream has `count` answers, or breaks off after `breaks_after`; `goes_on` lets it have a second one.
    """

    active: str = "blue"
    announces: str = ""
    count: int = 3
    goes_on: threading.Event = attrs.field(factory=threading.Event)
    breaks_after: int | None = None
    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    details: str = "status: 456"
    seen: list[tuple[str, str]] = attrs.field(factory=list)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rsplit("/", 1)[-1]
        strategy = dict(details.invocation_metadata)["strategy"]
        self.seen.append((name, strategy))
        handler = self.stream if name in ("rows", "names") else self.unary
        made = (
            grpc.unary_stream_rpc_method_handler
            if name in ("rows", "names")
            else grpc.unary_unary_rpc_method_handler
        )
        return made(
            lambda request, context: handler(strategy, request, context),
            request_deserializer=Message.of,
            response_serializer=Message.bytes,
        )

    def unary(self, strategy: str, request: Message, context: grpc.ServicerContext) -> Message:
        self.admit(strategy, context)
        return Message(queryId=f"{strategy}-1", new_strategy=self.announces)

    def stream(self, strategy: str, request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        self.admit(strategy, context)
        for number in range(self.count):
            if number == 1:
                self.goes_on.wait(60)
            if number == self.breaks_after:
                context.abort(self.code, self.details)
            yield Message(rows=f"{strategy} {number}", new_strategy=self.announces)

    def admit(self, strategy: str, context: grpc.ServicerContext) -> None:
        if strategy != self.active:
            context.abort(grpc.StatusCode.UNKNOWN, "status: 456")


class Handler(grpc.GenericRpcHandler):
    def __init__(self, server: Server) -> None:
        self.server = server

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self.server.service(handler_call_details)


class Stub:
    def __init__(self, channel: Any) -> None:
        for name in ("begin", "execute", "end"):
            setattr(self, name, channel.unary_unary(f"/Toy/{name}", Message.bytes, Message.of))
        for name in ("rows", "names"):
            setattr(self, name, channel.unary_stream(f"/Toy/{name}", Message.bytes, Message.of))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@contextmanager
def serving(server: Server) -> Iterator[str]:
    real = grpc.server(futures.ThreadPoolExecutor(4))
    real.add_generic_rpc_handlers((Handler(server),))
    port = real.add_insecure_port("127.0.0.1:0")
    real.start()
    yield f"127.0.0.1:{port}"
    real.stop(None).wait()


@contextmanager
def channel_to(target: str, link: Connection) -> Iterator[Stub]:
    with SwitchingChannel(grpc.insecure_channel(target), link) as channel:
        yield Stub(channel)


@contextmanager
def interceptor_to(target: str, link: Connection) -> Iterator[Stub]:
    with grpc.insecure_channel(target) as channel:
        yield Stub(grpc.intercept_channel(channel, SwitchingInterceptor(link)))


Way = Callable[[str, Connection], AbstractContextManager[Stub]]


@pytest.fixture
def server() -> Server:
    server = Server()
    server.goes_on.set()
    return server


@pytest.fixture
def link(server: Server) -> Iterator[Connection]:
    with serving(server) as target:
        yield Connection(StrategyManager(Scope(target), quick()), PROTOCOL)


@pytest.fixture(params=[channel_to, interceptor_to])
def stub(request: pytest.FixtureRequest, link: Connection) -> Iterator[Stub]:
    way: Way = request.param
    with way(link.manager.scope.target, link) as stub:
        yield stub


def begun(stub: Any) -> Any:
    query = stub.begin(Message(queryString="SELECT 1"))
    stub.execute(Message(queryId=query.queryId))
    return query


def rows(stream: Any) -> list[str]:
    return [message.rows for message in stream]


def test_a_stream_hands_out_its_answers_without_announcements(
    stub: Any, server: Server, link: Connection
) -> None:
    query = begun(stub)
    server.announces = "green"
    messages = list(stub.rows(Message(queryId=query.queryId)))
    assert [(message.rows, message.new_strategy) for message in messages] == [
        ("blue 0", ""),
        ("blue 1", ""),
        ("blue 2", ""),
    ]
    assert link.manager.pending == "green"
    stub.end(Message(queryId=query.queryId))
    assert link.manager.open_tickets == ()


def test_a_stream_that_is_refused_before_its_first_answer_begins_again_elsewhere(
    stub: Any, server: Server, link: Connection
) -> None:
    query = begun(stub)
    server.active = "green"
    assert rows(stub.rows(Message(queryId=query.queryId))) == ["green 0", "green 1", "green 2"]
    assert [strategy for name, strategy in server.seen if name == "execute"] == ["blue", "green"]
    assert link.manager.active == "green"


def test_a_stream_of_no_query_begins_again_elsewhere_and_leaves_no_ticket(
    stub: Any, server: Server, link: Connection
) -> None:
    assert rows(stub.names(Message())) == ["blue 0", "blue 1", "blue 2"]
    server.active = "green"
    assert rows(stub.names(Message())) == ["green 0", "green 1", "green 2"]
    assert link.manager.open_tickets == ()


@pytest.mark.parametrize(
    ("code", "details"),
    [(grpc.StatusCode.UNKNOWN, "status: 456"), (grpc.StatusCode.UNAVAILABLE, "connection reset")],
)
def test_a_stream_that_breaks_off_after_rows_is_lost(
    stub: Any, server: Server, link: Connection, code: grpc.StatusCode, details: str
) -> None:
    query = begun(stub)
    server.breaks_after, server.code, server.details = 2, code, details
    stream = stub.rows(Message(queryId=query.queryId))
    assert [next(stream).rows, next(stream).rows] == ["blue 0", "blue 1"]
    with pytest.raises(QueryLost, match="rows of it have already been handed out") as caught:
        next(stream)
    assert caught.value.query == query.queryId
    assert link.manager.open_tickets == ()


def test_a_stream_of_no_query_that_breaks_off_shows_no_456(stub: Any, server: Server) -> None:
    server.breaks_after = 1
    stream = stub.names(Message())
    next(stream)
    with pytest.raises(StrategyUnavailable, match="broken off"):
        next(stream)


def test_what_a_stream_says_of_strategies_is_as_old_as_its_request(
    stub: Any, server: Server, link: Connection
) -> None:
    """I6: an announcement that was taken back meanwhile must not come back with a late answer of a stream."""
    query = begun(stub)
    server.goes_on.clear()
    stream = stub.rows(Message(queryId=query.queryId))
    assert next(stream).rows == "blue 0"
    link.manager.send(StrategyAnnounced("green", link.manager.state_version))
    link.manager.send(StrategyAnnounced("blue", link.manager.state_version))  # withdrawn
    before = link.manager.snapshot
    server.announces = "green"
    server.goes_on.set()
    assert rows(stream) == ["blue 1", "blue 2"]
    assert link.manager.snapshot is before


def test_a_late_456_of_a_stream_does_not_clear_what_was_detected_meanwhile(
    stub: Any, server: Server, link: Connection
) -> None:
    query = begun(stub)
    server.goes_on.clear()
    server.breaks_after = 1
    stream = stub.rows(Message(queryId=query.queryId))
    next(stream)
    link.manager.send(CacheInvalidated())
    link.manager.send(AuthSuccess("blue", link.manager.state_version))
    version = link.manager.state_version
    server.goes_on.set()
    with pytest.raises(QueryLost):
        next(stream)
    assert (link.manager.state, link.manager.state_version) == ("Stable", version)


def test_an_error_of_the_server_within_a_stream_passes_as_it_is(stub: Any, server: Server) -> None:
    server.breaks_after, server.code, server.details = 1, grpc.StatusCode.INTERNAL, "out of memory"
    stream = stub.names(Message())
    next(stream)
    with pytest.raises(grpc.RpcError, match="out of memory"):
        next(stream)


def test_a_stream_without_answers_ends(stub: Any, server: Server) -> None:
    server.count = 0
    assert rows(stub.rows(Message(queryId=begun(stub).queryId))) == []
    assert rows(stub.names(Message())) == []


def test_a_stream_is_a_call_that_can_be_asked_and_cancelled(stub: Any, server: Server) -> None:
    stream = stub.names(Message())
    assert iter(stream) is stream
    assert len(rows(stream)) == 3
    assert stream.code() is grpc.StatusCode.OK
    server.goes_on.clear()
    stream = stub.names(Message())
    assert stream.is_active()
    assert stream.cancel()
    server.goes_on.set()
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() is grpc.StatusCode.CANCELLED


def test_streams_of_requests_go_to_the_real_channel(link: Connection, server: Server) -> None:
    with SwitchingChannel(grpc.insecure_channel(link.manager.scope.target), link) as channel:
        for make in (channel.stream_unary, channel.stream_stream):
            assert make("/Toy/begin", Message.bytes, Message.of) is not None
