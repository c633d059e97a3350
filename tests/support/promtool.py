"""promtool, which comes with Prometheus: it reads rules as Prometheus does, and runs their unit tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ABSENT = None if shutil.which("promtool") else "not installed: promtool (Debian package prometheus)"
asks_promtool = pytest.mark.skipif(ABSENT is not None and not os.environ.get("CI"), reason=str(ABSENT))
"""On a machine of CI promtool has to be there."""


def promtool(*arguments: str | Path) -> str:
    """Run it; what it finds is an assertion that fails."""
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
