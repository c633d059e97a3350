"""Writers that are killed at random: nobody reads half of a record, goes back, or is kept waiting."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from bluegreen.clocks import stamp
from bluegreen.errors import StoreError
from bluegreen.store import Stamp
from bluegreen.vocabulary import Scope, Strategy
from support.telling import tell

lmdb_file = pytest.importorskip("bluegreen_adapters.stores.lmdb_file")

SCOPE = Scope("killed.example:443")
WRITERS, READERS = 3, 2


def at_of(epoch: int) -> Stamp:
    """What a record of this epoch holds beside it: a reader can tell a torn one."""
    return Stamp(epoch * 3.0, epoch * 7.0, f"boot {epoch}")


def write_for_ever(folder: Path) -> None:
    store = lmdb_file.LmdbStore(folder, 1.0)
    while True:
        there = store.read(SCOPE)
        epoch = there.epoch + 1
        record = attrs.evolve(
            there, epoch=epoch, announced=list(Strategy)[epoch % 2], at=at_of(epoch), who=f"writer of {epoch}"
        )
        store.write(SCOPE, record)


def read_for_ever(folder: Path, out: int) -> None:
    """Tell what is wrong, and at the end how often was read and how long the longest took."""
    store = lmdb_file.LmdbStore(folder, 1.0)
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(1))
    last, reads, took, wrong = 0, 0, list[float](), list[str]()
    while not over and not wrong:
        began_s = time.monotonic()
        record = store.read(SCOPE)
        took.append(time.monotonic() - began_s)
        reads += 1
        if record.epoch < last:
            wrong.append(f"backward: {record.epoch} after {last}")
        expected = (list(Strategy)[record.epoch % 2], at_of(record.epoch), f"writer of {record.epoch}")
        if record.epoch and (record.announced, record.at, record.who) != expected:
            wrong.append(f"torn: {record}")
        last = record.epoch
    took.sort()
    told = f"{reads} {1000 * took[int(0.999 * reads)]:.3f} {1000 * took[-1]:.3f} {last} {'; '.join(wrong)}"
    os.write(out, told.encode() + b"\n")


def forked(work: object, *args: object) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work(*args)  # type: ignore[operator]
        except BaseException:  # noqa: BLE001  a child must not go on as the test
            traceback.print_exc()
        finally:
            os._exit(0)
    return pid


def ended(pid: int, number: int) -> None:
    """End a child that may have ended by itself."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, number)
        os.waitpid(pid, 0)


def test_nobody_reads_half_a_record_or_goes_back_when_writers_are_killed(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    kills = 2000 if pytestconfig.getoption("--many") else 200
    seed = random.randrange(10_000)
    chance = random.Random(seed)
    folder = tmp_path / "shared"
    lmdb_file.LmdbStore(folder).close()
    reading, out = os.pipe()
    readers = [forked(read_for_ever, folder, out) for _ in range(READERS)]
    writers = [forked(write_for_ever, folder) for _ in range(WRITERS)]
    os.close(out)
    waits: list[float] = []
    try:
        for _ in range(kills):
            time.sleep(chance.uniform(0.0, 0.02))
            number = chance.randrange(WRITERS)
            ended(writers[number], signal.SIGKILL)
            waits.append(goes_on(folder))
            writers[number] = forked(write_for_ever, folder)
    finally:
        for pid in writers:
            ended(pid, signal.SIGKILL)
        for pid in readers:
            os.kill(pid, signal.SIGTERM)
        with os.fdopen(reading) as text:
            told = text.read().splitlines()
        for pid in readers:
            ended(pid, signal.SIGKILL)
    assert len(told) == READERS, f"seed {seed}"
    found = [line.split(" ", 4) for line in told]
    assert [one[4] for one in found] == [""] * READERS, f"seed {seed}"
    epochs = max(int(one[3]) for one in found)
    assert epochs > kills, "the next writer goes on"
    waits.sort()
    # A reader or writer that the machine puts aside waits for the machine; the store keeps nobody.
    p999_ms = max(float(one[1]) for one in found)
    wait_ms = 1000 * waits[int(0.99 * len(waits))]
    assert p999_ms < 50
    assert wait_ms < 50
    tell(
        f"{kills} writers killed: {sum(int(one[0]) for one in found)} reads of {epochs} epochs, none torn or backward; "
        f"a read took at most {max(float(one[2]) for one in found):.1f} ms (p99.9 {p999_ms:.2f} ms), the next write "
        f"p99 {wait_ms:.1f} ms, at most {1000 * waits[-1]:.1f} ms"
    )


def goes_on(folder: Path) -> float:
    """Seconds until a lease was taken and given back, which is two writes, after a writer was killed."""
    store = lmdb_file.LmdbStore(folder, 1.0)
    began_s = time.monotonic()
    try:
        assert store.lease(SCOPE, "next", 1.0)
        store.release(SCOPE, "next")
    except StoreError as error:
        raise AssertionError(f"the store keeps its next writer: {error}") from None
    finally:
        store.close()
    assert stamp().monotonic_s >= began_s
    return time.monotonic() - began_s
