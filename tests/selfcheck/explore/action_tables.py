"""The parts of a process, numbered, and what can happen to them: as tables of numbers, for a search of arrays.

A process is a strategy machine and its queries, and a query touches nothing but the machine: it sends it events,
and asks where to begin. So what a query can do is found once for each phase of the cluster and each *posture* of the
machine: its state, where it routes, whom it would authenticate with. What that does to the machine is found once
for each machine and each *script*, the events that are sent in one move. The moves are those of `moves.Moves`, the
steps those of `bluegreen.table.step.step`.

    >>> from selfcheck.model.actions import ModelOptions
    >>> parts = Parts(ModelOptions(events=(), stale=False), tickets=1)
    >>> first = parts.begun(None)
    >>> [(one.text, parts.after(first, one.script)) for one in parts.doings(("steady", BLUE), parts.posture[first], 0)]
    [('authenticate on blue: auth_success', 1)]
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, NamedTuple, TypeVar

import attrs

from bluegreen.config.settings import Settings
from bluegreen.machines.query import QUERY, QueryContext
from bluegreen.machines.strategy.events import QueryCancelled, QueryCompleted, QueryFailed, QueryStarted
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import Step
from bluegreen.table.table import Table
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.version_abstraction import NOW, rebase
from bluegreen.verify.properties.base import Taken
from selfcheck.explore.message_reduction import Hearing
from selfcheck.model.actions import EVENTS, Action, ModelOptions, Moves
from selfcheck.model.cluster import Phase
from selfcheck.model.process import ActionTrace, Fault, Machines, Process, Query, begun

T = TypeVar("T", bound=Hashable)
BLUE: Final = Strategy.BLUE
NOBODY: Final = 0
"""The number of the query that is not there."""
ENDS: Final = (QueryCompleted, QueryCancelled, QueryFailed)
REFUSED: Final = -1
"""What `Parts.after` answers if the machine does not accept the script: then nobody can send it."""


class Numbers(Generic[T]):
    """Things, numbered in the order in which they were first seen."""

    def __init__(self) -> None:
        self.things: list[T] = []
        self._numbers: dict[T, int] = {}

    def __getitem__(self, thing: T) -> int:
        number = self._numbers.setdefault(thing, len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number

    def __len__(self) -> int:
        return len(self.things)


class Machine(NamedTuple):
    """A strategy machine at one moment, with the news that is on its way to it."""

    state: str
    context: Any
    news: tuple[Any, ...]


class Posture(NamedTuple):
    """All that a move looks at in a machine: its state, where a query begins, and whom a connection would
    authenticate with, in words and for whom."""

    state: str
    route: Strategy | None
    target: Strategy | None


class Doing(NamedTuple):
    """What can happen in one move.

    Args:
        text, fair: as in `moves.Move`.
        script: number of what is sent to the machine.
        query: number of the query after it; `NOBODY` if there is none.
        move: the move, with the steps of the query's machine; its machine stands still.
    """

    text: str
    fair: str
    script: int
    query: int
    move: Action | None


@attrs.define
class _Script(ActionTrace):
    """A trail on which nothing is sent: it is written down."""

    actions: tuple[tuple[str, Any], ...] = ()

    def said(self, news: Any) -> None:
        self.actions += (("said", news),)


class _Scribe(Machines):
    """Machines of which only the query's takes steps; where a query begins is given."""

    route: Strategy | None = None

    def send(self, trail: ActionTrace, event: Any) -> Step | None:
        assert isinstance(trail, _Script)
        trail.actions += (("sent", event),)
        return _ACCEPTED

    def started(self, trail: ActionTrace, query: Query | None, reads: bool, replay: str) -> Query | None:
        if self.route is None:
            return None
        self.send(trail, QueryStarted())
        ticket = Ticket(1, self.route, NOW)
        if query is None:
            return Query(self.query.initial, QueryContext(ticket, reads, replay))
        return attrs.evolve(query, context=attrs.evolve(query.context, ticket=ticket), holds=True)


_ACCEPTED: Final = Step("", None, (), STRATEGY.rows[0])


def _nobody(_: Any, __: Any) -> None:
    """Nobody wants to know."""


