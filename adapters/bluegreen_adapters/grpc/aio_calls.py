"""Driver of an asyncio channel, and the calls that its applications get. A twin of `driver` and `calls`.

Theory of operation. An application gets an `AsyncUnaryCall` or an `AsyncStreamCall` at once, as from gRPC. Behind it an
`AsyncCallState` has a task that drives the flow of the RPC. Everything runs in the thread of the loop, so nothing here
needs a lock; only a finalizer may run elsewhere, and it leaves its work to the loop.

`cancel` decides at once how the call has ended for the application, as gRPC does; the task is cancelled as well, and
the flow then ends its tickets.

The task of a stream reads the first message, since the stream can begin anew elsewhere until that is there. The
application reads all further ones from the real stream. If that fails, the link decides whether the stream goes on
elsewhere, again in a task.
"""

# ruff: noqa: D102 - the methods of a call are those of `grpc.aio.Call`

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import Future
from typing import Any, Final

import attrs
import grpc
import grpc.aio

from bluegreen.errors import BluegreenError
from bluegreen.runtime.sansio import Flow, run_async
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.query import Rpc
from bluegreen_adapters.connection.requests import Blank, Launch, Outcome, Reply, Send
from bluegreen_adapters.grpc.base_types import AioUnaryStreamCallBase, AioUnaryUnaryCallBase
from bluegreen_adapters.grpc.driver import failure_of, time_remaining
from bluegreen_adapters.grpc.errors import as_aio_error, raising

_log = logging.getLogger("bluegreen.grpc")

LOCALLY_CANCELLED: Final = "Locally cancelled by application!"
"""What gRPC says of a call that its application has cancelled."""

_MIXED: Final = "The iterator and read/write APIs may not be mixed on a single RPC."
"""What gRPC says to an application that iterates over a stream and reads it."""

EOF: Final[Any] = grpc.aio.EOF


class AsyncDriver:
    """Carries out the commands of flows on a real channel, by awaiting.

    Attributes:
        stubs: the real channel's multi-callables, by bare method name.
        parsers: the deserializers of the answers, by bare method name.
        streams: bare names of the methods that a stream answers.
        calls: the calls that are under way.
        closed: whether nothing new may begin, as gRPC says of a closed channel.
    """

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.stubs: dict[str, Any] = {}
        self.parsers: dict[str, Callable[[bytes], Any] | None] = {}
        self.streams: set[str] = set()
        self.calls: set[AsyncCallState] = set()
        self.closed = False
        self._launched: set[asyncio.Task[None]] = set()

    async def perform(self, command: Any) -> Any:
        """Carry out one command."""
        if isinstance(command, Send):
            return await self.send(command)
        if isinstance(command, Launch):
            return self.launch(command.send)
        if isinstance(command, Blank):
            parse = self.parsers.get(command.method)
            return parse(b"") if parse is not None else None
        raise TypeError(f"no such command: {command!r}")

    async def send(self, send: Send) -> Outcome:
        """Send one RPC, and wait for its answer: for a stream, for the first one (None if there is none)."""
        return await self.answer(send, await self.begin(send))

    async def begin(self, send: Send) -> Any:
        """Begin one RPC on the real channel; return the real call."""
        try:
            stub = self.stubs[send.method]
        except KeyError:
            known = ", ".join(self.stubs)
            raise LookupError(
                f"{send.method} was not made on this channel: make the whole stub, {known} are known"
            ) from None
        return stub(send.request, timeout=send.timeout_s, metadata=send.metadata, **send.options)

    async def answer(self, send: Send, call: Any) -> Outcome:
        """Wait for the answer of a real call, as `send` does."""
        try:
            if send.method not in self.streams:
                return Reply(await call, call)
            first = await call.read()
        except grpc.aio.AioRpcError as error:
            return failure_of(error)
        return Reply(None if first is EOF else first, call)

    def launch(self, send: Send) -> Future[Outcome] | None:
        """Send one RPC by a task; return a future of the outcome."""
        if send.method not in self.stubs:
            raise LookupError(f"{send.method} was not made on this channel")
        outcome: Future[Outcome] = Future()

        async def sending() -> None:
            try:
                outcome.set_result(await self.send(send))
            except Exception as error:  # noqa: BLE001  of a closed channel, or of an interceptor: nobody waits for it
                _log.debug("%s failed in the background: %r", send.method, type(error))
            finally:
                outcome.cancel()  # does nothing if there is a result

        task = asyncio.get_running_loop().create_task(sending())
        self._launched.add(task)
        task.add_done_callback(self._launched.discard)
        return outcome

    def stop(self) -> None:
        """Give up what was launched, and begin nothing new: the channel is about to be closed."""
        self.closed = True
        for task in tuple(self._launched):
            task.cancel()

    def close(self) -> None:
        """Cancel what is under way, since the real channel is closed."""
        for state in tuple(self.calls):
            state.cancel()


