"""The example of a web application through a switch, under gunicorn with two workers and under uvicorn: no request
fails, `/readyz` stays what it says, and the pages tell an operator what to know before a stack is torn down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from bluegreen_adapters.testing.engine import EngineProcess
from support.fleet import PASSWORD, USER
from support.redis_server import free_port
from support.store_suite import until

pytestmark = [pytest.mark.integration, pytest.mark.slow]
GUNICORN = [
    "gunicorn", "--config", "python:examples.gunicorn_conf", "--workers", "2", "--bind", "127.0.0.1:{port}",
    "examples.web:application",
]  # fmt: skip
SERVERS = {
    "gunicorn": (2, GUNICORN),
    "gunicorn --preload": (2, [*GUNICORN, "--preload"]),
    "uvicorn": (1, ["uvicorn", "--host", "127.0.0.1", "--port", "{port}", "examples.web:asgi"]),
}


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@contextmanager
def serving(server: str, engine: EngineProcess, folder: Path) -> Iterator[int]:
    pytest.importorskip(server.partition(" ")[0])
    port = free_port()
    metrics = folder / "metrics"
    metrics.mkdir()
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CLUSTER_PORT": str(engine.port),
        "CLUSTER_USER": USER, "CLUSTER_PASSWORD": PASSWORD, "BLUEGREEN_STORE": f"lmdb://{folder / 'shared'}",
        "PROMETHEUS_MULTIPROC_DIR": str(metrics), "PEERS": str(folder / "peers"),
    }  # fmt: skip
    command = [sys.executable, "-m", *(one.format(port=port) for one in SERVERS[server][1])]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            assert until(lambda: answers(port)), (folder / "log").read_text()
            yield port
        finally:
            process.terminate()
            process.wait(60)
    assert PASSWORD not in (folder / "log").read_text()


def answers(port: int) -> bool:
    try:
        return get(port, "/healthz")[0] == 200
    except OSError:
        return False


def every_worker(workers: int, ask: Callable[[], tuple[int, str] | None]) -> dict[int, str]:
    """What `ask` answers in each worker, when it answers with 200 in all of them."""
    found: dict[int, str] = {}
    over_s = time.monotonic() + 120
    while len(found) < workers and time.monotonic() < over_s:
        answer = ask()
        if answer is not None:
            found[answer[0]] = answer[1]
    assert len(found) == workers, found
    return found


def rows(port: int) -> tuple[int, str]:
    code, text = get(port, "/rows")
    assert code == 200, text
    worker, _, told = text.partition(": ")
    assert told.startswith("4 rows, ")
    return int(worker), told.split()[-1]


@pytest.mark.parametrize("server", SERVERS)
def test_readyz_stays_ready_through_a_switch_and_says_when_nobody_would_notice_one(
    engine: EngineProcess, tmp_path: Path, server: str
) -> None:
    workers = SERVERS[server][0]
    with serving(server, engine, tmp_path) as port:
        assert set(every_worker(workers, lambda: rows(port)).values()) == {"blue"}
        assert get(port, "/readyz")[0] == 200
        code, text = get(port, "/readyz?strategy=green")
        (scope,) = json.loads(text)["scopes"].values()
        assert (code, scope["aware"], scope["warm"], scope["connections"]) == (503, False, 0, 1)

        engine.phase("announce", target="green")
        every_worker(workers, lambda: rows(port))
        assert until(lambda: get(port, "/readyz?strategy=green")[0] == 200)
        assert all(get(port, "/readyz?strategy=green")[0] == 200 for _ in range(10)), "whichever is asked"
        engine.phase("cutover")
        every_worker(workers, lambda: rows(port))
        assert get(port, "/readyz")[0] == 200
        assert until(lambda: drained(port, workers))
        engine.phase("retire")
        engine.phase("steady", active="green")
        assert set(every_worker(workers, lambda: rows(port)).values()) == {"green"}
        assert (
            get(port, "/readyz")[0]
            == get(port, "/readyz?strategy=green")[0]
            == get(port, "/healthz")[0]
            == 200
        )
        assert get(port, "/readyz?strategy=blue")[0] == 503
        assert until(lambda: committed(get(port, "/metrics")[1]) == workers), "each of them has switched"
        assert 'bluegreen_healthy{check="availability"' in get(port, "/metrics")[1]
    assert engine.statistics().misrouted == 0


def test_what_a_worker_held_that_was_killed_is_shown_no_longer(engine: EngineProcess, tmp_path: Path) -> None:
    with serving("gunicorn", engine, tmp_path) as port:
        killed, _ = every_worker(2, lambda: rows(port))
        assert managing(get(port, "/metrics")[1]) == 2
        os.kill(killed, signal.SIGKILL)
        assert until(lambda: managing(get(port, "/metrics")[1]) == 1)
        found = json.loads(get(port, "/status")[1])
        assert killed not in [one["process"] for one in (found, *found["others"])]
        assert f"process {killed}" not in str(found["silent"])


def managing(metrics: str) -> float:
    """How many processes are in some state."""
    lines = [line.rpartition(" ") for line in metrics.splitlines() if line.startswith("bluegreen_state{")]
    return sum(float(number) for _, _, number in lines)


def committed(metrics: str) -> float:
    """How often a transition has become the active strategy, in all workers."""
    lines = [
        line.rpartition(" ")
        for line in metrics.splitlines()
        if line.startswith("bluegreen_drain_seconds_count")
    ]
    return sum(float(number) for _, _, number in lines)


def drained(port: int, workers: int) -> bool:
    """Whether no query is open on blue in any worker; one of them is asked, whichever it is."""
    code, text = get(port, "/status?strategy=blue")
    found = json.loads(text)
    all_of_them = [one for one in (found, *found["others"]) if one["scopes"]]  # not who has but preloaded
    assert code == 200
    return (
        found["silent"] == []
        and len(all_of_them) == workers
        and all(
            scope["tickets"] == [] and scope["open"]["blue"] == 0
            for one in all_of_them
            for scope in one["scopes"]
        )
    )


def test_an_uvicorn_that_is_told_to_end_ends_at_once(engine: EngineProcess, tmp_path: Path) -> None:
    with serving("uvicorn", engine, tmp_path) as port:
        rows(port)
    assert "Finished server process" in (tmp_path / "log").read_text()
