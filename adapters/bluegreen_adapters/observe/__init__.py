"""What operators see of managers. Each module imports its own dependency; this one imports none.

- `queue`: takes what managers tell out of the threads of queries; `subscribe_all` observes all managers.
- `event_fields`: a telemetry event as a level, a name and fields.
- `logging`: structured log lines, and which query a log line of the application belongs to.
- `metrics`: definitions, the collector, and exporters for Prometheus and OpenTelemetry; a dashboard and alerts.
- `tracing`: spans of OpenTelemetry.
- `health`: whether a scope can do its work, and is ready for a switch; served over HTTP and gRPC, asked by peers.
- `status`: what is known of each scope, as values, tables and a command.
- `audit`: lines that cannot be changed unnoticed, their retention, and who reads and verifies them.
"""
