"""Every format: what is committed of a small table, what a parser makes of it, what a picture has to have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import attrs
import pytest

from bluegreen import QUERY, RETRY, STRATEGY
from bluegreen.diagram.labels import LEVELS, Level
from bluegreen.diagram.model import diagram_of
from bluegreen.diagram.renderers import dot
from bluegreen.diagram.renderers import svg as svg_module
from bluegreen.diagram.renderers.formats import FORMATS, TEXTS, render
from bluegreen.diagram.renderers.mermaid import state_diagram
from bluegreen.diagram.renderers.svg import PictureError, laid_out, png, svg
from bluegreen.machines.query import QueryEffect
from bluegreen.machines.strategy.effects import StrategyEffect
from selfcheck.scenarios.composition import RECEIVERS, composition_dot, messages
from support.door import DOOR, corridor

DRAWN = Path(__file__).parent / "drawn"
ENDINGS = {
    "mmd": "mermaid", "dot": "dot", "puml": "plantuml", "md": "markdown", "json": "json", "svg": "svg", "png": "png",
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"
TABLES: tuple[Any, ...] = (STRATEGY, QUERY, RETRY, DOOR)
tables = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
levels = pytest.mark.parametrize("level", LEVELS)


@pytest.mark.parametrize("file", sorted(DRAWN.iterdir()), ids=lambda file: file.name)
def test_what_is_committed_of_a_small_table_is_what_is_drawn(file: Path) -> None:
    _, level, ending = file.name.split(".")
    form = ENDINGS[ending]
    drawn = FORMATS[form](DOOR, level)  # type: ignore[arg-type]
    data = drawn if isinstance(drawn, bytes) else f"{drawn.rstrip()}\n".encode()
    again = (
        f"PYTHONPATH=tests bluegreen diagram show support.door:DOOR --format {form} --level {level} -o {file}"
    )
    assert file.read_bytes() == data, f"changed: draw it anew with {again}"


def test_every_format_is_committed_at_each_level_it_has() -> None:
    present = {file.name for file in DRAWN.iterdir()}
    wanted = {f"door.{level}.{ending}" for ending in ENDINGS for level in LEVELS}
    assert wanted - present == {"door.full.png"}
    assert set(ENDINGS.values()) == set(FORMATS)


def test_an_unknown_format_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no format 'pdf'; accepted: mermaid, dot, "):
        render(DOOR, "pdf")


def test_json_says_what_the_model_says() -> None:
    said = json.loads(render(DOOR, "json", "full"))
    assert said == json.loads(json.dumps(attrs.asdict(diagram_of(DOOR))))
    assert {arrow["outcome"] for arrow in json.loads(render(DOOR, "json"))["arrows"]} == {"go"}


@tables
def test_mermaid_and_plantuml_say_each_transition_in_full(table: Any) -> None:
    for form, arrow in (("mermaid", "-->"), ("plantuml", "->")):
        text = render(table, form, "full")
        said = [
            line.split(" : ")[1].split(" [")[0].split(" / ")[0]
            for line in text.splitlines()
            if arrow in line and " : " in line
        ]
        events = sorted(name.strip("◊ ") for line in said for name in line.split(", "))
        assert events == sorted(one.event for one in diagram_of(table).transitions())


def test_a_label_of_mermaid_has_no_sign_that_ends_it() -> None:
    for table in TABLES:
        for line in state_diagram(table, "full").splitlines():
            label = line.partition(" : ")[2]
            assert not re.search(r'[:<>"]|;', re.sub(r"#\w+;", "", label)), line


def test_a_state_whose_name_is_a_word_of_the_language_has_another_id() -> None:
    for form in ("mermaid", "plantuml"):
        assert 'state "end" as state_2' in render(DOOR, form)


@tables
def test_markdown_has_a_line_for_each_event_and_a_column_for_each_state(table: Any) -> None:
    lines = render(table, "markdown", "full").splitlines()
    assert len(lines) == len(table.events) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.states) + 2}
    for arrow in diagram_of(table).arrows:
        assert (
            arrow.why.split(" ")[0].split("<")[0].replace("*", "\\*")
            in lines[2 + diagram_of(table).events.index(arrow.event)]
        )


# DOT, as graphviz-pure reads it.


def layout(
    text: str,
) -> tuple[dict[str, tuple[float, ...]], list[tuple[str, str, list[tuple[float, float]]]]]:
    """The nodes with centre and size, and the edges with the points of their splines, in inches."""
    nodes: dict[str, tuple[float, ...]] = {}
    edges: list[tuple[str, str, list[tuple[float, float]]]] = []
    for line in laid_out(text, "plain").decode().replace("\\\n", "").splitlines():
        words = re.findall(r'"(?:[^"\\]|\\.)*"|<(?:[^<>]|<[^<>]*>)*>|\S+', line)
        names = [word.strip('"').replace('\\"', '"') for word in words]
        if words[0] == "node":
            nodes[names[1]] = tuple(map(float, words[2:6]))
        elif words[0] == "edge":
            numbers = list(map(float, words[4 : 4 + 2 * int(words[3])]))
            edges.append((names[1], names[2], list(zip(numbers[::2], numbers[1::2], strict=True))))
    return nodes, edges


@tables
@levels
def test_graphviz_reads_every_state_and_every_arrow_of_dot(table: Any, level: Level) -> None:
    nodes, edges = layout(dot.dot(table, level))
    assert {state.name for state in table.states} <= set(nodes)
    joined = {(tail, head) for tail, head, _ in edges}
    for arrow in diagram_of(table).transitions():
        if arrow.source != arrow.target:
            labels = [name for name in nodes if name.startswith("-> ")]
            assert any(
                {(arrow.source, label), (label, arrow.target)} <= joined
                or {(arrow.target, label), (label, arrow.source)} <= joined
                for label in labels
            ), arrow.name


def points(spline: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Points on a spline of cubic Bezier curves."""
    for start in range(0, len(spline) - 1, 3):
        a, b, c, d = spline[start : start + 4]
        for number in range(21):
            t = number / 20
            parts = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            yield tuple(sum(w * p[axis] for w, p in zip(parts, (a, b, c, d), strict=True)) for axis in (0, 1))  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [*(dot.dot(table, level) for table in TABLES for level in LEVELS), composition_dot()],
    ids=lambda text: text.split("{")[0],
)
def test_no_box_and_no_label_overlaps_another_and_no_line_runs_across_one(text: str) -> None:
    nodes, edges = layout(text)
    for (one, (x, y, w, h)), (other, (u, v, a, b)) in combinations(nodes.items(), 2):
        assert abs(x - u) >= (w + a) / 2 - 0.01 or abs(y - v) >= (h + b) / 2 - 0.01, (one, other)
    for tail, head, spline in edges:
        for name, (x, y, w, h) in nodes.items():
            if name not in (tail, head):
                crossed = [
                    p for p in points(spline) if abs(p[0] - x) < w / 2 - 0.03 and abs(p[1] - y) < h / 2 - 0.03
                ]
                assert not crossed, f"the line from {tail} to {head} runs across {name}"


