"""The command line: which commands it has, and what it says when something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import bluegreen
from bluegreen import __main__ as command_line


@click.command()
def greet() -> None:
    """Say hello."""
    click.echo("hello")


@pytest.fixture
def invoked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line with two installed commands, one of which cannot be imported."""
    module = types.ModuleType("commands_of_another_distribution")
    module.greet = greet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points = EntryPoints(
        [
            EntryPoint("greet", f"{module.__name__}:greet", command_line.GROUP),
            EntryPoint("broken", "a_module_of_a_missing_extra:broken", command_line.GROUP),
        ]
    )

    def entry_points(**wanted: Any) -> EntryPoints:
        return points.select(**wanted)

    monkeypatch.setattr(command_line, "entry_points", entry_points)
    return lambda *arguments: CliRunner().invoke(command_line.command_line(), arguments)


def test_the_version_is_the_one_of_the_package(invoked: Callable[..., Result]) -> None:
    assert invoked("--version").output == f"bluegreen, version {bluegreen.__version__}\n"


def test_a_command_of_another_distribution_is_found_by_its_entry_point(
    invoked: Callable[..., Result],
) -> None:
    assert invoked("greet").output == "hello\n"


def test_the_help_shows_every_command_even_if_one_cannot_be_imported(invoked: Callable[..., Result]) -> None:
    shown = invoked("--help")
    assert shown.exit_code == 0
    assert "Say hello." in shown.output
    assert "broken" in shown.output


def test_a_command_that_cannot_be_imported_says_so_without_a_traceback(
    invoked: Callable[..., Result],
) -> None:
    refused = invoked("broken")
    assert refused.exit_code == 1
    assert refused.output == (
        "Error: broken cannot be loaded: No module named 'a_module_of_a_missing_extra'\n"
    )


def test_a_command_that_nobody_has_installed_is_refused(invoked: Callable[..., Result]) -> None:
    refused = invoked("nothing")
    assert refused.exit_code == 2
    assert "No such command 'nothing'" in refused.output


def test_listing_the_commands_imports_none_of_them(
    invoked: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EntryPoint, "load", lambda self: pytest.fail("a command was imported"))
    group = command_line.command_line()
    assert group.list_commands(click.Context(group)) == ["broken", "greet"]


MAIN_WITHOUT = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == sys.argv[1] else found(name, package)
from bluegreen.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["click", "rich"])
def test_without_the_extra_the_command_line_says_in_one_line_which_is_missing(module: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", MAIN_WITHOUT, module],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert said.stderr == 'the command line needs the extra "cli": pip install "bluegreen[cli]"\n'
    assert said.stdout == ""


def test_the_core_of_the_command_line_imports_no_adapter() -> None:
    program = (
        "import sys, bluegreen.__main__ as m; m.command_line(); "
        "sys.exit(any(name.startswith('bluegreen_adapters') for name in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


OF_OTHER_EXTRAS = (
    "e6data_python_connector",
    "google",
    "grpc",
    "hypothesis",
    "lmdb",
    "opentelemetry",
    "redis",
    "sqlglot",
)


@pytest.mark.parametrize("name", ["audit", "config", "demo", "diagram", "soak", "status", "verify", "watch"])
def test_command_loads_with_the_extra_cli_alone(name: str) -> None:
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({OF_OTHER_EXTRAS}));"
        "from importlib.metadata import entry_points;"
        f"print(entry_points(group='bluegreen.commands', name={name!r})[{name!r}].load().name)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (name, "")
