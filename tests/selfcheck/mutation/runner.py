"""All mutants of the shipped tables and all bugs of the field, tried on several processors, and what to make of it.

>>> some = tried([("query", 0), ("query", 1)], workers=1)
>>> [bool(one.killer) for one in some]
[True, True]
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Final

import attrs

from bluegreen.verify.mutation.operators import Mutant, MutantResult, score, vacuous
from bluegreen.verify.properties.base import Property
from bluegreen.verify.properties.step_invariants import QUERY_ALWAYS, STEPS
from selfcheck.model.users import USERS_PROPERTIES
from selfcheck.mutation.known_bugs import FIELD_BUGS
from selfcheck.mutation.known_runtime_bugs import RUNTIME_BUGS, RUNTIME_PROPERTIES
from selfcheck.mutation.known_store_bugs import SHARING_BUGS, SHARING_PROPERTIES
from selfcheck.mutation.known_user_bugs import USERS_BUGS
from selfcheck.mutation.own_tables import TABLES, explore_in_world, explore_mutant, judge_own, own_mutants
from selfcheck.properties.cluster import WORLD_ALWAYS, WORLD_EVENTUALLY, WORLD_SOMETIMES

Key = tuple[str, int]
"""A table's name and the number of one of its mutants: what a mutant is called in another process."""

_ALL: Final[tuple[Property, ...]] = (
    *STEPS, *QUERY_ALWAYS, *WORLD_ALWAYS, *WORLD_EVENTUALLY, *WORLD_SOMETIMES, *RUNTIME_PROPERTIES,
    *SHARING_PROPERTIES, *USERS_PROPERTIES,
)  # fmt: skip
_BESIDE: Final = (*RUNTIME_BUGS, *SHARING_BUGS, *USERS_BUGS)
PROPERTIES: Final = tuple(one.name for one in _ALL)  # fmt: skip
"""The names of the properties, each of which some mutant has to break."""


@attrs.frozen
class Mutation:
    """What became of all mutants.

    Args:
        bugs: the bugs of the field.
        generated: every other mutant.
        worlds: what the bugs of the field break in a world, beside what is seen of a table alone.
    """

    bugs: tuple[MutantResult, ...]
    generated: tuple[MutantResult, ...]
    worlds: tuple[MutantResult, ...] = ()

    @property
    def score(self) -> float:
        """The share of the generated mutants that something noticed, those that are equivalent aside."""
        return score(list(self.generated))

    @property
    def survivors(self) -> tuple[MutantResult, ...]:
        """What nothing noticed, with the reason if one is known."""
        return tuple(one for one in (*self.bugs, *self.generated) if not one.killer)

    @property
    def unexplained(self) -> tuple[MutantResult, ...]:
        """What nothing noticed, and nobody knows why."""
        return tuple(one for one in self.survivors if not one.reason)

    @property
    def vacuous(self) -> tuple[str, ...]:
        """Properties that no mutant breaks: they may be said of nothing."""
        return vacuous([*self.bugs, *self.worlds, *self.generated], PROPERTIES)


def mutate(workers: int | None = None, told: Callable[[int, int], None] | None = None) -> Mutation:
    """Try every bug of the field and every mutant of the shipped tables.

    Args:
        workers: processes; as many as there are processors by default.
        told: called with how many are done, and how many there are.
    """
    keys = [(table.name, number) for table in TABLES for number in range(len(_of(table.name)))]
    total = len(keys) + 2 * len(FIELD_BUGS) + len(_BESIDE)
    bugs = [bug.verdict() for bug in _BESIDE]
    bugs += [explore_mutant(bug.name, bug.table()) or MutantResult(bug.name, "") for bug in FIELD_BUGS]
    worlds: list[MutantResult] = []
    for bug in FIELD_BUGS:
        worlds += [found for found in (explore_in_world(bug.name, bug.table()),) if found is not None]
        if told is not None:
            told(len(bugs) + len(worlds), total)
    before = total - len(keys)
    generated: list[MutantResult] = []
    for verdict in tried(keys, workers):
        generated.append(verdict)
        if told is not None:
            told(before + len(generated), total)
    return Mutation(tuple(bugs), tuple(generated), tuple(worlds))


def tried(keys: Iterable[Key], workers: int | None = None) -> Iterator[MutantResult]:
    """Yield what becomes of some mutants, in their order.

    Args:
        workers: processes; 1 is this one.
    """
    if workers == 1:
        yield from map(_judged, keys)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_judged, keys, chunksize=8)


@cache
def _of(table: str) -> list[Mutant]:
    return own_mutants(next(one for one in TABLES if one.name == table))


def _judged(key: Key) -> MutantResult:
    table, number = key
    return judge_own(_of(table)[number])
