"""Properties of whole clusters."""
