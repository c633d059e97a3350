"""`SwitchingChannel`: a `grpc.Channel` on which the cluster appears never to switch.

    channel = SwitchingChannel(grpc.insecure_channel(target), Link(managed(Scope(target)), PROTOCOL))
    stub = QueryEngineServiceStub(channel)          # as with any channel

A thin twin of `aio`: it drives the flows of a `Connection`, and takes no decision.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import grpc

from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.grpc.base_types import UnaryStreamBase, UnaryUnaryBase
from bluegreen_adapters.grpc.calls import Ended, FutureCall, StreamCall
from bluegreen_adapters.grpc.driver import Driver, check_messages, rpc_of


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
        return self.with_call(request, timeout, metadata, credentials, wait_for_ready, compression)[0]

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        link = self._owner.link
        rpc = rpc_of(link, self._path, request, timeout, metadata, credentials, wait_for_ready, compression)
        message, real = self._owner.port.run(link.call(rpc))
        return message, Ended(message, real)

    def future(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        link = self._owner.link
        rpc = rpc_of(link, self._path, request, timeout, metadata, credentials, wait_for_ready, compression)
        return FutureCall(self._owner.port, link, rpc)


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
        link = self._owner.link
        options = (credentials, wait_for_ready, compression)
        rpc = rpc_of(link, self._path, request, timeout, metadata, *options, stream=True)
        return StreamCall(self._owner.port, link, rpc)


class SwitchingChannel(grpc.Channel):
    """A channel on which the cluster appears never to switch, for threads.

    Args:
        channel: the real channel; it is closed with this one.
        link: the connection's link; one channel has one link.

    Raises what `Connection.call` raises, and otherwise what the real channel raises.
    """

    def __init__(self, channel: grpc.Channel, link: Connection) -> None:
        self.link = link
        self.port = Driver(channel)

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

    # The signatures are gRPC's, positions included: `grpc.intercept_channel` passes all four by position.

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as `grpc.Channel` does."""
        self._make("unary_unary", method, request_serializer, response_deserializer, _registered_method)
        return _UnaryUnary(self, method)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """Return a multi-callable, as `grpc.Channel` does."""
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

    def subscribe(self, callback: Callable[[Any], None], try_to_connect: bool | None = False) -> None:
        """Subscribe to the real channel's connectivity."""
        self.port.channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[Any], None]) -> None:
        """Undo `subscribe`."""
        self.port.channel.unsubscribe(callback)

    def close(self) -> None:
        """End the tickets of this connection and the calls that are under way, and close the real channel."""
        self.link.close()
        self.port.close()
        self.port.channel.close()

    def __enter__(self) -> SwitchingChannel:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()
