"""A program: writers of an LMDB store that are killed at random, readers that watch, and what came of it as JSON.

It is a process of its own because it forks: a child of a process with other threads may wait for one of their locks
for ever, and a test run has had gRPC's threads.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import attrs

from bluegreen.errors import StoreError
from bluegreen.store import Stamp
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.stores.lmdb import LmdbStore

SCOPE = Scope("killed.example:443")
WRITERS, READERS = 3, 2


def at_of(epoch: int) -> Stamp:
    """What a record of this epoch holds beside it: a reader can tell a torn one."""
    return Stamp(epoch * 3.0, epoch * 7.0, f"boot {epoch}")


def write_for_ever(folder: Path) -> None:
    store = LmdbStore(folder, 1.0)
    while True:
        there = store.read(SCOPE)
        epoch = there.store_epoch + 1
        record = attrs.evolve(
            there,
            store_epoch=epoch,
            announced=list(Strategy)[epoch % 2],
            at=at_of(epoch),
            who=f"writer of {epoch}",
        )
        store.write(SCOPE, record)


def read_for_ever(folder: Path, out: int) -> None:
    """Tell what is wrong, and at the end how often was read and how long the longest took."""
    store = LmdbStore(folder, 1.0)
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(1))
    last, reads, took, wrong = 0, 0, list[float](), list[str]()
    while not over and not wrong:
        began_s = time.monotonic()
        record = store.read(SCOPE)
        took.append(time.monotonic() - began_s)
        reads += 1
        if record.store_epoch < last:
            wrong.append(f"backward: {record.store_epoch} after {last}")
        expected = (
            list(Strategy)[record.store_epoch % 2],
            at_of(record.store_epoch),
            f"writer of {record.store_epoch}",
        )
        if record.store_epoch and (record.announced, record.at, record.who) != expected:
            wrong.append(f"torn: {record}")
        last = record.store_epoch
    took.sort()
    p999_ms, most_ms = 1000 * took[int(0.999 * reads)], 1000 * took[-1]
    told = {"reads": reads, "p999_ms": p999_ms, "most_ms": most_ms, "store_epoch": last, "wrong": wrong}
    os.write(out, json.dumps(told).encode() + b"\n")


def forked(work: object, *args: object) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work(*args)  # type: ignore[operator]
        except BaseException:  # noqa: BLE001  a child must not go on as the test
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def goes_on(folder: Path) -> float:
    """Seconds until a lease was taken and given back, which is two writes, after a writer was killed."""
    store = LmdbStore(folder, 60.0)  # this only ends what would hang
    began_s = time.monotonic()
    try:
        assert store.lease(SCOPE, "next", 1.0)
        store.release(SCOPE, "next")
    except StoreError as error:
        raise AssertionError(f"the store keeps its next writer: {error}") from None
    finally:
        store.close()
    return time.monotonic() - began_s


def ended(pid: int, number: int) -> int:
    """End a child; return how it ended: its exit code, or the negative number of a signal."""
    os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder: Path, kills: int, seed: int) -> None:
    """Kill `kills` writers, one after the other."""
    chance = random.Random(seed)
    LmdbStore(folder).close()
    reading, out = os.pipe()
    readers = [forked(read_for_ever, folder, out) for _ in range(READERS)]
    writers = [forked(write_for_ever, folder) for _ in range(WRITERS)]
    os.close(out)
    waits: list[float] = []
    ends: list[int] = []
    try:
        for _ in range(kills):
            time.sleep(chance.uniform(0.0, 0.02))
            number = chance.randrange(WRITERS)
            ends.append(ended(writers[number], signal.SIGKILL))
            waits.append(goes_on(folder))
            writers[number] = forked(write_for_ever, folder)
    finally:
        ends += [ended(pid, signal.SIGKILL) for pid in writers]
        read = [ended(pid, signal.SIGTERM) for pid in readers]
    with os.fdopen(reading) as text:
        told = [json.loads(line) for line in text]
    print(json.dumps({"readers": told, "waits_s": waits, "writers_ended": ends, "readers_ended": read}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
