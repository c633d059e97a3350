"""What holds for every test. Fixtures and fakes are in support/."""

from __future__ import annotations

from hypothesis import settings

# No deadline: a busy machine is not a bug. A failing example is printed as a line that reproduces it.
settings.register_profile("bluegreen", deadline=None, print_blob=True)
settings.load_profile("bluegreen")
