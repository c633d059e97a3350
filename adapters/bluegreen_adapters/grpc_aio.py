"""`AsyncSwitchingChannel`: a `grpc.aio.Channel` on which the cluster appears never to switch.

    channel = AsyncSwitchingChannel(grpc.aio.insecure_channel(target), Link(managed(Scope(target)), PROTOCOL))
    stub = QueryEngineServiceStub(channel)          # as with any channel

A thin twin of `grpc_sync`: it drives the flows of a `Link`, and takes no decision.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Future
from typing import Any

import grpc
import grpc.aio

from bluegreen.flow import Flow, run_async
from bluegreen_adapters.commands import Blank, Launch, Outcome, Reply, Send
from bluegreen_adapters.grpc_port import failure_of, parser_of, rpc_of
from bluegreen_adapters.grpc_types import (
    AioUnaryStreamBase,
    AioUnaryStreamCallBase,
    AioUnaryUnaryBase,
    AioUnaryUnaryCallBase,
)
from bluegreen_adapters.link import Link
from bluegreen_adapters.queries import Begun, Rpc


class AsyncPort:
    """Carries out the commands of flows on a real channel, by awaiting."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.stubs: dict[str, Any] = {}
        self.parsers: dict[str, Callable[[bytes], Any] | None] = {}
        self.streams: set[str] = set()
        self._launched: set[asyncio.Task[None]] = set()

    async def perform(self, command: Any) -> Any:
        """Carry out one command."""
        if isinstance(command, Send):
            return await self.send(command)
        if isinstance(command, Launch):
            return self._launch(command.send)
        if isinstance(command, Blank):
            parse = self.parsers.get(command.method)
            return parse(b"") if parse is not None else None
        raise TypeError(f"no such command: {command!r}")

    async def send(self, send: Send) -> Outcome:
        """Send one RPC, and wait for its answer: for a stream, for the first one (none if there is none)."""
        try:
            call = self.begun(send)
            if send.method not in self.streams:
                return Reply(await call, call)
            first = await call.read()
        except grpc.aio.AioRpcError as error:
            return failure_of(error)
        return Reply(None if first is grpc.aio.EOF else first, call)

    def begun(self, send: Send) -> Any:
        """Begin one RPC on the real channel."""
        try:
            stub = self.stubs[send.method]
        except KeyError:
            known = ", ".join(self.stubs)
            raise LookupError(
                f"{send.method} was not made on this channel: make the whole stub, {known} are known"
            ) from None
        return stub(send.request, timeout=send.timeout_s, metadata=send.metadata, **send.options)

    def _launch(self, send: Send) -> Future[Outcome]:
        begun: Future[Outcome] = Future()

        async def sending() -> None:
            try:
                begun.set_result(await self.send(send))
            finally:
                begun.cancel()  # does nothing if there is a result

        task = asyncio.get_running_loop().create_task(sending())
        self._launched.add(task)
        task.add_done_callback(self._launched.discard)
        return begun

    def stop(self) -> None:
        """Give up what was launched."""
        for task in tuple(self._launched):
            task.cancel()


class _Tracked:
    """What the calls that the application gets have in common: a task, and the last real call behind it."""

    def __init__(self, port: AsyncPort, link: Link, rpc: Rpc) -> None:
        self._port, self._link, self._rpc = port, link, rpc
        self._real: Any = None
        self._begin(link.call(rpc))

    def _begin(self, flow: Flow[Any]) -> None:
        self._task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(run_async(flow, self._perform))
        self._task.add_done_callback(_retrieved)

    async def _perform(self, command: Any) -> Any:
        answer = await self._port.perform(command)
        if isinstance(answer, Reply):
            self._real = answer.call
        return answer

    def cancel(self) -> bool:
        return self._task.cancel()

    def cancelled(self) -> bool:
        return self._task.cancelled()

    def done(self) -> bool:
        return self._task.done()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._task.add_done_callback(lambda _: callback(self))

    def time_remaining(self) -> float | None:
        return self._rpc.left_s

    async def wait_for_connection(self) -> None:
        await self._settled()

    async def initial_metadata(self) -> Any:
        await self._settled()
        return await self._real.initial_metadata() if self._real is not None else grpc.aio.Metadata()

    async def trailing_metadata(self) -> Any:
        await self._settled()
        return await self._real.trailing_metadata() if self._real is not None else grpc.aio.Metadata()

    async def code(self) -> grpc.StatusCode:
        error = await self._settled()
        return grpc.StatusCode.OK if error is None else grpc.StatusCode[failure_of(error).code]

    async def details(self) -> str:
        error = await self._settled()
        return "" if error is None else failure_of(error).details

    async def _settled(self) -> BaseException | None:
        await asyncio.wait([self._task])
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()


def _retrieved(task: asyncio.Task[Any]) -> None:
    """Look at a task's error, so that one that nobody awaits is not reported as forgotten."""
    if not task.cancelled():
        task.exception()


class _UnaryUnaryCall(_Tracked, AioUnaryUnaryCallBase):
    def __await__(self) -> Generator[Any, None, Any]:
        return self._task.__await__()


