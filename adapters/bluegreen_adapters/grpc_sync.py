"""`SwitchingChannel`: a `grpc.Channel` on which the cluster appears never to switch.

    channel = SwitchingChannel(grpc.insecure_channel(target), Link(managed(Scope(target)), PROTOCOL))
    stub = QueryEngineServiceStub(channel)          # as with any channel

A thin twin of `grpc_aio`: it drives the flows of a `Link`, and takes no decision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from bluegreen_adapters.grpc_calls import FutureCall, Port, Stream, rpc_of
from bluegreen_adapters.grpc_types import Ended, UnaryStreamBase, UnaryUnaryBase
from bluegreen_adapters.link import Link


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
        return FutureCall(self._owner.port, link.call(rpc), rpc)


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
        rpc = rpc_of(link, self._path, request, timeout, metadata, credentials, wait_for_ready, compression)
        return Stream(self._owner.port, link, rpc)


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
