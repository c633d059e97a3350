"""Scripts that drive the shipped tables through what production runs: channels, a server, stores.

No step is sent to a table. What happens comes from a server's answers, from a clock, from what an application calls,
from a store, and from an operator (`Reset`, `CacheInvalidated`, `RollbackRequested`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from typing import Any, Final

import attrs
import grpc
import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden, QueryLost, Refusal, StrategyUnavailable
from bluegreen.machines.strategy.events import CacheInvalidated, QueryCompleted, Reset, RollbackRequested
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.machines.strategy.timers import TIMERS
from bluegreen.runtime.host import stamp
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Sleep
from bluegreen.store import StoreRecord
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.protocol import Method, Protocol, Role
from bluegreen_adapters.e6data import PROTOCOL
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.stores.memory import MemoryStore
from bluegreen_adapters.testing.engine import EngineProcess
from support.clock import FakeClock
from support.engine import READ, WRITE, Client, quick
from support.faulty_store import FaultyStore
from support.subjects import SETTINGS, due_s
from support.wire_subjects import Cluster, WireConnection

FAILURES: Final = (grpc.RpcError, QueryLost, StrategyUnavailable, EventForbidden)
EMPTY: Final = "SELECT 1 /*+ rows(0) */"
EXECUTES_AT_ONCE: Final = attrs.evolve(
    PROTOCOL, methods={**PROTOCOL.methods, "prepareStatement": Method(Role.BEGIN, effect="executed")}
)
"""A protocol whose begin executes."""

REFUSED: Final = {"action": "status", "code": "UNKNOWN", "details": "status: 456"}
BROKEN: Final = {"action": "status", "code": "UNAVAILABLE"}
GONE: Final = {"action": "status", "code": "INTERNAL", "details": "query q is not known to blue"}
WRONG: Final = {"action": "status", "code": "INVALID_ARGUMENT", "details": "no such column"}
DENIED: Final = {"action": "status", "code": "INTERNAL", "details": "Access denied"}
NO_LOGIN: Final = {"action": "status", "code": "PERMISSION_DENIED", "details": "not you"}
BLUE, GREEN = "blue", "green"


class Meanwhile(grpc.UnaryUnaryClientInterceptor):
    """Interceptor below a switching channel: something happens while an answer is on its way."""

    def __init__(self) -> None:
        self._happens: dict[str, list[Callable[[], object]]] = {}

    def then(self, method: str, *happens: Callable[[], object]) -> None:
        """Let one of these happen at each of the next answers to a method."""
        self._happens[method] = list(happens)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        answer = continuation(client_call_details, request)
        answer.exception()  # it has come, but nobody has it yet
        happens = self._happens.get(client_call_details.method.rsplit("/")[-1])
        if happens:
            with suppress(*FAILURES):
                happens.pop(0)()
        return answer


class Rig:
    """Two connections of one scope, on which blue serves both.

    Args:
        cluster: the server.
        settings: the scope's settings.
        protocol: the protocol of both connections.
    """

    def __init__(self, cluster: Cluster, settings: Settings, protocol: Protocol = PROTOCOL) -> None:
        self.cluster, self.engine = cluster, cluster.engine
        cluster.conducts()
        self.engine.clear_faults()
        self.clock = FakeClock()
        self.manager = StrategyManager(Scope(cluster.address), settings, clock=self.clock)
        self.manager.observe(lambda _: None)  # so that what is reported is made
        self.meanwhile = Meanwhile()
        self.held: Any = None  # a query of the other connection on blue, by which that hears announcements
        self._channels = [grpc.insecure_channel(cluster.address), grpc.insecure_channel(cluster.address)]
        self.mine = self._client(grpc.intercept_channel(self._channels[0], self.meanwhile), protocol)
        self.other = self._client(self._channels[1], protocol)

    def _client(self, channel: Any, protocol: Protocol) -> Client:
        link = Connection(self.manager, protocol)
        return Client(SwitchingChannel(channel, link), link)

    def login(self) -> Rig:
        """Open a session of each connection on blue."""
        self.other.login()
        self.mine.login()
        return self

    def fault(self, fault: dict[str, Any], method: str, **where: Any) -> None:
        """Arm a fault."""
        self.engine.fault(**fault, method=method, **where)

    def close(self) -> None:
        """Close both connections."""
        self.engine.clear_faults()
        for client, channel in zip((self.mine, self.other), self._channels, strict=True):
            client.link.close()
            channel.close()

    def tries(self, *calls: Callable[[], object]) -> None:
        """Call what may fail."""
        for call in calls:
            with suppress(*FAILURES):
                call()


Script = Callable[[Rig], None]


def operator(rig: Rig, event: Any) -> Callable[[], object]:
    """Return what sends an event as an operator does."""
    return lambda: rig.manager.send(event)


# Queries.


def queries(rig_of: Callable[..., Any]) -> None:
    """Drive queries of all kinds through a fault in each phase, and to each end."""
    texts, faults, counts = (READ, EMPTY, WRITE), (REFUSED, BROKEN, GONE, WRONG), (1, None)
    for text, fault, count in product(texts, faults, counts):
        for phase in _PHASES:
            with rig_of() as rig:
                phase(rig, text, fault, count)
    for fault in (REFUSED, BROKEN, GONE, WRONG):
        for text in (READ, WRITE):
            with rig_of(protocol=EXECUTES_AT_ONCE) as rig:
                rig.fault(fault, "prepareStatement", count=1)
                rig.tries(lambda rig=rig, text=text: rig.mine.prepare(text))
    for late, fault, end in product(_LATE, (None, REFUSED, BROKEN), _ENDS):
        with rig_of() as rig:
            _ends_meanwhile(rig, late, fault, end)
    for end, steps in product(_ENDS[:2], range(3)):
        with rig_of() as rig:
            query = rig.mine.prepare(READ)
            for step in (rig.mine.execute, rig.mine.fetch)[:steps]:
                step(query)
            end(rig, query)
    with rig_of() as rig:
        _closed_while_begun_again(rig)


def _at_begin(rig: Rig, text: str, fault: dict[str, Any], count: int | None) -> None:
    rig.fault(fault, "prepareStatement", count=count)
    rig.tries(lambda: rig.mine.run(text))


def _at_execute(rig: Rig, text: str, fault: dict[str, Any], count: int | None) -> None:
    query = rig.mine.prepare(text)
    rig.fault(fault, "executeStatement", count=count)
    rig.tries(lambda: rig.mine.execute(query), lambda: rig.mine.drained(query), lambda: rig.mine.clear(query))


def _at_status_of_prepared(rig: Rig, text: str, fault: dict[str, Any], count: int | None) -> None:
    query = rig.mine.prepare(text)
    rig.fault(fault, "status", count=count)
    rig.tries(lambda: rig.mine.status(query), lambda: rig.mine.clear(query))


def _at_status(rig: Rig, text: str, fault: dict[str, Any], count: int | None) -> None:
    query = rig.mine.started(text)
    rig.fault(fault, "status", count=count)
    rig.tries(lambda: rig.mine.status(query), lambda: rig.mine.fetch(query), lambda: rig.mine.clear(query))


def _at_later_status(rig: Rig, text: str, fault: dict[str, Any], count: int | None) -> None:
    query = rig.mine.started(text)
    rig.mine.fetch(query)
    rig.fault(fault, "status", count=count)
    rig.tries(lambda: rig.mine.status(query), lambda: rig.mine.clear(query))


_PHASES: Final = (_at_begin, _at_execute, _at_status_of_prepared, _at_status, _at_later_status)


def collections(rig_of: Callable[..., Any]) -> None:
    """Drive queries whose connector collects batches before the application has a row: through a fault, to each end."""
    for fault, again in product((REFUSED, BROKEN), (True, False)):
        with rig_of() as rig:
            _collected(rig, fault, again=again)
    for end in _ENDS:
        with rig_of() as rig:
            query = rig.mine.started(READ)
            kept = rig.mine.link.bound[query.queryId]
            collection = kept.collect()
            rig.mine.fetch(query)
            rig.tries(lambda rig=rig, query=query, end=end: end(rig, query))
            kept.hand_out(collection)


def _collected(rig: Rig, fault: dict[str, Any], *, again: bool) -> None:
    query = rig.mine.started(READ)
    kept = rig.mine.link.bound[query.queryId]
    collection = kept.collect()
    rig.mine.fetch(query)
    if again:
        rig.fault(fault, "status", count=1)
        rig.tries(lambda: rig.mine.status(query))
    kept.hand_out(collection)
    rig.tries(lambda: rig.mine.fetch(query), lambda: rig.mine.clear(query))


def _clear(rig: Rig, query: Any) -> None:
    rig.mine.clear(query)


def _cancel(rig: Rig, query: Any) -> None:
    rig.mine.cancel(query)


def _fail(rig: Rig, query: Any) -> None:
    rig.fault(WRONG, "getResultMetadata", count=1)
    rig.mine.describe(query)


_ENDS: Final = (_clear, _cancel, _fail)
_LATE: Final = ("executeStatement", "getNextResultBatch", "status")


def _ends_meanwhile(rig: Rig, late: str, fault: dict[str, Any] | None, end: Any) -> None:
    """A query ends while the answer to another RPC of it is on its way."""
    query = rig.mine.prepare(EMPTY) if late == "executeStatement" else rig.mine.started(EMPTY)
    calls = {
        "executeStatement": rig.mine.execute,
        "getNextResultBatch": rig.mine.fetch,
        "status": rig.mine.status,
    }
    if fault is not None:
        rig.fault(fault, late)
    rig.meanwhile.then(late, lambda: end(rig, query))
    rig.tries(lambda: calls[late](query))


def _closed_while_begun_again(rig: Rig) -> None:
    query = rig.mine.started(READ)
    rig.fault(REFUSED, "status", count=1)
    rig.meanwhile.then("prepareStatement", rig.mine.link.close)
    rig.tries(lambda: rig.mine.status(query))


# The strategy machine.

_TIMED: Final = tuple(type(timer.event) for timer in TIMERS)
_STEPS: Final = 30


def walk(
    connection_of: Callable[[Settings], WireConnection], missed: Callable[[], Iterable[str]], runs: int
) -> None:
    """Walk at random with one connection, until no row is missed or `runs` walks are done.

    Every other step goes where a row is missed, if an event leads there. Always to go there would be a trap: the server
    may answer otherwise than the event says.
    """
    chance = random.Random(7)
    for _ in range(runs):
        if not missed():
            return
        connection = connection_of(attrs.evolve(chance.choice(SETTINGS), retry_attempts=1))
        try:
            for _ in range(_STEPS):
                with suppress(EventForbidden):
                    connection.send(chance.choice(_next_events(connection, missed(), chance)))
        finally:
            connection.close()


def _next_events(connection: WireConnection, missed: Iterable[str], chance: random.Random) -> list[Any]:
    state, context = connection.state, connection.context
    events = [
        event
        for event in connection.events(state, context)
        if not isinstance(event, _TIMED) or due_s(connection.manager, event) is not None
    ]
    new = [event for event in events if STRATEGY.row(state, context, event).name in missed]
    return new if new and chance.random() < 0.5 else events


def announce(rig: Rig, strategy: str) -> None:
    """Let both stacks announce a strategy, and let the other connection hear it from a query that it holds."""
    rig.cluster.conducts(**{one.value: {"announces": strategy} for one in Strategy})
    rig.tries(lambda: rig.other.status(rig.held))
    rig.cluster.conducts()


def two_connections(rig_of: Callable[..., Any]) -> None:
    """Drive what takes two connections: one is refused while the other one is served, or moves the scope meanwhile."""
    for script in _TWO:
        with rig_of() as rig:
            script(rig)


def _mine_is_denied(rig: Rig) -> None:
    """Queries of a connection that blue denies begin on green, whatever the others do."""
    rig.fault(DENIED, "getSchemaNames", strategy=BLUE)
    rig.fault(DENIED, "prepareStatement", strategy=BLUE, count=3)
    rig.tries(lambda: rig.mine.prepare(READ), lambda: rig.mine.prepare(READ))
    rig.manager.send(CacheInvalidated())
    rig.tries(lambda: rig.mine.prepare(READ))


def _mine_is_denied_on_pending(rig: Rig) -> None:
    rig.held = rig.other.started(WRITE)
    announce(rig, GREEN)
    rig.tries(lambda: rig.other.prepare(WRITE))
    rig.fault(NO_LOGIN, "authenticate", strategy=GREEN, count=1)
    rig.tries(lambda: rig.mine.prepare(READ))
    for fault in (DENIED, BROKEN):
        rig.fault(fault, "prepareStatement", strategy=GREEN, count=3)
        rig.tries(lambda: rig.mine.prepare(READ))


def _transport_fails_mine_on_pending(rig: Rig) -> None:
    rig.held = rig.other.started(WRITE)
    announce(rig, GREEN)
    rig.tries(lambda: rig.other.prepare(WRITE))
    rig.fault(BROKEN, "prepareStatement", strategy=GREEN, count=1)
    rig.tries(lambda: rig.mine.prepare(READ))


def _transport_fails_mine(rig: Rig) -> None:
    rig.tries(lambda: rig.other.run(READ))
    rig.fault(BROKEN, "getSchemaNames", strategy=BLUE, count=2)
    rig.tries(rig.mine.schemas)


def _denied_while_detecting(rig: Rig) -> None:
    """A begin is denied in each new session; the scope is asked to detect before the last one is."""
    rig.tries(lambda: rig.other.run(READ))
    rig.fault(DENIED, "prepareStatement", strategy=BLUE, count=3)
    rig.meanwhile.then("prepareStatement", *(lambda: None,) * 2, operator(rig, CacheInvalidated()))
    rig.tries(lambda: rig.mine.prepare(READ))


def _announced_what_was_tried(rig: Rig) -> None:
    rig.held = rig.other.started(WRITE)
    rig.manager.send(CacheInvalidated())
    rig.fault(REFUSED, "authenticate", strategy=BLUE)
    rig.meanwhile.then("authenticate", lambda: None, lambda: announce(rig, BLUE))
    rig.tries(rig.mine.schemas)


def _denied_where_nobody_was_served(rig: Rig) -> None:
    rig.cluster.conducts(blue={"announces": GREEN})
    rig.fault(NO_LOGIN, "authenticate", strategy=GREEN)
    rig.tries(rig.mine.schemas, rig.mine.login)


def _refused_by_what_is_announced_again(rig: Rig) -> None:
    rig.held = rig.other.started(WRITE)
    announce(rig, GREEN)
    rig.fault(REFUSED, "getSchemaNames", strategy=GREEN, count=1)

    def announced_again() -> None:
        announce(rig, BLUE)
        announce(rig, GREEN)

    rig.meanwhile.then("getSchemaNames", announced_again)
    rig.tries(rig.mine.schemas)


_TWO: Final[tuple[Script, ...]] = (
    _mine_is_denied,
    _mine_is_denied_on_pending,
    _transport_fails_mine,
    _transport_fails_mine_on_pending,
    _denied_while_detecting,
    _announced_what_was_tried,
    _denied_where_nobody_was_served,
    _refused_by_what_is_announced_again,
)


def late_answers(rig_of: Callable[..., Any]) -> None:
    """Drive answers to what was asked before the scope moved."""
    moves = (CacheInvalidated(), RollbackRequested(), BLUE, GREEN, "fails")
    for before, (method, answers), move in product(
        ("stable", "pending", "detecting"), _ANSWERS.items(), moves
    ):
        if (before, method, move) == ("detecting", "authenticate", "fails"):
            continue  # it is in the detection that nobody else can lead
        for answer in answers:
            with rig_of() as rig:
                _answers_late(rig, before, method, move, answer)


_ANSWERS: Final[dict[str, tuple[Any, ...]]] = {
    "authenticate": (None, REFUSED, NO_LOGIN, BROKEN),
    "getSchemaNames": (REFUSED, BROKEN, DENIED, BLUE, GREEN),
    "status": (REFUSED, BROKEN, BLUE, GREEN),
}
"""What may be late, by method: a fault, or an announcement."""


def _answers_late(rig: Rig, before: str, method: str, move: Any, answer: Any) -> None:
    rig.held = rig.other.started(WRITE)
    mine = rig.mine.started(WRITE)
    if before == "pending":
        announce(rig, GREEN)
    elif before == "detecting":
        rig.manager.send(CacheInvalidated())

    def moves() -> None:
        if isinstance(move, str) and move != "fails":
            announce(rig, move)
        elif move == "fails":
            rig.cluster.conducts(**{one.value: {"new": "refuse"} for one in Strategy})
            rig.tries(rig.other.schemas)
            rig.cluster.conducts()
        else:
            rig.manager.send(move)

    if isinstance(answer, dict):
        rig.fault(answer, method, count=1)
    elif answer is not None:
        rig.cluster.conducts(**{one.value: {"announces": answer} for one in Strategy})
    rig.meanwhile.then(method, moves)
    if method == "authenticate":
        rig.mine.link.sessions.forget()
    calls = {
        "authenticate": rig.mine.login,
        "getSchemaNames": rig.mine.schemas,
        "status": lambda: rig.mine.status(mine),
    }
    rig.tries(calls[method], lambda: rig.mine.clear(mine))


def renewals(rig_of: Callable[..., Any]) -> None:
    """Drive sessions that are refused, again and again."""
    with rig_of() as rig:
        rig.fault(DENIED, "getSchemaNames", strategy=BLUE)
        rig.tries(rig.mine.schemas)


# Stores.


class _RivalStore(FaultyStore):
    """A store that others write as well, and that can come back as an older copy of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.is_faster = False
        self._copy: dict[Scope, StoreRecord] = {}

    def write(self, scope: Scope, record: StoreRecord) -> StoreRecord | None:
        if self.is_faster:
            self.is_faster = False
            self.put(scope, Strategy.GREEN, stamp())
        return super().write(scope, record)

    def back_up(self) -> None:
        self._copy = dict(self._inner._records)

    def restore(self) -> None:
        self._inner._records = dict(self._copy)
        self.retry_due()


