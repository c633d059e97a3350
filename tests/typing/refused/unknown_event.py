"""An event that a machine does not know, or that does not exist."""

from __future__ import annotations

from bluegreen.machines.query import QUERY, Prepared, QueryContext
from bluegreen.machines.retry import RETRY, Attempts
from bluegreen.machines.strategy import events
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import Reset
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import explain, may, step
from bluegreen.table.transitions_facade import Machine
from bluegreen.types import Ticket

query = QueryContext(Ticket(1, "blue", 0))
events.Error457("blue", 0)  # mypy: attr-defined; pyright: reportAttributeAccessIssue
step(STRATEGY, "Stable", Context(), Prepared("q-1"))  # mypy: misc; pyright: reportArgumentType
step(STRATEGY, "Stable", Context(), "reset")  # mypy: misc; pyright: reportArgumentType
step(STRATEGY, "Stable", Context(), Reset)  # mypy: misc; pyright: reportArgumentType
step(QUERY, "Started", query, Reset())  # mypy: misc; pyright: reportArgumentType
step(RETRY, "Trying", Attempts(), Reset())  # mypy: misc; pyright: reportArgumentType
may(STRATEGY, "Stable", Context(), Prepared("q-1"))  # mypy: misc; pyright: reportArgumentType
explain(STRATEGY, "Stable", Context(), Prepared("q-1"))  # mypy: misc; pyright: reportArgumentType
STRATEGY.row("Stable", Context(), Prepared("q-1"))  # mypy: arg-type; pyright: reportArgumentType
Machine(STRATEGY, Context()).send(Prepared("q-1"))  # mypy: arg-type; pyright: reportArgumentType
