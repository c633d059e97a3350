"""Our Machine and the stock `transitions.Machine`, filled from the same table, agree on every event.

They share the rows. What they do not share is how a row is found and how it is carried out: ours looks one up
in a compiled cell and commits a step; the stock machine asks the conditions one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY, Executed, Prepared, QueryContext, QueryEvent
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import (
    EVENTS,
    AuthSuccess,
    Error456,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    StrategyEvent,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import Step
from bluegreen.table.table import Table
from bluegreen.table.transitions_facade import Machine
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.single_table import news
from support.stock import Model, accepts, stock_machine
from support.strategies import (
    ENDS,
    NEWS,
    query_situations,
    scope_settings,
    situations,
)

SCRIPTS = 2000
LONGEST = 60

Move = tuple[type[Any], Strategy, int, int | None, bool]
"""Class of the event, the strategy that it is about, by how many versions it is late, which of the state's usual
events takes its place, if one does (without that, few scripts would have several tickets), and whether it concerns
one connection alone."""

moves: st.SearchStrategy[Move] = st.sampled_from(
    list(product(EVENTS, Strategy, (0, 0, 0, 0, 1, 2), (None, None, None, 0, 1), (False, False, True)))
)
"""One choice for a whole move: Hypothesis spends most of the time on choices."""

USUAL: Mapping[str, tuple[type[Any], type[Any]]] = {
    "Detecting": (AuthSuccess, Error456),
    "Stable": (QueryStarted, QueryStarted),
    "PendingTransition": (QueryStarted, QueryCompleted),
    "Failed": (QueryCancelled, QueryFailed),
}


def scripts_of(move: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Scripts of every length up to the longest: a plain list would seldom be longer than ten."""
    return st.integers(1, LONGEST).flatmap(lambda length: st.lists(move, min_size=length, max_size=length))


def aimed(move: Move, state: str, context: Context) -> StrategyEvent:
    """Turn a move into an event: mostly with the current version, mostly for a ticket that is open."""
    cls, strategy, age, usual, of_one = move
    if usual is not None:
        cls = USUAL[state][usual]
    if cls in ENDS:
        if age == 0 and context.open_on(strategy) == 0:
            strategy = strategy.other
        return cls(Ticket(1, strategy, context.state_version))  # type: ignore[no-any-return]
    if cls is QueryStarted:
        return QueryStarted(strategy if of_one else None)
    if cls not in NEWS:
        return cls()  # type: ignore[no-any-return]
    variants: list[StrategyEvent] = list(news(cls, strategy, context.state_version - age))
    return variants[-1 if of_one else 0]


QueryMove = tuple[QueryEvent, bool]
"""An event, and whether the usual next one takes its place: without that, few queries would be executed."""

query_moves: st.SearchStrategy[QueryMove] = st.sampled_from(list(product(QUERY.samples, (True, False))))

NEXT: Mapping[str, QueryEvent] = {"Started": Prepared("q-1"), "Prepared": Executed()}


def onward(move: QueryMove, state: str, _: QueryContext) -> QueryEvent:
    """Turn a move into an event."""
    event, usual = move
    return NEXT.get(state, event) if usual else event


beginnings = st.builds(lambda chosen: (STRATEGY.initial, Context.initial(chosen)), scope_settings)
query_beginnings = st.builds(
    lambda reads, replay: (QUERY.initial, QueryContext(Ticket(1, "blue", 0), reads=reads, replay=replay)),
    st.booleans(),
    st.sampled_from(["never", "reads"]),
)
"""Half of the scripts begin at the beginning, the others anywhere."""


class Pair:
    """Both machines for one table. They are built once: a script only sets their models back."""

    def __init__(self, table: Table[Any, Any, Any], context: Any) -> None:
        self.table = table
        self.ours = Machine(table, context, on_step=self._count)
        self.theirs = Model(context)
        self.stock = stock_machine(table, self.theirs)
        self.scripts = self.events = self.refused = self.longest = self.tried = 0
        self.fired: Counter[str] = Counter()

    def _count(self, _: Any, __: Any, taken: Step) -> None:
        self.fired[taken.row.name] += 1

    def begin(self, state: str, context: Any) -> None:
        """Set both models to where a script begins."""
        for machine, model in ((self.ours, self.ours), (self.stock, self.theirs)):
            machine.set_state(state, model)
            model.context = context

    def send(self, event: Any) -> None:
        """Send the event to both machines, and compare them."""
        state, context = self.ours.state, self.ours.context
        try:
            self.ours.send(event)
            accepted = True
        except EventForbidden:
            accepted = False
            self.refused += 1
            self.fired[self.table.row(state, context, event).name] += 1
        assert accepts(self.theirs, event) is accepted
        assert self.theirs.state == self.ours.state
        assert self.theirs.context == self.ours.context

    def play(self, script: Sequence[Any], event_of: Callable[[Any, str, Any], Any]) -> None:
        """Send the events that the script's moves stand for."""
        for move in script:
            event = event_of(move, self.ours.state, self.ours.context)
            note(f"{self.ours.state}: {event}")
            self.send(event)
        self.scripts += 1
        self.events += len(script)
        self.longest = max(self.longest, len(script))

    def try_all(self) -> None:
        """Send every sample of the table in every context of it: scripts of one event, which miss no row."""
        for state in self.table.states:
            for context in self.table.contexts:
                if self.table.holds(state.name, context):
                    for event in self.table.samples:
                        self.begin(state.name, context)
                        self.send(event)
                        self.tried += 1

    def show(self) -> None:
        """Print what was played, and check that it was enough."""
        rows = {row.name for row in self.table.rows}
        print(
            f"{self.table.name}: {self.scripts} scripts, {self.events} events in them, the longest has "
            f"{self.longest}; {self.tried} single events; {self.refused} refused; "
            f"{len(self.fired)} of {len(rows)} rows fired, the rarest {min(self.fired.values())} times"
        )
        assert self.scripts >= SCRIPTS
        assert self.longest == LONGEST
        assert rows - set(self.fired) == set()


PROFILE = settings(
    max_examples=SCRIPTS,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_the_strategy_machine_and_a_stock_machine_agree_on_every_event() -> None:
    pair = Pair(STRATEGY, Context.initial())

    @PROFILE
    @given(beginnings | situations(), scripts_of(moves))
    def agree(beginning: tuple[str, Context], script: list[Move]) -> None:
        pair.begin(*beginning)
        pair.play(script, aimed)

    agree()
    pair.try_all()
    pair.show()


def test_the_query_machine_and_a_stock_machine_agree_on_every_event() -> None:
    pair = Pair(QUERY, QueryContext(Ticket(1, "blue", 0)))

    @PROFILE
    @given(query_beginnings | query_situations(), scripts_of(query_moves))
    def agree(beginning: tuple[str, QueryContext], script: list[QueryMove]) -> None:
        pair.begin(*beginning)
        pair.play(script, onward)

    agree()
    pair.try_all()
    pair.show()


def test_every_row_has_a_name_of_its_own() -> None:
    for table in (STRATEGY, QUERY):
        names = Counter(row.name for row in table.rows)
        assert [name for name, times in names.items() if times > 1] == []
