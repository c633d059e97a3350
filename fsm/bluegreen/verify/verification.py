"""Any machine: what a user says about a table of their own, and all that can be asked of it.

>>> from bluegreen.machines.retry import RETRY, Attempts
>>> from bluegreen.verify.properties.base import Always
>>> bounded = Always("bounded", "at most three resends", lambda taken: taken.step.context.resends <= 3)
>>> found = Verification(RETRY, Attempts(), properties=(bounded,)).explore()
>>> found.complete, found.violations, found.missed
(True, (), ())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from bluegreen.table.guards import as_tuple
from bluegreen.table.table import Table
from bluegreen.verify.exploration.single_table import EventsOf, ExplorationResult, explore
from bluegreen.verify.properties.base import Property

if TYPE_CHECKING:
    from bluegreen.verify.mutation.operators import MutantResult


def _as_it_is(context: Any) -> Any:
    return context


@attrs.frozen(eq=False)
class Verification:
    """What is said about a table: how it is explored, and which properties it has.

    Args:
        table: any table.
        context: the context in which the machine begins.
        events: (state, context) -> what may be sent there, finitely much; by default the samples of the table,
            and one of each class that has none and can be made without arguments.
        properties: what always holds, what sometimes happens, what eventually follows; each looks at a step.
        plain: returns the context that stands for all those from which the same can follow.
        mutants: whether its mutants are tried where that is left to it, as in `pytest --bluegreen-verify=full`.
        explained: mutants that nothing can notice, by name, with the reason.
        states: how many are kept at most.
        subject: makes what is held against the table in long random runs, by default a `Machine` of it; see
            `hypothesis.systems_under_test.Subject`. A class with `events` says itself what is sent; to anything else
            `events` says it.

    Raises:
        ValueError: there is nothing to send of some class; or a property looks at a world, or two have the same name.

    The docstring of the module has an example.
    """

    table: Table[Any, Any, Any]
    context: Any = None
    events: EventsOf | None = None
    properties: tuple[Property, ...] = attrs.field(default=(), converter=as_tuple)
    plain: Callable[[Any], Any] = _as_it_is
    mutants: bool = True
    explained: Mapping[str, str] = attrs.field(factory=dict[str, str])
    states: int = 200_000
    subject: Callable[[], Any] | None = None
    _sent: tuple[Any, ...] = attrs.field(init=False, default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        name = self.table.name
        if self.events is None:
            object.__setattr__(self, "_sent", _samples(self.table))
        names = [one.name for one in self.properties]
        for one in self.properties:
            if one.of != "step":
                raise ValueError(f'{name}: {one.name!r} looks at a {one.of}; accepted here: of="step"')
            if names.count(one.name) > 1:
                raise ValueError(f"{name}: several properties are called {one.name!r}")

    def events_of(self, state: str, context: Any) -> Iterable[Any]:
        """Return what may be sent in (state, context)."""
        return self._sent if self.events is None else self.events(state, context)

    def explore(self, table: Table[Any, Any, Any] | None = None, **options: Any) -> ExplorationResult:
        """Explore the table, or another one in its place.

        Args:
            options: those of `exploration.single_table.explore`.
        """
        options = {"plain": self.plain, "states": self.states, **options}
        return explore(table or self.table, self.context, self.events_of, self.properties, **options)

    def mutate(self) -> Mutated:
        """Try every mutant of the table: whether its definition or a property notices."""
        from bluegreen.verify.mutation.operators import effective_mutants, judge

        bound = 2 * self.explore().states + 100
        context: Any = self.context.__class__
        fields = attrs.fields(context) if attrs.has(context) else ()
        dropped = {field.name: (field.name,) for field in fields}

        def examined(name: str, table: Table[Any, Any, Any]) -> MutantResult | None:
            return self._examined(name, table, bound)

        verdicts = tuple(judge(mutant, examined) for mutant in effective_mutants(self.table, dropped))
        return Mutated(verdicts, dict(self.explained), tuple(one.name for one in self.properties))

    def _examined(self, name: str, table: Table[Any, Any, Any], bound: int) -> MutantResult | None:
        from bluegreen.verify.mutation.operators import MutantResult

        found = self.explore(table, states=bound)
        also = (*(one.name for one in found.violations), *found.unreached)
        if found.violations:
            first = found.violations[0]
            return MutantResult(name, first.name, first.detail, first.events, also=also)
        if not found.complete:
            return MutantResult(name, "bound", f"more than {bound} states, twice as many as there should be")
        if found.unreached:
            return MutantResult(name, found.unreached[0], "it never happens", also=also)
        return None


@attrs.frozen
class Mutated:
    """What became of the mutants of a table.

    Args:
        verdicts: one for each.
        explained: mutants that nothing can notice, with the reason.
        properties: the names of what is to notice them.
    """

    verdicts: tuple[MutantResult, ...]
    explained: Mapping[str, str]
    properties: tuple[str, ...]

    @property
    def survivors(self) -> tuple[str, ...]:
        """The names of those that nothing noticed and nobody has explained."""
        unnoticed = (one for one in self.verdicts if not one.killer and not one.reason)
        return tuple(one.name for one in unnoticed if one.name not in self.explained)

    @property
    def stale(self) -> tuple[str, ...]:
        """The names that are explained, and are noticed, or are no mutants at all."""
        unnoticed = {one.name for one in self.verdicts if not one.killer}
        return tuple(name for name in self.explained if name not in unnoticed)

    @property
    def vacuous(self) -> tuple[str, ...]:
        """Properties that no mutant breaks: they may be said of nothing."""
        from bluegreen.verify.mutation.operators import vacuous

        return vacuous(list(self.verdicts), self.properties)

    def __str__(self) -> str:
        noticed = sum(1 for one in self.verdicts if one.killer)
        lines = [f"{noticed} of {len(self.verdicts)} mutants noticed"]
        lines += [f"  nothing notices: {name}" for name in self.survivors]
        lines += [f"  explained, but noticed or gone: {name}" for name in self.stale]
        lines += [f"  no mutant breaks: {name}" for name in self.vacuous]
        return "\n".join(lines)


def _samples(table: Table[Any, Any, Any]) -> tuple[Any, ...]:
    """Return the samples of a table, and one event of each class that has none."""
    sent = [*table.samples]
    for event in table.events:
        if event in map(type, table.samples):
            continue
        kind: Any = event
        fields = attrs.fields(kind) if attrs.has(kind) else ()
        needs = ", ".join(one.name for one in fields if one.default is attrs.NOTHING)
        if needs:
            wanted = "give `events`, or the table `samples` of it"
            raise ValueError(f"{table.name}: {event.name} needs {needs}; {wanted}")
        sent.append(event())
    return tuple(sent)
