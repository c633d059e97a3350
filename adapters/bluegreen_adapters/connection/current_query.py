"""Which query a thread or task works with, so that its log lines can say so. Nothing is kept unless somebody has asked.

A context variable holds it. A query that has ended, or was let go, is no longer found through it, wherever that
happened: nobody has to take anything back.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from bluegreen.types import Scope, Ticket


class Work:
    """The query that one thread or task works with.

    Args:
        scope: of the query.
        query: the query; none: it has not begun yet.
    """

    __slots__ = ("query", "scope", "shared")

    def __init__(self, scope: Scope | None = None, query: Any = None) -> None:
        self.scope = scope
        self.query = None if query is None else weakref.ref(query)
        self.shared = False


_work: ContextVar[Work | None] = ContextVar("bluegreen_work", default=None)
_asked = False


def ask() -> None:
    """Keep from now on which query runs where."""
    global _asked  # noqa: PLW0603  once for the process
    _asked = True


def is_asked() -> bool:
    """Whether anybody has asked."""
    return _asked


def works_with(scope: Scope, query: Any = None) -> None:
    """Take note that the thread or task that calls works with `query`, which has not begun yet if it is none.

    What a task of its own does on behalf of another one is seen by that one if it has begun with `shared`.
    """
    work = _work.get()
    known = None if work is None or work.query is None else work.query()
    if known is not None and known is query:
        return  # most calls are of the query that was called before
    if work is not None and work.shared:
        work.scope, work.query = scope, None if query is None else weakref.ref(query)
    else:
        _work.set(Work(scope, query))


def note_begin(query: Any) -> None:
    """Take note of the query that has begun for the call that `works_with` was told of."""
    work = _work.get()
    if work is not None and work.query is None and work.scope is not None:
        work.query = weakref.ref(query)


@contextmanager
def shared() -> Generator[None, None, None]:
    """Share with all tasks that begin within this context which query runs, and forget it when it is left."""
    work = Work()
    work.shared = True
    token = _work.set(work)
    try:
        yield
    finally:
        work.query = None
        _work.reset(token)


def current() -> tuple[Scope, Ticket] | None:
    """Return the scope and the ticket of the query that this thread or task works with, if it is open."""
    work = _work.get()
    if work is None or work.scope is None or work.query is None:
        return None
    query = work.query()
    ticket = None if query is None or query.over else query.ticket
    return None if ticket is None else (work.scope, ticket)
