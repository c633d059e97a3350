"""What became of each query of the demo, and when each switch was under way."""

from __future__ import annotations

from collections import Counter

import attrs

from bluegreen_adapters.testing.engine import Statistics


@attrs.frozen
class QueryResult:
    """What the application saw of one query.

    Args:
        text: its statement.
        writes: whether that writes.
        began_s: seconds since the start of the load.
        ended_s: likewise; of a query that never came back, when it was given up.
        error: the error that the application got, or none.
        wrong: what is wrong with the rows that the application got, or none.
        seen: whether the application had rows of it by then; True also if that is not known.
    """

    text: str
    writes: bool
    began_s: float
    ended_s: float
    error: str | None = None
    wrong: str | None = None
    seen: bool = True

    @property
    def latency_s(self) -> float:
        """Seconds that the application waited."""
        return self.ended_s - self.began_s


class Ledger:
    """Puts outcomes together from beginnings and ends.

    >>> ledger = Ledger()
    >>> ledger.began(0, "SELECT 1", False, 0.0)
    >>> ledger.all_ended(0.5, "it never came back")
    >>> ledger.failed
    1
    """

    def __init__(self) -> None:
        self.outcomes: list[QueryResult] = []
        self.failed = 0
        self._begun: dict[int, tuple[str, bool, float]] = {}

    def began(self, thread: int, text: str, writes: bool, at_s: float) -> None:
        """A thread has begun a query."""
        self._begun[thread] = (text, writes, at_s)

    def ended(
        self, thread: int, at_s: float, error: str | None, wrong: str | None, seen: bool = True
    ) -> None:
        """Record that the query of a thread has ended."""
        text, writes, began_s = self._begun.pop(thread)
        self.outcomes.append(QueryResult(text, writes, began_s, at_s, error, wrong, seen))
        self.failed += error is not None

    def all_ended(self, at_s: float, error: str) -> None:
        """No query that is still under way will ever come back."""
        for thread in tuple(self._begun):
            self.ended(thread, at_s, error, None)


@attrs.frozen
class Window:
    """A switch that was played, and when it was under way, in seconds since the start of the load."""

    kind: str
    began_s: float
    ended_s: float

    def overlaps(self, outcome: QueryResult) -> bool:
        """Whether a query was in flight at any moment of the switch.

        >>> Window("abrupt", 1.0, 2.0).overlaps(QueryResult("SELECT 1", False, 1.9, 2.5))
        True
        """
        return outcome.began_s <= self.ended_s and outcome.ended_s >= self.began_s


@attrs.frozen
class Vitals:
    """What the application's process holds at a moment.

    Args:
        at_s: seconds since the start of the load.
        resident: bytes of memory, or none where the platform does not tell.
        tickets: open tickets of the scope.
        objects: how many connections' links, sessions and queries are alive; none: not counted, as that takes
            too long while queries run.
    """

    at_s: float
    resident: int | None
    tickets: int
    objects: int | None = None


@attrs.frozen
class Run:
    """What happened in one half: what the application saw, and what the engine counted.

    Args:
        outcomes: of all queries.
        windows: of all switches.
        statistics: of the engine.
        executions: of the engine: how often each statement was executed.
        crashes: how often the process of the application died.
        vitals: what that process held, in the order of time; the first before it connected, the last after it
            had closed everything.
        round_trip_s: median seconds of one RPC, before the first switch; 0 if that was not measured.
    """

    outcomes: tuple[QueryResult, ...]
    windows: tuple[Window, ...]
    statistics: Statistics
    executions: dict[str, int]
    crashes: int = 0
    vitals: tuple[Vitals, ...] = ()
    round_trip_s: float = 0.0

    @property
    def bereft(self) -> dict[str, float]:
        """Statements that nobody could bring to their end, as far as the engine knows, and the earliest second of the
        load of which that can be said: their stack went away after it had handed out rows of them, or accepted to
        execute a write. Whether the application had seen those rows is in `QueryResult.seen`.
        """
        started_s = self.statistics.timeline[0].at_s
        return {
            gone.statement: gone.at_s - started_s for gone in self.statistics.vanished if gone.loss_allowed
        }

    @property
    def bereft_twice(self) -> frozenset[str]:
        """Statements whose stack went away twice while they ran: a read is run again once."""
        times = Counter(gone.statement for gone in self.statistics.vanished if gone.executed)
        return frozenset(text for text, count in times.items() if count > 1)