@attrs.frozen
class AsyncEnd:
    """How a call has ended, as the application sees it.

    Args:
        message: the message for the application, if the call has ended well.
        real: the real call that brought the message or the error; None if neither came from one.
        error: the error, if it has failed; one of gRPC's has code and details.
        cancelled: whether the application has cancelled it.
    """

    message: Any = None
    real: Any = None
    error: BaseException | None = None
    cancelled: bool = False

    @property
    def code(self) -> grpc.StatusCode:
        if self.cancelled:
            return grpc.StatusCode.CANCELLED
        if self.error is None:
            return grpc.StatusCode.OK
        return grpc.StatusCode[failure_of(self.error).code]

    def raise_for_status(self) -> None:
        """Raise what the application gets if the call has not ended well."""
        if self.cancelled:
            raise asyncio.CancelledError
        if self.error is not None:
            raise self.error

    async def ask_call(self, name: str, without: Any) -> Any:
        """Ask the real call, else the error, for one of its facts; if neither has it, return `without`."""
        if (ask := getattr(self.real, name, None)) is not None:
            return await ask()
        ask = getattr(self.error, name, None)
        return without if ask is None else ask()


class AsyncCallState:
    """State of one call that is under way: it has the task that drives the flow, and knows how the call has ended.

    Args:
        port: carries out commands.
        link: the link that makes the flows.
        rpc: the call of the application; `rpc.stream` says whether a stream answers it.
        begin: begins an RPC of the application's method, and returns the real call.

    Attributes:
        loop: the loop in whose thread everything runs.
        end: how the call has ended for the application; None until then.
        real: the real call of the application's own RPC; of the last one, if it was sent again.
    """

    def __init__(
        self,
        port: AsyncDriver,
        link: Connection,
        rpc: Rpc,
        begin: Callable[[Send], Awaitable[Any]] | None = None,
    ) -> None:
        if port.closed:
            raise grpc.aio.UsageError("Channel is closed.")
        self.port, self.link, self.rpc = port, link, rpc
        self.loop = asyncio.get_running_loop()
        self.end: AsyncEnd | None = None
        self.real: Any = None
        self._begin_own = begin or port.begin
        # The call of the last answer, which is the one that brought the result, or None if the last RPC was another
        # one, and failed.
        self._brought: Any = None
        # What the application wants to be called at the end.
        self._callbacks: list[Callable[[], None]] = []
        # Who waits until `end`, `real`, `_head` or `_readable` is another one.
        self._waiters: list[asyncio.Future[None]] = []
        # Of a stream: the message that the flow has brought, the real stream that may be read, whether it is read at
        # this moment, and whether it has ended in the meantime.
        self._head: list[Any] = []
        self._readable: Any = None
        self._is_read = False
        self._has_ended: Any = None
        # The task that drives the flow, and the one that closes the flow of a cancelled call.
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        port.calls.add(self)
        self._start(self._run(link.call(rpc)))

    # What the calls of the application ask for.

    async def wait(self) -> AsyncEnd:
        """Wait until the call has ended."""
        while self.end is None:
            await self._change()
        return self.end

    async def wait_for_call(self, seen: Any) -> Any:
        """Wait until there is another real call than `seen`; return it, or None if the call has ended."""
        while self.end is None and self.real is seen:
            await self._change()
        return None if self.end is not None else self.real

    async def initial_metadata(self) -> Any:
        """Wait for the initial metadata of a stream, which a server may send before its first message."""
        real = await self.wait_for_call(None)
        while real is not None:
            metadata = await real.initial_metadata()
            # Without any, it may be a refusal: wait for the first message, or for what comes of the failure.
            while not metadata and self.end is None and self.real is real and self._readable is not real:
                await self._change()
            if metadata or self._readable is real:
                return metadata
            real = await self.wait_for_call(real)
        return await (await self.wait()).ask_call("initial_metadata", grpc.aio.Metadata())

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the end: at once, if the call has ended."""
        if self.end is None:
            self._callbacks.append(callback)
        else:
            callback()

    def cancel(self) -> bool:
        """Cancel the call; return False if it has ended."""
        if self.end is not None:
            return False
        task, real = self._task, self.real
        self._finish(AsyncEnd(real=real, cancelled=True))
        if task is not None:
            self._closing = task
            task.cancel()  # raised in the flow, which ends its tickets, and in the real call that it waits for
        if real is not None:
            real.cancel()
        return True

    async def settle(self) -> None:
        """Wait until the flow of a cancelled call has ended its tickets. That takes no I/O."""
        if self._closing is not None:
            await asyncio.wait([self._closing])
            self._closing = None

    def drop(self) -> None:
        """Cancel a stream that the application has let go. A finalizer comes here, in any thread."""
        if self.end is None and self.rpc.stream is not None:
            self.link.let_go(self.rpc)
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its calls with it
                self.loop.call_soon_threadsafe(self.cancel)

    async def read(self) -> Any:
        """Return the next message of a stream, and wait for it; return EOF if the call has ended."""
        while not self._head:
            if self.end is not None:
                return EOF
            real = self._readable
            try:
                if real is None:
                    await self._change()
                elif (message := await self._ask_call(real)) is not EOF:
                    return self.link.streamed(self.rpc, message)
            except asyncio.CancelledError:  # the reader is cancelled, and as with gRPC the call with it
                self.cancel()
                await self.settle()
                raise
        message = self._head.pop()
        if self._has_ended is not None:  # an end counts when the last message has been taken
            self._stream_ended(self._has_ended)
        return message

    async def _ask_call(self, real: Any) -> Any:
        """Ask a real stream for its next message; return EOF if there is none, or none yet."""
        self._is_read = True
        try:
            message = await real.read()
        except Exception as error:  # noqa: BLE001  of gRPC, or of an interceptor behind us
            self._is_read = False
            self._broken(real, error)
            return EOF
        finally:
            self._is_read = False
        if message is EOF:
            self._ended_well(real)
        elif self._has_ended is not None:
            self._stream_ended(self._has_ended)
        return message

    # Driving the flow.

    def _start(self, work: Any) -> None:
        self._task = self.loop.create_task(work)

    async def _run(self, flow: Flow[Any]) -> None:
        """Drive a flow to its end, and take note of that. Nothing is raised: what happened is in `end`."""
        try:
            value = await run_async(raising(flow, as_aio_error), self._perform)
        except asyncio.CancelledError:
            # By `cancel`, by the end of the loop, or by somebody who has cancelled the real call.
            self._finish(AsyncEnd(real=self.real, cancelled=True))
        except Exception as error:  # noqa: BLE001  whatever it is belongs to the application
            self._failed(error)
        else:
            self._returned(value)

    async def _perform(self, command: Any) -> Any:
        if isinstance(command, Send) and command.method == self.rpc.name:
            real = self.real = await self._begin_own(command)
            self._changed()
            if self.rpc.stream is not None:
                real.add_done_callback(self._stream_ended)
            answer = await self.port.answer(command, real)
            self._brought = real
        else:
            answer = await self.port.perform(command)
            if isinstance(command, Send):
                self._brought = answer.call if isinstance(answer, Reply) else None
        return answer

    def _returned(self, value: Any) -> None:
        """Take note of the result of the flow."""
        if self.rpc.stream is None:
            self._finish(AsyncEnd(value, self._brought))
        elif self.end is not None:  # cancelled after the answer had come
            self.link.ended(self.rpc)
        elif value is None:  # a stream without messages
            self._finish(AsyncEnd(real=self._brought))
        else:
            self._head.append(value)
            if self._brought is not None and self._brought is self.real:
                self._readable = self.real
                if self.real.done():  # gRPC may have said so before anybody could listen
                    self._has_ended = self.real
                self._changed()
            else:
                self._finish(AsyncEnd(real=self._brought))

    def _failed(self, error: BaseException) -> None:
        """Take note of the error of the flow."""
        if isinstance(error, grpc.RpcError):  # its frames would live as long as the call
            error.with_traceback(None)
        # gRPC's call knows more of its failure than its error does; an error of ours was brought by no call.
        real = None if isinstance(error, BluegreenError) else self._brought
        self._finish(AsyncEnd(real=real, error=error))

    def _finish(self, end: AsyncEnd) -> None:
        """Show the end to the application, unless it has seen another one."""
        if self.rpc.stream is not None:
            self.link.ended(self.rpc)
        self._task = self._readable = self._brought = None
        if self.end is not None:
            return
        self.end = end
        self.port.calls.discard(self)
        self._changed()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception as error:  # noqa: BLE001  the other ones are called nevertheless
                self.loop.call_exception_handler({"message": "exception in a callback", "exception": error})

    # Streams.

    def _stream_ended(self, real: Any) -> None:
        """Take note that a real stream has ended. gRPC calls this, and a reader that has taken the last message."""
        if self._readable is not real:
            return  # its flow still waits for the first message, and learns of the end by itself
        if self._is_read or self._head:
            self._has_ended = real
            return
        self._has_ended = None
        self._start(self._learn_end(real))

    async def _learn_end(self, real: Any) -> None:
        try:
            await self._ask_call(real)
        except asyncio.CancelledError:  # the real stream was cancelled: the channel is closed
            self._finish(AsyncEnd(real=real, cancelled=True))

    def _ended_well(self, real: Any) -> None:
        if self._readable is real:
            self._finish(AsyncEnd(real=real))

    def _broken(self, real: Any, error: Exception) -> None:
        """Repair a stream that has failed after its first message, or end it with its error."""
        if self._readable is not real:
            return
        self._readable, self._brought = None, real
        if isinstance(error, grpc.aio.AioRpcError):
            self._start(self._run(self.link.broken(self.rpc, failure_of(error))))
        else:
            self._failed(error)

    # Waiting.

    async def _change(self) -> None:
        waiter = self.loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():  # otherwise whoever waited has been cancelled
                waiter.set_result(None)


class _UnderWay:
    """A call of the application that is under way.

    It is apart from its state, which the loop holds as long as the RPC is under way: so it notices when the
    application has let it go.
    """

    def __init__(
        self,
        port: AsyncDriver,
        link: Connection,
        rpc: Rpc,
        begin: Callable[[Send], Awaitable[Any]] | None = None,
    ) -> None:
        self._state = AsyncCallState(port, link, rpc, begin)

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is not None and not sys.is_finalizing():
            state.drop()

    def cancel(self) -> bool:
        return self._state.cancel()

    def cancelled(self) -> bool:
        end = self._state.end
        return end is not None and end.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._state.end is not None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._state.add_done_callback(lambda: callback(self))

    def time_remaining(self) -> float | None:
        return time_remaining(self._state.rpc)

    async def wait_for_connection(self) -> None:
        try:
            end = await self._state.wait()
        except asyncio.CancelledError:  # as with gRPC: whoever waits for the RPC cancels it
            self.cancel()
            raise
        end.raise_for_status()

    async def initial_metadata(self) -> Any:
        return await (await self._state.wait()).ask_call("initial_metadata", grpc.aio.Metadata())

    async def trailing_metadata(self) -> Any:
        return await (await self._state.wait()).ask_call("trailing_metadata", grpc.aio.Metadata())

    async def code(self) -> grpc.StatusCode:
        return (await self._state.wait()).code

    async def details(self) -> Any:
        end = await self._state.wait()
        if end.cancelled:
            return LOCALLY_CANCELLED
        return await end.ask_call("details", "" if end.error is None else str(end.error))

    async def debug_error_string(self) -> Any:
        end = await self._state.wait()
        if end.cancelled:
            return None
        return await end.ask_call("debug_error_string", "" if end.error is None else str(end.error))


class AsyncUnaryCall(_UnderWay, AioUnaryUnaryCallBase):
    """A unary call of the application."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        try:
            end = await self._state.wait()
        except asyncio.CancelledError:  # as with gRPC: whoever awaits the call cancels it
            self.cancel()
            await self._state.settle()
            raise
        if end.cancelled:
            await self._state.settle()
        end.raise_for_status()
        return end.message


