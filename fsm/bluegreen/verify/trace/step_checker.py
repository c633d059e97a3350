"""One step of a journal, held against a table and against properties.

What a line says is not trusted: from the situation, the event and the settings the step is taken again, and
written again, and the two texts must be the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import attrs

from bluegreen.config.settings import Settings, relaxed_bounds
from bluegreen.errors import BluegreenError
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.effects import IssueTicket
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import step
from bluegreen.table.table import Table
from bluegreen.types import Strategy, Ticket, optional_strategy
from bluegreen.verify.properties.base import Always, Eventually, Taken, broken
from bluegreen.verify.trace.format import formerly, situation, stepped

MEMO_LIMIT: Final = 50_000
"""How many different steps are remembered; then all of them are forgotten."""


class Differs(Exception):
    """A line is not what the table, the lines before it, or the properties say. The text names what differs."""


@attrs.frozen
class Judged:
    """What is known of a step of this form, whatever its versions and its query.

    Args:
        state: where the machine is after it.
        context: the same, in the version in which it was judged.
        prefix: what the step after it begins with.
        issues: where its ticket is, if it issues one.
        ends: whether it ends a ticket.
        broken: the properties that it breaks.
        when: which of what must follow it calls for, as bits.
        then: which of what must follow it brings, as bits.
    """

    state: str
    context: Context
    prefix: bytes
    issues: bytes | None
    ends: bool
    broken: tuple[Always, ...]
    when: int
    then: int


Key = tuple[bytes, int, int | None, bytes | None, int]
"""What a step is remembered by: its text, by how much the version rises, by how much its news are ahead of the
version, the strategy of its ticket, and 0, or the version if the table is not known to ask for no more."""


class Judge:
    """Judges steps under the settings of one manager, and remembers its judgements in `memo`.

    Args:
        table: the strategy table, or another one over the same context and events.
        settings: as `opened` has them.
        always: what must hold of each step; what looks at a world is left out.
        eventually: what must follow, where both sides look at a step.

    A judgement is remembered without the versions, since STRATEGY only asks whether two are the same and only
    adds one. Of another table that is not known: there a judgement is remembered for its version only.
    """

    def __init__(
        self,
        table: Table[Any, Any, Any],
        settings: Mapping[str, Any],
        always: Sequence[Always],
        eventually: Sequence[Eventually],
    ) -> None:
        self._table = table
        with relaxed_bounds():
            self._settings = Settings(**settings)
        self._always = [one for one in always if one.of == "step"]
        self._eventually = [one for one in eventually if one.of == "step"]
        self._events = {event.name: event for event in table.events}
        self.by_version = table is not STRATEGY
        self.memo: dict[Key, Judged] = {}

    def judge(self, key: Key, state: str, context: Context, query: int, issued: int) -> Judged:
        """Return what is known of a step, and remember it.

        Args:
            state: where the machine is before the step; its text begins with that.
            context: the same.
            query: the number of its ticket, if it has one.
            issued: the version of that ticket.

        Raises:
            Differs: the table does not do this.
        """
        text, gained, ahead, on, _ = key
        try:
            said = _decode(text.decode(), len(begins(state, context)) + len('"event":'))[0]
            event = self._event(said, context.state_version, ahead)
            if on is not None and "ticket" in _fields(event):
                event = type(event)(Ticket(query, on.decode(), issued))
            taken = Taken(state, context, event, step(self._table, state, context, event))
        except (BluegreenError, LookupError, TypeError, ValueError) as error:
            raise Differs(f"this step cannot be taken: {error}") from None
        after = taken.step.context
        right = stepped(state, context, event, taken.step)
        if text.decode() not in (right, formerly(right, taken.step.row)):
            raise Differs(_differs(text, right))
        if after is context and taken.step.state == taken.state:
            raise Differs(f"{taken.step.row} changes nothing, so it has no record")
        if after.state_version - context.state_version != gained:
            raise Differs(
                f"version.after is {context.state_version + gained}, and must be {after.state_version}"
            )
        if len(self.memo) >= MEMO_LIMIT:
            self.memo.clear()
        known = self.memo[key] = self._known_ticket(taken)
        return known

    def _known_ticket(self, taken: Taken) -> Judged:
        issued = [one.strategy for one in taken.step.effects if isinstance(one, IssueTicket)]
        return Judged(
            taken.step.state,
            taken.step.context,
            begins(taken.step.state, taken.step.context),
            issued[0].value.encode() if issued else None,
            "ticket" in _fields(taken.event),
            broken(self._always, taken),
            sum(1 << bit for bit, one in enumerate(self._eventually) if one.when(taken)),
            sum(1 << bit for bit, one in enumerate(self._eventually) if one.then(taken)),
        )

    def _event(self, said: Mapping[str, Any], version: int, ahead: int | None) -> Any:
        """Return the event, with a ticket that is still to be put in."""
        cls = self._events[said["name"]]
        fields = _fields(cls)
        if "state_version" in fields:
            if ahead is None:
                raise ValueError(f"{cls.name} without the version that it brings")
            return cls(said["strategy"], version + ahead, **_facts(fields, said))
        if ahead is not None:
            raise ValueError(f"{cls.name} brings no version")
        return cls(_NO_TICKET) if "ticket" in fields else cls(**_facts(fields, said))

    def context(self, said: Mapping[str, Any], version: int) -> Context:
        """Return the context that `situation` has written.

        Raises:
            LookupError, TypeError, ValueError: it is none.
        """
        names = [field.name for field in attrs.fields(Context) if field.name in said]
        values = {name: said[name] for name in names}
        for name in ("active", "pending", "previous", "held_down"):
            values[name] = optional_strategy(values[name])
        values["untried"] = tuple(map(Strategy.parse, values["untried"]))
        return Context(**values, state_version=version, settings=self._settings)


_decode: Final = json.JSONDecoder().raw_decode
_NO_TICKET: Final = Ticket(0, Strategy.BLUE, 0)


def _fields(event: Any) -> frozenset[str]:
    return frozenset(field.name for field in attrs.fields(event if isinstance(event, type) else type(event)))


def _facts(fields: frozenset[str], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event that stand in a line only if they say something."""
    return {name: said[name] for name in ("served_since", "alone") if name in fields and name in said}


def begins(state: str, context: Context) -> bytes:
    """Return what the text of a step begins with that is taken in this situation."""
    return f'{{"before":{situation(state, context)},'.encode()


def _differs(text: bytes, right: str) -> str:
    """Return in what a step differs from the one that the table takes."""
    try:
        written = json.loads(text)
    except ValueError as error:
        return f"it is no line of a journal: {error}"
    return difference(written, json.loads(right))


def difference(written: Any, right: Any, where: str = "") -> str:
    """Return the first thing in which the two differ: `after.open_blue is 2, and must be 1`."""
    if isinstance(written, dict) and isinstance(right, dict):
        said, wanted = cast("dict[str, Any]", written), cast("dict[str, Any]", right)
        for name in dict.fromkeys([*wanted, *said]):
            if said.get(name, _MISSING) != wanted.get(name, _MISSING):
                path = f"{where}.{name}" if where else name
                return difference(said.get(name, _MISSING), wanted.get(name, _MISSING), path)
        return "it is not written as a journal writes it"
    return f"{where} is {_describe(written)}, and must be {_describe(right)}"


_MISSING: Final = object()


def _describe(value: Any) -> str:
    return "missing" if value is _MISSING else json.dumps(value)
