"""Coverage of a table: which rows, guards and pairs of rows runs have taken, and which can be reached at all."""
