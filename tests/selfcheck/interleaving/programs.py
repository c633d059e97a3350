"""Programs: what some threads do with one manager at the same time, as data, and what they may do by chance.

>>> chance(seed=1, threads=2, operations=3).scripts == chance(seed=1, threads=2, operations=3).scripts
True
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import attrs

from bluegreen.config.settings import Settings
from bluegreen.errors import Refusal
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    CacheInvalidated,
    Error456,
    QueryCompleted,
    QueryFailed,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.types import Strategy, Ticket
from selfcheck.interleaving.instrumented_manager import Watched

BLUE, GREEN = Strategy.BLUE, Strategy.GREEN


class CrashError(Exception):
    """What is raised by a `prove` that crashes."""


@attrs.define(eq=False)
class Caller:
    """One thread of a program: the manager, the tickets that were open before, and its own."""

    manager: Watched
    given: tuple[Ticket, ...]
    own: list[Ticket] = attrs.field(factory=list[Ticket])

    def starts(self, *refusing: Strategy, crashes: bool = False) -> Ticket:
        """Start a query, whose connection some strategies refuse."""

        def prove(strategy: Strategy) -> None:
            if crashes:
                raise CrashError
            if strategy in refusing:
                raise Refusal("status 456")

        ticket = self.manager.start(self.manager.asking(prove))
        self.own.append(ticket)
        return ticket

    def ticket(self, number: int | None) -> Ticket:
        """Return a ticket that was open before, or the last one of its own; the first given one if it has none."""
        return self.given[number] if number is not None else self.own[-1] if self.own else self.given[0]

    def news(self, kind: type[Any], strategy: Strategy) -> Any:
        """Send news that was asked for just now."""
        return self.manager.send(kind(strategy, self.manager.state_version))


def _ends(number: int | None, kind: type[Any] = QueryCompleted) -> Callable[[Caller], Any]:
    return lambda caller: caller.manager.end(kind(caller.ticket(number)))


OPERATIONS: Final[dict[str, Callable[[Caller], Any]]] = {
    "start": lambda caller: caller.starts(),
    "start refused by blue": lambda caller: caller.starts(BLUE),
    "start refused by both": lambda caller: caller.starts(BLUE, GREEN),
    "start crashing": lambda caller: caller.starts(crashes=True),
    "end": _ends(None),
    "end 0": _ends(0),
    "end 1": _ends(1, QueryFailed),
    "abandon": lambda caller: caller.manager.abandon(caller.ticket(None)),
    "abandon 0": lambda caller: caller.manager.abandon(caller.ticket(0)),
    "look": lambda caller: caller.manager.open_tickets,
    "send announced green": lambda caller: caller.news(StrategyAnnounced, GREEN),
    "send announced blue": lambda caller: caller.news(StrategyAnnounced, BLUE),
    "send 456 of blue": lambda caller: caller.news(Error456, BLUE),
    "send 456 of green": lambda caller: caller.news(Error456, GREEN),
    "send accepted by green": lambda caller: caller.news(AuthSuccess, GREEN),
    "send failed on green": lambda caller: caller.news(AuthFailure, GREEN),
    "send rollback": lambda caller: caller.manager.send(RollbackRequested()),
    "send reset": lambda caller: caller.manager.send(Reset()),
    "send invalidated": lambda caller: caller.manager.send(CacheInvalidated()),
    "proved blue": lambda caller: caller.manager.proved(BLUE),
    "proved green": lambda caller: caller.manager.proved(GREEN),
    "wait 1 s": lambda caller: caller.manager.clock.advance(1),
    "wait 30 s": lambda caller: caller.manager.clock.advance(30),
    "wait 3600 s": lambda caller: caller.manager.clock.advance(3600),
}
"""What a thread can do. A start begins a query, an end or an abandon without a number ends the last one of its own."""

Given = Callable[[Watched], tuple[Ticket, ...]]


def _stable(manager: Watched) -> tuple[Ticket, ...]:
    manager.send(AuthSuccess(BLUE, manager.state_version))
    return manager.start(_nobody), manager.start(_nobody)


def _pending(manager: Watched) -> tuple[Ticket, ...]:
    manager.send(AuthSuccess(BLUE, manager.state_version))
    old = manager.start(_nobody)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    return old, manager.start(_nobody)


def _detecting(manager: Watched) -> tuple[Ticket, ...]:
    tickets = _stable(manager)
    manager.send(CacheInvalidated())
    return tickets


def _nobody(strategy: Strategy, _: float) -> None:
    raise CrashError(f"nobody was to ask {strategy}")


GIVEN: Final[dict[str, Given]] = {
    "new": lambda _: (),
    "stable": _stable,
    "pending": _pending,
    "detecting": _detecting,
}
"""How a manager is before the threads begin, and the tickets that are open then: on blue, but the last of `pending`."""


@attrs.frozen
class Program:
    """Some threads, and what each of them does in order.

    Args:
        name: what races with what.
        given: how the manager is before; one of `GIVEN`.
        scripts: for each thread the names of its operations, out of `OPERATIONS`.
        settings: of the manager.
    """

    name: str
    given: str
    scripts: tuple[tuple[str, ...], ...]
    settings: Settings = attrs.field(factory=Settings, repr=False)


PROGRAMS: Final = (
    Program("456 races commit", "pending", (("send 456 of green",), ("end 0", "start"))),
    Program("announcement races start", "stable", (("send announced green", "end 0"), ("start", "end"))),
    Program("commit races end", "pending", (("end 0", "start"), ("end 1", "start"))),
    Program("rollback races announcement", "stable", (("send announced green", "send rollback"), ("start", "end 0"))),
    Program("an end from two threads", "stable", (("end 0", "end 0", "start"), ("end 0", "end 1"))),
    Program("abandon races start", "stable", (("abandon 0", "start"), ("start", "end 0"))),
    Program("proof races expiry", "stable", (("proved blue", "end 0"), ("wait 3600 s", "start"))),
    Program("a detection that crashes", "new", (("start crashing",), ("start",))),
    Program("a detection that both refuse", "new", (("start refused by both",), ("start refused by blue",))),
    Program("time-out races success", "new", (("start",), ("wait 30 s", "start"))),
    Program("a whole switch", "stable", (("send announced green", "end 0", "start"), ("end 1", "start", "end"))),
    Program("two detections", "new", (("start", "end"), ("start", "end"))),
    Program("time-out races a new detection", "detecting", (("start",), ("wait 30 s", "start", "send reset", "start"))),
)  # fmt: skip
"""The races of two threads that matter; the smaller ones come first, and only the last is too large for all of it."""

THREES: Final = (
    Program("an end from three threads", "pending", (("end 0",), ("end 0",), ("end 1", "start"))),
    Program("an announcement, an end and a start", "stable", (
        ("send announced green",), ("end 0",), ("end 1", "start"),
    )),
    Program("a switch and its withdrawal", "stable", (
        ("send announced green", "send announced blue"), ("end 0", "end 1"), ("start", "end"),
    )),
    Program("three detections", "new", (("start",), ("start refused by blue",), ("start crashing",))),
    Program("time-out races two callers", "new", (("start",), ("start",), ("wait 30 s",))),
    Program("a refusal, a commit and a start", "pending", (("send 456 of green", "start"), ("end 0",), ("start",))),
    Program("a reset, a refusal and a detection", "detecting", (
        ("send reset", "start"), ("start refused by blue",), ("send 456 of blue", "end 0"),
    )),
)  # fmt: skip
"""Races of three threads. Most have more schedules than anybody waits for."""


def chance(seed: int, threads: int, operations: int) -> Program:
    """Return a program made at random.

    Args:
        seed: the same seed makes the same program.
        threads: how many.
        operations: how many each of them does.
    """
    drawn = random.Random(f"{seed} {threads} {operations}")
    given = drawn.choice(sorted(set(GIVEN) - {"new"}))
    names = sorted(OPERATIONS)
    scripts = tuple(tuple(drawn.choice(names) for _ in range(operations)) for _ in range(threads))
    return Program(f"by chance, seed {seed}", given, scripts)
