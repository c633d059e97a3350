"""StrategyManager, interrupted at every line, and with another thread between any two lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import StrategyUnavailable
from bluegreen.machines.strategy.events import (
    AuthSuccess,
    DetectionTimedOut,
    Error456,
    QueryCompleted,
    Reset,
    StrategyAnnounced,
)
from bluegreen.runtime import manager as manager_module
from bluegreen.runtime.manager import StrategyManager
from support.clock import FakeClock
from support.interleave import every_line
from support.managing import (
    BLUE,
    GREEN,
    SCOPE,
    Cluster,
    announce,
    counts,
    fail,
    on_blue,
    query,
)

Work = Callable[[], Any]
SETTINGS = Settings()

# What is interrupted. Each returns the call in question, and prepares everything before it.


def ready(manager: StrategyManager, clock: FakeClock) -> Work:
    on_blue(manager)
    return manager.try_start


def detecting(manager: StrategyManager, clock: FakeClock) -> Work:
    return lambda: manager.start(Cluster(GREEN).prove)


def cooled_down(manager: StrategyManager, clock: FakeClock) -> Work:
    fail(manager)
    clock.advance(1)
    return lambda: manager.start(Cluster(BLUE).prove)


def ending(manager: StrategyManager, clock: FakeClock) -> Work:
    on_blue(manager)
    ticket, _ = query(manager), query(manager)
    return lambda: manager.end(QueryCompleted(ticket))


def committing(manager: StrategyManager, clock: FakeClock) -> Work:
    on_blue(manager)
    ticket = query(manager)
    announce(manager)
    query(manager)
    return lambda: manager.end(QueryCompleted(ticket))


def reaping(manager: StrategyManager, clock: FakeClock) -> Work:
    on_blue(manager)
    manager.abandon(query(manager))
    manager.abandon(query(manager))
    return manager.try_start


def refused(manager: StrategyManager, clock: FakeClock) -> Work:
    on_blue(manager)
    query(manager)
    return lambda: manager.send(Error456(BLUE, 1))


def failing(manager: StrategyManager, clock: FakeClock) -> Work:
    return lambda: manager.start(Cluster().prove)


def draining(manager: StrategyManager, clock: FakeClock) -> Work:
    on_blue(manager)
    query(manager)
    announce(manager)
    clock.advance(3600)
    return manager.try_start


SCENARIOS = [ready, detecting, cooled_down, ending, committing, reaping, refused, failing, draining]

# Who comes in between. What they raise is theirs.


def starts_and_ends(manager: StrategyManager) -> None:
    ticket = manager.try_start()
    if ticket is not None:
        manager.end(QueryCompleted(ticket))


def announces(manager: StrategyManager) -> None:
    manager.send(StrategyAnnounced(GREEN, manager.state_version))


def is_refused(manager: StrategyManager) -> None:
    manager.send(Error456(manager.active or BLUE, manager.state_version))


def resets(manager: StrategyManager) -> None:
    manager.send(Reset())


def succeeds(manager: StrategyManager) -> None:
    manager.proved(BLUE)
    manager.send(AuthSuccess(manager.active or BLUE, manager.state_version))


def fails(manager: StrategyManager) -> None:
    manager.send(Reset())
    manager.send(Error456(BLUE, manager.state_version))
    manager.send(Error456(GREEN, manager.state_version))


def times_out(manager: StrategyManager) -> None:
    manager.send(DetectionTimedOut())


INTRUDERS = [starts_and_ends, announces, is_refused, resets, succeeds, fails, times_out]


def accounted(manager: StrategyManager) -> bool:
    open_now = [ticket.strategy for ticket in manager.open_tickets]
    return counts(manager) == (open_now.count(BLUE), open_now.count(GREEN))


def goes_on(manager: StrategyManager, clock: FakeClock) -> None:
    """The next query gets its ticket, and everything ends, with no more than the cool-down to wait for."""
    clock.advance(1)
    ticket = manager.start(Cluster(BLUE, GREEN).prove)
    assert ticket.strategy in (manager.active, manager.pending)
    for one in manager.open_tickets:
        assert manager.end(QueryCompleted(one))


def check(manager: StrategyManager, clock: FakeClock, where: str | None) -> None:
    assert not manager._lock.locked(), where
    assert accounted(manager), where
    goes_on(manager, clock)
    assert manager.open_tickets == (), where
    assert counts(manager) == (0, 0), where


@pytest.mark.unjournaled  # an interrupt may come before a record is handed over
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_interrupt_at_any_line_leaves_all_of_a_step_or_nothing(
    scenario: Callable[[StrategyManager, FakeClock], Work],
) -> None:
    clock = FakeClock()
    current: list[tuple[StrategyManager, int]] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    def prepare() -> tuple[Work, Work]:
        manager = StrategyManager(SCOPE, SETTINGS, clock=clock)
        work = scenario(manager, clock)
        current[:] = [(manager, len(manager._tickets))]
        return interrupt, work

    lines = 0
    for outcome in every_line(prepare, manager_module, calls=True):
        lines += 1
        ((manager, had),) = current
        assert isinstance(outcome.error, KeyboardInterrupt), outcome
        if not str(outcome.where).endswith(" in start"):  # it has the ticket in hand, and calls nothing more
            assert len(manager.open_tickets) <= had, f"nobody got the ticket: {outcome.where}"
        check(manager, clock, outcome.where)
    print(f"{lines} lines")
    assert lines > 10


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("bluegreen"), "disabled", True)  # thousands of steps


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("intruder", INTRUDERS)
def test_a_thread_that_comes_between_any_two_lines_breaks_nothing(
    scenario: Callable[[StrategyManager, FakeClock], Work], intruder: Callable[[StrategyManager], None]
) -> None:
    clock = FakeClock()
    current: list[StrategyManager] = []
    intruded = 0

    def prepare() -> tuple[Work, Work]:
        manager = StrategyManager(SCOPE, SETTINGS, clock=clock)
        work = scenario(manager, clock)
        current[:] = [manager]

        def intrude() -> None:
            nonlocal intruded
            if manager._lock.locked():
                return  # it would wait until the step is over, which is one of the next lines
            intruded += 1
            try:
                intruder(manager)
            except StrategyUnavailable:
                assert manager.state == "Failed"

        return intrude, work

    for outcome in every_line(prepare, manager_module):
        (manager,) = current
        assert outcome.error is None or isinstance(outcome.error, StrategyUnavailable), outcome
        check(manager, clock, outcome.where)
    assert intruded > 5


def test_a_step_does_not_end_sessions_that_were_opened_after_it() -> None:
    """The last query on green ends after green was withdrawn; meanwhile green is announced once more."""
    clock = FakeClock()
    current: list[StrategyManager] = []
    opened: list[int] = []

    def prepare() -> tuple[Work, Work]:
        manager = StrategyManager(SCOPE, SETTINGS, clock=clock)
        on_blue(manager)
        announce(manager)
        last = query(manager)
        manager.send(StrategyAnnounced(BLUE, manager.state_version))
        current[:] = [manager]

        def intrude() -> None:
            if not manager._lock.locked():
                announce(manager)
                assert query(manager).strategy is GREEN
                opened.append(manager.session_generation(GREEN))

        return intrude, lambda: manager.end(QueryCompleted(last))

    for outcome in every_line(prepare, manager_module):
        (manager,) = current
        assert outcome.error is None, outcome
        if opened:
            assert manager.session_generation(GREEN) == opened.pop(), outcome.where
