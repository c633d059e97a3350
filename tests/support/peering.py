"""Processes that are peers, for tests: each holds queries until it is told to end."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from bluegreen.runtime.registry import managed
from bluegreen.types import Scope
from bluegreen_adapters.observe.health.http import Pages
from bluegreen_adapters.observe.health.peers import Peers
from support.managing import accepting

SCOPE = Scope("peers.example:443")


def hold(folder: Path, queries: int, told: Connection) -> None:
    """Be a peer that has this many queries open on blue."""
    peers = Peers(folder)
    Pages(peers=peers)
    tickets = [managed(SCOPE).start(accepting) for _ in range(queries)]
    told.send(len(tickets))
    told.recv()
    peers.close()


@contextmanager
def holding(folder: Path, *queries: int) -> Iterator[list[int]]:
    """Run a process for each number of queries; the value is their ids. Those that are stopped are ended too."""
    spawn = multiprocessing.get_context("spawn")
    ends: list[Connection] = []
    processes = []
    for number in queries:
        ours, theirs = spawn.Pipe()
        ends.append(ours)
        processes.append(spawn.Process(target=hold, args=(folder, number, theirs)))
        processes[-1].start()
        theirs.close()
    try:
        for one, number in zip(ends, queries, strict=True):
            assert one.poll(60)
            assert one.recv() == number
        yield [one.pid or 0 for one in processes]
    finally:
        for process in processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
            process.join(60)
