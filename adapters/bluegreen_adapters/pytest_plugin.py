"""Options of the pytest plugin.

Every pytest beside an installed bluegreen imports this module, so it imports nothing of bluegreen before the option
is given.

    pytest --bluegreen-verify          # definition and exploration of each declared table, and what the tests covered
    pytest --bluegreen-verify=full     # also the mutants of each table, and long random runs
    pytest --bluegreen-verify --bluegreen-tally=tally.json     # also writes what the tests covered to a file
"""

from __future__ import annotations

import argparse

import pytest


def _depth(text: str) -> str:
    """Return the value of the option; a path that comes after it is taken for one, which has to be explained."""
    if text not in ("quick", "full"):
        wanted = "accepted: quick, full; before a path, write --bluegreen-verify=quick"
        raise argparse.ArgumentTypeError(f"{text!r}; {wanted}")
    return text


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and the setting that declares tables."""
    group = parser.getgroup("bluegreen")
    group.addoption(
        "--bluegreen-tally",
        metavar="FILE",
        help="with --bluegreen-verify: write what the tests took of each table, for `bluegreen diagram coverage`",
    )
    group.addoption(
        "--bluegreen-verify",
        nargs="?",
        const="quick",
        type=_depth,
        metavar="quick|full",
        help="verify the state machines that bluegreen_tables declares: quick (the default) or full",
    )
    parser.addini(
        "bluegreen_tables",
        type="linelist",
        default=[],
        help="tables for --bluegreen-verify: module:NAME of a Verification or a Table, or a module with Verifications",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin, if the option is given."""
    if config.getoption("bluegreen_verify") is not None:
        from bluegreen.verify.pytest_plugin.plugin import Verify

        config.pluginmanager.register(Verify(config), "bluegreen-verify")
    elif config.getoption("bluegreen_tally") is not None:
        raise pytest.UsageError("--bluegreen-tally counts what --bluegreen-verify watches: give both")
