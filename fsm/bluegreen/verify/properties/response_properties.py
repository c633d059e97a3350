"""What the specification answers to news, time and people: always after E under condition C, P holds.

A response says what has to be so after a step, not by which row: a table that lets an event pass which the
specification answers breaks one of them.

    >>> [one.name for one in RESPONSES][:3]
    ['R2 reset', 'R2 reconnected', 'R2 invalidated']

Source: spec, section 2; business logic, "Automatic Strategy Detection" and "Error Recovery Rules".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE
from bluegreen.machines.strategy.effects import CacheStrategy
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    CacheExpired,
    CacheInvalidated,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.verify.properties.base import Always, Taken

Condition = Callable[[Taken], bool]
_REFUSALS: Final = (Error456, AuthFailure, PersistentFailure)


def response(name: str, text: str, events: Any, when: Condition, then: Condition) -> Always:
    """Return the property that, always after one of `events` where `when` holds, `then` holds.

    Args:
        events: a class of events, or several.
        when: what has to be so before the step.
        then: what has to be so after it.
    """
    return Always(
        name, text, lambda taken: not (isinstance(taken.event, events) and when(taken)) or then(taken)
    )


def _in(*states: str) -> Condition:
    def holds(taken: Taken) -> bool:
        return taken.state in states

    return holds


def _fresh(taken: Taken) -> bool:
    return bool(taken.event.state_version == taken.context.state_version)


def _about(taken: Taken, strategy: Any) -> bool:
    return strategy is not None and taken.event.strategy is strategy


def _detects(taken: Taken, first: Any) -> bool:
    """It detects, and both strategies will be tried: `first` first, if there is one."""
    untried = taken.step.context.untried
    return taken.step.state == DETECTING and len(untried) == 2 and (first is None or untried[0] is first)


def _detects_with_fallback(taken: Taken) -> bool:
    return _detects(taken, taken.context.active)


def _starts_over(taken: Taken) -> bool:
    """It detects, what was last in use first. A rollback is over, but not in Failed, where a timer resets."""
    before, after = taken.context, taken.step.context
    ends = before.rolled_back and taken.state != FAILED
    held = (None, False) if ends else (before.held_down, before.rolled_back)
    return _detects_with_fallback(taken) and (after.held_down, after.rolled_back) == held


def _detects_best_guess(taken: Taken) -> bool:
    return _detects(taken, taken.context.pending or taken.context.active)


def _refused(taken: Taken) -> bool:
    """A fresh refusal of what new queries get, where nobody else is served."""
    alone = getattr(taken.event, "served_since", False)
    return (
        taken.state in (STABLE, PENDING)
        and _fresh(taken)
        and _about(taken, taken.context.route)
        and not alone
    )


def _tries_the_other(taken: Taken) -> bool:
    return _detects(taken, taken.event.strategy.other)


def _promising(taken: Taken) -> bool:
    """A detection hears that a strategy is announced which it has not tried, and which is not held down."""
    context, told = taken.context, taken.event.strategy
    heard = taken.state == DETECTING and _fresh(taken) and told in context.untried
    return heard and told is not context.held_down


def _tried_first(taken: Taken) -> bool:
    return taken.step.state == DETECTING and taken.step.context.untried[:1] == (taken.event.strategy,)


def _gives_up(taken: Taken) -> bool:
    """The detection is over: on the fall-back, unverified and not cached, or in Failed if there is none.

    The default comes before what was last in use, and neither counts once it has refused in this detection.
    """
    before, after = taken.context, taken.step.context
    known = [before.settings.default_strategy, before.active]
    fallback = next((one for one in known if one is not None and one in before.untried), None)
    if fallback is None:
        return taken.step.state == FAILED
    cached = any(isinstance(effect, CacheStrategy) for effect in taken.step.effects)
    settled = taken.step.state == STABLE and after.active is fallback and _previous_set(taken)
    return settled and not after.verified and not cached


def _previous_set(taken: Taken) -> bool:
    """What was in use before is previous, if it differs."""
    after, was = taken.step.context, taken.context.active
    return after.previous is (was if was not in (None, after.active) else taken.context.previous)


def _answered(taken: Taken) -> bool:
    return taken.state == DETECTING and _fresh(taken)


def _adopted(taken: Taken) -> bool:
    after, held = taken.step.context, taken.context.held_down
    told = taken.step.state == STABLE and after.active is taken.event.strategy and after.verified
    still_held = None if held is taken.event.strategy else held
    return told and after.held_down is still_held and _previous_set(taken) and _cached(taken)


def _cached(taken: Taken) -> bool:
    active = taken.step.context.active
    return any(isinstance(one, CacheStrategy) and one.strategy is active for one in taken.step.effects)


def _active_answered(taken: Taken) -> bool:
    return taken.state == STABLE and _fresh(taken) and _about(taken, taken.context.active)


def _pending_answered(taken: Taken) -> bool:
    return taken.state == PENDING and _fresh(taken) and _about(taken, taken.context.pending)


def _withdrawn(taken: Taken) -> bool:
    """The active strategy is announced, and no rollback leaves it."""
    announced = taken.state == PENDING and _fresh(taken) and _about(taken, taken.context.active)
    return announced and not taken.context.rolled_back


def _as_before_the_announcement(taken: Taken) -> bool:
    before, after = taken.context, taken.step.context
    kept = (after.active, after.previous, after.open_blue, after.open_green) == (
        before.active, before.previous, before.open_blue, before.open_green,
    )  # fmt: skip
    return taken.step.state == STABLE and after.pending is None and kept


def _committed(taken: Taken) -> bool:
    """previous := active; active := pending; pending := none; the open tickets stay."""
    before, after = taken.context, taken.step.context
    moved = (after.previous, after.active, after.pending) == (before.active, before.pending, None)
    tickets = (after.open_blue, after.open_green) == (before.open_blue, before.open_green)
    return taken.step.state == STABLE and moved and tickets and after.verified == before.proved


def _can_go_back(taken: Taken) -> bool:
    return taken.state == STABLE and taken.context.previous not in (None, taken.context.active)


def _goes_back(taken: Taken) -> bool:
    after, before = taken.step.context, taken.context
    there = taken.step.state == PENDING and (after.active, after.pending) == (before.active, before.previous)
    return there and after.held_down is before.active and bool(after.rolled_back)  # somebody wants it


def _cools_down(taken: Taken) -> bool:
    return taken.state in (STABLE, DETECTING) and not taken.context.rolled_back


RESPONSES: Final = (
    response("R2 reset", "after a reset it detects, what was last in use first, and a rollback is over", Reset,
             _in(STABLE, PENDING, FAILED), _starts_over),
    response("R2 reconnected", "a new connection is a reason to detect again in Failed", ConnectionOpened,
             _in(FAILED), _detects_with_fallback),
    response("R2 invalidated", "an invalidated cache is detected anew, the best guess first", CacheInvalidated,
             _in(STABLE, PENDING, FAILED), _detects_best_guess),
    response("R2 expired", "an expired cache is detected anew, the active strategy first", CacheExpired,
             _in(STABLE), _detects_with_fallback),
    response("R2 refused", "where new queries go and nobody is served, the other strategy is tried first", _REFUSALS,
             _refused, _tries_the_other),
    response("R2 hinted", "a detection tries first what is announced meanwhile", StrategyAnnounced,
             _promising, _tried_first),
    response("R2 timed out", "a detection that takes too long ends on a fall-back that has not refused, else in Failed",
             DetectionTimedOut, _in(DETECTING), _gives_up),
    response("R2 adopted", "what answers a detection is active, and cached", AuthSuccess, _answered, _adopted),
    response("R2 confirmed", "what proves the active strategy good renews the cache", AuthSuccess,
             _active_answered, lambda taken: taken.step.context.verified and _cached(taken)),
    response("R2 proved", "that the pending strategy accepts is remembered", AuthSuccess,
             _pending_answered, lambda taken: taken.step.context.proved),
    response("R2 withdrawn", "an announcement of the active strategy withdraws the pending one", StrategyAnnounced,
             _withdrawn, _as_before_the_announcement),
    response("R2 drained", "a drain that takes too long commits, and open tickets stay", DrainTimedOut,
             _in(PENDING), _committed),
    response("R2 taken back", "a rollback in Stable makes the previous strategy pending", RollbackRequested,
             _can_go_back, _goes_back),
    response("R2 cooled down", "after the cool-down nothing is held down", CooldownEnded,
             _cools_down, lambda taken: taken.step.context.held_down is None),
)  # fmt: skip
"""What follows at once from each event that the specification answers in a state."""
