"""What connections and open queries keep, and that nothing is kept of what is over: counted by tracemalloc."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason='needs the extra: pip install "bluegreen[observe]"')
pytest.importorskip("grpc", reason='needs the extra: pip install "bluegreen[grpc]"')

from prometheus_client import CollectorRegistry

from bluegreen.machines.strategy.events import AuthSuccess, QueryCompleted, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.e6data.protocol import PROTOCOL
from bluegreen_adapters.observe.audit.writer import AuditWriter
from bluegreen_adapters.observe.logging.logs import Logs, to_stream
from bluegreen_adapters.observe.metrics.collector import Measures
from bluegreen_adapters.observe.metrics.prometheus import PrometheusMeter
from bluegreen_adapters.observe.queue import Delivery
from bluegreen_adapters.observe.tracing.traces import Traces
from support.telling import tell

# A journal would be counted as well.
pytestmark = [pytest.mark.benchmark, pytest.mark.slow, pytest.mark.unjournaled]

LINK_BYTES = 1024
"""What the state of one connection may take, beside its channel (business logic, memory_overhead)."""
TICKET_BYTES = 300
"""What an open query may take in the manager."""
KEPT_BYTES = 65_536
"""What a process may have more after all queries: tables that have grown once, but nothing for each query."""


def known() -> StrategyManager:
    manager = StrategyManager(Scope("impact.example:443"))
    manager.send(AuthSuccess(Strategy.BLUE, manager.state_version))
    return manager


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """What is allocated now, in bytes."""

    def now() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield now
    tracemalloc.stop()


def each_of(make: Callable[[], Any], traced: Callable[[], int], number: int) -> tuple[float, float]:
    """What each of so many keeps, and what is left of each when it is let go."""
    make()
    kept: list[Any] = [
        None
    ] * number  # so many that a table of the process which grows is not counted as theirs
    before = traced()
    for index in range(number):
        kept[index] = make()
    after = traced()
    kept[:] = [None] * number
    left = traced()
    return (after - before) / number, (left - before) / number


def test_a_connection_keeps_less_than_one_kilobyte_beside_its_channel(traced: Callable[[], int]) -> None:
    manager = known()
    each, left = each_of(lambda: Connection(manager, PROTOCOL), traced, 2000)
    tell(f"what a connection keeps beside its channel: {each:.0f} bytes, {left:.1f} when it is over")
    assert each <= LINK_BYTES
    assert left < each / 10


class _Query:
    """Stands for what a connection keeps of a query: a ticket has a weak reference to it."""


def test_an_open_query_keeps_less_than_three_hundred_bytes_in_the_manager(traced: Callable[[], int]) -> None:
    manager = known()
    queries = [_Query() for _ in range(20_000)]
    waiting = iter(queries)
    each, _ = each_of(lambda: manager.try_start(weakref.ref(next(waiting))), traced, 10_000)
    tell(f"what an open query keeps in the manager: {each:.0f} bytes")
    assert each <= TICKET_BYTES
    before = traced()
    for ticket in manager.open_tickets:
        manager.end(QueryCompleted(ticket))
    assert before - traced() > 10_000 * each / 2, "it is given back"


def test_nothing_is_kept_of_queries_and_switches_that_are_over(
    traced: Callable[[], int], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    queries = 1_000_000 if pytestconfig.getoption("--many") else 20_000
    switches, manager = 100, known()
    with (tmp_path / "lines.jsonl").open("w") as lines:
        measures, audit = (
            Measures(PrometheusMeter(CollectorRegistry())),
            AuditWriter(tmp_path / "audit", steps="changes"),
        )
        delivery = Delivery(Logs(to_stream(lines)), measures, audit, pause_s=0.001)
        delivery.follow(manager)
        manager.observe(Traces())
        run(manager, 20_000, switches)  # caches, which have a limit, get what there is
        assert delivery.flush(60)
        measures.refresh()
        before = traced()
        run(manager, queries, switches)
        assert delivery.flush(60)
        measures.refresh()
        more = traced() - before
        delivery.close()
        audit.close()
    tell(
        f"after {queries} queries and {switches} switches, with log lines, metrics, audit and traces: "
        f"{more} bytes more are allocated; {delivery.dropped} happenings were dropped"
    )
    assert manager.open_tickets == ()
    assert more < KEPT_BYTES


def run(manager: StrategyManager, queries: int, switches: int) -> None:
    """Let so many queries start and end, ten of which are always open, through so many switches."""
    open_ones = [manager.try_start() for _ in range(10)]
    for number in range(queries):
        ticket = open_ones.pop(0)
        assert ticket is not None
        manager.end(QueryCompleted(ticket))
        open_ones.append(manager.try_start())
        if number % (queries // switches) == 0:
            assert manager.active is not None
            manager.send(StrategyAnnounced(manager.active.other, manager.state_version))
    for ticket in open_ones:
        assert ticket is not None
        manager.end(QueryCompleted(ticket))
