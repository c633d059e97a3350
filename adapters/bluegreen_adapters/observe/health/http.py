"""Pages for whoever asks a process by HTTP: an application for WSGI and ASGI, to be mounted or to be served by itself.

- `/healthz`: 200 if every scope is healthy, else 503, with each check.
- `/readyz`: 200 if this process can take queries: no scope has found that both strategies fail. With `?strategy=green`:
  200 if new queries go there already, and every connection has its session there, so that none will wait for a switch.
- `/metrics`: what Prometheus reads.
- `/status`: what `status` returns; with `?strategy=blue` only queries that are open there.

>>> pages = Pages()
>>> code, headers, body = pages.answer("GET", "/readyz")
>>> code, body.startswith(b'{"ready": ')
(200, True)
>>> pages.answer("GET", "/readyz", "strategy=red")[2]
b'{"error": "strategy is \\'red\\'; accepted: blue, green"}\\n'

In a server with several worker processes each answers for itself: `process` says which. With `peers` the answers of
`/status`, and of `/readyz` to whether nobody would notice a switch, are those of all of them: `others` has those of the
other ones, and `silent` those that have not answered.

Source: business logic, "Monitoring and Alerting"; spec, section 2.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

from bluegreen.errors import UnknownStrategy
from bluegreen.runtime.registry import managers
from bluegreen.types import Strategy
from bluegreen_adapters.observe.health.checks import Health, health, readiness
from bluegreen_adapters.observe.health.peers import Peers
from bluegreen_adapters.observe.status.snapshot import named, status

PATHS: Final = ("/healthz", "/readyz", "/metrics", "/status")

Answer = tuple[int, list[tuple[str, str]], bytes]
"""The status code, the headers and the body."""

Exposition = Callable[[], tuple[str, bytes]]
"""Returns the type of the content, and the metrics."""

_JSON: Final = "application/json"


class Pages:
    """The pages. Call it as an application for WSGI; `asgi` is the one for ASGI.

    Args:
        metrics: what `/metrics` shows, `prometheus.exposition(measures)` for example; without it there is no such page.
        peers: the other processes that answer together with this one.
    """

    def __init__(self, metrics: Exposition | None = None, peers: Peers | None = None) -> None:
        self._metrics, self._peers = metrics, peers
        if peers is not None:
            peers.answers("readyz", lambda name: _readyz(named(name)))

    def answer(self, method: str, path: str, query: str = "") -> Answer:
        """Return what is to be answered; never raises because of what was asked.

        Args:
            method: GET or HEAD, else the answer is 405.
            path: one of `PATHS`, else it is 404; what stands before it, where the application is mounted, is cut off.
            query: what follows the `?`.
        """
        if method not in ("GET", "HEAD"):
            return self._answer(405, {"error": f"method is {method}; accepted: GET, HEAD"}, method)
        page = next((one for one in PATHS if path.rstrip("/").endswith(one)), None)
        try:
            strategy = _strategy(query)
        except UnknownStrategy:
            wrong = parse_qs(query)["strategy"][-1]
            return self._answer(400, {"error": f"strategy is {wrong!r}; accepted: blue, green"}, method)
        if page == "/metrics" and self._metrics is not None:
            kind, body = self._metrics()
            return 200, _headers(kind, body), body if method == "GET" else b""
        if page == "/healthz":
            return self._answer(*_healthz(), method)
        if page == "/readyz":
            told = self._readyz(strategy)
            return self._answer(200 if told["ready"] else 503, told, method)
        if page == "/status":
            return self._answer(200, self._status(strategy), method)
        shown = [one for one in PATHS if one != "/metrics" or self._metrics is not None]
        return self._answer(
            404, {"error": f"there is no {path[:200]!r}; accepted: {', '.join(shown)}"}, method
        )

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer as an application for WSGI."""
        code, headers, body = self.answer(
            environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        )
        start_response(f"{code} {HTTPStatus(code).phrase}", headers)
        return [body]

    async def asgi(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer as an application for ASGI, its lifespan included. Only who asks `peers` waits, in a thread."""
        if scope["type"] == "lifespan":
            await _lives(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"scope is of type {scope['type']!r}; accepted: http, lifespan")
        query = bytes(scope.get("query_string", b"")).decode("latin-1")
        asked = (scope["method"], scope["path"], query)
        if self._peers is None:
            code, headers, body = self.answer(*asked)
        else:
            code, headers, body = await asyncio.to_thread(self.answer, *asked)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": code, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    def _status(self, strategy: Strategy | None) -> dict[str, Any]:
        found = status(strategy)
        if self._peers is None:
            return found
        told = self._peers.ask("status", _name(strategy))
        return {**found, "others": told.answers, "silent": told.silent}

    def _readyz(self, strategy: Strategy | None) -> dict[str, Any]:
        found = _readyz(strategy)
        if self._peers is None or strategy is None:
            return found
        told = self._peers.ask("readyz", _name(strategy))
        ready = found["ready"] and not told.silent and all(one["ready"] for one in told.answers)
        return {**found, "ready": ready, "others": told.answers, "silent": told.silent}

    def _answer(self, code: int, value: object, method: str) -> Answer:
        body = json.dumps(value).encode() + b"\n"
        return code, _headers(_JSON, body), body if method == "GET" or code == 405 else b""


async def _lives(
    receive: Callable[[], Awaitable[Mapping[str, Any]]], send: Callable[[Mapping[str, Any]], Awaitable[None]]
) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _headers(kind: str, body: bytes) -> list[tuple[str, str]]:
    return [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]


def _strategy(query: str) -> Strategy | None:
    given = parse_qs(query).get("strategy")
    return None if given is None else Strategy.parse(given[-1])


def _healthz() -> tuple[int, object]:
    found = [health(one) for one in managers()]
    ok = all(one.ok for one in found)
    return (200 if ok else 503), {"healthy": ok, "scopes": {str(one.scope): _verdicts(one) for one in found}}


def _verdicts(found: Health) -> dict[str, Any]:
    checks = {one.check: one.reason or "ok" for one in found.verdicts}
    return {"healthy": found.ok, "state": found.state, "age_s": round(found.age_s, 3), "checks": checks}


def _name(strategy: Strategy | None) -> str:
    return "" if strategy is None else strategy.value


def _readyz(strategy: Strategy | None) -> dict[str, Any]:
    scopes: dict[str, Any] = {}
    for manager in managers():
        found = readiness(manager, strategy)
        (available,) = [one for one in health(manager).verdicts if one.check == "availability"]
        scopes[str(manager.scope)] = {
            "ready": found.ready if strategy is not None else available.ok,
            "state": manager.state,
            "strategy": found.strategy.value,
            "aware": found.aware,
            "connections": found.connections,
            "warm": found.warm,
            "reason": available.reason or "ok",
        }
    ready = all(one["ready"] for one in scopes.values())
    return {"ready": ready, "process": os.getpid(), "scopes": scopes}
