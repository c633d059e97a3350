"""Integrity: whether what a manager keeps agrees with itself, and what it is to be where it does not.

Nothing here changes anything, and nothing of it is needed as long as there is no defect: every step keeps what is
checked here. It finds what a defect, a debugger or a broken machine has left, and says how to go on from there.

>>> from bluegreen.types import Ticket
>>> kept = ManagerView("Stable", Context(active=Strategy.BLUE, open_blue=1), {1: Ticket(1, "blue", 0)})
>>> examined(kept)
()
>>> [(one.check, one.correction) for one in examined(attrs.evolve(kept, tickets={}))]
[('query_mapping_integrity', 'cleanup_stale_mappings')]

Source: business logic, "Data Validation Rules" and "State Validation Rules".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from bluegreen.machines.strategy.context import DETECTING, Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.types import Strategy, Ticket

CORRECTIONS: Final[Mapping[str, str]] = {
    "transition_state_validity": "reset_transition_state",
    "strategy_consistency": "use_authoritative_strategy",
    "query_mapping_integrity": "cleanup_stale_mappings",
    "cache_consistency": "rebuild_cache",
}
"""Each check, and what is done where it fails; in the order in which they are made."""


@attrs.frozen
class ManagerView:
    """What a manager keeps, at one moment.

    Args:
        state: of the strategy machine.
        context: of the strategy machine.
        tickets: the open ones, by the number of their query.
        timers: the names of the events of those timers that run.
        due: the names of those that have to run.
        proved_ago_s: how long ago an answer has last proved the cache, in seconds.
        heard: where the shared store sends new queries, if it says so.
        told: where this process has told that store that its queries go, if it has.
    """

    state: Any
    context: Context
    tickets: Mapping[Any, Any]
    timers: frozenset[str] = frozenset()
    due: frozenset[str] = frozenset()
    proved_ago_s: float = 0.0
    heard: Strategy | None = None
    told: Strategy | None = None


@attrs.frozen
class Inconsistency:
    """A check that has failed: what was found, and what corrects it."""

    check: str
    found: str

    @property
    def correction(self) -> str:
        """What is done about it."""
        return CORRECTIONS[self.check]


def examined(kept: ManagerView) -> tuple[Inconsistency, ...]:
    """Return what does not agree; nothing: all of it does. A machine in an impossible state is looked at no further."""
    broken = _machine(kept.state, kept.context)
    if broken is not None:
        return (Inconsistency("transition_state_validity", broken), *_tickets(kept))
    return (*_strategies(kept), *_tickets(kept), *_cache(kept))


def corrected(kept: ManagerView, findings: tuple[Inconsistency, ...]) -> ManagerView:
    """Return what is to be kept instead. What is well stays as it is; timers are the manager's to arm anew.

    An impossible state becomes a detection: which strategy serves is asked of the stacks. What the shared store says
    is tried first, then what was in use.
    """
    checks = {one.check for one in findings}
    state, context, tickets = kept.state, kept.context, kept.tickets
    if "query_mapping_integrity" in checks:
        tickets = {key: one for key, one in tickets.items() if _fits(key, one)}
        counts = _counts(tickets)
        context = attrs.evolve(context, open_blue=counts[Strategy.BLUE], open_green=counts[Strategy.GREEN])
    if "transition_state_validity" in checks:
        state, context = DETECTING, _reset(context, kept.heard)
    return attrs.evolve(kept, state=state, context=context, tickets=tickets)


_NUMBERS: Final = ("open_blue", "open_green", "failed_in_a_row", "refused_blue", "refused_green")


def _machine(state: Any, context: Any) -> str | None:
    """Return why a state is impossible, or none."""
    if state not in [one.name for one in STRATEGY.states]:
        return f"there is no state {state!r}"
    named = {"active": context.active, "pending": context.pending, "previous": context.previous}
    named |= {"held_down": context.held_down}
    for name, value in named.items():
        if value is not None and not isinstance(value, Strategy):
            return f"{name} is {value!r}, which is no strategy"
    for one in context.untried:
        if not isinstance(one, Strategy):
            return f"untried has {one!r}, which is no strategy"
    for name in _NUMBERS:
        if type(getattr(context, name)) is not int:
            return f"{name} is {getattr(context, name)!r}, which is no number"
    if not STRATEGY.holds(state, context):
        condition = STRATEGY.state(state).holds
        return f"{state} with active {context.active}, pending {context.pending}: not {condition}"
    return None


def _strategies(kept: ManagerView) -> tuple[Inconsistency, ...]:
    routes = "routes" in STRATEGY.state(kept.state).tags
    here = kept.context.route if routes else None
    if kept.told is not None and routes and kept.told is not here:
        return (
            Inconsistency("strategy_consistency", f"others were told {kept.told}, new queries go to {here}"),
        )
    if kept.heard is not None and routes and kept.heard not in (here, kept.context.held_down):
        return (
            Inconsistency("strategy_consistency", f"the store says {kept.heard}, new queries go to {here}"),
        )
    return ()


def _tickets(kept: ManagerView) -> tuple[Inconsistency, ...]:
    strays = [key for key, one in kept.tickets.items() if not _fits(key, one)]
    if strays:
        return (
            Inconsistency(
                "query_mapping_integrity", f"no ticket of its number: {strays[0]!r} ({len(strays)} such)"
            ),
        )
    counts, context = _counts(kept.tickets), kept.context
    for strategy, counted in ((Strategy.BLUE, context.open_blue), (Strategy.GREEN, context.open_green)):
        if counted != counts[strategy]:
            found = (
                f"{counted} queries are counted on {strategy}, and {counts[strategy]} tickets are open there"
            )
            return (Inconsistency("query_mapping_integrity", found),)
    return ()


def _cache(kept: ManagerView) -> tuple[Inconsistency, ...]:
    if kept.timers != kept.due:
        found = f"timers run for {_names(kept.timers)}; those that have to: {_names(kept.due)}"
    elif kept.proved_ago_s < 0:
        found = f"the strategy is said to be proved {-kept.proved_ago_s:g} s from now"
    else:
        return ()
    return (Inconsistency("cache_consistency", found),)


def _names(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _fits(key: Any, ticket: Any) -> bool:
    return isinstance(ticket, Ticket) and ticket.query == key


def _counts(tickets: Mapping[Any, Ticket]) -> dict[Strategy, int]:
    counts = dict.fromkeys(Strategy, 0)
    for ticket in tickets.values():
        counts[ticket.strategy] += 1
    return counts


def _reset(context: Context, heard: Strategy | None) -> Context:
    known = [one for one in (heard, context.active, context.pending) if isinstance(one, Strategy)]
    first = Context.initial(context.settings)
    untried = (known[0], known[0].other) if known else first.untried
    active = context.active if isinstance(context.active, Strategy) else None
    return attrs.evolve(
        first,
        active=active,
        untried=untried,
        state_version=context.state_version + 1,
        open_blue=max(context.open_blue, 0),
        open_green=max(context.open_green, 0),
    )
