"""Tables from machines of `transitions`: to be looked at, drawn and explored without being rewritten.

>>> import transitions
>>> machine = transitions.Machine(states=["Ice", "Water"], initial="Ice", auto_transitions=False)
>>> machine.add_transition("warmed", "Ice", "Water", conditions="hot_enough")
>>> table = from_transitions(machine)
>>> [str(row) for row in table.rows]
['Ice.warmed[hot_enough] -> Water', 'Ice.warmed[!hot_enough] ignore', 'Water.warmed forbid']
>>> [str(finding) for finding in table.findings]
['trap (Water): no row leads out of it, and it is not final']
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, Final, cast

import attrs
import transitions

from bluegreen.table.guards import ALWAYS, Fact, Guard, valuations
from bluegreen.table.rows import EffectMaker, Row, RowKind, State, cell_facts
from bluegreen.table.transitions_facade import Machine
from bluegreen.verify.export.transitions_states import Places, StatePath
from bluegreen.verify.unvalidated_table import Unchecked

ACCEPTED: Final = (
    "accepted: transitions.Machine, also hierarchical without parallel states, locked, asyncio or with diagrams, "
    "whose events, transitions and conditions decide as those of transitions do"
)

MOST: Final = 12
"""Conditions that one trigger may ask in one state: each doubles the cases."""

NEVER: Final = Guard("never", (), lambda _: False)

Literal = tuple[Fact, bool]
"""A condition, and what it has to return."""


@attrs.frozen
class Called:
    """The effect of a row that was a callback: when it is called, and its name. It calls nothing."""

    when: str
    name: str


@attrs.frozen(eq=False)
class ForeignTable(Unchecked[None, Any, Called]):
    """A table that was made from a machine of `transitions`. Its context is none.

    What a condition returns is free to choose: each event has a field for every condition of its trigger, true or
    false. `findings` is what the definition of a table would be refused for.
    """

    def choices(self, state: str, _: None = None) -> Iterator[Any]:
        """Yield every event that may be sent in `state`, with every result of the conditions that it asks there."""
        for event in self.events:
            facts = cell_facts(self.cell(state, event))
            for values in product((True, False), repeat=len(facts)):
                yield event(**{field(fact.name): value for fact, value in zip(facts, values, strict=True)})


def from_transitions(
    machine: transitions.Machine,
    *,
    name: str | None = None,
    initial: str | None = None,
    auto_transitions: bool = False,
) -> ForeignTable:
    """Return the table of a machine of `transitions`. The machine is not changed, and none of its code is called.

    Args:
        machine: one state at a time is active; a nested one is called by its path, as its model has it.
        name: of the table; by default that of the machine, or of the class of its model.
        initial: the state in which a model begins; by default the machine's.
        auto_transitions: whether the triggers `to_<state>` are rows too, where the machine has them. They lead
            from everywhere to everywhere, so that no state would ever be found to be unreachable.

    Several transitions of one trigger in one state are tried in order: the guard of each is its own conditions,
    and not those of the ones before it; one condition returns the same to all of them, true or false. A trigger
    that a state does not have is forbidden, or ignored if the machine or the state ignores invalid triggers.
    Callbacks are effects in the order in which they are called; `on_final` and `on_exception` are left out.

    Raises:
        TypeError: the machine decides in another way; it names what was given and what is accepted.
        ValueError: it has no initial state, or a trigger asks more than `MOST` conditions in a state.

    The docstring of the module has an example.
    """
    _check(machine)
    places, facts = Places(machine), _Facts()
    begins: Any = initial or machine.initial
    known = places.names()
    if not isinstance(begins, str) or begins not in known:
        raise ValueError(f"the machine begins in {begins!r}; give `initial`: the name of one state")
    triggers = [one for one in places.triggers() if auto_transitions or not _auto(machine, one, known)]
    cells = [_Cell(machine, places, place, one, facts) for place in places.all() for one in triggers]
    classes = {one: _class(one, [cell for cell in cells if cell.trigger == one]) for one in triggers}
    found = ForeignTable(
        name or machine.name.removesuffix(": ") or type(machine.model).__name__,
        places.begins(begins),
        [
            State(place.name, ALWAYS, place.state.final, tuple(getattr(place.state, "tags", ())))
            for place in places.all()
        ],
        classes.values(),
        [row for cell in cells for row in cell.rows(classes[cell.trigger])],
    )
    samples = dict.fromkeys(event for state in found.states for event in found.choices(state.name))
    return attrs.evolve(found, samples=samples)


_DECIDES: Final = {
    "event": ("trigger", "trigger_nested", "_trigger", "_process", "_is_valid_source"),
    "transition": ("execute", "_eval_conditions"),
    "condition": ("check",),
}
"""What decides, in an event, a transition and a condition."""


def _check(machine: Any) -> None:
    given = f"{type(machine).__module__}.{type(machine).__qualname__}"
    if isinstance(machine, Machine):
        raise TypeError(f"{given} has its table already, as `table`; {ACCEPTED}")
    if not isinstance(machine, transitions.Machine):
        raise TypeError(f"{given} is no machine of transitions; {ACCEPTED}")
    for transition in machine.get_transitions():
        _decides_as_usual("transition", transition)
        for condition in transition.conditions:
            _decides_as_usual("condition", condition)
    for event in machine.events.values():
        _decides_as_usual("event", event)


def _decides_as_usual(kind: str, one: Any) -> None:
    for method in _DECIDES[kind]:
        for owner in type(one).__mro__:
            if method in vars(owner):
                if owner.__module__.split(".")[0] != "transitions":
                    raise TypeError(
                        f"{owner.__module__}.{owner.__qualname__} has its own {method}; {ACCEPTED}"
                    )
                break


def _auto(machine: Any, trigger: str, states: frozenset[str]) -> bool:
    prefixes = ("to_", f"to_{machine.model_attribute}_")
    return machine.auto_transitions and any(
        trigger.startswith(one) and trigger[len(one) :] in states for one in prefixes
    )


def field(name: str) -> str:
    """Return what the result of the condition `name` is called in an event.

    >>> field("checks.enough"), field("class")
    ('checks_enough', 'class_')
    """
    word = re.sub(r"\W", "_", name)
    return f"{word}_" if keyword.iskeyword(word) or word == "name" else word


class _Facts:
    """One fact for each condition of a machine. A lambda gets a number, in the order of states and triggers."""

    def __init__(self) -> None:
        self._known: dict[Any, Fact] = {}
        self._fields: set[str] = set()

    def literal(self, condition: Any) -> Literal:
        func = condition.func
        bound = getattr(func, "__self__", None), getattr(func, "__func__", None)
        key = (
            func if isinstance(func, str) else (id(bound[0]), bound[1]) if bound[1] is not None else id(func)
        )
        if key not in self._known:
            name = wanted = _called(func)
            number = 1 if wanted == "lambda" else 2
            while name == "lambda" or field(name) in self._fields:
                name, number = f"{wanted}_{number}", number + 1
            self._fields.add(field(name))
            self._known[key] = Fact(name, (True, False), partial(_chosen, field(name)))
        return self._known[key], bool(condition.target)


def _chosen(name: str, _: Any, event: Any) -> bool:
    value: bool = getattr(event, name)
    return value


def _called(func: Any) -> str:
    """Return what a callback or a condition is called."""
    if isinstance(func, str):
        return func
    name = str(getattr(func, "__name__", "") or getattr(getattr(func, "func", None), "__name__", ""))
    return name.strip("<>") or type(func).__name__


def _class(trigger: str, cells: Sequence[_Cell]) -> type[Any]:
    """Return the class of a trigger's events: it has a field for each condition that the trigger asks."""
    facts = dict.fromkeys(fact for cell in cells for asked in cell.asked for fact, _ in asked)
    fields = {field(fact.name): attrs.field(default=False, alias=field(fact.name)) for fact in facts}
    words = "".join(word.capitalize() for word in re.split(r"[\W_]+", trigger)) or "Event"
    made: Any = attrs.make_class(words, fields, frozen=True)
    made.name = trigger
    return cast("type[Any]", made)


