"""The test engine on the wire: a gRPC server that speaks the e6data protocol.

This is the one module that needs grpcio and the connector, whose protobuf modules it serves. It runs on
asyncio: a request that waits (latency, silence, a slow statement) costs no thread, so however many are
silent, the others are served; and the model behind it is only ever touched by one thread.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from bluegreen_adapters.testing.engine.faults import InjectedFault
from bluegreen_adapters.testing.engine.gateway import EngineCall, Gateway, Served, Silence
from bluegreen_adapters.testing.engine.handlers import METHODS, Fields, Handler
from bluegreen_adapters.testing.engine.options import EngineOptions
from bluegreen_adapters.testing.engine.phases import Phase
from bluegreen_adapters.testing.engine.stacks import ACCESS_DENIED, Problem

HOST = "127.0.0.1"
"""The engine listens at the loopback address only."""

SERVICE = "QueryEngineService"
CLUSTER_SERVICE = "ClusterService"

ENDED_SILENCE = Problem("UNAVAILABLE", "the connection was lost")
"""The answer to a request that met silence, when the phase that was silent ends."""

# Without any grace, every client with an open channel is told, and logs, that the server has failed.
_STOP_GRACE_S = 0.05

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Connectors send keepalive pings far more often than a server puts up with by default.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
)

_Handler = Callable[[Any, Any], Awaitable[Any]]

# The generated modules have no types. This is where they come in, and they stay in this module.
_engine: Any = importlib.import_module("e6data_python_connector.server.e6x_engine_pb2")
_cluster: Any = importlib.import_module("e6data_python_connector.cluster_server.cluster_pb2")


class EngineServer:
    """Serves a gateway over gRPC.

    Args:
        gateway: the model to serve. Change it only on the event loop that runs the server.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._phase_ended = asyncio.Event()
        self._server: Any = None

    async def start(self) -> int:
        """Listen and serve; return the port.

        Raises:
            OSError: the port is taken, or what TLS needs cannot be read.
        """
        wanted = f"{HOST}:{self.gateway.options.port}"
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(SERVICE, self._engine_handlers()),
                grpc.method_handlers_generic_handler(CLUSTER_SERVICE, self._cluster_handlers()),
            )
        )
        credentials = _credentials(self.gateway.options)
        try:
            port: int = (
                self._server.add_insecure_port(wanted)
                if credentials is None
                else self._server.add_secure_port(wanted, credentials)
            )
        except RuntimeError as error:
            raise OSError(f"cannot listen on {wanted}: {error}") from error
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Stop; requests in flight are cancelled almost at once."""
        await self._server.stop(grace=_STOP_GRACE_S)

    def enter(self, phase: Phase) -> None:
        """Begin a phase, and end every silence of the one before."""
        self.gateway.enter(phase)
        self.end_silence()

    def end_silence(self) -> None:
        """Answer every request that has met silence with UNAVAILABLE."""
        self._phase_ended.set()
        self._phase_ended = asyncio.Event()

    # -- handlers

    def _engine_handlers(self) -> dict[str, Any]:
        service = _engine.DESCRIPTOR.services_by_name[SERVICE]
        handlers: dict[str, Any] = {}
        for name, method in METHODS.items():
            wire = service.methods_by_name[name]
            request_class = getattr(_engine, wire.input_type.name)
            response_class = getattr(_engine, wire.output_type.name)
            handlers[name] = grpc.unary_unary_rpc_method_handler(
                self._handler(method, response_class, wire.output_type.fields_by_name),
                request_deserializer=request_class.FromString,
                response_serializer=response_class.SerializeToString,
            )
        return handlers

    def _handler(self, method: Handler, response_class: Any, fields: Iterable[str]) -> _Handler:
        known = frozenset(fields)
        has_session, has_news = "sessionId" in known, "new_strategy" in known

        async def handle(request: Any, context: Any) -> Any:
            call = _call(method, request, context)
            self.gateway.arrived(call)
            try:
                outcome = await self._outcome(call)
            except asyncio.CancelledError:
                self.gateway.given_up(call)
                raise
            if isinstance(outcome, Problem):
                return await self._fail(call, outcome, context)
            response = response_class(**outcome)
            if has_session:
                response.sessionId = self.gateway.renewed_session(call)
            if has_news:
                response.new_strategy = self.gateway.announcement(call.strategy)
            return response

        return handle

    async def _outcome(self, call: EngineCall) -> Fields | Problem:
        fault = self.gateway.strike(call)
        if fault is not None:
            problem = await self._suffer(fault)
            if problem is not None:
                return problem
        met = self.gateway.admit(call)
        if isinstance(met, Silence):
            return await self._silence()
        if isinstance(met, Served):
            if met.after_s > 0:
                await asyncio.sleep(met.after_s)
            problem = self.gateway.completed(call, met)
            if problem is not None:
                return problem
            if fault is not None and fault.action == "drop":
                return Problem(fault.code, fault.details)
            return met.fields
        return met

    async def _suffer(self, fault: InjectedFault) -> Problem | None:
        if fault.delay_s > 0:
            await asyncio.sleep(fault.delay_s)
        if fault.action == "silent":
            return await self._silence()
        if fault.action == "access_denied":
            return ACCESS_DENIED
        return Problem(fault.code, fault.details) if fault.action == "status" else None

    async def _fail(self, call: EngineCall, problem: Problem, context: Any) -> Any:
        self.gateway.answered(call, problem)
        await context.abort(getattr(grpc.StatusCode, problem.code), problem.details)

    async def _silence(self) -> Problem:
        await self._phase_ended.wait()
        return ENDED_SILENCE

    def _cluster_handlers(self) -> dict[str, Any]:
        def resume() -> None:
            self.enter(self.gateway.phase.resumed())

        return {
            "status": _cluster_handler(
                self._cluster_call("status", _cluster.ClusterStatusResponse, lambda: None),
                _cluster.ClusterStatusRequest,
                _cluster.ClusterStatusResponse,
            ),
            "resume": _cluster_handler(
                self._cluster_call("resume", _cluster.ResumeResponse, resume),
                _cluster.ResumeRequest,
                _cluster.ResumeResponse,
            ),
        }

    def _cluster_call(self, name: str, response_class: Any, act: Callable[[], None]) -> _Handler:
        method = Handler(f"cluster.{name}", "open", lambda _, __, ___: {})

        async def handle(request: Any, context: Any) -> Any:
            call = _call(method, request, context)
            self.gateway.arrived(call)
            met = self.gateway.admit(call)
            asleep = (
                call.strategy is not None and self.gateway.phase.conduct(call.strategy).new == "suspended"
            )
            if asleep:
                act()
                return response_class(status="suspended" if name == "status" else "resuming")
            if isinstance(met, Silence):
                met = await self._silence()
            if isinstance(met, Problem):
                return await self._fail(call, met, context)
            return response_class(status="active")

        return handle


def _credentials(options: EngineOptions) -> Any:
    """Return what TLS needs, or none if it is not wanted.

    Raises:
        OSError: a file cannot be read, is no PEM, or the key is another certificate's.
    """
    if options.certificate is None or options.key is None:
        return None
    pair = options.certificate, options.key
    try:
        # gRPC would listen with whatever it is given, and then refuse every handshake.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair)
        certificate, key = (Path(path).read_bytes() for path in pair)
    except OSError as error:
        raise OSError(f"cannot serve TLS with {' and '.join(pair)}: {error}") from error
    return grpc.ssl_server_credentials([(key, certificate)])


def _cluster_handler(handle: _Handler, request_class: Any, response_class: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_class.FromString,
        response_serializer=response_class.SerializeToString,
    )


def _call(method: Handler, request: Any, context: Any) -> EngineCall:
    strategy, token, planner_ip = "", None, ""
    for key, value in context.invocation_metadata():
        if key == "strategy":
            strategy = value
        elif key == "plannerip":
            planner_ip = value
        elif key == "authorization" and value.startswith("Bearer "):
            token = value[len("Bearer ") :]
    return EngineCall(method, request, strategy, token, planner_ip)
