"""The type checkers accept what is right, and find what is wrong: in that line, for that reason.

A snippet in `refused` says at the end of a line what is found there: `# mypy: code, code; pyright: rule`.
Lines without such a comment, and all snippets in `accepted`, are clean for both.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
ACCEPTED = sorted((HERE / "accepted").glob("*.py"))
REFUSED = sorted((HERE / "refused").glob("*.py"))

Found = dict[str, dict[int, set[str]]]
"""File name -> line -> codes."""


def run(tool: str, *arguments: str) -> str:
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed: it is in the dependency group lint")
    if not (CHECKOUT / "pyproject.toml").exists():
        pytest.skip("the tests run outside a checkout, so there are no settings for the type checkers")
    command = [sys.executable, "-m", tool, *arguments, *map(str, [*ACCEPTED, *REFUSED])]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # 1: it ran, and found something
    return done.stdout


def mypy() -> Found:
    found: Found = defaultdict(lambda: defaultdict(set))
    output = run("mypy", "--no-error-summary", "--no-pretty", "--hide-error-context")
    for line in output.splitlines():
        match = re.match(r"(?P<path>.*?):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$", line)
        if match:
            found[Path(match["path"]).name][int(match["line"])].add(match["code"])
    return found


def pyright() -> Found:
    found: Found = defaultdict(lambda: defaultdict(set))
    output = run("pyright", "--pythonpath", sys.executable, "--outputjson")
    for one in json.loads(output)["generalDiagnostics"]:
        if not one["rule"].startswith("reportUnknown"):  # what follows from a mistake that it has found
            found[Path(one["file"]).name][one["range"]["start"]["line"] + 1].add(one["rule"])
    return found


def expected(snippet: Path, tool: str) -> dict[int, set[str]]:
    wanted: dict[int, set[str]] = {}
    for number, line in enumerate(snippet.read_text(encoding="utf-8").splitlines(), 1):
        match = re.search(rf"#.*\b{tool}: (?P<codes>[\w, -]+)", line)
        if match:
            wanted[number] = set(re.split(r", ?", match["codes"].strip()))
    return wanted


@pytest.mark.parametrize("tool", [mypy, pyright])
def test_the_checkers_find_every_mistake_where_it_is_and_nothing_else(tool: Callable[[], Found]) -> None:
    found = tool()
    for snippet in REFUSED:
        assert found[snippet.name] == expected(snippet, tool.__name__), snippet.name
    assert {snippet.name: found[snippet.name] for snippet in ACCEPTED} == {one.name: {} for one in ACCEPTED}


@pytest.mark.parametrize("snippet", REFUSED, ids=lambda path: path.stem)
def test_both_checkers_find_the_same_lines(snippet: Path) -> None:
    lines = set(expected(snippet, "mypy"))
    assert lines == set(expected(snippet, "pyright"))
    assert lines


def test_no_snippet_has_the_name_of_another() -> None:
    """What is found is looked up by the name of the file alone."""
    names = [snippet.name for snippet in (*ACCEPTED, *REFUSED)]
    assert len(set(names)) == len(names)
