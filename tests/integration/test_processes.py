"""Processes of one host that share a store, with the real connector: they switch together, and detect once."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from bluegreen.errors import StoreError
from bluegreen.store import Store
from bluegreen.types import Scope
from bluegreen_adapters.stores import open_store
from bluegreen_adapters.testing.engine import EngineProcess
from support.fleet import Fleet, Seen, fleet
from support.nursery import nursery
from support.redis_server import asks_redis, free_port, redis_server
from support.store_suite import until
from support.telling import tell

pytest.importorskip("lmdb")
pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with EngineProcess(max_seconds=1200) as started:
        yield started


@pytest.fixture
def store(tmp_path: Path, pytestconfig: pytest.Config) -> str:
    """A store with the usual bound; beside other tests the machine puts threads aside for longer than that."""
    usual = "" if pytestconfig.getoption("--many") else "?wait_ms=1000"
    return f"lmdb://{tmp_path / 'shared'}{usual}"


def late(seen: list[Seen], target: str) -> list[float]:
    """How many seconds after the first of all was told each query began that went elsewhere."""
    told = min(at for one in seen for at, strategy in one.told if strategy == target)
    return [at - told for one in seen for at, strategy in one.started if strategy != target and at > told]


def failures(seen: list[Seen]) -> list[str]:
    return [text for one in seen for text in one.failed]


def test_processes_follow_the_first_that_has_seen_an_announcement(
    engine: EngineProcess, store: str, pytestconfig: pytest.Config
) -> None:
    """The first process alone hears the server. The next query of each other one goes where the first one's go."""
    switches = 50 if pytestconfig.getoption("--many") else 6
    with fleet(engine, store, 8) as members:
        others = range(1, 8)
        for _ in range(switches):
            members.seen()
            with switching(engine, members) as target:
                members.ask("once", *others)
                seen: list[Seen] = members.ask("tell", *others)
                assert failures(seen) == []
                assert [[where for _, where in one.started] for one in seen] == [[target]] * len(others)
            assert engine.statistics().misrouted == 0


def test_processes_under_load_lose_nothing_once_each_of_them_knows(
    engine: EngineProcess, store: str, pytestconfig: pytest.Config
) -> None:
    """A query that is on its way when its process hears may be refused, and begins again: one for each process."""
    switches = 50 if pytestconfig.getoption("--many") else 6
    queries, delays = 0, list[float]()
    with fleet(engine, store, 8, pause_s=0.01) as members:
        members.seen()
        for _ in range(switches):
            engine.reset_statistics()
            members.ask("run")
            origin = engine.active
            target = "green" if origin == "blue" else "blue"
            engine.phase("announce", target=target)
            assert until(lambda: members.ask("route") == [[target]] * 8)  # noqa: B023  it is asked at once
            engine.phase("cutover")
            assert until(lambda: not engine.statistics().open_queries[origin])  # noqa: B023  likewise
            engine.phase("retire")
            engine.phase("steady", active=target)
            members.ask("rest")
            seen = members.seen()
            assert failures(seen) == []
            assert {one.active for one in seen} == {target}
            delays += late(seen, target)
            queries += sum(one.queries for one in seen)
            assert engine.statistics().misrouted == 0
            assert engine.statistics().total_refused <= len(seen)
    longest_ms = 1000 * max(delays, default=0)
    tell(
        f"8 processes, {switches} switches, {queries} queries: {len(delays)} queries began on the old stack after the "
        f"first process knew, at most {longest_ms:.1f} ms after"
    )


def test_many_threads_of_many_processes_that_are_refused_at_once_detect_once_in_each(
    engine: EngineProcess, store: str
) -> None:
    with fleet(engine, store, 16, threads=8) as members:
        detections: list[int] = []
        for _ in range(4):
            members.seen()
            engine.reset_statistics()
            engine.switch("abrupt", grace_s=0.0)
            members.ask("once")
            seen = members.seen()
            assert failures(seen) == []
            assert [one.queries for one in seen] == [8] * 16
            assert {one.active for one in seen} == {engine.active}
            # A process detects once, however many threads of it were refused. That one does so for all of them is the
            # lease's part, which is tested with a clock that the test moves: a process that the machine puts aside for
            # longer than a lease lasts loses it.
            assert max(one.led for one in seen) <= 1
            detections.append(sum(one.led for one in seen))
            tried_in_vain = engine.statistics().refused.get("authenticate", {})
            assert tried_in_vain == {}, "nobody asks the stack that has just refused"
    assert min(detections) >= 1
    tell(f"16 processes x 8 threads refused at once: {detections} detections were led, for all of them")


