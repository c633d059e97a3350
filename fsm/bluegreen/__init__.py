"""bluegreen: applications notice nothing while their database cluster is redeployed under them.

The names that most users need are here; the rest is in the modules.
"""

from bluegreen.config.settings import Settings
from bluegreen.errors import (
    BluegreenError,
    DetectionTimedOutError,
    EventForbidden,
    QueryLost,
    Refusal,
    SettingsError,
    StrategyUnavailable,
    TableError,
    UnknownStrategy,
)
from bluegreen.machines.query import QUERY
from bluegreen.machines.retry import RETRY
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.async_manager import AsyncStrategyManager
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managed
from bluegreen.table.step import Step, explain, may, step
from bluegreen.table.table import Fact, Guard, State, Table, events, forbid, go, ignore, stay
from bluegreen.table.transitions_facade import Machine
from bluegreen.types import Scope, Strategy, Ticket

__version__ = "0.1.0"

__all__ = [
    "QUERY",
    "RETRY",
    "STRATEGY",
    "AsyncStrategyManager",
    "BluegreenError",
    "Context",
    "DetectionTimedOutError",
    "EventForbidden",
    "Fact",
    "Guard",
    "Machine",
    "QueryLost",
    "Refusal",
    "Scope",
    "Settings",
    "SettingsError",
    "State",
    "Step",
    "Strategy",
    "StrategyManager",
    "StrategyUnavailable",
    "Table",
    "TableError",
    "Ticket",
    "UnknownStrategy",
    "events",
    "explain",
    "forbid",
    "go",
    "ignore",
    "managed",
    "may",
    "stay",
    "step",
]
