"""Health: whether a scope can do its work, as a value; and whether it is ready for a switch.

>>> from bluegreen.runtime.manager import StrategyManager
>>> from bluegreen.types import Scope
>>> manager = StrategyManager(Scope("db.example:443"))
>>> found = health(manager)
>>> found.ok, found.state, [one.check for one in found.verdicts]
(True, 'Detecting', ['availability', 'drain', 'store', 'integrity'])

No stack is asked for that, and nothing waits for longer than one step of the machine, or one look at a shared store.

Source: business logic, "Monitoring and Alerting" (health_check_monitoring) and "State Validation Rules".
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from bluegreen.machines.store_sync import SHARING
from bluegreen.machines.strategy.context import FAILED
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managers
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.connection.connection import links_of

EVERY_S: Final = 30.0
"""How often `HealthMonitor` looks, in seconds."""

CHECKS: Final = ("availability", "drain", "store", "integrity")
_log = logging.getLogger("bluegreen.observe")


@attrs.frozen
class CheckResult:
    """What one check came to; `reason` says why it does not hold, and is empty if it does."""

    check: str
    ok: bool
    reason: str = ""


@attrs.frozen
class Health:
    """The health of one scope.

    Args:
        scope: the scope.
        state: of its machine.
        age_s: for how long it has been in that state, in seconds.
        at_s: when this was found, in seconds since 1970.
        verdicts: one for each check, in the order of `CHECKS`.
    """

    scope: Scope
    state: str
    age_s: float
    at_s: float
    verdicts: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(one.ok for one in self.verdicts)

    @property
    def reason(self) -> str:
        """Why not every check holds; empty if each does."""
        return "; ".join(f"{one.check}: {one.reason}" for one in self.verdicts if not one.ok)


@attrs.frozen
class Readiness:
    """Whether a process is ready for a switch of one scope to `strategy`.

    Args:
        aware: whether new queries of this process go there already.
        connections: how many connections it has.
        warm: how many of them have a session there, or need none.
    """

    scope: Scope
    strategy: Strategy
    aware: bool
    connections: int
    warm: int

    @property
    def ready(self) -> bool:
        """Whether no query will have to wait for the switch."""
        return self.aware and self.warm == self.connections


def health(manager: StrategyManager) -> Health:
    """Look at a scope now.

    - `availability`: the machine has not found that both strategies fail.
    - `drain`: no query has stayed where new ones do not go for longer than `drain_timeout_s`.
    - `store`: the shared store answers, if there is one.
    - `integrity`: what is kept agrees with itself; `StrategyManager.repair` mends it.
    """
    now_s, wrong = manager.now_s(), _wrong(manager)
    verdicts = tuple(CheckResult(check, not wrong[check], wrong[check]) for check in CHECKS)
    return Health(manager.scope, manager.state, max(now_s - manager.since_s, 0.0), time.time(), verdicts)


def readiness(manager: StrategyManager, strategy: Strategy | None = None) -> Readiness:
    """Look whether a scope is ready for queries on `strategy`; by default where new queries go.

    If that is not known, the process is aware of nothing, and what would be tried first is looked at. What other
    processes have said in a shared store is heard first.
    """
    manager.attend()
    state, context, _ = manager.snapshot
    routes = "routes" in STRATEGY.state(state).tags
    first = context.untried[0] if context.untried else context.active or Strategy.BLUE
    route = context.route if routes else None
    asked = strategy or route or first
    connections = links_of(manager)
    warm = sum(1 for one in connections if one.sessions.ready_on(asked))
    return Readiness(manager.scope, asked, route is asked, len(connections), warm)


def _wrong(manager: StrategyManager) -> dict[str, str]:
    findings = manager.examine()
    exchange = manager.exchange
    return {
        "availability": _unavailable(manager),
        "drain": _drains(manager),
        "store": ""
        if exchange is None or "answers" in SHARING.state(exchange.state).tags
        else f"{exchange.store.name} does not answer; this process goes on without",
        "integrity": "; ".join(f"{one.check}: {one.found}" for one in findings),
    }


def _unavailable(manager: StrategyManager) -> str:
    if manager.state != FAILED:
        return ""
    answers = ", ".join(f"{one}: {reason}" for one, reason in manager.failures.items())
    return f"neither strategy can be used ({answers})" if answers else "neither strategy can be used"


def _drains(manager: StrategyManager) -> str:
    limit_s, route, now_s = manager.settings.drain_timeout_s, manager.snapshot.context.route, manager.now_s()
    late = [
        one for one in manager.open_tickets if one.strategy is not route and now_s - one.started_s > limit_s
    ]
    if route is None or not late:
        return ""
    oldest_s = now_s - min(one.started_s for one in late)
    return f"{len(late)} queries on {route.other} are older than {limit_s:g} s, the oldest {oldest_s:.0f} s"


class HealthMonitor:
    """Looks at the health of every scope of this process every 30 seconds, in a thread of its own.

    What has changed is logged. A forked child has to start its own.

    Args:
        take: called with what was found, one value for each scope, `Measures.healths` for example; what it raises is
            logged.
        every_s: how often, in seconds.

    >>> with HealthMonitor() as watch:
    ...     sick = [one.reason for one in watch.look() if not one.ok]
    >>> sick
    []
    """

    def __init__(
        self, take: Callable[[Sequence[Health]], object] = lambda _: None, *, every_s: float = EVERY_S
    ) -> None:
        if every_s <= 0:
            raise ValueError(f"every_s is {every_s!r}; accepted: more than 0 seconds")
        self._apply, self._every_s = take, every_s
        self._known: dict[Scope, tuple[bool, str]] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        reborn_in_children(self)

    def start(self) -> HealthMonitor:
        """Begin to look; once is enough."""
        if self._thread is None:
            self._over = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._over,), name="bluegreen health", daemon=True
            )
            self._thread.start()
        return self

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it, and wait for that for `timeout_s` seconds at most."""
        thread, self._thread = self._thread, None
        self._over.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def __enter__(self) -> HealthMonitor:
        return self.start()

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def look(self) -> tuple[Health, ...]:
        """Look now; return what was found."""
        found = tuple(health(one) for one in managers())
        for one in found:
            before = self._known.get(one.scope, (True, ""))
            self._known[one.scope] = (one.ok, one.reason)
            if one.ok and not before[0]:
                _log.info("%s: healthy again", one.scope)
            elif not one.ok and before[0]:
                _log.warning("%s: not healthy: %s", one.scope, one.reason)
        self._apply(found)
        return found

    def after_fork(self) -> None:
        """In a forked child: the thread is not here."""
        self._thread, self._over = None, threading.Event()

    def _run(self, over: threading.Event) -> None:
        while not over.is_set():
            try:
                self.look()
            except Exception:  # noqa: BLE001  whoever takes it must not end the thread
                _log.exception("the health was not looked at")
            over.wait(self._every_s)
