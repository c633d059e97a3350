"""The TLS end of a cluster: a gateway with one address that presents the certificate of one stack at a time.

    with Gateway(engine, {"blue": one, "green": another}) as gateway:
        gateway.presents = "green"  # from the next handshake on

It is a real gRPC server in threads of this process. What it decrypts it hands on to the engine, byte by byte, and it
keeps in which order which stack was asked for what, and by whose certificate. As gateways do that want a new
certificate to be seen, it bids each connection farewell soon: calls under way end, later ones open another one.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
import grpc

from support.tls import Authority

FAREWELL_MS = 100
"""How old a connection gets before its client is told to open another one."""

_OPTIONS = (
    ("grpc.max_connection_age_ms", FAREWELL_MS),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
)
_WORKERS = 16
_OWN_KEYS = ("user-agent", "grpc-")
"""Metadata keys, or how they begin, that belong to one hop."""


@attrs.frozen
class Seen:
    """A call that has arrived: where it goes, which it is, and whose certificate its client has shown."""

    stack: str
    method: str
    client: str = ""


class Gateway:
    """The TLS end of an engine without TLS. A context manager.

    Args:
        engine: where calls go that name a stack which `onward` does not have.
        certificates: for each name that `presents` may have, whose certificate that is; none: there is no TLS, as
            where somebody in between strips it.
        presents: whose certificate is shown first.
        port: where to listen, on the loopback address; 0 takes a free one.
        clients: whose certificates clients must have; none: they need no certificate.
        onward: channels to single stacks, instead of the engine's address.

    Attributes:
        port: where it listens.
        presents: whose certificate is shown in the next handshake.
        shown: whose certificate was shown in each handshake, oldest first.
        seen: the calls that have arrived, oldest first.
    """

    def __init__(
        self,
        engine: Any,
        certificates: Mapping[str, Authority] | None,
        *,
        presents: str = "blue",
        port: int = 0,
        clients: Authority | None = None,
        onward: Mapping[str, grpc.Channel] | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.presents = presents
        self.shown: list[str] = []
        self.seen: list[Seen] = []
        self._clients = clients
        self._configurations = {name: self._configured(one) for name, one in (certificates or {}).items()}
        self._onward = dict(onward or {})
        self._engine = grpc.insecure_channel(engine.address)
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="gateway")
        self._lock = threading.Lock()
        self._server = grpc.server(self._threads, options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_Handler(self),))
        wanted = f"{self.host}:{port}"
        if certificates is None:
            self.port: int = self._server.add_insecure_port(wanted)
        else:
            credentials = grpc.dynamic_ssl_server_credentials(
                self._configurations[presents], self._next, require_client_authentication=clients is not None
            )
            self.port = self._server.add_secure_port(wanted, credentials)

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return f"{self.host}:{self.port}"

    def methods(self, stack: str) -> list[str]:
        """Return what a stack was asked for, oldest first."""
        with self._lock:
            return [call.method for call in self.seen if call.stack == stack]

    def carried(self, path: str, request: bytes, context: Any) -> bytes:
        """Hand a call on, and return its answer."""
        given = context.invocation_metadata()
        stack = next((value for key, value in given if key == "strategy"), "none")
        names = context.auth_context().get("x509_common_name", [b""])
        with self._lock:
            self.seen.append(Seen(stack, path.rsplit("/", 1)[-1], names[0].decode()))
        left_s = context.time_remaining()
        channel = self._onward.get(stack, self._engine)
        try:
            answer: bytes = channel.unary_unary(path)(
                request,
                timeout=left_s if left_s is not None and left_s < threading.TIMEOUT_MAX else None,
                metadata=[(key, value) for key, value in given if not key.startswith(_OWN_KEYS)],
            )
            return answer
        except grpc.RpcError as error:
            failed: Any = error
            context.abort(failed.code(), failed.details())
            raise

    def close(self) -> None:
        """Stop listening, and break off what is under way. Closing again does nothing."""
        self._server.stop(None).wait()
        self._threads.shutdown()
        self._engine.close()

    def __enter__(self) -> Gateway:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _configured(self, authority: Authority) -> Any:
        pair = Path(authority.key).read_bytes(), Path(authority.certificate).read_bytes()
        known = None if self._clients is None else Path(self._clients.root).read_bytes()
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=known)

    def _next(self) -> Any:
        """Return what is shown in a handshake that begins now."""
        with self._lock:
            self.shown.append(self.presents)
            return self._configurations[self.presents]


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = str(handler_call_details.method)
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._gateway.carried(path, request, context)
        )
