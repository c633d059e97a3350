"""Engine of the machines: a table of rows is checked when it is defined, and one pure function takes each step.

- `guards`: facts with finitely many values, and predicates over them.
- `rows`: what a table is written with, and how a row reads.
- `validation`: everything that is wrong with a table, all at once.
- `table`: a table whose definition has been checked.
- `step`: one step of a machine.
- `transitions_facade`: `Machine`, the face of the library `transitions` over the same table.

Nothing here has a clock, a lock, a thread, a socket or randomness.
"""
