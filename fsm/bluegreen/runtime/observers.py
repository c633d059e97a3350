"""Who is told what happens in a scope: observers of steps, witnesses of everything, and the log.

Each is called in the thread in which it happened, without a lock held; what one of them raises is logged, and harms
nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from bluegreen.runtime.rate_limit import TokenBucket
from bluegreen.runtime.telemetry import EventSubscriber, Record, StepSubscriber, TelemetryEvent
from bluegreen.types import Scope

_log = logging.getLogger("bluegreen")
_BURST: Final = 100
"""How many steps of a scope are logged at once."""

_EACH_S: Final = 1.0
"""After how many seconds one more is."""

_WARNINGS: Final = 100
"""How many different warnings of a scope are logged, each once."""

Told = tuple[tuple[Callable[[Any], None]], ...]
"""Replaced as a whole, never changed, since whoever tells iterates over it."""


class ObserverRegistry:
    """Those who are told of one scope.

    Args:
        scope: the scope.
        level: the least level of what is logged; the logger's own level is the application's to set.
    """

    def __init__(self, scope: Scope, level: str) -> None:
        self._scope = scope
        self._lock = threading.Lock()
        self._lists: dict[str, Told] = {"observers": (), "followers": (), "witnesses": ()}
        self.followers: Told = ()
        self.witnesses: Told = ()
        self._logged = TokenBucket(_BURST)
        self._warned: set[str] = set()
        """Keys of the warnings that were logged; written under the lock."""
        self.least(level)

    def least(self, level: str) -> None:
        """Log what has this level, or a higher one."""
        self._least_level: int = getattr(logging, level)

    def subscribe(self, observer: StepSubscriber, *, every_step: bool) -> Callable[[], None]:
        """As `StrategyManager.subscribe`."""
        return self._add("followers" if every_step else "observers", observer)

    def observe(self, witness: EventSubscriber) -> Callable[[], None]:
        """As `StrategyManager.observe`."""
        return self._add("witnesses", witness)

    def _add(self, name: str, told: Callable[[Any], None]) -> Callable[[], None]:
        entry = (told,)  # a new object, so that one that subscribed twice is undone once
        with self._lock:
            self._lists[name] = (*self._lists[name], entry)
            self._show()

        def undo() -> None:
            with self._lock:
                self._lists[name] = tuple(other for other in self._lists[name] if other is not entry)
                self._show()

        return undo

    def _show(self) -> None:
        self.followers, self.witnesses = self._lists["followers"], self._lists["witnesses"]

    def stepped(self, record: Record) -> None:
        """Tell of a step that changed something."""
        if self.followers:
            self._tell(record, self.followers)
        if self.witnesses:
            self._tell(record, self.witnesses)

    def audited(self, record: Record) -> None:
        """Tell of a step that the table audits, and log it, unless too many were: a server brings one about with each
        answer, if it likes, and must not fill a disk with that. Who observes is told of all."""
        left_out = self._logged.use(record.at_s, _EACH_S) if self._least_level <= logging.INFO else None
        if left_out is not None:
            before, after = record.before.context, record.step.context
            self.say(
                logging.INFO, "%s: %s -> %s on %s; active %s -> %s, pending %s, version %d%s",
                self._scope, record.before.state, record.step.state, record.step.row.event.name,
                before.active, after.active, after.pending, after.state_version,
                f" ({left_out} steps before it are left out)" if left_out else "",
            )  # fmt: skip
        self._tell(record, self._lists["observers"])

    def report(self, happening: TelemetryEvent) -> None:
        """Tell of what is no step."""
        self._tell(happening, self.witnesses)

    def say(self, level: int, text: str, *facts: object) -> None:
        """Log, unless the scope is to be quieter."""
        if level >= self._least_level:
            _log.log(level, text, *facts)

    def warn_once(self, key: str, text: str, *facts: object) -> None:
        """As `StrategyManager.warn_once`."""
        with self._lock:
            # A server words what keys are made of: their number is bounded, so that neither memory nor the log grows.
            if key in self._warned or len(self._warned) >= _WARNINGS:
                return
            self._warned.add(key)
        self.say(logging.WARNING, f"%s: {text}", self._scope, *facts)

    def _tell(self, happening: TelemetryEvent, all_told: Told) -> None:
        for (told,) in all_told:
            try:
                told(happening)
            except Exception:  # noqa: BLE001  an observer's fault must not become the query's
                _log.exception("%s: an observer raised", self._scope)

    def after_fork(self) -> None:
        """In a forked child: a thread that is not here may have held the lock."""
        self._lock = threading.Lock()
