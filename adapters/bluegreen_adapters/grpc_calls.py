"""How threads carry out the commands of flows on a real gRPC channel, and the calls that applications get."""

# ruff: noqa: D102 - the methods of a call are those of `grpc.Future` and `grpc.Call`

from __future__ import annotations

import concurrent.futures
import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from bluegreen.flow import Flow, run
from bluegreen_adapters import running
from bluegreen_adapters.commands import Blank, Failure, Launch, Outcome, Reply, Send
from bluegreen_adapters.grpc_types import FutureBase
from bluegreen_adapters.link import Link
from bluegreen_adapters.queries import Rpc


def failure_of(error: Any) -> Failure:
    """Return an error of gRPC as the value that flows know.

    Its traceback is dropped: the frames in it, and those that called them, would live as long as the value, and
    with them the cursor of the application, whose query would then seem to be in use.
    """
    error.with_traceback(None)
    if isinstance(error, grpc.FutureCancelledError):
        return Failure("CANCELLED", "cancelled by the application", error)
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
    rpc = Rpc(name, method, request, tuple(metadata or ()), deadline_s, given, link.manager.version)
    if running.is_asked():  # here, since this is still the thread or task that calls
        link.enter(rpc)
    return rpc


def parser_of(path: str, request: Any) -> Callable[[bytes], Any] | None:
    """Return what parses the answers of a method, as the request's protocol file describes it; none: it does not.

    >>> from google.protobuf.empty_pb2 import Empty
    >>> parser_of("/no.such.Service/ask", Empty()) is None
    True
    """
    service, _, method = path.lstrip("/").rpartition("/")
    description = getattr(request, "DESCRIPTOR", None)
    if description is None:
        return None
    try:
        described = description.file.pool.FindServiceByName(service).methods_by_name[method]
    except KeyError:
        return None
    parse: Callable[[bytes], Any] = GetMessageClass(described.output_type).FromString
    return parse


class Port:
    """Carries out the commands of flows on a real channel."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.stubs: dict[str, Any] = {}
        self.parsers: dict[str, Callable[[bytes], Any] | None] = {}
        self.streams: set[str] = set()

    def run(self, flow: Flow[Any], answer: Any = None) -> tuple[Any, Any]:
        """Drive a flow in this thread; return its result, and the real call that brought the last answer."""
        last = answer.call if isinstance(answer, Reply) else None

        def perform(command: Any) -> Any:
            nonlocal last
            answer = self.perform(command)
            if isinstance(answer, Reply):
                last = answer.call
            return answer

        return run(flow, perform, answer), last

    def perform(self, command: Any) -> Any:
        """Carry out one command."""
        if isinstance(command, Send):
            return self.send(command)
        if isinstance(command, Launch):
            return self.launch(command.send)
        if isinstance(command, Blank):
            parse = self.parsers.get(command.method)
            return parse(b"") if parse is not None else None
        raise TypeError(f"no such command: {command!r}")

    def send(self, send: Send) -> Outcome:
        """Send one RPC and wait for its answer: for a stream, for the first one (none if there is none)."""
        stub = self.stub(send.method)
        given = {"timeout": send.timeout_s, "metadata": send.metadata, **send.options}
        try:
            if send.method in self.streams:
                call = stub(send.request, **given)
                return Reply(next(call, None), call)
            return Reply(*stub.with_call(send.request, **given))
        except grpc.RpcError as error:
            return failure_of(error)

    def launch(self, send: Send) -> Any:
        """Send one RPC without waiting; return a future of the outcome."""
        begun: concurrent.futures.Future[Outcome] = concurrent.futures.Future()

        def finished(call: Any) -> None:
            begun.set_result(outcome_of(call))

        self.begin(send).add_done_callback(finished)
        return begun

    def begin(self, send: Send) -> Any:
        """Send one RPC without waiting; return the real call."""
        return self.stub(send.method).future(
            send.request, timeout=send.timeout_s, metadata=send.metadata, **send.options
        )

    def stub(self, method: str) -> Any:
        """Return the real channel's multi-callable of a method."""
        try:
            return self.stubs[method]
        except KeyError:
            raise LookupError(
                f"{method} was not made on this channel, only {', '.join(self.stubs)}: make the whole stub"
            ) from None


def outcome_of(call: Any) -> Outcome:
    """Return what a call that has ended has brought."""
    try:
        return Reply(call.result(), call)
    except (grpc.RpcError, grpc.FutureCancelledError) as error:
        return failure_of(error)


