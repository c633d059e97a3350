"""`python -m bluegreen.diagram FILE...`: fill the blocks of documents; `--check` says which are stale.

It is `bluegreen diagram embed` for those who have no extra installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bluegreen.diagram.embed import BLOCKS, DIAGRAM, refresh


def main(arguments: list[str] | None = None) -> int:
    """Fill the blocks of the files that are named.

    Return 1 if one was stale under `--check`, 2 if a block names what there is not, else 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bluegreen.diagram", description=f"Blocks: {', '.join((*BLOCKS, DIAGRAM))}."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="write nothing; say which files are stale")
    given = parser.parse_args(arguments)
    return refresh(given.files, check=given.check, say=lambda text: print(text, file=sys.stderr))


if __name__ == "__main__":
    sys.exit(main())
