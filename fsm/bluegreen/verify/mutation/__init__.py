"""Mutants of a table: wrong in one place each, to see whether a property notices."""
