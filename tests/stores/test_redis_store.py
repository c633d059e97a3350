"""The store in Redis, by the suite of all stores, on a real server; and what can happen to a server."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from bluegreen.config.settings import Settings
from bluegreen.errors import SettingsError, StoreError
from bluegreen.machines.strategy.events import QueryCompleted
from bluegreen.runtime.manager import StrategyManager
from bluegreen.store import Store
from bluegreen_adapters.stores import open_store
from support.managing import Cluster
from support.redis_server import RedisServer, asks_redis, redis_server
from support.store_suite import BLUE, SCOPE, Open, StoreSuite, following, until
from support.telling import tell

redis = pytest.importorskip("redis")
pytestmark = [asks_redis, pytest.mark.integration]

PATIENT = "wait_ms=1000"
"""A busy machine may put a thread aside for longer than a query would wait."""


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@contextmanager
def opened_at(url: str) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_it() -> Store:
            store = open_store(url)
            stack.callback(store.close)
            return store

        yield open_it


def emptied(server: RedisServer) -> None:
    with redis.Redis(port=server.port) as client:
        client.flushall()


class TestRedisStore(StoreSuite):
    @pytest.fixture
    def opening(self, common: RedisServer) -> Iterator[Open]:
        emptied(common)
        with opened_at(f"{common.url}?{PATIENT}") as open_it:
            yield open_it


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", appendonly="yes", appendfsync="always") as started:
        yield started


@pytest.fixture
def opening(server: RedisServer) -> Iterator[Open]:
    with opened_at(f"{server.url}?{PATIENT}") as open_it:
        yield open_it


@pytest.fixture
def store(opening: Open) -> Store:
    return opening()


def reads(store: Store) -> int | None:
    try:
        return store.read(SCOPE).store_epoch
    except StoreError:
        return None


def written(store: Store, times: int = 1) -> None:
    for _ in range(times):
        record = following(store)
        assert store.write(SCOPE, record) is not None
        assert until(lambda: reads(store) == record.store_epoch)  # noqa: B023  it is asked at once


# Faults.


def test_a_server_that_was_killed_is_met_again_with_what_it_has_kept(
    store: Store, server: RedisServer
) -> None:
    written(store, 3)
    before = store.read(SCOPE)
    look = store.watch(SCOPE)
    seen = look()
    server.signal(signal.SIGKILL)
    assert until(lambda: reads(store) is None)
    assert look() != seen
    server.start()
    back_s = time.monotonic()
    assert until(lambda: reads(store) == 3)
    took_ms = 1000 * (time.monotonic() - back_s)
    assert store.read(SCOPE).announced is before.announced
    assert store.read(SCOPE).incarnation != before.incarnation
    written(store)
    tell(f"Redis was killed and is back: read again {took_ms:.0f} ms after it answers")


def test_a_server_that_comes_back_empty_is_another_store(
    store: Store, server: RedisServer, tmp_path: Path
) -> None:
    written(store, 3)
    server.signal(signal.SIGKILL)
    assert until(lambda: reads(store) is None)
    shutil.rmtree(tmp_path / "redis")
    server.folder.mkdir()
    server.start()
    assert until(lambda: reads(store) == 0)
    written(store)


def test_an_old_backup_is_another_store(store: Store, server: RedisServer, tmp_path: Path) -> None:
    written(store, 2)
    before = store.read(SCOPE).incarnation
    shutil.copytree(server.folder, tmp_path / "backup")
    written(store, 2)
    server.signal(signal.SIGKILL)
    shutil.rmtree(server.folder)
    shutil.copytree(tmp_path / "backup", server.folder)
    server.start()
    assert until(lambda: reads(store) == 2)
    assert store.read(SCOPE).incarnation != before
    written(store)


def test_a_stream_that_was_deleted_under_us_is_begun_anew(store: Store, server: RedisServer) -> None:
    written(store, 3)
    emptied(server)
    assert until(lambda: reads(store) == 0)
    written(store)


def test_a_server_that_never_returns_costs_no_query_and_nothing_is_logged_as_a_warning(
    store: Store, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    manager = StrategyManager(SCOPE, Settings())
    manager.join(store)
    cluster = Cluster(BLUE)
    manager.end(QueryCompleted(manager.start(cluster.prove)))
    server.signal(signal.SIGKILL)
    assert until(lambda: reads(store) is None)
    for _ in range(200):
        manager.end(QueryCompleted(manager.start(cluster.prove)))
    assert cluster.asked == [BLUE]
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_server_that_is_stopped_keeps_neither_a_query_nor_an_event_loop_waiting(
    server: RedisServer,
) -> None:
    with opened_at(f"{server.url}?wait_ms=20") as open_it:
        store = open_it()
        assert until(lambda: reads(store) == 0)
        server.signal(signal.SIGSTOP)
        try:

            def refused() -> str:
                with pytest.raises(StoreError, match=r"no answer within 20 ms|still busy") as error:
                    store.write(SCOPE, following(store))
                return str(error.value)

            async def ask() -> None:
                for _ in range(20):
                    assert "still busy" in refused(), "after the first ones, nobody even waits"
                    await asyncio.sleep(0)
                    assert reads(store) in (0, None)

            assert until(lambda: "still busy" in refused())  # once the thread that writes has begun
            asyncio.run(ask())
        finally:
            server.signal(signal.SIGCONT)
        assert until(lambda: (reads(store) or 0) >= 1)  # what was asked first is done now


def test_a_full_server_is_an_error_of_the_store(server: RedisServer, store: Store) -> None:
    written(store)
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(StoreError, match="OutOfMemoryError"):
            store.write(SCOPE, following(store))
        assert reads(store) == 1
        client.config_set("maxmemory", "0")
    written(store)


def test_what_is_no_record_is_told_and_written_over(server: RedisServer, store: Store) -> None:
    written(store)
    with redis.Redis(port=server.port) as client:
        (key,) = client.keys("bluegreen:*:news")
        client.xadd(key, {"record": b'{"store_epoch":'}, id="2-0")
        assert until(lambda: reads(store) is None)
        with pytest.raises(StoreError, match="no record of a scope"):
            store.read(SCOPE)
        client.xtrim(key, maxlen=0)
    assert until(lambda: reads(store) == 0)


def test_a_partition_from_one_process_leaves_the_others_alone(server: RedisServer, store: Store) -> None:
    with (
        Forwarder(server.port) as forwarder,
        opened_at(f"redis://127.0.0.1:{forwarder.port}?{PATIENT}") as far,
    ):
        cut_off = far()
        written(store)
        assert until(lambda: reads(cut_off) == 1)
        forwarder.cut()
        assert until(lambda: reads(cut_off) is None)
        written(store)
        forwarder.heal()
        assert until(lambda: reads(cut_off) == 2)


def test_a_forked_child_follows_and_writes_for_itself(store: Store) -> None:
    written(store)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            look = store.watch(SCOPE)
            look()
            if reads(store) == 1 and store.write(SCOPE, following(store, BLUE)) is not None:
                code = 0 if until(lambda: reads(store) == 2) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert until(lambda: reads(store) == 2)
    assert store.read(SCOPE).announced is BLUE
    written(store)


# Ways in.


def test_tls_with_a_user_and_a_password_by_url(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = {
        "tls_port": 0, "tls_cert_file": tmp_path / "cert.pem", "tls_key_file": tmp_path / "key.pem",
        "tls_ca_cert_file": tmp_path / "ca.pem", "tls_auth_clients": "no",
        "user": ["connector", "on", ">s3cret", "~bluegreen:*", "+@all", "-@admin", "-info"],
    }  # fmt: skip
    with redis_server(tmp_path / "redis", **options) as server:
        ca = f"ssl_ca_certs={tmp_path / 'ca.pem'}"
        with opened_at(f"rediss://connector:s3cret@127.0.0.1:{server.port}/0?{PATIENT}&{ca}") as open_it:
            store = open_it()
            written(store)
            assert store.lease(SCOPE, "one", 60)
            assert "s3cret" not in store.name
        for url in (
            f"rediss://connector:wrong@127.0.0.1:{server.port}/0?{PATIENT}&{ca}",
            f"rediss://connector:s3cret@127.0.0.1:{server.port}/0?{PATIENT}",
            f"redis://connector:s3cret@127.0.0.1:{server.port}/0?{PATIENT}",
        ):
            with opened_at(url) as open_it, pytest.raises(StoreError) as refused:
                open_it().read(SCOPE)
            assert "s3cret" not in str(refused.value)


def test_a_cluster_url(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", cluster_enabled="yes") as server:
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            assert until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        with opened_at(f"redis+cluster://127.0.0.1:{server.port}?{PATIENT}") as open_it:
            store, other = open_it(), open_it()
            written(store, 2)
            assert until(lambda: reads(other) == 2)
            assert store.lease(SCOPE, "one", 60)
            assert not other.lease(SCOPE, "two", 60)


def test_a_sentinel_url_follows_a_failover(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(redis_server(tmp_path / "first"))
        second = stack.enter_context(
            redis_server(tmp_path / "second", replicaof=["127.0.0.1", str(first.port)])
        )
        watcher = RedisServer(tmp_path / "sentinel")
        (watcher.folder / "sentinel.conf").write_text(
            f"bind 127.0.0.1\ndir {watcher.folder}\nsentinel monitor service 127.0.0.1 {first.port} 1\n"
            "sentinel down-after-milliseconds service 300\nsentinel failover-timeout service 1000\n"
        )
        stack.callback(watcher.end)
        watcher.start(sentinel=True)
        store = stack.enter_context(
            opened_at(f"redis+sentinel://127.0.0.1:{watcher.port}/service?{PATIENT}")
        )()
        assert until(lambda: reads(store) == 0)
        with redis.Redis(port=second.port) as client:
            assert until(lambda: client.info("replication")["master_link_status"] == "up")
            before = store.read(SCOPE).incarnation
            written(store, 2)
            assert until(lambda: [client.xlen(one) for one in client.keys("bluegreen:*:news")] == [2])
        with redis.Redis(port=watcher.port) as client:
            assert until(lambda: client.execute_command("SENTINEL", "replicas", "service"))
        first.signal(signal.SIGKILL)
        assert until(lambda: reads(store) == 2 and store.read(SCOPE).incarnation != before)
        written(store)


def test_every_option_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        open_store("redis://:pass@127.0.0.1:1/0?wait_ms=0&colour=red")
    assert [one.split(";")[0] for one in refused.value.findings] == [
        "store: wait_ms is '0'",
        "store: colour is no option of it",
    ]
    with pytest.raises(SettingsError, match="needs a service"):
        open_store("redis+sentinel://127.0.0.1:1")


# Speed.


@pytest.mark.benchmark
@pytest.mark.slow
def test_how_long_an_announcement_takes_to_fifty_processes(common: RedisServer) -> None:
    """Measured, and printed; 50 processes on the cores of this machine."""
    emptied(common)
    processes, rounds = 50, 60
    with opened_at(f"{common.url}?{PATIENT}") as open_it:
        store = open_it()
        written(store)
        children: list[int] = []
        reading, writing = os.pipe()
        for _ in range(processes):
            pid = os.fork()
            if pid == 0:
                try:
                    _follower(common.url, rounds, writing)
                finally:
                    os._exit(0)
            children.append(pid)
        try:
            os.close(writing)
            with os.fdopen(reading) as told:
                assert sum(told.readline() == "ready\n" for _ in range(processes)) == processes
                found: list[float] = []
                for _ in range(rounds):
                    written(store)
                    found += [float(told.readline()) for _ in range(processes)]
        finally:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    found.sort()
    p50, p99 = 1000 * statistics.median(found), 1000 * found[int(0.99 * len(found))]
    tell(
        f"an announcement reaches {processes} processes through Redis: p50 {p50:.1f} ms, p99 {p99:.1f} ms "
        f"({rounds} announcements, {os.cpu_count()} cores)"
    )
    assert len(found) == processes * rounds


def _follower(url: str, rounds: int, out: int) -> None:
    """A process that tells how long after it was written each record has reached it."""
    arrived = threading.Semaphore(0)

    def note(record: object) -> None:
        delay_s = time.monotonic() - record.at.monotonic_s  # type: ignore[attr-defined]
        os.write(out, f"{delay_s:.6f}\n".encode())
        arrived.release()

    store = open_store(f"{url}?{PATIENT}")
    assert store.read(SCOPE).store_epoch == 1
    store.subscribe(SCOPE, note)  # type: ignore[attr-defined]
    os.write(out, b"ready\n")
    for _ in range(rounds):
        arrived.acquire(timeout=60)
    time.sleep(60)  # it is killed


class Forwarder:
    """Carries connections to a port, until it is cut."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._is_cut = False
        self._ends = threading.Thread(target=self._accept, daemon=True)
        self._ends.start()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._ends.join(60)

    def cut(self) -> None:
        self._is_cut = True
        for one in self._open:
            with suppress(OSError):  # the other end may have gone first
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def heal(self) -> None:
        self._is_cut = False

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            if self._is_cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, target), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    carry: Callable[[int], bytes] = source.recv
    try:
        while data := carry(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        source.close()
