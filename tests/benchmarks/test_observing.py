"""What a query costs more when all of it is observed: log lines in a file, metrics, and the audit."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason='needs the extra: pip install "bluegreen[observe]"')

from prometheus_client import CollectorRegistry

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import AuthSuccess, QueryCompleted
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.observe.audit.verifier import verify
from bluegreen_adapters.observe.audit.writer import AuditWriter
from bluegreen_adapters.observe.logging.logs import Logs, to_stream
from bluegreen_adapters.observe.metrics.collector import Measures
from bluegreen_adapters.observe.metrics.prometheus import PrometheusMeter
from bluegreen_adapters.observe.queue import Delivery, Take
from support.counting import calls_of
from support.telling import tell

pytestmark = [pytest.mark.benchmark, pytest.mark.slow, pytest.mark.unjournaled]

QUERIES = 2_000
PAIRS = 7
PAUSE_S = 0.002
"""So long that as much waits in the queue as when thousands of queries start in a second, not all of them at once."""
MORE = 2.0
"""How many times as many function calls the thread of a query may need."""


def known() -> StrategyManager:
    manager = StrategyManager(Scope("observed.example:443"), Settings())
    manager.send(AuthSuccess(Strategy.BLUE, manager.state_version))
    return manager


def started_and_ended(manager: StrategyManager) -> None:
    ticket = manager.try_start()
    assert ticket is not None
    manager.end(QueryCompleted(ticket))


def each_s(manager: StrategyManager, done: Callable[[], object]) -> float:
    """Processor time of a query, that of all threads until everything is written."""
    gc.collect()
    began_s = time.process_time()
    for _ in range(QUERIES):
        started_and_ended(manager)
    done()
    return (time.process_time() - began_s) / QUERIES


def more_s(*makes: Callable[[], Take]) -> tuple[float, float, float]:
    """How much more processor time a query takes with these: the median of pairs, on after off; the least of all on
    against the least of all off, which is what is left when nobody else is busy; and the median off."""
    off_s: list[float] = []
    on_s: list[float] = []
    for _ in range(PAIRS):
        off_s.append(each_s(known(), lambda: None))
        manager = known()
        delivery = Delivery(*[make() for make in makes], limit=10 * QUERIES, pause_s=PAUSE_S)
        delivery.follow(manager)
        on_s.append(each_s(manager, partial(delivery.close, 60)))
        assert (delivery.dropped, delivery.failed) == (0, 0)
    pairs = [on - off for on, off in zip(on_s, off_s, strict=True)]
    return statistics.median(pairs), min(on_s) - min(off_s), statistics.median(off_s)


@pytest.fixture
def takers(tmp_path: Path) -> Iterator[dict[str, Callable[[], Take]]]:
    audits: list[AuditWriter] = []
    gc.freeze()  # what other tests have left is not looked through again and again

    def audit() -> AuditWriter:
        audits.append(AuditWriter(tmp_path / "audit"))
        return audits[-1]

    with (tmp_path / "lines.jsonl").open("w") as lines:
        yield {
            "logs": lambda: Logs(to_stream(lines)),
            "metrics": lambda: Measures(PrometheusMeter(CollectorRegistry())),
            "audit": audit,
        }
    for one in audits:
        one.close()
    gc.unfreeze()


def test_log_lines_metrics_and_audit_together_at_most_double_the_calls_of_a_query(
    tmp_path: Path, takers: dict[str, Any]
) -> None:
    cost_s = {name: more_s(make) for name, make in {"nothing": _nothing, **takers}.items()}
    cost_s["all of it"] = more_s(*takers.values())
    told = ", ".join(f"{name} {1e6 * one[0]:.1f} ({1e6 * one[1]:.1f})" for name, one in cost_s.items())
    tell(f"more processor time of a query that is observed, in us, median and least: {told}")
    found = verify(tmp_path / "audit")
    assert found.ok
    assert found.records >= 2 * QUERIES * PAIRS
    off, on = known(), known()
    with closing(Delivery(*[make() for make in takers.values()], limit=10 * QUERIES)) as delivery:
        delivery.follow(on)
        calls = {manager: calls_of(partial(started_and_ended, manager)) for manager in (off, on)}
    tell(f"function calls of a query in its thread: {calls[off]}, observed {calls[on]}")
    assert calls[on] <= MORE * calls[off]


def _nothing() -> Take:
    return lambda batch: None
