"""One manager per scope and process.

>>> from bluegreen.types import Scope
>>> managed(Scope("db.example:443", "sales")) is managed(Scope("db.example:443", "sales"))
True
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import attrs

from bluegreen.config.settings import Settings
from bluegreen.errors import ScopeConflict
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope

_managers: dict[Scope, StrategyManager] = {}
_lock = threading.Lock()
Attach = Callable[[StrategyManager], object]
_attached: tuple[tuple[Attach], ...] = ()


def managed(scope: Scope, settings: Settings | None = None) -> StrategyManager:
    """Return the manager of `scope`, the same one for the whole process.

    Args:
        settings: for a scope that is new; for one that exists they must be the same, or none.

    Raises:
        ScopeConflict: the scope exists with other settings; it goes on with its own.
    """
    manager = _managers.get(scope)
    if manager is None:
        with _lock:
            manager = _managers.get(scope)
            if manager is None:
                manager = StrategyManager(scope, settings)
                for (attach,) in _attached:
                    attach(manager)
                _managers[scope] = manager
    if settings is not None and settings != manager.settings:
        asked, has = attrs.asdict(settings), attrs.asdict(manager.settings)
        raise ScopeConflict(scope, [name for name, value in asked.items() if has[name] != value])
    return manager


def forget(scope: Scope) -> None:
    """Drop the manager of `scope`: the next `managed` begins anew. Open tickets stay with the old one."""
    with _lock:
        _managers.pop(scope, None)


def each_manager(attach: Attach) -> Callable[[], None]:
    """Call `attach` for each manager of this process, and for each that is new from now on, before it is used.

    Returns:
        What ends that; managers that exist by then stay as `attach` has left them.

    >>> found = []
    >>> stop = each_manager(found.append)
    >>> managed(Scope("db.example:443", "each")) in found
    True
    >>> stop(); forget(Scope("db.example:443", "each"))
    """
    global _attached  # noqa: PLW0603  replaced as a whole, since `managed` iterates over it
    entry = (attach,)
    with _lock:
        known = tuple(_managers.values())
        _attached = (*_attached, entry)
    for manager in known:
        attach(manager)

    def stop() -> None:
        global _attached  # noqa: PLW0603
        with _lock:
            _attached = tuple(other for other in _attached if other is not entry)

    return stop


def managers() -> tuple[StrategyManager, ...]:
    """Return the managers of this process."""
    return tuple(_managers.values())


def scopes() -> tuple[Scope, ...]:
    """Return the scopes that this process manages."""
    return tuple(_managers)


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  a thread that is not here may have held it
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
