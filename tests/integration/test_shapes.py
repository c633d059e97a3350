"""Shapes of load times kinds of switch, through the real connector: what the application sees and what the engine
counts. `--matrix` runs every way in; without it, every shape on one way, and every way in one shape.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import attrs
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from bluegreen.config.settings import Settings
from bluegreen.runtime.manager import StrategyManager
from bluegreen_adapters.testing.engine import EngineProcess, Statistics
from bluegreen_adapters.testing.engine.phases import Strategy
from bluegreen_adapters.testing.engine.scenarios import ends_on
from support.engine import fresh, going_to, quick, switched, until
from support.forgetting import nothing_known
from support.peer import CHILD_THREAD, Heard, Peer
from support.shapes import SHAPES, Asked, Load, Shape
from support.ways import ENGINE, WAYS, Way, manager_of

pytestmark = pytest.mark.integration

GRACE_S = 0.12
DRAIN_S = 5.0
SHORT_DRAIN_S = 0.5
"""Where queries are left alone that nobody ends; the others take some hundredths of a second."""

GENTLE = ("graceful", "announced_abrupt", "silent_drain", "rollback", "withdrawn", "double", "not_ready")
"""Kinds in which no query fails."""

OUTAGES = ("outage", "down", "unanswered", "hung")
"""Kinds in which, for a while, no stack answers."""

KINDS = (*GENTLE, "abrupt", *OUTAGES)

RETURNS = ("rollback", "withdrawn", "double", "not_ready", *OUTAGES)
"""Kinds after which a connection may have to open another session where it had one."""

MOST_REQUESTS = 10
"""A query that both stacks turn away takes fewer requests than this."""

FIRST_WAY = "sync"
EVERY_WAY = "8 threads"
EVERY_WAY_KIND = "graceful"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every shape on the first way and every way in one shape; every way in every shape if asked.

    Quick are every kind of switch on the first way in one shape, and one kind on every way; the others are slow.
    """
    if "shape" not in metafunc.fixturenames:
        return
    everything = metafunc.config.getoption("--matrix")
    given = []
    for way, shape, kind in itertools.product(WAYS.values(), SHAPES.values(), KINDS):
        first, usual = way.name == FIRST_WAY, shape.name == EVERY_WAY
        if everything or first or usual:
            quick_one = usual and (first or kind == EVERY_WAY_KIND)
            name = f"{way.name}-{shape.name.replace(' ', '-')}-{kind}"
            marks = [] if quick_one else [pytest.mark.slow]
            given.append(pytest.param(way, shape, kind, id=name, marks=marks))
    metafunc.parametrize(("way", "shape", "kind"), given)


@pytest.fixture(scope="module")
def processes() -> Iterator[Sequence[EngineProcess]]:
    with EngineProcess(**ENGINE) as one, EngineProcess(**ENGINE) as another:
        yield one, another


@pytest.fixture(scope="module")
def peer() -> Iterator[Callable[[], Peer]]:
    """Returns the other process of the application: started when it is needed, and again if it has ended."""
    started: list[Peer] = []
    with ExitStack() as open_ones:

        def running() -> Peer:
            if not started or started[-1].ended:
                started.append(open_ones.enter_context(Peer()))
            return started[-1]

        yield running


@pytest.fixture
def engines(processes: Sequence[EngineProcess]) -> Iterator[Sequence[EngineProcess]]:
    """Two clusters: the first one serves on blue, the other one on green."""
    one, another = processes
    fresh(one)
    fresh(another).phase("abrupt", target="green")
    another.phase("steady", active="green")
    another.reset_statistics()
    with nothing_known():
        yield one, another


@attrs.frozen
class Played:
    """What happened.

    Args:
        way: the way in.
        shape: the load.
        kind: the switch.
        asked: what became of each query.
        opened: connections opened, by cluster.
        began_s, ended_s: when the switch was under way, in monotonic seconds.
        logins: what called for logins on the first cluster besides the first one of each connection, see `Load.logins`.
        counting_s: since when the first engine counts.
        statistics: of each engine, after the end of the load.
        executions: of each engine.
        open_tickets: of the peer, and of each cluster here.
    """

    way: Way
    shape: Shape
    kind: str
    asked: Sequence[Asked]
    opened: Sequence[int]
    began_s: float
    ended_s: float
    counting_s: float
    logins: Mapping[str, int]
    statistics: Sequence[Statistics]
    executions: Sequence[dict[str, int]]
    open_tickets: Sequence[int]

    @property
    def failed(self) -> list[Asked]:
        """Queries that ended in an error."""
        return [asked for asked in self.asked if asked.error is not None]


