"""Where a walk through a table may begin, and what may be sent on the way: what the explorer page is compiled from.

    >>> [one.label for one in beginnings_of(QUERY)]
    ['reads, replay reads', 'reads, replay never', 'writes, replay reads', 'writes, replay never']
    >>> beginnings_of(RETRY)[0].first
    Attempts(resends=0, renewals=0, limit=3)

Source: spec, section 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any, Final, cast

import attrs

from bluegreen.config.settings import Settings
from bluegreen.machines.query import QUERY, QueryContext
from bluegreen.machines.retry import RETRY
from bluegreen.machines.strategy.context import COUNTS, Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.rows import Declaration
from bluegreen.table.table import Table
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.single_table import TICKETS, strategy_events
from bluegreen.verify.exploration.version_abstraction import NOW, rebase
from bluegreen.verify.pytest_plugin.builtin_tables import RETRY_VERIFICATION
from bluegreen.verify.verification import Verification

MOST_TICKETS: Final = 4
"""Open tickets of a page at most: with each, there are more contexts, and the page grows."""


@attrs.frozen
class Beginning:
    """A context in which a walk begins.

    Args:
        label: how it differs from the other ones; empty if there is only one.
        verification: what may be sent, and which contexts are alike.
        first: the context as it really is, before those that are alike are put together.
        horizon: what the walk leaves out, as a sentence; empty if nothing.
        left_out: fields of the context that are not shown: contexts that differ in nothing else are put together.
    """

    label: str
    verification: Verification
    first: Any
    horizon: str = ""
    left_out: tuple[str, ...] = ()


def beginnings_of(found: object, tickets: int = TICKETS) -> tuple[Beginning, ...]:
    """Return where a walk through `found` begins; nothing if that is not known: then guards are free to choose.

    Args:
        found: a table, or a `Verification` of one.
        tickets: how many are open at a time at most, in the strategy machine.
    """
    if isinstance(found, Verification):
        return (Beginning("", found, found.context),)
    if not isinstance(found, Declaration):
        return ()
    if found is STRATEGY:
        return tuple(_strategy(tickets))
    if found is QUERY:
        return tuple(_query())
    return (Beginning("", RETRY_VERIFICATION, RETRY_VERIFICATION.context),) if found is RETRY else ()


def _strategy(tickets: int) -> Iterator[Beginning]:
    horizon = (
        f"this page goes as far as {tickets} open tickets at a time, and leaves out what timers alone look at:"
        f" {', '.join(COUNTS)}"
    )
    for commit_when, default in product(("drained", "first_safe_point"), (None, *Strategy)):
        settings = Settings(commit_when=commit_when, default_strategy=default)
        first = Context.initial(settings)
        explored = Verification(
            cast("Table[Any, Any, Any]", STRATEGY),
            rebase(first),
            partial(strategy_events, tickets=tickets),
            plain=rebase,
        )
        label = f"{commit_when}, default {default or 'none'}"
        yield Beginning(label, explored, first, horizon, COUNTS)


def _query() -> Iterator[Beginning]:
    for reads, replay in product((True, False), ("reads", "never")):
        first = QueryContext(Ticket(1, Strategy.BLUE, NOW), reads, replay)
        label = f"{'reads' if reads else 'writes'}, replay {replay}"
        yield Beginning(label, Verification(cast("Table[Any, Any, Any]", QUERY), first), first)
