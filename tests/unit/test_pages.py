"""The pages: what each answers, to WSGI and to ASGI, and what it answers to what it does not know."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.events import QueryCompleted, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed, scopes
from bluegreen.types import Scope
from bluegreen_adapters.observe.health.http import Pages
from bluegreen_adapters.observe.status.snapshot import TICKETS, status
from support.clock import FakeClock
from support.managing import BLUE, GREEN, accepting, refusing

SCOPE = Scope("pages.example:443", "sales")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def manager(clock: FakeClock) -> Iterator[StrategyManager]:
    for scope in scopes():  # of other tests of this process
        forget(scope)
    made = managed(SCOPE)
    made._clock, made._since_s = clock, clock()
    yield made
    forget(SCOPE)


@pytest.fixture
def pages() -> Pages:
    return Pages(lambda: ("text/plain; version=9", b"metrics 1\n"))


def asked(pages: Pages, path: str, query: str = "") -> tuple[int, Any]:
    code, _, body = pages.answer("GET", path, query)
    return code, json.loads(body)


def test_healthz_is_503_as_long_as_a_check_fails_and_says_which(
    pages: Pages, manager: StrategyManager
) -> None:
    assert asked(pages, "/healthz")[0] == 200
    with pytest.raises(StrategyUnavailable):
        manager.start(refusing)
    code, found = asked(pages, "/healthz")
    assert (code, found["healthy"]) == (503, False)
    told = found["scopes"]["pages.example:443/sales"]
    assert (told["state"], told["checks"]["drain"]) == ("Failed", "ok")
    assert told["checks"]["availability"] == "neither strategy can be used (blue: no route, green: no route)"
    assert asked(pages, "/readyz")[0] == 503


def test_a_slow_drain_is_unhealthy_but_takes_no_query_away(
    pages: Pages, manager: StrategyManager, clock: FakeClock
) -> None:
    manager.start(accepting)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    clock.advance(manager.settings.drain_timeout_s + 1)
    assert asked(pages, "/healthz")[0] == 503
    assert asked(pages, "/readyz")[0] == 200


def test_readyz_for_a_strategy_is_ready_once_new_queries_go_there(
    pages: Pages, manager: StrategyManager
) -> None:
    ticket = manager.start(accepting)
    assert asked(pages, "/readyz", "strategy=green")[0] == 503
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    code, found = asked(pages, "/readyz", "strategy=GREEN")
    assert (code, found["scopes"][str(SCOPE)]["aware"]) == (200, True)
    assert asked(pages, "/readyz", "strategy=blue")[0] == 503
    manager.end(QueryCompleted(ticket))


def test_status_says_who_holds_a_ticket_on_which_strategy_since_when(
    pages: Pages, manager: StrategyManager, clock: FakeClock
) -> None:
    manager.start(accepting)
    clock.advance(90)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    manager.start(accepting)
    clock.advance(10)
    code, found = asked(pages, "/status")
    (told,) = found["scopes"]
    assert code == 200
    assert (told["scope"], told["state"], told["active"], told["pending"]) == (
        str(SCOPE), "PendingTransition", "blue", "green",
    )  # fmt: skip
    assert (told["new_queries_go_to"], told["open"], told["age_s"]) == (
        "green",
        {"blue": 1, "green": 1},
        10.0,
    )
    assert [(one["query"], one["strategy"], one["age_s"]) for one in told["tickets"]] == [
        (1, "blue", 100.0),
        (2, "green", 10.0),
    ]
    assert abs(found["at"] - told["tickets"][0]["since"] - 100) < 10
    (told,) = asked(pages, "/status", "strategy=blue")[1]["scopes"]
    assert [one["query"] for one in told["tickets"]] == [1]
    assert told["open"] == {"blue": 1, "green": 1}


def test_status_lists_the_oldest_queries_and_counts_the_others(manager: StrategyManager) -> None:
    for _ in range(TICKETS + 5):
        manager.start(accepting)
    (told,) = status()["scopes"]
    assert len(told["tickets"]) == TICKETS
    assert (told["tickets"][0]["query"], told["not_listed"], told["open"]["blue"]) == (1, 5, TICKETS + 5)
    (told,) = status(GREEN)["scopes"]
    assert (told["tickets"], told["not_listed"]) == ([], 0)
    (told,) = status(BLUE)["scopes"]
    assert told["not_listed"] == 5


@pytest.mark.parametrize(
    ("method", "path", "query", "code", "error"),
    [
        ("POST", "/healthz", "", 405, "method is POST; accepted: GET, HEAD"),
        ("GET", "/health", "", 404, "there is no '/health'; accepted: /healthz, /readyz, /metrics, /status"),
        ("GET", "/", "", 404, "there is no '/'; accepted: /healthz, /readyz, /metrics, /status"),
        ("GET", "/status", "strategy=red", 400, "strategy is 'red'; accepted: blue, green"),
        ("GET", "/readyz", "strategy=%0d%0a", 400, "strategy is '\\r\\n'; accepted: blue, green"),
    ],
)
def test_what_is_not_known_is_named_with_what_is(
    pages: Pages, method: str, path: str, query: str, code: int, error: str
) -> None:
    found, headers, body = pages.answer(method, path, query)
    assert (found, json.loads(body)) == (code, {"error": error})
    assert dict(headers)["Content-Length"] == str(len(body))


def test_without_metrics_there_is_no_such_page() -> None:
    code, found = asked(Pages(), "/metrics")
    assert (code, found["error"]) == (404, "there is no '/metrics'; accepted: /healthz, /readyz, /status")


def test_it_may_be_mounted_below_another_path(pages: Pages) -> None:
    assert pages.answer("GET", "/internal/bluegreen/metrics/")[2] == b"metrics 1\n"
    assert pages.answer("GET", "/nohealthz")[0] == 404


def called(pages: Pages, method: str, path: str) -> tuple[str, dict[str, str], bytes]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
    }
    setup_testing_defaults(environ)
    begun: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        begun.append((status, dict(headers)))
        return lambda data: None

    parts = validator(pages)(environ, start_response)  # it raises where WSGI is not kept
    body = b"".join(parts)
    parts.close()  # type: ignore[attr-defined]
    return (*begun[0], body)


def test_it_is_an_application_for_wsgi_as_its_validator_says(pages: Pages, manager: StrategyManager) -> None:
    status, headers, body = called(pages, "GET", "/healthz")
    assert (status, json.loads(body)["healthy"]) == ("200 OK", True)
    assert headers["Cache-Control"] == "no-store"
    assert called(pages, "GET", "/metrics")[1:] == (
        {"Content-Type": "text/plain; version=9", "Content-Length": "10", "Cache-Control": "no-store"},
        b"metrics 1\n",
    )
    status, headers, body = called(pages, "HEAD", "/metrics")
    assert (status, headers["Content-Length"], body) == ("200 OK", "10", b"")


def test_it_is_an_application_for_asgi_with_a_lifespan(pages: Pages, manager: StrategyManager) -> None:
    async def spoken(scope: dict[str, Any], *said: str) -> list[Any]:
        told, heard = list[Any](), iter([{"type": one} for one in said])

        async def receive() -> Any:
            return next(heard)

        async def send(message: Any) -> None:
            told.append(message)

        await pages.asgi(scope, receive, send)
        return told

    begun, body = asyncio.run(
        spoken({"type": "http", "method": "GET", "path": "/status", "query_string": b""})
    )
    assert (begun["status"], dict(begun["headers"])[b"content-type"]) == (200, b"application/json")
    assert json.loads(body["body"])["scopes"][0]["scope"] == str(SCOPE)
    lived = asyncio.run(spoken({"type": "lifespan"}, "lifespan.startup", "lifespan.shutdown"))
    assert [one["type"] for one in lived] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="scope is of type 'websocket'; accepted: http, lifespan"):
        asyncio.run(spoken({"type": "websocket"}))
