"""What processes tell each other: one record for each scope, in a store that they share.

A store is an accelerator. Each process keeps its own machine and its own tickets; what is shared is news, so that a
record that is lost, late or wrong may cost a refused request, but never a query.

    >>> record = StoreRecord(store_epoch=7, incarnation="a1", announced="green")
    >>> StoreRecord.from_json(record.to_json()) == record
    True
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from bluegreen.errors import StoreError
from bluegreen.types import Scope, Strategy, optional_strategy


def _optional(value: Any) -> Strategy | None:
    return optional_strategy(value)


@attrs.frozen
class Stamp:
    """When something was: by both clocks of its host.

    Args:
        wall_s: seconds since 1970, by a clock that may jump.
        monotonic_s: seconds of a clock that never does; only comparable within one `boot`.
        boot: names the boot of the host, or is empty where that cannot be told.

    >>> Stamp(50.0, 9.0, "a").later_than(Stamp(90.0, 8.0, "a"))
    True
    """

    wall_s: float = 0.0
    monotonic_s: float = 0.0
    boot: str = ""

    def later_than(self, other: Stamp) -> bool:
        """Whether this was after `other`: by the clock that does not jump, where both have the same one."""
        if self.boot and self.boot == other.boot:
            return self.monotonic_s > other.monotonic_s
        return self.wall_s > other.wall_s


@attrs.frozen(kw_only=True)
class StoreRecord:
    """What a store holds for a scope.

    Args:
        store_epoch: +1 with each write; 0: nothing was written yet.
        incarnation: names the life of the store; epochs of two incarnations cannot be compared.
        announced: where new queries go.
        verified: the strategy that somebody has found to serve, if that is known.
        at: when it was written, by the clocks of the writer.
        who: the writer, for people: host and process.
    """

    store_epoch: int = 0
    incarnation: str = ""
    announced: Strategy | None = attrs.field(default=None, converter=_optional)
    verified: Strategy | None = attrs.field(default=None, converter=_optional)
    at: Stamp = Stamp()
    who: str = ""

    def to_json(self) -> bytes:
        """Return the record as one line, as stores keep it."""
        facts = attrs.asdict(self)
        facts.update(facts.pop("at"))
        return json.dumps(facts, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, line: bytes | str) -> StoreRecord:
        """Return the record that `to_json` has written.

        Raises:
            StoreError: it is none: torn, or written by somebody else. Nothing of it is used.
        """
        try:
            facts = json.loads(line)
            at = Stamp(float(facts["wall_s"]), float(facts["monotonic_s"]), str(facts["boot"]))
            return cls(
                store_epoch=int(facts["store_epoch"]),
                incarnation=str(facts["incarnation"]),
                announced=facts["announced"],
                verified=facts["verified"],
                at=at,
                who=str(facts["who"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError("record", f"no record of a scope: {type(error).__name__}: {error}") from None


class Store(Protocol):
    """What is asked of a store. All of it is safe for threads, and after a fork.

    Whatever takes longer than the store's bound raises `StoreError`: a query never waits longer for a store.
    """

    name: str
    """The store for people: its URL without credentials."""

    def watch(self, scope: Scope) -> Callable[[], int]:
        """Return a function that tells whether there may be something to read: it returns another number then.

        It takes about as long as reading an attribute, takes no lock, does no I/O that could block, and never raises:
        where a store has failed, its number moves when it is worth reading again.
        """
        ...

    def read(self, scope: Scope) -> StoreRecord:
        """Return the record of a scope; with store_epoch 0 if there is none.

        Raises:
            StoreError: the store does not answer, or what it holds is no record.
        """
        ...

    def write(self, scope: Scope, record: StoreRecord) -> StoreRecord | None:
        """Compare and set: write `record` if its incarnation is the store's and its store_epoch follows the one there.

        Returns:
            The record as it was written; none: somebody else was faster, or the store is another one by now.

        Raises:
            StoreError: the store does not answer in time. Whether it was written is not known.
        """
        ...

    def lease(self, scope: Scope, holder: str, ttl_s: float) -> bool:
        """Take, or keep, the scope's lease for `ttl_s` seconds; return whether `holder` has it now.

        Raises:
            StoreError: the store does not answer in time.
        """
        ...

    def release(self, scope: Scope, holder: str) -> None:
        """Give the lease back, if `holder` has it.

        Raises:
            StoreError: the store does not answer in time; the lease ends by itself.
        """
        ...

    def close(self) -> None:
        """Let everything go. What is asked afterwards raises `StoreError`."""
        ...
