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

import asyncio
from collections.abc import Sequence
from typing import Any

from grpc_health.v1 import health as standard
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bluegreen.runtime.registry import managers
from bluegreen_adapters.observe.health.checks import Health, health

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
        self._told, statuses = _statuses(self._told, found)
        for name, one in statuses.items():
            self.set(name, one)

    def Check(self, request: Any, context: Any) -> Any:
        """Look at the moment, and answer."""
        self.take([health(one) for one in managers()])
        return super().Check(request, context)


class AsyncGrpcHealth(standard.aio.HealthServicer):
    """The same for a server of `grpc.aio`."""

    def __init__(self) -> None:
        super().__init__()
        self._told: frozenset[str] = frozenset()
        self._loop: asyncio.AbstractEventLoop | None = None

    def add_to(self, server: Any) -> None:
        """Serve it; called in the server's event loop."""
        self._loop = asyncio.get_running_loop()
        health_pb2_grpc.add_HealthServicer_to_server(self, server)

    def take(self, found: Sequence[Health]) -> None:
        """Take note of what was found, of every scope of this process; any thread may call it, once it is served."""
        if self._loop is not None and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._apply(found), self._loop)

    async def Check(self, request: Any, context: Any) -> Any:
        """Look at the moment, and answer."""
        await self._apply([health(one) for one in managers()])
        return await super().Check(request, context)

    async def _apply(self, found: Sequence[Health]) -> None:
        self._told, statuses = _statuses(self._told, found)
        for name, one in statuses.items():
            await self.set(name, one)


def _statuses(told: frozenset[str], found: Sequence[Health]) -> tuple[frozenset[str], dict[str, int]]:
    """Return which scopes are known now, and the status of each service."""
    known = {str(one.scope): SERVING if one.ok else NOT_SERVING for one in found}
    gone = dict.fromkeys(told - set(known), UNKNOWN)
    whole = NOT_SERVING if NOT_SERVING in known.values() else SERVING
    return frozenset(known), {**gone, **known, "": whole}
