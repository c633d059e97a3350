"""A clock that stands still until a test moves it, so that no test waits for time to pass."""

from __future__ import annotations

import threading


class FakeClock:
    """Seconds that pass when `advance` is called; safe to share between threads.

    >>> clock = FakeClock()
    >>> clock.advance(2.5)
    >>> clock() - clock.start_s
    2.5
    """

    def __init__(self, start_s: float = 1000.0) -> None:
        self.start_s = start_s
        self._now_s = start_s
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass; time never goes back."""
        assert seconds >= 0
        with self._lock:
            self._now_s += seconds
