"""Strategy machine: which stack, blue or green, each query of a scope uses.

Start with `table`, whose rows are the specification. `events` go in, `effects` come out, and `context` is what a
scope keeps between them.
"""
