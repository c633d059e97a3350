"""The port of a channel for threads: it carries out the commands of flows on the real channel.

`calls` has the calls that applications get; `channel` and `interceptor` make both.
"""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from bluegreen.runtime.sansio import Flow, run
from bluegreen_adapters.connection import current_query
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.protocol import Protocol
from bluegreen_adapters.connection.query import Rpc, StreamHold
from bluegreen_adapters.connection.requests import Blank, Failure, Launch, Outcome, Reply, Send
from bluegreen_adapters.grpc.errors import as_call_error, raising

if TYPE_CHECKING:
    from bluegreen_adapters.grpc.calls import CallState

_log = logging.getLogger("bluegreen.grpc")


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


def outcome_of(call: Any) -> Outcome:
    """Return what a real call that has ended has brought: the message, None if that call is a stream."""
    try:
        return Reply(call.result(), call)
    except (grpc.RpcError, grpc.FutureCancelledError) as error:
        return failure_of(error)


def rpc_of(
    link: Connection,
    path: str,
    request: Any,
    timeout: float | None,
    metadata: Any,
    credentials: Any = None,
    wait_for_ready: Any = None,
    compression: Any = None,
    *,
    stream: bool = False,
) -> Rpc:
    """Return a call of the application as the value that flows know.

    Args:
        stream: whether a stream answers it.
    """
    name, method = link.protocol.method(path)
    deadline_s = None if timeout is None else time.monotonic() + timeout
    options = {"credentials": credentials, "wait_for_ready": wait_for_ready, "compression": compression}
    given = {option: value for option, value in options.items() if value is not None}
    hold = StreamHold() if stream else None
    version = link.manager.state_version
    rpc = Rpc(name, method, request, tuple(metadata or ()), deadline_s, given, version, stream=hold)
    if current_query.is_asked():  # here, since this is still the thread or task that calls
        link.enter(rpc)
    return rpc


def time_remaining(rpc: Rpc) -> float | None:
    """Return the seconds until the deadline of a call, at least 0, or None if it has none."""
    return None if rpc.deadline_s is None else max(rpc.deadline_s - time.monotonic(), 0)


def described(path: str, message: Any) -> Any:
    """Return the description of a method in the protocol file of a message, or None.

    Args:
        path: `/Service/method`.
        message: a message, or message class, of the service's file.
    """
    service, _, method = path.lstrip("/").rpartition("/")
    description = getattr(message, "DESCRIPTOR", None)
    if description is None:
        return None
    try:
        return description.file.pool.FindServiceByName(service).methods_by_name[method]
    except KeyError:
        return None


def parser_of(path: str, request: Any) -> Callable[[bytes], Any] | None:
    """Return what parses the answers of a method, as the request's protocol file describes it, or None.

    >>> from google.protobuf.empty_pb2 import Empty
    >>> parser_of("/no.such.Service/ask", Empty()) is None
    True
    """
    method = described(path, request)
    if method is None:
        return None
    parse: Callable[[bytes], Any] = GetMessageClass(method.output_type).FromString
    return parse


def check_messages(protocol: Protocol, path: str, deserializer: Any, *, stream: bool) -> None:
    """Check the messages of a method against the protocol's description, when its multi-callable is made.

    Raises:
        ProtocolError: the description names fields that the messages do not have.
    """
    response = getattr(deserializer, "__self__", None)  # `FromString` is bound to its message class
    method = described(path, response)
    request = None if method is None else GetMessageClass(method.input_type)
    protocol.check_messages(path, request, response, stream=stream)


class Driver:
    """Carries out the commands of flows on a real channel.

    Attributes:
        stubs: the real channel's multi-callables, by bare method name.
        parsers: the deserializers of the answers, by bare method name.
        streams: bare names of the methods that a stream answers.
        repairing: the calls that a thread of ours works for. `close` ends them: no status of gRPC would.
        closed: whether `close` has been called. What the real channel reports since then is final.
    """

    begins_others = True
    """Whether `begin` can send other RPCs than the one that the application has called."""

    waits_to_begin = False
    """Whether `begin` may wait for the answer, so that gRPC's own thread must not call it."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.stubs: dict[str, Any] = {}
        self.parsers: dict[str, Callable[[bytes], Any] | None] = {}
        self.streams: set[str] = set()
        self.repairing: set[CallState] = set()
        self.closed = False

    def run(self, flow: Flow[Any]) -> tuple[Any, Any]:
        """Drive a flow in this thread; return its result, and the real call that brought the last answer."""
        last: Any = None

        def perform(command: Any) -> Any:
            nonlocal last
            answer = self.perform(command)
            if isinstance(answer, Reply):
                last = answer.call
            return answer

        return run(raising(flow, as_call_error), perform), last

    def perform(self, command: Any) -> Any:
        """Carry out one command, and wait for its answer."""
        if isinstance(command, Send):
            return self.send(command)
        if isinstance(command, Launch):
            return self.launch(command.send)
        if isinstance(command, Blank):
            parse = self.parsers.get(command.method)
            return parse(b"") if parse is not None else None
        raise TypeError(f"no such command: {command!r}")

    def send(self, send: Send) -> Outcome:
        """Send one RPC and wait for its answer: for a stream, for the first one (None if there is none)."""
        stub = self.stub(send.method)
        given = {"timeout": send.timeout_s, "metadata": send.metadata, **send.options}
        try:
            if send.method in self.streams:
                call = stub(send.request, **given)
                return Reply(next(call, None), call)
            return Reply(*stub.with_call(send.request, **given))
        except grpc.RpcError as error:
            return failure_of(error)

    def can_begin(self, send: Send, own: bool) -> bool:
        """Return whether `begin` can send this RPC.

        Args:
            own: whether it is the RPC that the application has called.
        """
        # Only the application's own stream is read bit by bit: the first answer of another one is all that counts.
        return own or (self.begins_others and send.method not in self.streams)

    def begin(self, send: Send) -> Any:
        """Send one RPC without waiting; return the real call."""
        stub = self.stub(send.method)
        begin = stub if send.method in self.streams else stub.future
        return begin(send.request, timeout=send.timeout_s, metadata=send.metadata, **send.options)

    def launch(self, send: Send) -> concurrent.futures.Future[Outcome] | None:
        """Send one RPC without waiting; return a future of the outcome, or None if the channel is closed.

        Raises:
            LookupError: the method was not made on this channel.
        """
        outcome: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
        stub = self.stub(send.method)
        try:
            call = stub.future(send.request, timeout=send.timeout_s, metadata=send.metadata, **send.options)
        except (grpc.RpcError, ValueError) as error:  # gRPC's word for a closed channel is ValueError
            _log.debug("%s was not sent in the background: %s", send.method, type(error).__name__)
            return None

        def answered(ended: Any) -> None:
            outcome.set_result(outcome_of(ended))

        call.add_done_callback(answered)
        return outcome

    def stub(self, method: str) -> Any:
        """Return the real channel's multi-callable of a method."""
        try:
            return self.stubs[method]
        except KeyError:
            raise LookupError(
                f"{method} was not made on this channel, only {', '.join(self.stubs)}: make the whole stub"
            ) from None

    def close(self) -> None:
        """End what is under way here, as the real channel ends what is under way there when it is closed."""
        self.closed = True
        for state in tuple(self.repairing):
            state.close()
