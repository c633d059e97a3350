"""What has to begin anew in a forked child: locks that a thread may have held, threads, connections.

>>> class Counter:
...     def __init__(self):
...         reborn_in_children(self)
...     def after_fork(self):
...         print("a child")
>>> one = Counter()
>>> one.after_fork()          # as a forked child does
a child
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that has state of a process."""

    def after_fork(self) -> None:
        """In a forked child: nobody else is here. Take no lock that existed before."""
        ...


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()


def reborn_in_children(thing: Forkable) -> None:
    """Call `thing.after_fork()` in each child that this process forks, as long as `thing` lives; in no order."""
    _known.add(thing)


def _after_fork_in_child() -> None:
    for thing in tuple(_known):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
