"""Two clusters in one process: each has a machine of its own, and the news of one never changes the other.

>>> shared = first_shared(Clusters(key=lambda scope: scope.target))
>>> [(scope.cluster, event.name) for scope, event in shared]
[('sales', 'strategy_announced')]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

import attrs

from bluegreen.errors import EventForbidden
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import step
from bluegreen.types import Scope
from bluegreen.verify.exploration.single_table import strategy_events
from bluegreen.verify.exploration.version_abstraction import rebase
from bluegreen.verify.properties.base import Always

SCOPES: Final = (Scope("db.example:443", "sales"), Scope("db.example:443", "stock"))
"""Two clusters behind one address."""

Kept = tuple[int, ...]
"""The machines of a process, each by its number."""


@attrs.frozen
class Told:
    """One cluster's news: the machine that each cluster is given before it and after it."""

    scope: Scope
    event: Any
    before: dict[Scope, tuple[str, Context]]
    after: dict[Scope, tuple[str, Context]]


def _apart(told: Told) -> bool:
    return all(told.before[other] == told.after[other] for other in SCOPES if other != told.scope)


SCOPES_APART: Final = Always("I5 apart", "news of one cluster never changes another", _apart, "world")
"""State is per scope (spec, section 1)."""


class Clusters:
    """A space for `search`: the strategy machines of two clusters, and whatever may be sent to either.

    Args:
        key: what a process keeps a machine under; the scope itself, as `bluegreen.runtime.registry` does.
    """

    def __init__(self, key: Callable[[Scope], Hashable] = lambda scope: scope) -> None:
        keys = list(dict.fromkeys(key(scope) for scope in SCOPES))
        self._index = {scope: keys.index(key(scope)) for scope in SCOPES}
        self._count = len(keys)
        first = STRATEGY.initial, rebase(Context.initial())
        self._numbers: dict[tuple[str, Context], int] = {first: 0}
        self._nodes = [first]
        self._steps: dict[int, list[tuple[Any, int]]] = {}

    def first(self) -> tuple[Kept, ...]:
        """Return the machines of a process that has just begun."""
        return ((0,) * self._count,)

    def follow(self, state: Kept) -> list[Kept]:
        """Return what follows when one cluster has news."""
        return [after for _, _, after in self.steps(state)]

    def steps(self, state: Kept) -> Iterator[tuple[Scope, Any, Kept]]:
        """Yield each step: whose news, the event, and the machines after it."""
        for scope, index in self._index.items():
            for event, changed in self._alone(state[index]):
                yield scope, event, (*state[:index], changed, *state[index + 1 :])

    def _alone(self, number: int) -> list[tuple[Any, int]]:
        known = self._steps.get(number)
        if known is None:
            known, node = self._steps.setdefault(number, []), self._nodes[number]
            for event in strategy_events(*node):
                if event.name.startswith("query_"):
                    continue  # counting tickets makes the space larger, and says nothing more
                with contextlib.suppress(EventForbidden):
                    taken = step(STRATEGY, *node, event)
                    known.append((event, self._number((taken.state, rebase(taken.context)))))
        return known

    def _number(self, node: tuple[str, Context]) -> int:
        number = self._numbers.setdefault(node, len(self._nodes))
        if number == len(self._nodes):
            self._nodes.append(node)
        return number

    def told(self, scope: Scope, event: Any, before: Kept, after: Kept) -> Told:
        """Return what the property looks at."""
        return Told(scope, event, self._seen(before), self._seen(after))

    def _seen(self, state: Kept) -> dict[Scope, tuple[str, Context]]:
        return {scope: self._nodes[state[index]] for scope, index in self._index.items()}


def first_shared(clusters: Clusters) -> tuple[tuple[Scope, Any], ...]:
    """Return the shortest sequence of news after which a cluster has changed that had none; empty if there is none."""
    cause: dict[Kept, tuple[Kept, Scope, Any] | None] = dict.fromkeys(clusters.first())
    waiting = list(cause)
    for state in waiting:  # it grows
        for scope, event, after in clusters.steps(state):
            if not SCOPES_APART.holds(clusters.told(scope, event, state, after)):
                news: list[tuple[Scope, Any]] = [(scope, event)]
                while (before := cause[state]) is not None:
                    state, *last = before  # noqa: PLW2901  on the way back to the beginning
                    news.append((last[0], last[1]))
                return tuple(reversed(news))
            if after not in cause:
                cause[after] = state, scope, event
                waiting.append(after)
    return ()
