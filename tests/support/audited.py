"""A process of its own that writes an audit until it is killed: `python audited.py FOLDER SEED FILE_BYTES`.

After each batch that is in the files it notes in `FOLDER/told-<process id>` how many steps that makes.
"""

from __future__ import annotations

import itertools
import os
import random
import sys

from bluegreen.config.settings import Settings
from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.events import QueryCompleted, Reset, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import Record, TelemetryEvent
from bluegreen.types import Scope, Strategy, Ticket
from bluegreen_adapters.observe.audit.writer import AuditWriter

BATCH = 64


def work(manager: StrategyManager, chance: random.Random, tickets: list[Ticket]) -> None:
    """Start a query, or end one, or, rarely, let the server announce something."""
    number = chance.random()
    if number < 0.01:
        manager.send(StrategyAnnounced(chance.choice(list(Strategy)), manager.state_version))
    elif len(tickets) < 1 + 8 * number:
        try:
            tickets.append(manager.start(lambda strategy, left_s: None))
        except StrategyUnavailable:
            manager.send(Reset())
    else:
        manager.end(QueryCompleted(tickets.pop(chance.randrange(len(tickets)))))


def main(folder: str, seed: str, file_bytes: str) -> None:
    """Write for ever."""
    chance = random.Random(int(seed))
    audit = AuditWriter(folder, file_bytes=int(file_bytes))
    manager = StrategyManager(Scope("killed.example:443", seed), Settings())
    batch: list[TelemetryEvent] = []
    manager.observe(batch.append)
    file = os.open(os.path.join(folder, f"told-{os.getpid()}"), os.O_CREAT | os.O_WRONLY, 0o600)
    tickets: list[Ticket] = []
    steps = 0
    for _ in itertools.count():
        work(manager, chance, tickets)
        if len(batch) >= BATCH:
            audit(batch)
            steps += sum(isinstance(one, Record) for one in batch)
            os.pwrite(file, b"%012d" % steps, 0)
            batch.clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
