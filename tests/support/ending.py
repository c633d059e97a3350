"""A process of the application that ends, or forks, in the middle of a query.

    python -m support.ending HOW MOMENT WAY HOST PORT

It says `ready` when it has got there, and does what HOW says when it is told to go on. It is told of an engine that
another process has started.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

from bluegreen_adapters.testing.engine import EngineProcess
from support.engine import READ
from support.peer import Remote
from support.ways import CATALOG, PASSWORD, SCHEMA, USER, WAYS, AnyConnection, Cursor, manager_of

STATUS = 3
"""Exit status of a process that ends as it was meant to."""

HELD = "SELECT 1 /* held by the engine */"
"""The statement of the moment `rpc`; the engine is to be told to answer nothing to it."""


STOCK = "stock-v2"
"""Instead of a way: the connector alone, as it comes, with V2 batches."""


class ApplicationError(Exception):
    """The application's own."""


def _raise() -> None:
    raise ApplicationError


HOWS: Mapping[str, Callable[[], Any]] = {
    "sys.exit": lambda: sys.exit(STATUS),
    "os._exit": lambda: os._exit(STATUS),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exception": _raise,
}
"""How a process may end."""

STATUSES = {"sys.exit": STATUS, "os._exit": STATUS, "SIGKILL": -signal.SIGKILL, "exception": 1}
"""What its parent sees."""


def started(how: str, moment: str, way: str, engine: EngineProcess) -> subprocess.Popen[str]:
    """Start such a process. Its gRPC is told to put up with forks, which has to be done before it is imported."""
    return subprocess.Popen(
        [sys.executable, "-m", "support.ending", how, moment, way, engine.host, str(engine.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
            "GRPC_ENABLE_FORK_SUPPORT": "1",
            "GRPC_VERBOSITY": "NONE",
        },
    )


# -- in the process


def main() -> None:
    """Get to the moment, wait for a line, and end or fork."""
    how, moment, way, host, port = sys.argv[1:]
    engine = cast(EngineProcess, Remote(host, int(port)))
    connection = _stock_v2(engine) if way == STOCK else WAYS[way].open(engine)
    if moment == "rpc":
        threading.Thread(target=connection.cursor().execute, args=(HELD,), daemon=True).start()
        _told_to_go_on()
        HOWS[how]()
    cursor = connection.cursor()
    cursor.execute(READ)
    cursor.fetchmany(1)
    _told_to_go_on()
    if how == "fork":
        _fork(engine, way, [connection], [cursor])
    else:
        HOWS[how]()


def _stock_v2(engine: EngineProcess) -> AnyConnection:
    from e6data_python_connector import Connection as Stock

    return cast(
        AnyConnection,
        Stock(
            host=engine.host,
            port=engine.port,
            username=USER,
            password=PASSWORD,
            catalog=CATALOG,
            database=SCHEMA,
            enable_result_batch_v2=True,
        ),
    )


def _told_to_go_on() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def _fork(engine: EngineProcess, way: str, connections: list[AnyConnection], cursors: list[Cursor]) -> None:
    """Let a child do a query of its own, twice: before and after it lets go what it has of its parent."""
    before = _tickets(engine)
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            inherited = _tickets(engine)
            rows = _asked(engine, way)
            cursors.clear()
            connections.clear()
            gc.collect()
            rows += _asked(engine, way)
            told = {"inherited": inherited, "rows": rows, "left": _tickets(engine)}
            os.write(writing, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        child = json.loads(pipe.read() or b"null")
    os.waitpid(pid, 0)
    after = _tickets(engine)
    rest = [row[2] for row in cursors[0].fetchmany(4)]
    cursors[0].close()
    new = _asked(engine, way)
    left = _tickets(engine)
    connections[0].close()
    told = {"child": child, "before": before, "after": after, "rest": rest, "new": new, "left": left}
    print(json.dumps(told), flush=True)


def _asked(engine: EngineProcess, way: str) -> list[str]:
    with WAYS[way].open(engine) as connection:
        cursor = connection.cursor()
        cursor.execute(READ)
        stacks = [row[2] for row in cursor.fetchall()]
        cursor.close()
        return stacks


def _tickets(engine: EngineProcess) -> list[int]:
    return [ticket.query for ticket in manager_of(engine).open_tickets]


if __name__ == "__main__":
    main()
