"""Searches of those models, and the checks of what they find."""
