"""A repository of git with a table of a user's in it, in several revisions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DOOR = """
from bluegreen import State, Table, events, forbid, go, ignore

Pushed, Bolted = events("pushed", "bolted")
DOOR = Table(
    name="door",
    initial="Shut",
    states=(State("Shut"), State("Open")),
    events=(Pushed, Bolted),
    rows=(
        go("Shut", Pushed, "Open", why="it opens"),
        go("Open", Pushed, "Shut", why="it shuts"),
        ignore("Shut", Bolted, why="there is no bolt"),
        forbid("Open", Bolted, why="it stands open"),
    ),
)
"""

LAMP = """
import transitions

machine = transitions.Machine(states=["Off", "On"], initial="Off", auto_transitions=False, name="lamp")
machine.add_transition("turned", "Off", "On", conditions="powered")
machine.add_transition("turned", "On", "Off")
"""


class Repository:
    """A repository of its own, with nobody's settings.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        if shutil.which("git") is None:
            if "CI" in os.environ:
                pytest.fail("git is missing, and a machine of CI has to have it")
            pytest.skip("git is missing")
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """Run git, and return what it says."""
        who = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", *who, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        """Write modules, commit them, and return the commit."""
        for name, content in files.items():
            (self.folder / f"{name}.py").write_text(content, "utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"change {', '.join(files)}")
        return self.git("rev-parse", "HEAD")
