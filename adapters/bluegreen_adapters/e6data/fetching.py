"""Fetching by the connector's cursors: repeated from the beginning if a stack vanishes before any row was returned.

`fetchall` and `fetchmany` collect batches and return when they have enough rows; `fetchone` calls `fetchmany`. If the
stack vanishes in between, the connector has rows, while the application has no row: a statement that only reads can run
again. The steps:

1. The method gives the query a `RowCollection`. Its batches count as received, not as handed out.
2. If the query begins again, the collection becomes void. The next RPC of the collection raises `RowsDiscarded` instead
   of fetching from the new run. So rows of two runs never meet: their order and their batches may differ.
3. The method catches `RowsDiscarded`, puts the cursor back to where it was after `execute`, and fetches from the
   beginning.
4. Before the method returns rows, it hands the collection out. From then on the query is lost if its stack vanishes.
   If the collection is void by then, because another thread has found out, the method throws its rows away as well.

A call that returns one batch needs none of this: `fetch_batch`, and `fetchall_buffer`, which calls it. Their batches
count as handed out when they arrive, as on a plain channel.

Limit: while a cursor collects, no other caller may fetch the same query with the raw stub. The batches of such a caller
would count as the cursor's.

Source: `bluegreen.machines.query`; `Cursor` and `AsyncCursor` of connector 3.0.2.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from bluegreen_adapters.connection.query import Query
from bluegreen_adapters.e6data.errors import RowsDiscarded

RETIRE_S: Final = 10.0
"""Seconds that the connector may take to end the downloads of the old run; the same as its own default for `clear`."""

NEEDED: Final = (
    "_data",
    "_is_metadata_updated",
    "_reset_result_batch_state",
    "_result_exhausted",
    "_result_failure",
    "_retire_result_work",
)
"""Attributes that `_put_back` uses. A cursor without one of them fetches as it does without this module."""

NEEDED_ASYNC: Final = (
    "_columns",
    "_failure",
    "_reset_result_protocol",
    "_retire_prefetch",
    "_rownumber",
    "_rows",
    "_state",
)
"""Attributes that `_put_back_async` uses."""


def wrap_fetch(stock: Any, _: object) -> Any:
    """Return a fetching method of `Cursor` that fetches from the beginning if the query begins again."""

    @functools.wraps(stock)
    def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        query = _find_query(self, self.connection, NEEDED)
        if query is None:
            return stock(self, *args, **kwargs)
        return _fetch_one_run(self, query, functools.partial(stock, self, *args, **kwargs))

    return fetch


def wrap_async_fetch(stock: Any, _: object) -> Any:
    """Return a fetching method of `AsyncCursor` that fetches from the beginning if the query begins again."""

    @functools.wraps(stock)
    async def fetch(self: Any, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        query = _find_query(self, self._connection, NEEDED_ASYNC)
        if query is None:
            return await stock(self, *args, timeout=timeout, **kwargs)
        began_s = time.monotonic()

        def fetch_in_time() -> Awaitable[Any]:
            left_s = None if timeout is None else max(timeout - (time.monotonic() - began_s), 0.001)
            fetched: Awaitable[Any] = stock(self, *args, timeout=left_s, **kwargs)
            return fetched

        return await _fetch_one_run_async(self, query, fetch_in_time)

    return fetch


def _find_query(cursor: Any, connection: Any, needed: tuple[str, ...]) -> Query | None:
    """Return the query of a cursor; None: its connection is not covered, or a row was handed out already."""
    link = getattr(getattr(connection, "_channel", None), "link", None)
    if link is None:
        return None
    query: Query | None = link.bound.get(cursor.query_id)
    if query is None or not query.is_collectable or not all(hasattr(cursor, name) for name in needed):
        return None
    return query


def _fetch_one_run(cursor: Any, query: Query, fetch: Callable[[], Any]) -> Any:
    """Return rows that are all of one run of the query: of the last one, if it begins again meanwhile."""
    if query.is_void:  # the call before was interrupted
        _put_back(cursor)
    while True:
        collection = query.collect()
        try:
            rows = fetch()
            if query.hand_out(collection):
                return rows
            # The rows are void, but no RPC of this cursor has said so. Go on until one does: to put the cursor back
            # now would cancel a download of it that may just be beginning the query again.
            while rows:
                rows = fetch()
        except RowsDiscarded:
            pass
        finally:
            # Also after an error or an interrupt: a later call may return what the cursor still holds.
            query.hand_out(collection)
        _put_back(cursor)


def _put_back(cursor: Any) -> None:
    """Put a cursor back to where it was after `execute`."""
    cursor._retire_result_work(deadline=time.monotonic() + RETIRE_S, wait=True)
    cursor._reset_result_batch_state()
    cursor._data = None
    cursor._is_metadata_updated = False
    cursor._result_exhausted = False
    cursor._result_failure = None


async def _fetch_one_run_async(cursor: Any, query: Query, fetch: Callable[[], Awaitable[Any]]) -> Any:
    """Do what `_fetch_one_run` does, for asyncio."""
    if query.is_void:
        _put_back_async(cursor)
    while True:
        collection = query.collect()
        try:
            rows = await fetch()
            if query.hand_out(collection):
                return rows
            while rows:
                rows = await fetch()
        except RowsDiscarded:
            pass
        finally:
            query.hand_out(collection)
        _put_back_async(cursor)


def _put_back_async(cursor: Any) -> None:
    """Do what `_put_back` does, for asyncio. The cursor itself waits for old downloads when it is cleared."""
    cursor._retire_prefetch()
    cursor._reset_result_protocol()
    cursor._rows.clear()
    cursor._columns = cursor._failure = None
    cursor._rownumber = 0
    if cursor._state != "CLOSED":
        cursor._state = "ACTIVE"
