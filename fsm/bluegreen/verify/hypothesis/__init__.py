"""State machines of Hypothesis: long random runs of a real object beside its table. Needs the extra `verify`."""
