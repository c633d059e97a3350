"""Whether two machines behave differently, and the shortest sequence of events that shows it.

What counts is what can be seen from outside: whether an event is accepted, which state follows, which effects. Two
tables with different rows may behave alike, and two with the same rows may not, since reducers are code.

>>> from bluegreen.diagram.diff.state_graph import graph_of
>>> from bluegreen.verify.pytest_plugin.builtin_tables import QUERY_VERIFICATION
>>> graph = graph_of(QUERY_VERIFICATION.table, [("", QUERY_VERIFICATION)])
>>> found = compare(graph, graph)
>>> found.verdict, found.pairs == len(graph.states)
('same', True)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, Final

import attrs

from bluegreen.diagram.diff.state_graph import ACCEPTED, FORBIDDEN, Graph, GraphStep, NotExplored
from bluegreen.table.rows import Declaration, Row, RowKind, cell_facts
from bluegreen.verify.export.formats import name_of

DIFFER: Final = "differ"
SAME: Final = "same"
SO_FAR: Final = "same so far"
UNKNOWN: Final = "unknown"
VERDICTS: Final = (DIFFER, SAME, SO_FAR, UNKNOWN)
"""What can be said: they differ; they do not; they do not within a bound; that cannot be found out."""

CASES: Final = 4_096
"""Cases of one state and event at most, where facts are free to choose."""


@attrs.frozen
class Answer:
    """What one side does with an event.

    Args:
        said: `accepted`, `forbidden`, or what it raises.
        state: the state after it; if it is not accepted, the one before.
        effects: what is to be done then, in order.
    """

    said: str
    state: str
    effects: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.said != ACCEPTED:
            return f"{self.said} in {self.state}"
        return f"{self.state}, {', '.join(self.effects) or 'no effects'}"


@attrs.frozen
class BehaviourExample:
    """A shortest sequence of events of which the two sides answer the last one differently.

    Args:
        start: what is said of the context in which it begins, if there are several.
        events: in words; none if they begin in different states.
        old, new: what either does with the last one.
    """

    start: str
    events: tuple[str, ...]
    old: Answer
    new: Answer


@attrs.frozen
class Behaviour:
    """How two machines behave.

    Args:
        verdict: one of `VERDICTS`.
        pairs: how many pairs of states (and contexts) were compared.
        shown: how they differ, if they do.
        free: whether the facts were free to choose, since a side has no code.
        notes: what this leaves open.
    """

    verdict: str
    pairs: int = 0
    shown: BehaviourExample | None = None
    free: bool = False
    notes: tuple[str, ...] = ()


def compare(old: Graph, new: Graph) -> Behaviour:
    """Send both the same events, from each context in which both may begin, until they differ or all was seen.

    An event that only one side knows is not sent; it is noted. If both know it, and it carries other things, nothing
    can be said unless they differ in something else.
    """
    return _Comparison(old, new).run()


class _Comparison:
    """A search, breadth first, over pairs of nodes."""

    def __init__(self, old: Graph, new: Graph) -> None:
        self._old, self._new = old, new
        self._causes: dict[tuple[int, int], tuple[tuple[int, int], str] | str] = {}
        self._complete = True

    def run(self) -> Behaviour:
        old, new, causes = self._old, self._new, self._causes
        waiting: list[tuple[int, int]] = []
        for name in (name for name in old.starts if name in new.starts):
            pair = old.starts[name], new.starts[name]
            if pair not in causes:
                causes[pair] = name
                waiting.append(pair)
        for pair in waiting:
            begin = Answer(ACCEPTED, old.states[pair[0]]), Answer(ACCEPTED, new.states[pair[1]])
            if begin[0] != begin[1]:
                return self._search(pair, (), *begin)
        if not waiting:
            return Behaviour(UNKNOWN, notes=("they have no context in common in which both begin",))
        for pair in waiting:  # it grows
            for event, mine, its in self._events_sent(pair):
                answers = _answer(old, pair[0], mine), _answer(new, pair[1], its)
                if answers[0] != answers[1]:
                    return self._search(pair, (old.words[event],), *answers)
                if mine.to is not None and its.to is not None and (after := (mine.to, its.to)) not in causes:
                    causes[after] = pair, event
                    waiting.append(after)
        verdict = UNKNOWN if self._other_contents() else SAME if self._complete else SO_FAR
        return Behaviour(verdict, len(causes), notes=self._notes())

    def _other_contents(self) -> bool:
        """Whether an event that both know carries other things on one side."""
        sides = self._old.words, self._new.words
        names = [{_name(word) for word in words.values()} for words in sides]
        unshared = {**sides[0], **sides[1]}.items()
        return any(
            _name(word) in names[0] & names[1]
            for event, word in unshared
            if event not in sides[0] or event not in sides[1]
        )

    def _events_sent(self, pair: tuple[int, int]) -> Iterator[tuple[str, GraphStep, GraphStep]]:
        mine, its = self._old.moves[pair[0]], self._new.moves[pair[1]]
        if mine is None or its is None:
            self._complete = False
            return
        for event, move in mine.items():
            if event in its:
                yield event, move, its[event]

    def _search(self, pair: tuple[int, int], last: tuple[str, ...], old: Answer, new: Answer) -> Behaviour:
        events: list[str] = []
        cause = self._causes[pair]
        while not isinstance(cause, str):
            pair, event = cause
            events.append(self._old.words[event])
            cause = self._causes[pair]
        several = len(self._old.starts) > 1
        shown = BehaviourExample(cause if several else "", (*reversed(events), *last), old, new)
        return Behaviour(DIFFER, len(self._causes), shown, notes=self._notes())

    def _notes(self) -> tuple[str, ...]:
        found: list[str] = []
        for side, mine, its in (("old", self._old, self._new), ("new", self._new, self._old)):
            alone = dict.fromkeys(word for event, word in mine.words.items() if event not in its.words)
            if alone:
                found.append(f"not compared, since only the {side} one is sent it: {', '.join(alone)}")
            starts = [name for name in mine.starts if name not in its.starts]
            if starts:
                found.append(f"not compared, since only the {side} one begins there: {_few(starts)}")
        return tuple(found)


def _name(words: str) -> str:
    """Return the name of an event: what it carries follows in parentheses, what else is said after a comma."""
    return words.partition("(")[0].partition(",")[0]


def _few(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(name or "its own context" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _answer(graph: Graph, node: int, move: GraphStep) -> Answer:
    return Answer(move.said, graph.states[node if move.to is None else move.to], move.effects)


def compare_cases(old: Declaration, new: Declaration) -> Behaviour:
    """Compare two tables of which one has no code, such as one that was read from a file.

    In each state, every event is sent in every case of the facts that either side asks. A run need not bring
    about each of them; and what reducers do is not known, so that nothing is said if both call them differently.
    """
    cases = _Cases(old, new)
    try:
        found = compare(*cases.graphs())
    except NotExplored as error:
        return Behaviour(UNKNOWN, free=True, notes=(str(error),))
    notes = [*found.notes, *cases.notes]
    if found.shown is not None:
        notes.append("facts are free to choose here: whether a run brings this case about is not known")
        return attrs.evolve(found, free=True, notes=tuple(notes))
    if cases.reducers:
        several = ", ".join(cases.reducers)
        notes.append(f"what reducers do is code, which a file does not have, and they differ: {several}")
        return Behaviour(UNKNOWN, found.pairs, free=True, notes=tuple(notes))
    notes.append("provided that facts, reducers and effects of the same name do the same")
    return attrs.evolve(found, free=True, notes=tuple(notes))


class _Cases:
    """Both tables as graphs in which a node is a state, and an event comes with a case of the facts."""

    def __init__(self, old: Declaration, new: Declaration) -> None:
        self._tables = old, new
        self.notes: list[str] = []
        self.reducers: list[str] = []

    def graphs(self) -> tuple[Graph, Graph]:
        """Return both graphs.

        Raises:
            NotExplored: a cell has too many cases.
        """
        old, new = self._tables
        states = [one.name for one in old.states if one.name in {other.name for other in new.states}]
        moves: tuple[dict[str, dict[str, GraphStep]], ...] = ({}, {})
        words: tuple[dict[str, str], ...] = ({}, {})
        known = [{event.name: event for event in table.events} for table in self._tables]
        for side, mine, its in ((0, known[0], known[1]), (1, known[1], known[0])):
            words[side].update({name: name for name in mine if name not in its})
        for state in states:
            for event in (name for name in known[0] if name in known[1]):
                cells = [table.cell(state, known[side][event]) for side, table in enumerate(self._tables)]
                for case, taken in self._taken(state, cells):
                    key = f"{event} where {case}" if case else event
                    for side, row in enumerate(taken):
                        words[side][key] = key
                        moves[side].setdefault(state, {})[key] = _case_move(self._names(side), row)
        return self._graph(0, moves[0], words[0]), self._graph(1, moves[1], words[1])

    def _names(self, side: int) -> list[str]:
        return [one.name for one in self._tables[side].states]

    def _graph(self, side: int, moves: dict[str, dict[str, GraphStep]], words: dict[str, str]) -> Graph:
        names = self._names(side)
        start = {"": names.index(self._tables[side].initial)} if self._tables[side].initial in names else {}
        return Graph(start, tuple(names), tuple(moves.get(name, {}) for name in names), words)

    def _taken(
        self, state: str, cells: Sequence[tuple[Row, ...]]
    ) -> Iterator[tuple[str, tuple[Row | None, Row | None]]]:
        """Yield each case of the facts, with the row that either side takes then."""
        domains: dict[str, tuple[Hashable, ...]] = {}
        for fact in (fact for cell in cells for fact in cell_facts(cell)):
            mine = fact.domain(state)
            before = domains.setdefault(fact.name, mine)
            domains[fact.name] = tuple(value for value in before if value in mine)
            if set(before) != set(mine):
                note = f"not compared: the values of {fact.name} in {state} that only one side has"
                self.notes += [note] * (note not in self.notes)
        if prod(map(len, domains.values())) > CASES:
            raise NotExplored(f"{state} has more than {CASES} cases for one event")
        for values in product(*domains.values()):
            known = dict(zip(domains, values, strict=True))
            old, new = (next((row for row in cell if row.guard.holds(known)), None) for cell in cells)
            if old is not None and new is not None and _reducer(old) != _reducer(new):
                told = f"{_reducer(old) or 'none'} and {_reducer(new) or 'none'}"
                self.reducers += [told] * (told not in self.reducers)
            yield ", ".join(f"{name}={value}" for name, value in known.items()), (old, new)


def _reducer(row: Row) -> str:
    return "" if row.reducer is None or row.outcome is RowKind.FORBID else name_of(row.reducer)


def _case_move(names: Sequence[str], row: Row | None) -> GraphStep:
    if row is None:
        return GraphStep("undecided")
    if row.outcome is RowKind.FORBID:
        return GraphStep(FORBIDDEN)
    after: Any = row.state if row.target is None else row.target
    effects = tuple(name_of(make).lstrip("_") for make in row.effects)
    return (
        GraphStep(ACCEPTED, names.index(after), effects) if after in names else GraphStep(f"leads to {after}")
    )
