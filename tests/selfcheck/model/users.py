"""Two users of one scope: what is refused to one of them, and what that changes for the other one.

Each user has a connection, with one query at a time. The first one is served wherever a stack serves. The second one
may be refused by any stack at any time: its credentials, permissions, limits and statements. Both tell the machine
what they meet as the runtime does (spec, section 8.3). A refusal says whether the other user was accepted by that
stack and has not been refused there since. A user who is refused alone begins on the other stack, if that accepts it.

    >>> found = examine_users(switches=0)
    >>> found.searched.complete, found.violations
    (True, ())

Source: spec, sections 7 (I13) and 8.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import attrs

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.context import DETECTING, FAILED, PENDING, STABLE, Context
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    ConnectionOpened,
    CooldownEnded,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import Step
from bluegreen.table.table import Table
from bluegreen.types import Strategy, Ticket
from bluegreen.verify.exploration.liveness import lasso
from bluegreen.verify.exploration.version_abstraction import NOW, rebase
from bluegreen.verify.properties.base import Always, Eventually, Sometimes, Taken, broken
from bluegreen.verify.properties.step_invariants import STEPS
from selfcheck.explore.breadth_first import Bounds, Searched, path_to, search
from selfcheck.explore.checker import Violation
from selfcheck.model.actions import MEDDLING
from selfcheck.model.cluster import Phase, beginnings
from selfcheck.model.process import Machines

FIRST: Final = 0
"""The user who is refused only where everybody is."""

SECOND: Final = 1
"""The user who may be refused by any stack at any time."""

NAMES: Final = ("first user", "second user")

Vouched = frozenset[tuple[int, Strategy]]
"""(user, stack): the user was accepted there, and has not been refused there since."""


class Scene(NamedTuple):
    """Everything at one moment.

    Args:
        phase: of the cluster.
        state, context: of the strategy machine.
        vouched: who was accepted where.
        running: where the query of each user runs; `None`: the user has none.
    """

    phase: Phase
    state: str
    context: Any
    vouched: Vouched
    running: tuple[Strategy | None, Strategy | None]

    def next_of(self, user: int) -> Strategy | None:
        """Return where the next query of a user is served that is refused only where everybody is, or `None`."""
        if self.state in (STABLE, PENDING):
            tried: tuple[Strategy, ...] = (self.context.route,)
        else:
            tried = self.context.untried if self.state == DETECTING else ()
        served = [one for one in tried if self.phase.conduct(one).new == "serve"]
        return served[0] if served and (user, served[0]) in self.vouched else None


class Arrow(NamedTuple):
    """One thing that happens.

    Args:
        text: what happens, in words.
        fair: the name under which it must happen, if it can for ever; empty: it need not.
        personal: whether somebody gets a reply that concerns only that user.
        before, after: the scenes around it.
        sent: what is sent to the strategy machine.
    """

    text: str
    fair: str
    personal: bool
    before: Scene
    after: Scene
    sent: tuple[Any, ...]


@attrs.frozen
class Errors:
    """Mistakes that a runtime can make around the table, one by one.

    Args:
        reads_text: it takes an engine's error for a refusal, because of the words in it.
        never_withdraws: whoever was accepted by a stack vouches for it for ever, also after a refusal.
        tells_alone: it tells a detection that a stack has accepted a connection which is alone there.
        never_alone: it leaves whoever is refused without a second try.
    """

    reads_text: bool = False
    never_withdraws: bool = False
    tells_alone: bool = False
    never_alone: bool = False


@attrs.define
class _Trail:
    """A scene while something happens in it."""

    machines: Machines
    scene: Scene
    took: Callable[[Taken], None]
    sent: tuple[Any, ...] = ()

    def send(self, event: Any) -> Step | None:
        scene = self.scene
        found = self.machines.take(self.machines.strategy, scene.state, scene.context, event)
        if not isinstance(found, Step):
            return None
        self.took(Taken(scene.state, scene.context, event, found))
        self.sent += (event,)
        self.scene = scene._replace(state=found.state, context=rebase(found.context))
        return found

    def vouch(self, user: int, strategy: Strategy, accepted: bool) -> None:
        """Remember what a user has met on a stack."""
        one = {(user, strategy)}
        vouched = self.scene.vouched | one if accepted else self.scene.vouched - one
        self.scene = self.scene._replace(vouched=vouched)

    def runs(self, user: int, strategy: Strategy | None) -> None:
        """Remember where the query of a user runs."""
        running = list(self.scene.running)
        running[user] = strategy
        self.scene = self.scene._replace(running=(running[0], running[1]))


def _nobody(_: Any) -> None:
    """Nobody wants to know."""


class UsersWorld:
    """A space for `search`.

    Args:
        switches: of the cluster.
        denying: stacks that accept nobody: they refuse each user for reasons of its own.
        settings: the scope's settings.
        table: the table of the strategy machine, or one in its place.
        errors: mistakes around the table.
        took: called with each step of the strategy machine.
        seen: called with each thing that can happen.
    """

    def __init__(
        self,
        switches: int = 1,
        denying: tuple[Strategy, ...] = (),
        *,
        settings: Settings | None = None,
        table: Table[Any, Any, Any] = STRATEGY,
        errors: Errors | None = None,
        took: Callable[[Taken], None] | None = None,
        seen: Callable[[Arrow], None] | None = None,
    ) -> None:
        self._switches, self._denying, self._errors = switches, denying, errors or Errors()
        self._settings = settings or Settings()
        self._machines = Machines(table)
        self._took, self._seen = took or _nobody, seen or _nobody
        self._known: dict[Scene, tuple[Arrow, ...]] = {}

    def first(self) -> list[Scene]:
        """Return the scenes in which everything begins."""
        context = rebase(Context.initial(self._settings))
        state = self._machines.strategy.initial
        return [
            Scene(phase, state, context, frozenset(), (None, None)) for phase in beginnings(self._switches)
        ]

    def follow(self, state: Scene) -> list[Scene]:
        """Return what follows."""
        return [arrow.after for arrow in self.arrows(state)]

    def arrows(self, scene: Scene) -> tuple[Arrow, ...]:
        """Return what can happen."""
        found = self._known.get(scene)
        if found is None:
            found = self._known[scene] = tuple(self._arrows(scene))
            for arrow in found:
                self._seen(arrow)
        return found

    def _arrows(self, scene: Scene) -> Iterator[Arrow]:
        for user in (FIRST, SECOND):
            yield from self._begins(scene, user) if scene.running[user] is None else self._ends(scene, user)
        if scene.state == FAILED:
            yield from self._happens(scene, "the cool-down is over: reset", "reset", Reset())
        for event in (ConnectionOpened(), CooldownEnded(), DrainTimedOut(), DetectionTimedOut()):
            yield from self._happens(scene, event.name, MEDDLING, event)
        for phase in scene.phase.followers(self._switches):
            after = scene._replace(phase=phase)
            yield Arrow(f"cluster: {phase.name}, from {phase.origin}", MEDDLING, False, scene, after, ())

    def _happens(self, scene: Scene, text: str, fair: str, event: Any) -> Iterator[Arrow]:
        trail = self._trail(scene)
        if trail.send(event) is not None and trail.scene != scene:
            yield Arrow(text, fair, False, scene, trail.scene, trail.sent)

    def _trail(self, scene: Scene) -> _Trail:
        return _Trail(self._machines, scene, self._took)

    def _begins(self, scene: Scene, user: int) -> Iterator[Arrow]:
        """A user logs in where its next query goes, and begins it there; or leads the detection."""
        context, detects = scene.context, scene.state == DETECTING
        if scene.state not in (STABLE, PENDING, DETECTING):
            return
        strategy = context.untried[0] if detects else context.route
        for answer in self._answers(scene.phase, user, strategy):
            trail, text = self._trail(scene), f"{NAMES[user]} on {strategy}: {answer}"
            if answer == "accepted":
                self._accepted(trail, user, strategy, alone=False)
                yield Arrow(text, NAMES[user], False, scene, trail.scene, trail.sent)
                continue
            if not self._errors.never_withdraws or answer == "456":
                trail.vouch(user, strategy, accepted=False)
            if answer == "456":
                trail.send(Error456(strategy, NOW))
                yield Arrow(text, NAMES[user], False, scene, trail.scene, trail.sent)
                continue
            # A refusal for another reason: of this connection, if the other one vouches for the stack.
            vouched = (1 - user, strategy) in scene.vouched
            kind = PersistentFailure if answer in ("limited", "unavailable") and not detects else AuthFailure
            trail.send(kind(strategy, NOW, served_since=vouched))
            personal = answer in ("denied", "limited")
            if not vouched or self._errors.never_alone:
                yield Arrow(text, NAMES[user], personal, scene, trail.scene, trail.sent)
                continue
            yield from self._tries_alone(trail, user, strategy.other, (text, personal), scene)

    def _tries_alone(
        self, before: _Trail, user: int, strategy: Strategy, said: tuple[str, bool], scene: Scene
    ) -> Iterator[Arrow]:
        """Whoever is refused alone logs in on the other stack; if that refuses too, it gets the server's answer."""
        text, personal = said
        for answer in self._answers(scene.phase, user, strategy):
            trail = attrs.evolve(before)
            if answer == "accepted":
                self._accepted(trail, user, strategy, alone=True)
            else:
                trail.vouch(user, strategy, accepted=False)
                if answer == "456":
                    trail.send(Error456(strategy, NOW))
            told = f"{text}; alone on {strategy}: {answer}"
            yield Arrow(told, NAMES[user], personal, scene, trail.scene, trail.sent)

    def _answers(self, phase: Phase, user: int, strategy: Strategy) -> tuple[str, ...]:
        """Return what a stack may answer to a user's login or begin."""
        answer = phase.conduct(strategy).new
        if answer != "serve":
            return ({"refuse": "456"}.get(answer, answer),)
        if strategy in self._denying:
            return ("denied",)
        return ("accepted",) if user == FIRST else ("accepted", "denied", "limited")

    def _accepted(self, trail: _Trail, user: int, strategy: Strategy, *, alone: bool) -> None:
        trail.vouch(user, strategy, accepted=True)
        if not alone or self._errors.tells_alone:
            trail.send(AuthSuccess(strategy, NOW))
        started = trail.send(QueryStarted(strategy if alone else None))
        issued = [effect.strategy for effect in started.effects] if started is not None else []
        if issued:
            trail.runs(user, issued[0])
            announced = trail.scene.phase.announced(issued[0])
            if announced is not None:
                trail.send(StrategyAnnounced(announced, NOW))

    def _ends(self, scene: Scene, user: int) -> Iterator[Arrow]:
        """A query ends: it is cleared, or its statement was wrong, whatever words the engine has for that."""
        strategy = scene.running[user]
        assert strategy is not None
        ticket = Ticket(1, strategy, NOW)
        trail = self._trail(scene)
        trail.runs(user, None)
        trail.send(QueryCompleted(ticket))
        fair = f"end of {NAMES[user]}"
        yield Arrow(f"{NAMES[user]}: clear on {strategy}", fair, False, scene, trail.scene, trail.sent)
        if user == SECOND:
            trail = self._trail(scene)
            trail.runs(user, None)
            if self._errors.reads_text:
                trail.send(Error456(strategy, NOW))
            trail.send(QueryFailed(ticket))
            text = f"{NAMES[user]} on {strategy}: the engine's error says 'status: 456'"
            yield Arrow(text, fair, True, scene, trail.scene, trail.sent)


