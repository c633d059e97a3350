"""`SwitchingChannel`: a `grpc.Channel` on which the cluster appears never to switch.

    channel = SwitchingChannel(grpc.insecure_channel(target), Link(managed(Scope(target)), PROTOCOL))
    stub = QueryEngineServiceStub(channel)          # as with any channel

A thin twin of `grpc_aio`: it drives the flows of a `Link`, and takes no decision.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import grpc

from bluegreen.flow import Flow, run
from bluegreen_adapters.grpc_types import FutureBase, UnaryStreamBase, UnaryUnaryBase
from bluegreen_adapters.link import Blank, Link
from bluegreen_adapters.protocol import Role
from bluegreen_adapters.queries import Rpc
from bluegreen_adapters.sessions import Failure, Launch, Outcome, Reply, Send


def failure_of(error: Any) -> Failure:
    """Return an error of gRPC as the value that flows know."""
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    details = error.details() if hasattr(error, "details") else str(error)
    return Failure(code.name, details or "", error)


def rpc_of(
    link: Link,
    path: str,
    request: Any,
    timeout: float | None,
    metadata: Any,
    credentials: Any = None,
    wait_for_ready: Any = None,
    compression: Any = None,
) -> Rpc:
    """Return a call of the application as the value that flows know."""
    name, method = link.protocol.method(path)
    deadline_s = None if timeout is None else time.monotonic() + timeout
    options = {"credentials": credentials, "wait_for_ready": wait_for_ready, "compression": compression}
    given = {option: value for option, value in options.items() if value is not None}
    return Rpc(name, method, request, tuple(metadata or ()), deadline_s, given)


class Port:
    """Carries out the commands of flows on a real channel."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.stubs: dict[str, Any] = {}
        self.parsers: dict[str, Callable[[bytes], Any] | None] = {}
        self.streams: set[str] = set()
        self.last = threading.local()

    def perform(self, command: Any) -> Any:
        """Carry out one command."""
        if isinstance(command, Send):
            return self._send(command)
        if isinstance(command, Launch):
            return self._launch(command.send)
        if isinstance(command, Blank):
            parse = self.parsers.get(command.method)
            return parse(b"") if parse is not None else None
        raise TypeError(f"no such command: {command!r}")

    def _send(self, send: Send) -> Outcome:
        try:
            if send.method in self.streams:
                call = self.stub(send.method)(
                    send.request, timeout=send.timeout_s, metadata=send.metadata, **send.options
                )
                self.last.call = call
                return Reply(next(call, None), call)
            message, call = self.stub(send.method).with_call(
                send.request, timeout=send.timeout_s, metadata=send.metadata, **send.options
            )
        except grpc.RpcError as error:
            return failure_of(error)
        self.last.call = call
        return Reply(message, call)

    def _launch(self, send: Send) -> Future[Outcome]:
        begun: Future[Outcome] = Future()
        call = self.stub(send.method).future(send.request, timeout=send.timeout_s, metadata=send.metadata)

        def finished(done: Any) -> None:
            error = done.exception() if not done.cancelled() else done
            begun.set_result(failure_of(error) if error is not None else Reply(done.result(), done))

        call.add_done_callback(finished)
        return begun

    def stub(self, method: str) -> Any:
        """Return the real channel's multi-callable of a method."""
        try:
            return self.stubs[method]
        except KeyError:
            raise LookupError(
                f"{method} was not made on this channel: make the whole stub, {', '.join(self.stubs)} are known"
            ) from None


class _UnaryUnary(UnaryUnaryBase):
    def __init__(self, owner: SwitchingChannel, path: str) -> None:
        self._owner, self._path = owner, path

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        rpc = rpc_of(self._owner.link, self._path, request, timeout, metadata, credentials, wait_for_ready, compression)
        return self._owner.run(self._owner.link.call(rpc))

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        message = self(request, timeout, metadata, credentials, wait_for_ready, compression)
        return message, self._owner.port.last.call

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        rpc = rpc_of(self._owner.link, self._path, request, timeout, metadata, credentials, wait_for_ready, compression)
        return _Future(self._owner.port, self._owner.link.call(rpc))


