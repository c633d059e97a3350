"""One manager per scope and process.

>>> from bluegreen.vocabulary import Scope
>>> managed(Scope("db.example:443", "sales")) is managed(Scope("db.example:443", "sales"))
True
"""

from __future__ import annotations

import os
import threading

import attrs

from bluegreen.errors import ScopeConflict
from bluegreen.manager import StrategyManager
from bluegreen.settings import Settings
from bluegreen.vocabulary import Scope

_managers: dict[Scope, StrategyManager] = {}
_lock = threading.Lock()


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
                manager = _managers[scope] = StrategyManager(scope, settings)
    if settings is not None and settings != manager.settings:
        asked, has = attrs.asdict(settings), attrs.asdict(manager.settings)
        raise ScopeConflict(scope, [name for name, value in asked.items() if has[name] != value])
    return manager


def forget(scope: Scope) -> None:
    """Drop the manager of `scope`: the next `managed` begins anew. Open tickets stay with the old one."""
    with _lock:
        _managers.pop(scope, None)


def scopes() -> tuple[Scope, ...]:
    """Return the scopes that this process manages."""
    return tuple(_managers)


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  a thread that is not here may have held it
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
