"""One query of a connection: the ids that the application holds, the ids that its stack knows, its machine."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

import attrs

from bluegreen.machine import step
from bluegreen.query import QUERY, EndTicket, Lose, QueryContext, QueryEvent, Replay
from bluegreen.vocabulary import Ticket
from bluegreen_adapters.protocol import Metadata, Method
from bluegreen_adapters.sessions import Session


@attrs.frozen
class Rpc:
    """One RPC as the application called it.

    Args:
        name: bare name of the method.
        method: what the protocol says of it.
        request: the message; it is the application's, and is never changed.
        metadata: pairs of key and value.
        deadline_s: monotonic seconds at which the application gives up, or none.
        options: whatever else the application gave to the call.
    """

    name: str
    method: Method
    request: Any = attrs.field(repr=False)
    metadata: Metadata = attrs.field(default=(), repr=False)
    deadline_s: float | None = None
    options: dict[str, Any] = attrs.field(factory=dict)

    @property
    def left_s(self) -> float | None:
        """Seconds until the application gives up; none: never."""
        return None if self.deadline_s is None else max(self.deadline_s - time.monotonic(), 0.001)


class QueryId(str):
    """A query's id in the hands of the application. Unlike a plain string it can be watched: when nothing
    refers to it any more, the application has let the query go."""

    __slots__ = ("__weakref__",)


@attrs.frozen
class Settled:
    """What a step of the query machine asks for: a replay, or a loss with its reason, or neither."""

    replay: Replay | None = None
    lost: str | None = None


@attrs.define(eq=False)
class Query:
    """A query between its begin and its end.

    Args:
        begin: the RPC that began it.
        reads: whether its statement provably only reads.
        replay: the setting of that name.

    Attributes:
        public_id: its id in the application's hands.
        session: the session that it runs in; `None` before it has one.
        engine: its engine's address on the stack where it runs.
        execution: the RPC that executed it, once it was accepted.
        generation: how often it was begun; an RPC that failed in an older one is simply sent again.
        repairing: done when the repair that is under way has ended; another RPC of the query waits for it.
    """

    begin: Rpc
    reads: bool
    replay: str
    state: str = QUERY.initial
    context: QueryContext | None = None
    public_id: str | None = None
    session: Session | None = None
    engine: str | None = None
    execution: Rpc | None = None
    generation: int = 0
    repairing: Future[None] | None = None
    _lock: Any = attrs.field(factory=threading.Lock, repr=False)

    @property
    def ticket(self) -> Ticket | None:
        """The ticket under which it runs now."""
        return self.context.ticket if self.context is not None else None

    def takes(self, ticket: Ticket) -> None:
        """Run under this ticket from now on."""
        with self._lock:
            if self.context is None:
                self.context = QueryContext(ticket, self.reads, self.replay)
            else:
                self.context = attrs.evolve(self.context, ticket=ticket)
            self.session = self.engine = None
            self.generation += 1

    def claims(self, generation: int) -> bool:
        """Begin a repair, unless another thread has begun or ended one since `generation`."""
        with self._lock:
            if self.repairing is not None or generation != self.generation:
                return False
            self.repairing = Future()
            return True

    def repaired(self) -> None:
        """End the repair, whatever came of it."""
        with self._lock:
            done, self.repairing = self.repairing, None
        if done is not None:
            done.set_result(None)

    def advance(self, event: QueryEvent) -> tuple[Settled, tuple[EndTicket, ...]]:
        """Take one step; return what it asks for, and the tickets that it ends.

        Raises:
            EventForbidden: the query is not in a state for it; nothing has changed.
        """
        with self._lock:
            assert self.context is not None
            taken = step(QUERY, self.state, self.context, event)
            self.state, self.context = taken.state, taken.context
        ends = tuple(effect for effect in taken.effects if isinstance(effect, EndTicket))
        replay = next((effect for effect in taken.effects if isinstance(effect, Replay)), None)
        lost = next((effect.reason for effect in taken.effects if isinstance(effect, Lose)), None)
        return Settled(replay, lost), ends

    @property
    def session_id(self) -> str | None:
        """The id of its session on the stack where it runs, if it has one."""
        return self.session.id if self.session is not None else None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return QUERY.state(self.state).final
