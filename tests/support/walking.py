"""Random walks through a table, in Python: what a page has to show after each event, and how it is written there."""

from __future__ import annotations

import random
import re
from typing import Any

import attrs

from bluegreen.config.settings import Settings
from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY, QueryContext
from bluegreen.machines.strategy.context import COUNTS, Context
from bluegreen.machines.strategy.events import ENDINGS
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import step
from bluegreen.table.table import Table
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.single_table import TICKETS

_LABEL = re.compile(r"(\w+)(?:\((alone on )?(\w+)(, others served)?\))?(, stale)?")


def written(value: Any) -> str:
    """Return a value as the page writes it."""
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def effect_written(effect: Any) -> str:
    """Return an effect as the page writes it."""
    words = [
        f"version {value}" if name == "state_version" else value.name if name == "event" else str(value)
        for name, value in attrs.asdict(effect, recurse=False).items()
    ]
    return type(effect).__name__ + (f"({', '.join(words)})" if words else "")


@attrs.define
class StrategyWalk:
    """The strategy machine with real versions and real tickets."""

    settings: Settings
    table: Table[Any, Any, Any] = STRATEGY
    state: str = STRATEGY.initial
    context: Context = attrs.field(init=False)
    tickets: list[Ticket] = attrs.field(factory=list[Ticket])
    issued: int = 0
    effects: str = "none"

    def __attrs_post_init__(self) -> None:
        self.context = Context.initial(self.settings)

    def event(self, label: str) -> Any:
        """Return the event that a label of the page stands for, now."""
        found = _LABEL.fullmatch(label)
        assert found is not None, label
        name, alone, about, others_served, stale = found.groups()
        cls = next(one for one in self.table.events if one.name == name)
        if about is None:
            return cls()
        strategy = Strategy(about)
        if cls in ENDINGS:
            oldest = next((one for one in self.tickets if one.strategy is strategy), Ticket(0, strategy, 0))
            return cls(oldest)
        if alone:
            return cls(strategy)
        facts = {"served_since": True} if others_served else {}
        return cls(strategy, self.context.state_version - bool(stale), **facts)

    def take(self, label: str) -> str | None:
        """Take an event; return the name of its row, or nothing if it is refused."""
        event = self.event(label)
        if event.name == "query_started" and len(self.tickets) >= TICKETS:
            return None
        try:
            taken = step(self.table, self.state, self.context, event)
        except EventForbidden:
            return None
        self.state, self.context = taken.state, taken.context
        self.effects = ", ".join(map(effect_written, taken.effects)) or "none"
        for effect in taken.effects:
            if type(effect).__name__ == "IssueTicket":
                self.issued += 1
                self.tickets.append(Ticket(self.issued, effect.strategy, effect.state_version))
        if hasattr(event, "ticket"):
            self.tickets.remove(event.ticket)
        return taken.row.name

    @property
    def shown(self) -> dict[str, Any]:
        """What a page shows here."""
        fields = attrs.asdict(self.context, recurse=False)
        for name in ("settings", *COUNTS):  # the page leaves them out
            del fields[name]
        return {
            "state": self.state,
            "context": {name: written(value) for name, value in fields.items()},
            "tickets": [
                f"#{one.query} on {one.strategy}, version {one.state_version}" for one in self.tickets
            ],
        }


@attrs.define
class QueryWalk:
    """The query machine."""

    context: QueryContext
    state: str = QUERY.initial

    def take(self, label: str) -> str | None:
        """Take the sample with that label; return the name of its row, or nothing if it is refused."""
        event = next(one for one in QUERY.samples if sample_label(one) == label)
        try:
            taken = step(QUERY, self.state, self.context, event)
        except EventForbidden:
            return None
        self.state, self.context = taken.state, taken.context
        return taken.row.name

    @property
    def shown(self) -> dict[str, Any]:
        """What a page shows here."""
        fixed = ("ticket", "reads", "replay")
        fields = attrs.asdict(self.context, recurse=False)
        context = {name: written(value) for name, value in fields.items() if name not in fixed}
        return {"state": self.state, "context": context, "tickets": []}


def sample_label(event: Any) -> str:
    """Return how a sample of the query machine is written on a button."""
    values = ", ".join(str(value) for value in attrs.asdict(event).values())
    return f"{event.name}({values})" if values else str(event.name)


def chosen(rng: random.Random, walk: Any, labels: list[str], length: int) -> list[tuple[str, str | None]]:
    """Take `length` events of `labels`, more often such as change something; return them with their rows."""
    found: list[tuple[str, str | None]] = []
    for _ in range(length):
        label = rng.choice(labels)
        for _ in range(3):
            before = attrs.evolve(walk) if isinstance(walk, QueryWalk) else None
            trial = _copy(walk) if before is None else before
            if trial.take(label) is not None and trial.shown != walk.shown:
                break
            label = rng.choice(labels)
        found.append((label, walk.take(label)))
    return found


def _copy(walk: StrategyWalk) -> StrategyWalk:
    copied = StrategyWalk(walk.settings, walk.table, walk.state, list(walk.tickets), walk.issued)
    copied.context = walk.context
    return copied
