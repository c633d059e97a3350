"""Explore one table by itself: any machine, with every event that its user can think of, at any time.

>>> from bluegreen.machines.retry import RETRY, Attempts
>>> found = explore(RETRY, Attempts(), lambda state, context: RETRY.samples)
>>> found.complete, found.violations, found.missed
(True, (), ())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY, QueryContext, QueryEvent
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import ENDINGS, QueryStarted
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import step
from bluegreen.table.table import Table
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.counterexample import as_list, describe_event
from bluegreen.verify.exploration.leads_to import SentEvent, never_followed
from bluegreen.verify.exploration.version_abstraction import NOW, rebase
from bluegreen.verify.properties.base import Always, Eventually, Property, Sometimes, Taken

EventsOf = Callable[[str, Any], Iterable[Any]]
"""(state, context) -> what may be sent there."""


@attrs.frozen
class BrokenProperty:
    """A property that does not hold, and the shortest sequence of events that shows it.

    Args:
        events: they end with the step of which it does not hold.
        cycle: for what never follows: the events that may come after them again and again, for ever.
    """

    name: str
    detail: str
    events: tuple[Any, ...]
    cycle: tuple[Any, ...] = ()


@attrs.frozen
class ExplorationResult:
    """What was found out about one table.

    Args:
        states: pairs of state and context.
        steps: steps that were taken; what is forbidden is none.
        complete: whether everything was seen.
        violations: what does not hold.
        missed: names of rows that no event has taken.
        unreached: names of what ought to happen sometimes and did not.
        arrows: every event that was sent, by where it was sent, if they are kept.
    """

    states: int
    steps: int
    complete: bool
    violations: tuple[BrokenProperty, ...]
    missed: tuple[str, ...]
    unreached: tuple[str, ...] = ()
    arrows: Mapping[Any, list[SentEvent]] = attrs.field(
        factory=dict[Any, "list[SentEvent]"], repr=False, eq=False
    )

    @property
    def ok(self) -> bool:
        """Whether everything was seen, and nothing is wrong with it. A row that was missed is not wrong."""
        return self.complete and not self.violations and not self.unreached

    def __str__(self) -> str:
        whole = "all of them" if self.complete else "NOT all of them: a bound or a violation ended it"
        lines = [f"{self.states} states, {self.steps} steps, {whole}"]
        for one in self.violations:
            lines.append(as_list((one.name, one.detail), one.events))
            if one.cycle:
                lines.append(f"  and then, for ever: {', '.join(map(describe_event, one.cycle))}")
        lines += [f"never happens: {name}" for name in self.unreached]
        lines += [f"no run takes: {name}" for name in self.missed if self.complete]
        return "\n".join(lines)


def explore(
    table: Table[Any, Any, Any],
    context: Any,
    events_of: EventsOf,
    properties: Iterable[Property] = (),
    *,
    plain: Callable[[Any], Any] = lambda context: context,
    states: int = 200_000,
    first_only: bool = False,
    keep: bool = False,
) -> ExplorationResult:
    """Take every step that can be taken from the initial state, nearest first.

    Args:
        context: the first context.
        events_of: what may be sent; must be finite.
        properties: what is checked of each step; what must follow is asked if everything was seen, and both
            sides of it look at a step. An event that may be sent all along is sent at some time.
        plain: returns the context that stands for all those from which the same can follow.
        states: how many are kept at most.
        first_only: stop at the first property that is broken.
        keep: whether every event that was sent is kept.
    """
    asked: list[Property] = [*properties]
    always = [one for one in asked if isinstance(one, Always)]
    missing: list[Sometimes] = [one for one in asked if isinstance(one, Sometimes)]
    leads = [one for one in asked if isinstance(one, Eventually)]
    first = table.initial, plain(context)
    cause: dict[Any, tuple[Any, Any] | None] = {first: None}
    arrows: dict[Any, list[SentEvent]] = {}
    waiting, found, rows, steps = [first], dict[str, BrokenProperty](), set[int](), 0
    for node in waiting:  # it grows
        sent = arrows.setdefault(node, []) if keep or leads else None
        for event in events_of(*node):
            row = None
            try:
                row = table.row(*node, event)
                rows.add(id(row))
                taken = Taken(*node, event, step(table, *node, event))
            except EventForbidden:
                if sent is not None and row is not None:
                    sent.append(SentEvent(event, row, None, node))
                continue
            except Exception as error:  # noqa: BLE001  a table may raise anything; that it does is the finding
                name = "I10 all or nothing"
                found.setdefault(name, BrokenProperty(name, repr(error), (*_way(cause, node), event)))
                continue
            steps += 1
            for one in always:
                if one.name not in found and not one.holds(taken):
                    found[one.name] = BrokenProperty(one.name, one.text, (*_way(cause, node), event))
            missing = [one for one in missing if not one.happens(taken)]
            after = taken.step.state, plain(taken.step.context)
            if sent is not None:
                sent.append(SentEvent(event, taken.step.row, taken, after))
            if after not in cause:
                cause[after] = node, event
                waiting.append(after)
        if len(waiting) > states or (first_only and found):
            break
    complete = len(waiting) <= states and not (first_only and found)
    for lead in leads if complete else ():
        if (shown := never_followed(arrows, lead, lambda node: _way(cause, node))) is not None:
            found[lead.name] = BrokenProperty(lead.name, lead.text, *shown)
    missed = tuple(row.name for row in table.rows if id(row) not in rows)
    unreached = tuple(one.name for one in missing)
    return ExplorationResult(len(cause), steps, complete, tuple(found.values()), missed, unreached, arrows)


def _way(cause: dict[Any, tuple[Any, Any] | None], node: Any) -> tuple[Any, ...]:
    events: list[Any] = []
    while (before := cause[node]) is not None:
        node, event = before
        events.append(event)
    return tuple(reversed(events))


TICKETS: Final = 2
"""Open tickets at a time, when the strategy machine is explored alone."""


def news(cls: type[Any], strategy: Strategy, version: int) -> Iterator[Any]:
    """Yield the events of a class that say something about a strategy: a refusal both of one connection and of all."""
    yield cls(strategy, version)
    if any(field.name == "served_since" for field in attrs.fields(cls)):
        yield cls(strategy, version, served_since=True)


def is_news(cls: type[Any]) -> bool:
    """Whether a class of events says something about a strategy."""
    return [field.name for field in attrs.fields(cls)][:2] == ["strategy", "state_version"]


def strategy_events(_: str, context: Context, tickets: int = TICKETS) -> Iterator[Any]:
    """Yield whatever may be sent to the strategy machine: fresh and stale news, and tickets that are open.

    Args:
        tickets: with so many open no query starts.
    """
    for cls in STRATEGY.events:
        if is_news(cls):
            yield from (
                event for one in Strategy for version in (NOW, NOW - 1) for event in news(cls, one, version)
            )
        elif cls in ENDINGS:
            yield from (cls(Ticket(1, one, NOW)) for one in Strategy)
        elif cls is not QueryStarted:
            yield cls()
        elif context.open_blue + context.open_green < tickets:
            yield from (QueryStarted(alone) for alone in (None, *Strategy))


def explore_strategy(
    table: Table[Any, Any, Any] = STRATEGY,
    properties: Iterable[Always | Sometimes] = (),
    settings: Settings | None = None,
    **options: Any,
) -> ExplorationResult:
    """Explore the strategy machine, or a table in its place."""
    first = rebase(Context.initial(settings or Settings()))
    return explore(table, first, strategy_events, properties, plain=rebase, **options)


def query_events(_: str, __: QueryContext) -> Iterable[QueryEvent]:
    """Return whatever may be sent to the query machine."""
    return tuple(QUERY.samples)


def explore_query(
    table: Table[Any, Any, Any] = QUERY,
    properties: Iterable[Always | Sometimes] = (),
    *,
    reads: bool = False,
    replay: str = "reads",
    **options: Any,
) -> ExplorationResult:
    """Explore the query machine, or a table in its place."""
    first = QueryContext(Ticket(1, Strategy.BLUE, NOW), reads, replay)
    return explore(table, first, query_events, properties, **options)
