"""A table as it was at a revision of a git repository: its rows, and what it did, by running its own code there.

The files of the revision are put into a directory of their own, and a process of its own imports the table from them.
Nothing in the repository changes: not the working tree, not the index, not the list of worktrees.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bluegreen.diagram.diff import state_graph
from bluegreen.table.rows import Declaration
from bluegreen.verify.export.formats import read_json

ROOTS: Final = ("fsm", "src", "")
"""Where a revision's modules are looked for, if nothing else is said: those of these directories that it has."""

LIMIT_S: Final = 300
"""Seconds that the code of a revision may take."""


class RevisionError(ValueError):
    """A revision, or its table, cannot be had. The text says why."""


def commit_of(revision: str, repository: Path) -> str | None:
    """Return the commit that a revision names, or none if it names none there."""
    asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    try:
        found = _git(repository, *asked)
    except OSError:
        return None  # there is no git, or no such directory
    return found.stdout.strip() if found.returncode == 0 else None


def table_at(
    commit: str, name: str, repository: Path, paths: Sequence[str] = (), states: int = state_graph.STATES
) -> tuple[Declaration, state_graph.Graph | None, str]:
    """Return a table of a commit, what it does, and, if that is none, why it cannot be said.

    Args:
        commit: as `commit_of` returns it.
        name: `module:NAME` of the table, or a short name.
        repository: a directory in it.
        paths: where its modules are, from the top of the repository; `ROOTS` by default.
        states: how many pairs of state and context are looked at, at most.

    Raises:
        RevisionError: there is no such table at that commit; with what its own code said.
    """
    with tempfile.TemporaryDirectory(prefix="bluegreen-") as place:
        files = Path(place, "files")
        _check_out(commit, repository, files, Path(place, "index"))
        roots = paths or [one for one in ROOTS if (files / one).is_dir()]
        said = _graph_at(
            name, files, [files / one for one in roots], Path(place, "said.json"), states, commit
        )
    found = said["graph"]
    table = read_json(json.dumps(said["table"]), checked=False)
    return table, None if found is None else state_graph.Graph.from_dict(found), said["why"]


def _git(repository: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    return subprocess.run(
        ["git", *arguments], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )


def _check_out(commit: str, repository: Path, to: Path, index: Path) -> None:
    """Write the files of a commit to a directory, with an index of its own. An archive would leave out some."""
    top = Path(_git(repository, "rev-parse", "--show-toplevel").stdout.strip() or repository)
    own = {"GIT_INDEX_FILE": str(index)}
    for arguments in (("read-tree", commit), ("checkout-index", "--all", f"--prefix={to}{os.sep}")):
        done = _git(top, *arguments, **own)
        if done.returncode:
            raise RevisionError(f"git {arguments[0]} of {commit}: {done.stderr.strip()}")


def _graph_at(
    name: str, files: Path, roots: Sequence[Path], to: Path, states: int, commit: str
) -> dict[str, Any]:
    found = [*map(str, roots), os.environ.get("PYTHONPATH", "")]  # the modules of the revision come first
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found)), "PYTHONSAFEPATH": ""}
    command = [sys.executable, "-c", inspect.getsource(state_graph), name, str(to), str(states)]
    try:
        done = subprocess.run(
            command, cwd=files, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise RevisionError(f"{name} at {commit[:12]} took longer than {LIMIT_S} s") from None
    if done.returncode or not to.exists():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RevisionError(f"{name} at {commit[:12]} cannot be had: {last}")
    said: dict[str, Any] = json.loads(to.read_text(encoding="utf-8"))
    return said
