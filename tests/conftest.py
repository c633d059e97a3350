"""What holds for every test. Fixtures and fakes are in support/."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings

from support.journaling import journaled

# No deadline: a busy machine is not a bug. A failing example is printed as a line that reproduces it.
settings.register_profile("bluegreen", deadline=None, print_blob=True)
settings.load_profile("bluegreen")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the full matrix of ways, shapes and switches."""
    parser.addoption(
        "--matrix", action="store_true", help="run every shape of load on every way in (minutes)"
    )


def pytest_sessionfinish() -> None:
    """End the connector's decoder, which V2 connections keep that a test let go: with it Python 3.12.1 never ends."""
    decoding = sys.modules.get("e6data_python_connector.result_decode")
    for lease in tuple(getattr(getattr(decoding, "_runtime", None), "leases", ())):
        lease.close(time.monotonic() + 10)


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