# What is said of it.


def _scoped(arrow: Arrow) -> bool:
    served = arrow.before.next_of(FIRST)
    return not arrow.personal or served is None or arrow.after.next_of(FIRST) is served


SCOPED: Final = Always(
    "I13 scoped in the world",
    "no reply to one user changes where another one is served, while it would be",
    _scoped,
    "world",
)

USERS_SOMETIMES: Final = (
    Sometimes(
        "S alone", "a query begins alone", lambda arrow: any(getattr(one, "alone", None) for one in arrow.sent),
        "world",
    ),
    Sometimes(
        "S given way", "where nobody else is served, one user's refusal leads elsewhere",
        lambda arrow: arrow.personal and arrow.before.state == STABLE and arrow.after.state == DETECTING,
        "world",
    ),
)  # fmt: skip


def _in(state: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.state == state


def _elsewhere(state: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.state != state


USERS_EVENTUALLY: Final = (
    Eventually("L1 progress with users", "a transition ends, whoever is refused", _in(PENDING), _elsewhere(PENDING)),
    Eventually("L2 detection ends with users", "a detection ends, whoever is refused", _in(DETECTING),
               _elsewhere(DETECTING)),
)  # fmt: skip

LEFT: Final = Eventually(
    "L5 left", "a stack that serves nobody is left, however many have been served there", _in(STABLE),
    _elsewhere(STABLE),
)  # fmt: skip
"""Of a world in which every stack refuses each user, from some time on."""

USERS_PROPERTIES: Final = (SCOPED, *USERS_SOMETIMES, *USERS_EVENTUALLY, LEFT)


@attrs.frozen
class UsersResult:
    """What was found.

    Args:
        searched: the search.
        violations: what does not hold.
        unreached: what ought to happen sometimes and did not.
    """

    searched: Searched
    violations: tuple[Violation, ...]
    unreached: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything was seen, and nothing is wrong with it."""
        return self.searched.complete and not self.violations and not self.unreached


def examine_users(
    switches: int = 1, *, bounds: Bounds | None = None, first_only: bool = False, **options: Any
) -> UsersResult:
    """Explore two users of one scope, and look at them.

    Args:
        switches: of the cluster.
        bounds: where the search stops at the latest.
        first_only: stop at the first property that is broken.
        options: `settings`, `table` and `errors` of `UsersWorld`.
    """
    steps: dict[str, Taken] = {}
    known: set[int] = set()
    wrong: list[Arrow] = []
    missing = list(USERS_SOMETIMES)

    def took(taken: Taken) -> None:
        if id(taken.step) not in known:  # the steps are kept, so that no number is used again
            known.add(id(taken.step))
            for one in broken(STEPS, taken):
                steps.setdefault(one.name, taken)

    def seen(arrow: Arrow) -> None:
        if not wrong and not SCOPED.holds(arrow):
            wrong.append(arrow)
        missing[:] = [one for one in missing if not one.happens(arrow)]

    world = UsersWorld(switches, took=took, seen=seen, **options)
    searched = search(world, bounds=bounds, stop=lambda: first_only and bool(wrong))
    found = [_shown(world, searched, SCOPED.name, SCOPED.text, one) for one in wrong]
    found += [Violation(name, f"a step of {taken.step.row}") for name, taken in steps.items()]
    if searched.complete:
        found += _lassos(world, searched, USERS_EVENTUALLY)
        found += _never_left(options)
    unreached = tuple(one.name for one in missing) if searched.complete else ()
    return UsersResult(searched, tuple(found), unreached)


def _never_left(options: Any) -> Iterator[Violation]:
    """Look at a cluster that stands still, in which stacks have served both users and then refuse each of them."""
    served = UsersWorld(0, **options)
    reached = search(served)
    world = UsersWorld(0, tuple(Strategy), **options)
    starts = [scene for level in reached.levels for scene in level if scene.state == STABLE]
    graph = _graph(world, starts)
    cycle = lasso(graph, starts, LEFT.then)
    if cycle:
        scene = min(cycle, key=repr)
        path = (
            path_to(served, reached.levels, scene) if any(scene in level for level in reached.levels) else ()
        )
        yield Violation(LEFT.name, LEFT.text, _words(served, path)[0], cycle=len(cycle))


def _graph(world: UsersWorld, starts: list[Scene]) -> dict[Scene, list[tuple[str, Scene]]]:
    """Return what can happen from `starts` on, without what time and people bring."""
    graph: dict[Scene, list[tuple[str, Scene]]] = {}
    waiting = list(starts)
    while waiting:
        scene = waiting.pop()
        if scene not in graph:
            arrows = [one for one in world.arrows(scene) if one.fair != MEDDLING]
            graph[scene] = [("", scene), *((one.fair, one.after) for one in arrows)]
            waiting += [one.after for one in arrows]
    return graph


def _lassos(world: UsersWorld, searched: Searched, asked: tuple[Eventually, ...]) -> Iterator[Violation]:
    scenes = [scene for level in searched.levels for scene in level]
    graph = _graph(world, scenes)
    for one in asked:
        cycle = lasso(graph, [scene for scene in scenes if one.when(scene)], one.then)
        if cycle:
            nearest = next(scene for scene in scenes if scene in cycle)
            words, events = _words(world, path_to(world, searched.levels, nearest))
            yield Violation(one.name, one.text, words, events, len(cycle))


def _shown(world: UsersWorld, searched: Searched, name: str, text: str, arrow: Arrow) -> Violation:
    words, events = _words(world, path_to(world, searched.levels, arrow.before))
    return Violation(name, text, (*words, arrow.text), (*events, *arrow.sent))


def _words(world: UsersWorld, path: tuple[Scene, ...]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return what happens along a path, in words, and what is sent."""
    words: list[str] = []
    events: list[Any] = []
    for before, after in pairwise(path):
        arrow = next(one for one in world.arrows(before) if one.after == after)
        words.append(arrow.text)
        events += arrow.sent
    return tuple(words), tuple(events)
