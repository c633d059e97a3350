"""A server that speaks the protocol and abuses it, and a client that goes on asking it: each a process of its own.

    with HostileServer("flapping") as server:
        seen = asked(server, seconds=3.0)      # what the client was told, and what that cost it
        server.statistics().misrouted

The server is the test engine, whose two stacks both serve, but for what it says besides. The client is the connector,
covered, with the settings that everybody gets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import logging
import os
import resource
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, cast

import attrs

from bluegreen_adapters.testing.engine.control import EngineControl
from bluegreen_adapters.testing.engine.gateway import EngineCall, Gateway
from bluegreen_adapters.testing.engine.options import EngineOptions
from bluegreen_adapters.testing.engine.phases import Phase, Strategy, named, other
from bluegreen_adapters.testing.engine.stacks import Problem
from bluegreen_adapters.testing.engine.statistics import Statistics

LONG: Final = 1_000_000
"""Characters of a long announcement."""

FORGED: Final = "2031-01-01 00:00:00 CRITICAL bluegreen: all is well"
"""What would stand in a log, on a line of its own, if an announcement could break one."""

ODD: Final = (
    f"green\n{FORGED}",
    f"green\r\n{FORGED}\r",
    f"\x1b[2J\x1b[31m{FORGED}\x07",
    f"green\x00\x85{FORGED}\u2028{FORGED}\u2029",
    f"\u202e{FORGED}\u200b",
)
INVALID: Final = (
    "purple",
    "blue ",
    "bluegreen",
    "0",
    "none",
    "BL\u00dcE",
    "gr\u0435en",
    "blue,green",
    "../green",
)
UNLISTED: Final = tuple(f"status: 456 {text}" for text in ODD)
"""Details of a refusal that contain a known form and are none."""

LISTED: Final = tuple(
    f"Wrong strategy. Status: 456. Expected: {'_'.join(text.split())}, Got: {'_'.join(text.split())}"
    for text in ODD
)
"""Details of a refusal in a known form, with odd words where that has any."""

_LONG_ONES: Final = ("x" * LONG, "green" * (LONG // 5), "\n" * LONG)

Says = Callable[[Strategy], str]
"""Returns what the answer of a stack announces."""


def _in_turn(*texts: str) -> Says:
    """Say one thing after the other, whoever answers."""
    turns = itertools.cycle(texts)
    return lambda _: next(turns)


ABUSES: Final[Mapping[str, Says]] = {
    "long": _in_turn(*_LONG_ONES),
    "invalid": _in_turn(*INVALID),
    "odd": _in_turn(*ODD),
    "refusing": other,
    "refusing in other words": other,
    "flapping": _in_turn("green", "blue"),
    "sending away": other,
}
"""What the answers announce, by the name of the abuse.

