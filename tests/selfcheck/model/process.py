"""One process of the world model: its strategy machine, the news that is on its way to it, and its queries.

Every transition in here is taken by `bluegreen.table.step.step`, over whichever tables are given. What is
added is what a table cannot have: versions that are rebased, so that there are finitely many of them, and
numbers for everything, so that a step that was once taken is looked up.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY, EndTicket, QueryContext, Replay
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import QueryStarted
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.rows import Row
from bluegreen.table.step import Step, step
from bluegreen.table.table import Table
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.version_abstraction import NOW, rebase
from bluegreen.verify.properties.base import Taken
from selfcheck.explore.symmetry import MOST, Node, alike


@attrs.frozen(cache_hash=True)
class Query:
    """One query of a process.

    Args:
        state: state of its machine.
        context: context of its machine; the ticket's number and version are rebased.
        holds: whether its ticket is open; false while it waits to be begun again.
        executions: how often a stack has executed its statement.
        gone: whether its stack has forgotten it.
    """

    state: str
    context: QueryContext
    holds: bool = True
    executions: int = 0
    gone: bool = False

    @property
    def strategy(self) -> Strategy:
        """The strategy of its ticket."""
        return self.context.ticket.strategy


@attrs.frozen(cache_hash=True)
class Process:
    """One process at one moment.

    Args:
        state: state of the strategy machine.
        context: its context, rebased to version `NOW`.
        news: the news under the present version that is on its way, as events; whatever is on its way may
            arrive at any time, in any order, more than once, or never.
        queries: its queries, sorted, because it does not matter which is which.
    """

    state: str
    context: Context
    news: tuple[Any, ...] = ()
    queries: tuple[Query, ...] = ()


@attrs.frozen
class Fault:
    """What went wrong in a move, other than a property that does not hold.

    Args:
        name: which property it breaks.
        detail: what happened.
    """

    name: str
    detail: str


@attrs.define
class ActionTrace:
    """What happens in one move: the process so far, and what an observer is told of it.

    Attributes:
        sent: the events that were sent to the strategy machine, in order.
        taken: the steps of both machines.
        faults: what must not happen.
        published: what the shared store was told last, if anything.
    """

    state: str
    context: Context
    news: frozenset[Any]
    sent: tuple[Any, ...] = ()
    taken: tuple[Taken, ...] = ()
    faults: tuple[Fault, ...] = ()
    published: Strategy | None = None

    def copy(self) -> ActionTrace:
        """Return a trail that can go on by itself."""
        return attrs.evolve(self)

    def said(self, news: Any) -> None:
        """Something is on its way to this process, sent under the present version."""
        self.news |= {news}


class Machines:
    """The two tables, and every step of them that was taken once."""

    def __init__(
        self, strategy: Table[Any, Any, Any] = STRATEGY, query: Table[Any, Any, Any] = QUERY
    ) -> None:
        self.strategy, self.query = strategy, query
        self.rows: set[Row] = set()
        self._steps: dict[Any, Step | EventForbidden | Fault] = {}
        self._alike: dict[Node, Node] = {}

    def take(self, table: Table[Any, Any, Any], state: str, context: Any, event: Any) -> Any:
        """Return the `Step` that `event` is, the `EventForbidden`, or a `Fault` if it raises anything else."""
        key = table.name, state, context, event
        found = self._steps.get(key)
        if found is None:
            try:
                found = step(table, state, context, event)
                self.rows.add(found.row)
            except EventForbidden as refused:
                found = refused
                self.rows.add(table.row(state, context, event))
            except Exception as error:  # noqa: BLE001  a table may raise anything; that it does is the finding
                found = Fault("I10 all or nothing", f"{event.name} in {state} raises {error!r}")
            self._steps[key] = found
        return found

    def send(self, trail: ActionTrace, event: Any) -> Step | None:
        """Send an event to the strategy machine of `trail`; return the step, or none if it was not accepted."""
        found = self.take(self.strategy, trail.state, trail.context, event)
        if not isinstance(found, Step):
            if isinstance(found, Fault):
                trail.faults += (found,)
            return None
        taken = Taken(trail.state, trail.context, event, found)
        trail.taken += (taken,)
        trail.sent += (event,)
        if found.context.state_version != trail.context.state_version:
            trail.news = frozenset()  # whatever was on its way is stale from now on
        trail.state = found.state
        trail.context = rebase(found.context)
        for effect in found.effects:
            if type(effect).__name__ == "Publish":
                trail.published = effect.strategy
        return found

    def advance(self, trail: ActionTrace, query: Query, event: Any) -> Query | None:
        """Take a step of a query's machine, and end the tickets that it ends; return the query, or none if
        it has ended."""
        found = self.take(self.query, query.state, query.context, event)
        if not isinstance(found, Step):
            detail = found.detail if isinstance(found, Fault) else str(found)
            trail.faults += (Fault("I10 all or nothing", detail),)
            return query
        trail.taken += (Taken(query.state, query.context, event, found),)
        after = attrs.evolve(query, state=found.state, context=found.context)
        for effect in found.effects:
            if isinstance(effect, EndTicket):
                if after.holds and self.send(trail, effect.event) is None:
                    trail.faults += (
                        Fault("I5 accounted", f"the end of an open ticket is refused: {effect}"),
                    )
                after = attrs.evolve(after, holds=False)
            elif isinstance(effect, Replay):
                after = attrs.evolve(after, gone=False)
        return None if self.query.state(found.state).final else self._plain(after)

    def _plain(self, query: Query) -> Query:
        """Return the query that stands for all that nobody can tell from this one."""
        ticket = query.context.ticket
        node = query.state, attrs.evolve(query.context, ticket=_ANY)
        if node not in self._alike and len(self._alike) > MOST:
            self._alike[node] = node
        if node not in self._alike:
            self._alike.update(alike(self.query, (*self._alike, node)))
        state, context = self._alike[node]
        kept = ticket if query.holds else _ANY
        executions = 0 if query.context.reads else query.executions
        return attrs.evolve(
            query, state=state, context=attrs.evolve(context, ticket=kept, reads=query.context.reads),
            executions=executions, gone=query.gone and query.holds,
        )  # fmt: skip

    def started(self, trail: ActionTrace, query: Query | None, reads: bool, replay: str) -> Query | None:
        """Give a query a ticket; return it, or none if no strategy is known."""
        taken = self.send(trail, QueryStarted())
        issued = (
            [effect for effect in taken.effects if type(effect).__name__ == "IssueTicket"] if taken else []
        )
        if not issued:
            return None
        ticket = Ticket(1, issued[0].strategy, NOW)
        if query is None:
            return Query(self.query.initial, QueryContext(ticket, reads, replay))
        return attrs.evolve(query, context=attrs.evolve(query.context, ticket=ticket), holds=True)


_ANY: Final = Ticket(1, Strategy.BLUE, NOW)


def begun(settings: Any, stored: Strategy | None, initial: str) -> Process:
    """Return a process that has just begun: it looks into the store, and tries first what stands there. What the store
    says later is a move, `Liberties.words`."""
    context = rebase(Context.initial(settings))
    if stored is not None:
        context = attrs.evolve(context, untried=(stored, stored.other))
    return Process(initial, context)
