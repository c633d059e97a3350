"""Properties as named values: what always holds, what sometimes happens, what eventually follows.

One declaration serves whoever checks: an assertion, the explorer, a Hypothesis run, a log. What a property
looks at is a `Taken`, one step of one machine, or a world, a composition of machines; `of` says which.

    >>> from bluegreen.machines.strategy.events import AuthSuccess
    >>> from bluegreen.table.step import step
    >>> from bluegreen.machines.strategy.table import STRATEGY, Context
    >>> first = Context.initial()
    >>> event = AuthSuccess(first.untried[0], 0)
    >>> taken = Taken("Detecting", first, event, step(STRATEGY, "Detecting", first, event))
    >>> broken(STRATEGY_ALWAYS, taken)
    ()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import attrs

from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE
from bluegreen.machines.strategy.effects import IssueTicket
from bluegreen.machines.strategy.events import (
    SAFE_POINTS,
    AuthFailure,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.table.step import Step

Of = Literal["step", "world", "machine", "query"]
"""What a property looks at: a step; a `Moment` of a world; or one in which only the phase and the strategy machine
matter, or only the queries, each by itself."""


@attrs.frozen
class Taken:
    """One step of one machine: where it was, the event, and what `step` returned."""

    state: str
    context: Any
    event: Any
    step: Step


@attrs.frozen(eq=False)
class Always:
    """It holds in everything that can be seen.

    Args:
        name: the id of the specification and a word, for example `I1 coherent`.
        text: the sentence that `holds` decides.
        holds: what is looked at -> whether it holds; pure.
        of: what it looks at.
    """

    name: str
    text: str
    holds: Callable[[Any], bool]
    of: Of = "step"


@attrs.frozen(eq=False)
class Sometimes:
    """It happens at least once, so that what always holds is not said of nothing. The arguments are `Always`'s."""

    name: str
    text: str
    happens: Callable[[Any], bool]
    of: Of = "step"


@attrs.frozen(eq=False)
class Eventually:
    """Whenever `when` holds, `then` follows, now or later, if what can be done is done (weak fairness)."""

    name: str
    text: str
    when: Callable[[Any], bool]
    then: Callable[[Any], bool]
    of: Of = "world"


@attrs.frozen(eq=False)
class Balance:
    """What the strategy machine counts is what the queries add up to, always.

    Args:
        counted: context -> numbers.
        added: query -> as many numbers, what it adds to each.
    """

    name: str
    text: str
    counted: Callable[[Any], tuple[int, ...]]
    added: Callable[[Any], tuple[int, ...]]
    of: Of = "world"

    def holds(self, moment: Any) -> bool:
        """Whether the numbers are the same in a moment of a world."""
        counted = self.counted(moment.process.context)
        added = [self.added(query) for query in moment.process.queries]
        return all(number == sum(one[index] for one in added) for index, number in enumerate(counted))


Property = Always | Sometimes | Eventually | Balance


def broken(properties: Iterable[Always], seen: Any) -> tuple[Always, ...]:
    """Return those of `properties` that do not hold of `seen`, in their order."""
    return tuple(one for one in properties if not one.holds(seen))


_ENDS: Final = (QueryCompleted, QueryCancelled, QueryFailed)


def _coherent(taken: Taken) -> bool:
    context = taken.step.context
    active, pending, untried = context.active, context.pending, context.untried
    match taken.step.state:
        case "Stable":
            return active is not None and pending is None
        case "PendingTransition":
            return active is not None and pending is not None and active is not pending
        case "Failed":
            return pending is None
        case _:
            return len(untried) > 0 and len(set(untried)) == len(untried) and pending is None


def _routed(taken: Taken) -> bool:
    issued = [effect for effect in taken.step.effects if isinstance(effect, IssueTicket)]
    if not isinstance(taken.event, QueryStarted):
        return not issued
    shared = {STABLE: taken.context.active, PENDING: taken.context.pending}.get(taken.state)
    right = taken.event.alone or shared
    return issued == ([] if right is None else [IssueTicket(right, taken.context.state_version)])


def _at_safe_points(taken: Taken) -> bool:
    if taken.step.context.active is taken.context.active or taken.state == DETECTING:
        return True
    return isinstance(taken.event, (*SAFE_POINTS, DrainTimedOut))


def _accounted(taken: Taken) -> bool:
    before, after, event = taken.context, taken.step.context, taken.event
    blue, green = before.open_blue, before.open_green
    if isinstance(event, _ENDS):
        blue -= event.ticket.strategy.value == "blue"
        green -= event.ticket.strategy.value == "green"
    for effect in taken.step.effects:
        if isinstance(effect, IssueTicket):
            blue += effect.strategy.value == "blue"
            green += effect.strategy.value == "green"
    return (after.open_blue, after.open_green) == (blue, green) and min(blue, green) >= 0


