"""What must follow, on one table alone: whether there is a way on which it never does.

A step calls for something, a later one brings it. Of a table alone nobody knows which events come; what is
assumed is weak fairness: an event that may be sent from some time on is sent again and again.

Source: spec, section 7, "eventually".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from bluegreen.table.rows import Row
from bluegreen.verify.exploration.liveness import lasso
from bluegreen.verify.properties.base import Eventually, Taken


class SentEvent(NamedTuple):
    """One event that was sent: the row that it took, the step unless it is forbidden, and where it leads."""

    event: Any
    row: Row
    taken: Taken | None
    after: Any


Arrows = Mapping[Any, list[SentEvent]]
"""Every event that was sent, by the situation in which it was."""

_THERE: Final = object()
"""Where every step leads that brings what is called for: the search goes no further there."""


def never_followed(
    arrows: Arrows, asked: Eventually, way: Callable[[Any], tuple[Any, ...]]
) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """Return events that lead to where `asked` is called for, and events that then may come for ever without it.

    Args:
        arrows: everything that can happen.
        way: returns the events that lead to a situation.

    The second part is empty if nothing can come any more. None: what is called for always follows.

    >>> from bluegreen.verify.exploration.single_table import explore
    >>> from bluegreen.machines.retry import RETRY, Attempts
    >>> begun = Eventually("E", "whatever begins ends", lambda taken: True, lambda taken: False, of="step")
    >>> explore(RETRY, Attempts(), lambda *_: RETRY.samples, (begun,)).violations[0].name
    'E'
    """
    calls: dict[Any, tuple[Any, SentEvent]] = {}
    graph: dict[Any, list[tuple[str, Any]]] = {_THERE: []}
    waiting: dict[Any, list[SentEvent]] = {}
    for node, sent in arrows.items():
        graph[node], waiting[node] = [], []
        for arrow in sent:
            if arrow.taken is None:
                continue
            if asked.then(arrow.taken):
                graph[node].append((arrow.event.name, _THERE))
                continue
            graph[node].append((arrow.event.name, arrow.after))
            waiting[node].append(arrow)
            if asked.when(arrow.taken):
                calls.setdefault(arrow.after, (node, arrow))
    cycle = lasso(graph, calls, lambda node: node is _THERE)
    if not cycle:
        return None
    path = min((_path(waiting, start, cycle.__contains__) for start in calls), key=_length)
    assert path is not None
    start, on, entry = path
    origin, called = calls[start]
    events = (*way(origin), called.event, *(one.event for one in on))
    return events, tuple(one.event for one in _around(waiting, graph, cycle, entry))


_Path = tuple[Any, tuple[SentEvent, ...], Any]
"""Where it begins, what is sent, and where it ends."""


def _length(path: _Path | None) -> float:
    return float("inf") if path is None else len(path[1])


def _path(arrows: Arrows, start: Any, wanted: Callable[[Any], bool]) -> _Path | None:
    """Return a shortest path from `start` to where `wanted` holds."""
    if wanted(start):
        return start, (), start
    level: list[tuple[Any, tuple[SentEvent, ...]]] = [(start, ())]
    seen = {start}
    for node, path in level:  # it grows
        for arrow in arrows[node]:
            if arrow.after not in seen:
                seen.add(arrow.after)
                if wanted(arrow.after):
                    return start, (*path, arrow), arrow.after
                level.append((arrow.after, (*path, arrow)))
    return None


def _around(
    arrows: Arrows, graph: Mapping[Any, Iterable[tuple[str, Any]]], cycle: frozenset[Any], entry: Any
) -> tuple[SentEvent, ...]:
    """Return a way round the cycle, back to `entry`, on which each event is sent that may be sent all along it."""
    inside = {node: [arrow for arrow in arrows[node] if arrow.after in cycle] for node in cycle}
    due = {name for name, _ in graph[entry]}
    for node in cycle:
        due &= {name for name, _ in graph[node]}
    tour: list[SentEvent] = []
    here = entry
    while due or not tour:
        wanted = next(
            (
                (path, arrow)
                for node in sorted(cycle, key=repr)
                for arrow in inside[node]
                if not due or arrow.event.name in due
                for path in (_path(inside, here, lambda other, node=node: other == node),)  # type: ignore[misc]
                if path is not None
            ),
            None,
        )
        if wanted is None:  # nothing can be sent: it is a dead end
            return ()
        path, arrow = wanted
        tour += [*path[1], arrow]
        here = arrow.after
        due -= {one.event.name for one in tour}
    back = _path(inside, here, lambda other: other == entry)
    return (*tour, *(back[1] if back is not None else ()))
