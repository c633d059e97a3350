"""One half of the demo: a fresh engine, a fresh process with the load, and the switches of the schedule.

Fresh processes, because the connector keeps the strategy in module globals: neither half must see what the
other one has left there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from bluegreen_adapters.testing.demo.results import Ledger, Run, Window
from bluegreen_adapters.testing.demo.schedule import Schedule
from bluegreen_adapters.testing.demo.worker import Orders
from bluegreen_adapters.testing.demo.worker_process import Supervisor
from bluegreen_adapters.testing.engine import EngineProcess


@attrs.frozen
class Progress:
    """How far one half is.

    Args:
        kind: the switch that is under way, or none.
        switches: switches played.
        queries: queries that have ended.
        failed: how many of them with an error.
    """

    kind: str | None = None
    switches: int = 0
    queries: int = 0
    failed: int = 0


Told = Callable[[Progress], None]


def run(
    schedule: Schedule,
    *,
    installed: bool,
    threads: int,
    seed: int,
    told: Told,
    log: str | None = None,
    **more: Any,
) -> Run:
    """Play the schedule under load. Takes a bounded time.

    Args:
        schedule: the switches.
        installed: whether the connector is covered by bluegreen.
        threads: how many threads ask.
        seed: where the statements come from.
        told: called with each progress, from two threads, one at a time.
        log: file for what bluegreen logs, or none.
        more: further fields of `Orders`.

    Raises:
        DemoError: the load could not start, or died again and again.
        EngineError: the engine could not start, or has died.
    """
    teller = _Teller(told)
    with EngineProcess() as engine:
        orders = Orders(
            host=engine.host,
            port=engine.port,
            user=engine.options.user,
            password=engine.options.password,
            installed=installed,
            threads=threads,
            seed=seed,
            ends_s=schedule.ends_s,
            least_queries=schedule.least_queries,
            most_s=schedule.most_s,
            log=log,
            **more,
        )
        with Supervisor(orders, teller.counted) as load:
            started_s = time.monotonic()
            engine.reset_statistics()  # its timeline begins anew, when the seconds of the load do
            load.begin(started_s)
            windows = tuple(_played(engine, schedule, load, teller, started_s))
            load.finish()
        outcomes = tuple(load.ledger.outcomes)
        return Run(
            outcomes,
            windows,
            engine.statistics(),
            engine.executions(),
            load.crashes,
            tuple(load.vitals),
            load.round_trip_s,
        )


def _played(
    engine: EngineProcess, schedule: Schedule, load: Supervisor, teller: _Teller, started_s: float
) -> Iterator[Window]:
    for number, planned in enumerate(schedule.switches, start=1):
        load.wait_until(started_s + planned.at_s)
        teller.changed(kind=planned.kind)
        began_s = time.monotonic()
        engine.switch(planned.kind, grace_s=schedule.grace_s, drain_s=schedule.drain_s)
        yield Window(planned.kind, began_s - started_s, time.monotonic() - started_s)
        teller.changed(kind=None, switches=number)


class _Teller:
    """Puts together what two threads know about the progress."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._progress = Progress()

    def counted(self, ledger: Ledger) -> None:
        self.changed(queries=len(ledger.outcomes), failed=ledger.failed)

    def changed(self, **changes: Any) -> None:
        with self._lock:
            self._progress = attrs.evolve(self._progress, **changes)
            self._told(self._progress)
