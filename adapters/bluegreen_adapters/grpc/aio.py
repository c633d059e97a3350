"""`AsyncSwitchingChannel`: a `grpc.aio.Channel` on which the cluster appears never to switch.

    channel = AsyncSwitchingChannel(grpc.aio.insecure_channel(target), Link(managed(Scope(target)), PROTOCOL))
    stub = QueryEngineServiceStub(channel)          # as with any channel

A thin twin of `channel`: it drives the flows of a `Connection`, and takes no decision.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import attrs
import grpc
import grpc.aio

from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.query import BeginReply, Rpc
from bluegreen_adapters.connection.requests import Send
from bluegreen_adapters.grpc.aio_calls import AsyncDriver, AsyncStreamCall, AsyncUnaryCall
from bluegreen_adapters.grpc.base_types import AioUnaryStreamBase, AioUnaryUnaryBase
from bluegreen_adapters.grpc.driver import check_messages, parser_of, rpc_of


class _UnaryUnary(AioUnaryUnaryBase):
    def __init__(self, owner: AsyncSwitchingChannel, path: str) -> None:
        self._owner, self._path = owner, path

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        link = self._owner.link
        rpc = rpc_of(link, self._path, request, timeout, metadata, credentials, wait_for_ready, compression)
        return AsyncUnaryCall(self._owner.port, link, rpc)


class _UnaryStream(AioUnaryStreamBase):
    def __init__(self, owner: AsyncSwitchingChannel, path: str) -> None:
        self._owner, self._path = owner, path

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        link = self._owner.link
        options = (credentials, wait_for_ready, compression)
        rpc = rpc_of(link, self._path, request, timeout, metadata, *options, stream=True)
        return AsyncStreamCall(self._owner.port, link, rpc)


class AsyncSwitchingChannel(grpc.aio.Channel):
    """A channel on which the cluster appears never to switch, for asyncio.

    Args:
        channel: the real channel; it is closed with this one.
        link: the connection's link; one channel has one link.

    Raises what `Connection.call` raises, and otherwise what the real channel raises.
    """

    def __init__(self, channel: grpc.aio.Channel, link: Connection) -> None:
        self.link = link
        self.port = AsyncDriver(channel)

    def _make(self, kind: str, path: str, serializer: Any, deserializer: Any, registered: Any) -> None:
        """Make the real multi-callable of a method, and remember it under the method's bare name."""
        name, _ = self.link.protocol.method(path)
        check_messages(self.link.protocol, path, deserializer, stream=kind == "unary_stream")
        if kind == "unary_stream":
            self.port.streams.add(name)
        self.port.stubs[name] = self._make_real(kind, path, serializer, deserializer, registered)
        self.port.parsers[name] = deserializer

    def _make_real(self, kind: str, path: str, serializer: Any, deserializer: Any, registered: Any) -> Any:
        # Only if it is set: a real channel of somebody else may not know it.
        extra = {"_registered_method": registered} if registered else {}
        return getattr(self.port.channel, kind)(path, serializer, deserializer, **extra)

    # The signatures are gRPC's, positions included.

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as `grpc.aio.Channel` does."""
        self._make("unary_unary", method, request_serializer, response_deserializer, _registered_method)
        return _UnaryUnary(self, method)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as `grpc.aio.Channel` does."""
        self._make("unary_stream", method, request_serializer, response_deserializer, _registered_method)
        return _UnaryStream(self, method)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return the real channel's multi-callable: a stream of requests cannot be sent again."""
        return self._make_real(
            "stream_unary", method, request_serializer, response_deserializer, _registered_method
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return the real channel's multi-callable: a stream of requests cannot be sent again."""
        return self._make_real(
            "stream_stream", method, request_serializer, response_deserializer, _registered_method
        )

    async def close(self, grace: float | None = None) -> None:
        """End the tickets of this connection, and close the real channel; then cancel what is still repaired."""
        self.link.close()
        self.port.stop()
        await self.port.channel.close(grace)
        self.port.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the real channel's connectivity."""
        state: grpc.ChannelConnectivity = self.port.channel.get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the real channel's connectivity is another one."""
        await self.port.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the real channel is connected."""
        await self.port.channel.channel_ready()

    async def __aenter__(self) -> AsyncSwitchingChannel:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        await self.close()
        return None


def _nothing() -> None:
    return None


class _InterceptedCall(AsyncUnaryCall):
    """A unary call that passes the interceptor.

    A continuation of gRPC holds the call that it was made for, and the port holds continuations. So an answer with
    a query's id is let go as soon as the application has it: otherwise the query would never be let go. Awaiting
    it once more gives the same answer, or if nobody has that any more, the server's message.
    """

    def __init__(
        self, port: AsyncDriver, link: Connection, rpc: Rpc, begin: Callable[[Send], Awaitable[Any]]
    ) -> None:
        super().__init__(port, link, rpc, begin)
        self._given: Callable[[], Any] = _nothing
        # Interceptors in front of this one await the call in this task, and are not the application.
        task = asyncio.current_task()
        self._interceptors: Callable[[], Any] = weakref.ref(task) if task is not None else _nothing

    async def _response(self) -> Any:
        message = await super()._response()
        if isinstance(message, BeginReply) and asyncio.current_task() is not self._interceptors():
            self._given = weakref.ref(message)
            end = self._state.end
            self._state.end = None if end is None else attrs.evolve(end, message=message.plain)
            return message
        return self._given() or message


class _PassingPort(AsyncDriver):
    """Sends by the continuations of the calls that have passed."""

    def __init__(self) -> None:
        super().__init__(None)

    async def begin(self, send: Send) -> Any:
        """Begin one RPC by the continuation of its method's last call; return the real call."""
        path, continuation = self.stubs[send.method]
        return await self.begin_by(path, continuation, send)

    async def begin_by(self, path: Any, continuation: Any, send: Send) -> Any:
        """Begin an RPC of the method that a continuation is of; return the real call."""
        given = {"credentials": None, "wait_for_ready": None, **send.options}
        given.pop("compression", None)
        details = grpc.aio.ClientCallDetails(path, send.timeout_s, grpc.aio.Metadata(*send.metadata), **given)
        return await continuation(details, send.request)

    def learn(self, rpc: Rpc, path: Any, name: str, continuation: Any) -> None:
        """Learn how to send a method, and what it answers."""
        self.stubs[rpc.name] = (path, continuation)
        if rpc.name not in self.parsers:
            self.parsers[rpc.name] = parser_of(name, rpc.request)


class AsyncSwitchingInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """The same for those who keep their channel.

        switching = AsyncSwitchingInterceptor(link)
        channel = grpc.aio.insecure_channel(target, interceptors=[switching, switching.streams])

    It learns from the calls that pass how to send the others.

    Args:
        link: the connection's link; one intercepted channel has one link.

    Attributes:
        streams: the interceptor of the connection's streams. It is an object of its own, since gRPC takes each
            interceptor for one kind of call only. Without it, streams pass by.
    """

    def __init__(self, link: Connection) -> None:
        self.link = link
        self._port = _PassingPort()
        self.streams = AsyncSwitchingStreamInterceptor(link, self._port)

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Carry out one call of the application."""
        rpc, begin = _learn_call(self._port, self.link, continuation, client_call_details, request)
        return _InterceptedCall(self._port, self.link, rpc, begin)


class AsyncSwitchingStreamInterceptor(grpc.aio.UnaryStreamClientInterceptor):
    """The interceptor of the streams of one connection: `AsyncSwitchingInterceptor.streams`."""

    def __init__(self, link: Connection, port: _PassingPort) -> None:
        self._link, self._port = link, port

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Carry out one call of the application."""
        rpc, begin = _learn_call(
            self._port, self._link, continuation, client_call_details, request, stream=True
        )
        return AsyncStreamCall(self._port, self._link, rpc, begin)


def _learn_call(
    port: _PassingPort,
    link: Connection,
    continuation: Any,
    details: Any,
    request: Any,
    *,
    stream: bool = False,
) -> tuple[Rpc, Callable[[Send], Awaitable[Any]]]:
    """Learn from a call how its method is sent; return the RPC, and what begins it."""
    path = details.method if isinstance(details.method, str) else details.method.decode()
    options = (details.credentials, details.wait_for_ready)
    rpc = rpc_of(link, path, request, details.timeout, details.metadata, *options, stream=stream)
    if stream:
        port.streams.add(rpc.name)
    port.learn(rpc, details.method, path, continuation)
    return rpc, functools.partial(port.begin_by, details.method, continuation)
