"""Names of the project: one public class name, one class; every link of the documentation leads somewhere."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROOTS = ("fsm", "adapters")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
PAGES = [
    *(path for path in CHECKOUT.glob("*.md")),
    *(path for root in (*ROOTS, "diagrams") for path in (CHECKOUT / root).rglob("*.md")),
]

in_checkout = pytest.mark.skipif(not (CHECKOUT / "fsm").is_dir(), reason="this is an installed copy")


@in_checkout
def test_public_class_name_is_defined_once() -> None:
    places = defaultdict(list)
    for root in ROOTS:
        for path in (CHECKOUT / root).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(f"{path.relative_to(CHECKOUT)}:{node.lineno}")
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {
        slug(found) for found in re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }


@in_checkout
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_link_of_a_page_leads_to_a_file_and_heading(page: Path) -> None:
    lost = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            lost.append(link)
    assert lost == []
