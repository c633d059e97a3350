"""What README says is what the code does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bluegreen.diagram import BLOCKS, embedded
from bluegreen.diagram.__main__ import main

README = Path(__file__).parents[2] / "README.md"
pytestmark = pytest.mark.skipif(
    not README.exists(), reason="README.md is not here: this is an installed copy"
)


def blocks() -> list[str]:
    if not README.exists():  # pytest collects the blocks before it looks at the mark above
        return []
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_every_generated_block_is_up_to_date() -> None:
    assert main(["--check", str(README)]) == 0


def test_a_stale_block_is_found_and_refreshed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "stale.md"
    stale.write_text("<!-- bluegreen:errors -->\nold\n<!-- /bluegreen:errors -->\nkept", encoding="utf-8")
    assert main(["--check", str(stale)]) == 1
    assert "is stale; refresh it with" in capsys.readouterr().err
    assert main([str(stale)]) == 0
    assert main(["--check", str(stale)]) == 0
    assert "old" not in stale.read_text(encoding="utf-8")
    assert stale.read_text(encoding="utf-8").endswith("kept")


def test_a_block_of_an_unknown_name_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=f"'picture'; known: {', '.join(BLOCKS)}, diagram"):
        embedded("<!-- bluegreen:picture -->\n<!-- /bluegreen:picture -->")


@pytest.mark.parametrize("code", blocks(), ids=lambda code: code.split("\n", 1)[0])
def test_every_python_block_runs(code: str) -> None:
    pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')
    path = f"import sys; sys.path[:0] = {sys.path!r}\n"
    subprocess.run([sys.executable, "-c", path + code], check=True, timeout=120)


def test_embedding_takes_at_most_fifteen_lines() -> None:
    (code,) = (block for block in blocks() if "SwitchingChannel" in block)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for target in re.findall(r"^    make (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE):
        done = subprocess.run(
            [make, "-n", target], cwd=README.parent, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_page_of_the_e6data_adapter_lists_every_seam_with_its_reason() -> None:
    pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')
    from bluegreen_adapters.e6data import CHECKED_VERSIONS
    from bluegreen_adapters.e6data.patches import SEAMS

    page = (README.parent / "adapters" / "bluegreen_adapters" / "e6data" / "README.md").read_text(
        encoding="utf-8"
    )
    assert [line for line in page.splitlines() if line.startswith("| `")] == [
        f"| `{seam}` | {seam.why} |" for seam in SEAMS
    ]
    assert all(f"series {series};" in page for series in CHECKED_VERSIONS)
