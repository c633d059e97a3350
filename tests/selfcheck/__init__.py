"""Verification of the shipped machines: models, searches, mutants and interleavings. Not in the wheel.

`python -m selfcheck` is its command line; `make verify` runs all of it.
"""
