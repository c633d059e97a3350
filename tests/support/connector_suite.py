"""The tests that the e6data connector ships in its own distribution, run with and without `install()`.

Nothing of them is copied: they are found where the distribution was installed, and run in a process of their own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import attrs

from bluegreen_adapters.e6data import DISTRIBUTION
from bluegreen_adapters.testing.engine import EngineProcess
from support import connector_plugin

ROOT = Path(__file__).resolve().parents[2]
USER, PASSWORD = "test@example.com", "test_token"
"""What the connector's tests log in with."""

TEST_TIMEOUT_S = 60
SUITE_TIMEOUT_S = 240
REPETITIONS = 3
"""How often a test whose outcomes differ is run again. Some of them measure times, and so fail now and then."""


@attrs.frozen
class Outcome:
    """What came of one test.

    Args:
        result: `passed`, `failed`, `setup failed`, `not collected` and so on.
        told: the end of what pytest prints of it.
    """

    result: str
    told: str = ""


Outcomes = Mapping[str, Outcome]
"""Outcomes by the id of the test."""


def suite_folder() -> Path:
    """Return the folder of the installed connector's tests.

    Raises:
        FileNotFoundError: the distribution has none.
    """
    for file in importlib.metadata.files(DISTRIBUTION) or ():
        if file.as_posix() == "test/conftest.py":
            return Path(str(file.locate())).parent
    raise FileNotFoundError(f"{DISTRIBUTION} has no folder `test`")


def run_suite(*, install: bool, pools: bool, only: Sequence[str] = ()) -> Outcomes:
    """Run the connector's tests, but those that need the vendor's service, and return what came of each.

    Args:
        install: cover the connector before the first test.
        pools: give the tests that load connection pools a service; without it they refuse to be imported.
        only: ids of the tests to run; none: all.
    """
    folder = suite_folder()
    with tempfile.TemporaryDirectory() as scratch, EngineProcess(user=USER, password=PASSWORD) as engine:
        outcomes = Path(scratch) / "outcomes.jsonl"
        outcomes.touch()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / root) for root in ("fsm", "adapters", "tests")),
            "PYTHONDONTWRITEBYTECODE": "1",  # the folder is somebody else's
            connector_plugin.FOLDER: str(folder),
            connector_plugin.OUTCOMES: str(outcomes),
            connector_plugin.PORT: str(engine.port),
            connector_plugin.INSTALL: "1" if install else "",
            **(_service(engine) if pools else {}),
        }
        for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "GRPC_VERBOSITY"):
            environment.pop(name, None)
        command = [*_command(folder), *(str(folder / test) for test in only or ("",))]
        status, said = _ended(command, scratch, environment)
        # 0: all passed, 1: some failed. Anything else is no run of the tests.
        if status not in (0, 1):
            raise RuntimeError(f"pytest ended with {status}:\n{said[-4000:]}")
        return _read(outcomes)


def _ended(command: Sequence[str], folder: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end; return its status and what it printed. One that hangs says where, and is ended."""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=SUITE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # pytest's faulthandler prints where each thread is
            said, _ = process.communicate(timeout=60)
    return process.returncode, said


def _command(folder: Path) -> list[str]:
    return [
        sys.executable,
        *("-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(folder)),
        *("-p", "support.connector_plugin", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"),
        *("-p", "no:bluegreen", "--import-mode=importlib", "--continue-on-collection-errors"),
        *("--timeout", str(TEST_TIMEOUT_S), "--ignore", str(folder / "integration")),
    ]


def _service(engine: EngineProcess) -> dict[str, str]:
    """Where the tests that are configured by environment variables find a service."""
    given = {
        "USERNAME": USER,
        "PASSWORD": PASSWORD,
        "HOST": engine.host,
        "PORT": str(engine.port),
        "SECURE": "false",
        "CATALOG": "main",
        "DATABASE": "sales",
        "CLUSTER_NAME": "",
    }
    return {f"E6DATA_{name}": value for name, value in given.items()}


def _read(lines: Path) -> Outcomes:
    found: dict[str, Outcome] = {}
    for line in lines.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        before = found.get(one["test"])
        result = one["outcome"] if before is None else f"{before.result}, {one['outcome']}"
        found[one["test"]] = Outcome(result, one["told"])
    return found


@attrs.frozen
class Difference:
    """A test with another outcome when the connector is covered, and the outcomes of each of its runs."""

    test: str
    without: tuple[Outcome, ...]
    covered: tuple[Outcome, ...]

    def __str__(self) -> str:
        without, covered = (sorted({one.result for one in runs}) for runs in (self.without, self.covered))
        told = self.covered[-1].told
        return f"{self.test}: {', '.join(without)} without, {', '.join(covered)} with install():\n{told}"


def differences(
    without: Outcomes,
    covered: Outcomes,
    *,
    pools: bool,
    allowed: Collection[str] = (),
    repetitions: int = REPETITIONS,
) -> list[Difference]:
    """Return the tests that have no outcome in common, however often they are repeated.

    Args:
        without: the outcomes without us.
        covered: the outcomes with `install()`.
        pools: as in `run_suite`, for the repetitions.
        allowed: ids of tests that may differ, so that nothing is gained by repeating them.
        repetitions: how often the others are repeated.
    """
    missing = Outcome("not run")

    def differing() -> list[str]:
        return [
            test
            for test in sorted(runs)
            if not {one.result for one in runs[test][0]} & {one.result for one in runs[test][1]}
        ]

    runs = {
        test: ([without.get(test, missing)], [covered.get(test, missing)]) for test in {*without, *covered}
    }
    for _ in range(repetitions):
        again = [
            test
            for test in differing()
            if test not in allowed and missing not in (*runs[test][0], *runs[test][1])
        ]
        if not again:
            break
        for arm, install in enumerate((False, True)):
            outcomes = run_suite(install=install, pools=pools, only=again)
            for test in again:
                runs[test][arm].append(outcomes.get(test, missing))
    return [Difference(test, tuple(runs[test][0]), tuple(runs[test][1])) for test in differing()]
