"""What a manager tells its observers: typed records of what happened, frozen, in the words of the machine.

An observer gets them in the thread in which they happened, without a lock held. It must be quick: whoever writes or
sends something puts it into a queue of its own.

No record holds credentials; none but `QueryBegun` says anything of a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import attrs

from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import StrategyEvent
from bluegreen.table.step import Step
from bluegreen.types import Scope, Strategy, Ticket


class Snapshot(NamedTuple):
    """The machine's state at one moment; `sequence` counts the steps that changed something."""

    state: str
    context: Context
    sequence: int


@attrs.frozen
class Record:
    """One step: what the table audits, or, for those who asked for it, each that changed something.

    `sequence` is the order of the steps within a scope. Records come in it, except that two threads that take
    steps at the same time may hand theirs over in either order: no caller waits for another one's observers.
    `ticket` is the one that the step issued. `took_s` is how long the step took whoever sent its event, the wait for
    the lock included, in seconds; 0 in records of what the table audits.
    """

    scope: Scope
    sequence: int
    at_s: float
    before: Snapshot
    event: StrategyEvent
    step: Step
    ticket: Ticket | None = None
    took_s: float = attrs.field(default=0.0, eq=False)


@attrs.frozen
class CacheMissed:
    """A query found no strategy: it waits for a detection, or leads one."""

    scope: Scope
    at_s: float


@attrs.frozen
class DetectionEnded:
    """A detection has ended in this process.

    Args:
        at_s: when, by the manager's clock.
        took_s: seconds.
        tried: what was tried, in order.
        found: what answered; none: nothing did, or it was given up.
        failures: what each strategy answered that did not.
        followed: whether another process had found it, and this one only went there.
    """

    scope: Scope
    at_s: float
    took_s: float
    tried: tuple[Strategy, ...]
    found: Strategy | None
    failures: Mapping[str, str]
    followed: bool = False


@attrs.frozen
class LockWaited:
    """A thread has waited for the manager's lock, `waited_s` seconds."""

    scope: Scope
    at_s: float
    waited_s: float


@attrs.frozen
class RequestFailed:
    """A stack has answered a request with an error, or not at all.

    Args:
        strategy: the stack.
        method: the RPC.
        fault: what the protocol calls it: `wrong strategy` is a 456.
        code: the status.
        ticket: of the query whose request it was, if it had one.
    """

    scope: Scope
    at_s: float
    strategy: Strategy
    method: str
    fault: str
    code: str
    ticket: Ticket | None = None


@attrs.frozen
class UnlistedRefusal:
    """A stack's reply contains 456, and matches no listed form of a refusal: it is passed on as it is.

    Args:
        strategy: the stack.
        method: the RPC.
        code: the status.
    """

    scope: Scope
    at_s: float
    strategy: Strategy
    method: str
    code: str


@attrs.frozen
class RequestRetried:
    """The transport failed an RPC under `ticket`: it is sent again after `delay_s` seconds, there or elsewhere.

    This is resend number `attempt` of the application's request.
    """

    scope: Scope
    at_s: float
    ticket: Ticket
    method: str
    attempt: int
    delay_s: float


@attrs.frozen
class QueryBegun:
    """A query has got its id. Told only where the application has asked that statements be named.

    Args:
        query: the id that its application holds.
        ticket: under which it runs.
        statement: its statement, or a digest of it, as the application has asked.
    """

    scope: Scope
    at_s: float
    query: str
    ticket: Ticket
    statement: str


@attrs.frozen
class QueryReplayed:
    """A query begins again, behind the id that its application holds.

    Args:
        query: the id that its application holds; none: it has none yet.
        ticket: under which it ran.
        executes: whether it is executed again as well, rather than only begun.
        reason: what the stack answered.
    """

    scope: Scope
    at_s: float
    query: str | None
    ticket: Ticket
    executes: bool
    reason: str


@attrs.frozen
class LossReported:
    """A query is lost: `QueryLost` was raised to its application.

    Args:
        query: the id that its application holds; none: it has none yet.
        ticket: under which it ran.
        reason: why it cannot be finished, and why it is not replayed.
    """

    scope: Scope
    at_s: float
    query: str | None
    ticket: Ticket
    reason: str


@attrs.frozen
class SessionOpened:
    """A connection has authenticated on a stack; it took `took_s` seconds. `ahead`: before a query needed it."""

    scope: Scope
    at_s: float
    strategy: Strategy
    took_s: float
    ahead: bool = False


@attrs.frozen
class StoreLost:
    """The store of shared state does not answer: this process is on its own. Told once for each fault."""

    scope: Scope
    at_s: float
    store: str
    reason: str


@attrs.frozen
class StoreBack:
    """The store of shared state answers again."""

    scope: Scope
    at_s: float
    store: str


@attrs.frozen
class Reconfigured:
    """Settings were changed at run time: for each name the old value and the new one."""

    scope: Scope
    at_s: float
    changes: Mapping[str, tuple[object, object]]


@attrs.frozen
class Corrected:
    """What a manager kept did not agree, and was corrected.

    Args:
        check: the rule that was broken, see `integrity.CORRECTIONS`.
        found: what was found.
        correction: what was done about it.
    """

    scope: Scope
    at_s: float
    check: str
    found: str
    correction: str


TelemetryEvent = (
    Record
    | CacheMissed
    | DetectionEnded
    | LockWaited
    | RequestFailed
    | UnlistedRefusal
    | RequestRetried
    | QueryBegun
    | QueryReplayed
    | LossReported
    | SessionOpened
    | StoreLost
    | StoreBack
    | Reconfigured
    | Corrected
)
"""Everything that a manager tells. `match` over it and end with `unreachable`: a checker then finds what is new."""

StepSubscriber = Callable[[Record], None]
"""Gets steps only."""

EventSubscriber = Callable[[TelemetryEvent], None]
"""Gets everything."""
