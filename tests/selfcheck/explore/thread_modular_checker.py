"""What an exploration of one process found: what is broken, with a way there, and what never happened.

>>> from selfcheck.model.actions import ModelOptions
>>> found = judge(1, 0, ModelOptions(events=(), kinds=(False,), steps=()))
>>> found.violations, found.unreached[:1]
((), ('S announce',))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import attrs
import numpy as np

from bluegreen.machines.strategy.context import Context
from bluegreen.verify.properties.base import Always, Balance, Eventually, Taken
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS
from selfcheck.explore.action_tables import NOBODY, REFUSED, Doing
from selfcheck.explore.array_liveness import Region
from selfcheck.explore.breadth_first import Bounds, Progress, Searched
from selfcheck.explore.checker import Violation
from selfcheck.explore.thread_modular import AT_ONCE, Edges, Modular, Numbered, distinct
from selfcheck.model.actions import MEDDLING, ModelOptions
from selfcheck.model.cluster import Phase
from selfcheck.model.process import Fault, Process
from selfcheck.model.product import Moment
from selfcheck.properties.cluster import FOUNDED, WORLD_ALWAYS, WORLD_EVENTUALLY, WORLD_SOMETIMES

_BALANCES: Final = tuple(one for one in WORLD_ALWAYS if isinstance(one, Balance))
_OF_MACHINES: Final = tuple(one for one in WORLD_ALWAYS if one.of == "machine")
_OF_QUERIES: Final = tuple(one for one in WORLD_ALWAYS if one.of == "query")

Mask = Callable[[Numbered], Any]
"""States -> which of them it is about."""


@attrs.frozen
class ThreadModularResult:
    """What was found, and how much was looked at.

    Args:
        searched: the search; its states are those of one process with its cluster, up to symmetry.
        phases: how many there are in each phase, if queries had names.
        violations: what does not hold.
        unreached: what ought to happen sometimes and did not; empty if a bound ended the search.
    """

    searched: Searched
    phases: tuple[int, ...]
    violations: tuple[Violation, ...]
    unreached: tuple[str, ...]

    def worlds(self, processes: int) -> int:
        """Return how many worlds so many processes can make at most: in each phase, each in any of its states."""
        return sum(count**processes for count in self.phases)

    @property
    def ok(self) -> bool:
        """Whether everything was seen, and nothing is wrong with it."""
        return self.searched.complete and not self.violations and not self.unreached


class _Watch:
    """Looks at each step, each machine in each phase, each query, and each state."""

    def __init__(self, words: bool, always: tuple[Always, ...]) -> None:
        self._of_machines = tuple(one for one in _OF_MACHINES if not (words and one is FOUNDED))
        self._of_query_steps = always
        self.steps: dict[str, tuple[str, Any]] = {}
        """What is broken, by name: what was seen, and the step."""
        self.states: dict[str, tuple[str, Mask]] = {}
        """What is broken, by name: what was seen, and in which states."""
        self.missing = list(WORLD_SOMETIMES)
        self._moments: Numbered = np.zeros(0, np.int64)
        self._queries = 0
        self._known: set[int] = set()

    def took(self, taken: Taken, where: Any) -> None:
        if id(taken.step) in self._known:  # the steps are kept, so that no number is used again
            return
        self._known.add(id(taken.step))
        for one in STEPS if isinstance(taken.context, Context) else self._of_query_steps:
            if one.name not in self.steps and not one.holds(taken):
                self.steps[one.name] = one.text, where

    def fault(self, fault: Fault, where: Any) -> None:
        self.steps.setdefault(fault.name, (fault.detail, where))

    def level(self, space: Modular, states: Numbered) -> None:
        """Look at the states of one level."""
        phase, machine, _ = space.unpack(states)
        moments = np.setdiff1d(distinct(space.moment(phase, machine)), self._moments, assume_unique=True)
        self._moments = np.concatenate([self._moments, moments])
        for number in moments.tolist():
            self._machine(space, number)
        for number in range(self._queries, len(space.parts.queries)):
            self._query(space, number)
        self._queries = len(space.parts.queries)
        for one in _BALANCES:
            if one.name not in self.states:
                wrong = _unbalanced(space, one)
                if wrong(states).any():
                    self.states[one.name] = one.text, wrong

    def _machine(self, space: Modular, number: int) -> None:
        moment = machine_moment(space, number)
        self.missing = [one for one in self.missing if not one.happens(moment)]
        for one in self._of_machines:
            if one.name not in self.states and not one.holds(moment):
                self.states[one.name] = (
                    one.text,
                    lambda states: space.moment(*space.unpack(states)[:2]) == number,
                )

    def _query(self, space: Modular, number: int) -> None:
        query = space.parts.queries.things[number]
        if query is None:
            return
        moment = Moment(space.phases.things[0], Process("", None, (), (query,)))  # type: ignore[arg-type]
        for one in _OF_QUERIES:
            if one.name not in self.states and not one.holds(moment):
                self.states[one.name] = (
                    one.text,
                    lambda states: (space.unpack(states)[2] == number).any(axis=0),
                )


def machine_moment(space: Modular, number: int) -> Moment:
    """Return the moment of a phase and a machine, without any queries."""
    phase, machine = space.moment_of(number)
    state, context, news = space.parts.machines.things[machine]
    return Moment(space.phases.things[phase], Process(state, context, news), bool(space.settled[phase]))


def _unbalanced(space: Modular, balance: Balance) -> Mask:
    def wrong(states: Numbered) -> Any:
        _, machine, queries = space.unpack(states)
        counted = np.array([balance.counted(one.context) for one in space.parts.machines.things])
        nothing = (0,) * counted.shape[1]
        added = np.array(
            [nothing if one is None else balance.added(one) for one in space.parts.queries.things]
        )
        return (counted[machine] != added[queries].sum(axis=0)).any(axis=1)

    return wrong


def judge(
    queries: int,
    switches: int,
    liberties: ModelOptions | None = None,
    *,
    bounds: Bounds | None = None,
    told: Callable[[Progress], None] | None = None,
    words: bool = True,
    always: tuple[Always, ...] = QUERY_ALWAYS,
    **options: Any,
) -> ThreadModularResult:
    """Explore one process, and look at it.

    Args:
        queries: in flight at a time.
        switches: of the cluster.
        liberties: what may happen; everything by default.
        bounds: where the search stops at the latest.
        told: called now and then.
        words: whether the store may say anything at any time; then something may be pending that nobody announced.
        always: what holds of each step of a query.
        options: those of `Modular`: `crashes`, `settings`, `strategy`, `query`.
    """
    watch = _Watch(words, always)
    options = {"words": words, "took": watch.took, "fault": watch.fault, **options}
    space = Modular(queries, switches, liberties or ModelOptions(), **options)
    searched = space.search(bounds=bounds, told=told, seen=lambda states: watch.level(space, states))
    violations = [_violation(space, searched, name, *seen) for name, seen in watch.states.items()]
    violations += [
        Violation(name, detail, *_way_to_step(space, searched, where))
        for name, (detail, where) in watch.steps.items()
    ]
    if searched.complete:
        violations += _lassos(space, searched)
    unreached = tuple(one.name for one in watch.missing) if searched.complete else ()
    return ThreadModularResult(searched, _counted(space, searched), tuple(violations), unreached)


def _counted(space: Modular, searched: Searched) -> tuple[int, ...]:
    per_phase = np.zeros(len(space.phases))
    for level in searched.levels:
        phase, _, _ = space.unpack(level)
        per_phase += np.bincount(phase, space.orbits(level), len(per_phase))
    return tuple(int(count) for count in per_phase)


def _violation(space: Modular, searched: Searched, name: str, detail: str, mask: Mask) -> Violation:
    for depth, level in enumerate(searched.levels):
        (hits,) = np.nonzero(mask(level))
        if len(hits):
            words, events = way(space, searched, depth, int(level[hits[0]]))
            return Violation(name, detail, words, events)
    raise AssertionError(f"{name} is broken nowhere")


def _way_to_step(space: Modular, searched: Searched, where: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return a shortest way that ends with a step of a machine or of a query."""
    for depth, level in enumerate(searched.levels):
        phase, machine, queries = space.unpack(level)
        if len(where) == 2:
            (hits,) = np.nonzero(machine == where[0])
        else:
            posture = np.array(space.parts.posture)[machine]
            (hits,) = np.nonzero((space.conduct[phase] == space.conducts[where[0]]) & (posture == where[1]))
        for hit in hits.tolist():
            for doing in _doings(space, int(phase[hit]), int(machine[hit]), queries[:, hit].tolist()):
                same = doing[1].script == where[1] if len(where) == 2 else doing == (where[2], where[3])
                if same:
                    words, events = way(space, searched, depth, int(level[hit]))
                    return (*words, doing[1].text), (*events, *_sent(space, doing[1].script))
    return (), ()  # nothing that can be reached does it: it is part of a larger step


