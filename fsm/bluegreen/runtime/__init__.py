"""Runtime of the machines: what feeds their tables with events and carries out their effects.

- `manager`: the strategy machine of one scope, for threads; `async_manager` is its face for asyncio.
- `registry`: the manager of each scope of a process.
- `sansio`: flows, which say what to do and do no I/O, and their drivers.
- `store_synchroniser`: a manager and the store that it shares with other processes.
- `observers`, `telemetry`: who is told what happens, and what there is to tell.
- `consistency`: a manager held against itself and its table.
- `rate_limit`, `host`, `fork_safety`: small parts of those.
"""
