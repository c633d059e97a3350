"""The same as `channel`, for those who keep their channel and add an interceptor to it.

    channel = grpc.intercept_channel(grpc.insecure_channel(target), SwitchingInterceptor(link))

An interceptor sees one method at a time, so it learns from the calls that pass how to send the others: a
query can be begun again since its begin has passed. How gRPC lets an interceptor send depends on the call that it
intercepts: `continuation` waits for the answer if the application does. So what is not the application's own RPC is
sent by a thread.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs
import grpc

from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.query import Rpc
from bluegreen_adapters.connection.requests import Outcome, Reply, Send
from bluegreen_adapters.grpc.calls import FutureCall, StreamCall
from bluegreen_adapters.grpc.driver import Driver, failure_of, parser_of, rpc_of

_log = logging.getLogger("bluegreen.grpc")


@attrs.frozen
class _Details(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Any = attrs.field(repr=False)
    credentials: Any = attrs.field(default=None, repr=False)
    wait_for_ready: Any = None
    compression: Any = None


class _PassingPort(Driver):
    """Sends by the continuations of the calls that have passed."""

    begins_others = False  # the continuation of another call may wait for the answer
    waits_to_begin = True

    def __init__(self) -> None:
        super().__init__(None)
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Callable[[], None]]] = {}  # by method; the first one is being sent

    def learn(self, rpc: Rpc, path: str, continuation: Callable[[Any, Any], Any]) -> None:
        """Learn how to send a method, and what it answers."""
        self.stubs[rpc.name] = (path, continuation)
        if rpc.name not in self.parsers:
            self.parsers[rpc.name] = parser_of(path, rpc.request)

    def begin_by(self, path: str, continuation: Callable[[Any, Any], Any], send: Send) -> Any:
        """Send an RPC of the method that a continuation is of; return the real call.

        It waits for the answer if the application's call does.
        """
        return continuation(_Details(path, send.timeout_s, send.metadata, **send.options), send.request)

    def send(self, send: Send) -> Outcome:
        """Send one RPC by the continuation of its method's last call."""
        path, continuation = self.stub(send.method)
        call = self.begin_by(path, continuation, send)
        try:
            message: Any = next(call, None) if send.method in self.streams else call.result()
        except grpc.RpcError as error:
            return failure_of(error)
        return Reply(message, call)

    def launch(self, send: Send) -> Future[Outcome]:
        """Send one RPC by a thread; return a future of the outcome.

        Each method has one such thread at a time, and its RPCs wait for each other: a stack that does not answer must
        not collect threads, and a login must not wait until a dropped query has been freed.
        """
        self.stub(send.method)  # raises for a method that has not passed yet
        outcome: Future[Outcome] = Future()

        def work() -> None:
            try:
                outcome.set_result(self.send(send))
            except Exception as error:  # noqa: BLE001  of an interceptor behind us: nobody waits for the answer
                _log.debug("%s failed in the background: %r", send.method, type(error))
            finally:
                outcome.cancel()  # does nothing if there is a result

        with self._lock:
            waiting = self._waiting.setdefault(send.method, deque())
            waiting.append(work)
            is_first = len(waiting) == 1
        if is_first:
            name = f"bluegreen-launch-{send.method}"
            threading.Thread(target=self._work, args=(waiting,), name=name, daemon=True).start()
        return outcome

    def _work(self, waiting: deque[Callable[[], None]]) -> None:
        """Send what waits, one RPC after the other, until there is nothing left."""
        while True:
            waiting[0]()
            with self._lock:
                waiting.popleft()
                if not waiting:
                    return


class SwitchingInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """The interceptor of one connection.

    Args:
        link: the connection's link; one intercepted channel has one link.

    Raises what `Connection.call` raises, and otherwise what the channel raises.
    """

    def __init__(self, link: Connection) -> None:
        self.link = link
        self._port = _PassingPort()

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Carry out one call of the application."""
        rpc, begin = self._learn(continuation, client_call_details, request)
        return FutureCall(self._port, self.link, rpc, begin)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Carry out one call of the application."""
        rpc, begin = self._learn(continuation, client_call_details, request, stream=True)
        return StreamCall(self._port, self.link, rpc, begin)

    def _learn(
        self, continuation: Any, details: Any, request: Any, *, stream: bool = False
    ) -> tuple[Rpc, Callable[[Send], Any]]:
        """Learn from a call how its method is sent; return the RPC, and what sends it."""
        path = details.method if isinstance(details.method, str) else details.method.decode()
        kept = ("credentials", "wait_for_ready", "compression")
        options = [getattr(details, name, None) for name in kept]
        rpc = rpc_of(self.link, path, request, details.timeout, details.metadata, *options, stream=stream)
        if stream:
            self._port.streams.add(rpc.name)
        self._port.learn(rpc, path, continuation)
        # Not the last call's continuation, but this one's: that of another call may wait where this one must not.
        return rpc, functools.partial(self._port.begin_by, path, continuation)
