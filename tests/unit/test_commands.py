"""Each test belongs to exactly one of the two commands that run tests."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHECKOUT / "Makefile").exists(), reason="the tests run outside a checkout"),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


def options_of(target: str) -> list[str]:
    """Return what a target of the Makefile hands to pytest."""
    done = subprocess.run(
        ["make", "-n", target, "ARGS="], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    )
    (command,) = [line for line in done.stdout.splitlines() if " -m pytest" in line]
    return shlex.split(command.partition(" -m pytest")[2])


def collected(options: list[str]) -> list[str]:
    """Return the ids of the tests that pytest would run with these options."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", *options, "--collect-only", "-q", "-n0", "-p", "no:randomly"]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=mine, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return [line for line in done.stdout.splitlines() if "::" in line and not line.startswith(" ")]


@pytest.mark.timeout(3600)
def test_each_test_belongs_to_exactly_one_command() -> None:
    """`make test` and `make test-slow` together run what pytest finds without a selection, and nothing twice."""
    every = collected(["--bluegreen-verify=quick"])
    quick, slow = collected(options_of("test")), collected(options_of("test-slow"))
    assert quick
    assert slow
    assert sorted(quick + slow) == sorted(every)
