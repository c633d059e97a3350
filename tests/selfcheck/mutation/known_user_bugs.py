"""Bugs about users of one scope, each introduced into our tables, or beside them: in what a runtime makes of a reply.

>>> USERS_BUGS[0].name
"an engine's text taken for a refusal, beside the table"
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from bluegreen.machines.strategy.context import DETECTING, PENDING, STABLE
from bluegreen.machines.strategy.effects import issue_ticket
from bluegreen.machines.strategy.events import AuthFailure, PersistentFailure, QueryStarted
from bluegreen.machines.strategy.reducers import start_on_active, start_on_pending
from bluegreen.table.rows import Rows
from bluegreen.table.table import forbid, ignore, stay
from bluegreen.verify.mutation.operators import MutantResult
from selfcheck.model.users import Errors, examine_users
from selfcheck.mutation.known_bugs import FIELD_BUGS, FieldBug
from selfcheck.mutation.known_runtime_bugs import RuntimeBug

_WHY: Final = "a bug about users"


def _as_usual(state: str, do: Any) -> Rows:
    return stay(state, QueryStarted, update=do, effects=(issue_ticket,), why=_WHY)


_FIELD: Final = {bug.name: bug for bug in FIELD_BUGS}

WRONG: Final = {
    "one user's refusal moves everybody": _FIELD["one user's refusal moves everybody"],
    "a transition that only a timer ends": _FIELD["timer as the only way out"],
    "a refusal never leads elsewhere": FieldBug(
        "a refusal never leads elsewhere", (ignore(STABLE, (AuthFailure, PersistentFailure), why=_WHY),)
    ),
    "whoever is alone begins where all do": FieldBug(
        "whoever is alone begins where all do",
        (
            _as_usual(STABLE, start_on_active),
            _as_usual(PENDING, start_on_pending),
            forbid(DETECTING, QueryStarted, why=_WHY),
        ),
    ),
}
"""The wrong tables, by the names of the bugs."""


def _verdict(name: str, switches: int, **options: Any) -> MutantResult:
    found = examine_users(switches, first_only=True, **options)
    also = (*(one.name for one in found.violations), *found.unreached)
    if found.violations:
        first = found.violations[0]
        return MutantResult(name, first.name, first.detail, first.events, first.path, also)
    return MutantResult(name, also[0], "it never happens", also=also) if also else MutantResult(name, "")


def _of_table(name: str) -> MutantResult:
    return _verdict(name, 1, table=WRONG[name].table())


def _beside(name: str, switches: int, errors: Errors) -> MutantResult:
    return _verdict(name, switches, errors=errors)


def _bug(name: str, switches: int, **errors: bool) -> RuntimeBug:
    return RuntimeBug(name, partial(_beside, name, switches, Errors(**errors)))


USERS_BUGS: Final = (
    _bug("an engine's text taken for a refusal, beside the table", 1, reads_text=True),
    _bug("a detection hears of a stack on which one user is alone", 1, tells_alone=True),
    _bug("whoever was served once vouches for a stack for ever", 1, never_withdraws=True),
    _bug("whoever is refused alone is left", 1, never_alone=True),
    *(RuntimeBug(name, partial(_of_table, name)) for name in WRONG),
)
"""Each is tried in a world of its own."""
