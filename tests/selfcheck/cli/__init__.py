"""Commands of `python -m selfcheck`."""
