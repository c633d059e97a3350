"""The directory `diagrams/`: every shipped table, the composition of the machines, and a run of each kind of switch."""

from __future__ import annotations

from typing import Final

from bluegreen.diagram.generated_files import Chapter, Gallery
from bluegreen.diagram.renderers.svg import draw_svg
from selfcheck.scenarios.composition import composition_dot, composition_told
from selfcheck.scenarios.runs import SWITCHES, run
from selfcheck.scenarios.sequence import sequence

_ABOUT: Final = (
    "Everything here is drawn from the code, and a test compares each byte. After a change of a table, make it anew "
    "with `make diagrams`. How to draw other tables is told in [another page](../fsm/bluegreen/diagram/README.md)."
)
_COMPOSITION: Final = "Who sends which event, and whom each effect is for, as read off the reachable steps."
_RUNS: Final = (
    "Runs of the [world model](../tests/selfcheck/model/product.py), as its search finds them: what is said, and what "
    "the machine does with it. A stack that takes a request and never answers is not among them: in the model every "
    "request has an answer, and a silent one is the transport's time-out; the tests play it with a real server."
)


def own_gallery() -> Gallery:
    """Return what `diagrams/` holds.

    Raises:
        PictureError: a picture cannot be laid out.
    """
    return Gallery(chapters=(_composition(), _switches()), about=_ABOUT)


def _composition() -> Chapter:
    picture = "![The parts and what they say to each other](composition.svg)"
    parts = ("## The composition", _COMPOSITION, picture, "As text: [DOT](composition.dot).")
    dot = composition_dot()
    return Chapter(
        "\n\n".join(parts),
        {"composition.dot": dot, "composition.svg": draw_svg(dot, "composition", composition_told())},
    )


def _switches() -> Chapter:
    parts, made = ["## Each kind of switch", _RUNS], dict[str, str | bytes]()
    for name, switch in SWITCHES.items():
        text = sequence(run(switch))
        title = switch.title[:1].upper() + switch.title[1:]
        parts += [f"### {title}", switch.told, f"```mermaid\n{text}\n```"]
        parts += [f"As a file: [switch.{name}.mmd](switch.{name}.mmd)."]
        made[f"switch.{name}.mmd"] = text
    return Chapter("\n\n".join(parts), made)
