"""What the two stacks of the test engine do, phase by phase, as data.

A phase says for each stack how it answers new work, prepared queries and running queries, what it
announces, and whether it forgets all that it holds. The named phases are presets over that. Nothing in
here knows of gRPC, threads or clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import attrs

Strategy = Literal["blue", "green"]
STRATEGIES: tuple[Strategy, Strategy] = ("blue", "green")

Answer = Literal["serve", "refuse", "unavailable", "silent", "suspended"]
"""How a stack meets a request.

`serve` does the work; `refuse` is status 456; `unavailable` is UNAVAILABLE, as from a dead host; `silent`
accepts and never answers, until the client gives up or the phase changes; `suspended` is UNAVAILABLE with
`status: 503`.
"""

Work = Literal["new", "prepared", "running"]
"""What a request is about: new work (authenticate, prepare, calls without a query), a query that is
prepared but not executed, or a query that is executed."""


def strategy_of(value: object) -> Strategy:
    """Return the strategy that `value` names, in any case.

    Raises:
        ValueError: it names neither `blue` nor `green`.

    >>> strategy_of("GREEN")
    'green'
    """
    name = value.lower() if isinstance(value, str) else value
    for strategy in STRATEGIES:
        if name == strategy:
            return strategy
    raise ValueError(f"{value!r} is no strategy; accepted: 'blue', 'green' (in any case)")


def other(strategy: Strategy) -> Strategy:
    """Return the strategy that `strategy` is not.

    >>> other("blue")
    'green'
    """
    return "green" if strategy == "blue" else "blue"


def _answer(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in get_args(Answer):
        raise ValueError(f"{attribute.name}={value!r}; accepted: {', '.join(get_args(Answer))}")


def _announcement(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in (None, *STRATEGIES):
        raise ValueError(f"{attribute.name}={value!r}; accepted: None, 'blue', 'green'")


@attrs.frozen
class Conduct:
    """How one stack behaves.

    Args:
        new: answer to new work.
        prepared: answer to requests about a query that is prepared and not executed.
        running: answer to requests about a query that is executed.
        announces: what the stack's responses carry in `new_strategy`; none leaves the field empty.
        forgets: whether the stack loses its sessions and queries when this conduct begins.

    >>> Conduct(new="refuse").answer("new")
    'refuse'
    """

    new: Answer = attrs.field(default="serve", validator=_answer)
    prepared: Answer = attrs.field(default="serve", validator=_answer)
    running: Answer = attrs.field(default="serve", validator=_answer)
    announces: Strategy | None = attrs.field(default=None, validator=_announcement)
    forgets: bool = False

    @classmethod
    def every(cls, answer: Answer, **rest: Any) -> Conduct:
        """A conduct that gives one answer to everything.

        >>> Conduct.every("refuse", forgets=True)
        Conduct(new='refuse', prepared='refuse', running='refuse', announces=None, forgets=True)
        """
        return cls(new=answer, prepared=answer, running=answer, **rest)

    def answer(self, work: Work) -> Answer:
        """The answer to this kind of work."""
        if work == "new":
            return self.new
        return self.prepared if work == "prepared" else self.running


GONE = Conduct.every("refuse", forgets=True)
"""A stack that has been taken down behind the gateway."""


@attrs.frozen
class Phase:
    """How both stacks behave, and who is meant to get new work.

    Args:
        name: name of the preset that this is, or any other.
        active: the stack that new work belongs on.
        origin: the stack that was active before the switch that this phase is a part of.
        target: the stack that the switch leads to, or would.
        blue: conduct of the blue stack.
        green: conduct of the green stack.

    >>> cutover(origin="blue", target="green").conduct("blue").new
    'refuse'
    """

    name: str
    active: Strategy
    origin: Strategy
    target: Strategy
    blue: Conduct = Conduct()
    green: Conduct = Conduct()

    def conduct(self, strategy: Strategy) -> Conduct:
        """The conduct of one stack."""
        return self.blue if strategy == "blue" else self.green

    def altered(self, changes: Mapping[Strategy, Mapping[str, Any]]) -> Phase:
        """Return this phase with single fields of its conducts replaced.

        Raises:
            TypeError, ValueError: a field or a value is unknown.

        >>> steady(origin="blue", target="green").altered({"blue": {"new": "silent"}}).blue.new
        'silent'
        """
        blue, green = (attrs.evolve(self.conduct(name), **changes.get(name, {})) for name in STRATEGIES)
        return attrs.evolve(self, blue=blue, green=green)

    def resumed(self) -> Phase:
        """Return this phase with every suspended answer served again."""

        def awake(conduct: Conduct) -> Conduct:
            new, prepared, running = (
                "serve" if answer == "suspended" else answer
                for answer in (conduct.new, conduct.prepared, conduct.running)
            )
            return attrs.evolve(conduct, new=new, prepared=prepared, running=running)

        return attrs.evolve(self, blue=awake(self.blue), green=awake(self.green))


def _phase(
    name: str, active: Strategy, origin: Strategy, target: Strategy, old: Conduct, new: Conduct
) -> Phase:
    blue, green = (old, new) if origin == "blue" else (new, old)
    return Phase(name, active, origin, target, blue, green)


def steady(*, origin: Strategy, target: Strategy) -> Phase:
    """The origin serves, the other stack is gone. Nothing is announced."""
    return _phase("steady", origin, origin, target, Conduct(), GONE)


def announce(*, origin: Strategy, target: Strategy) -> Phase:
    """The origin announces the target; both serve everything."""
    return _phase("announce", origin, origin, target, Conduct(announces=target), Conduct())


def not_ready(*, origin: Strategy, target: Strategy) -> Phase:
    """The origin announces a target that refuses everything."""
    return _phase("not_ready", origin, origin, target, Conduct(announces=target), Conduct.every("refuse"))


def cutover(*, origin: Strategy, target: Strategy, announces: bool = True) -> Phase:
    """The origin refuses new work; its prepared and running queries are served.

    Args:
        announces: whether the origin's answers still announce the target.
    """
    old = Conduct(new="refuse", announces=target if announces else None)
    return _phase("cutover", target, origin, target, old, Conduct())


def drain(*, origin: Strategy, target: Strategy, announces: bool = True) -> Phase:
    """The origin serves running queries only; what is prepared there can no longer be executed.

    Args:
        announces: whether the origin's answers still announce the target.
    """
    old = Conduct(new="refuse", prepared="refuse", announces=target if announces else None)
    return _phase("drain", target, origin, target, old, Conduct())


def retire(*, origin: Strategy, target: Strategy) -> Phase:
    """The origin refuses everything and has forgotten its sessions and queries."""
    return _phase("retire", target, origin, target, GONE, Conduct())


def abrupt(*, origin: Strategy, target: Strategy, unavailable: bool = False) -> Phase:
    """The target takes over at once. The origin loses all that it held.

    Args:
        unavailable: the origin is UNAVAILABLE, as a dead host is, instead of refusing with 456.
    """
    old = Conduct.every("unavailable" if unavailable else "refuse", forgets=True)
    return _phase("abrupt", target, origin, target, old, Conduct())


def rollback(*, origin: Strategy, target: Strategy) -> Phase:
    """The origin serves again. The target refuses new work, serves what it has, and announces the origin."""
    return _phase("rollback", origin, origin, target, Conduct(), Conduct(new="refuse", announces=origin))


def withdraw(*, origin: Strategy, target: Strategy, target_refuses: bool = True) -> Phase:
    """The announcement is taken back: the origin's answers announce the origin itself.

    Args:
        target_refuses: the target refuses new work; its prepared and running queries are served.
    """
    new = Conduct(new="refuse" if target_refuses else "serve")
    return _phase("withdraw", origin, origin, target, Conduct(announces=origin), new)


def both_down(*, origin: Strategy, target: Strategy, unavailable: bool = False) -> Phase:
    """Neither stack does anything. Sessions and queries are kept.

    Args:
        unavailable: both are UNAVAILABLE instead of refusing with 456.
    """
    down = Conduct.every("unavailable" if unavailable else "refuse")
    return _phase("both_down", origin, origin, target, down, down)


def silent(*, origin: Strategy, target: Strategy, announces: bool = False) -> Phase:
    """The target accepts everything and never answers. The origin serves.

    Args:
        announces: whether the origin's answers announce the target.
    """
    old = Conduct(announces=target if announces else None)
    return _phase("silent", origin, origin, target, old, Conduct.every("silent"))


def hung(*, origin: Strategy, target: Strategy) -> Phase:
    """The origin accepts everything and never answers. The target has taken over, and nobody was told."""
    return _phase("hung", target, origin, target, Conduct.every("silent"), Conduct())


def suspended(*, origin: Strategy, target: Strategy) -> Phase:
    """The cluster sleeps: the origin answers `status: 503` until it is resumed; the other stack refuses."""
    return _phase("suspended", origin, origin, target, Conduct.every("suspended"), Conduct.every("refuse"))


PHASES: Mapping[str, Callable[..., Phase]] = {
    preset.__name__: preset
    for preset in (
        steady,
        announce,
        not_ready,
        cutover,
        drain,
        retire,
        abrupt,
        rollback,
        withdraw,
        both_down,
        silent,
        hung,
        suspended,
    )
}
"""All presets by name."""


def named(
    name: str,
    *,
    active: Strategy | None = None,
    target: Strategy | None = None,
    before: Phase | None = None,
    **variant: Any,
) -> Phase:
    """Return the preset called `name`.

    Args:
        active: the stack that the switch starts from.
        target: the stack that the switch leads to. One of the two is enough.
        before: the phase before this one. If neither stack is named, its pair is kept, except that
            `steady` stays where new work goes.
        variant: options of the preset.

    Raises:
        ValueError: no preset has this name, or both stacks are the same.
        TypeError: the preset has no such option.

    >>> named("announce", target="green").blue.announces
    'green'
    """
    preset = PHASES.get(name)
    if preset is None:
        raise ValueError(f"{name!r} is no phase; accepted: {', '.join(PHASES)}")
    if active is None and target is None:
        if before is None:
            active = "blue"
        else:
            active = before.active if name == "steady" else before.origin
    origin = strategy_of(active) if active is not None else other(strategy_of(target))
    goal = strategy_of(target) if target is not None else other(origin)
    if origin == goal:
        raise ValueError(f"a switch from {origin} to {goal} is none; name two different stacks, or one")
    return preset(origin=origin, target=goal, **variant)
