"""Writers that are killed at random: nobody reads half of a record, goes back, or is kept waiting."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.telling import tell

pytest.importorskip("bluegreen_adapters.stores.lmdb")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nobody_reads_half_a_record_or_goes_back_when_writers_are_killed(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    kills = 2000 if pytestconfig.getoption("--many") else 200
    seed = random.randrange(10_000)
    done = subprocess.run(
        [sys.executable, "-m", "support.killing", str(tmp_path / "shared"), str(kills), str(seed)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=3000,
    )
    found = json.loads(done.stdout)
    assert set(found["writers_ended"]) == {-signal.SIGKILL}, f"seed {seed}: no writer ends by itself"
    assert found["readers_ended"] == [0, 0], f"seed {seed}: no reader fails"
    readers, waits = found["readers"], sorted(found["waits_s"])
    assert [one["wrong"] for one in readers] == [[], []], f"seed {seed}"
    epochs = max(one["store_epoch"] for one in readers)
    assert epochs > kills, "the next writer goes on"
    assert len(waits) == kills, "the store has kept no next writer"
    # Figures only: a reader or writer that the machine puts aside waits for the machine.
    p999_ms = max(one["p999_ms"] for one in readers)
    wait_ms = 1000 * waits[int(0.99 * len(waits))]
    tell(
        f"{kills} writers killed: {sum(one['reads'] for one in readers)} reads of {epochs} epochs, none torn "
        f"or backward; a read took at most {max(one['most_ms'] for one in readers):.1f} ms (p99.9 {p999_ms:.2f} ms), "
        f"the next write p99 {wait_ms:.1f} ms, at most {1000 * waits[-1]:.1f} ms"
    )
