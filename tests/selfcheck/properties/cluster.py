"""Properties of a world: what holds of a process in each phase of its cluster, what happens there, what follows.

    >>> [one.name for one in WORLD_ALWAYS]
    ['I5 accounted in the world', 'I11 at most once', 'W founded']

Source: spec, sections 2, 3 and 7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE, Context
from bluegreen.types import Strategy
from bluegreen.verify.properties.base import Always, Balance, Eventually, Sometimes
from selfcheck.model.process import Query
from selfcheck.model.product import Moment


def _open(context: Context) -> tuple[int, ...]:
    return tuple(context.open_on(one) for one in Strategy)


def _held(query: Query) -> tuple[int, ...]:
    return tuple(int(query.holds and query.strategy is one) for one in Strategy)


def _once(moment: Moment) -> bool:
    return all(query.context.reads or query.executions <= 1 for query in moment.process.queries)


def _founded(moment: Moment) -> bool:
    context = moment.process.context
    quiet = moment.phase.begun == 0 and context.previous is None
    return not quiet or moment.process.state != PENDING


FOUNDED: Final = Always("W founded", "nothing is pending before anything was announced", _founded, "machine")
"""It holds where the store is silent or honest: a wrong word is an announcement that nobody has made."""

WORLD_ALWAYS: Final = (
    Balance("I5 accounted in the world", "open tickets are those that queries hold", _open, _held),
    Always("I11 at most once", "no stack, nor both together, executes a write twice", _once, "query"),
    FOUNDED,
)
"""What always holds in a world."""


def _in(state: str) -> Callable[[Moment], bool]:
    def is_in(moment: Moment) -> bool:
        return moment.process.state == state

    return is_in


def _not_in(state: str) -> Callable[[Moment], bool]:
    def is_elsewhere(moment: Moment) -> bool:
        return moment.process.state != state

    return is_elsewhere


def _routed_during(phase: str) -> Callable[[Moment], bool]:
    def happens(moment: Moment) -> bool:
        return moment.phase.name == phase and moment.process.state == STABLE

    return happens


def _detects_again(moment: Moment) -> bool:
    return moment.process.state == DETECTING and moment.process.context.active is not None


def _failed_at_last(moment: Moment) -> bool:
    return moment.settled and moment.process.state == FAILED


PHASES: Final = (
    "announce", "not_ready", "cutover", "drain", "abrupt", "rollback", "withdraw", "both_down",
)  # fmt: skip
"""The phases in which new queries are to be routed somewhere; `steady` goes without saying."""

WORLD_SOMETIMES: Final = (
    Sometimes("S Detecting", "a process that had a strategy detects again", _detects_again, "machine"),
    Sometimes("S Stable", "a process is in Stable", _in(STABLE), "machine"),
    Sometimes("S PendingTransition", "a process is in PendingTransition", _in(PENDING), "machine"),
    *(Sometimes(f"S {one}", f"new queries are routed during {one}", _routed_during(one), "machine") for one in PHASES),
    Sometimes("S both down", "both strategies failed", _in(FAILED), "machine"),
)  # fmt: skip
"""What has to happen somewhere in a world, so that what always holds is not said of nothing."""

WORLD_EVENTUALLY: Final = (
    Eventually(
        "L1 progress", "once announced, and once the old queries end, the transition ends, however many overlap",
        _in(PENDING), _not_in(PENDING), "machine",
    ),
    Eventually(
        "L2 detection ends", "from Detecting, Stable or Failed is reached",
        _in(DETECTING), _not_in(DETECTING), "machine",
    ),
    Eventually(
        "L3 recovery", "from Failed, one reset and a healthy stack lead to Stable",
        _failed_at_last, _in(STABLE), "machine",
    ),
)  # fmt: skip
"""What follows, sooner or later, if queries begin and end, detections go on, and Failed is reset."""
