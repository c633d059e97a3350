"""Server with two stacks whose RPCs go on when a test says so, and a protocol for it.

Each moment of an RPC is an event: the test waits until the server has `entered` an RPC, and lets it `answer` and
`go_on`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import attrs
import grpc

from bluegreen.config.settings import Settings
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.protocol import Method, Protocol, Role

PROTOCOL = Protocol(
    "stacks",
    session="session",
    query="query",
    methods={
        "login": Method(Role.AUTHENTICATE, repeatable=True),
        "begin": Method(Role.BEGIN, repeatable=True),
        "hello": Method(Role.FREE, repeatable=True),
        "ask": Method(Role.FREE, repeatable=True),
        "watch": Method(Role.FREE, repeatable=True),
    },
)

FAILURE = (grpc.StatusCode.INTERNAL, "out of memory")


@attrs.define
class Message:
    """A message of a protocol without protobuf."""

    session: str = ""
    query: str = ""
    row: str = ""
    new_strategy: str = ""

    def bytes(self) -> bytes:
        return json.dumps(attrs.asdict(self)).encode()

    @classmethod
    def of(cls, data: bytes) -> Message:
        return cls(**json.loads(data))


@attrs.define
class Stacks:
    """Two stacks behind one port.

    Attributes:
        active: the stack that serves; the other one answers 456.
        fails_after: how many messages an RPC brings before it fails with `FAILURE`; None: it does not fail.
        silent_logins: whether logins wait for `let_in`.
        entered: set when the active stack has begun to serve an RPC.
        answer: lets RPCs bring their first message.
        go_on: lets streams bring their second message.
        let_in: lets logins be answered.
        asked_in: set when a login has come.
        left: set when an RPC has ended, for the server.
    """

    active: str = "blue"
    fails_after: int | None = None
    silent_logins: bool = False
    entered: threading.Event = attrs.field(factory=threading.Event)
    answer: threading.Event = attrs.field(factory=threading.Event)
    go_on: threading.Event = attrs.field(factory=threading.Event)
    let_in: threading.Event = attrs.field(factory=threading.Event)
    asked_in: threading.Event = attrs.field(factory=threading.Event)
    left: threading.Event = attrs.field(factory=threading.Event)
    seen: list[tuple[str, str]] = attrs.field(factory=list)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        name = details.method.rsplit("/", 1)[-1]
        strategy = dict(details.invocation_metadata).get("strategy", "")
        self.seen.append((name, strategy))
        behaviour = {"login": self.login, "hello": self.hello, "ask": self.ask, "watch": self.watch}[name]
        stream = name == "watch"
        make = grpc.unary_stream_rpc_method_handler if stream else grpc.unary_unary_rpc_method_handler
        return make(
            lambda request, context: behaviour(strategy, context),
            request_deserializer=Message.of,
            response_serializer=Message.bytes,
        )

    def login(self, strategy: str, context: grpc.ServicerContext) -> Message:
        self.asked_in.set()
        if self.silent_logins:
            self._wait_for(self.let_in, context)
        self._admit(strategy, context)
        return Message(session=f"session on {strategy}")

    def hello(self, strategy: str, context: grpc.ServicerContext) -> Message:
        self._admit(strategy, context)
        return Message(row="hello")

    def ask(self, strategy: str, context: grpc.ServicerContext) -> Message:
        self._enter(strategy, context)
        self._wait_for(self.answer, context)
        self._fail_after(0, context)
        return Message(row="answer")

    def watch(self, strategy: str, context: grpc.ServicerContext) -> Iterator[Message]:
        self._enter(strategy, context)
        self._wait_for(self.answer, context)
        self._fail_after(0, context)
        yield Message(row="first")
        self._wait_for(self.go_on, context)
        self._fail_after(1, context)
        yield Message(row="second")

    def _admit(self, strategy: str, context: grpc.ServicerContext) -> None:
        if strategy != self.active:
            context.abort(grpc.StatusCode.UNKNOWN, "status: 456")

    def _enter(self, strategy: str, context: grpc.ServicerContext) -> None:
        self._admit(strategy, context)
        context.add_callback(self.left.set)
        context.send_initial_metadata((("x-initial", "1"),))
        context.set_trailing_metadata((("x-trailing", "2"),))
        self.entered.set()

    def _fail_after(self, messages: int, context: grpc.ServicerContext) -> None:
        if self.fails_after == messages:
            context.abort(*FAILURE)

    def _wait_for(self, event: threading.Event, context: grpc.ServicerContext) -> None:
        """Wait for an event of the test, or until the client has gone."""
        while context.is_active() and not event.wait(0.02):
            pass


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, stacks: Stacks) -> None:
        self.stacks = stacks

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self.stacks.service(handler_call_details)


@contextmanager
def serving(stacks: Stacks) -> Iterator[str]:
    """Serve, and yield the target."""
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((_Handler(stacks),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class Stub:
    """The methods of the protocol on a channel."""

    def __init__(self, channel: Any) -> None:
        self.login = channel.unary_unary("/Stacks/login", Message.bytes, Message.of)
        self.hello = channel.unary_unary("/Stacks/hello", Message.bytes, Message.of)
        self.ask = channel.unary_unary("/Stacks/ask", Message.bytes, Message.of)
        self.watch = channel.unary_stream("/Stacks/watch", Message.bytes, Message.of)


def fresh_link(target: str) -> Connection:
    """Return a link with a manager of its own."""
    return Connection(StrategyManager(Scope(target), Settings()), PROTOCOL)
