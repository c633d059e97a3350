"""Coverage drawn on the diagram of a table."""
