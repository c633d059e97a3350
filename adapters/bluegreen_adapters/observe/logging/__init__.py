"""Structured log lines, and the query that a log line of the application belongs to."""
