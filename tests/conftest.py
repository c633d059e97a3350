"""What holds for every test. Fixtures and fakes are in support/."""

from __future__ import annotations

import pytest
from hypothesis import settings

# No deadline: a busy machine is not a bug. A failing example is printed as a line that reproduces it.
settings.register_profile("bluegreen", deadline=None, print_blob=True)
settings.load_profile("bluegreen")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the full matrix of ways, shapes and switches."""
    parser.addoption(
        "--matrix", action="store_true", help="run every shape of load on every way in (minutes)"
    )
