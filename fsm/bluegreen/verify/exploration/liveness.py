"""Lasso search: a way to a cycle on which something that ought to follow never does.

A cycle counts only if it is weakly fair: whatever can be done all along it, under one fair name, is done on it.

    >>> turning = {0: [("", 1)], 1: [("begin", 0)]}
    >>> sorted(lasso(turning, {0}, lambda node: False))
    [0, 1]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Graph = Mapping[Any, Iterable[tuple[str, Any]]]
"""For each node its arrows: the fair name, or none, and where it leads."""


def lasso(graph: Graph, starts: Iterable[Any], ends: Callable[[Any], bool]) -> frozenset[Any]:
    """Return the nodes of a fair cycle, or of a dead end, that can be reached from `starts` without a node in
    which `ends` holds; empty if there is none."""
    inside: dict[Any, list[tuple[str, Any]]] = {}
    waiting = [node for node in starts if not ends(node)]
    while waiting:
        node = waiting.pop()
        if node not in inside:
            inside[node] = list(graph[node])
            waiting += [after for _, after in inside[node] if not ends(after)]
    for component in components(inside):
        members = frozenset(component)
        taken = {name for node in members for name, after in inside[node] if after in members}
        always = {name for name, _ in inside[component[0]]}
        for node in members:
            always &= {name for name, _ in inside[node]}
        cyclic = bool(taken)
        if not always - taken - {""} and (cyclic or not any(inside[node] for node in members)):
            return members
    return frozenset()


def components(graph: Mapping[Any, Iterable[tuple[str, Any]]]) -> Iterator[list[Any]]:
    """Yield the strongly connected components, without recursion (Tarjan's algorithm)."""
    index: dict[Any, int] = {}
    low: dict[Any, int] = {}
    stack: list[Any] = []
    on_stack: set[Any] = set()
    for root in graph:
        if root in index:
            continue
        work = [(root, iter([after for _, after in graph[root] if after in graph]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            after = next(rest, None)
            if after is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    found: list[Any] = []
                    while not found or found[-1] != node:
                        found.append(stack.pop())
                        on_stack.discard(found[-1])
                    yield found
            elif after not in index:
                index[after] = low[after] = len(index)
                stack.append(after)
                on_stack.add(after)
                work.append((after, iter([leads for _, leads in graph[after] if leads in graph])))
            elif after in on_stack:
                low[node] = min(low[node], index[after])