def played(way: Way, shape: Shape, kind: str, engines: Sequence[EngineProcess], peer: Peer | None) -> Played:
    """Switch the first cluster under load, and go on until every thread has had an answer from where it ended."""
    used, one = engines[: shape.clusters], engines[0]
    counting_s = time.monotonic()
    one.reset_statistics()
    if peer is not None:
        peer.start(way.name, shape.name, one, settings_for(kind))
    with Load(way, shape, used, settings_for(kind)) as load:
        final = ends_on(kind, one.active)
        logins = load.logins()
        began_s = load.moment_under_way()
        with ThreadPoolExecutor(1) as switching:
            switched = switching.submit(switch, one, kind, load, peer)
            if peer is not None and shape.peer == "fork":
                peer.fork()
            switched.result()
        ended_s = time.monotonic()
        assert one.active == final
        settled(load, manager_of(one), final, ended_s)
        if peer is not None:
            load.until(lambda: peer.answered_since(ended_s))
    until(lambda: nobody_holds(used))
    heard = peer.finish() if peer is not None else Heard((), 0, 0, ())
    opened = [load.opened[0] + heard.opened, *load.opened[1:]]
    return Played(
        way,
        shape,
        kind,
        (*load.asked, *heard.asked),
        opened,
        began_s,
        ended_s,
        counting_s,
        Counter([*logins, *heard.logins]),
        [engine.statistics() for engine in used],
        [engine.executions() for engine in used],
        [heard.open_tickets, *(len(manager_of(engine).open_tickets) for engine in used)],
    )


def nobody_holds(engines: Sequence[EngineProcess]) -> bool:
    """Whether every ticket has ended. With V2 batches the connector's own threads, which fetch ahead, hold a query that
    was let go for a moment longer than the application.
    """
    gc.collect()
    return not any(manager_of(engine).open_tickets for engine in engines)


def settings_for(kind: str) -> Settings:
    """Return the settings of the scopes: a stack that refused is tried again when it is ready, and not before.

    A detection has to run out of time only where a stack is silent; elsewhere a slow login is the machine's affair.
    """
    changes = {"detection_timeout_s": 1.0 if kind in ("unanswered", "hung") else 60.0}
    return quick(**changes, failed_cooldown_s=GRACE_S) if kind == "not_ready" else quick(**changes)


def switch(engine: EngineProcess, kind: str, load: Load, peer: Peer | None) -> None:
    """Play a switch. What is announced and then abrupt leaves so much time that nothing is lost."""
    if kind != "announced_abrupt":
        switched(
            engine,
            manager_of(engine),
            kind,
            grace_s=GRACE_S,
            drain_s=DRAIN_S if load.shape.ends else SHORT_DRAIN_S,
        )
        return
    engine.phase("announce", target="green")
    until(lambda: going_to(manager_of(engine), "green"))
    if peer is not None:
        until(lambda: peer.goes_to("green"))
    engine.phase("abrupt", target="green")
    engine.phase("steady", active="green")


def settled(load: Load, manager: StrategyManager, final: Strategy, since_s: float) -> None:
    """Wait until the cluster's manager has followed, while the load goes on, and each thread has had an answer."""
    load.until(lambda: manager.active == final and manager.pending is None)
    load.until(lambda: load.each_answered_since(since_s))
    load.until(lambda: any(asked.began_s > since_s and asked.stack == final for asked in load.asked))


def test_a_load_survives_a_switch(
    engines: Sequence[EngineProcess], peer: Callable[[], Peer], way: Way, shape: Shape, kind: str
) -> None:
    reason = shape.inapplicable(way)
    if reason is not None:
        pytest.skip(f"{way.name}, {shape.name}: {reason}")
    seen = played(way, shape, kind, engines, peer() if shape.peer else None)
    ran_throughout(seen)
    nothing_is_wrong(seen)
    nothing_else_failed(seen)
    nobody_insists(seen)
    nothing_is_left(seen)


# -- what must hold


def ran_throughout(seen: Played) -> None:
    """There were queries before, during and after the switch, and the new stack was used if there was one."""
    before = [asked for asked in seen.asked if asked.ended_s < seen.began_s]
    during = [asked for asked in seen.asked if asked.overlaps(seen.began_s, seen.ended_s)]
    after = [asked for asked in seen.asked if asked.began_s > seen.ended_s and asked.error is None]
    threads = {asked.thread for asked in seen.asked}
    assert len(threads) >= seen.shape.threads
    assert {asked.thread for asked in before} == threads - {CHILD_THREAD}
    assert {asked.thread for asked in after} == threads
    assert (CHILD_THREAD in threads) is (seen.shape.peer == "fork")
    assert during
    assert {asked.writes for asked in seen.asked} == {True, False}
    stacks = {asked.stack for asked in seen.asked if asked.cluster == 0} - {None}
    if seen.kind in ("outage", "down", "unanswered"):
        assert stacks == {"blue"}
        return
    # Where a switch is taken back, the other stack may have had writes only: the engine knows.
    assert stacks == {"blue", "green"} or (seen.kind in RETURNS and stacks == {"blue"})
    assert any(row.get("green") for row in seen.statistics[0].requests.values())