`long`, `invalid`, `odd`: what is no strategy. `refusing`: nothing is let in, and details are as odd as can be,
in a known form of a refusal; `in other words`: in none.
`flapping`: green and blue in turn, with every answer. `sending away`: each stack announces the other one.
"""


class HostileGateway(Gateway):
    """A gateway whose stacks both serve, and that says whatever an abuse has it say."""

    def __init__(self, options: EngineOptions, abuse: str) -> None:
        super().__init__(options)
        self._says = ABUSES[abuse]
        listed, unlisted = abuse == "refusing", abuse == "refusing in other words"
        self._refuses = listed or unlisted
        self._code = "INVALID_ARGUMENT" if listed else "UNKNOWN"
        self._refusals = _in_turn(*(LISTED if listed else UNLISTED))
        self.enter(named("announce", target="green"))

    def announcement(self, strategy: Strategy | None) -> str:
        return self._says(strategy or "blue")

    def admit(self, call: EngineCall) -> Any:
        if self._refuses:
            return Problem(self._code, self._refusals("blue"), refusal=True)
        return super().admit(call)


class HostileServer:
    """A server that abuses the protocol, in a process of its own. A context manager.

    Args:
        abuse: which one, of `ABUSES`.
        max_seconds: after so many seconds it ends by itself.
    """

    def __init__(self, abuse: str, *, max_seconds: float = 60.0) -> None:
        self._process = _started("serve", abuse, str(max_seconds))
        self.port: int = self._told()["port"]

    def statistics(self) -> Statistics:
        """Return a picture of all that was counted."""
        assert self._process.stdin is not None
        self._process.stdin.write(b'{"do": "statistics"}\n')
        self._process.stdin.flush()
        return Statistics.from_json(self._told()["value"])

    def __enter__(self) -> HostileServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _end(self._process)

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return cast("dict[str, Any]", json.loads(self._process.stdout.readline()))


@attrs.frozen
class Cost:
    """What asking has cost a client, since it was warm.

    Attributes:
        seconds: how long it has asked.
        lasted_s: how long it has asked altogether, before it was warm too.
        queries: how many queries have ended.
        failed: how many of them with an error.
        total: how many have ended altogether, those before it was warm too.
        errors: what they said, each once, and ten of them at most.
        cpu: what part of a core it has used.
        grown_kb: by how much the most memory that it ever had has grown.
        blocks: by how many the blocks of memory that Python holds have become more: about one for each object.
        lines, bytes: what was logged, before it was warm too.
        broken: some of the records that are not one line of printable characters.
        steps: how often the strategy machine has changed.
    """

    seconds: float
    lasted_s: float
    queries: int
    failed: int
    total: int
    errors: tuple[str, ...]
    cpu: float
    grown_kb: int
    blocks: int
    lines: int
    bytes: int
    broken: tuple[str, ...]
    steps: int


def asked(server: HostileServer, seconds: float, *, rate: float = 10.0, warm_s: float = 1.0) -> Cost:
    """Let a client of its own ask a server, and return what that has cost it.

    Args:
        seconds: how long it asks, once it is warm.
        rate: how many queries it asks in a second, at most.
        warm_s: how long it has asked before.
    """
    process = _started("ask", str(server.port), str(seconds), str(rate), str(warm_s))
    try:
        told, _ = process.communicate(timeout=seconds + warm_s + 600)
    finally:
        _end(process)
    given = json.loads(told)
    return Cost(**{**given, "errors": tuple(given["errors"]), "broken": tuple(given["broken"])})


def _started(*arguments: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", "support.hostile", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "GRPC_VERBOSITY": "NONE"},
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process: it ends when its standard input does."""
    with contextlib.suppress(OSError, ValueError):
        assert process.stdin is not None
        process.stdin.close()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


# -- in the process of the server


async def serve(abuse: str, max_seconds: float) -> None:
    """Serve until standard input ends, or for so many seconds."""
    from bluegreen_adapters.testing.engine.server import EngineServer

    loop = asyncio.get_running_loop()
    server = EngineServer(HostileGateway(EngineOptions(max_seconds=max_seconds), abuse))
    commands = EngineControl(server.gateway, _never)
    over = asyncio.Event()
    loop.call_later(max_seconds, over.set)

    def take(line: bytes) -> None:
        print(commands.answer(line.decode()), flush=True)

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            for line in os.fdopen(os.dup(0), "rb"):
                loop.call_soon_threadsafe(take, line)
            loop.call_soon_threadsafe(over.set)

    print(json.dumps({"port": await server.start()}), flush=True)
    threading.Thread(target=read, daemon=True).start()
    await over.wait()
    await server.stop()


def _never(_: Phase) -> None:
    raise ValueError("what a hostile server does is chosen when it is started")


# -- in the process of the client


