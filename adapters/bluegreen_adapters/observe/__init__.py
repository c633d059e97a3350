"""What operators see of it: logs, metrics, health and audit. Each module imports its own dependency."""
