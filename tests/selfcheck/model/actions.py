"""What can happen to one process in one phase of its cluster: every move, with what it leads to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from bluegreen.machines.query import (
    BatchFetched,
    Cancelled,
    Cleared,
    Errored,
    Executed,
    Exhausted,
    Prepared,
    Refused456,
    RowsHandedOut,
)
from bluegreen.machines.strategy.context import FAILED
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    CacheExpired,
    CacheInvalidated,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.types import Strategy
from bluegreen.verify.exploration.version_abstraction import NOW
from selfcheck.model.cluster import Phase
from selfcheck.model.process import ActionTrace, Machines, Process, Query

NEWS: Final[tuple[Any, ...]] = (StrategyAnnounced, Error456, AuthSuccess, AuthFailure, PersistentFailure)
EVENTS: Final = {
    cls.name: cls()
    for cls in (
        ConnectionOpened, CacheExpired, CacheInvalidated, DetectionTimedOut, CooldownEnded, DrainTimedOut,
        RollbackRequested, Reset,
    )
}  # fmt: skip
"""What time and people bring, by name."""

MEDDLING: Final = "meddling"
"""The fair name of what time and people bring: they may, any number of times, but not for ever."""


@attrs.frozen
class Action:
    """Something that happens to one process.

    Args:
        text: what happens, in words.
        fair: the name under which it has to happen, if it can happen for ever; empty: it need not.
        after: the process after it.
        trail: what was sent and taken.
    """

    text: str
    fair: str
    after: Process
    trail: ActionTrace


@attrs.frozen
class ModelOptions:
    """What may happen in a world, apart from what the cluster does.

    Args:
        events: names of events that time and people bring.
        stale: whether news of earlier versions may arrive.
        lossy: whether the answer to an execution may be lost, or be one that leaves open what it did.
        kinds: whether the statements read: both by default.
        steps: what queries do besides going on and being cleared: `cancel`, `error`, `exhaust`, and `collect`: their
            connector receives rows, and hands them out later.
        replay: the setting of that name.
        words: whether the store may say anything at any time, whatever was written there.
        at_once: whether a begin may execute as well, in protocols without an RPC of its own for that.
        prompt: whether a process always hears what an answer means before it goes on, as it does in one thread.
    """

    events: tuple[str, ...] = tuple(EVENTS)
    stale: bool = True
    lossy: bool = True
    kinds: tuple[bool, ...] = (True, False)
    steps: tuple[str, ...] = ("cancel", "error", "exhaust", "collect")
    replay: str = "reads"
    words: bool = False
    at_once: bool = True
    prompt: bool = False


class Moves:
    """Every move of a process, by the rules of `liberties`.

    Args:
        machines: take the steps.
        liberties: what may happen.
        trail: what the moves leave behind.
    """

    def __init__(
        self, machines: Machines, liberties: ModelOptions, trail: type[ActionTrace] = ActionTrace
    ) -> None:
        self.machines, self.liberties, self._trails = machines, liberties, trail

    def of(self, phase: Phase, process: Process, *, room: bool) -> Iterator[Action]:
        """Yield every move; `room` says whether another query may begin."""
        yield from self._news(process)
        yield from self._authenticated(phase, process)
        if process.state == FAILED:
            yield from self._sent(process, "the cool-down is over: reset", "reset", Reset())
        for name in self.liberties.events:
            yield from self._sent(process, name, MEDDLING, EVENTS[name])
        for strategy in Strategy if self.liberties.words else ():
            text = f"the store says {strategy}"
            yield from self._sent(process, text, "", StrategyAnnounced(strategy, NOW))
        if room:
            for reads in self.liberties.kinds:
                yield from self._begun(phase, process, None, reads, "begin")
        for query in dict.fromkeys(process.queries):
            yield from self.query(phase, process, query)

    def _news(self, process: Process) -> Iterator[Action]:
        for event in process.news:
            yield from self._sent(process, f"{event.name}({event.strategy}) arrives", "", event)
        if self.liberties.stale:
            for cls in NEWS:
                for strategy in Strategy:
                    text = f"{cls.name}({strategy}) arrives late"
                    yield from self._sent(process, text, "", cls(strategy, NOW - 1))

    def _sent(self, process: Process, text: str, fair: str, event: Any) -> Iterator[Action]:
        trail = self._trail(process)
        if self.machines.send(trail, event) is not None or trail.faults:
            yield _move(text, fair, trail, process.queries)

    def _authenticated(self, phase: Phase, process: Process) -> Iterator[Action]:
        """A connection authenticates."""
        strategy, fair = self.target(process)
        if strategy is None:
            return
        answers: dict[str, Any] = {"serve": AuthSuccess, "refuse": Error456, "unavailable": AuthFailure}
        event = answers[phase.conduct(strategy).new](strategy, NOW)
        text = f"authenticate on {strategy}: {event.name}"
        yield from self._sent(process, text, fair, event)

    def target(self, process: Process) -> tuple[Strategy | None, str]:
        """Return whom a connection authenticates with, and the fair name of that: where the detection is, or
        where new queries go."""
        context, tags = process.context, self._tags(process.state)
        if context.untried and "waits" in tags:
            return context.untried[0], "prove"
        return (context.route, "") if "routes" in tags else (None, "")

    def _trail(self, process: Process) -> ActionTrace:
        return self._trails(process.state, process.context, frozenset(process.news))

    def _tags(self, state: str) -> tuple[str, ...]:
        return self.machines.strategy.state(state).tags

    def _begun(
        self, phase: Phase, process: Process, query: Query | None, reads: bool, fair: str
    ) -> Iterator[Action]:
        """A query gets a ticket, and is prepared there."""
        trail = self._trail(process)
        placed = self.machines.started(trail, query, reads, self.liberties.replay)
        if placed is None:
            if trail.faults:
                yield _move("begin", fair, trail, process.queries)
            return
        others = _without(process.queries, query)
        conduct = phase.conduct(placed.strategy)
        word = "again" if query is not None else "read" if reads else "write"
        text = f"prepare ({word}) on {placed.strategy}: {conduct.new}"
        outcome = {
            "serve": Prepared("q"), "refuse": Refused456(), "unavailable": Errored("harmless")
        }[conduct.new]  # fmt: skip
        begun = trail.copy()
        yield from self._answered(phase, trail, placed, others, outcome, conduct.new, (text, fair))
        if self.liberties.at_once:
            yield from self._at_once(phase, begun, placed, others, (word, fair))

    def _at_once(
        self,
        phase: Phase,
        trail: ActionTrace,
        query: Query,
        others: tuple[Query, ...],
        words: tuple[str, str],
    ) -> Iterator[Action]:
        """A query begins with an RPC that executes it as well; one that is refused is the same as with `prepare`."""
        answer, (word, fair) = phase.conduct(query.strategy).new, words
        text = f"begin and execute ({word}) on {query.strategy}: {answer}"
        if answer == "serve":
            served = trail.copy()
            known = self.machines.advance(served, query, Prepared("q"))
            if known is not None:
                said = (text, fair)
                yield from self._answered(phase, served, _ran(known), others, Executed(), answer, said)
        elif answer == "unavailable":
            unsure = Errored("execute")
            yield from self._answered(phase, trail.copy(), query, others, unsure, answer, (text, fair))
        if self.liberties.lossy and answer != "refuse":
            yield from self._unclear(phase, trail, _ran(query), others, text)

    def _unclear(
        self, phase: Phase, trail: ActionTrace, ran: Query, others: tuple[Query, ...], text: str
    ) -> Iterator[Action]:
        """It was executed, and what comes back does not say so."""
        for event, what in (
            (Errored("execute"), "the answer is lost"),
            (Errored("gone"), "the answer is that it is unknown"),
            (Errored("none"), "the answer is an error in the words of a refusal"),
        ):
            said = (f"{text}; done, and {what}", "")
            yield from self._answered(phase, trail.copy(), ran, others, event, "lost", said)

    def query(self, phase: Phase, process: Process, query: Query) -> Iterator[Action]:
        """Yield every move of one query of the process."""
        others = _without(process.queries, query)
        if not query.holds:
            yield from self._begun(phase, process, query, query.context.reads, "begin again")
            yield from self._ended(process, query, others, Cancelled(), "cancel")
            return
        conduct = phase.conduct(query.strategy)
        executed = query.state != "Prepared"
        answer = "gone" if query.gone else conduct.running if executed else conduct.prepared
        words = f"{'fetch' if executed else 'execute'} on {query.strategy}: {answer}", ""
        rpc = self._rpc(phase, process, others, words)
        if answer == "refuse":
            yield from rpc(query, Refused456(), answer)
        elif answer == "gone":
            yield from rpc(query, Errored("gone"), answer)
        elif answer == "unavailable":
            yield from rpc(query, Errored("harmless" if executed else "execute"), answer)
        elif not executed:
            yield from rpc(_ran(query), Executed(), answer)
        else:
            yield from rpc(query, BatchFetched(True), answer)
            if "collect" in self.liberties.steps:
                yield from rpc(query, BatchFetched(True, handed_out=False), answer)
            if "exhaust" in self.liberties.steps:
                yield from rpc(query, Exhausted(), answer)
        if self.liberties.lossy and not executed and answer in ("serve", "unavailable"):
            text = f"execute on {query.strategy}"
            yield from self._unclear(phase, self._trail(process), _ran(query), others, text)
        if query.context.received:
            yield from self._ended(process, query, others, RowsHandedOut(), "hand out")
        for name, event in (("cancel", Cancelled()), ("error", Errored("none"))):
            if name in self.liberties.steps:
                yield from self._ended(process, query, others, event, name)
        yield from self._ended(process, query, others, Cleared(), "clear")

    def _rpc(
        self, phase: Phase, process: Process, others: tuple[Query, ...], words: tuple[str, str]
    ) -> Callable[[Query, Any, str], Iterator[Action]]:
        def rpc(after: Query, event: Any, answer: str) -> Iterator[Action]:
            return self._answered(phase, self._trail(process), after, others, event, answer, words)

        return rpc

    def _ended(
        self, process: Process, query: Query, others: tuple[Query, ...], event: Any, word: str
    ) -> Iterator[Action]:
        trail = self._trail(process)
        left = self.machines.advance(trail, query, event)
        where = f" on {query.strategy}" if query.holds else ""
        yield _move(f"{word}{where}", f"end{where}" if word == "clear" else "", trail, _with(others, left))

    def _answered(
        self,
        phase: Phase,
        trail: ActionTrace,
        query: Query,
        others: tuple[Query, ...],
        event: Any,
        answer: str,
        words: tuple[str, str],
    ) -> Iterator[Action]:
        """An answer is there: what it says about strategies is on its way, or has arrived already."""
        news = _news_of(phase, query.strategy, answer)
        prompt = trail.copy()
        if news is not None:
            trail.said(news)
        if news is None or not self.liberties.prompt:
            left = self.machines.advance(trail, query, event)
            yield _move(*words, trail, _with(others, left))
        if news is not None:  # the one that noticed says so before it goes on
            self.machines.send(prompt, news)
            left = self.machines.advance(prompt, query, event)
            yield _move(f"{words[0]}; {news.name}", words[1], prompt, _with(others, left))


def _news_of(phase: Phase, strategy: Strategy, answer: str) -> Any:
    if answer == "refuse":
        return Error456(strategy, NOW)
    if answer == "unavailable":
        return PersistentFailure(strategy, NOW)
    announced = phase.announced(strategy)
    return StrategyAnnounced(announced, NOW) if answer == "serve" and announced is not None else None


def _move(text: str, fair: str, trail: ActionTrace, queries: tuple[Query, ...]) -> Action:
    news = tuple(sorted(trail.news, key=by_name))
    return Action(text, fair, Process(trail.state, trail.context, news, queries), trail)


def by_name(news: Any) -> tuple[str, str, bool]:
    """Return what news is sorted by."""
    return news.name, news.strategy.value, getattr(news, "served_since", False)


def _ran(query: Query) -> Query:
    """The stack has executed it; more than twice is not told apart from twice."""
    return attrs.evolve(query, executions=min(query.executions + 1, 2))


def _without(queries: tuple[Query, ...], query: Query | None) -> tuple[Query, ...]:
    if query is None:
        return queries
    index = queries.index(query)
    return queries[:index] + queries[index + 1 :]


def _with(queries: tuple[Query, ...], query: Query | None) -> tuple[Query, ...]:
    return queries if query is None else tuple(sorted((*queries, query), key=repr))
