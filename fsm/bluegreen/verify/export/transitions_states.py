"""Where a machine of `transitions` can be, which transitions it tries there, and where they lead.

A state of a machine without nested states is a place. With nested states, a place is a state that a model can be
in, with all the states around it; those that enter a child at once are none.

>>> import transitions
>>> from transitions.extensions import HierarchicalMachine
>>> day = {"name": "day", "initial": "rain", "children": ["rain", "sun"]}
>>> places = Places(HierarchicalMachine(states=["night", day], initial="night", auto_transitions=False))
>>> [place.name for place in places.all()]
['night', 'day_rain', 'day_sun']
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import attrs
from transitions.extensions.nesting import HierarchicalMachine


@attrs.frozen
class StatePath:
    """A state that a model can be in, and the states around it, outermost first; each with its path."""

    name: str
    around: tuple[tuple[tuple[str, ...], Any], ...]

    @property
    def path(self) -> tuple[str, ...]:
        """The names from the outermost state to this one."""
        return self.around[-1][0]

    @property
    def state(self) -> Any:
        """The state itself, as `transitions` knows it."""
        return self.around[-1][1]


@attrs.frozen
class StateChange:
    """Where a transition leads: the name of the state, and the states that are left and entered, in order."""

    target: str
    left: tuple[Any, ...]
    entered: tuple[Any, ...]


class Places:
    """All places of a machine.

    Raises:
        TypeError: a state has several initial states, which are parallel.
    """

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._nested = isinstance(machine, HierarchicalMachine)
        self._separator = machine.state_cls.separator if self._nested else ""
        self._known_ticket = dict(self._walk((), machine.states, ()))
        for path, around in self._known_ticket.items():
            if len(_initial_children(around[-1][1])) > 1:
                raise TypeError(f"the states in {self._join(path)} are parallel; accepted: one at a time")

    def _walk(
        self, path: tuple[str, ...], states: Any, around: tuple[Any, ...]
    ) -> Iterator[tuple[tuple[str, ...], tuple[Any, ...]]]:
        for name, state in states.items():
            here = (*path, name)
            yield here, (*around, (here, state))
            if self._nested:
                yield from self._walk(here, state.states, (*around, (here, state)))

    def _join(self, path: tuple[str, ...]) -> str:
        return self._separator.join(path)

    def _path(self, name: str) -> tuple[str, ...]:
        return tuple(name.split(self._separator)) if self._nested else (name,)

    def names(self) -> frozenset[str]:
        """The names of all states, also of those that are no places."""
        return frozenset(map(self._join, self._known_ticket))

    def all(self) -> Iterator[StatePath]:
        """Yield the places in the order in which the states were added."""
        for path, around in self._known_ticket.items():
            if not _initial_children(around[-1][1]):
                yield StatePath(self._join(path), around)

    def begins(self, name: str) -> str:
        """Return the place in which a model is that is put into the state `name`."""
        return self._join(self._settle(self._path(name)))

    def _settle(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Follow the initial states from `path` to a place; a state that is not known is left as it is."""
        while path in self._known_ticket and (first := _initial_children(self._known_ticket[path][-1][1])):
            path = (*path, *self._path(first[0]))
        return path

    def triggers(self) -> tuple[str, ...]:
        """The names of all triggers, those of the machine first."""
        scopes = [self._machine, *(around[-1][1] for around in self._known_ticket.values() if self._nested)]
        return tuple(dict.fromkeys(name for scope in scopes for name in scope.events))

    def tried(self, place: StatePath, trigger: str) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
        """Yield what is tried in a place in turn: lists of transitions, each with the path of its scope.

        What a state declares for its children comes before what the states around it declare; in one scope what
        starts in the place comes before what starts in the states around it.
        """
        scopes = [((), self._machine), *place.around[:-1]] if self._nested else [((), self._machine)]
        for path, scope in reversed(scopes):
            known: dict[str, list[Any]] = scope.events[trigger].transitions if trigger in scope.events else {}
            relative = place.path[len(path) :]
            for length in range(len(relative), 0, -1):
                source = self._join(relative[:length])
                if source in known and (known[source] or not self._nested):
                    yield path, known[source]

    def move(self, place: StatePath, scope: tuple[str, ...], to: str) -> StateChange:
        """Return where the destination `to` leads from a place.

        Raises:
            TypeError: it is declared inside a state, and begins with that state's own outermost name.
        """
        path, relative = place.path, self._path(to)
        if scope and relative[0] == path[0]:
            raise TypeError(f"{to!r} has two meanings in {self._join(scope)}; accepted: another name")
        destination = (*scope, *relative)
        settled = self._settle(destination)
        kept = scope
        if not scope:
            shared = next(
                (
                    length
                    for length in range(len(destination), 0, -1)
                    if path[:length] == destination[:length]
                ),
                0,
            )
            kept = path[: shared - 1] if shared == len(destination) else path[:shared]
        around = self._known_ticket.get(settled, ())
        return StateChange(
            self._join(settled),
            tuple(state for _, state in reversed(place.around[len(kept) :])),
            tuple(state for _, state in around[len(kept) :]),
        )


def _initial_children(state: Any) -> list[str]:
    """Return the names of the children that a state enters at once."""
    first = getattr(state, "initial", None)
    several: list[Any] = (
        [*cast("list[Any]", first)] if isinstance(first, (list, tuple)) else [first] * bool(first)
    )
    return [str(getattr(one, "name", one)) for one in several]
