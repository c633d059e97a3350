"""Turns: what threads hand over in any order comes out in the order of its numbers.

>>> turns = Turns()
>>> turns.begin(4)
>>> turns.held[6] = "six"
>>> turns.due()
[]
>>> turns.held[5] = "five"
>>> turns.due()
['five', 'six']
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """What waits for its turn.

    Attributes:
        sequence: the number of the last one whose turn it was; none: it has not begun.
        held: what waits, by its number.
    """

    def __init__(self) -> None:
        self.sequence: int | None = None
        self.held: dict[int, T] = {}

    def begin(self, sequence: int) -> None:
        """Go on after this number; what came before it is let go of."""
        self.sequence = sequence
        self.held = {number: one for number, one in self.held.items() if number > sequence}

    def due(self, *, gaps: bool = False) -> list[T]:
        """Return those whose turn it is, and let go of them.

        Args:
            gaps: do not wait any more for the one that comes before all that are held.
        """
        found: list[T] = []
        if self.sequence is None:
            return found
        while self.held:
            one = self.held.pop(self.sequence + 1, None)
            if one is None:
                late = [number for number in self.held if number <= self.sequence]
                for number in late:  # its turn was given up
                    del self.held[number]
                if late or not gaps or not self.held:
                    return found
                self.sequence = min(self.held) - 1
                continue
            found.append(one)
            self.sequence += 1
        return found