def _fenced(taken: Taken) -> bool:
    before, after = taken.context, taken.step.context
    told = getattr(taken.event, "state_version", before.state_version)
    if told != before.state_version and (after != before or taken.step.state != taken.state):
        return False
    return bool(after.state_version >= before.state_version)


def _versioned(taken: Taken) -> bool:
    before, after = taken.context, taken.step.context
    moved = (taken.state, before.active, before.pending) != (taken.step.state, after.active, after.pending)
    return not moved or after.state_version == before.state_version + 1


def _rolled_back(taken: Taken) -> bool:
    """The state before the announcement, version and hold-down aside: that now holds what was pending."""
    if taken.state != PENDING or not isinstance(taken.event, RollbackRequested):
        return True
    before, after = taken.context, taken.step.context
    aside = {"pending": None, "proved": False, "state_version": 0, "held_down": None, "rolled_back": False}
    same = attrs.evolve(after, **aside) == attrs.evolve(before, **aside)
    held = after.held_down is before.pending and after.rolled_back
    return bool(taken.step.state == STABLE and after.pending is None and same and held)


def _stays_rolled_back(taken: Taken) -> bool:
    """What was rolled back is neither announced again, nor does time end that.

    It ends with a person's word, with a refusal that holds down the other strategy, or where a detection leads.
    """
    before, after, event = taken.context, taken.step.context, taken.event
    if not before.rolled_back or isinstance(event, (Reset, RollbackRequested)):
        return True
    announced = isinstance(event, StrategyAnnounced) and event.strategy is before.held_down
    if announced or isinstance(event, CooldownEnded):
        return bool(taken.step.state == taken.state and after == before)
    if (taken.state, taken.step.state) == (DETECTING, STABLE) and after.active is before.held_down:
        return not after.rolled_back and after.held_down is None
    kept = after.rolled_back and after.held_down is before.held_down
    return bool(kept or (taken.step.state == DETECTING and after.held_down is event.strategy))


def _bounded(taken: Taken) -> bool:
    """While one detection goes on, what it has not heard from only gets less, with each refusal by who refused.

    When its time is over, it does not end on what has refused.
    """
    before, after, event = taken.context, taken.step.context, taken.event
    if taken.state != DETECTING:
        return True
    timed_out = isinstance(taken.event, DetectionTimedOut) and taken.step.state == STABLE
    if timed_out and after.active not in before.untried:
        return False
    if taken.step.state != DETECTING:
        return taken.step.state in (STABLE, FAILED)
    heard = isinstance(event, (Error456, AuthFailure)) and event.state_version == before.state_version
    heard = heard and not getattr(event, "served_since", False)
    return set(after.untried) <= set(before.untried) - ({event.strategy} if heard else set())


def _scoped(taken: Taken) -> bool:
    """What concerns one connection changes nothing for others: it counts a ticket at most."""
    before, after, event = taken.context, taken.step.context, taken.event
    if getattr(event, "served_since", False):
        return bool(taken.step.state == taken.state and after == before and not taken.step.effects)
    if getattr(event, "alone", None) is None:
        return True
    counted = attrs.evolve(before, open_blue=after.open_blue, open_green=after.open_green)
    return bool(taken.step.state == taken.state and after == counted)


STRATEGY_ALWAYS: Final = (
    Always("I1 coherent", "active, pending and untried fit the state", _coherent),
    Always("I3 routed", "a query gets pending while a transition is pending, else active, unless it is alone", _routed),
    Always("I4 safe points", "active is replaced at a safe point, by drain_timed_out or a detection", _at_safe_points),
    Always("I5 accounted", "open tickets are those started minus those ended, on each strategy", _accounted),
    Always("I6 fenced", "stale news changes nothing, and the version never decreases", _fenced),
    Always("I6 versioned", "a change of (state, active, pending) is one version", _versioned),
    Always("I7 rollback", "a rollback drops and holds down what is pending, and leaves the rest", _rolled_back),
    Always("I7 rollback lasts", "neither the server's announcements nor time undo a rollback", _stays_rolled_back),
    Always("I8 detection bounded", "a detection tries a strategy once, and never ends on one that refused", _bounded),
    Always("I13 scoped", "what concerns one connection, while others are served, changes nothing for them", _scoped),
)  # fmt: skip
"""What the specification, section 7, says of each step of the strategy machine alone."""