class _Cell:
    """What a trigger does in a place."""

    def __init__(self, machine: Any, places: Places, place: StatePath, trigger: str, facts: _Facts) -> None:
        self._machine, self._places, self._place, self.trigger = machine, places, place, trigger
        self._tried = [*places.tried(place, trigger)]
        self.asked = [[*map(facts.literal, one.conditions)] for _, ones in self._tried for one in ones]
        several = len({fact for asked in self.asked for fact, _ in asked})
        if several > MOST:
            raise ValueError(f"{trigger} asks {several} conditions in {place.name}; accepted: at most {MOST}")

    def rows(self, event: type[Any]) -> Iterator[Row]:
        """Yield the rows: one for each transition, and one for what is left."""
        finally_ = _makers("finalize_event", self._machine.finalize_event)
        if not self._tried:
            yield self._none(event, finally_)
            return
        before: list[Guard] = []
        before_all: list[EffectMaker] = []
        asked = iter(self.asked)
        for scope, ones in self._tried:
            before_all += _makers("prepare_event", self._machine.prepare_event)
            for one in ones:
                own = _all(next(asked))
                before_all += _makers("prepare", one.prepare)
                guard = _and_none_of(own, before)
                before.append(own)
                yield self._taken(event, one, scope, guard, before_all)
        rest = _and_none_of(ALWAYS, before)
        if any(rest.holds(dict(values)) for values in valuations(rest.facts, "")):
            yield self._nothing(event, "no transition has its conditions", (*before_all, *finally_), rest)

    def _none(self, event: type[Any], effects: tuple[EffectMaker, ...]) -> Row:
        ignores = self._place.state.ignore_invalid_triggers
        ignores = self._machine.ignore_invalid_triggers if ignores is None else ignores
        why = f"no transition of {self.trigger} starts here"
        if ignores:
            return self._nothing(event, f"{why}, and invalid triggers are ignored", effects)
        return Row(self._place.name, event, RowKind.FORBID, why)

    def _nothing(
        self, event: type[Any], why: str, effects: tuple[EffectMaker, ...], guard: Guard = ALWAYS
    ) -> Row:
        """The state remains. An ignored event has no effects: if something is called, it stays."""
        outcome = RowKind.STAY if effects else RowKind.IGNORE
        return Row(self._place.name, event, outcome, why, guard, effects=effects)

    def _taken(
        self, event: type[Any], one: Any, scope: tuple[str, ...], guard: Guard, before: list[EffectMaker]
    ) -> Row:
        machine = self._machine
        effects = [*before, *_makers("before_state_change", machine.before_state_change)]
        effects += _makers("before", one.before)
        target = None
        if one.dest:
            move = self._places.move(self._place, scope, one.dest)
            target = move.target
            for state in move.left:
                effects += _makers("on_exit", state.on_exit)
            for state in move.entered:
                effects += _makers("on_enter", state.on_enter)
        effects += _makers("after", one.after)
        effects += _makers("after_state_change", machine.after_state_change)
        effects += _makers("finalize_event", machine.finalize_event)
        outcome = RowKind.STAY if target is None else RowKind.GO
        why = "internal" if target is None else f"from {one.source} to {one.dest}"
        return Row(self._place.name, event, outcome, why, guard, target, effects=tuple(effects))


def _all(asked: Sequence[Literal]) -> Guard:
    """Return the guard that every condition returns what it has to."""
    found = ALWAYS
    for fact, wanted in asked:
        one = fact.is_(True).named(fact.name)
        one = one if wanted else ~one
        found = one if found is ALWAYS else found & one
    return found


def _and_none_of(own: Guard, before: Sequence[Guard]) -> Guard:
    found = own
    for one in before:
        if one is ALWAYS:
            return NEVER
        found = ~one if found is ALWAYS else found & ~one
    return found


def _makers(when: str, callbacks: Sequence[Any]) -> tuple[Callable[[Any, Any, Any], Called], ...]:
    return tuple(_maker(Called(when, _called(one))) for one in callbacks)


def _maker(called: Called) -> Callable[[Any, Any, Any], Called]:
    def make(_: Any, __: Any, ___: Any) -> Called:
        return called

    make.__name__ = f"{called.when}_{called.name}"
    return make
