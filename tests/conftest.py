"""What holds for every test. Fixtures and fakes are in support/."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from bluegreen.verify.hypothesis.profiles import register_profiles
from support.journaling import journaled
from support.telling import LINES, SECTIONS, handed_over, take

PROFILE = register_profiles()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for what takes longer than a test may by default."""
    parser.addoption(
        "--matrix", action="store_true", help="run every shape of load on every way in (minutes)"
    )
    parser.addoption(
        "--many", action="store_true", help="repeat what a few repetitions show a few hundred times (minutes)"
    )
    parser.addoption(
        "--hostile-seconds", type=float, default=3.0, help="how long each kind of hostile server is endured"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give a worker of pytest-xdist the main module that it would have without workers.

    A worker begins as `python -c`. Processes that are spawned import the main module by its file, and the connector
    decodes no V2 batches without one.
    """
    if hasattr(config, "workerinput"):
        spec = find_spec("pytest.__main__")
        assert spec is not None
        sys.modules["__main__"].__file__ = spec.origin


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand over what was told, if this is a worker; and end the connector's decoder, which V2 connections keep that a
    test let go: with it Python 3.12.1 never ends.
    """
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["told"] = handed_over()
    decoding = sys.modules.get("e6data_python_connector.result_decode")
    for lease in tuple(getattr(getattr(decoding, "_runtime", None), "leases", ())):
        lease.close(time.monotonic() + 10)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what the tests of a worker have told; a worker that crashed has handed over nothing."""
    told = getattr(node, "workeroutput", {}).get("told")
    if told is not None:
        take(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures and the sections that tests have told."""
    if LINES:
        terminalreporter.section(f"figures (profile {PROFILE.name})")
        for line in LINES:
            terminalreporter.line(line)
    for title, lines in SECTIONS.items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture(autouse=True)
def _every_log_is_checked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Hold what every manager of a test does against the table, with the checker that users have."""
    if request.node.get_closest_marker("unjournaled"):
        yield
        return
    with journaled(tmp_path_factory.getbasetemp()):
        yield
