"""What is patched of the connector, and what that covers besides the plain connection."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector import async_cluster_manager, cluster_manager, e6data_grpc

from bluegreen.runtime import registry
from bluegreen.runtime.registry import managed
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.e6data.patches import SEAMS, Seam
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import READ, quick

pytestmark = pytest.mark.integration

LOGIN = {"username": "user@example.com", "password": "secret", "catalog": "main", "database": "sales"}
needs_asyncio_api = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the connector's asyncio API needs Python 3.11"
)


def found(seam: Seam) -> Any:
    return vars(seam.holder)[seam.name]


STOCK = {str(seam): found(seam) for seam in SEAMS}
INITIALIZE = next(seam for seam in SEAMS if seam.name == "_initialize")


@pytest.fixture(autouse=True)
def _nothing_is_patched() -> Iterator[None]:
    yield
    e6data.uninstall()
    for scope in registry.scopes():
        registry.forget(scope)


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    with EngineProcess() as process:
        yield process


def manager_of(engine: EngineProcess, kind: Any = cluster_manager.ClusterManager) -> Any:
    return kind(engine.host, engine.port, LOGIN["username"], LOGIN["password"])


def asked(engine: EngineProcess) -> tuple[dict[str, int], int]:
    """To which stacks cluster managers went, and how often one was the wrong one."""
    statistics = engine.statistics()
    refused = statistics.refused.get("cluster.status", {})
    return dict(statistics.requests["cluster.status"]), sum(refused.values())


def switched(engine: EngineProcess) -> None:
    """Let a manager of the scope learn that green is active, and forget what was counted meanwhile."""
    engine.phase("abrupt", target="green")
    connection = e6data.connect(host=engine.host, port=engine.port, settings=quick(), **LOGIN)
    cursor = connection.cursor()
    cursor.execute(READ)
    assert cursor.fetchall()[0][2] == "green"
    cursor.clear()
    connection.close()
    engine.reset_statistics()


# -- patching


@pytest.mark.parametrize("seam", SEAMS, ids=str)
def test_install_patches_every_seam_and_uninstall_puts_it_back(seam: Seam) -> None:
    e6data.install()
    assert found(seam) is not STOCK[str(seam)]
    e6data.uninstall()
    assert found(seam) is STOCK[str(seam)]


def test_a_connector_without_one_of_the_seams_is_refused_and_nothing_is_patched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(async_cluster_manager.AsyncClusterManager, "_recover")
    with pytest.raises(e6data.UnsupportedConnector, match="_recover"):
        e6data.install()
    with pytest.raises(e6data.UnsupportedConnector, match="_recover"):
        e6data.connect(host="h", port=1, **LOGIN)
    assert found(SEAMS[0]) is STOCK[str(SEAMS[0])]


@pytest.mark.parametrize("version", ["2.9.9", "3.1.0", "30.0.1"])
def test_an_unknown_version_is_refused_by_every_way_in(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with pytest.raises(e6data.UnsupportedConnector, match=rf"{version} was not checked; supported: 3\.0\.\*"):
        e6data.install()
    with pytest.raises(e6data.UnsupportedConnector, match=version):
        asyncio.run(e6data.connect_async(host="h", port=1, **LOGIN))


# -- cluster managers


def test_the_cluster_manager_goes_where_the_scope_is(engine: EngineProcess) -> None:
    e6data.install(quick())
    switched(engine)
    assert manager_of(engine).resume() is True
    assert asked(engine) == ({"green": 1}, 0)


def test_the_cluster_manager_follows_a_switch_that_nobody_has_seen(engine: EngineProcess) -> None:
    e6data.install(quick())
    engine.phase("abrupt", target="green")
    assert manager_of(engine).resume() is True
    assert managed(Scope(engine.address)).active == "green"


def test_without_install_the_cluster_manager_of_a_covered_scope_is_covered_and_no_other(
    engine: EngineProcess,
) -> None:
    switched(engine)
    covered = manager_of(engine)
    assert covered.resume() is True
    assert isinstance(covered._channel, SwitchingChannel)
    assert asked(engine) == ({"green": 1}, 0)
    registry.forget(Scope(engine.address))
    stranger = manager_of(engine)
    assert stranger.resume() is True
    assert not isinstance(stranger._channel, SwitchingChannel)


@needs_asyncio_api
def test_the_asyncio_cluster_manager_goes_where_the_scope_is(engine: EngineProcess) -> None:
    async def resumed() -> bool:
        manager = manager_of(engine, async_cluster_manager.AsyncClusterManager)
        woken: bool = await manager.resume()
        await manager.close()
        return woken

    e6data.install(quick())
    switched(engine)
    assert asyncio.run(resumed()) is True
    assert asked(engine) == ({"green": 1}, 0)


# -- single connections


@needs_asyncio_api
def test_connect_async_covers_one_connection_without_install(engine: EngineProcess) -> None:
    async def stacks() -> list[str]:
        connection = await e6data.connect_async(host=engine.host, port=engine.port, settings=quick(), **LOGIN)
        cursor = connection.cursor()
        seen = []
        for _ in range(2):
            await cursor.execute(READ)
            seen.append((await cursor.fetchall())[0][2])
            await cursor.clear()
            engine.phase("abrupt", target="green")
        await connection.close()
        return seen

    assert asyncio.run(stacks()) == ["blue", "green"]
    assert engine.statistics().misrouted == 0
    assert found(INITIALIZE) is STOCK[str(INITIALIZE)]


# -- a stack that was taken down and is up again


def test_a_read_whose_stack_has_forgotten_it_is_replayed(engine: EngineProcess) -> None:
    connection = e6data.connect(host=engine.host, port=engine.port, settings=quick(), **LOGIN)
    cursor = connection.cursor()
    cursor.execute(READ)
    engine.phase("retire", active="blue", target="green")
    engine.phase("steady", active="blue")
    assert len(cursor.fetchall()) == 4
    cursor.clear()
    connection.close()
    assert engine.executions()[READ] == 2


def test_a_query_that_this_connection_never_began_gets_the_servers_own_answer(engine: EngineProcess) -> None:
    connection = e6data.connect(host=engine.host, port=engine.port, settings=quick(), **LOGIN)
    with pytest.raises(e6data_grpc.grpc.RpcError, match="no-such-query is not known"):
        connection.client.status(
            e6data_grpc.e6x_engine_pb2.StatusRequest(queryId="no-such-query"), metadata=()
        )
    connection.close()
