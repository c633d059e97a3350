"""`python -m bluegreen.diagram FILE...`: fill the blocks of documents; `--check` says which are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bluegreen.diagram.embed import BLOCKS, embedded


def main(arguments: list[str] | None = None) -> int:
    """Fill the blocks of the files that are named; return 1 if one was stale under `--check`, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m bluegreen.diagram", description=f"Blocks: {', '.join(BLOCKS)}."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="write nothing; say which files are stale")
    given = parser.parse_args(arguments)
    stale = 0
    for file in given.files:
        before = file.read_text(encoding="utf-8")
        after = embedded(before)
        if after == before:
            continue
        if given.check:
            stale = 1
            print(f"{file} is stale; refresh it with: python -m bluegreen.diagram {file}", file=sys.stderr)
        else:
            file.write_text(after, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
