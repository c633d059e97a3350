"""Status: what this process knows of each scope, as plain values that JSON can hold.

It answers the question of an operator before a stack is torn down: who still holds a ticket on it, and since when.

>>> from bluegreen.runtime.registry import forget, managed
>>> from bluegreen.types import Scope
>>> ticket = managed(Scope("db.example:443", "status")).start(lambda strategy, seconds_left: None)
>>> found = next(one for one in status()["scopes"] if one["scope"] == "db.example:443/status")
>>> found["state"], found["new_queries_go_to"], found["tickets"][0]["strategy"]
('Stable', 'blue', 'blue')
>>> forget(Scope("db.example:443", "status"))
"""

from __future__ import annotations

import os
import socket
import time
import weakref
from typing import Any, Final, cast

from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managers
from bluegreen.types import Strategy, Ticket
from bluegreen_adapters.observe.health.checks import health, readiness

TICKETS: Final = 100
"""How many open queries of a scope are listed at most, oldest first; all of them are counted."""


def status(strategy: Strategy | None = None) -> dict[str, Any]:
    """Return what this process knows now. It holds no credential and no text of a statement.

    Args:
        strategy: list only queries that are open there.

    Returns:
        `host`, `process` and `at` (seconds since 1970), and for each scope, sorted by name, under `scopes`: its state
        and for how long, where new queries go, its health, how many queries are open on each strategy, and the oldest
        of them with their numbers, ids and ages.
    """
    found = sorted(managers(), key=lambda one: str(one.scope))
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "at": time.time(),
        "scopes": [_scope(one, strategy) for one in found],
    }


def named(strategy: str) -> Strategy | None:
    """Return the strategy that a text names; none: it is empty, and names all.

    Raises:
        UnknownStrategy: it names neither.
    """
    return Strategy.parse(strategy) if strategy else None


def _scope(manager: StrategyManager, strategy: Strategy | None) -> dict[str, Any]:
    seen, ready, context = health(manager), readiness(manager), manager.snapshot.context
    routes = "routes" in STRATEGY.state(manager.state).tags
    tickets = [one for one in manager.open_tickets if strategy in (None, one.strategy)]
    now_s, exchange = manager.now_s(), manager.exchange
    return {
        "scope": str(manager.scope),
        "state": seen.state,
        "age_s": round(seen.age_s, 3),
        "state_version": context.state_version,
        "active": _name(context.active),
        "pending": _name(context.pending),
        "new_queries_go_to": _name(context.route) if routes else None,
        "healthy": seen.ok,
        "checks": {one.check: one.reason or "ok" for one in seen.verdicts},
        "connections": ready.connections,
        "open": {one.value: context.open_on(one) for one in Strategy},
        "tickets": [_ticket(one, now_s) for one in tickets[:TICKETS]],
        "not_listed": max(len(tickets) - TICKETS, 0),
        "store": None if exchange is None else exchange.store.name,
    }


def _ticket(ticket: Ticket, now_s: float) -> dict[str, Any]:
    query = _alive(ticket.session)
    age_s = max(now_s - ticket.started_s, 0.0)
    return {
        "query": ticket.query,
        "query_id": getattr(query, "public_id", None),
        "strategy": ticket.strategy.value,
        "state_version": ticket.state_version,
        "age_s": round(age_s, 3),
        "since": time.time() - age_s,
    }


def _alive(held: Any) -> Any:
    """Return what a weak reference leads to, as long as there is something."""
    return cast(Any, held)() if isinstance(held, weakref.ref) else None


def _name(strategy: Strategy | None) -> str | None:
    return None if strategy is None else strategy.value
