"""Journals of real runs: written by a manager, and checked against the table."""
