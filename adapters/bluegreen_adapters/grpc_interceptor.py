"""The same as `grpc_sync`, for those who keep their channel and add an interceptor to it.

    channel = grpc.intercept_channel(grpc.insecure_channel(target), SwitchingInterceptor(link))

An interceptor sees one method at a time, so it learns from the calls that pass how to send the others: a
query can be begun again since its begin has passed. It cannot open a session ahead of time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import grpc

from bluegreen.flow import run
from bluegreen_adapters.grpc_sync import Port, Stream, failure_of, rpc_of
from bluegreen_adapters.grpc_types import FutureBase
from bluegreen_adapters.link import Link
from bluegreen_adapters.queries import Rpc
from bluegreen_adapters.sessions import Launch, Outcome, Reply, Send


@attrs.frozen
class _Details(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any = None
    wait_for_ready: Any = None
    compression: Any = None


class _PassingPort(Port):
    """Sends by the continuations of the calls that have passed."""

    def __init__(self) -> None:
        super().__init__(None)

    def passes(self, name: str, path: str, continuation: Callable[[Any, Any], Any]) -> None:
        """Learn how to send a method."""
        self.stubs[name] = (path, continuation)

    def perform(self, command: Any) -> Any:
        """Carry out one command; nothing can be launched without waiting for it."""
        return None if isinstance(command, Launch) else super().perform(command)

    def _send(self, send: Send) -> Outcome:
        path, continuation = self.stub(send.method)
        details = _Details(path, send.timeout_s, send.metadata, **send.options)
        try:
            call = continuation(details, send.request)
            self.last.call = call
            message = next(call, None) if send.method in self.streams else call.result()
        except grpc.RpcError as error:
            return failure_of(error)
        return Reply(message, call)


class _Outcome(grpc.Call, FutureBase):
    """A call that has ended well, with the message that the application is to see."""

    def __init__(self, message: Any, call: Any) -> None:
        self._message, self._call = message, call

    def result(self, timeout: float | None = None) -> Any:
        return self._message

    def exception(self, timeout: float | None = None) -> None:
        return None

    def traceback(self, timeout: float | None = None) -> None:
        return None

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        fn(self)

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any:
        return None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def initial_metadata(self) -> Any:
        return self._call.initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._call.trailing_metadata()

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    def details(self) -> str:
        return ""


class SwitchingInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """The interceptor of one connection.

    Args:
        link: the connection's link; one intercepted channel has one link.

    Raises what `Link.call` raises, and otherwise what the channel raises.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._port = _PassingPort()

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Carry out one call of the application."""
        rpc = self._rpc(continuation, client_call_details, request)
        message = run(self.link.call(rpc), self._port.perform)
        return _Outcome(message, self._port.last.call)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Carry out one call of the application."""
        rpc = self._rpc(continuation, client_call_details, request)
        self._port.streams.add(rpc.name)
        return Stream(self._port, self.link, rpc)

    def _rpc(self, continuation: Any, details: Any, request: Any) -> Rpc:
        path = details.method if isinstance(details.method, str) else details.method.decode()
        kept = ("credentials", "wait_for_ready", "compression")
        options = [getattr(details, name, None) for name in kept]
        rpc = rpc_of(self.link, path, request, details.timeout, details.metadata, *options)
        self._port.passes(rpc.name, path, continuation)
        return rpc
