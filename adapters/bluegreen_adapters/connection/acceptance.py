"""Record of the connections that each strategy accepts. It tells one user's problem from the stack's.

A login or a begin that is accepted makes its connection vouch for the strategy, until that connection is refused
there itself. While another connection vouches, a refusal concerns one connection: it moves no other one (invariant
I13). Vouchers have no age, so that a user who idles for minutes is not moved either. If the stack refuses
everyone, each connection that tries withdraws its own voucher, and the last one moves the scope.

For the transport a voucher is good for a short time only: a stack that is out of reach is so for everybody.

All of this is of one process. Acceptances need no lock: each connection writes its own, and readers take a copy.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Strategy


class Voucher(Protocol):
    """A connection, as far as others look at it."""

    @property
    def public_id(self) -> str:
        """The name by which connections are told apart."""
        ...

    def accepted_at(self, strategy: Strategy) -> float | None:
        """Return when this strategy last accepted the connection; None: never, or it has refused it since."""
        ...


class AcceptanceRecord:
    """The connections of one scope, and the two that each strategy accepted last.

    The last two are remembered beyond the life of their connections: an application may open one for each query.

    Attributes:
        connections: the connections that exist in this process and are not closed.
        lock: protects which connection opens which session. It is never held while anything waits, so that one for a
            whole scope will do.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections: weakref.WeakSet[Voucher] = weakref.WeakSet()
        self._latest: dict[Strategy, tuple[float, str]] = {}
        self._before: dict[Strategy, tuple[float, str]] = {}

    def note_accepted(self, strategy: Strategy, connection: str, now_s: float) -> None:
        """Remember an acceptance."""
        latest = self._latest.get(strategy)
        if latest is not None and latest[1] != connection:
            self._before[strategy] = latest
        self._latest[strategy] = (now_s, connection)

    def note_refused(self, strategy: Strategy, connection: str) -> None:
        """Forget the acceptance of a connection that has been refused since."""
        kept = [
            one
            for one in (self._latest.pop(strategy, None), self._before.pop(strategy, None))
            if one is not None and one[1] != connection
        ]
        for known, one in zip((self._latest, self._before), kept, strict=False):
            known[strategy] = one

    def served_since(self, strategy: Strategy, connection: str, since_s: float, *, ageless: bool) -> bool:
        """Return whether another connection vouches for a strategy.

        Args:
            connection: public id of the one that asks.
            since_s: how old the acceptance of a connection that has gone may be, by the manager's clock.
            ageless: whether a connection that still exists vouches however long ago it was accepted.
        """
        others = [one for one in tuple(self.connections) if one.public_id != connection]
        moments = [moment for one in others if (moment := one.accepted_at(strategy)) is not None]
        if moments and (ageless or max(moments) >= since_s):
            return True
        gone = (self._latest.get(strategy), self._before.get(strategy))
        return any(one is not None and one[1] != connection and one[0] >= since_s for one in gone)


_records: weakref.WeakKeyDictionary[StrategyManager, AcceptanceRecord] = weakref.WeakKeyDictionary()
_lock: threading.Lock = threading.Lock()  # protects `_records`


def record_of(manager: StrategyManager) -> AcceptanceRecord:
    """Return the record of a scope; the same one for all its connections."""
    with _lock:
        record = _records.get(manager)
        if record is None:
            record = _records[manager] = AcceptanceRecord()
        return record


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  a thread that is not here may have held it
    _lock = threading.Lock()
    for record in _records.values():
        record.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
