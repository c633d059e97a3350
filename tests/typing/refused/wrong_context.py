"""A context of another machine, or one with values that it cannot have."""

from __future__ import annotations

from bluegreen.config.settings import Settings
from bluegreen.machines.query import QUERY, Cleared, QueryContext
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import Reset
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import step
from bluegreen.table.transitions_facade import Machine
from bluegreen.types import Ticket

query = QueryContext(Ticket(1, "blue", 0))
step(STRATEGY, "Stable", query, Reset())  # mypy: misc; pyright: reportArgumentType
step(STRATEGY, "Stable", None, Reset())  # mypy: misc; pyright: reportArgumentType
step(QUERY, "Started", Context(), Cleared())  # mypy: misc; pyright: reportArgumentType
Machine(STRATEGY, query)  # mypy: misc; pyright: reportArgumentType
STRATEGY.row("Stable", query, Reset())  # mypy: arg-type; pyright: reportArgumentType
Context(active="blue")  # mypy: arg-type; pyright: reportArgumentType
Context(state_version="7")  # mypy: arg-type; pyright: reportArgumentType
Context(settings=None)  # mypy: arg-type; pyright: reportArgumentType
Context().state_version = 8  # mypy: misc; pyright: reportAttributeAccessIssue
Settings(retry_attempt=3)  # mypy: call-arg; pyright: reportCallIssue
