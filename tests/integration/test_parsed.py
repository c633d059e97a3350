"""What is drawn as text is read by the programs that it is for: Mermaid, in a real browser, and PlantUML."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bluegreen.diagram.generated_files import files
from bluegreen.diagram.labels import groups
from bluegreen.diagram.model import diagram_of
from bluegreen.diagram.renderers.mermaid import state_diagram
from bluegreen.diagram.renderers.plantuml import plantuml
from bluegreen.machines.query import QUERY
from bluegreen.machines.retry import RETRY
from bluegreen.machines.strategy.events import AuthSuccess, Error456, QueryStarted
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.rows import events, forbid, go, ignore
from bluegreen.table.table import State, Table
from bluegreen.verify.exploration.counterexample import mermaid
from support.browser import Page, address_of, asks_chromium, chromium

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MERMAID = Path(sys.prefix) / "mermaid" / "mermaid.min.js"
asks_mermaid = pytest.mark.skipif(
    not MERMAID.is_file() and not os.environ.get("CI"), reason="Mermaid is not here: make mermaid"
)
asks_plantuml = pytest.mark.skipif(
    shutil.which("plantuml") is None and not os.environ.get("CI"),
    reason="not installed: plantuml (Debian package of that name)",
)
"""On a machine of CI they have to be there."""

DRAWN = {name: data.decode() for name, data in files().items() if name.endswith((".mmd", ".puml"))}
COMPARED = Path(__file__).parents[1] / "verification" / "diffs"
KINDS = {"sequenceDiagram": "sequence", "stateDiagram-v2": "stateDiagram", "flowchart": "flowchart-v2"}
"""What a text begins with, and what Mermaid calls that."""

Went, CameBack = events("went", "came_back")
ODD = Table(
    name='odd "names" <b>; #1',
    initial="A",
    states=(State("A", tags=("first, one",)), State("B")),
    events=(Went, CameBack),
    rows=(
        go("A", Went, "B", why='why; "quoted": 100% <i>sure</i> #now {or} [never]'),
        ignore("A", CameBack, why="it is there"),
        forbid("B", Went, why="`gone`: -- already -->"),
        go("B", CameBack, "A", why="back"),
    ),
)


def _texts(form: str) -> dict[str, str]:
    draw = {"mermaid": state_diagram, "plantuml": plantuml}[form]
    ending = {"mermaid": ".mmd", "plantuml": ".puml"}[form]
    found = {name: text for name, text in DRAWN.items() if name.endswith(ending)}
    for table in (STRATEGY, QUERY, RETRY, ODD):
        found |= {f"{table.name} {level}": draw(table, level) for level in ("overview", "full")}
    return found | {file.name: file.read_text("utf-8") for file in sorted(COMPARED.glob(f"*{ending}"))}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    html = tmp_path_factory.mktemp("mermaid") / "mermaid.html"
    html.write_text(f'<script src="{address_of(MERMAID)}"></script>', encoding="utf-8")
    with chromium() as browser:
        page = browser.page()
        page.open(address_of(html))
        yield page


def _read(page: Page, text: str) -> str:
    """Return the kind of diagram that Mermaid reads in a text, or its complaint."""
    return str(
        page.run(
            f"mermaid.parse({json.dumps(text)}).then((one) => one.diagramType, (error) => `refused: ${{error}}`)"
        )
    )


@asks_chromium
@asks_mermaid
@pytest.mark.parametrize("name", _texts("mermaid"))
def test_mermaid_reads_every_diagram(page: Page, name: str) -> None:
    text = _texts("mermaid")[name]
    assert _read(page, text) == KINDS[text.split()[0]]


@asks_chromium
@asks_mermaid
@pytest.mark.parametrize("table", [STRATEGY, QUERY, RETRY, ODD], ids=lambda table: table.name)
def test_mermaid_understands_each_state_and_each_arrow(page: Page, table: Table[Any, Any, Any]) -> None:
    text = state_diagram(table)
    understood = page.run(
        f"mermaid.parse({json.dumps(text)})"
        f".then(() => mermaid.mermaidAPI.getDiagramFromText({json.dumps(text)})).then((one) => ["
        "[...one.db.getStates().keys()], one.db.getRelations().map((arrow) => [arrow.id1, arrow.id2])])"
    )
    drawn = [(one.source, one.target) for one in groups(diagram_of(table).transitions(), "overview")]
    states = {state.name for state in table.states}
    assert [tuple(ends) for ends in understood[1] if set(ends) <= states] == drawn
    assert states <= set(understood[0])
    assert len(understood[1]) == len(drawn) + 1 + sum(state.final for state in table.states)


@asks_chromium
@asks_mermaid
@pytest.mark.parametrize(
    "path", [(), ("cluster: announces green; soon", "auth_success on blue (1)", "waits")]
)
def test_mermaid_reads_a_counterexample(page: Page, path: tuple[str, ...]) -> None:
    happened = (AuthSuccess("blue", 1), QueryStarted(), Error456("green", 0))
    assert _read(page, mermaid(("I6 fenced", "stale; news: nothing"), happened, path)) == "sequence"


@asks_chromium
@asks_mermaid
def test_mermaid_refuses_what_is_wrong(page: Page) -> None:
    assert _read(page, "stateDiagram-v2\n    A --> : nowhere [").startswith("refused: ")


@asks_plantuml
def test_plantuml_reads_every_diagram() -> None:
    texts = _texts("plantuml")
    said = _plantuml("".join(f"{text.rstrip()}\n" for text in texts.values()))
    assert [line for line in said if line in ("STATE", "ERROR")] == ["STATE"] * len(texts), "\n".join(said)


@asks_plantuml
def test_plantuml_refuses_what_is_wrong() -> None:
    assert "ERROR" in _plantuml("@startuml\nstate A\nA -->> >< B : x\n@enduml\n")


def _plantuml(text: str) -> list[str]:
    """Return what PlantUML says of the diagrams in a text: their kinds, or errors. Nothing is laid out."""
    done = subprocess.run(
        ["plantuml", "-syntax"], input=text, capture_output=True, text=True, check=False, timeout=120
    )
    return done.stdout.splitlines()
