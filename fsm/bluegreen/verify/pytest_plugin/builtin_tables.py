"""Verifications of the tables that ship, for `pytest --bluegreen-verify`.

    bluegreen_tables = ["bluegreen.verify.pytest_plugin.builtin_tables"]

The mutants of STRATEGY are left to the project's own checks, since some of them show only in a world, where
`--bluegreen-verify=full` does not look.

>>> STRATEGY_VERIFICATION.explore().states
1302

Source: spec, sections 2, 3, 5 and 7.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from bluegreen.machines.query import QUERY, QueryContext
from bluegreen.machines.retry import (
    RENEWALS,
    RETRY,
    Attempts,
    GiveUp,
    Placed,
    RenewSession,
    RetryElsewhere,
    RetryHere,
    TransientError,
)
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.single_table import strategy_events
from bluegreen.verify.exploration.version_abstraction import NOW, rebase
from bluegreen.verify.hypothesis.systems_under_test import ManagerSubject
from bluegreen.verify.properties.base import Always, Sometimes, Taken
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS
from bluegreen.verify.pytest_plugin.builtin_store_tables import LEASE_VERIFICATION, SHARING_VERIFICATION
from bluegreen.verify.verification import Verification

__all__ = [
    "LEASE_VERIFICATION",
    "QUERY_VERIFICATION",
    "RETRY_VERIFICATION",
    "SHARING_VERIFICATION",
    "STRATEGY_VERIFICATION",
]

_RESENDS: Final = (RetryHere, RetryElsewhere)


def _is(taken: Taken, *effects: type[Any]) -> bool:
    return any(isinstance(effect, effects) for effect in taken.step.effects)


def _counted(taken: Taken) -> bool:
    """Each resend is counted under its number, each renewal too, and a new placement begins with no renewal."""
    before, after = taken.context, taken.step.context
    if isinstance(taken.event, Placed):
        return bool(after == attrs.evolve(before, renewals=0, limit=taken.event.limit))
    resends, renewals = before.resends + _is(taken, *_RESENDS), before.renewals + _is(taken, RenewSession)
    numbers = [effect.attempt for effect in taken.step.effects if isinstance(effect, _RESENDS)]
    counted = attrs.evolve(before, resends=resends, renewals=renewals)
    return bool(after == counted) and numbers in ([], [resends])


def _bounded(taken: Taken) -> bool:
    """No request is sent again beyond its limits."""
    if _is(taken, *_RESENDS):
        return bool(taken.context.resends < taken.context.limit)
    return not _is(taken, RenewSession) or bool(taken.context.renewals < RENEWALS)


def _tried(taken: Taken) -> bool:
    """A transport error is given up only if no resend is left, or no stack may get the request."""
    event, context = taken.event, taken.context
    if taken.state != "Trying" or not isinstance(event, TransientError):
        return True
    possible = context.resends < context.limit and (event.here or event.elsewhere)
    return _is(taken, *_RESENDS) is possible and _is(taken, GiveUp) is not possible


def _kept(taken: Taken) -> bool:
    """The last resend goes elsewhere if it can, and no earlier one does that can stay."""
    event, context = taken.event, taken.context
    if not isinstance(event, TransientError) or not _is(taken, *_RESENDS):
        return True
    is_last = context.resends == context.limit - 1
    return _is(taken, RetryElsewhere) is (event.elsewhere and (is_last or not event.here))


def _left(taken: Taken) -> bool:
    """The stack is left exactly if the request is not sent there again."""
    leaves = _is(taken, RetryElsewhere, GiveUp)
    return taken.state == "Unplaced" or (taken.step.state == "Unplaced") is leaves


RETRY_PROPERTIES: Final = (
    Always("counted", "resends and renewals are counted", _counted),
    Always("bounded", "a request is sent again and gets sessions as often as it may", _bounded),
    Always("tried", "a transport error is given up only if nothing is left to try", _tried),
    Always("kept", "the last resend is the other stack's, if the request can go there", _kept),
    Always("left", "a stack is left if the request is not sent there again", _left),
    Always(
        "decided",
        "each error is decided by one effect",
        lambda taken: isinstance(taken.event, Placed) or len(taken.step.effects) == 1,
    ),
    Always(
        "placed",
        "an error comes from a stack that was asked",
        lambda taken: taken.state == "Trying" or isinstance(taken.event, Placed),
    ),
    Sometimes("elsewhere", "the other stack gets its chance", lambda taken: _is(taken, RetryElsewhere)),
    Sometimes("renewed", "a session is renewed", lambda taken: _is(taken, RenewSession)),
)

STRATEGY_VERIFICATION: Final = Verification(
    STRATEGY,
    rebase(Context.initial()),
    strategy_events,
    STEPS,
    plain=rebase,
    subject=ManagerSubject,
    mutants=False,
)
QUERY_VERIFICATION: Final = Verification(
    QUERY, QueryContext(Ticket(1, Strategy.BLUE, NOW), reads=True), properties=QUERY_ALWAYS
)
RETRY_VERIFICATION: Final = Verification(RETRY, Attempts(), properties=RETRY_PROPERTIES)