class _UnaryStreamCall(_Tracked, AioUnaryStreamCallBase):
    """A stream. Until its first answer is there it can begin anew elsewhere.

    The ticket of a stream that belongs to no query ends with its first answer.
    """

    _taken = False

    async def read(self) -> Any:
        if self._taken:
            try:
                message = await self._real.read()
            except grpc.aio.AioRpcError as error:
                self._taken = False
                self._begin(self._link.broken(self._rpc, failure_of(error)))
            else:
                return message if message is grpc.aio.EOF else self._link.streamed(self._rpc, message)
        first = await self._task
        self._taken = True
        return grpc.aio.EOF if first is None else first

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._messages()


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
        return _UnaryUnaryCall(self._owner.port, link, rpc)


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
        rpc = rpc_of(link, self._path, request, timeout, metadata, credentials, wait_for_ready, compression)
        return _UnaryStreamCall(self._owner.port, link, rpc)


class AsyncSwitchingChannel(grpc.aio.Channel):
    """A channel on which the cluster appears never to switch, for asyncio.

    Args:
        channel: the real channel; it is closed with this one.
        link: the connection's link; one channel has one link.

    Raises what `Link.call` raises, and otherwise what the real channel raises.
    """

    def __init__(self, channel: grpc.aio.Channel, link: Link) -> None:
        self.link = link
        self.port = AsyncPort(channel)

    def _made(self, path: str, kind: str, serializer: Any, deserializer: Any, extra: dict[str, Any]) -> None:
        name, _ = self.link.protocol.method(path)
        if kind == "unary_stream":
            self.port.streams.add(name)
        self.port.stubs[name] = getattr(self.port.channel, kind)(path, serializer, deserializer, **extra)
        self.port.parsers[name] = deserializer

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **extra: Any
    ) -> Any:
        """Return a multi-callable, as `grpc.aio.Channel` does."""
        self._made(method, "unary_unary", request_serializer, response_deserializer, extra)
        return _UnaryUnary(self, method)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **extra: Any
    ) -> Any:
        """Return a multi-callable, as `grpc.aio.Channel` does."""
        self._made(method, "unary_stream", request_serializer, response_deserializer, extra)
        return _UnaryStream(self, method)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the real channel's multi-callable: a stream of requests cannot be sent again."""
        return self.port.channel.stream_unary(method, *args, **kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the real channel's multi-callable: a stream of requests cannot be sent again."""
        return self.port.channel.stream_stream(method, *args, **kwargs)

    async def close(self, grace: float | None = None) -> None:
        """End the tickets of this connection, and close the real channel."""
        self.link.close()
        self.port.stop()
        await self.port.channel.close(grace)

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

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Passed(AioUnaryUnaryCallBase):
    """An intercepted call that has been answered.

    A continuation of gRPC holds the call that it was made for, and the port holds continuations. So an answer with
    a query's id is let go as soon as the application has it: otherwise the query would never be let go. Awaiting
    it once more gives the same answer, or if nobody has that any more, the server's message.
    """

    def __init__(self, message: Any) -> None:
        self._message = message
        self._given: Callable[[], Any] = _nothing
        task = asyncio.current_task()
        self._interceptors: Callable[[], Any] = weakref.ref(task) if task is not None else _nothing

    def __await__(self) -> Generator[Any, None, Any]:
        yield from ()
        message = self._given() or self._message
        if isinstance(message, Begun) and asyncio.current_task() is not self._interceptors():
            self._given, self._message = weakref.ref(message), message.plain
        return message

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)

    def time_remaining(self) -> float | None:
        return None

    async def wait_for_connection(self) -> None:
        pass

    async def initial_metadata(self) -> Any:
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> Any:
        return grpc.aio.Metadata()

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    async def details(self) -> str:
        return ""


def _nothing() -> None:
    return None


class _PassingPort(AsyncPort):
    """Sends by the continuations of the calls that have passed."""

    def __init__(self) -> None:
        super().__init__(None)

    async def send(self, send: Send) -> Outcome:
        path, continuation = self.stubs[send.method]
        given = {"credentials": None, "wait_for_ready": None, **send.options}
        given.pop("compression", None)
        details = grpc.aio.ClientCallDetails(path, send.timeout_s, grpc.aio.Metadata(*send.metadata), **given)
        try:
            call = await continuation(details, send.request)
            message = await call
        except grpc.aio.AioRpcError as error:
            return failure_of(error)
        return Reply(message, call)

    async def perform(self, command: Any) -> Any:
        """Carry out one command; nothing is launched: the session is opened when it is needed."""
        return None if isinstance(command, Launch) else await super().perform(command)


class AsyncSwitchingInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """The same for those who keep their channel: `grpc.aio.insecure_channel(target, interceptors=[...])`.

    It learns from the calls that pass how to send the others. Streams pass it by: use the channel for those.

    Args:
        link: the connection's link; one intercepted channel has one link.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._port = _PassingPort()

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Carry out one call of the application."""
        details = client_call_details
        path = details.method if isinstance(details.method, str) else details.method.decode()
        options = (details.credentials, details.wait_for_ready)
        rpc = rpc_of(self.link, path, request, details.timeout, details.metadata, *options)
        self._port.stubs[rpc.name] = (details.method, continuation)
        if rpc.name not in self._port.parsers:
            self._port.parsers[rpc.name] = parser_of(path, request)
        return _Passed(await run_async(self.link.call(rpc), self._port.perform))
