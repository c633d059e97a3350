"""What tests of the manager need: clusters, strategies' answers, and short ways into each state."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from bluegreen.errors import Refusal, StrategyUnavailable
from bluegreen.machines.strategy.events import AuthSuccess, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope, Strategy, Ticket

BLUE, GREEN = Strategy.BLUE, Strategy.GREEN
SCOPE = Scope("unit.example:443", "tests")


class Cluster:
    """Who accepts a caller, and who was asked."""

    def __init__(self, *serving: Strategy) -> None:
        self.serving = set(serving)
        self.asked: list[Strategy] = []
        self.left_s: list[float] = []

    def prove(self, strategy: Strategy, left_s: float) -> None:
        self.asked.append(strategy)
        self.left_s.append(left_s)
        if strategy not in self.serving:
            raise Refusal("status 456")


def accepting(strategy: object, left_s: float) -> None:
    """Every strategy accepts."""


def refusing(strategy: object, left_s: float) -> None:
    raise Refusal("no route")


def nobody(strategy: Strategy, left_s: float) -> None:
    raise AssertionError(f"nobody was to be asked, least of all {strategy}")


def on_blue(manager: StrategyManager) -> StrategyManager:
    manager.send(AuthSuccess(BLUE, manager.state_version))
    assert manager.state == "Stable"
    return manager


def announce(manager: StrategyManager, strategy: Strategy = GREEN) -> None:
    manager.send(StrategyAnnounced(strategy, manager.state_version))
    assert manager.state == "PendingTransition"


def fail(manager: StrategyManager) -> None:
    with pytest.raises(StrategyUnavailable):
        manager.start(Cluster().prove)
    assert manager.state == "Failed"


def counts(manager: StrategyManager) -> tuple[int, int]:
    context = manager.snapshot.context
    return context.open_blue, context.open_green


def query(manager: StrategyManager) -> Ticket:
    """A ticket that needs no detection."""
    return manager.start(nobody)


def asking(strategy: Strategy, left_s: float) -> Generator[Any, Any, None]:
    """A `prove` that hands the question to whoever drives the flow."""
    yield ("prove", strategy, left_s)


def ended_in_time(work: Callable[[], Any]) -> bool:
    """Whether `work` comes to an end; a thread that hangs is left behind."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    return not thread.is_alive()