class FutureCall(FutureBase, grpc.Call):
    """A call of the application that is under way.

    What comes before its own RPC, such as opening a session, is done when it is made. If the RPC fails, a
    thread does what has to be done about that: gRPC's own, which tells us, must not wait for anything. The
    thread has the context variables of whoever made the call.
    """

    def __init__(self, port: Port, flow: Flow[Any], rpc: Rpc) -> None:
        self._port, self._flow = port, flow
        self._done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._real: Any = None
        self._context = contextvars.copy_context()
        try:
            command = next(flow)
            while not (isinstance(command, Send) and command.method == rpc.name):
                try:
                    answer = self._step(command)
                except BaseException as error:  # noqa: BLE001  whatever it is belongs to the flow
                    command = flow.throw(error)
                else:
                    command = flow.send(answer)
            self._real = port.begin(command)
        except StopIteration as stop:
            self._done.set_result(stop.value)
        except BaseException as error:  # noqa: BLE001  it is the result's
            flow.close()
            self._done.set_exception(error)
        else:
            self._real.add_done_callback(self._answered)

    def _step(self, command: Any) -> Any:
        def once() -> Flow[Any]:
            return (yield command)

        return self._port.run(once())[0]

    def _answered(self, call: Any) -> None:
        outcome = outcome_of(call)
        if isinstance(outcome, Reply):
            self._finish(outcome)
        else:
            threading.Thread(
                target=self._context.run, args=(self._finish, outcome), name="bluegreen-repair", daemon=True
            ).start()

    def _finish(self, outcome: Outcome) -> None:
        try:
            self._done.set_result(self._port.run(self._flow, outcome)[0])
        except BaseException as error:  # noqa: BLE001  it is the result's
            self._done.set_exception(error)

    def _settled(self, timeout: float | None) -> BaseException | None:
        try:
            error = self._done.exception(timeout)
        except concurrent.futures.TimeoutError:
            raise grpc.FutureTimeoutError from None
        if isinstance(error, grpc.FutureCancelledError):
            raise error
        return error

    def result(self, timeout: float | None = None) -> Any:
        self._settled(timeout)
        return self._done.result()

    def exception(self, timeout: float | None = None) -> Any:
        return self._settled(timeout)

    def traceback(self, timeout: float | None = None) -> Any:
        error = self._settled(timeout)
        return error.__traceback__ if error is not None else None

    def cancel(self) -> bool:
        return bool(self._real is not None and not self.done() and self._real.cancel())

    def cancelled(self) -> bool:
        return self.done() and isinstance(self._done.exception(), grpc.FutureCancelledError)

    def running(self) -> bool:
        return not self.done()

    def done(self) -> bool:
        return self._done.done()

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        self._done.add_done_callback(lambda _: fn(self))

    def is_active(self) -> bool:
        return not self.done()

    def time_remaining(self) -> Any:
        return self._real.time_remaining() if self._real is not None else None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if self.done():
            return False
        self._done.add_done_callback(lambda _: callback())
        return True

    def initial_metadata(self) -> Any:
        return self._real.initial_metadata() if self._real is not None else ()

    def trailing_metadata(self) -> Any:
        return self._real.trailing_metadata() if self._real is not None else ()

    def code(self) -> Any:
        error = self._done.exception()
        return grpc.StatusCode.OK if error is None else grpc.StatusCode[failure_of(error).code]

    def details(self) -> str:
        error = self._done.exception()
        return "" if error is None else failure_of(error).details


class Stream(Iterator[Any]):
    """The answers of a stream. Its first one is waited for: until then it can begin anew elsewhere.

    The ticket of a stream that belongs to no query ends with its first answer.
    """

    def __init__(self, port: Port, link: Link, rpc: Rpc) -> None:
        self._port, self._link, self._rpc = port, link, rpc
        self._head: list[Any] = []
        self._real: Any = None
        self._begin(link.call(rpc))

    def _begin(self, flow: Flow[Any]) -> None:
        first, self._real = self._port.run(flow)
        self._head = [] if first is None else [first]

    def __next__(self) -> Any:
        if not self._head:
            try:
                return self._link.streamed(self._rpc, next(self._real))
            except grpc.RpcError as error:
                self._begin(self._link.broken(self._rpc, failure_of(error)))
        if not self._head:
            raise StopIteration
        return self._head.pop()

    def __getattr__(self, name: str) -> Any:
        if name == "_real":
            raise AttributeError(name)
        return getattr(self._real, name)