def stores(steps: int) -> None:
    """Two managers share a store that fails, comes back, is emptied and is written by others, at random."""
    chance, scope = random.Random(3), Scope("db.example:443")
    for _ in range(8):
        store, clock = _RivalStore(), FakeClock()
        managers = [StrategyManager(scope, Settings(), clock=clock) for _ in range(2)]
        for manager in managers:
            manager.join(store)
        for _ in range(steps):
            for act in _acts(store, scope, clock, chance.choice(managers), chance):
                if chance.random() < 0.4:
                    with suppress(StrategyUnavailable):
                        act()


def _acts(
    store: _RivalStore, scope: Scope, clock: FakeClock, manager: StrategyManager, chance: random.Random
) -> tuple[Callable[[], object], ...]:
    return (
        lambda: _queried(manager, chance.choice(tuple(Strategy))),
        lambda: manager.send(chance.choice((CacheInvalidated(), Reset()))),
        lambda: store.put(scope, chance.choice(tuple(Strategy)), stamp()),
        lambda: store.fail_once(chance.choice(("read", "write", "lease", "release"))),
        lambda: setattr(store, "is_faster", True),
        store.back_up,
        store.restore,
        store.fail,
        store.heal,
        store.replace,
        lambda: clock.advance(2),
        manager.attend,
    )


