"""What operators see of managers. Each module imports its own dependency; this one imports none.

- `delivery`: takes what managers tell out of the threads of queries; `following` observes them all.
- `telling`: a happening as a level, a name and fields.
- `logs`: structured log lines.
- `instruments`, `measuring`: the metrics, whatever exports them; `prometheus` and `otel` do.
- `traces`: spans of OpenTelemetry; `correlation`: which query a log line of the application belongs to.
- `health`: whether a scope can do its work, and is ready for a switch; `status`: what is known of each scope.
- `pages` and `grpc_health` serve them; `status_command` shows them on a terminal.
- `audit`: lines that cannot be changed unnoticed; `audit_verify`, `audit_reading`, `audit_command`: who reads them.
"""
