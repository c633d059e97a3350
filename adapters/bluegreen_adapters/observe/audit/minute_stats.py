"""Performance as a time series: what happened in each minute of each scope, as one line."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable
from typing import Final

from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managers
from bluegreen.runtime.telemetry import (
    DetectionEnded,
    LockWaited,
    Record,
    RequestFailed,
    SessionOpened,
    TelemetryEvent,
)
from bluegreen.types import Scope
from bluegreen_adapters.observe.audit.format import stamp

MINUTE_S: Final = 60.0
_TIMES: Final[tuple[str, ...]] = ("detection", "lock_wait", "session")
_COUNTS: Final[tuple[str, ...]] = ("queries", "requests", "request_failures", "wrong_strategy")


class _Minute:
    """What happened in a scope: counts, and of each kind of time how many, their sum and the longest."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(_COUNTS, 0)
        self.times: dict[str, tuple[int, float, float]] = dict.fromkeys(_TIMES, (0, 0.0, 0.0))

    def took(self, name: str, took_s: float) -> None:
        number, total_s, longest_s = self.times[name]
        self.times[name] = (number + 1, total_s + took_s, max(longest_s, took_s))


class Performance:
    """Adds up what happens, and makes a line of each minute in which something did.

    A minute's lines are made when something happens after it, or at the end.

    Args:
        known: the managers whose requests are counted.
    """

    def __init__(self, known: Callable[[], Iterable[StrategyManager]] = managers) -> None:
        self._known = known
        self._scopes: dict[Scope, _Minute] = {}
        self._began_s: float | None = None
        self._asked: weakref.WeakKeyDictionary[StrategyManager, int] = weakref.WeakKeyDictionary()
        self._scope: Scope | None = None
        self._counts: dict[str, int] = {}
        for manager in known():
            self._asked[manager] = manager.requests

    def started(self, happenings: Iterable[TelemetryEvent]) -> None:
        """Count the queries that have started."""
        for happening in happenings:
            if type(happening) is Record and happening.ticket is not None:
                if happening.scope is not self._scope:  # almost never
                    self._scope, self._counts = happening.scope, self._of(happening.scope).counts
                self._counts["queries"] += 1

    def take(self, happening: TelemetryEvent) -> None:
        """Count what is no step."""
        match happening:
            case DetectionEnded(took_s=took_s):
                self._of(happening.scope).took("detection", took_s)
            case LockWaited(waited_s=waited_s):
                self._of(happening.scope).took("lock_wait", waited_s)
            case SessionOpened(took_s=took_s):
                self._of(happening.scope).took("session", took_s)
            case RequestFailed(fault=fault):
                counts = self._of(happening.scope).counts
                counts["request_failures"] += 1
                counts["wrong_strategy"] += fault == "wrong strategy"
            case _:
                pass

    def due(self, now_s: float) -> list[str]:
        """Return the lines of the minute that is over, or none: it still goes on."""
        over = self._began_s is not None and not 0 <= now_s - self._began_s < MINUTE_S
        lines = self.rest() if over else []
        if self._began_s is None:
            self._began_s = now_s // MINUTE_S * MINUTE_S
        return lines

    def rest(self) -> list[str]:
        """Return the lines of what was counted, and begin anew."""
        if self._began_s is None:
            return []
        for manager in self._known():
            asked, before = manager.requests, self._asked.get(manager, 0)
            if asked > before:
                self._of(manager.scope).counts["requests"] += asked - before
            self._asked[manager] = asked
        minute = stamp(self._began_s)
        lines = [_line(scope, minute, one) for scope, one in self._scopes.items()]
        self._scopes, self._scope, self._began_s = {}, None, None
        return lines

    def _of(self, scope: Scope) -> _Minute:
        found = self._scopes.get(scope)
        if found is None:
            found = self._scopes[scope] = _Minute()
        return found


def _line(scope: Scope, minute: str, one: _Minute) -> str:
    fields: dict[str, object] = {"audit": "performance", "scope": str(scope), "minute": minute, **one.counts}
    for name, (number, total_s, longest_s) in one.times.items():
        fields |= {
            f"{name}s": number,
            f"{name}_sum_s": round(total_s, 6),
            f"{name}_max_s": round(longest_s, 6),
        }
    return json.dumps(fields, separators=(",", ":"))[:-1]
