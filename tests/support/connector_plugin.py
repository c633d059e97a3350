"""Pytest plugin for the connector's own tests: it records outcomes, gives the tests a server, and can install us.

`support.connector_suite` loads it with `-p` in a process of its own and tells it by environment variables what to do.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from bluegreen.runtime import registry

FOLDER = "CONNECTOR_SUITE_FOLDER"
OUTCOMES = "CONNECTOR_SUITE_OUTCOMES"
PORT = "CONNECTOR_SUITE_PORT"
INSTALL = "CONNECTOR_SUITE_INSTALL"

ENDLESS_S = 30
"""A test that sleeps this long between two queries repeats them until the user interrupts it."""

SERVED = ("test_mock_server", "test_strategy")
"""Modules of the connector that need a server at a fixed address."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder importable as `test`, as its modules expect, and cover the connector if this run is to."""
    folder = Path(os.environ[FOLDER])
    # The standard library may have a package of the same name, which would come first.
    spec = importlib.util.spec_from_file_location(
        "test", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["test"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    if os.environ.get(INSTALL):
        from bluegreen_adapters import e6data

        e6data.install()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Send the modules that need a server to the one that this run has, without their long pauses."""
    modules: set[ModuleType] = {item.module for item in items if isinstance(item, pytest.Function)}
    for module in modules:
        if module.__name__.rsplit(".", 1)[-1] in SERVED:
            module.TEST_CONFIG.update(host="127.0.0.1", port=int(os.environ[PORT]))  # type: ignore[attr-defined]
            module.time = SimpleNamespace(**{**vars(time), "sleep": _sleep})  # type: ignore[attr-defined]


def _sleep(seconds: float) -> None:
    if seconds >= ENDLESS_S:
        raise KeyboardInterrupt
    time.sleep(min(seconds, 0.01))


@pytest.fixture(autouse=True)
def _nothing_is_known_of_clusters() -> Iterator[None]:
    """Forget every cluster after each test: the next one may have a server at the same port."""
    yield
    for scope in registry.scopes():
        registry.forget(scope)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Record a module that cannot be imported."""
    if report.failed:
        _record(report.nodeid, "not collected", report.longreprtext)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record what came of a phase of a test."""
    outcome: str = "xfailed" if hasattr(report, "wasxfail") and report.skipped else report.outcome
    if report.when == "call" or outcome != "passed":
        _record(
            report.nodeid,
            outcome if report.when == "call" else f"{report.when} {outcome}",
            report.longreprtext,
        )


def pytest_sessionfinish() -> None:
    """End the processes that a test of the suite has forked and left.

    A fork beside the threads of gRPC may hang in the child, with the connector alone as with ours, and Python waits for
    its children for ever when it ends.
    """
    for child in multiprocessing.active_children():
        child.kill()
        child.join(60)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process without waiting for threads that the suite has left, which Python does for ever as well."""
    session = config.pluginmanager.get_plugin("session")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(session.exitstatus) if session is not None else pytest.ExitCode.INTERNAL_ERROR)


def _record(test: str, outcome: str, told: str) -> None:
    with Path(os.environ[OUTCOMES]).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"test": test, "outcome": outcome, "told": told[-600:]}) + "\n")
