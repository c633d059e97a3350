"""A run of the explorer as a Mermaid sequence diagram: who says what to whom, and what the machine does with it.

>>> from selfcheck.scenarios.runs import SWITCHES, run
>>> print(*sequence(run(SWITCHES["withdrawn"])).splitlines()[:3], sep="\\n")
sequenceDiagram
    participant q1 as query 1
    participant conn as connection
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from bluegreen.diagram.renderers.mermaid import escaped
from bluegreen.machines.query import Lose, QueryContext, Replay
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.effects import IssueTicket
from bluegreen.machines.strategy.events import QueryStarted
from bluegreen.verify.exploration.counterexample import describe_event
from bluegreen.verify.properties.base import Taken
from selfcheck.model.actions import Action
from selfcheck.model.cluster import Phase
from selfcheck.model.process import Query
from selfcheck.scenarios.runs import Happened

_ASKED: Final = re.compile(
    r"(prepare|execute|fetch|clear|authenticate)(?: \(\w+\))? on (blue|green)(?:: (\w+))?"
)
_WORDS: Final = {
    "serve": "done", "auth_success": "accepted", "refuse": "456", "error_456": "456", "gone": "456, unknown query",
    "unavailable": "unavailable", "auth_failure": "unavailable",
}  # fmt: skip
"""What an answer of the model is on the wire."""

_MACHINE: Final = "machine"
_LINK: Final = "conn"
_LONGEST: Final = 44


def sequence(happened: Iterable[Happened]) -> str:
    """Return a run as Mermaid text.

    Args:
        happened: phases of the cluster, and moves of one process that begins with nothing.
    """
    lines = list(_Telling().lines(happened))
    used = set(re.findall(r"\bq\d+\b", "\n".join(lines)))
    people = [(name, f"query {name[1:]}") for name in sorted(used, key=lambda name: int(name[1:]))]
    people += [(_LINK, "connection"), (_MACHINE, "strategy machine"), ("blue", "blue"), ("green", "green")]
    return "\n".join(
        ["sequenceDiagram", *(f"    participant {name} as {shown}" for name, shown in people), *lines]
    )


class _Telling:
    """Knows which query is which: in the model, that makes no difference."""

    def __init__(self) -> None:
        self._live: dict[str, Query] = {}
        self._begun = 0
        self._phase: Phase | None = None

    def lines(self, happened: Iterable[Happened]) -> Iterator[str]:
        for one in happened:
            if isinstance(one, Phase):
                self._phase = one
                self._live = {
                    name: attrs.evolve(query, gone=True) if query.holds and _forgotten(one, query) else query
                    for name, query in self._live.items()
                }
                yield f"    Note over blue,green: {escaped(_phase_told(one))}"
            else:
                yield from self._move(one)

    def _move(self, move: Action) -> Iterator[str]:
        who = self._mover(move)
        asked = _ASKED.match(move.text)
        taken: Sequence[Taken] = move.trail.taken
        if taken and isinstance(taken[0].event, QueryStarted):  # it needs a ticket before it can ask anybody
            yield from _step(who, taken[0])
            taken = taken[1:]
        if asked is not None:
            verb, where, answer = asked.groups()
            yield f"    {who}->>{where}: {verb}"
            yield f"    {where}-->>{who}: {escaped(self._answer(where, answer))}"
        for one in taken:
            yield from _step(who, one)

    def _answer(self, where: str, answer: str | None) -> str:
        text = _WORDS[answer or "serve"]  # the model does not say how a query is cleared
        if self._phase is None or answer != "serve":
            return text
        announced = next(
            (self._phase.announced(one) for one in type(self._phase.origin) if one.value == where), None
        )
        return f"{text}, new_strategy {announced}" if announced is not None else text

    def _mover(self, move: Action) -> str:
        """Find out who moved: a query that is there before and not after, or the other way round."""
        after = list(move.after.queries)
        changed: list[str] = []
        for name, query in self._live.items():
            if query in after:
                after.remove(query)
            else:
                changed.append(name)
        if changed:
            name = changed[0]
            if after:
                self._live[name] = after[0]
            else:
                del self._live[name]
            return name
        if after:
            self._begun += 1
            name = f"q{self._begun}"
            self._live[name] = after[0]
            return name
        return self._asking(move)

    def _asking(self, move: Action) -> str:
        """A move that leaves all queries as they are: one of them has asked something, or a connection has."""
        asked = _ASKED.match(move.text)
        if asked is not None and asked[1] in ("fetch", "execute"):
            names = [
                name for name, query in self._live.items() if str(query.strategy) == asked[2] and query.holds
            ]
            if names:
                return names[0]
        return _LINK


def _forgotten(phase: Phase, query: Query) -> bool:
    return phase.conduct(query.strategy).forgets


def _phase_told(phase: Phase) -> str:
    origin = phase.origin
    if phase.name == "steady":
        return f"steady: {origin} serves"
    return f"{phase.name.replace('_', ' ')}: from {origin} to {origin.other}"


def _step(who: str, taken: Taken) -> Iterator[str]:
    if isinstance(taken.context, QueryContext):
        for effect in taken.step.effects:
            if isinstance(effect, Lose):
                yield _note(who, f"lost: {taken.step.row.why}")
            elif isinstance(effect, Replay):
                yield _note(who, f"begins again: {taken.step.row.why}")
        return
    yield f"    {who}->>{_MACHINE}: {escaped(describe_event(taken.event))}"
    issued = [effect for effect in taken.step.effects if isinstance(effect, IssueTicket)]
    if issued:
        yield f"    {_MACHINE}-->>{who}: ticket on {issued[0].strategy}"
    elif _standing(taken.state, taken.context) != _standing(taken.step.state, taken.step.context):
        yield _note(_MACHINE, f"{_standing(taken.step.state, taken.step.context)}: {taken.step.row.why}")


def _standing(state: str, context: Any) -> str:
    assert isinstance(context, Context)
    named = {"active": context.active, "pending": context.pending, "held down": context.held_down}
    words = [f"{word} {strategy}" for word, strategy in named.items() if strategy is not None]
    words += [f"trying {context.untried[0]}"] if context.untried else []
    return f"{state} ({', '.join(words)})" if words else state


def _note(who: str, text: str) -> str:
    lines: list[str] = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > _LONGEST:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return f"    Note over {who}: {'<br/>'.join(map(escaped, lines))}"
