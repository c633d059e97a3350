"""The strategy machine and the machines of a few queries, under an environment that may say anything.

Each machine is numbered: its reachable (state, context) pairs are listed once, by `step` over its table, and the
composition moves numbers. The versions of contexts are set aside, and news is told apart as fresh or stale: a
version never comes back, so news that is stale stays stale. The environment is the most general one: it reports
any event, fresh or stale, about any strategy, at any time. Whatever holds here holds in each cluster.

    >>> composition = Composition.of(queries=1)
    >>> first = composition.initial
    >>> sorted({mover for mover, _, _ in composition.moves(first)})
    ['detection', 'environment', 'query 0']

Source: spec, sections 2, 3 and 7.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import attrs

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden
from bluegreen.machines.query import (
    PREPARED,
    QUERY,
    STARTED,
    EndTicket,
    Errored,
    Executed,
    QueryContext,
    Replay,
)
from bluegreen.machines.strategy.context import DETECTING, PENDING, Context
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    Error456,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.machines.strategy.timers import TIMERS
from bluegreen.table.step import step
from bluegreen.table.table import Table
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.single_table import is_news, news
from bluegreen.verify.exploration.version_abstraction import rebase
from bluegreen.verify.properties.base import STRATEGY_ALWAYS, Taken, broken

ENDS: Final = (QueryCompleted, QueryCancelled, QueryFailed)
ANSWERS: Final = (AuthSuccess, AuthFailure, Error456)
"""What a detection hears: while Detecting, it is the detection that reports it, and nobody else."""

IDLE: Final = ("environment", "timers")
"""Movers that may do nothing, for ever: nothing that follows sooner or later may depend on them."""

ALONE_AT: Final = 1 + len(ENDS) * len(Strategy)
"""Number of the first input that begins a query alone: after its start and its ends; for blue, then for green."""

UNRUN: Final = (STARTED, PREPARED)
"""The states of a query in which it has not been executed, unless its event says that it may have been."""

_TIMED: Final = frozenset(type(timer.event) for timer in TIMERS)
_FRESH: Final = 0
_STALE: Final = -1


class Input(NamedTuple):
    """What a machine may be given: who gives it, its name for readers, and the event."""

    mover: str
    label: str
    event: Any


class Move(NamedTuple):
    """What an input does at a numbered state: where it leads, and the effects."""

    target: int
    effects: tuple[Any, ...]


@attrs.frozen
class Numbered:
    """A machine as numbers.

    Args:
        states: (state, context) by number.
        inputs: what it may be given, by number.
        moves: for each state the move of each input; none: it is forbidden.
    """

    states: tuple[tuple[str, Any], ...]
    inputs: tuple[Input, ...]
    moves: tuple[tuple[Move | None, ...], ...]

    @classmethod
    def of(
        cls, table: Table[Any, Any, Any], firsts: Sequence[Any], inputs: Sequence[Input], most: int
    ) -> Numbered:
        """Number what can be reached from the initial state with each of the contexts `firsts`.

        Args:
            most: open tickets at which no further query starts.
        """
        states = [(table.initial, context) for context in firsts]
        number: dict[Hashable, int] = {state: index for index, state in enumerate(states)}
        moves: list[tuple[Move | None, ...]] = []
        for state, context in states:  # it grows
            row: list[Move | None] = []
            for given in inputs:
                taken = _step(table, state, context, given.event, most)
                if taken is None:
                    row.append(None)
                    continue
                after = (taken.state, normal(taken.context))
                if after not in number:
                    number[after] = len(states)
                    states.append(after)
                row.append(Move(number[after], taken.effects))
            moves.append(tuple(row))
        return cls(tuple(states), tuple(inputs), tuple(moves))


def _step(table: Table[Any, Any, Any], state: str, context: Any, event: Any, most: int) -> Any:
    if isinstance(event, QueryStarted) and context.open_blue + context.open_green >= most:
        return None
    if isinstance(event, ENDS) and not context.open_on(event.ticket.strategy):
        return None
    try:
        return step(table, state, context, event)
    except EventForbidden:
        return None


def normal(context: Any) -> Any:
    """Return a context without its version, since news is fresh or stale, which is said with the news; and with the
    counts of every explored context."""
    return attrs.evolve(rebase(context), state_version=0) if isinstance(context, Context) else context


def strategy_inputs() -> tuple[Input, ...]:
    """Return what the strategy machine may be given: the start of a query first, then its ends."""
    said = [Input("queries", "query_started", QueryStarted())]
    said += [
        Input("queries", f"{cls.name}_{strategy}", cls(Ticket(1, strategy, _FRESH)))
        for cls in ENDS
        for strategy in Strategy
    ]
    said += [Input("queries", f"query_started_alone_{one}", QueryStarted(one)) for one in Strategy]
    for cls in STRATEGY.events:
        if cls is QueryStarted or cls in ENDS:
            continue
        if is_news(cls):
            said += [
                Input("environment", f"{cls.name}_{strategy}_{_of_one(event)}{word}", event)
                for strategy in Strategy
                for word, version in (("fresh", _FRESH), ("stale", _STALE))
                for event in news(cls, strategy, version)
            ]
        else:
            said.append(Input("timers" if cls in _TIMED else "environment", cls.name, cls()))
    return tuple(said)


def _of_one(event: Any) -> str:
    return "of_one_" if getattr(event, "served_since", False) else ""


def query_inputs() -> tuple[Input, ...]:
    """Return what a query machine may be given: the samples of its table, with one id."""
    return tuple(
        Input("queries", _spelled(event), attrs.evolve(event, **_one_id(event))) for event in QUERY.samples
    )


def _one_id(event: Any) -> dict[str, str]:
    return {"query_id": "q"} if hasattr(event, "query_id") else {}


def _spelled(event: Any) -> str:
    values = [str(value) for name, value in attrs.asdict(event).items() if name != "query_id"]
    return "_".join([event.name, *values]).lower()


def may_run(event: Any) -> bool:
    """Whether the statement of a query that was not executed before may have been, after this event of it."""
    return isinstance(event, Executed) or (isinstance(event, Errored) and event.doubt in ("execute", "gone"))


class Slot(NamedTuple):
    """Where a query may be.

    Args:
        query: number of its state; -1: there is no query.
        strategy: what its ticket says; none: it has no ticket, and waits for one to begin anew.
        ran: whether its statement may have been executed.
    """

    query: int
    strategy: Strategy | None
    ran: bool


NOBODY: Final = Slot(-1, None, False)


class World(NamedTuple):
    """One state of the composition: the number of the strategy machine's state, and the slots."""

    machine: int
    slots: tuple[Slot, ...]


