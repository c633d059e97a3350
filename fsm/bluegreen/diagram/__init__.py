"""Pictures and tables that are drawn from what the code declares, never by hand. README.md beside it tells how."""

from bluegreen.diagram.embed import BLOCKS, embedded
from bluegreen.diagram.model import Diagram, diagram_of
from bluegreen.diagram.renderers.formats import render
from bluegreen.diagram.renderers.mermaid import state_diagram

__all__ = ["BLOCKS", "Diagram", "diagram_of", "embedded", "render", "state_diagram"]
