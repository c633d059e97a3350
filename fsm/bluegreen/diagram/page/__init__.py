"""Explorer page: one HTML file in which a machine can be played."""
