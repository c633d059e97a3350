"""A real Redis on a free port of the loopback interface, in a process that a test starts, stops and kills."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

ABSENT = None if shutil.which("redis-server") else "not installed: redis-server (Debian package of that name)"
asks_redis = pytest.mark.skipif(ABSENT is not None and not os.environ.get("CI"), reason=str(ABSENT))
"""On a machine of CI Redis has to be there."""
_START_S = 60.0


_HIGHEST = 55_000
"""In a cluster, a server also listens 10,000 ports higher."""


def free_port() -> int:
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
        if port < _HIGHEST:
            return port


class RedisServer:
    """One server.

    Args:
        folder: where it keeps its files.
        options: of its command line, without the dashes: `appendonly="yes"`; `tls_port` for `tls-port`.
    """

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.options = folder, options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *, sentinel: bool = False) -> RedisServer:
        """Start it, and return when it answers."""
        given = {"bind": "127.0.0.1", "port": self.port, "dir": self.folder, "save": "", "daemonize": "no"}
        options: dict[str, Any] = {**given, **self.options}
        if "tls_port" in options:
            options["tls_port"], options["port"] = self.port, 0
        command = ["redis-server"]
        if sentinel:
            command += [str(self.folder / "sentinel.conf"), "--sentinel"]
            options = {"port": self.port}
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", *(value if isinstance(value, list) else [str(value)])]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline_s = time.monotonic() + _START_S
        while time.monotonic() < deadline_s and self.process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.01)
        raise AssertionError(f"redis-server did not start: {(self.folder / 'log').read_text()[-1000:]}")

    def signal(self, number: int) -> None:
        """Send a signal: SIGKILL, SIGSTOP, SIGCONT."""
        assert self.process is not None
        os.kill(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait(60)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)


@contextmanager
def redis_server(folder: Path, **options: Any) -> Iterator[RedisServer]:
    """A server that has started, and ends with the context."""
    server = RedisServer(folder, **options)
    try:
        yield server.start()
    finally:
        server.end()
