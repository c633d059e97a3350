"""One manager per scope and process."""

from __future__ import annotations

import os
import runpy
import threading
from collections.abc import Iterator

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import ScopeConflict, SettingsError
from bluegreen.machines.strategy.events import QueryCompleted
from bluegreen.runtime import fork_safety, registry
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed, scopes
from bluegreen.types import Scope

SCOPE = Scope("registry.example:443", "one")
OTHER = Scope("registry.example:443", "two")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    forget(SCOPE)
    forget(OTHER)


def test_a_scope_has_one_manager_however_often_it_is_asked_for() -> None:
    manager = managed(SCOPE)
    assert managed(Scope(SCOPE.target, SCOPE.cluster)) is manager
    assert manager.scope == SCOPE


def test_two_clusters_at_one_address_share_nothing() -> None:
    one, two = managed(SCOPE), managed(OTHER)
    ticket = one.start(lambda strategy, left_s: None)
    assert (one.state, two.state) == ("Stable", "Detecting")
    assert two.open_tickets == ()
    assert one.end(QueryCompleted(ticket))


def test_the_first_settings_are_the_scope_s() -> None:
    settings = Settings(cache_ttl_s=60)
    assert managed(SCOPE, settings).settings is settings
    assert managed(SCOPE).settings is settings
    assert managed(SCOPE, Settings(cache_ttl_s=60)).settings is settings


def test_other_settings_for_a_scope_are_refused_and_named() -> None:
    manager = managed(SCOPE, Settings(cache_ttl_s=60))
    with pytest.raises(ScopeConflict, match="cache_ttl_s, replay") as refused:
        managed(SCOPE, Settings(replay="never"))
    assert refused.value.differing == ("cache_ttl_s", "replay")
    assert refused.value.scope == SCOPE
    assert managed(SCOPE) is manager


def test_a_scope_whose_settings_are_wrong_is_not_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLUEGREEN_CACHE_TTL_S", "5")
    with pytest.raises(SettingsError, match=r"cache_ttl_s is 5\.0"):
        managed(SCOPE)
    assert SCOPE not in scopes()
    monkeypatch.delenv("BLUEGREEN_CACHE_TTL_S")
    assert managed(SCOPE).settings == Settings()


def test_the_scopes_are_listed() -> None:
    managed(SCOPE)
    managed(OTHER)
    assert {SCOPE, OTHER} <= set(scopes())


def test_a_scope_that_was_forgotten_begins_anew_and_open_tickets_stay_with_the_old_manager() -> None:
    old = managed(SCOPE)
    ticket = old.start(lambda strategy, left_s: None)
    forget(SCOPE)
    forget(SCOPE)
    new = managed(SCOPE)
    assert new is not old
    assert new.open_tickets == ()
    assert old.end(QueryCompleted(ticket))


def test_threads_that_ask_at_the_same_time_get_the_same_manager() -> None:
    gate = threading.Barrier(16)
    got: list[StrategyManager] = []

    def ask() -> None:
        gate.wait(60)
        got.append(managed(SCOPE))

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 16
    assert len(set(map(id, got))) == 1


def test_who_comes_second_to_an_unknown_scope_gets_the_first_one_s_manager() -> None:
    """Both have found nothing before either has the lock."""
    got: list[StrategyManager] = []
    thread = threading.Thread(target=lambda: got.append(managed(SCOPE)), daemon=True)

    class Late(dict[Scope, StrategyManager]):
        """Lets the first look find nothing, and the thread wait for the lock before the scope is there."""

        looked = threading.Event()

        def get(self, scope: Scope, default: object = None) -> StrategyManager | None:  # type: ignore[override]
            found = super().get(scope)
            if threading.current_thread() is thread:
                self.looked.set()
            return found

    late = Late(registry._managers)
    before, registry._managers = registry._managers, late
    try:
        with registry._lock:
            thread.start()
            assert late.looked.wait(60)
            manager = late[SCOPE] = StrategyManager(SCOPE, Settings())
        thread.join(60)
        assert got == [manager]
    finally:
        registry._managers = before


def test_it_can_be_imported_where_there_is_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    for module in (registry, fork_safety):
        names = runpy.run_path(str(module.__file__))
        assert callable(names["_after_fork_in_child"])


def test_a_forked_child_has_a_lock_of_its_own() -> None:
    before = registry._lock
    try:
        registry._after_fork_in_child()
        assert registry._lock is not before
        assert not registry._lock.locked()
    finally:
        registry._lock = before
