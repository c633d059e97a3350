"""A process that knows a cluster, and forks: what `gunicorn --preload` does, without gunicorn.

It learns the strategy without gRPC, which does not survive a fork of a process that has used it. Each child connects
with the real connector, runs one query, and tells where that went.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import QueryCompleted, QueryStarted
from bluegreen.runtime.registry import managed
from bluegreen.runtime.telemetry import Record, RequestFailed, TelemetryEvent
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.stores import join_store
from support.fleet import PASSWORD, READ, USER


def nursery(orders: dict[str, Any], pipe: Connection) -> None:
    """Learn the active strategy, then fork a child for each order, and send what it has told."""
    settings = Settings(store=orders["store"])
    e6data.install(settings)
    scope = Scope(f"127.0.0.1:{orders['port']}")
    manager = join_store(managed(scope, settings))
    manager.end(QueryCompleted(manager.start(lambda strategy, left_s: None)))
    pipe.send(str(manager.active))
    while pipe.recv() == "fork":
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            told = "nothing"
            try:
                told = first_query(orders["port"])
            except Exception as error:  # noqa: BLE001  it is told to the parent
                told = repr(error)
            finally:
                os.write(writing, told.encode()[:4000])
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as text:
            pipe.send(text.read())
        os.waitpid(child, 0)


def first_query(port: int) -> str:
    """Connect and run a query; return the strategies on which its tickets were, and how many requests were refused."""
    manager, seen = managed(Scope(f"127.0.0.1:{port}")), list[TelemetryEvent]()
    stop = manager.observe(seen.append)
    connection = e6data.connect(
        host="127.0.0.1", port=port, username=USER, password=PASSWORD, database="sales"
    )
    cursor = connection.cursor()
    cursor.execute(READ.format(text=f"'{os.getpid()}'"))
    assert len(cursor.fetchall()) == 4
    cursor.clear()
    connection.close()
    stop()
    tickets = [one.ticket for one in seen if isinstance(one, Record) and isinstance(one.event, QueryStarted)]
    refused = sum(isinstance(one, RequestFailed) and one.fault == "wrong strategy" for one in seen)
    return f"{' '.join(sorted({str(one.strategy) for one in tickets if one is not None}))}, {refused} refused"
