"""A short soak, with the real engine, the real connector and real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SOAK = "from bluegreen_adapters.testing.soak import soak; soak()"


def test_a_short_soak_loses_nothing_and_leaves_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SOAK, "--json", "--threads", "6"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SOAK_MINUTES": "0.13"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    counted, leaks, stalls = told["figures"], told["leaks"], told["stalls"]
    assert told["findings"] == []
    assert counted["switches"] == 4
    assert counted["queries"] > 100
    assert [counted[name] for name in ("failed", "wrong", "executed_twice", "misrouted", "crashes")] == [
        0
    ] * 5
    assert (leaks["tickets_after"], leaks["queries_after"]) == (0, 0)
    assert leaks["objects_after"] == leaks["objects_before"]
    assert stalls["steady_samples"] > 0
    assert stalls["announced"]["samples"] + stalls["unannounced"]["samples"] > 0
    assert stalls["round_trip_ms"] > 0
