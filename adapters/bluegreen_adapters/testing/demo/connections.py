"""The connections of the demo's application: kept, now and then renewed, or shared by two threads.

What an application does, and no more: after an error it drops its connection and opens another one.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import attrs

RENEWED_AFTER: Final = 10
"""Queries after which the thread that churns opens another connection."""


class Slot:
    """The connection of one or more threads. It is opened when it is needed, and closed when nobody uses it.

    Args:
        connect: opens a connection.
        renewed_after: queries after which it is replaced; none: only after an error.
    """

    def __init__(self, connect: Callable[[], Any], renewed_after: int | None = None) -> None:
        self._connect = connect
        self._renewed_after = renewed_after
        self._lock = threading.Lock()
        self._current: Any = None
        self._queries = 0
        self._users: Counter[int] = Counter()

    def taken(self) -> Any:
        """Return the connection for one query; `given_back` ends it."""
        with self._lock:
            if self._current is None:
                self._current = self._connect()
                self._queries = 0
            self._queries += 1
            self._users[id(self._current)] += 1
            return self._current

    def given_back(self, connection: Any, *, failed: bool) -> None:
        """A query on this connection has ended; after a failure, new queries get another connection."""
        with self._lock:
            self._users[id(connection)] -= 1
            old = self._renewed_after is not None and self._queries >= self._renewed_after
            if self._current is connection and (failed or old):
                self._current = None
            unused = self._current is not connection and not self._users[id(connection)]
            if unused:
                del self._users[id(connection)]
        if unused:
            close(connection)

    def close(self) -> None:
        """Close the connection, whoever uses it."""
        with self._lock:
            connection, self._current = self._current, None
        if connection is not None:
            close(connection)


def close(connection: Any) -> None:
    """Close a connection, in whatever state it is."""
    with contextlib.suppress(Exception):  # it is dropped in any case; what it says is nobody's answer
        connection.close()


@attrs.frozen
class Ways:
    """How many threads use their connections in which way.

    Args:
        keep: threads with a connection of their own, kept until an error.
        churn: threads with a connection of their own, renewed every few queries.
        share: threads on one common connection.
    """

    keep: int
    churn: int
    share: int

    @classmethod
    def of(cls, threads: int) -> Ways:
        """Return how so many threads are divided: two share, one churns, as far as there are enough.

        >>> Ways.of(8), Ways.of(1)
        (Ways(keep=5, churn=1, share=2), Ways(keep=1, churn=0, share=0))
        """
        share = 2 if threads >= 3 else 0
        churn = 1 if threads >= 4 else 0
        return cls(threads - churn - share, churn, share)

    def slots(self, connect: Callable[[], Any]) -> list[Slot]:
        """Return the slot of each thread."""
        common = Slot(connect)
        return [
            *(Slot(connect) for _ in range(self.keep)),
            *(Slot(connect, RENEWED_AFTER) for _ in range(self.churn)),
            *(common for _ in range(self.share)),
        ]