class _Future(FutureBase, grpc.Call):
    """A call whose first RPC is under way. What has to be repaired is repaired by whoever asks for the result."""

    def __init__(self, port: Port, flow: Flow[Any]) -> None:
        self._port, self._flow = port, flow
        self._lock = threading.RLock()
        self._result: Any = None
        self._error: BaseException | None = None
        self._finished = False
        self._first: Any = None
        self._advance(lambda: next(self._flow))

    def _advance(self, resume: Callable[[], Any]) -> None:
        """Run the flow up to its first RPC, and begin that one."""
        try:
            command = resume()
            while not isinstance(command, Send):
                command = self._flow.send(self._answer(command))
            stub = self._port.stub(command.method)
            self._first = stub.future(
                command.request, timeout=command.timeout_s, metadata=command.metadata, **command.options
            )
        except StopIteration as stop:
            self._result, self._finished = stop.value, True
        except BaseException as error:  # noqa: BLE001  it is the result's
            self._error, self._finished = error, True

    def _answer(self, command: Any) -> Any:
        def once() -> Flow[Any]:
            return (yield command)

        return run(once(), self._port.perform)

    def _finish(self, timeout: float | None) -> None:
        with self._lock:
            if self._finished:
                return
            try:
                message = self._first.result(timeout)
                outcome: Outcome = Reply(message, self._first)
            except grpc.RpcError as error:
                outcome = failure_of(error)
            try:
                self._result = run(self._flow, self._port.perform, outcome)
            except BaseException as error:  # noqa: BLE001  it is the result's
                self._error = error
            self._finished = True

    def result(self, timeout: float | None = None) -> Any:
        self._finish(timeout)
        if self._error is not None:
            raise self._error
        return self._result

    def exception(self, timeout: float | None = None) -> Any:
        self._finish(timeout)
        return self._error

    def traceback(self, timeout: float | None = None) -> Any:
        error = self.exception(timeout)
        return error.__traceback__ if error is not None else None

    def cancel(self) -> bool:
        return bool(self._first is not None and self._first.cancel())

    def cancelled(self) -> bool:
        return bool(self._first is not None and self._first.cancelled())

    def running(self) -> bool:
        return not self.done()

    def done(self) -> bool:
        return self._finished or bool(self._first.done())

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        if self._first is None:
            fn(self)
        else:
            self._first.add_done_callback(lambda _: fn(self))

    def is_active(self) -> bool:
        return not self.done()

    def time_remaining(self) -> Any:
        return self._first.time_remaining() if self._first is not None else None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return bool(self._first is not None and self._first.add_callback(callback))

    def initial_metadata(self) -> Any:
        return self._first.initial_metadata() if self._first is not None else ()

    def trailing_metadata(self) -> Any:
        return self._first.trailing_metadata() if self._first is not None else ()

    def code(self) -> Any:
        error = self.exception()
        return grpc.StatusCode.OK if error is None else grpc.StatusCode[failure_of(error).code]

    def details(self) -> str:
        error = self.exception()
        return "" if error is None else failure_of(error).details


class _UnaryStream(UnaryStreamBase):
    def __init__(self, owner: SwitchingChannel, path: str) -> None:
        self._owner, self._path = owner, path

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        rpc = rpc_of(self._owner.link, self._path, request, timeout, metadata, credentials, wait_for_ready, compression)
        return Stream(self._owner.port, self._owner.link, rpc)


class Stream(Iterator[Any]):
    """The answers of a stream. Its first one is waited for: until then it can begin anew elsewhere.

    The ticket of a stream that belongs to no query ends with its first answer.
    """

    def __init__(self, port: Port, link: Link, rpc: Rpc) -> None:
        self._port, self._link, self._rpc = port, link, rpc
        self._head: list[Any] = []
        self._begin(link.call(rpc))

    def _begin(self, flow: Flow[Any]) -> None:
        first = run(flow, self._port.perform)
        self._rest = self._port.last.call
        self._head = [] if first is None else [first]

    def __next__(self) -> Any:
        if not self._head:
            try:
                return self._link.streamed(self._rpc, next(self._rest))
            except grpc.RpcError as error:
                self._begin(self._link.broken(self._rpc, failure_of(error)))
        if not self._head:
            raise StopIteration
        return self._head.pop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rest, name)


class SwitchingChannel(grpc.Channel):
    """A channel on which the cluster appears never to switch, for threads.

    Args:
        channel: the real channel; it is closed with this one.
        link: the connection's link; one channel has one link.

    Raises what `Link.call` raises, and otherwise what the real channel raises.
    """

    def __init__(self, channel: grpc.Channel, link: Link) -> None:
        self.link = link
        self.port = Port(channel)

    def run(self, flow: Flow[Any]) -> Any:
        """Drive a flow of the link in this thread."""
        return run(flow, self.port.perform)

    def _made(self, path: str, kind: str, serializer: Any, deserializer: Any, extra: dict[str, Any]) -> None:
        name, _ = self.link.protocol.method(path)
        make = getattr(self.port.channel, kind)
        if kind == "unary_stream":
            self.port.streams.add(name)
        self.port.stubs[name] = make(path, serializer, deserializer, **extra)
        self.port.parsers[name] = deserializer

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **extra: Any
    ) -> Any:
        """Return a multi-callable, as `grpc.Channel` does."""
        self._made(method, "unary_unary", request_serializer, response_deserializer, extra)
        return _UnaryUnary(self, method)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **extra: Any
    ) -> Any:
        """Return a multi-callable, as `grpc.Channel` does."""
        self._made(method, "unary_stream", request_serializer, response_deserializer, extra)
        return _UnaryStream(self, method)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the real channel's multi-callable: a stream of requests cannot be sent again."""
        return self.port.channel.stream_unary(method, *args, **kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the real channel's multi-callable: a stream of requests cannot be sent again."""
        return self.port.channel.stream_stream(method, *args, **kwargs)

    def subscribe(self, callback: Callable[[Any], None], try_to_connect: bool | None = False) -> None:
        """Subscribe to the real channel's connectivity."""
        self.port.channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[Any], None]) -> None:
        """Undo `subscribe`."""
        self.port.channel.unsubscribe(callback)

    def close(self) -> None:
        """End the tickets of this connection, and close the real channel."""
        self.link.close()
        self.port.channel.close()

    def __enter__(self) -> SwitchingChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
