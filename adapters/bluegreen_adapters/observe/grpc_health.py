"""The standard health service of gRPC, for servers that answer with the health of the scopes that they use.

>>> from concurrent.futures import ThreadPoolExecutor
>>> import grpc
>>> server = grpc.server(ThreadPoolExecutor(1))
>>> GrpcHealth().add_to(server)

The service `""` is all of the process, and each scope is one by its name, `db.example:443/sales`. `Check` looks at the
moment; `Watch` is told whenever `take` is called: `Watch(service.take).start()` of `health` calls it every 30 seconds.

It needs grpcio-health-checking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grpc_health.v1 import health as standard
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bluegreen.registry import managers
from bluegreen_adapters.observe.health import Health, health

SERVING, NOT_SERVING, UNKNOWN = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
    health_pb2.HealthCheckResponse.SERVICE_UNKNOWN,
)


class GrpcHealth(standard.HealthServicer):
    """The servicer. What has been said of a scope that is forgotten becomes `SERVICE_UNKNOWN`."""

    def __init__(self) -> None:
        super().__init__()
        self._told: frozenset[str] = frozenset()

    def add_to(self, server: Any) -> None:
        """Serve it."""
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def take(self, found: Sequence[Health]) -> None:
        """Take note of what was found, of every scope of this process."""
        names = {str(one.scope): one.ok for one in found}
        for name, ok in names.items():
            self.set(name, SERVING if ok else NOT_SERVING)
        for name in self._told - set(names):
            self.set(name, UNKNOWN)
        self._told = frozenset(names)
        self.set("", SERVING if all(names.values()) else NOT_SERVING)

    def Check(self, request: Any, context: Any) -> Any:
        """Look at the moment, and answer."""
        self.take([health(one) for one in managers()])
        return super().Check(request, context)
