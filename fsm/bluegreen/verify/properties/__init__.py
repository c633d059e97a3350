"""Properties: what always holds, what sometimes happens, what follows, and those of the shipped machines."""