# Pictures.


@tables
@levels
def test_a_picture_says_in_words_what_it_shows(table: Any, level: Level) -> None:
    root = ET.fromstring(svg(table, level))
    named = {element.get("id"): element for element in root.iter() if element.get("id")}
    assert root.get("role") == "img"
    title, desc = (named[name] for name in (root.get("aria-labelledby") or "").split())
    assert (title.tag, desc.tag) == (f"{SVG}title", f"{SVG}desc")
    assert title.text == f"{table.name}: {level}"
    for state in table.states:
        assert state.name in (desc.text or "")


@tables
@levels
def test_every_text_of_a_picture_keeps_its_length_with_any_font(table: Any, level: Level) -> None:
    texts = [one for one in ET.fromstring(svg(table, level)).iter(f"{SVG}text") if (one.text or "").strip()]
    assert texts
    assert [one.text for one in texts if float(one.get("textLength") or 0) <= 0] == []
    assert {one.get("font-family") for one in texts} == {"Helvetica, Arial, sans-serif"}


def colours(text: str) -> set[str]:
    return set(re.findall(r' (?:fill|stroke)="(#\w+)"', text))


def brightness(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return math.fsum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((brightness(one), brightness(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_each_colour_of_a_picture_has_one_for_dark_pages_and_both_can_be_read() -> None:
    drawn = svg(STRATEGY, "full")
    dark = dict(re.findall(r'\[fill="(#\w+)"\] { fill: (#\w+); }', drawn))
    assert colours(drawn) <= set(dark) == set(re.findall(r'\[stroke="(#\w+)"\]', drawn))
    light = {colour: colour for colour in dark}
    for shade in (light, dark):
        for page in (shade[dot.PAPER], shade[dot.BOX]):
            assert contrast(shade[dot.INK], page) >= 7
            assert contrast(shade[dot.LINE], page) >= 4.5
        assert contrast(shade[dot.ACCENT], shade[dot.PAPER]) >= 4.5


def test_no_colour_alone_tells_a_safe_point_from_another_event() -> None:
    root = ET.fromstring(svg(STRATEGY))
    for group in root.iter(f"{SVG}g"):
        paths = [path for path in group.findall(f"{SVG}path") if path.get("stroke") == dot.ACCENT]
        assert [path.get("stroke-width") for path in paths] == ["2.2"] * len(paths)
    texts = [one.text or "" for one in root.iter(f"{SVG}text")]
    assert any(text.startswith("◊ connection_opened") for text in texts)
    assert "◊ safe point, thick line" in texts


def test_two_pictures_in_one_page_share_no_id() -> None:
    ids = [re.findall(r' id="([^"]+)"', svg(STRATEGY, level)) for level in LEVELS]
    assert not set(ids[0]) & set(ids[1])
    assert len(ids[0]) == len(set(ids[0]))


def test_a_png_is_a_png() -> None:
    assert png(DOOR).startswith(b"\x89PNG\r\n\x1a\n")


def test_what_graphviz_refuses_is_told() -> None:
    with pytest.raises(PictureError, match=r"graphviz-pure refused it: .*syntax error"):
        laid_out("digraph {", "svg")


def test_without_the_extra_it_is_said_which_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg_module, "ENGINE", "a-distribution-that-nobody-has")
    with pytest.raises(PictureError, match=re.escape('pip install "bluegreen[diagram]"')):
        svg(DOOR)


# Large tables, and the composition.


@pytest.mark.parametrize("form", [form for form in TEXTS if form != "svg"])
@levels
def test_a_table_of_two_hundred_states_is_drawn_whole(form: str, level: Level) -> None:
    large = corridor(200)
    text = render(large, form, level)
    for state in large.states:
        assert state.name in text


@pytest.mark.slow
def test_a_picture_of_two_hundred_states_has_each_of_them() -> None:
    texts = {one.text for one in ET.fromstring(svg(corridor(200))).iter(f"{SVG}text")}
    assert {state.name for state in corridor(200).states} <= texts


def test_a_layout_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg_module, "LAYOUT_LIMIT_S", 0.001)
    with pytest.raises(PictureError, match=r"was not done after 0\.001 s; draw a part of it"):
        laid_out(dot.dot(corridor(200)), "svg")


def test_each_effect_of_the_machines_has_somebody_whom_it_is_for() -> None:
    assert set(RECEIVERS) == {*get_args(StrategyEffect), *get_args(QueryEffect)}


def test_the_composition_says_every_event_and_every_effect() -> None:
    said = {name for names in messages().values() for name in names}
    assert {event.name for event in (*STRATEGY.events, *QUERY.events)} <= said
    assert {cls.__name__ for cls in RECEIVERS} - said == {"EndTicket", "Replay"}  # they are told as events
