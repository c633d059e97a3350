"""Exploration of one table: every state and step that can be reached, with counterexamples."""
