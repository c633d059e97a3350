"""Pictures and tables that are drawn from what the code declares, never by hand."""

from bluegreen.diagram.embed import BLOCKS, embedded
from bluegreen.diagram.mermaid import state_diagram

__all__ = ["BLOCKS", "embedded", "state_diagram"]
