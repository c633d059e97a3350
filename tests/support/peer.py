"""A second process of the application: runs a load of its own, or forks in the middle of one.

Orders and answers are one JSON object a line. The process ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

import attrs

from bluegreen.config.settings import Settings
from bluegreen_adapters.connection.connection import Connection
from support.engine import going_to, quick, until
from support.forgetting import nothing_known
from support.shapes import SHAPES, Asked, Load
from support.ways import WAYS, manager_of

FIRST_THREAD = 100
"""Number of the first thread of a peer, so that its statements have texts of their own."""

ANSWER_BOUND_S = 120.0
"""Seconds after which a peer that does not answer is ended."""

CHILD_THREAD = 200
"""The same for a child that a peer forks."""


@attrs.frozen
class Remote:
    """An engine that another process has started."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.host}:{self.port}"


@attrs.frozen
class Heard:
    """What a peer tells in the end.

    Args:
        asked: what became of its queries.
        opened: connections that it opened.
        open_tickets: tickets that are open in it.
        logins: what called for further logins, see `Load.logins`.
    """

    asked: tuple[Asked, ...]
    opened: int
    open_tickets: int
    logins: tuple[str, ...]


class Peer:
    """A process that takes part in a load. A context manager.

    Its gRPC is told to put up with forks, which has to be done before it is imported.
    """

    def __init__(self) -> None:
        self._broken = self._loaded = False
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.peer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
                "GRPC_ENABLE_FORK_SUPPORT": "1",
                "GRPC_VERBOSITY": "NONE",
            },
        )

    @property
    def ended(self) -> bool:
        """Whether the process has ended, or is to end: an order was not carried out, or a load not finished."""
        return self._broken or self._loaded or self._process.poll() is not None

    def start(self, way: str, shape: str, engine: Any, settings: Settings) -> None:
        """Begin a load; returns when each of its threads has had an answer."""
        changed = attrs.asdict(settings)
        self._loaded = True
        self._ask(do="start", way=way, shape=shape, host=engine.host, port=engine.port, settings=changed)

    def goes_to(self, stack: str) -> bool:
        """Whether it sends new queries to this stack, and nothing of it runs on the other one."""
        return cast(bool, self._ask(do="goes_to", stack=stack))

    def answered_since(self, since_s: float) -> bool:
        """Whether each of its threads has had an answer to a query that it began after this moment."""
        return cast(bool, self._ask(do="answered_since", since_s=since_s))

    def fork(self) -> None:
        """Fork; returns when the child has had an answer."""
        self._ask(do="fork")

    def finish(self) -> Heard:
        """End the load."""
        told = self._ask(do="finish")
        self._loaded = False
        asked = tuple(Asked(**fields) for fields in told["asked"])
        return Heard(asked, told["opened"], told["open_tickets"], tuple(told["logins"]))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, **order: Any) -> Any:
        """Give an order, and return its answer: one at a time, whichever thread asks."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._broken = True  # until it has answered
            bound = threading.Timer(ANSWER_BOUND_S, self._process.kill)
            bound.start()
            try:
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            finally:
                bound.cancel()
            if not line:
                raise RuntimeError(f"the peer has ended with exit status {self._process.wait()}")
            self._broken = False
            return json.loads(line)["answer"]


# -- in the process


class _Member:
    """What the process does: a load in threads, and at times a child."""

    def __init__(self, say: Callable[[Any], None]) -> None:
        self._say = say
        self._child: _Child | None = None

    def obey(self, lines: Any) -> None:
        """Obey orders until there are no more."""
        for line in lines:
            order = json.loads(line)
            assert order.pop("do") == "start"
            with nothing_known():
                self._load(lines, **order)

    def _load(self, lines: Any, way: str, shape: str, host: str, port: int, settings: dict[str, Any]) -> None:
        engine = Remote(host, port)
        load = Load(WAYS[way], SHAPES[shape], [engine], quick(**settings), first=FIRST_THREAD)
        load.start()
        logins = load.logins()
        self._say(True)
        for line in lines:
            order = json.loads(line)
            match order.pop("do"):
                case "goes_to":
                    self._say(going_to(manager_of(cast(Any, engine)), order["stack"]))
                case "answered_since":
                    self._say(load.each_answered_since(order["since_s"]))
                case "fork":
                    self._child = _Child(load, engine)
                    self._say(True)
                case "finish":
                    load.finish()
                    heard = self._child.ended() if self._child is not None else Heard((), 0, 0, ())
                    self._child = None
                    open_tickets = len(manager_of(cast(Any, engine)).open_tickets) + heard.open_tickets
                    asked = [attrs.asdict(asked) for asked in (*load.asked, *heard.asked)]
                    opened = load.opened[0] + heard.opened
                    told = [*logins, *heard.logins]
                    self._say(
                        {"asked": asked, "opened": opened, "open_tickets": open_tickets, "logins": told}
                    )
                    return


class _Child:
    """A child forked from a process with a load, while nothing of that is in the middle of a call.

    gRPC for Python allows no other: what it does after a fork during a call is undefined. Besides the threads,
    a session that is opened ahead of time is a call.
    """

    def __init__(self, load: Load, engine: Remote) -> None:
        ours, theirs = os.pipe(), os.pipe()
        with load.paused():
            until(_nothing_is_launched)
            self._pid = os.fork()
            if self._pid == 0:
                os.close(ours[1])
                os.close(theirs[0])
                _child(load, engine, ours[0], theirs[1])
        os.close(ours[0])
        os.close(theirs[1])
        self._stop, self._told = ours[1], os.fdopen(theirs[0], "rb")
        if not self._told.readline():
            raise RuntimeError(f"the child has ended with {os.waitpid(self._pid, 0)[1]}")

    def ended(self) -> Heard:
        """Let it end, and return what it tells."""
        os.close(self._stop)
        told = json.loads(self._told.readline())
        self._told.close()
        _, status = os.waitpid(self._pid, 0)
        assert status == 0, f"the child has ended with {status}"
        asked = tuple(Asked(**fields) for fields in told["asked"])
        return Heard(asked, told["opened"], told["open_tickets"], tuple(told["logins"]))


def _nothing_is_launched() -> bool:
    links = [found for found in gc.get_objects() if isinstance(found, Connection)]
    return all(warm.done() for link in links for warm in link.sessions.warming)


def _child(load: Load, engine: Remote, orders: int, tells: int) -> None:
    """What the child does: a connection of its own, queries until told to stop, and out."""
    status = 1
    try:
        own = load.forked(CHILD_THREAD)
        logins = own.logins()  # before the first login: the stacks may be silent already
        own.start()
        with os.fdopen(tells, "wb") as out:
            out.write(b"{}\n")
            out.flush()
            os.read(orders, 1)
            now_s = time.monotonic()
            own.until(lambda: own.each_answered_since(now_s))
            own.finish()
            told = {
                "asked": [attrs.asdict(asked) for asked in own.asked],
                "opened": own.opened[0],
                "open_tickets": len(manager_of(cast(Any, engine)).open_tickets),
                "logins": logins,
            }
            out.write(json.dumps(told).encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    """Take orders."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints goes to standard error

    def say(answer: Any) -> None:
        own.write(json.dumps({"answer": answer}) + "\n")
        own.flush()

    _Member(say).obey(iter(sys.stdin.readline, ""))


if __name__ == "__main__":
    main()
