"""Lease machine: which process may detect for all. One holder at a time, and a holder that has died does not keep it.

Source: spec, section 4; invariant I9, between processes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import attrs

from bluegreen.store import Stamp
from bluegreen.table.guards import Fact
from bluegreen.table.step import step
from bluegreen.table.table import State, Table, go, ignore, stay


@attrs.frozen
class LeaseAsked:
    """Somebody asks for the lease."""

    name: ClassVar[str] = "lease_asked"
    holder: str


@attrs.frozen
class LeaseReleased:
    """Somebody gives the lease back."""

    name: ClassVar[str] = "lease_released"
    holder: str


@attrs.frozen
class LeaseExpired:
    """The lease's time is over, or its host has been booted since."""

    name: ClassVar[str] = "lease_expired"


LeaseEvent = LeaseAsked | LeaseReleased | LeaseExpired


@attrs.frozen
class Grant:
    """Give the lease to `holder`, for as long as it has asked for."""

    holder: str


mine = Fact("mine", (True, False), lambda c, e: c == e.holder)
is_mine = mine.is_(True).named("has it")


def _hold(_: str, event: LeaseAsked) -> str:
    return event.holder


def _drop(_: str, __: Any) -> str:
    return ""


def _grant(_: str, after: str, __: Any) -> Grant:
    return Grant(after)


LEASE: Final[Table[str, LeaseEvent, Grant]] = Table(
    name="lease",
    initial="Free",
    states=(State("Free"), State("Held")),
    events=(LeaseAsked, LeaseReleased, LeaseExpired),
    rows=(
        go("Free", LeaseAsked, "Held", update=_hold, effects=(_grant,), why="nobody has it"),
        ignore("Free", (LeaseReleased, LeaseExpired), why="nobody has it"),
        stay("Held", LeaseAsked, guard=is_mine, effects=(_grant,), why="its holder keeps it"),
        ignore("Held", LeaseAsked, guard=~is_mine, why="one holder at a time (I9)"),
        go("Held", LeaseReleased, "Free", guard=is_mine, update=_drop, why="its holder is done"),
        ignore("Held", LeaseReleased, guard=~is_mine, why="it was lost to somebody else meanwhile"),
        go("Held", LeaseExpired, "Free", update=_drop, why="a holder that has died does not keep it"),
    ),
    contexts=("", "one", "two"),
    samples=(
        LeaseAsked("one"),
        LeaseAsked("two"),
        LeaseReleased("one"),
        LeaseReleased("two"),
        LeaseExpired(),
    ),
)
"""Who may detect for all. The context is the holder."""


@attrs.frozen
class Lease:
    """A lease as a store keeps it: `until_s` is by the monotonic clock of the boot that is named."""

    holder: str
    until_s: float
    boot: str = ""


def leased(lease: Lease | None, holder: str, ttl_s: float, now: Stamp) -> Lease | None:
    """Return the lease that `holder` has after asking for it, or none: somebody else has it.

    >>> one = leased(None, "one", 1.0, Stamp(monotonic_s=5.0))
    >>> leased(one, "two", 1.0, Stamp(monotonic_s=5.5)) is None
    True
    >>> leased(one, "two", 1.0, Stamp(monotonic_s=6.0)).holder
    'two'

    Args:
        lease: the one in the store.
        ttl_s: how long it is to be held, in seconds.
        now: of the store's host.
    """
    taken = step(LEASE, *_standing(lease, now), LeaseAsked(holder))
    for effect in taken.effects:
        if isinstance(effect, Grant):
            return Lease(effect.holder, now.monotonic_s + ttl_s, now.boot)
    return None


def released(lease: Lease | None, holder: str, now: Stamp) -> Lease | None:
    """Return the lease that is left after `holder` has given it back, if it had it."""
    taken = step(LEASE, *_standing(lease, now), LeaseReleased(holder))
    return lease if taken.state == "Held" else None


def _standing(lease: Lease | None, now: Stamp) -> tuple[str, str]:
    if lease is None:
        return LEASE.initial, ""
    over = lease.boot != now.boot or now.monotonic_s >= lease.until_s
    if not over:
        return "Held", lease.holder
    expired = step(LEASE, "Held", lease.holder, LeaseExpired())
    return expired.state, expired.context
