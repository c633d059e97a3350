"""Which news on its way to a process can still make a difference, so that worlds that differ in other news are one.

News that is on its way was sent under the present version, and is stale as soon as that moves. So it matters only
if it changes something in a context that can be reached before; and two pieces that do the same in each of these
are one. Both are found by `step`, over whichever table is given.

    >>> from bluegreen.machines.strategy.events import StrategyAnnounced
    >>> from bluegreen.machines.strategy.table import Context
    >>> from selfcheck.model.process import Machines
    >>> hearing = Hearing(Machines(), (), tickets=1)
    >>> active = Context(active=BOTH[0], state_version=1, verified=True)
    >>> [str(one.strategy) for one in hearing.plain("Stable", active, [StrategyAnnounced(s, 1) for s in BOTH])]
    ['green']
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bluegreen.machines.strategy.context import BOTH
from bluegreen.machines.strategy.events import (
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
)
from bluegreen.table.step import Step
from bluegreen.types import Ticket
from bluegreen.verify.exploration.single_table import news
from bluegreen.verify.exploration.version_abstraction import NOW, rebase
from selfcheck.model.actions import NEWS, by_name
from selfcheck.model.process import Machines

Node = tuple[str, Any]
"""A state of the strategy machine, and a context."""


class Hearing:
    """News of one strategy machine, and what it can do there.

    Args:
        machines: take the steps.
        events: what may happen besides news and queries.
        tickets: how many may be open.
    """

    def __init__(self, machines: Machines, events: Iterable[Any], tickets: int) -> None:
        self._machines, self._tickets = machines, tickets
        self._news = [event for cls in NEWS for strategy in BOTH for event in news(cls, strategy, NOW)]
        ends = [
            cls(Ticket(1, one, NOW)) for cls in (QueryCompleted, QueryCancelled, QueryFailed) for one in BOTH
        ]
        self._events = [*self._news, *ends, *events, Reset(), *(QueryStarted(one) for one in (None, *BOTH))]
        self._plain: dict[Node, dict[Any, Any]] = {}

    def plain(self, state: str, context: Any, news: Iterable[Any]) -> tuple[Any, ...]:
        """Return the news that stands for `news`, sorted."""
        node = state, rebase(context)
        if node not in self._plain:
            self._plain[node] = self._alike(node)
        kept = {self._plain[node].get(one, one) for one in news} - {None}
        return tuple(sorted(kept, key=by_name))

    def _alike(self, node: Node) -> dict[Any, Any]:
        """Return for each piece of news the one that stands for it, or none if it can do nothing."""
        contexts = self._before_it_is_stale(*node)
        found: dict[Any, Any] = {}
        first: dict[Any, Any] = {}
        for one in self._news:
            does = tuple(self._does(node[0], context, one) for context in contexts)
            found[one] = first.setdefault(does, one) if any(does) else None
        return found

    def _does(self, state: str, context: Any, event: Any) -> Any:
        """Return what the event does there, or none if that is nothing."""
        taken = self._step(state, context, event)
        if taken is None:
            return None
        effects = tuple(str(effect) for effect in taken.effects if type(effect).__name__ != "Audit")
        after = taken.state, rebase(taken.context)
        return (after, effects) if after != (state, context) or effects else None

    def _before_it_is_stale(self, state: str, context: Any) -> list[Any]:
        """Return the contexts that can be reached without a new version."""
        found = {context: None}
        waiting = [context]
        for before in waiting:  # it grows
            for event in self._events:
                taken = self._step(state, before, event)
                if (
                    taken is None
                    or taken.state != state
                    or taken.context.state_version != before.state_version
                ):
                    continue
                after = rebase(taken.context)
                if after not in found:
                    found[after] = None
                    waiting.append(after)
        return waiting

    def _step(self, state: str, context: Any, event: Any) -> Step | None:
        if isinstance(event, QueryStarted) and context.open_blue + context.open_green >= self._tickets:
            return None
        taken = self._machines.take(self._machines.strategy, state, context, event)
        return taken if isinstance(taken, Step) else None
