"""Observing every manager of a process, those that are new later too.

>>> from bluegreen.runtime.registry import forget, managed
>>> from bluegreen.types import Scope
>>> found = []
>>> stop = follow_all(found.append)
>>> ticket = managed(Scope("db.example:443", "following")).start(lambda strategy, seconds_left: None)
>>> stop(); forget(Scope("db.example:443", "following"))
>>> {str(one.scope) for one in found}
{'db.example:443/following'}
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import each_manager
from bluegreen.runtime.telemetry import EventSubscriber


def follow_all(witness: EventSubscriber) -> Callable[[], None]:
    """Call `witness` with what each manager of this process tells, in the thread of whoever it happens to.

    It must be quick, and is told of managers that are new from now on too; returns what ends that.
    """
    followed: weakref.WeakKeyDictionary[StrategyManager, Callable[[], None]] = weakref.WeakKeyDictionary()

    def attach(manager: StrategyManager) -> None:
        followed[manager] = manager.observe(witness)

    detach = each_manager(attach)

    def stop() -> None:
        detach()
        for undo in tuple(followed.values()):
            undo()

    return stop
