"""A fleet behind a host: hosts are directories here, each with a store of its own, and share a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bluegreen.errors import StoreError
from bluegreen.store import Store
from bluegreen_adapters.stores import open_store
from support.redis_server import RedisServer, asks_redis, redis_server
from support.store_suite import BLUE, GREEN, SCOPE, Open, StoreSuite, following, until

pytest.importorskip("lmdb")
pytest.importorskip("redis")
pytestmark = [asks_redis, pytest.mark.integration]

OpenOn = Callable[[str], Store]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as started:
        yield started


@pytest.fixture
def on(tmp_path: Path, server: RedisServer) -> Iterator[OpenOn]:
    """Opens the store of a host, as a process there would, and begins to carry."""
    with ExitStack() as stack:

        def opening(host: str) -> Store:
            store = open_store(f"lmdb://{tmp_path / host}?wait_ms=1000&behind={server.url}")
            stack.callback(store.close)
            store.watch(SCOPE)
            return store

        yield opening


class TestLayeredStore(StoreSuite):
    @pytest.fixture
    def opening(self, on: OpenOn) -> Open:
        return lambda: on("here")


def says(store: Store) -> object:
    try:
        return store.read(SCOPE).announced
    except StoreError:
        return None


def tell(store: Store, strategy: object) -> None:
    assert until(lambda: store.write(SCOPE, following(store, strategy)) is not None)  # type: ignore[arg-type]


def test_what_one_host_knows_all_hosts_know(on: OpenOn, server: RedisServer) -> None:
    one, other = on("one"), on("other")
    far = open_store(f"{server.url}?wait_ms=1000")
    tell(one, GREEN)
    assert until(lambda: says(far) is GREEN)
    assert until(lambda: says(other) is GREEN)
    tell(other, BLUE)
    assert until(lambda: says(one) is BLUE)
    far.close()


def test_news_is_carried_once_and_does_not_come_back(on: OpenOn, server: RedisServer) -> None:
    stores = [on("one"), on("other")]
    far = open_store(f"{server.url}?wait_ms=1000")
    for strategy in (GREEN, BLUE, GREEN):
        tell(stores[0], strategy)
        assert until(lambda: [says(one) for one in (*stores, far)] == [strategy] * 3)  # noqa: B023
    epochs = [one.read(SCOPE).store_epoch for one in (*stores, far)]
    assert epochs == [3, 3, 3]
    looks = [one.watch(SCOPE) for one in stores]
    assert not until(lambda: [one.read(SCOPE).store_epoch for one in (*stores, far)] != epochs, 0.3)
    assert len(looks) == 2
    far.close()


def test_a_server_that_comes_back_empty_is_filled_and_hosts_go_on_meanwhile(
    on: OpenOn, server: RedisServer
) -> None:
    one, other = on("one"), on("other")
    tell(one, GREEN)
    assert until(lambda: says(other) is GREEN)
    server.signal(signal.SIGKILL)
    tell(one, BLUE)
    assert says(one) is BLUE
    assert says(other) is GREEN  # its host is on its own; the stack's own 456 tells it
    server.start()
    assert until(lambda: says(other) is BLUE)


_CARRIER = """
import sys, time
from bluegreen_adapters.stores import open_store
from support.store_suite import GREEN, SCOPE, following, until
store = open_store(sys.argv[1])
store.watch(SCOPE)
assert until(lambda: store.write(SCOPE, following(store, GREEN)) is not None)
print("told", flush=True)
time.sleep(60)
"""


def test_another_process_carries_when_the_one_that_did_was_killed(
    on: OpenOn, tmp_path: Path, server: RedisServer
) -> None:
    other = on("other")
    url = f"lmdb://{tmp_path / 'one'}?wait_ms=1000&behind={server.url}"
    command = [sys.executable, "-c", _CARRIER, url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as carrier:
        try:
            assert carrier.stdout is not None
            assert carrier.stdout.readline() == b"told\n"
            assert until(lambda: says(other) is GREEN)
        finally:
            carrier.kill()
    one = on("one")
    assert says(one) is GREEN
    tell(one, BLUE)
    assert until(lambda: says(other) is BLUE)
