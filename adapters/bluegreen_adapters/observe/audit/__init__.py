"""Audit: chained lines that cannot be changed unnoticed, their retention, and their verification."""
