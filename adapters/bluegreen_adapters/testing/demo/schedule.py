"""What the demo does and when, as data: the same for both connectors, and the same again for the same seed.

A `Schedule` says when which switch is played. `statements` says what each thread asks, in which order.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

KINDS: Final = (
    "graceful",
    "announced_abrupt",
    "silent_drain",
    "abrupt",
    "rollback",
    "withdrawn",
    "double",
    "not_ready",
)
"""The switches that are played; `bluegreen_adapters.testing.engine.scenarios` says what each one is."""

SWITCHES: Final = 20
"""Switches without which there is no verdict."""

QUERIES: Final = 3_000
"""Queries without which there is no verdict."""

PERIOD_S: Final = 0.9
GRACE_S: Final = 0.3
DRAIN_S: Final = 0.5
LEAD_S: Final = 0.5
OVERTIME_S: Final = 10.0


@attrs.frozen
class Planned:
    """One switch, and the second at which it begins."""

    at_s: float
    kind: str


@attrs.frozen
class Schedule:
    """When which switch is played, and how long queries are sent.

    Args:
        switches: in the order of time.
        ends_s: second at which the last query is begun, if there have been enough by then.
        least_queries: how many are enough.
        most_s: second at which the last query is begun in any case.
        grace_s: seconds that a switch takes.
        drain_s: seconds that a switch then waits at most for what still runs on the old stack.
    """

    switches: tuple[Planned, ...]
    ends_s: float
    least_queries: int
    most_s: float
    grace_s: float = GRACE_S
    drain_s: float = DRAIN_S


def schedule(
    switches: int,
    seed: int,
    *,
    lead_s: float = LEAD_S,
    period_s: float = PERIOD_S,
    least_queries: int = QUERIES,
) -> Schedule:
    """Return a schedule of so many switches: all kinds equally often, in an order that the seed gives.

    Args:
        switches: how many.
        seed: where their order comes from.
        lead_s: second at which the first one begins.
        period_s: seconds from the beginning of one to the beginning of the next.
        least_queries: how many queries are enough, if there are enough switches for a verdict.

    Raises:
        ValueError: there is no switch to play.

    >>> plan = schedule(8, seed=1)
    >>> sorted(planned.kind for planned in plan.switches) == sorted(KINDS)
    True
    """
    if switches < 1:
        raise ValueError(f"switches={switches}; accepted: 1 or more")
    kinds = (list(KINDS) * -(-switches // len(KINDS)))[:switches]
    random.Random(seed).shuffle(kinds)
    planned = tuple(Planned(lead_s + number * period_s, kind) for number, kind in enumerate(kinds))
    ends_s = lead_s + switches * period_s
    least = least_queries if switches >= SWITCHES else 0
    return Schedule(planned, ends_s, least, ends_s + OVERTIME_S)


@attrs.frozen
class Shape:
    """A way to ask.

    Args:
        weight: how often it comes, compared with the others.
        rows: rows of the result; none: the statement writes.
        batch: rows per batch.
        sleep_ms: least and most milliseconds that its execution takes.
        page: rows to fetch at a time, or none for all at once.
        pause_ms: milliseconds to work on each page.
    """

    weight: int
    rows: int | None = None
    batch: int = 1
    sleep_ms: tuple[int, int] = (0, 0)
    page: int | None = None
    pause_ms: int = 0


MIX: Final[Mapping[str, Shape]] = {
    "look-up": Shape(40, rows=3, batch=3),
    "list": Shape(14, rows=10, batch=4),
    "report": Shape(9, rows=40, batch=10),
    "nothing found": Shape(4, rows=0),
    "slow read": Shape(9, rows=6, batch=3, sleep_ms=(20, 120)),
    "page by page": Shape(5, rows=12, batch=4, page=4, pause_ms=15),
    "write": Shape(15),
    "slow write": Shape(4, sleep_ms=(20, 80)),
}
"""What is asked. The slow ones are there to be in flight when a stack goes away."""

LONG_MIX: Final[Mapping[str, Shape]] = {
    "read": Shape(60, rows=6, batch=3, sleep_ms=(100, 500)),
    "page by page": Shape(20, rows=12, batch=4, page=4, pause_ms=80),
    "write": Shape(20, sleep_ms=(100, 500)),
}
"""Queries that are always in flight, and take little of the processor."""

MIXES: Final[Mapping[str, Mapping[str, Shape]]] = {"all": MIX, "long": LONG_MIX}
"""What is asked, by name."""

PROBE: Final = "SELECT * FROM probes"
"""How the text of a probe begins: look-ups of one shape, whose latencies can be compared."""


@attrs.frozen
class Statement:
    """One statement; no other one of a run has its text, so whatever happens to it is seen by its text.

    Args:
        text: what is sent.
        rows: rows that it must return; none: it writes.
        page: rows to fetch at a time, or none for all at once.
        pause_s: seconds to work on each page.
    """

    text: str
    rows: int | None
    page: int | None = None
    pause_s: float = 0.0

    def complaint(self, rows: list[Any]) -> str | None:
        """Return what is wrong with the rows that this statement has returned, or none.

        >>> Statement("SELECT 1", rows=2).complaint([(0, "SELECT 1", "blue"), (1, "SELECT 1", "green")])
        'its rows come from 2 stacks'
        """
        if self.rows is None:
            return "a write returned rows" if rows else None
        numbers = [row[0] for row in rows]
        if numbers != list(range(self.rows)):
            return f"{self.rows} rows were due, {len(rows)} came: {str(numbers)[:60]}"
        if any(row[1] != self.text for row in rows):
            return "the rows of another statement"
        stacks = len({row[2] for row in rows})
        return None if stacks <= 1 else f"its rows come from {stacks} stacks"


def probes(thread: int) -> Iterator[Statement]:
    """Yield without end what a thread asks that probes.

    >>> next(probes(thread=1)).text
    'SELECT * FROM probes WHERE thread = 1 AND id = 1 /*+ rows(3) batch(3) */'
    """
    for number in itertools.count(1):
        text = f"{PROBE} WHERE thread = {thread} AND id = {number} /*+ rows(3) batch(3) */"
        yield Statement(text, rows=3)


def statements(seed: int, thread: int, mix: Mapping[str, Shape] = MIX) -> Iterator[Statement]:
    """Yield without end what a thread asks.

    >>> first, again = (next(statements(seed=1, thread=0)) for _ in range(2))
    >>> first == again
    True
    """
    chance = random.Random(f"{seed}/{thread}")
    names = list(mix)
    weights = [shape.weight for shape in mix.values()]
    number = 0
    while True:
        number += 1
        shape = mix[chance.choices(names, weights)[0]]
        sleep_ms = chance.randint(*shape.sleep_ms)
        yield Statement(_text(shape, sleep_ms, thread, number), shape.rows, shape.page, shape.pause_ms / 1000)


def _text(shape: Shape, sleep_ms: int, thread: int, number: int) -> str:
    hints = [f"sleep_ms({sleep_ms})"] if sleep_ms else []
    if shape.rows is None:
        hint = f" /*+ {' '.join(hints)} */" if hints else ""
        return f"INSERT INTO orders VALUES ({thread}, {number}){hint}"
    hints += [f"rows({shape.rows})", f"batch({shape.batch})"]
    return f"SELECT * FROM orders WHERE customer = {thread} AND id = {number} /*+ {' '.join(hints)} */"