@contextmanager
def switching(engine: EngineProcess, members: Fleet) -> Iterator[str]:
    """In the middle of a switch, which the first process knows and whose old stack refuses new work already."""
    target = "green" if engine.active == "blue" else "blue"
    engine.phase("announce", target=target)
    members.ask("once", 0)
    engine.phase("cutover")
    engine.reset_statistics()
    yield target
    assert engine.statistics().total_refused == 0
    engine.phase("retire")
    engine.phase("steady", active=target)


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
def test_a_process_that_begins_in_the_middle_of_a_switch_is_right_with_its_first_query(
    engine: EngineProcess, store: str, way: str, pytestconfig: pytest.Config
) -> None:
    children = 200 if pytestconfig.getoption("--many") else 4
    with fleet(engine, store, 1, way=way) as members:
        for _ in range(children // 2):
            with switching(engine, members) as target:
                for _ in range(2):
                    number = members.add()
                    members.ask("once", number)
                    (seen,) = members.ask("tell", number)
                    assert (seen.failed, {where for _, where in seen.started}) == ([], {target})
                    members.remove(number)


def test_a_forked_child_is_right_with_its_first_query_in_the_middle_of_a_switch(
    engine: EngineProcess, store: str, pytestconfig: pytest.Config
) -> None:
    children = 200 if pytestconfig.getoption("--many") else 10
    with fleet(engine, store, 1) as members:
        ours, theirs = members.context.Pipe()
        parent = members.context.Process(target=nursery, args=(members.orders, theirs), daemon=True)
        parent.start()
        assert ours.poll(120)
        assert ours.recv() == engine.active
        for _ in range(children // 2):
            with switching(engine, members) as target:
                for _ in range(2):
                    ours.send("fork")
                    assert ours.poll(120)
                    assert ours.recv() == f"{target}, 0 refused"
        ours.send("end")
        parent.join(60)


def test_workers_of_a_preloaded_server_are_right_with_their_first_query(
    engine: EngineProcess, store: str, tmp_path: Path
) -> None:
    pytest.importorskip("gunicorn")
    port = free_port()
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ENGINE_PORT": str(engine.port),
        "BLUEGREEN_STORE": store,
    }  # fmt: skip
    with fleet(engine, store, 1) as members, (tmp_path / "log").open("wb") as log:
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--preload",
            "--workers",
            "4",
            "--bind",
            f"127.0.0.1:{port}",
        ]
        command += ["support.preloaded:application"]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
        try:
            assert until(lambda: answers(port), 120), (tmp_path / "log").read_text()
            told: set[str] = set()
            with switching(engine, members) as target:

                def all_have_answered() -> bool:
                    told.add(asked(port))
                    return len({one.split(":")[0] for one in told}) == 4

                assert until(all_have_answered, 120), (tmp_path / "log").read_text()
                assert {one.split(": ")[1] for one in told} == {f"{target}, 0 refused"}
        finally:
            server.terminate()
            server.wait(60)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def asked(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def removed_under_load(folder: Path) -> None:
    """Remove a folder in which others may make files meanwhile: then it is not empty, and the next try removes it."""
    while True:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            return


def test_a_store_that_is_removed_under_load_is_missed_by_nobody(
    engine: EngineProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    with fleet(engine, f"lmdb://{folder}", 4, pause_s=0.01) as members:
        members.seen()
        members.ask("run")
        removed_under_load(folder)
        target = engine.switch("graceful", grace_s=0.4)
        members.ask("rest")
        seen = members.seen()
    assert failures(seen) == []
    assert {one.active for one in seen} == {target}


def test_a_store_that_is_put_back_as_it_was_long_ago_misleads_nobody(
    engine: EngineProcess, tmp_path: Path
) -> None:
    folder, copy = tmp_path / "shared", tmp_path / "copy"
    with fleet(engine, f"lmdb://{folder}", 4, pause_s=0.01) as members:
        shutil.copytree(folder, copy)
        members.ask("run")
        target = engine.switch("graceful", grace_s=0.4)
        members.ask("rest")
        members.seen()
        engine.reset_statistics()
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        members.ask("run")
        assert until(lambda: engine.statistics().reads_executed > 200)
        members.ask("rest")
        seen = members.seen()
        assert failures(seen) == []
        assert {one.active for one in seen} == {target}
        assert engine.statistics().total_refused <= 4  # a wrong record may cost each process one
        late_comer = members.add()
        members.ask("once", late_comer)
        assert members.seen()[late_comer].active == target


@asks_redis
@pytest.mark.parametrize("returns", [True, False])
def test_a_fleet_goes_on_while_its_redis_is_away_and_agrees_when_it_is_back(
    engine: EngineProcess, tmp_path: Path, returns: bool
) -> None:
    pytest.importorskip("redis")
    with ExitStack() as started:
        server = started.enter_context(redis_server(tmp_path / "redis"))
        patient = f"{server.url}?wait_ms=1000"  # so that no write is late because the machine is busy
        members = started.enter_context(fleet(engine, patient, 6, pause_s=0.01))
        members.seen()
        members.ask("run")
        server.signal(signal.SIGKILL)
        target = engine.switch("graceful", grace_s=0.4)
        if returns:
            server.start()
            back_s = time.monotonic()
            store = open_store(patient)
            scope = Scope(f"127.0.0.1:{engine.port}")
            assert until(lambda: str(told_by(store, scope)) == target)
            took_ms = 1000 * (time.monotonic() - back_s)
            tell(f"Redis was killed under load and is back: it says where queries go {took_ms:.0f} ms later")
            store.close()
        members.ask("rest")
        members.ask("once")
        seen = members.seen()
    assert failures(seen) == []
    assert {one.active for one in seen} == {target}
    # Told once for each fault, and not for each query; a write that the machine made late is a fault as well.
    assert 1 <= sum(one.lost for one in seen) <= 3 * len(seen)
    assert all(abs(one.back - one.lost) <= 1 for one in seen if returns)


def told_by(store: Store, scope: Scope) -> object:
    with suppress(StoreError):
        return store.read(scope).announced
    return None


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_ends_or_stops_in_the_middle_of_a_switch_keeps_nobody(
    engine: EngineProcess, store: str, way: signal.Signals
) -> None:
    with fleet(engine, store, 5, pause_s=0.005) as members:
        members.seen()
        members.ask("run")
        engine.phase("announce", target="green" if engine.active == "blue" else "blue")
        os.kill(members.members[4].pid, way)
        engine.phase("cutover")
        members.ask("rest", 0, 1, 2, 3)
        members.ask("once", 0, 1, 2, 3)
        seen: list[Seen] = members.ask("tell", 0, 1, 2, 3)
        assert failures(seen) == []
        assert {one.active for one in seen} == {engine.active}
        with suppress(ProcessLookupError):
            os.kill(members.members[4].pid, signal.SIGKILL)
    engine.phase("retire")
    engine.phase("steady", active=engine.active)
