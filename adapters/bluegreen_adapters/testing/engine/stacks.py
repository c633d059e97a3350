"""One stack of the test engine: its sessions and its queries. Pure: errors are values, there is no clock.

What belongs to one stack means nothing to the other. A stack that forgets begins a new generation, as a
deployment that is taken down and later brought up again does.
"""

from __future__ import annotations

from collections import deque

import attrs

from bluegreen_adapters.testing.engine.phases import Strategy
from bluegreen_adapters.testing.engine.sql import ParsedStatement, parse

ENGINE_IPS: dict[Strategy, str] = {"blue": "10.0.0.1", "green": "10.0.0.2"}
"""The address that each stack gives its queries; it is only told, never listened on."""

ROTATED_IDS_KEPT = 64
"""How many ids of one session are valid at a time when ids rotate."""

VANISHED_KEPT = 100_000
"""How many forgotten queries a stack still knows the text of, for the statistics."""


@attrs.frozen
class Problem:
    """Why a request is not served.

    Args:
        code: name of the gRPC status.
        details: its details.
        refusal: whether this is status 456: the request was not let in, and had no effect.
    """

    code: str
    details: str
    refusal: bool = False

    @property
    def transport(self) -> bool:
        """Whether a client cannot tell from this answer if the request had its effect."""
        return self.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")


ACCESS_DENIED = Problem("INTERNAL", "Access denied")
"""The answer to a session that is unknown or has expired."""


@attrs.define(eq=False)
class StackSession:
    """A session: who opened it, and the ids by which it is known now, oldest first."""

    user: str
    ids: deque[str] = attrs.field(factory=deque[str])


@attrs.define(eq=False)
class StackQuery:
    """A query from its prepare to its end.

    Attributes:
        id: the id that its stack gave it.
        statement: what it runs.
        executions: how often it has been executed.
        handed: how many batches have been handed out since it was last executed.
    """

    id: str
    statement: ParsedStatement
    executions: int = 0
    handed: int = 0

    @property
    def executed(self) -> bool:
        """Whether it runs, or has run."""
        return self.executions > 0

    @property
    def has_handed_rows(self) -> bool:
        """Whether a row of it may have reached the application."""
        return self.handed > 0 and self.statement.rows > 0

    @property
    def exhausted(self) -> bool:
        """Whether every row has been handed out."""
        return self.handed >= self.statement.batches


class Stack:
    """The sessions and queries of one strategy.

    Args:
        strategy: which of the two stacks this is.
        colliding_ids: number queries from `q-1` in both stacks, instead of with the strategy's name.
        rotate_sessions: give every response another session id; the last ones stay valid.

    >>> stack = Stack("blue")
    >>> query = stack.prepare("SELECT 1 /*+ rows(2) */")
    >>> stack.execute(query), stack.next_batch(query), stack.next_batch(query)
    (None, range(0, 2), range(2, 2))
    """

    def __init__(
        self, strategy: Strategy, *, colliding_ids: bool = False, rotate_sessions: bool = False
    ) -> None:
        self.strategy: Strategy = strategy
        self.engine_ip = ENGINE_IPS[strategy]
        self.generation = 1
        self.queries: dict[str, StackQuery] = {}
        self.vanished: dict[str, StackQuery] = {}
        self._sessions: dict[str, StackSession] = {}
        self._session_count = 0
        self._rotate = rotate_sessions
        self._query_prefix = "q-" if colliding_ids else f"{strategy}-q-"
        self._session_prefix = f"{strategy}-s-"
        self._queries_issued = 0
        self._forgotten_below = 0
        self._ids_issued = 0

    @property
    def open_sessions(self) -> int:
        """How many sessions have been opened and have neither expired nor been forgotten."""
        return self._session_count

    def issued_session(self, session_id: str) -> bool:
        """Whether this id is one of this stack, valid or not."""
        return session_id.startswith(self._session_prefix)

    def issued_query(self, query_id: str) -> bool:
        """Whether this id is certainly one of this stack. With colliding ids nothing is certain."""
        return query_id.startswith(self.strategy)

    # -- sessions

    def open_session(self, user: str) -> str:
        """Open a session and return its id."""
        session = StackSession(user)
        self._session_count += 1
        return self._new_id(session)

    def knows_session(self, session_id: str) -> bool:
        """Whether this id is valid now."""
        return session_id in self._sessions

    def renewed(self, session_id: str) -> str:
        """Return the id that a response to this session carries: another one if ids rotate."""
        session = self._sessions.get(session_id)
        if session is None or not self._rotate:
            return session_id
        if len(session.ids) >= ROTATED_IDS_KEPT:
            del self._sessions[session.ids.popleft()]
        return self._new_id(session)

    def expire_sessions(self) -> int:
        """Make every session id invalid and return how many sessions that ends. Queries stay."""
        expired = self._session_count
        self._sessions.clear()
        self._session_count = 0
        return expired

    def _new_id(self, session: StackSession) -> str:
        self._ids_issued += 1
        name = f"{self._session_prefix}{self._ids_issued}"
        session.ids.append(name)
        self._sessions[name] = session
        return name

    # -- queries

    def find(self, query_id: str) -> StackQuery | None:
        """Return the query that has this id and has not ended."""
        return self.queries.get(query_id)

    def prepare(self, text: str) -> StackQuery | Problem:
        """Begin a query."""
        try:
            statement = parse(text)
        except ValueError as error:
            return Problem("INVALID_ARGUMENT", str(error))
        self._queries_issued += 1
        query = StackQuery(f"{self._query_prefix}{self._queries_issued}", statement)
        self.queries[query.id] = query
        return query

    def execute(self, query: StackQuery) -> Problem | None:
        """Execute a query, again if it has been executed before. A statement that fails has no effect."""
        if query.statement.fails is not None:
            return Problem("INTERNAL", query.statement.fails or "the statement failed")
        query.executions += 1
        query.handed = 0
        return None

    def next_batch(self, query: StackQuery) -> range | Problem:
        """Hand out the next batch: values of column `n`, empty when there are no more."""
        if not query.executed:
            return Problem("INTERNAL", f"query {query.id} has not been executed")
        numbers = query.statement.batch_range(query.handed)
        if len(numbers) > 0:
            query.handed += 1
        return numbers

    def end(self, query_id: str) -> Problem | None:
        """End a query. Ending one of this generation again does nothing."""
        if self.queries.pop(query_id, None) is not None or self._ended_before(query_id):
            return None
        return self.unknown(query_id)

    def unknown(self, query_id: str) -> Problem:
        """The answer about a query that this stack does not have."""
        return Problem("INTERNAL", f"query {query_id or '(no id)'} is not known to {self.strategy}")

    def forget(self) -> tuple[StackQuery, ...]:
        """Lose all sessions and queries, begin a new generation, and return the queries that vanish."""
        gone = tuple(self.queries.values())
        for query in gone[-VANISHED_KEPT:]:
            self.vanished[query.id] = query
        while len(self.vanished) > VANISHED_KEPT:
            del self.vanished[next(iter(self.vanished))]
        self.queries.clear()
        self.expire_sessions()
        self._forgotten_below = self._queries_issued
        self.generation += 1
        return gone

    def _ended_before(self, query_id: str) -> bool:
        number = query_id.removeprefix(self._query_prefix)
        return (
            number != query_id
            and number.isdigit()
            and self._forgotten_below < int(number) <= self._queries_issued
        )
