"""Processes that answer together: what one is asked, all know; who was killed is forgotten, who hangs is named."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bluegreen.runtime.registry import forget, managed, scopes
from bluegreen_adapters.observe.health.http import Pages
from bluegreen_adapters.observe.health.peers import WAIT_S, Peers, ask_all
from support.managing import accepting, announce
from support.peering import SCOPE, holding

pytestmark = pytest.mark.integration


PATIENT_S = 120.0
"""For how long the others may take to answer where each of them does."""


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    yield from listening(tmp_path, PATIENT_S)


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Peers]:
    """Peers that wait as briefly as those of users do, for a test in which one hangs."""
    yield from listening(tmp_path, WAIT_S)


def listening(tmp_path: Path, wait_s: float) -> Iterator[Peers]:
    for scope in scopes():  # of other tests of this process
        forget(scope)
    made = Peers(tmp_path / "peers", wait_s=wait_s)
    yield made
    made.close()
    assert not list(tmp_path.glob(f"peers/{os.getpid()}-*"))
    for scope in scopes():
        forget(scope)


def answered(pages: Pages, path: str, query: str = "") -> tuple[int, Any]:
    code, _, body = pages.answer("GET", path, query)
    return code, json.loads(body)


def held(found: dict[str, Any]) -> dict[int, int]:
    """How many queries are open on blue in each process."""
    return {
        one["process"]: sum(scope["open"]["blue"] for scope in one["scopes"])
        for one in (found, *found["others"])
    }


def test_whoever_is_asked_says_who_holds_a_ticket_in_all_processes(tmp_path: Path, peers: Peers) -> None:
    pages = Pages(peers=peers)
    with holding(tmp_path / "peers", 2, 0) as (busy, idle):
        code, found = answered(pages, "/status")
        assert (code, found["silent"]) == (200, [])
        assert held(found) == {os.getpid(): 0, busy: 2, idle: 0}
        _, on_green = answered(pages, "/status", "strategy=green")
        assert [scope["tickets"] for one in on_green["others"] for scope in one["scopes"]] == [[]]


def test_a_process_without_pages_says_what_it_holds_too(tmp_path: Path, peers: Peers) -> None:
    managed(SCOPE).start(accepting)
    ((found,), silent) = ask_all(tmp_path / "peers", "status", "blue")
    assert ([len(scope["tickets"]) for scope in found["scopes"]], silent) == ([1], [])


def test_readyz_for_a_strategy_waits_for_all_processes(tmp_path: Path, peers: Peers) -> None:
    pages, manager = Pages(peers=peers), managed(SCOPE)
    ticket = manager.start(accepting)
    announce(manager)
    assert answered(pages, "/readyz", "strategy=green")[0] == 200
    with holding(tmp_path / "peers", 1) as (behind,):
        code, found = answered(pages, "/readyz", "strategy=green")
        assert (code, found["ready"], found["silent"]) == (503, False, [])
        assert [(one["process"], one["ready"]) for one in found["others"]] == [(behind, False)]
        assert answered(pages, "/readyz")[0] == 200, "whether it can take queries is its own affair"
    assert answered(pages, "/readyz", "strategy=green")[0] == 200, (
        "who is not there any more waits for nothing"
    )
    assert ticket.strategy.value == "blue"


def test_who_was_killed_is_forgotten_and_who_hangs_is_named_in_time(tmp_path: Path, hasty: Peers) -> None:
    pages, folder = Pages(peers=hasty), tmp_path / "peers"
    with holding(folder, 1, 1, 1) as (killed, hung, good):
        os.kill(killed, signal.SIGKILL)
        os.kill(hung, signal.SIGSTOP)
        code, found = answered(pages, "/status")
        # The killed one ends when the system ends it, and the good one may be late once: ask until neither is so.
        while any(folder.glob(f"{killed}-*")) or len(found["silent"]) > 1:
            code, found = answered(pages, "/status")
        assert code == 200
        assert found["silent"] == [f"process {hung}: timed out"]
        assert held(found) == {os.getpid(): 0, good: 1}
        assert answered(pages, "/readyz", "strategy=blue")[0] == 503, "nobody knows what it holds"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_answers_for_itself_once_something_happens_in_it(peers: Peers) -> None:
    pages = Pages(peers=peers)
    managed(SCOPE).start(accepting)
    to_child, child_reads = os.pipe()[::-1]
    parent_reads, to_parent = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.read(child_reads, 1)
            managed(SCOPE).start(accepting)
            os.write(to_parent, b"1")
            os.read(child_reads, 1)
        finally:
            os._exit(0)
    try:
        assert held(answered(pages, "/status")[1]) == {os.getpid(): 1}
        os.write(to_child, b"1")
        assert os.read(parent_reads, 1) == b"1"
        assert held(answered(pages, "/status")[1]) == {os.getpid(): 1, child: 1}
    finally:
        os.write(to_child, b"1")
        os.waitpid(child, 0)
        for one in (to_child, child_reads, parent_reads, to_parent):
            os.close(one)
    assert held(answered(pages, "/status")[1]) == {os.getpid(): 1}


def test_whatever_a_process_is_asked_it_goes_on_answering(tmp_path: Path, peers: Peers) -> None:
    Pages(peers=peers)
    peers.answers("wrong", lambda argument: 1 / 0)
    peers.answers("odd", lambda argument: object())
    folder = tmp_path / "peers"
    mine = f"process {os.getpid()}: "
    assert ask_all(folder, "weather").silent == [
        f"{mine}question is 'weather'; accepted: odd, readyz, status, wrong"
    ]
    assert ask_all(folder, "wrong").silent == [f"{mine}ZeroDivisionError: division by zero"]
    assert ask_all(folder, "odd").silent == [
        f"{mine}TypeError: Object of type object is not JSON serializable"
    ]
    assert ask_all(folder, "status", "red").silent == [
        f"{mine}UnknownStrategy: 'red' is no strategy; accepted: 'blue', 'green' (in any case)"
    ]
    (path,) = folder.iterdir()
    for nonsense in (b"", b"\xff", b"[]", b"7", b'["status"]', b'[["status"], ""]', b"x" * 5000):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(path))
            one.sendall(nonsense)
            one.shutdown(socket.SHUT_WR)
    assert ask_all(folder, "status").answers[0]["process"] == os.getpid()


def test_a_terminal_asks_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "peers"
    with holding(folder, 1, 2) as found:
        done = run("status", str(folder))
        assert done.returncode == 0
        for process in found:
            assert f" process {process}: {SCOPE}: Stable" in done.stdout
        assert "open: 1 on blue" in done.stdout
        assert "open: 2 on blue" in done.stdout
        os.kill(found[0], signal.SIGSTOP)
        done = run("status", str(folder), "--json")
        assert done.returncode == 2
        # The other one answers, if not the first time: the machine may be busy.
        while len(json.loads(done.stdout)["unreachable"]) > 1:
            done = run("status", str(folder), "--json")
        assert json.loads(done.stdout)["unreachable"] == [f"process {found[0]}: timed out"]
    done = run("status", str(folder))
    assert (done.returncode, done.stdout) == (2, f"not reached: {folder}: no process listens there\n")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "bluegreen", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match=r"shared is of user .*, mode 777; accepted: a folder of user"):
        Peers(folder)
    folder.chmod(0o755)
    Peers(folder).close()
    assert list(folder.iterdir()) == []


def test_a_path_that_is_too_long_for_a_socket_is_an_error_at_once(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    with pytest.raises(OSError, match="too long"):
        Peers(folder)
    assert list(folder.iterdir()) == []


def test_what_is_closed_listens_no_more_and_begins_no_more(peers: Peers, tmp_path: Path) -> None:
    peers.close()
    peers.close()
    managed(SCOPE).start(accepting)
    peers.listen()
    assert ask_all(tmp_path / "peers", "status") == ([], [])
