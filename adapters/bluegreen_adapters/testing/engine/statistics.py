"""What happened at the test engine: every request is counted, and every wrong one is told.

`Recorder` counts while the engine runs; `Statistics` is a frozen picture of it that goes through JSON.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from bluegreen_adapters.testing.engine.phases import Phase
from bluegreen_adapters.testing.engine.stacks import StackQuery

SAMPLE_LIMIT = 50
"""How many misrouted requests are told in full; all are counted."""

TIMELINE_LIMIT = 10_000
"""How many phases the timeline has; the first ones stay."""

Table = dict[str, dict[str, int]]
"""Counts by two keys, e.g. method and strategy."""


@attrs.frozen
class Offence:
    """A request that went to the wrong stack.

    Args:
        method: name of the RPC.
        strategy: the strategy that it named, as it was sent; empty if it named none.
        reason: what was wrong.
        session_id, query_id, engine_ip: what it carried.
        phase: the phase that the engine was in.
    """

    method: str
    strategy: str
    reason: str
    session_id: str = ""
    query_id: str = ""
    engine_ip: str = ""
    phase: str = ""


@attrs.frozen
class Moment:
    """A phase began: seconds since the engine started, the phase, and the stack that new work belongs on."""

    at_s: float
    phase: str
    active: str


@attrs.frozen
class Vanished:
    """A query that was in flight when its stack forgot it.

    Args:
        statement: its text.
        strategy: the stack.
        writes: whether it writes.
        executed: whether execute had been accepted.
        handed_rows: whether rows had been handed out.
        at_s: seconds since the engine started, as in the timeline.
    """

    statement: str
    strategy: str
    writes: bool
    executed: bool
    handed_rows: bool
    at_s: float = 0.0

    @property
    def loss_allowed(self) -> bool:
        """Whether no client can bring this query to its end: it must not be run again."""
        return (self.writes and self.executed) or self.handed_rows


@attrs.frozen
class Statistics:
    """A picture of all counts.

    Attributes:
        requests: requests by method and strategy; strategy `none` is a request without a valid one.
        with_token: those of them that carried a bearer token, valid or not.
        refused: answers with status 456, by method and strategy.
        errors: other errors, by method and gRPC status.
        misrouted: requests that carried what belongs to the other stack, or no valid strategy.
        offences: the first of them in full.
        authentications: sessions opened, by strategy.
        reads_executed, writes_executed: accepted executions.
        executed_twice: writes that were executed more than once, and how often.
        reads_repeated: reads that were executed more than once, and how often.
        lost_allowed: statements that no client could bring to their end: writes accepted, or reads with rows
            handed out, whose stack went away or failed; and writes whose execute had no clear answer.
        vanished: queries that were in flight when their stack forgot them.
        open_sessions, open_queries: what each stack holds now.
        faults: how many requests each armed fault has met.
        timeline: phases since the last reset.
    """

    requests: Table
    with_token: Table
    refused: Table
    errors: Table
    misrouted: int
    offences: tuple[Offence, ...]
    authentications: dict[str, int]
    reads_executed: int
    writes_executed: int
    executed_twice: dict[str, int]
    reads_repeated: dict[str, int]
    lost_allowed: frozenset[str]
    vanished: tuple[Vanished, ...]
    open_sessions: dict[str, int]
    open_queries: dict[str, int]
    faults: tuple[int, ...]
    timeline: tuple[Moment, ...]

    @property
    def total_requests(self) -> int:
        """All requests."""
        return sum(sum(row.values()) for row in self.requests.values())

    @property
    def total_refused(self) -> int:
        """All answers with status 456."""
        return sum(sum(row.values()) for row in self.refused.values())

    def to_json(self) -> dict[str, Any]:
        """Return the picture as plain JSON data."""
        data = attrs.asdict(self)
        data["lost_allowed"] = sorted(self.lost_allowed)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Statistics:
        """Return the picture that `to_json` wrote."""
        fields = dict(data)
        fields["offences"] = tuple(Offence(**item) for item in data["offences"])
        fields["vanished"] = tuple(Vanished(**item) for item in data["vanished"])
        fields["timeline"] = tuple(Moment(**item) for item in data["timeline"])
        fields["lost_allowed"] = frozenset(data["lost_allowed"])
        fields["faults"] = tuple(data["faults"])
        return cls(**fields)


class Recorder:
    """Counts what happens. One thread at a time.

    >>> recorder = Recorder()
    >>> for _ in range(2):
    ...     recorder.executed("INSERT INTO t", writes=True)
    >>> recorder.snapshot().executed_twice
    {'INSERT INTO t': 2}
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from zero again."""
        self._requests: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._with_token: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._refused: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._errors: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._authentications: Counter[str] = Counter()
        self._reads: Counter[str] = Counter()
        self._writes: Counter[str] = Counter()
        self._misrouted = 0
        self._offences: list[Offence] = []
        self._lost_allowed: set[str] = set()
        self._vanished: list[Vanished] = []
        self._timeline: list[Moment] = []

    def request(self, method: str, strategy: str, *, token: bool = False) -> None:
        """A request arrived, with a bearer token or without."""
        self._requests[method][strategy] += 1
        if token:
            self._with_token[method][strategy] += 1

    def refused(self, method: str, strategy: str) -> None:
        """A request was answered with status 456."""
        self._refused[method][strategy] += 1

    def error(self, method: str, code: str) -> None:
        """A request was answered with another error."""
        self._errors[method][code] += 1

    def offence(self, offence: Offence) -> None:
        """A request went to the wrong stack."""
        self._misrouted += 1
        if len(self._offences) < SAMPLE_LIMIT:
            self._offences.append(offence)

    def authenticated(self, strategy: str) -> None:
        """A session was opened."""
        self._authentications[strategy] += 1

    def executed(self, statement: str, *, writes: bool) -> None:
        """A statement was accepted for execution."""
        (self._writes if writes else self._reads)[statement] += 1

    def allow_loss(self, statement: str) -> None:
        """No client can bring this statement to its end."""
        self._lost_allowed.add(statement)

    def vanished(self, strategy: str, queries: Iterable[StackQuery], at_s: float = 0.0) -> None:
        """A stack forgot these queries while they were in flight."""
        for query in queries:
            gone = Vanished(
                statement=query.statement.text,
                strategy=strategy,
                writes=query.statement.writes,
                executed=query.executed,
                handed_rows=query.has_handed_rows,
                at_s=round(at_s, 6),
            )
            self._vanished.append(gone)
            if gone.loss_allowed:
                self._lost_allowed.add(gone.statement)

    def phase(self, phase: Phase, at_s: float) -> None:
        """A phase began."""
        if len(self._timeline) < TIMELINE_LIMIT:
            self._timeline.append(Moment(round(at_s, 6), phase.name, phase.active))

    def executions(self) -> dict[str, int]:
        """How often each statement was executed, by its text."""
        return dict(self._reads + self._writes)

    def snapshot(
        self,
        *,
        open_sessions: Mapping[str, int] | None = None,
        open_queries: Mapping[str, int] | None = None,
        faults: Iterable[int] = (),
    ) -> Statistics:
        """Return a picture of the counts, with what the stacks hold and the faults have met."""
        return Statistics(
            requests=_plain(self._requests),
            with_token=_plain(self._with_token),
            refused=_plain(self._refused),
            errors=_plain(self._errors),
            misrouted=self._misrouted,
            offences=tuple(self._offences),
            authentications=dict(self._authentications),
            reads_executed=self._reads.total(),
            writes_executed=self._writes.total(),
            executed_twice={text: times for text, times in self._writes.items() if times > 1},
            reads_repeated={text: times for text, times in self._reads.items() if times > 1},
            lost_allowed=frozenset(self._lost_allowed),
            vanished=tuple(self._vanished),
            open_sessions=dict(open_sessions or {}),
            open_queries=dict(open_queries or {}),
            faults=tuple(faults),
            timeline=tuple(self._timeline),
        )


def _plain(table: Mapping[str, Mapping[str, int]]) -> Table:
    return {key: dict(row) for key, row in table.items()}
