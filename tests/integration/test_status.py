"""`bluegreen status` and `bluegreen watch`, asking a real process over HTTP, and reading a real store."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import attrs
import pytest

from bluegreen.machines.strategy.events import QueryCompleted, StrategyAnnounced
from bluegreen.runtime.registry import forget, managed, scopes
from bluegreen.types import Scope, Strategy
from bluegreen_adapters import e6data
from bluegreen_adapters.observe.health.checks import readiness
from bluegreen_adapters.observe.health.http import Pages
from bluegreen_adapters.observe.status.snapshot import status
from bluegreen_adapters.testing.engine import EngineProcess
from support.fleet import PASSWORD, USER
from support.redis_server import free_port
from support.store_suite import until

pytestmark = pytest.mark.integration
SCOPE = Scope("status.example:443", "sales")


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[str]:
    server = make_server("127.0.0.1", 0, Pages(), handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def draining() -> Iterator[None]:
    for scope in scopes():  # of other tests of this process
        forget(scope)
    manager = managed(SCOPE)
    manager.start(lambda strategy, left_s: None)
    manager.send(StrategyAnnounced(Strategy.GREEN, manager.state_version))
    yield
    forget(SCOPE)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "200"}
    command = [sys.executable, "-m", "bluegreen", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def on_a_terminal(*arguments: str, columns: int = 120) -> tuple[int, str]:
    """What a command writes to a terminal."""
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": str(columns), "TERM": "xterm",
    }  # fmt: skip
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bluegreen", *arguments],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown, over_s = b"", time.monotonic() + 120
    while time.monotonic() < over_s:
        if select.select([ours], [], [], 1)[0]:
            try:
                read = os.read(ours, 65536)
            except OSError:  # its other side is closed
                break
            shown += read
    code = process.wait(60)
    os.close(ours)
    return code, shown.decode()


def test_it_says_who_holds_a_ticket_on_the_old_stack_since_when(served: str, draining: None) -> None:
    done = run("status", served)
    first, second = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert f"process {os.getpid()}: {SCOPE}: PendingTransition for " in first
    assert (
        "new queries go to green, pending green, state_version 2; open: 1 on blue, 0 on green; healthy"
        in first
    )
    assert second.startswith("  query 1 on blue since 20")
    assert "query 1" not in run("status", served, "--strategy", "green").stdout


def test_json_is_what_the_process_answers(served: str, draining: None) -> None:
    found = json.loads(run("status", "--json", served).stdout)
    assert found["unreachable"] == []
    (process,) = found["processes"]
    assert (process["process"], process["scopes"][0]["tickets"][0]["strategy"]) == (os.getpid(), "blue")


def test_on_a_terminal_it_is_tables(served: str, draining: None) -> None:
    code, shown = on_a_terminal("status", served)
    assert code == 0
    for part in (f" {SCOPE} ", " PendingTransition ", "open queries, oldest first", "healthy", "────"):
        assert part in shown


def test_a_narrow_terminal_gets_lines_rather_than_torn_tables(served: str, draining: None) -> None:
    code, shown = on_a_terminal("status", served, columns=80)
    assert code == 0
    assert "PendingTransition" in shown
    assert "query 1 on blue since" in shown
    assert "───" not in shown


def test_watch_updates_in_place_on_a_terminal_and_writes_lines_that_changed_elsewhere(
    served: str, draining: None
) -> None:
    code, shown = on_a_terminal("watch", served, "--count", "3", "--every", "0.1")
    assert code == 0
    assert shown.count("PendingTransition") >= 3, "it is drawn again in the end"
    assert "\x1b[1A" in shown, "the cursor goes up again"
    done = run("watch", served, "--count", "3", "--every", "0.1")
    assert done.returncode == 0
    assert done.stdout.count("PendingTransition") == 1, "nothing has changed"
    assert "\x1b" not in done.stdout


def test_it_reads_a_store(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    from bluegreen_adapters.stores import open_store

    url = f"lmdb://{tmp_path / 'shared'}?wait_ms=1000"
    store = open_store(url)
    record = store.read(SCOPE)
    assert (
        "announced nothing, store_epoch 0, by nobody, never"
        in run("status", "--store", url, "--scope", str(SCOPE)).stdout
    )
    store.write(SCOPE, attrs.evolve(record, store_epoch=1, announced=Strategy.GREEN, who="host 7"))
    done = run("status", "--store", url, "--scope", str(SCOPE))
    assert (done.returncode, done.stdout.strip()) == (
        0, f"store: {SCOPE}: announced green, store_epoch 1, by host 7, never",
    )  # fmt: skip
    store.close()


def test_who_does_not_answer_is_named_and_the_others_are_shown(served: str, draining: None) -> None:
    port = free_port()
    done = run("status", f"127.0.0.1:{port}", served)
    assert done.returncode == 2
    assert "PendingTransition" in done.stdout
    assert f"not reached: http://127.0.0.1:{port}/status: " in done.stdout
    assert "Connection refused" in done.stdout


_EMPTY = b'"tickets": [], "open": {}, "checks": {}'


class _Wrong(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "what it answers is no JSON"),
        (b"[]", "what it answers is no status"),
        (b'{"scopes": [1]}', "what it answers is no status"),
        (
            b'{"host": "\\u001b[2J", "process": 1, "scopes": [{"scope": "a\\nb", %b}]}' % _EMPTY,
            "?[2J process 1: a?b: ",
        ),
    ],
)
def test_whatever_answers_can_break_neither_the_command_nor_a_line(body: bytes, says: str) -> None:
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (_Wrong,), {"body": body}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    done = run("status", f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()
    assert says in done.stdout
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to ask; give the URL of a process's pages, a folder of peers, or --store and --scope"),
        (("ftp://host",), "'ftp://host'; accepted: http, https, a host and port alone, or a folder"),
        (("--store", "memory:"), "--store and --scope belong together"),
        (("--store", "nowhere:", "--scope", "a:1"), "nowhere:"),
    ],
)
def test_what_it_is_given_wrong_it_names(arguments: tuple[str, ...], says: str) -> None:
    done = run("status", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.usefixtures("nothing_is_known")
def test_a_query_of_the_connector_is_listed_with_the_id_that_its_application_holds_and_sessions_are_warm(
    engine: EngineProcess,
) -> None:
    connection = e6data.connect(
        host="127.0.0.1", port=engine.port, username=USER, password=PASSWORD, database="sales"
    )
    manager = managed(Scope(f"127.0.0.1:{engine.port}"))
    cursor = connection.cursor()
    query_id = cursor.execute("SELECT 'status' /*+ rows(4) batch(2) */")
    (told,) = [one for one in status()["scopes"] if one["scope"] == str(manager.scope)]
    assert [(one["query_id"], one["strategy"]) for one in told["tickets"]] == [(query_id, "blue")]
    assert told["connections"] == 1
    before = readiness(manager, Strategy.GREEN)
    assert (before.aware, before.connections, before.warm) == (False, 1, 0)
    assert readiness(manager, Strategy.BLUE).ready
    engine.phase("announce", target="green")
    cursor.fetchall()
    cursor.clear()
    assert until(lambda: readiness(manager, Strategy.GREEN).ready), "its session is opened ahead of time"
    connection.close()
    del cursor, connection
    assert status()["scopes"][0]["tickets"] == []


def test_an_ended_query_is_listed_no_more() -> None:
    manager = managed(SCOPE)
    ticket = manager.start(lambda strategy, left_s: None)
    assert [one["query"] for one in status()["scopes"][-1]["tickets"]]
    manager.end(QueryCompleted(ticket))
    (told,) = [one for one in status()["scopes"] if one["scope"] == str(SCOPE)]
    assert told["tickets"] == []
    forget(SCOPE)
