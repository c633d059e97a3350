"""Renderers: the model of a diagram as DOT, SVG, Mermaid, PlantUML and Markdown."""