def leases() -> None:
    """Two holders ask for a lease and give it back: one that the other one has, too, and one that is over."""
    store, scope = MemoryStore(), Scope("db.example:443")
    for holder, lasts_s in (("one", 60.0), ("one", 60.0), ("two", 60.0)):
        store.lease(scope, holder, lasts_s)
    for holder in ("two", "one", "one"):
        store.release(scope, holder)
    for holder in ("one", "two"):
        store.lease(scope, holder, 0.0)


def _queried(manager: StrategyManager, serving: Strategy) -> None:
    def prove(strategy: Strategy, _: float) -> None:
        if strategy is not serving:
            raise Refusal("456", wrong_strategy=True)

    manager.end(QueryCompleted(manager.start(prove)))


@contextmanager
def rigs() -> Iterator[Callable[..., Any]]:
    """Yield what makes a `Rig` on one engine; pauses before resends take no time."""
    with pytest.MonkeyPatch.context() as patched, EngineProcess() as engine:
        for module in ("transport", "session_pool"):
            patched.setattr(f"bluegreen_adapters.connection.{module}.pause", lambda delay_s: Sleep(0))
        cluster = Cluster(engine)

        @contextmanager
        def rig_of(protocol: Protocol = PROTOCOL, **changes: Any) -> Iterator[Rig]:
            rig = Rig(cluster, quick(retry_attempts=1, detection_timeout_s=1.0, **changes), protocol)
            try:
                yield rig.login()
            finally:
                rig.close()

        yield rig_of
