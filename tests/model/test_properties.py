"""The named properties, on each step that can be reached with two tickets; and that each of them can be broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import ENDINGS, EVENTS, QueryStarted
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import step
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.single_table import is_news, news
from bluegreen.verify.exploration.version_abstraction import rebase
from bluegreen.verify.properties.base import STRATEGY_ALWAYS, Taken, broken


def said(context: Context) -> Iterator[Any]:
    """Yield each event that could be sent, fresh and stale, on both strategies."""
    for cls in EVENTS:
        for strategy in Strategy:
            if cls in ENDINGS:
                yield cls(Ticket(1, strategy, 0, None))
            elif is_news(cls):
                yield from news(cls, strategy, context.state_version)
                yield from news(cls, strategy, context.state_version - 1)
            elif cls is QueryStarted:
                yield from (QueryStarted(), QueryStarted(strategy))
            else:
                yield cls()


def reachable(settings: Settings, tickets: int) -> Iterator[Taken]:
    """Yield each step from each state that can be reached, the version aside."""
    first = ("Detecting", Context.initial(settings))
    waiting, seen = [first], set()
    for state, context in waiting:  # it grows
        for event in dict.fromkeys(said(context)):
            try:
                taken = Taken(state, context, event, step(STRATEGY, state, context, event))
            except EventForbidden:
                continue
            yield taken
            after = taken.step.context
            key = (taken.step.state, rebase(after))
            if key not in seen and after.open_blue + after.open_green <= tickets:
                seen.add(key)
                waiting.append((taken.step.state, after))


@pytest.mark.parametrize("commit_when", ["drained", "first_safe_point"])
@pytest.mark.parametrize("default", [None, Strategy.GREEN])
def test_every_step_that_can_be_reached_keeps_every_property(
    commit_when: Any, default: Strategy | None
) -> None:
    steps = list(reachable(Settings(commit_when=commit_when, default_strategy=default), tickets=2))
    assert len(steps) > 5_000
    assert [
        (taken, broken(STRATEGY_ALWAYS, taken)) for taken in steps if broken(STRATEGY_ALWAYS, taken)
    ] == []


def _context(**changes: Any) -> Callable[[Taken], Taken]:
    return lambda taken: attrs.evolve(
        taken, step=taken.step._replace(context=attrs.evolve(taken.step.context, **changes))
    )


@pytest.mark.parametrize(
    ("name", "event", "wrong"),
    [
        ("I1 coherent", "strategy_announced", _context(pending=None)),
        (
            "I3 routed",
            "query_started",
            lambda taken: attrs.evolve(taken, step=taken.step._replace(effects=())),
        ),
        ("I4 safe points", "strategy_announced", _context(active=None)),
        ("I5 accounted", "query_started", _context(open_blue=7)),
        ("I6 fenced", "query_started", _context(state_version=-1)),
        ("I6 versioned", "strategy_announced", _context(state_version=0)),
        ("I7 rollback", "rollback_requested", _context(active=None)),
        ("I13 scoped", "query_started", _context(untried=(Strategy.BLUE,))),
        ("I13 scoped", "persistent_failure", _context(verified=None)),
        ("I8 detection bounded", "error_456", _context(untried=tuple(Strategy))),
        (
            "I8 detection bounded",
            "auth_failure",
            lambda taken: _context(untried=taken.context.untried[::-1])(taken),
        ),
    ],
)
def test_each_property_is_broken_by_a_step_that_breaks_it(
    name: str, event: str, wrong: Callable[[Taken], Taken]
) -> None:
    found = [
        one.name
        for taken in reachable(Settings(), tickets=1)
        if taken.event.name == event
        for one in broken(STRATEGY_ALWAYS, wrong(taken))
    ]
    assert name in found
