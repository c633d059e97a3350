"""bluegreen: applications notice nothing while their database cluster is redeployed under them.

The names that most users need are here; the rest is in the modules.
"""

from bluegreen.aio import AsyncStrategyManager
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
from bluegreen.machine import Machine, Step, explain, may, step
from bluegreen.manager import StrategyManager
from bluegreen.query import QUERY
from bluegreen.recovery import POLICY, RECOVERY
from bluegreen.registry import managed
from bluegreen.settings import Settings
from bluegreen.strategy import STRATEGY, Context
from bluegreen.table import Fact, Guard, State, Table, events, forbid, go, ignore, stay
from bluegreen.vocabulary import Scope, Strategy, Ticket

__version__ = "0.1.0"

__all__ = [
    "POLICY",
    "QUERY",
    "RECOVERY",
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
