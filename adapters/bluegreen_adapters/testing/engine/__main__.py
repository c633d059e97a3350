"""`python -m bluegreen_adapters.testing.engine`: the test engine as a process.

Prints one JSON line with the port when it is ready, answers commands from standard input (see `commands`),
and ends with `{"do": "stop"}`, when standard input closes, or after `--max-seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence

from bluegreen_adapters.testing.engine.control import EngineControl
from bluegreen_adapters.testing.engine.gateway import Gateway
from bluegreen_adapters.testing.engine.options import REFUSALS, EngineOptions
from bluegreen_adapters.testing.engine.phases import STRATEGIES

MISSING = (
    'the test engine needs the e6data connector, which is not installed: pip install "bluegreen[e6data]"'
)
"""What is said where the connector is missing."""

REQUIRED = ("e6data_python_connector", "google", "google.protobuf", "grpc")
"""The modules that come with the extra."""


def options_from(arguments: Sequence[str]) -> EngineOptions:
    """Return the options that command line arguments stand for.

    >>> options_from(["--active", "green", "--colliding-ids"]).colliding_ids
    True
    """
    defaults = EngineOptions()
    parser = argparse.ArgumentParser("python -m bluegreen_adapters.testing.engine", description=__doc__)
    parser.add_argument("--active", choices=STRATEGIES, default=defaults.active)
    parser.add_argument("--user", default=defaults.user)
    parser.add_argument("--password", default=defaults.password)
    parser.add_argument("--token", action="append", default=[], dest="tokens")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--colliding-ids", action="store_true")
    parser.add_argument("--rotate-sessions", action="store_true")
    parser.add_argument("--refusal", choices=tuple(REFUSALS), default=defaults.refusal)
    parser.add_argument("--port", type=int, default=defaults.port)
    parser.add_argument("--max-seconds", type=float, default=defaults.max_seconds)
    return EngineOptions(**vars(parser.parse_args(arguments)))


async def serve(options: EngineOptions) -> None:
    """Serve until told to stop.

    Raises:
        OSError: the port is taken, or what TLS needs cannot be read.
    """
    # Imported here, so that a missing connector can be told in one line.
    from bluegreen_adapters.testing.engine.server import EngineServer

    loop = asyncio.get_running_loop()
    server = EngineServer(Gateway(options))
    commands = EngineControl(server.gateway, server.enter)
    over = asyncio.Event()
    loop.call_later(options.max_seconds, over.set)
    port = await server.start()
    _say(json.dumps({"port": port, "pid": os.getpid()}))

    def take(line: str) -> None:
        if _is_stop(line):
            _say(json.dumps({"ok": True, "value": None}))
            over.set()
        elif line.strip():
            _say(commands.answer(line))

    # A thread, because standard input may be a pipe, a terminal or a file, and asyncio reads only some.
    threading.Thread(target=_read, args=(loop, take, over), daemon=True).start()
    await over.wait()
    await server.stop()


def _read(loop: asyncio.AbstractEventLoop, take: Callable[[str], None], over: asyncio.Event) -> None:
    """Hand every line of standard input to the loop; the end of the input is the end of the engine."""
    pending = b""
    while True:
        try:
            # Not sys.stdin: a thread that is blocked in its buffer would break the end of the interpreter.
            data = os.read(0, 65536)
        except OSError:
            data = b""
        *lines, pending = (pending + data).split(b"\n")
        try:
            for line in lines:
                loop.call_soon_threadsafe(take, line.decode(errors="replace"))
            if not data:
                loop.call_soon_threadsafe(over.set)
                return
        except RuntimeError:
            return  # the loop has ended meanwhile


def _is_stop(line: str) -> bool:
    try:
        command: object = json.loads(line)
    except ValueError:
        return False
    return command == {"do": "stop"}


def _say(line: str) -> None:
    # If whoever asked is gone, the end of standard input follows.
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def _cannot_start(reason: str) -> int:
    _say(json.dumps({"error": reason}))
    return 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the engine and return the exit status: 3 if it could not start."""
    options = options_from(sys.argv[1:] if arguments is None else arguments)
    try:
        asyncio.run(serve(options))
    except ModuleNotFoundError as error:
        if error.name not in REQUIRED:
            raise
        return _cannot_start(MISSING)
    except OSError as error:
        return _cannot_start(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
