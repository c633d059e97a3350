"""One run of asking stacks which of them serves."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError

import attrs


@attrs.define(eq=False)
class Detection:
    """One detection: a single caller leads it, and every other caller waits for `done`.

    Args:
        deadline_s: when it is given up, by the manager's clock.
        done: resolved once it has ended; it wakes those who wait.
        finished: True once it has ended. It is set before `done` is resolved.
        decides: False if its leader had hardly any of its own time left. Silence during so short a time says nothing
            about a stack: when it is over, the leader gives up alone, and another caller goes on.
    """

    deadline_s: float
    done: Future[None] = attrs.field(factory=Future[None])
    finished: bool = False
    decides: bool = True

    def close(self) -> bool:
        """Mark it as finished; return False if it was already. The manager's lock must be held."""
        was_finished, self.finished = self.finished, True
        return not was_finished

    def finish(self) -> None:
        """End it, once or more often. Takes no lock of the manager: a generator's finalizer may come here."""
        self.finished = True
        with contextlib.suppress(InvalidStateError):
            self.done.set_result(None)
