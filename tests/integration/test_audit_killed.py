"""Processes that write an audit and are killed at random: what was written stays, and no change of it is missed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bluegreen_adapters.observe.audit.format import head_of
from bluegreen_adapters.observe.audit.verifier import verify, verify_file
from support import audited
from support.telling import tell

WORKERS = 4
TRIES = 1_000
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3600)]


class Workers:
    """Four processes; one that is killed is replaced."""

    def __init__(self, folder: Path, seed: int, file_bytes: int) -> None:
        self._folder, self._seed, self._file_bytes = folder, seed, file_bytes
        self._running = [self._started() for _ in range(WORKERS)]

    def _started(self) -> subprocess.Popen[bytes]:
        self._seed += 1
        script = [audited.__file__, str(self._folder), str(self._seed), str(self._file_bytes)]
        path = os.pathsep.join(one for one in sys.path if one)
        return subprocess.Popen([sys.executable, *script], env={**os.environ, "PYTHONPATH": path})

    def kill(self, number: int, *, replace: bool = True) -> None:
        one = self._running[number]
        assert one.poll() is None, "it has ended by itself"
        one.kill()
        one.wait()
        if replace:
            self._running[number] = self._started()

    def end(self) -> None:
        for one in self._running:
            one.kill()
            one.wait()


def told(folder: Path) -> int:
    """How many steps the processes say are in the files."""
    return sum(int(path.read_bytes() or b"0") for path in folder.glob("told-*"))


def written(
    folder: Path, chance: random.Random, steps: int, kills: int, file_bytes: int, life_s: float
) -> tuple[int, float]:
    """Let processes write so many steps, and kill them so often; return how often it was, and how long it took."""
    killed, began_s = 0, time.monotonic()
    workers = Workers(folder, chance.randrange(1_000_000), file_bytes)
    try:
        while killed < kills or told(folder) < steps:
            time.sleep(chance.uniform(0.05, life_s))
            workers.kill(chance.randrange(WORKERS))
            killed += 1
    finally:
        workers.end()
    return killed + WORKERS, time.monotonic() - began_s


def test_what_was_written_stays_when_writers_are_killed_and_every_flip_and_every_dropped_line_is_found(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    many = pytestconfig.getoption("--many")
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    folder = tmp_path / "audit"
    folder.mkdir()
    much = (1_000_000, 40, 1 << 20, 1.0) if many else (20_000, 12, 40_000, 0.4)
    killed, took_s = written(folder, chance, *much)
    began_s = time.monotonic()
    found = verify(folder)
    checked_s = time.monotonic() - began_s
    assert found.ok, f"seed {seed}: {found}"
    assert found.records >= told(folder) >= much[0]
    assert found.gaps == ()
    assert len(found.torn) <= killed
    small = min(
        (path for path in folder.glob("changes-*.jsonl") if (head_of(path) or (0, ""))[0] > 20),
        key=lambda path: path.stat().st_size,
    )
    missed = flips_missed(small, chance) + drops_missed(small, chance)
    assert missed == [], f"seed {seed}"
    tell(
        f"{found.records} steps written by {WORKERS} processes, killed {killed} times, in {took_s:.1f} s "
        f"({found.records / took_s:,.0f} a second); verified in {checked_s:.1f} s ({found.lines / checked_s:,.0f} "
        f"lines a second): {len(found.torn)} torn lines set aside; {TRIES} flips and {TRIES} drops found"
    )
    shutil.rmtree(folder)


def flips_missed(path: Path, chance: random.Random) -> list[str]:
    """Change one byte of a whole line, again and again; return where that was not found."""
    right = path.read_bytes()
    end = right.rfind(b"\n") + 1
    missed: list[str] = []
    for _ in range(TRIES):
        place, by = chance.randrange(end), chance.randrange(1, 256)
        path.write_bytes(right[:place] + bytes([right[place] ^ by]) + right[place + 1 :])
        if verify_file(path).ok:
            missed.append(f"{path.name}: byte {place} changed by {by}")
    path.write_bytes(right)
    assert verify_file(path).ok
    return missed


def drops_missed(path: Path, chance: random.Random) -> list[str]:
    """Drop one line that the head of the file counts, again and again; return where that was not found."""
    right = path.read_bytes()
    lines, head = right.splitlines(keepends=True), head_of(path)
    assert head is not None
    missed: list[str] = []
    for _ in range(TRIES):
        number = chance.randrange(head[0])
        path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
        if verify_file(path).ok:
            missed.append(f"{path.name}: line {number + 1}")
    path.write_bytes(right)
    return missed
