"""What a shared store costs a query while nothing has changed, against a plain attribute read in the same run."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bluegreen.store import Store
from bluegreen.types import Scope
from bluegreen_adapters.stores.memory import MemoryStore
from support.counting import calls_of
from support.telling import tell

SCOPE = Scope("cost.example:443")
pytestmark = [pytest.mark.benchmark, pytest.mark.slow]


class Plain:
    value = 1


CALLS, CALLS_NOW_AND_THEN = 10, 30
"""How many functions a look may call: a usual one, and one that also sees whether the file of LMDB was replaced."""


def lmdb_store() -> Any:
    return pytest.importorskip("bluegreen_adapters.stores.lmdb").LmdbStore


def stores(folder: Path) -> list[tuple[str, Store]]:
    return [("memory", MemoryStore()), ("LMDB", lmdb_store()(folder / "shared"))]


def test_looking_while_nothing_has_changed_calls_a_few_functions(tmp_path: Path) -> None:
    plain = Plain()
    asked: dict[str, Callable[[], object]] = {"attribute": lambda: plain.value}
    opened = stores(tmp_path)
    for name, store in opened:
        store.read(SCOPE)
        asked[name] = store.watch(SCOPE)
    times: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(7):  # in turns, so that a noisy moment is everybody's
        for name, look in asked.items():
            times[name].append(timeit.timeit(look, number=50_000) / 50_000)
    medians = {name: statistics.median(one) for name, one in times.items()}
    told = ", ".join(f"{name} {1e6 * one:.3f} us" for name, one in medians.items())
    tell(f"a look while nothing has changed: {told}")
    for name, store in opened:
        assert statistics.median(calls_of(asked[name]) for _ in range(20)) <= CALLS
        if isinstance(store, lmdb_store()):
            store._look_s = 0.0  # it is time to see to the file
            assert CALLS < calls_of(asked[name]) <= CALLS_NOW_AND_THEN
        store.close()