def _doings(space: Modular, phase: int, machine: int, queries: list[int]) -> Iterator[tuple[int, Doing]]:
    """Yield what can happen, each with the query that it is about."""
    parts = space.parts
    conduct = space.conducts.things[int(space.conduct[phase])]
    for query in dict.fromkeys([NOBODY, *queries]):
        for doing in parts.doings(conduct, parts.posture[machine], query):
            yield query, doing
    for script, news in zip(parts.arrivals[machine], parts.machines.things[machine].news, strict=True):
        text = f"{news.name}({news.strategy}) arrives"
        yield NOBODY, Doing(text, "", script, NOBODY, None)


def _sent(space: Modular, script: int) -> tuple[Any, ...]:
    return tuple(event for word, event in space.parts.scripts.things[script] if word == "sent")


def way(
    space: Modular, searched: Searched, depth: int, state: int
) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return a shortest way to a state of a level, in words, and what is sent to the machine since it began."""
    path = [state]
    for level in reversed(searched.levels[:depth]):
        edges = space.edges(level)
        path.append(int(level[edges.source[np.nonzero(edges.target == path[-1])[0][0]]]))
    words: list[str] = []
    events: list[Any] = []
    for before, after in pairwise(reversed(path)):
        text, script = _between(space, before, after)
        words.append(text)
        events = [] if script is None else [*events, *_sent(space, script)]
    return tuple(words), tuple(events)


def _between(space: Modular, before: int, after: int) -> tuple[str, int | None]:
    """Return what happens between two states, in words, and the script that is sent; none: the process begins anew."""
    phases, machines, queries = space.unpack(np.array([before, after]))
    phase, left, machine = int(phases[0]), int(phases[1]), int(machines[0])
    held: list[int] = queries[:, 0].tolist()
    nothing = space.parts.scripts[()]
    if left != phase:
        there: Phase = space.phases.things[left]
        return f"cluster: {there.name}, from {there.origin}", nothing
    for query, doing in _doings(space, phase, machine, held):
        others = list(held)
        if query != doing.query:
            if query not in others:
                continue  # there is no room for one more
            others[others.index(query)] = doing.query
        moved = space.parts.after(machine, doing.script)
        if (
            moved != REFUSED
            and space.pack(phases[:1], np.array([moved]), np.array([[one] for one in others], np.int64))[0]
            == after
        ):
            return doing.text, doing.script
    return "crash, and begin anew", None


def _lassos(space: Modular, searched: Searched) -> Iterator[Violation]:
    numbers = space.moments(searched.levels)
    moments = [machine_moment(space, number) for number in numbers]

    def lasting(one: Eventually) -> Numbered:
        begins, ends = (
            _Among(space, [number for number, moment in zip(numbers, moments, strict=True) if asked(moment)])
            for asked in (one.when, one.then)
        )
        return _lasting(space, searched, begins, ends)

    for one in WORLD_EVENTUALLY:
        states = lasting(one)
        for depth, level in enumerate(searched.levels if len(states) else ()):
            hits: Numbered = level[np.isin(level, states)]
            if len(hits):
                words, events = way(space, searched, depth, int(hits[0]))
                yield Violation(one.name, one.text, words, events, len(states))
                break


class _Among:
    """Whether the phase and the machine of states are among some."""

    def __init__(self, space: Modular, moments: list[int]) -> None:
        self._space = space
        self._known = np.zeros((len(space.phases), len(space.parts.machines)), bool)
        for number in moments:
            self._known[space.moment_of(number)] = True

    def __call__(self, states: Numbered) -> Any:
        phase, machine, _ = self._space.unpack(states)
        return self._known[phase, machine]


def _lasting(space: Modular, searched: Searched, begins: _Among, ends: _Among) -> Numbered:
    """Return the states from which what ought to follow need not follow."""
    known = distinct(np.concatenate([level[begins(level) & ~ends(level)] for level in searched.levels]))
    waiting = known
    while len(waiting):  # what follows `begins` without `ends`, apart from what time and people bring
        further = [distinct(edges.target[~ends(edges.target)]) for _, edges in _unforced(space, waiting)]
        waiting = np.setdiff1d(distinct(np.concatenate(further)), known, assume_unique=True)
        known = distinct(np.concatenate([known, waiting]))
    enabled = {fair: np.zeros(len(known), bool) for fair in range(1, len(space.fair))}
    steps: list[tuple[Any, ...]] = [(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.int8))]
    for first, edges in _unforced(space, known):
        source = edges.source + first
        for fair, able in enabled.items():
            able[source[edges.fair == fair]] = True
        stays = ~ends(edges.target)
        target = np.searchsorted(known, edges.target[stays])
        steps.append(
            (source[stays].astype(np.int32), target.astype(np.int32), edges.fair[stays].astype(np.int8))
        )
    source, target, fairs = (np.concatenate(column) for column in zip(*steps, strict=True))
    return known[Region(len(known), source, target, fairs, enabled).lasting()]


def _unforced(space: Modular, states: Numbered) -> Iterator[tuple[int, Edges]]:
    """Yield the steps from some states that can be part of a cycle, or are fair: no crash, nothing that time and
    people bring, and no new phase, because phases never come back; with the index of the first of the states."""
    meddling = space.fair[MEDDLING]
    for first in range(0, len(states), AT_ONCE):
        part = states[first : first + AT_ONCE]
        edges = space.edges(part, crashes=False, phases=False)
        kept = edges.fair != meddling
        yield first, Edges(*(column[kept] for column in edges))
