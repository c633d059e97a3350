"""Subjects: what a state machine of Hypothesis drives, and holds against a table.

>>> from bluegreen.machines.strategy.events import AuthSuccess
>>> subject = ManagerSubject()
>>> subject.send(AuthSuccess("blue", 0))
>>> subject.state
'Stable'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import product
from typing import Any, Protocol

import attrs

from bluegreen.config.settings import Settings
from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import ENDINGS, QueryStarted
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.manager import StrategyManager
from bluegreen.table.table import Table
from bluegreen.table.transitions_facade import Machine
from bluegreen.types import Scope, Strategy, Ticket
from bluegreen.verify.exploration.single_table import is_news, news


@attrs.frozen
class Did:
    """One event that a subject took, and where it was after it; where it was before, if the event is forbidden."""

    event: Any
    state: str
    context: Any


class Subject(Protocol):
    """What is held against a table: anything that takes events, and tells where it is.

    It may also have `close()`, which is called at the end of each run, and be a `Proposer`.
    """

    @property
    def state(self) -> str:
        """The name of the state in which it is."""
        ...

    @property
    def context(self) -> Any:
        """Its extended state; compared with `==`."""
        ...

    def send(self, event: Any) -> Iterable[Did] | None:
        """Take an event. Return nothing if it took this one and no other; else all that it took, in order.

        A subject between which and the table there is a wire, or a clock, may take others than it was sent.

        Raises:
            EventForbidden: it refuses the event, and nothing has changed.
        """
        ...


class Proposer(Subject, Protocol):
    """A subject that says what may be sent to it."""

    def events(self, state: str, context: Any) -> Iterable[Any]:
        """Return what may be sent: at least one event; the same ones in the same order if nothing else differs."""
        ...


class MachineSubject:
    """A `Machine` over any table.

    Args:
        table: the machine's rows.
        context: the extended state to start with.
    """

    def __init__(self, table: Table[Any, Any, Any], context: Any = None) -> None:
        self._machine: Any = Machine(table, context)

    @property
    def state(self) -> str:
        """The name of the machine's state."""
        state: str = self._machine.state
        return state

    @property
    def context(self) -> Any:
        """The machine's extended state."""
        return self._machine.context

    def send(self, event: Any) -> None:
        """Send it to the machine.

        Raises:
            EventForbidden: the machine refuses it.
        """
        self._machine.send(event)


class ManagerSubject:
    """A `StrategyManager`, to which each event is sent as it is.

    Args:
        settings: the scope's settings.
        open_limit: how many queries are open at a time, at most.
    """

    def __init__(self, settings: Settings | None = None, open_limit: int = 3) -> None:
        self.manager = StrategyManager(
            Scope("subject.example:443"), settings or Settings(), clock=lambda: 0.0
        )
        self._open_limit = open_limit

    @property
    def state(self) -> str:
        """The name of the manager's state."""
        return self.manager.state

    @property
    def context(self) -> Context:
        """The manager's context."""
        return self.manager.snapshot.context

    def send(self, event: Any) -> Iterable[Did] | None:
        """Send it to the manager.

        Raises:
            EventForbidden: the manager refuses it.
        """
        with suppress(StrategyUnavailable):  # it led to Failed: that is committed
            self.manager.send(event)
        return None

    def events(self, _: str, context: Context) -> Iterator[Any]:
        """Yield news, fresh and stale, of both strategies; ends of queries that are open, and of others; the rest."""
        held = self.manager.open_tickets
        versions = (context.state_version, context.state_version - 1)
        for cls in STRATEGY.events:
            if is_news(cls):
                said = product(versions, Strategy)
                yield from (event for version, strategy in said for event in news(cls, strategy, version))
            elif cls in ENDINGS:
                yield from (cls(ticket) for ticket in _ending(held, context))
            elif cls is not QueryStarted:
                yield cls()
            elif len(held) < self._open_limit:
                yield from (QueryStarted(alone) for alone in (None, *Strategy))


def _ending(held: tuple[Ticket, ...], context: Context) -> Iterator[Ticket]:
    """The oldest open ticket of each strategy, or one that nobody holds."""
    for strategy in Strategy:
        nobodys = Ticket(0, strategy, context.state_version)
        yield next((ticket for ticket in held if ticket.strategy is strategy), nobodys)
