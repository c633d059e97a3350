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
    RECOVERY,
    Answered,
    Attempts,
    DetectionFailed,
    Escalate,
    NotAuthenticated,
    TransientError,
    WrongStrategy,
)
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.single_table import strategy_events
from bluegreen.verify.exploration.version_abstraction import NOW, rebase
from bluegreen.verify.hypothesis.systems_under_test import ManagerSubject
from bluegreen.verify.properties.base import Always, Eventually, Sometimes, Taken
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS
from bluegreen.verify.pytest_plugin.builtin_store_tables import LEASE_VERIFICATION, SHARING_VERIFICATION
from bluegreen.verify.verification import Verification

__all__ = [
    "LEASE_VERIFICATION",
    "QUERY_VERIFICATION",
    "RECOVERY_VERIFICATION",
    "SHARING_VERIFICATION",
    "STRATEGY_VERIFICATION",
]

_COUNTED: Final[dict[type[Any], tuple[str, int]]] = {
    TransientError: ("transient", 3),
    WrongStrategy: ("refused", 2),
    NotAuthenticated: ("denied", 2),
}
"""Where each kind of error is counted, and how often it is tried again."""


def _again(taken: Taken) -> bool:
    name, most = _COUNTED.get(taken.event.__class__, ("", 0))
    if taken.state != "Trying" or not name:
        return True
    before: int = getattr(taken.context, name)
    if before == most:
        return taken.step.state == "Escalated"
    return taken.step.state == "Trying" and bool(
        taken.step.context == attrs.evolve(taken.context, **{name: before + 1})
    )


def _escalated(taken: Taken) -> bool:
    return (taken.step.state == "Escalated" != taken.state) == (Escalate() in taken.step.effects)


def _ends_as_it_should(taken: Taken) -> bool:
    ends = {DetectionFailed: "Escalated", Answered: "Settled"}.get(taken.event.__class__)
    return taken.state != "Trying" or ends in (None, taken.step.state)


RECOVERY_PROPERTIES: Final = (
    Always("again", "each kind of error is tried again as often as it may be, and then escalated", _again),
    Always("escalated", "an error is given to the caller when it is escalated, once", _escalated),
    Always("settled", "an answer settles, a detection that failed escalates", _ends_as_it_should),
    Always(
        "over",
        "once the caller has the error there is no answer",
        lambda taken: taken.state != "Escalated" or not isinstance(taken.event, Answered),
    ),
    Sometimes(
        "recovers",
        "an error is followed by an answer",
        lambda taken: taken.context != Attempts() and taken.step.state == "Settled",
    ),
    Eventually(
        "ends",
        "whatever was tried, it ends",
        lambda taken: taken.step.state == "Trying",
        lambda taken: taken.step.state != "Trying",
        of="step",
    ),
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
RECOVERY_VERIFICATION: Final = Verification(RECOVERY, Attempts(), properties=RECOVERY_PROPERTIES)
