"""The store in memory, by the suite of all stores; what `leased` says; and which URL opens which store."""

from __future__ import annotations

import os

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import SettingsError
from bluegreen.machines.lease import Lease, leased, released
from bluegreen.runtime.manager import StrategyManager
from bluegreen.store import Stamp, Store
from bluegreen_adapters import stores
from bluegreen_adapters.stores import join_store, open_store
from bluegreen_adapters.stores.memory import MemoryStore
from support.store_suite import SCOPE, Open, StoreSuite, following


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def opening(self) -> Open:
        store: Store = MemoryStore()
        return lambda: store  # processes share no memory: another handle is the same one

    def test_a_child_has_a_copy(self, store: Store) -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if store.write(SCOPE, following(store)) is not None else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert store.read(SCOPE).store_epoch == 0


@pytest.mark.parametrize(
    ("url", "finding"),
    [
        ("file:///tmp/x", "store is 'file:///tmp/x'; accepted: URLs that begin with memory:, lmdb:, redis:"),
        ("lmdb:", "store is 'lmdb:'; accepted: lmdb:///path/of/a/directory"),
        ("lmdb://host/x", "store is 'lmdb://host/x'; accepted: lmdb:///path/of/a/directory"),
        ("lmdb:///tmp/x?wait_ms=0", "store: wait_ms is '0'; accepted: 1 to 1000"),
    ],
)
def test_a_url_that_names_no_store_is_refused_with_what_is_accepted(url: str, finding: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_store(url)
    assert refused.value.findings[0].startswith(finding)


def test_a_manager_joins_the_store_of_its_settings_which_a_process_opens_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(stores, "_open", {})
    monkeypatch.setattr(stores, "open_store", lambda url: opened.append(url) or MemoryStore(url))
    managers = [join_store(StrategyManager(SCOPE, Settings(store="lmdb:///run/x"))) for _ in range(2)]
    assert [manager.exchange is not None for manager in managers] == [True, True]
    assert opened == ["lmdb:///run/x"]
    assert join_store(StrategyManager(SCOPE, Settings())).exchange is None


def test_a_lease_of_another_boot_is_over() -> None:
    held = Lease("one", 100.0, "yesterday")
    assert leased(held, "two", 1.0, Stamp(0.0, 5.0, "today")) == Lease("two", 6.0, "today")
    assert released(held, "two", Stamp(0.0, 5.0, "today")) is None