def one_line(text: str) -> bool:
    """Whether a text has no character that breaks a line, controls a terminal or cannot be seen."""
    return not any(unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp") for letter in text)


class _Log(logging.Handler):
    """Counts what is logged, as it would stand in a file, and keeps some of what must not stand there."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = self.bytes = 0
        self.broken: list[str] = []
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self.lines += 1 + text.count("\n")
        self.bytes += len(text.encode()) + 1
        if not one_line(text):
            self.broken = [*self.broken, ascii(text)[:200]][:5]


class _Asker:
    """Asks one query after the other, at a pace, whatever becomes of them."""

    def __init__(self, connection: Any, rate: float) -> None:
        self.queries = self.failed = 0
        self.errors: set[str] = set()
        self._connection = connection
        self._rate = rate
        self._never = threading.Event()
        self._texts = self._statements()

    def ask(self, seconds: float) -> None:
        """Ask for so long."""
        began_s = time.monotonic()
        for turn in range(round(seconds * self._rate)):
            self._never.wait(max(began_s + turn / self._rate - time.monotonic(), 0))
            if time.monotonic() >= began_s + seconds:
                return
            self._one(next(self._texts))

    def _one(self, text: str) -> None:
        self.queries += 1
        cursor = self._connection.cursor()
        try:
            cursor.execute(text)
            cursor.fetchall()
            cursor.clear()
        except Exception as error:  # noqa: BLE001  whatever it is is counted
            self.failed += 1
            if len(self.errors) < 10:
                self.errors.add(f"{type(error).__name__}: {error}")

    def _statements(self) -> Iterator[str]:
        for number in itertools.count(1):
            yield f"INSERT {number}" if number % 4 == 0 else f"SELECT {number} /*+ rows(4) batch(2) */"


def ask(port: int, seconds: float, rate: float, warm_s: float) -> Cost:
    """Ask, and return what that has cost."""
    from bluegreen.runtime.registry import managed
    from bluegreen.types import Scope
    from bluegreen_adapters import e6data

    began_s, log = time.monotonic(), _Log()
    logging.getLogger("bluegreen").addHandler(log)
    logging.getLogger("bluegreen").setLevel(logging.INFO)
    connection = e6data.connect(
        host="127.0.0.1", port=port, username="user@example.com", password="secret", database="sales"
    )
    asker = _Asker(connection, rate)
    manager = managed(Scope(f"127.0.0.1:{port}"))
    asker.ask(warm_s)
    before = _used(), asker.queries, asker.failed, manager.state_version
    asker.ask(seconds)
    used, queries, failed, version = before
    now = _used()
    passed_s = now.at_s - used.at_s
    return Cost(
        seconds=passed_s,
        lasted_s=now.at_s - began_s,
        queries=asker.queries - queries,
        failed=asker.failed - failed,
        total=asker.queries,
        errors=tuple(sorted(asker.errors)),
        cpu=(now.cpu_s - used.cpu_s) / passed_s,
        grown_kb=now.most_kb - used.most_kb,
        blocks=now.blocks - used.blocks,
        lines=log.lines,
        bytes=log.bytes,
        broken=tuple(log.broken),
        steps=manager.state_version - version,
    )


@attrs.frozen
class _Used:
    at_s: float
    cpu_s: float
    most_kb: int
    blocks: int


def _used() -> _Used:
    gc.collect()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most_kb = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    return _Used(time.monotonic(), usage.ru_utime + usage.ru_stime, most_kb, sys.getallocatedblocks())


def main() -> None:
    """Be the one or the other."""
    parser = argparse.ArgumentParser("python -m support.hostile")
    kinds = parser.add_subparsers(dest="kind", required=True)
    server = kinds.add_parser("serve")
    server.add_argument("abuse", choices=tuple(ABUSES))
    server.add_argument("max_seconds", type=float)
    client = kinds.add_parser("ask")
    client.add_argument("port", type=int)
    for name in ("seconds", "rate", "warm_s"):
        client.add_argument(name, type=float)
    given = vars(parser.parse_args())
    if given.pop("kind") == "serve":
        asyncio.run(serve(**given))
    else:
        print(json.dumps(attrs.asdict(ask(**given))), flush=True)


if __name__ == "__main__":
    main()
