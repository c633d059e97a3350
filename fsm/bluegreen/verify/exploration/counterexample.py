"""A counterexample, for people: as a list, as a Mermaid sequence diagram, and as a test that can be pasted.

>>> from bluegreen.machines.strategy.events import AuthSuccess
>>> print(as_list(("I6 fenced", "stale news changes nothing"), (AuthSuccess("blue", 1),)))
I6 fenced: stale news changes nothing
  1. auth_success(blue)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import attrs

from bluegreen.machines.query import QueryContext
from bluegreen.verify.exploration.version_abstraction import NOW

Property = tuple[str, str]
"""The name of what is broken, and what was seen."""


def describe_event(event: Any) -> str:
    """Return an event in a word or two."""
    values = attrs.asdict(event, recurse=False) if attrs.has(event.__class__) else {}
    ticket = values.pop("ticket", None)
    stale = values.get("state_version", NOW) != NOW
    words = [str(ticket.strategy)] if ticket is not None else []
    if values.pop("served_since", False):
        values["scope"] = "others served"
    if (alone := values.pop("alone", None)) is not None:
        words.append(f"alone on {alone}")
    words += [str(value) for name, value in values.items() if name != "state_version"]
    return str(event.name) + (f"({', '.join(words)})" if words else "") + (", stale" if stale else "")


def as_list(broken: Property, events: Sequence[Any], path: Sequence[str] = ()) -> str:
    """Return the counterexample as a numbered list; of what happens in the world, if that is given."""
    lines = path or [describe_event(event) for event in events]
    return "\n".join([": ".join(broken), *(f"  {index}. {line}" for index, line in enumerate(lines, 1))])


def mermaid(broken: Property, events: Sequence[Any], path: Sequence[str] = ()) -> str:
    """Return the counterexample as a Mermaid sequence diagram."""
    lines = ["sequenceDiagram", "    participant C as cluster", "    participant P as process"]
    for word in path or [describe_event(event) for event in events]:
        text = word.replace(";", ",").replace("cluster: ", "")
        if word.startswith("cluster: "):
            lines.append(f"    Note over C: {text}")
        elif " on " in word or "(" in word:
            lines.append(f"    C->>P: {text}")
        else:
            lines.append(f"    Note over P: {text}")
    return "\n".join([*lines, f"    Note over C,P: {': '.join(broken).replace(';', ',')}"])


_TEST: Final = '''\
"""{name}: {detail}"""

from bluegreen.machines.strategy.events import *  # noqa: F403
from bluegreen.runtime.manager import StrategyManager
from bluegreen.config.settings import Settings
from bluegreen.verify.properties.step_invariants import STEPS
from bluegreen.verify.properties.base import Taken, broken
from bluegreen.types import Scope, Strategy, Ticket

# Each event, the strategy that it is about, how many versions old it is, and what else it says.
EVENTS = (
{events}
)


def sent(manager, cls, strategy, age, facts):
    before = manager.snapshot
    if strategy is None:
        event = cls(**facts)
    elif cls in (QueryCompleted, QueryCancelled, QueryFailed):  # noqa: F405
        event = cls(next(one for one in manager.open_tickets if one.strategy is strategy))
    else:
        event = cls(strategy, before.context.state_version - age, **facts)
    return Taken(before.state, before.context, event, manager.send(event))


def test_{function}():
    manager = StrategyManager(Scope("counterexample.example:443"), {settings})
    for event in EVENTS:
        assert [one.name for one in broken(STEPS, sent(manager, *event))] == []
'''


def as_test(broken: Property, events: Sequence[Any], settings: str = "Settings()") -> str:
    """Return a test module that sends the events to a real `StrategyManager`, and checks each of its steps."""
    lines: list[str] = []
    for event in events:
        strategy = event.ticket.strategy if hasattr(event, "ticket") else getattr(event, "strategy", None)
        member = "None" if strategy is None else f"Strategy.{strategy.name}"
        age = NOW - getattr(event, "state_version", NOW)
        lines.append(f"    ({type(event).__name__}, {member}, {age}, {_facts(event)}),")
    function = re.sub(r"\W+", "_", broken[0]).strip("_")
    return _TEST.format(
        name=broken[0], detail=broken[1], events="\n".join(lines), function=function, settings=settings
    )


def _facts(event: Any) -> str:
    """Return what an event says besides its strategy and version, as code."""
    alone = getattr(event, "alone", None)
    if alone is not None:
        return f'{{"alone": Strategy.{alone.name}}}'
    return '{"served_since": True}' if getattr(event, "served_since", False) else "{}"


_QUERY_TEST: Final = '''\
"""{name}: {detail}"""

from bluegreen.table.step import step
from bluegreen.machines.query import *  # noqa: F403
from bluegreen.machines.query import QUERY, QueryContext
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS
from bluegreen.verify.properties.base import Taken, broken
from bluegreen.types import Strategy, Ticket


def test_{function}():
    state, context = QUERY.initial, {context}
    for event in ({events}):
        taken = Taken(state, context, event, step(QUERY, state, context, event))
        assert [one.name for one in broken(QUERY_ALWAYS, taken)] == []
        state, context = taken.step.state, taken.step.context
'''


def as_query_test(broken: Property, events: Sequence[Any], context: QueryContext) -> str:
    """Return a test module that sends the events to the query machine, and checks each of its steps."""
    function = re.sub(r"\W+", "_", broken[0]).strip("_")
    shown = f"QueryContext(Ticket(1, 'blue', 1), {context.reads!r}, {context.replay!r})"
    sent = "".join(f"{event!r}, " for event in events)
    return _QUERY_TEST.format(name=broken[0], detail=broken[1], events=sent, function=function, context=shown)