class AsyncStreamCall(_UnderWay, AioUnaryStreamCallBase):
    """A stream of the application. Until its first message is there it can begin anew elsewhere.

    The ticket of a stream that belongs to no query ends with the stream.
    """

    _messages: Callable[[], _Messages | None] | None = None
    """The one iterator over the messages, if the application iterates. It holds the call, so this is a reference
    that does not hold it."""
    _reads = False
    """Whether the application calls `read`."""

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._reads:
            raise grpc.aio.UsageError(_MIXED)
        messages = None if self._messages is None else self._messages()
        if messages is None:
            messages = _Messages(self, self._state)
            self._messages = weakref.ref(messages)
        return messages

    async def read(self) -> Any:
        if not self.done():
            if self._messages is not None:
                raise grpc.aio.UsageError(_MIXED)
            self._reads = True
        message = await self._state.read()
        if message is EOF and self._state.end is not None:
            self._state.end.raise_for_status()
        return message

    # Both may be known before the end.

    async def initial_metadata(self) -> Any:
        return await self._state.initial_metadata()

    async def wait_for_connection(self) -> None:
        real = await self._state.wait_for_call(None)
        while real is not None:
            try:
                await real.wait_for_connection()
            except grpc.aio.AioRpcError:
                real = await self._state.wait_for_call(real)
            else:
                return
        await super().wait_for_connection()


class _Messages(AsyncIterator[Any]):
    """Iterator over the messages of a stream. No generator: one that is left early would need a task to be closed."""

    def __init__(self, call: AsyncStreamCall, state: AsyncCallState) -> None:
        self._call, self._state = call, state  # the call, so that it is not let go

    async def __anext__(self) -> Any:
        state = self._state
        if (message := await state.read()) is not EOF:
            return message
        if state.end is not None:
            state.end.raise_for_status()
        raise StopAsyncIteration
