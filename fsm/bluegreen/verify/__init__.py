"""Verification: properties, and what holds them against tables, runs and logs."""
