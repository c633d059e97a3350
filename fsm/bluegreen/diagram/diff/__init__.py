"""Differences of two tables: by rows, by behaviour, as text and as a picture."""
