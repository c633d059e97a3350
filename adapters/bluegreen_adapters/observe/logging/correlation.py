"""Correlation: the application's own log lines say which query they belong to.

A line that a thread or task logs while a query of it is open has the query's scope, state version, number and
strategy. If it has several, it is the one that it has called last. Add one of these where lines are formatted:

    handler.addFilter(QueryFilter())                                   # logging: record.bluegreen_query, ...
    structlog.configure(processors=[query_fields(), ...])              # structlog: the same names

Threads need nothing more. A driver for asyncio may speak to its channel in tasks of its own, as that of e6data does,
and what these know does not reach the task that awaits them; so there a piece of work is marked:

>>> import asyncio
>>> async def job():
...     with correlated():
...         return fields()
>>> asyncio.run(job())
{}
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from bluegreen_adapters.connection import current_query

NAMES: Final = ("bluegreen_scope", "bluegreen_state_version", "bluegreen_query", "bluegreen_strategy")
"""The fields: of the state version the one under which the query has begun, and its number as in our own lines."""

Processor = Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]


def fields() -> dict[str, Any]:
    """Return the fields of the query that this thread or task works with; none if there is no open one."""
    found = current_query.current()
    if found is None:
        return {}
    scope, ticket = found
    return dict(
        zip(NAMES, (str(scope), ticket.state_version, ticket.query, ticket.strategy.value), strict=True)
    )


class QueryFilter(logging.Filter):
    """Lets every record pass, with the attributes `NAMES`, which are none outside of a query.

    Add it to a handler: a filter of a logger does not see what its children log.
    """

    def __init__(self) -> None:
        super().__init__()
        current_query.ask()

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the fields on the record."""
        found = fields()
        for name in NAMES:
            setattr(record, name, found.get(name))
        return True


def query_fields() -> Processor:
    """Return a processor for structlog that adds the fields to each event of a query; a field that is there stays.

    >>> query_fields()(None, "info", {"event": "read"})
    {'event': 'read'}
    """
    current_query.ask()

    def process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in fields().items():
            event.setdefault(name, value)
        return event

    return process


@contextmanager
def correlated() -> Generator[None, None, None]:
    """Mark a piece of work of one task: what tasks that begin within it call is seen by all of them.

    So each task that has queries of its own is to have its own mark, inside. Nothing is left behind.
    """
    current_query.ask()
    with current_query.shared():
        yield
