"""Latency and faults that the test engine injects, as data.

A `InjectedFault` says which requests it meets and what it does to them. A `FaultPlan` counts, and decides for
each request. Chance comes from a seed, so a run can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal, get_args

import attrs

Action = Literal["delay", "status", "drop", "silent", "access_denied"]
"""What a fault does to a request.

`delay` only waits; `status` answers with an error and does no work; `drop` does the work and then answers
with the error, so that its outcome is unknown to the client; `silent` neither works nor answers;
`access_denied` answers as to an expired session.
"""


CODES = (
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""Names of the gRPC statuses that are errors."""


def _methods(value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(value)


def _action(_: object, __: attrs.Attribute[Any], value: object) -> None:
    if value not in get_args(Action):
        raise ValueError(f"action={value!r}; accepted: {', '.join(get_args(Action))}")


def _at_least(low: float) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and value < low:
            raise ValueError(f"{attribute.name}={value!r}; accepted: {low} or more")

    return check


@attrs.frozen
class InjectedFault:
    """One fault. A condition that is none holds for every request.

    Args:
        action: what happens to a request that the fault meets.
        method: name of the RPC, or several names.
        strategy: strategy that the request names.
        statement: a part of the text of the statement that the request is about.
        nth: meet only the request with this number among those that fit, from 1.
        probability: meet a fitting request with this chance, 0 to 1.
        seed: where the chance comes from.
        count: meet so many requests at most.
        delay_s: seconds to wait before anything else, whatever the action.
        code: name of the gRPC status that `status` and `drop` answer with.
        details: its details.

    Raises:
        ValueError: a value is outside of its range.

    >>> InjectedFault("drop", method="executeStatement", nth=2).code
    'UNAVAILABLE'
    """

    action: Action = attrs.field(default="delay", validator=_action)
    method: tuple[str, ...] | None = attrs.field(default=None, converter=_methods)
    strategy: str | None = None
    statement: str | None = None
    nth: int | None = attrs.field(default=None, validator=_at_least(1))
    probability: float = attrs.field(default=1.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    seed: int = 0
    count: int | None = attrs.field(default=None, validator=_at_least(1))
    delay_s: float = attrs.field(default=0.0, validator=_at_least(0))
    code: str = attrs.field(default="UNAVAILABLE", validator=attrs.validators.in_(CODES))
    details: str = "injected fault"

    def fits(self, method: str, strategy: str, statement: str | None) -> bool:
        """Whether a request is one that this fault is about, chance and counts aside."""
        if self.method is not None and method not in self.method:
            return False
        if self.strategy is not None and strategy != self.strategy:
            return False
        return self.statement is None or (statement is not None and self.statement in statement)


@attrs.define
class _Armed:
    fault: InjectedFault
    chance: random.Random
    fitted: int = 0
    met: int = 0


class FaultPlan:
    """The faults that are armed, and how often each one has struck.

    >>> plan = FaultPlan()
    >>> plan.arm(InjectedFault("status", method="status", count=1))
    0
    >>> plan.strike("status", "blue", None) is not None, plan.strike("status", "blue", None)
    (True, None)
    """

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def arm(self, fault: InjectedFault) -> int:
        """Add a fault and return its number, which `counts` goes by."""
        self._armed.append(_Armed(fault, random.Random(fault.seed)))
        return len(self._armed) - 1

    def clear(self) -> None:
        """Disarm all faults."""
        self._armed.clear()

    @property
    def counts(self) -> list[int]:
        """How many requests each fault has met."""
        return [armed.met for armed in self._armed]

    def strike(self, method: str, strategy: str, statement: str | None) -> InjectedFault | None:
        """Return the first fault that meets this request, or none. Every fault that fits counts it."""
        struck: InjectedFault | None = None
        for armed in self._armed:
            fault = armed.fault
            if not fault.fits(method, strategy, statement):
                continue
            armed.fitted += 1
            if struck is not None or (fault.count is not None and armed.met >= fault.count):
                continue
            if fault.nth is not None and armed.fitted != fault.nth:
                continue
            if fault.probability < 1.0 and armed.chance.random() >= fault.probability:
                continue
            armed.met += 1
            struck = fault
        return struck