def nothing_is_wrong(seen: Played) -> None:
    """No write ran twice, or not at all; no request and no row went astray."""
    assert [(asked.text, asked.wrong) for asked in seen.asked if asked.wrong is not None] == []
    for cluster, (statistics, executions) in enumerate(zip(seen.statistics, seen.executions, strict=True)):
        assert (statistics.misrouted, statistics.offences) == (0, ())
        assert statistics.executed_twice == {}
        mine = {asked.text for asked in seen.asked if asked.cluster == cluster}
        assert executions.keys() <= mine
        done = {asked.text for asked in seen.asked if asked.cluster == cluster and asked.error is None}
        assert done - executions.keys() == set()


def nothing_else_failed(seen: Played) -> None:
    """What failed is what nobody could bring to its end; while no stack answers, also what was asked then."""
    if seen.kind in GENTLE:
        assert [(asked.text, asked.told) for asked in seen.failed] == []
    elsewhere = [(asked.text, asked.told) for asked in seen.failed if asked.cluster != 0]
    assert elsewhere == []
    lost = [asked for asked in seen.failed if asked.error == "lost"]
    assert [(asked.text, asked.told) for asked in lost if not may_be_lost(seen, asked)] == []
    unavailable = [asked for asked in seen.failed if asked.error == "unavailable"]
    back_s = seen.ended_s + settings_for(seen.kind).failed_cooldown_s
    late = [asked for asked in unavailable if seen.kind not in OUTAGES or asked.began_s > back_s]
    assert [(asked.text, asked.began_s - seen.ended_s, asked.told) for asked in late] == []


def nobody_insists(seen: Played) -> None:
    """While both stacks turn everything away, a query is not sent again and again; another cluster is left alone."""
    during = [asked for asked in seen.asked if asked.overlaps(seen.began_s, seen.ended_s)]
    turned_away = seen.statistics[0].total_refused + sum(
        row.get("UNAVAILABLE", 0) for row in seen.statistics[0].errors.values()
    )
    assert turned_away < MOST_REQUESTS * len(during)
    sessions = "session" not in seen.way.lacks
    for cluster, statistics in enumerate(seen.statistics[1:], start=1):
        # By the first detection, which does not know yet where to look; without a session to open, it is the first
        # query of each thread that finds out.
        threads = {asked.thread for asked in seen.asked if asked.cluster == cluster}
        assert statistics.total_refused <= (1 if sessions else len(threads))
        assert statistics.errors == {}
        assert set(statistics.authentications) == ({"green"} if sessions else set())


def may_be_lost(seen: Played, asked: Asked) -> bool:
    """Whether the engine says that nobody could bring this query to its end, and that it was so by then.

    Without a session to open, only a query itself finds out that both stacks refuse: one that was prepared has tried
    both, and says that it is lost.
    """
    statistics = seen.statistics[0]
    if seen.kind == "outage" and "session" in seen.way.lacks and asked.began_s < seen.ended_s:
        return True
    if seen.kind in OUTAGES:
        return asked.text in statistics.lost_allowed
    zero_s = seen.counting_s - statistics.timeline[0].at_s
    gone = [gone for gone in statistics.vanished if gone.statement == asked.text and gone.loss_allowed]
    return any(asked.ended_s >= zero_s + vanished.at_s for vanished in gone)


def nothing_is_left(seen: Played) -> None:
    """No ticket is open and no query is left; nobody authenticated more often than needed."""
    assert set(seen.open_tickets) == {0}
    for cluster, statistics in enumerate(seen.statistics):
        if seen.shape.ends and seen.kind not in OUTAGES:
            assert set(statistics.open_queries.values()) <= {0}
        for stack, opened in statistics.authentications.items():
            most = seen.opened[cluster]
            if cluster == 0 and seen.kind in RETURNS:
                # Each connection once, and again after its session was ended; and whoever has led a detection.
                most = most * (1 + seen.logins[f"{stack} ended"]) + seen.logins[f"{stack} tried"]
            assert opened <= most, (statistics.authentications, seen.opened, seen.logins)
