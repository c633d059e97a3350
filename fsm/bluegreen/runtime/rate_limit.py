"""What somebody else can bring about as often as he likes happens so often at once, and later at a steady pace."""

from __future__ import annotations

from typing import Final

_NEVER: Final = float("-inf")


class TokenBucket:
    """A number of things that may happen at once. Each that has happened may happen again after a while.

    Args:
        burst: how many may happen at once.

    >>> allowance = TokenBucket(2)
    >>> [allowance.use(at_s, each_s=1.0) for at_s in (0.0, 0.0, 0.0, 0.5, 1.0)]
    [0, 0, None, None, 2]
    """

    __slots__ = ("_burst", "_left", "_refused", "_used_s")  # each connection has some

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._left = float(burst)
        self._used_s = _NEVER
        self._refused = 0

    def use(self, now_s: float, each_s: float) -> int | None:
        """Use it once. Return how often there was nothing left since it was used before; none: there is nothing left.

        Threads that use what is left at the same moment may both get it.

        Args:
            now_s: the time, in seconds.
            each_s: seconds after which one more may happen.
        """
        left = min(float(self._burst), self._left + (now_s - self._used_s) / each_s)
        if left < 1.0:
            self._refused += 1
            return None
        refused, self._refused = self._refused, 0
        self._left, self._used_s = left - 1.0, now_s
        return refused
