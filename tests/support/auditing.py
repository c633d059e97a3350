"""What tests of the audit need: managers whose happenings are kept, other happenings, and lines as objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import AuthSuccess, QueryCompleted
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import LossReported, RequestFailed, TelemetryEvent
from bluegreen.types import Scope, Strategy, Ticket
from bluegreen_adapters.observe.audit.format import files_in
from bluegreen_adapters.observe.audit.writer import AuditWriter

SCOPE = Scope("audited.example:443", "tests")
NOON_S = 1_795_780_800.0
"""2026-11-27T12:00:00Z."""

DAY_S = 86_400.0


def observed(scope: Scope = SCOPE, **settings: Any) -> tuple[StrategyManager, list[TelemetryEvent]]:
    """A manager on blue, and the list to which it tells what happens."""
    manager = StrategyManager(scope, Settings(**settings))
    told: list[TelemetryEvent] = []
    manager.observe(told.append)
    manager.send(AuthSuccess(Strategy.BLUE, manager.state_version))
    return manager, told


def queries(manager: StrategyManager, number: int) -> None:
    """Let so many queries start and end."""
    for _ in range(number):
        ticket = manager.try_start()
        assert ticket is not None
        manager.end(QueryCompleted(ticket))


def tell(audit: AuditWriter, told: list[TelemetryEvent]) -> None:
    """Hand over what has happened since the last time."""
    audit(tuple(told))
    told.clear()


def refused(scope: Scope = SCOPE, at_s: float = 1.0) -> RequestFailed:
    return RequestFailed(scope, at_s, Strategy.BLUE, "execute", "wrong strategy", "UNKNOWN")


def lost(query: str | None = "q-1", reason: str = "it wrote", scope: Scope = SCOPE) -> LossReported:
    return LossReported(scope, 2.0, query, Ticket(7, Strategy.BLUE, 1), reason)


def paths(folder: Path, kind: str) -> list[Path]:
    """The files of a kind, in their order."""
    return [path for name, path in files_in(folder) if name.kind == kind]


def said(folder: Path, kind: str = "changes") -> list[dict[str, Any]]:
    """The lines of a kind, but those with which files begin and end."""
    lines = [json.loads(line) for path in paths(folder, kind) for line in path.read_bytes().splitlines()]
    return [one for one in lines if one.get("audit") not in ("begun", "closed")]