Moved = tuple[str, str, World]
"""Who moves, what it does, and where that leads."""


@attrs.frozen
class Composition:
    """One strategy machine and so many queries at a time. Make it with `of`."""

    strategy: Numbered
    query: Numbered
    queries: int
    table: Table[Any, Any, Any] = STRATEGY
    query_table: Table[Any, Any, Any] = QUERY

    @classmethod
    def of(
        cls,
        queries: int = 2,
        *,
        table: Table[Any, Any, Any] = STRATEGY,
        query_table: Table[Any, Any, Any] = QUERY,
        settings: Settings | None = None,
    ) -> Composition:
        """Compose two tables.

        Args:
            queries: how many there are at a time.
            table, query_table: the machines; by default the two that the runtime uses.
            settings: the scope's settings.
        """
        settings = settings or Settings()
        first = normal(Context.initial(settings))
        ticket = Ticket(1, Strategy.BLUE, _FRESH)
        asked = [QueryContext(ticket, reads, settings.replay) for reads in (False, True)]
        return cls(
            Numbered.of(table, [first], strategy_inputs(), queries),
            Numbered.of(query_table, asked, query_inputs(), queries),
            queries,
            table,
            query_table,
        )

    @property
    def initial(self) -> World:
        """Nothing is known and nothing runs."""
        return World(0, (NOBODY,) * self.queries)

    def moves(self, world: World) -> Iterator[Moved]:
        """Yield each move that changes something."""
        detecting = self.strategy.states[world.machine][0] == DETECTING
        for given, move in zip(self.strategy.inputs, self.strategy.moves[world.machine], strict=True):
            if given.mover != "queries" and move is not None and move.target != world.machine:
                mover = "detection" if detecting and isinstance(given.event, ANSWERS) else given.mover
                yield mover, given.label, world._replace(machine=move.target)
        for index, slot in enumerate(world.slots):
            for label, after in self._of_slot(world, slot):
                yield f"query {index}", label, self._with(world, index, *after)

    def _of_slot(self, world: World, slot: Slot) -> Iterator[tuple[str, tuple[int, Slot]]]:
        if slot.strategy is None:
            if slot != NOBODY:
                yield "give_up", (world.machine, NOBODY)
            for where, machine, strategy in self._routes(world.machine):
                if slot != NOBODY:
                    yield f"begin_anew{where}", (machine, slot._replace(strategy=strategy))
                else:
                    for number, word in enumerate(("write", "read")):
                        yield f"start_{word}{where}", (machine, Slot(number, strategy, False))
            return
        for given, move in zip(self.query.inputs, self.query.moves[slot.query], strict=True):
            if move is not None and move.target != slot.query:
                yield given.label, self._after(world.machine, slot, given.event, move)

    def _routes(self, machine: int) -> Iterator[tuple[str, int, Strategy]]:
        """Yield where a query can begin: what is added to the name of that, the machine after it, the strategy."""
        moves = self.strategy.moves[machine]
        for number, where in (
            (0, ""),
            *((ALONE_AT + at, f"_alone_{one}") for at, one in enumerate(Strategy)),
        ):
            move = moves[number]
            if move is not None and (number == 0 or not self.leaves(machine, move)):
                yield where, move.target, move.effects[0].strategy

    def leaves(self, machine: int, move: Move) -> bool:
        """Whether a query that begins alone does so on the stack that a transition leaves.

        It is left out: such queries keep the transition pending as long as they overlap, which ends with
        `drain_timed_out`, and a timer may do nothing here. `users_world` has them.
        """
        state, context = self.strategy.states[machine]
        return state == PENDING and move.effects[0].strategy is context.active

    def _after(self, machine: int, slot: Slot, event: Any, move: Move) -> tuple[int, Slot]:
        assert slot.strategy is not None
        ran = slot.ran or self._runs(slot, event)
        strategy: Strategy | None = slot.strategy
        for effect in move.effects:
            if isinstance(effect, EndTicket):
                ended = self._ended(machine, type(effect.event), slot.strategy)
                machine, strategy = ended, None
        again = any(isinstance(effect, Replay) for effect in move.effects)
        over = strategy is None and not again
        return machine, NOBODY if over else Slot(move.target, strategy, ran)

    def _runs(self, slot: Slot, event: Any) -> bool:
        state, context = self.query.states[slot.query]
        return may_run(event) and state in UNRUN and not context.reads

    def _ended(self, machine: int, cls: type[Any], strategy: Strategy) -> int:
        index = 1 + ENDS.index(cls) * len(Strategy) + list(Strategy).index(strategy)
        move = self.strategy.moves[machine][index]
        assert move is not None, f"a ticket on {strategy} ends that is not open"
        return move.target

    def broken(self, world: World) -> Iterator[str]:
        """Yield the ids of what does not hold in `world`, or of what a move of a query breaks: I5 and I11. What
        concerns the strategy machine alone is asked of its numbered steps, once for each."""
        context = self.strategy.states[world.machine][1]
        for strategy in Strategy:
            if context.open_on(strategy) != sum(slot.strategy is strategy for slot in world.slots):
                yield "I5"
        for slot in world.slots:
            if slot.ran and slot.strategy is not None:
                for given, move in zip(self.query.inputs, self.query.moves[slot.query], strict=True):
                    if move is not None and move.target != slot.query and self._runs(slot, given.event):
                        yield "I11"

    def broken_steps(self) -> Iterator[tuple[str, Taken]]:
        """Yield each step of the strategy machine that breaks a property of steps, with the property's id."""
        for (state, context), moves in zip(self.strategy.states, self.strategy.moves, strict=True):
            for given, move in zip(self.strategy.inputs, moves, strict=True):
                if move is not None:
                    taken = Taken(state, context, given.event, step(self.table, state, context, given.event))
                    yield from ((one.name.split()[0], taken) for one in broken(STRATEGY_ALWAYS, taken))

    @staticmethod
    def _with(world: World, index: int, machine: int, slot: Slot) -> World:
        slots = (*world.slots[:index], slot, *world.slots[index + 1 :])
        return World(machine, slots)
