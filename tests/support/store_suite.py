"""What holds of every store: a suite that a test module subclasses, with a fixture that opens the store.

A test that asks for `another` gets a second handle on the same store, as another process would have one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import attrs
import pytest

from bluegreen.errors import StoreError
from bluegreen.runtime.host import stamp
from bluegreen.store import Store, StoreRecord
from bluegreen.types import Scope, Strategy

SCOPE = Scope("suite.example:443", "sales")
OTHER = Scope("suite.example:443", "ops")
BLUE, GREEN = Strategy
Open = Callable[[], Store]


def following(
    store: Store, strategy: Strategy = GREEN, scope: Scope = SCOPE, who: str = "me:1"
) -> StoreRecord:
    """The record that may be written next."""
    there = store.read(scope)
    return attrs.evolve(
        there, store_epoch=there.store_epoch + 1, announced=strategy, verified=None, at=stamp(), who=who
    )


def until(holds: Callable[[], bool], within_s: float = 60.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.002)
    return True


def _epoch(store: Store, scope: Scope) -> int | None:
    try:
        return store.read(scope).store_epoch
    except StoreError:
        return None


class StoreSuite:
    """Subclasses have a fixture `opening`: it returns a function that opens the store, again for a further handle."""

    @pytest.fixture
    def store(self, opening: Open) -> Store:
        return opening()

    @pytest.fixture
    def another(self, opening: Open, store: Store) -> Store:
        return opening()

    def test_a_new_store_knows_nothing_and_has_an_incarnation(self, store: Store) -> None:
        record = store.read(SCOPE)
        assert (record.store_epoch, record.announced, record.verified) == (0, None, None)
        assert record.incarnation

    def test_what_was_written_is_read_by_others_with_everything_in_it(
        self, store: Store, another: Store
    ) -> None:
        record = attrs.evolve(following(store), verified=GREEN)
        assert store.write(SCOPE, record) == record
        assert until(lambda: another.read(SCOPE) == record)
        assert until(lambda: store.read(SCOPE) == record)

    def test_an_epoch_is_written_once_and_only_behind_the_one_before(self, store: Store) -> None:
        first = following(store, BLUE)
        assert store.write(SCOPE, first) is not None
        assert until(lambda: store.read(SCOPE).store_epoch == 1)
        for epoch in (0, 1, 3):
            assert store.write(SCOPE, attrs.evolve(first, store_epoch=epoch, announced=GREEN)) is None
        assert store.read(SCOPE) == first

    def test_what_was_meant_for_another_store_is_not_written(self, store: Store) -> None:
        assert store.write(SCOPE, attrs.evolve(following(store), incarnation="another")) is None
        assert store.read(SCOPE).store_epoch == 0

    def test_scopes_share_nothing(self, store: Store) -> None:
        assert store.write(SCOPE, following(store)) is not None
        assert until(lambda: store.read(SCOPE).store_epoch == 1)
        assert store.read(OTHER).store_epoch == 0
        assert store.lease(SCOPE, "one", 60)
        assert store.lease(OTHER, "two", 60)

    def test_scopes_whose_names_are_long_or_odd_share_nothing_either(self, store: Store) -> None:
        long = "a" * 1200
        scopes = [
            Scope("x/y"),
            Scope("x", "y"),
            Scope("x y"),
            Scope("x", " y"),
            Scope(long),
            Scope(long + "b"),
        ]
        scopes += [Scope("}{", "\N{SNOWMAN}"), Scope("x", "y:news")]
        for number, scope in enumerate(scopes):
            assert until(lambda: _epoch(store, scope) == 0)  # noqa: B023  it is asked at once
            assert store.write(scope, following(store, scope=scope, who=f"{number}")) is not None
        for number, scope in enumerate(scopes):
            assert until(lambda: _epoch(store, scope) == 1)  # noqa: B023
            assert store.read(scope).who == f"{number}"

    def test_whoever_watches_sees_that_there_is_something_to_read(self, store: Store, another: Store) -> None:
        assert another.read(SCOPE).store_epoch == 0
        look = another.watch(SCOPE)
        assert until(lambda: look() == look())
        before = look()
        assert store.write(SCOPE, following(store)) is not None
        assert until(lambda: look() != before)
        assert another.read(SCOPE).store_epoch == 1

    def test_while_nothing_happens_there_is_nothing_to_read(self, store: Store) -> None:
        assert store.write(SCOPE, following(store)) is not None
        assert until(lambda: store.read(SCOPE).store_epoch == 1)
        look = store.watch(SCOPE)
        assert until(lambda: look() == look())
        before = look()
        assert [look() for _ in range(1000)] == [before] * 1000

    def test_of_many_that_write_at_once_one_wins_each_epoch(self, store: Store, another: Store) -> None:
        won: list[tuple[int, str]] = []

        def hammer(mine: Store, who: str) -> None:
            for _ in range(40):
                try:
                    written = mine.write(SCOPE, following(mine, who=who))
                except StoreError:  # too many at once for the time that a query may wait
                    continue
                if written is not None:
                    won.append((written.store_epoch, written.who))

        threads = [
            threading.Thread(target=hammer, args=(mine, f"{name}:{number}"))
            for number in range(3)
            for name, mine in (("one", store), ("two", another))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        epochs = [epoch for epoch, _ in won]
        assert len(epochs) == len(set(epochs))
        assert until(lambda: store.read(SCOPE).store_epoch >= max(epochs))

    # The lease.

    def test_one_holder_at_a_time_has_the_lease(self, store: Store, another: Store) -> None:
        assert store.lease(SCOPE, "one", 60)
        assert not another.lease(SCOPE, "two", 60)
        assert store.lease(SCOPE, "one", 60)

    def test_a_lease_that_was_given_back_is_free(self, store: Store, another: Store) -> None:
        assert store.lease(SCOPE, "one", 60)
        store.release(SCOPE, "one")
        assert another.lease(SCOPE, "two", 60)

    def test_who_does_not_have_the_lease_cannot_give_it_back(self, store: Store, another: Store) -> None:
        assert store.lease(SCOPE, "one", 60)
        another.release(SCOPE, "two")
        assert not another.lease(SCOPE, "two", 60)

    def test_a_lease_ends_although_nobody_gives_it_back(self, store: Store, another: Store) -> None:
        assert store.lease(SCOPE, "dead", 0.05)
        assert until(lambda: another.lease(SCOPE, "two", 60))
        assert not store.lease(SCOPE, "dead", 60)

    # The end.

    def test_a_store_that_is_closed_says_so(self, store: Store) -> None:
        look = store.watch(SCOPE)
        store.close()
        look()
        for ask in (
            lambda: store.read(SCOPE),
            lambda: store.write(SCOPE, StoreRecord(store_epoch=1)),
            lambda: store.lease(SCOPE, "one", 1),
        ):
            with pytest.raises(StoreError, match="it is closed") as refused:
                ask()
            assert store.name.startswith(refused.value.store)
