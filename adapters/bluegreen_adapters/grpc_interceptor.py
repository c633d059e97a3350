"""The same as `grpc_sync`, for those who keep their channel and add an interceptor to it.

    channel = grpc.intercept_channel(grpc.insecure_channel(target), SwitchingInterceptor(link))

An interceptor sees one method at a time, so it learns from the calls that pass how to send the others: a
query can be begun again since its begin has passed. It cannot open a session ahead of time, and a call is not
under way before it has been answered: `future` waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import grpc

from bluegreen_adapters.commands import Outcome, Reply, Send
from bluegreen_adapters.grpc_calls import Port, Stream, failure_of, parser_of, rpc_of
from bluegreen_adapters.grpc_types import Ended
from bluegreen_adapters.link import Link
from bluegreen_adapters.queries import Rpc


@attrs.frozen
class _Details(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Any = attrs.field(repr=False)
    credentials: Any = attrs.field(default=None, repr=False)
    wait_for_ready: Any = None
    compression: Any = None


class _PassingPort(Port):
    """Sends by the continuations of the calls that have passed."""

    def __init__(self) -> None:
        super().__init__(None)

    def passes(self, rpc: Rpc, path: str, continuation: Callable[[Any, Any], Any]) -> None:
        """Learn how to send a method, and what it answers."""
        self.stubs[rpc.name] = (path, continuation)
        if rpc.name not in self.parsers:
            self.parsers[rpc.name] = parser_of(path, rpc.request)

    def launch(self, send: Send) -> None:
        """Send nothing: whether a continuation waits for the answer depends on the call that it is of."""

    def send(self, send: Send) -> Outcome:
        """Send one RPC by the continuation of its method's last call."""
        path, continuation = self.stub(send.method)
        call = continuation(_Details(path, send.timeout_s, send.metadata, **send.options), send.request)
        try:
            message: Any = next(call, None) if send.method in self.streams else call.result()
        except grpc.RpcError as error:
            return failure_of(error)
        return Reply(message, call)


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
        return Ended(*self._port.run(self.link.call(rpc)))

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
        self._port.passes(rpc, path, continuation)
        return rpc
