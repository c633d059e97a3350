"""What operators see of managers. Each module imports its own dependency; this one imports none.

- `delivery`: takes what managers tell out of the threads of queries.
- `telling`: a happening as a level, a name and fields.
- `logs`: structured log lines.
- `instruments`, `measuring`: the metrics, whatever exports them; `prometheus` does.
"""
