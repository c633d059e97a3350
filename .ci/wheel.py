"""Build sdist and wheel, look into the wheel, and test it in a new environment outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ROOTS = ("fsm", "adapters")
SUITES = ("unit", "properties")


def run(*command: str | Path, cwd: Path = CHECKOUT) -> None:
    print("+", *command, flush=True)
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, check=False)
    if done.returncode:
        sys.exit(f"failed with {done.returncode}: {' '.join(map(str, command))}")


def sources() -> set[str]:
    """Everything below the import roots, as the wheel should name it. General pages of documentation stay outside."""
    return {
        path.relative_to(CHECKOUT / root).as_posix()
        for root in ROOTS
        for path in (CHECKOUT / root).rglob("*")
        if path.is_file()
        and not {"__pycache__", "docs"} & {*path.relative_to(CHECKOUT).parts}
        and not path.name.startswith(".")
    }


def build() -> Path:
    """Make dist/ anew. The wheel is built from the sdist, so the sdist is complete if the wheel is."""
    shutil.rmtree(CHECKOUT / "dist", ignore_errors=True)
    run(sys.executable, "-m", "build", "--quiet", "--outdir", CHECKOUT / "dist", CHECKOUT)
    (wheel,) = (CHECKOUT / "dist").glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = sources()
    for name in sorted(expected - shipped):
        print(f"not in the wheel: {name} (is its package listed in setup.cfg?)", file=sys.stderr)
    for name in sorted(shipped - expected):
        print(f"in the wheel, not in the checkout: {name}", file=sys.stderr)
    if shipped != expected:
        sys.exit("the wheel does not hold what the checkout holds")
    print(f"{wheel.name}: {len(shipped)} files, all that are below {' and '.join(ROOTS)}", flush=True)


def check_installed(wheel: Path, elsewhere: Path) -> None:
    shutil.copytree(CHECKOUT / "tests", elsewhere / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", elsewhere)
    shutil.copy(CHECKOUT / ".ci" / "test_installed.py", elsewhere)
    run(sys.executable, "-m", "venv", elsewhere / "venv", cwd=elsewhere)
    python = elsewhere / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "install")
    run(*pip, "--upgrade", "pip>=25.1", cwd=elsewhere)
    run(*pip, f"{wheel}[all]", "--group", "test", cwd=elsewhere)
    suites = [f"tests/{name}" for name in SUITES if (elsewhere / "tests" / name).is_dir()]
    run(python, "-m", "pytest", "-m", "not slow", "test_installed.py", *suites, cwd=elsewhere)


def main() -> None:
    wheel = build()
    check_contents(wheel)
    with tempfile.TemporaryDirectory(prefix="bluegreen-wheel-") as elsewhere:
        check_installed(wheel, Path(elsewhere).resolve())


if __name__ == "__main__":
    main()