class Parts:
    """Machines and queries by number, and what can happen to them.

    Args:
        liberties: what may happen.
        tickets: queries in flight at a time.
        settings: the scope's settings.
        strategy: the table of the strategy machine, or one in its place.
        query: the table of the query machine, or one in its place.
        took: called once with each step of either machine, the machine or query and the script or doing it is of.
        fault: called with what must not happen, likewise.
    """

    def __init__(
        self,
        liberties: ModelOptions,
        tickets: int,
        *,
        settings: Settings | None = None,
        strategy: Table[Any, Any, Any] = STRATEGY,
        query: Table[Any, Any, Any] = QUERY,
        took: Callable[[Taken, Any], None] | None = None,
        fault: Callable[[Fault, Any], None] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.steps = Machines(strategy, query)
        self._scribe = _Scribe(strategy, query)
        self._moves = Moves(self._scribe, liberties, _Script)
        self._hearing = Hearing(self.steps, [EVENTS[name] for name in liberties.events], tickets)
        self._took, self._fault = took or _nobody, fault or _nobody
        self.machines: Numbers[Machine] = Numbers()
        self.queries: Numbers[Query | None] = Numbers()
        self.queries[None]  # its number is NOBODY
        self.scripts: Numbers[tuple[tuple[str, Any], ...]] = Numbers()
        self.postures: Numbers[Posture] = Numbers()
        self.posture: list[int] = []
        self.arrivals: list[tuple[int, ...]] = []
        """By machine: the scripts of the news that is on its way to it."""
        self._examples: list[Machine] = []

    def machine(self, state: str, context: Any, news: Any = ()) -> int:
        """Return the number of a machine, of all that are alike."""
        context = rebase(context)
        machine = Machine(state, context, self._hearing.plain(state, context, news))
        number = self.machines[machine]
        if number == len(self.posture):
            posture = self._posture(machine)
            if self.postures[posture] == len(self._examples):
                self._examples.append(machine)
            self.posture.append(self.postures[posture])
            self.arrivals.append(tuple(self.scripts[(("sent", one),)] for one in machine.news))
        return number

    def _posture(self, machine: Machine) -> Posture:
        trail = ActionTrace(machine.state, machine.context, frozenset())
        placed = self.steps.started(trail, None, False, "reads")
        target, _ = self._moves.target(Process(machine.state, machine.context))
        return Posture(machine.state, None if placed is None else placed.strategy, target)

    def begun(self, stored: Strategy | None) -> int:
        """Return the machine of a process that has just begun, and finds `stored` in the store."""
        process = begun(self.settings, stored, self.steps.strategy.initial)
        return self.machine(process.state, process.context)

    def gone(self, query: int, strategies: tuple[Strategy, ...]) -> int:
        """Return the query after these stacks have forgotten what they ran."""
        one = self.queries.things[query]
        if one is None or not one.holds or one.strategy not in strategies:
            return query
        return self.queries[attrs.evolve(one, gone=True)]

    def doings(self, conduct: tuple[str, Strategy], posture: int, query: int) -> list[Doing]:
        """Return what can happen in a phase: to a machine and to a query that may begin, or to this query."""
        example = self._examples[posture]
        self._scribe.route = self.postures.things[posture].route
        one = self.queries.things[query]
        process = Process(example.state, example.context, (), () if one is None else (one,))
        phase = Phase(*conduct)
        if one is None:
            moves = self._moves.of(phase, process, room=True)
        else:
            moves = self._moves.query(phase, process, one)
        found: list[Doing] = []
        for move in moves:
            script = move.trail
            assert isinstance(script, _Script)
            (after,) = move.after.queries or (None,)
            doing = Doing(move.text, move.fair, self.scripts[script.actions], self.queries[after], move)
            found.append(doing)
            for taken in script.taken:
                self._took(taken, (conduct, posture, query, doing))
            for fault in script.faults:
                self._fault(fault, (conduct, posture, query, doing))
        return found

    def after(self, machine: int, script: int) -> int:
        """Return the machine after a script, or `REFUSED`."""
        state, context, news = self.machines.things[machine]
        actions = self.scripts.things[script]
        trail = ActionTrace(state, context, frozenset(news))
        for word, event in actions:
            if word == "said":
                trail.said(event)
            elif self.steps.send(trail, event) is None and isinstance(event, ENDS):
                trail.faults += (Fault("I5 accounted", f"the end of an open ticket is refused: {event}"),)
        for taken in trail.taken:
            self._took(taken, (machine, script))
        for fault in trail.faults:
            self._fault(fault, (machine, script))
        if len(actions) == 1 and actions[0][0] == "sent" and not (trail.taken or trail.faults):
            return REFUSED
        return self.machine(trail.state, trail.context, trail.news)
