"""What a wrong word of the store costs: a query one refusal, and never the query.

A cluster stands still, and one stack refuses whatever is new. The store says anything, any number of times. A process
that hears a wrong word sends new queries to the stack that refuses: the first refusal is answered by a detection, the
query begins anew where it is served, and what has refused is held down, so that no word leads there again.

What can lead there again is a cool-down that has passed, a rollback that somebody asks for, or a detection that falls
back when its time is over. A query of which that is true twice between its attempts is lost to the third refusal, as it
would be to a server that announces what refuses.

>>> found = lied_to(queries=1)
>>> found.searched.complete, found.violations
(True, ())
"""

from __future__ import annotations

from typing import Any, Final

from bluegreen.machines.query import Refused456
from bluegreen.verify.properties.base import Always, Taken
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS
from selfcheck.explore.thread_modular_checker import ThreadModularResult, judge
from selfcheck.model.actions import EVENTS, ModelOptions


def _cheap(taken: Taken) -> bool:
    if not isinstance(taken.event, Refused456) or taken.state != "Started":
        return True
    return bool(taken.context.restarts == 0 and taken.step.state == "Started")


CHEAP: Final = Always(
    "W cheap", "a wrong word of the store costs a query one refusal, never the query", _cheap
)
"""Of each step of a query in a cluster that stands still."""

BEYOND: Final = ("cooldown_ended", "rollback_requested", "detection_timed_out")
"""What may lead a query to the stack that refuses once more, beside the store."""


def lied_to(queries: int = 2, *, beyond: tuple[str, ...] = (), **options: Any) -> ThreadModularResult:
    """Explore a process in a cluster that stands still, with a store that says anything at any time.

    Args:
        queries: in flight at a time.
        beyond: what else may happen of `BEYOND`.
        options: those of `verdict.judge`.
    """
    events = tuple(name for name in EVENTS if name not in BEYOND or name in beyond)
    liberties = ModelOptions(events=events, lossy=False, steps=(), prompt=True)
    return judge(queries, 0, liberties, always=(*QUERY_ALWAYS, CHEAP), **options)
