"""A web application that asks a cluster through the connector, with bluegreen's pages beside its own.

    gunicorn --config python:examples.gunicorn_conf --workers 2 examples.web:application
    uvicorn examples.web:asgi

`/rows` answers with the process that ran a query, and where; everything else is `/healthz`, `/readyz`, `/metrics` or
`/status`. `CLUSTER_PORT`, `CLUSTER_USER` and `CLUSTER_PASSWORD` say where the cluster is; `BLUEGREEN_STORE` what the
workers share, so that each knows what one of them has heard. With several workers `PROMETHEUS_MULTIPROC_DIR` makes
`/metrics` show all of them, and `PEERS`, a folder, makes `/status` do so.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from bluegreen.config.settings import Settings
from bluegreen.runtime.registry import managed
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.observe.health.checks import HealthMonitor
from bluegreen_adapters.observe.health.http import Pages
from bluegreen_adapters.observe.health.peers import Peers
from bluegreen_adapters.observe.metrics.collector import Measures
from bluegreen_adapters.observe.metrics.prometheus import PrometheusMeter, exposition
from bluegreen_adapters.observe.queue import Delivery

PORT = int(os.environ["CLUSTER_PORT"])
SETTINGS = Settings.from_environment()
SCOPE = Scope(f"127.0.0.1:{PORT}")

e6data.install(SETTINGS)
measures = Measures(PrometheusMeter())
delivery = Delivery(measures)
measures.watch("metrics", delivery)
delivery.follow_all()
watch = HealthMonitor(measures.healths).start()
peers = Peers(os.environ["PEERS"]) if "PEERS" in os.environ else None
pages = Pages(exposition(measures, peers=peers), peers)

_lock = threading.Lock()
_connections: list[Any] = []


def rows() -> bytes:
    """Run a query on this worker's connection, which is made with the first one."""
    with _lock:
        if not _connections:
            _connections.append(
                e6data.connect(
                    host="127.0.0.1",
                    port=PORT,
                    username=os.environ["CLUSTER_USER"],
                    password=os.environ["CLUSTER_PASSWORD"],
                    database="sales",
                )
            )
        cursor = _connections[0].cursor()
        cursor.execute("SELECT 'web' /*+ rows(4) batch(2) */")
        found = cursor.fetchall()
        cursor.clear()
    return f"{os.getpid()}: {len(found)} rows, {managed(SCOPE, SETTINGS).active}\n".encode()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application for WSGI."""
    if environ["PATH_INFO"] != "/rows":
        return pages(environ, start_response)
    body = rows()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The application for ASGI: the connector blocks, so it has a thread."""
    if scope["type"] != "http" or scope["path"] != "/rows":
        await pages.asgi(scope, receive, send)
        return
    body = await asyncio.to_thread(rows)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
