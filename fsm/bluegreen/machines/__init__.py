"""Machines that ship, each a table with its events, context and effects.

- `strategy`: which stack a scope uses.
- `query`: one query, from its begin to its end.
- `retry`: which error is answered how, and how often.
- `store_sync`: one process and the store that it shares with others.
- `lease`: which process tries a stack for all of them.
"""
