"""Mutants of the shipped machines: what explores a wrong table in the place of one of them.

Some mutants show only in a world, where several queries and a cluster are explored together.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from bluegreen.config.settings import Settings
from bluegreen.machines.query import QUERY
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.table import Table
from bluegreen.types import Strategy
from bluegreen.verify.exploration.single_table import ExplorationResult, explore_query, explore_strategy
from bluegreen.verify.mutation.operators import Mutant, MutantResult, effective_mutants, judge
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS
from selfcheck.explore.breadth_first import Bounds
from selfcheck.explore.checker import examine
from selfcheck.model.actions import ModelOptions
from selfcheck.model.product import Size, World

DROPPED: Final = {
    "active": ("active",),
    "pending": ("pending",),
    "previous": ("previous",),
    "untried": ("untried",),
    "hold-down": ("held_down",),
    "verified": ("verified",),
    "proved": ("proved",),
    "state_version": ("state_version",),
    "failures": ("failed_in_a_row",),
    "refusals": ("refused_blue", "refused_green"),
    "rollback": ("rolled_back",),
    "tickets": ("open_blue", "open_green"),
    "ticket's id": ("query_id",),
    "rows": ("rows",),
    "received": ("received",),
    "restarts": ("restarts",),
    "reruns": ("reruns",),
}
"""What a reducer can forget to change, by name, with the fields."""


TABLES: Final = (STRATEGY, QUERY)
"""The tables of which mutants are made."""


def own_mutants(table: Table[Any, Any, Any]) -> list[Mutant]:
    """Return the mutants of a shipped table, without those that change nothing at all."""
    return effective_mutants(table, DROPPED)


def judge_own(mutant: Mutant) -> MutantResult:
    """Return what becomes of one mutant of a shipped table."""
    return judge(mutant, explore_mutant, frozenset({"result"}), _explore_alone)


def explore_mutant(name: str, table: Table[Any, Any, Any]) -> MutantResult | None:
    """Explore a table in place of ours; return what noticed, or none."""
    is_strategy = table.name == STRATEGY.name
    for found in _alone(table) if is_strategy else _queries(table):
        if found.violations:
            broken = found.violations[0]
            also = tuple(one.name for one in found.violations)
            return MutantResult(name, broken.name, broken.detail, broken.events, also=also)
    return explore_in_world(name, table, first_only=True)


def _explore_alone(name: str, table: Table[Any, Any, Any]) -> MutantResult | None:
    """Explore a table that the definition refuses, by itself and under one setting."""
    found = next(iter(_alone(table) if table.name == STRATEGY.name else _queries(table)))
    broken = tuple(one.name for one in found.violations)
    return MutantResult(name, broken[0], also=broken) if broken else None


def explore_in_world(
    name: str, table: Table[Any, Any, Any], *, first_only: bool = False
) -> MutantResult | None:
    """Explore a world with a table in place of ours; return what noticed, or none."""
    found = examine(partial(_world, table), bounds=Bounds(_WORLDS), first_only=first_only)
    also = (*(one.name for one in found.violations), *found.unreached)
    if found.violations:
        first = found.violations[0]
        return MutantResult(name, first.name, first.detail, first.events, first.path, also)
    if found.unreached:
        return MutantResult(name, found.unreached[0], "it never happens", also=also)
    return None


def _alone(table: Table[Any, Any, Any]) -> Iterator[ExplorationResult]:
    for settings in (
        Settings(),
        Settings(commit_when="first_safe_point"),
        Settings(default_strategy=Strategy.GREEN),
    ):
        yield explore_strategy(table, STEPS, settings, first_only=True)


def _queries(table: Table[Any, Any, Any]) -> Iterator[ExplorationResult]:
    for reads in (False, True):
        for replay in ("reads", "never"):
            yield explore_query(table, QUERY_ALWAYS, reads=reads, replay=replay, first_only=True)


SMALL: Final = ModelOptions(events=("connection_opened",), kinds=(False,), steps=())
"""What may happen in the world in which a mutant is tried: enough for what a step alone does not show."""


_WORLDS: Final = 16_000
"""Twice as many as the world of our own tables has: a wrong one may count tickets for ever."""


def _world(table: Table[Any, Any, Any], **more: Any) -> World:
    is_strategy = table.name == STRATEGY.name
    strategy, query = (table, QUERY) if is_strategy else (STRATEGY, table)
    return World(Size(1, 1, 1), SMALL, crashes=False, strategy=strategy, query=query, **more)
