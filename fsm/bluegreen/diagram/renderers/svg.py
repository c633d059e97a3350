"""A table as a picture: SVG and PNG, laid out by graphviz-pure, which gives the same bytes on every platform.

The SVG is for every page: it takes the colours of light and dark pages by itself, does without colours, and says
in words what it shows.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from html import escape, unescape
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, Literal

from bluegreen.diagram.labels import Level, describe_overview, legend
from bluegreen.diagram.model import Diagram, diagram_of
from bluegreen.diagram.renderers import dot
from bluegreen.table.rows import Declaration

ENGINE: Final = "graphviz-pure"
"""The distribution that lays pictures out, and its program."""

MISSING: Final = 'a picture needs the extra "diagram": pip install "bluegreen[diagram]"'
LAYOUT_LIMIT_S: Final = 120.0

_DARK: Final[Mapping[str, str]] = {
    dot.INK: "#e6edf3", dot.PAPER: "#0d1117", dot.BOX: "#1c2330", dot.LINE: "#a3adb8", dot.ACCENT: "#79c0ff",
}  # fmt: skip
"""What stands for each colour on a dark page."""


_TEXT: Final = re.compile(r'(<text [^>]*? x="([-\d.]+)"[^>]*)>([^<]*)</text>')


class PictureError(RuntimeError):
    """A picture cannot be laid out: the program is missing, or did not do it."""


def svg(of: Declaration | Diagram, level: Level = "overview") -> str:
    """Return a table as SVG.

    Args:
        of: a table, or a part of one as a diagram.
        level: see `dot.dot`.

    Raises:
        PictureError: it cannot be laid out; says what is missing, or what the program said.
    """
    diagram = diagram_of(of)
    described = " ".join(part for part in (describe_overview(diagram), legend(diagram)) if part)
    return draw_svg(dot.dot(diagram, level), f"{diagram.name}: {level}", described)


def png(of: Declaration | Diagram, level: Level = "overview") -> bytes:
    """Return a table as PNG, in the colours of a light page. See `svg`."""
    return laid_out(dot.dot(of, level), "png")


def draw_svg(text: str, title: str, described: str, dark: Mapping[str, str] | None = None) -> str:
    """Return DOT as SVG with a title, a description, and colours for light and dark pages.

    Args:
        text: DOT in the colours of `dot`.
        title: what it is, in some words.
        described: what it shows, for those who do not see it.
        dark: what stands for each other colour of the text on a dark page.

    Raises:
        PictureError: see `svg`.
    """
    plain, lengths = _measured(text)
    plain = plain[plain.index("<svg ") :]  # what is before it only names the program
    plain = _TEXT.sub(lambda found: _fitted(found, lengths), plain)
    name = re.sub(r"\W+", "-", title)
    size = re.search(r'<svg width="([\d.]+)pt" height="([\d.]+)pt"', plain)
    assert size is not None
    head = (
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc" class="bluegreen-diagram" '
        f'width="{size[1]}" height="{size[2]}"'
    )
    plain = plain.replace(size[0], head, 1)
    style = _style({**_DARK, **(dark or {})})
    inside = (
        f'<title id="{name}-title">{escape(title, quote=False)}</title>\n'
        f'<desc id="{name}-desc">{escape(described, quote=False)}</desc>\n<style>{style}</style>\n'
    )
    at = plain.index(">") + 1
    plain = f"{plain[:at]}\n{inside}{plain[at:].lstrip()}"
    plain = re.sub(r'(<g id=")', rf"\1{name}-", plain)  # so that several can be in one page
    return plain.replace('font-family="Helvetica,sans-Serif"', 'font-family="Helvetica, Arial, sans-serif"')


def _style(colours: Mapping[str, str]) -> str:
    rules = "".join(
        f'.bluegreen-diagram [{kind}="{light}"] {{ {kind}: {dark}; }} '
        for light, dark in colours.items()
        for kind in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme: dark) {{ {rules}}}"


def laid_out(text: str, kind: Literal["svg", "png", "plain"]) -> bytes:
    """Return DOT laid out by graphviz-pure.

    Raises:
        PictureError: see `svg`.
    """
    return _ran(text, f"-T{kind}")


def _ran(text: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            [_program(), "-q", *arguments],
            input=text.encode(), capture_output=True, check=False, timeout=LAYOUT_LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PictureError(f"{ENGINE} was not done after {LAYOUT_LIMIT_S:g} s; draw a part of it") from None
    if done.returncode != 0:
        raise PictureError(f"{ENGINE} refused it: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


_Lengths = Mapping[tuple[str, str], float]
"""How long each text is in the layout, by what it says and where it stands."""


def _measured(text: str) -> tuple[str, _Lengths]:
    """Return DOT as SVG, and how long its texts are: SVG has no word for that, so JSON is asked as well."""
    with tempfile.TemporaryDirectory(prefix="bluegreen-") as name:
        files = [Path(name, f"picture.{kind}") for kind in ("svg", "json")]
        _ran(text, *(part for file in files for part in (f"-T{file.suffix[1:]}", "-o", str(file))))
        plain, told = (file.read_text(encoding="utf-8") for file in files)
    layout: Any = json.loads(told)
    parts = (layout, *layout.get("objects", ()), *layout.get("edges", ()))
    texts = (one for part in parts for one in part.get("_ldraw_", ()) if one["op"] == "T")
    return plain, {(one["text"], f"{one['pt'][0]:.2f}"): one["width"] for one in texts}


def _fitted(found: re.Match[str], lengths: _Lengths) -> str:
    """A text keeps the length of the layout, whichever fonts whoever looks at it has."""
    length = lengths.get((unescape(found[3]).replace("\xa0", " "), f"{float(found[2]):.2f}"))
    if length is None or not found[3].strip():
        return found[0]
    fit = f' textLength="{length:.2f}" lengthAdjust="spacingAndGlyphs"'
    return f"{found[1]}{fit}>{found[3]}</text>"


def _program() -> str:
    """Return the path of the program: that of the distribution, whatever the search path has of that name."""
    try:
        files = distribution(ENGINE).files or ()
    except PackageNotFoundError:
        raise PictureError(MISSING) from None
    found = next((file for file in files if file.name in (ENGINE, f"{ENGINE}.exe")), None)
    if found is None:
        raise PictureError(MISSING)
    return str(found.locate())
