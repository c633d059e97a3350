"""AsyncStrategyManager: the promises of the manager for threads, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import DetectionTimedOutError, Refusal, StrategyUnavailable
from bluegreen.machines.strategy.events import QueryCompleted, QueryFailed, Reset
from bluegreen.runtime.async_manager import AsyncStrategyManager
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import forget, managed
from bluegreen.types import Strategy, Ticket
from support.clock import FakeClock
from support.managing import BLUE, GREEN, SCOPE, announce, counts, on_blue


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    forget(SCOPE)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def shared(clock: FakeClock) -> StrategyManager:
    return StrategyManager(SCOPE, Settings(), clock=clock)


@pytest.fixture
def manager(shared: StrategyManager) -> AsyncStrategyManager:
    return AsyncStrategyManager(SCOPE, manager=shared)


async def accept(strategy: Strategy, left_s: float) -> None:
    await asyncio.sleep(0)


async def refuse(strategy: Strategy, left_s: float) -> None:
    raise Refusal("status 456")


async def nobody(strategy: Strategy, left_s: float) -> None:
    raise AssertionError(f"nobody was to be asked, least of all {strategy}")


def test_it_shares_the_scope_with_threads() -> None:
    settings = Settings(cache_ttl_s=60)
    assert AsyncStrategyManager(SCOPE, settings).shared is managed(SCOPE)
    assert managed(SCOPE).settings is settings


async def test_a_query_without_a_known_strategy_detects_one(
    manager: AsyncStrategyManager, shared: StrategyManager
) -> None:
    ticket = await manager.start(accept, "session")
    assert (ticket.strategy, ticket.session, shared.state) == (BLUE, "session", "Stable")


async def test_a_query_with_a_known_strategy_asks_nobody_and_does_not_wait(
    manager: AsyncStrategyManager, shared: StrategyManager
) -> None:
    on_blue(shared)
    announce(shared)
    starting = manager.start(nobody)
    with pytest.raises(StopIteration) as stop:
        starting.send(None)
    assert stop.value.value.strategy is GREEN


async def test_ending_twice_is_harmless(manager: AsyncStrategyManager, shared: StrategyManager) -> None:
    ticket = await manager.start(accept)
    assert manager.end(QueryCompleted(ticket))
    assert not manager.end(QueryFailed(ticket))
    assert counts(shared) == (0, 0)


async def test_a_failure_goes_to_every_task_that_waits(manager: AsyncStrategyManager) -> None:
    results = await asyncio.gather(*(manager.start(refuse) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results] == [StrategyUnavailable] * 5


async def test_a_detection_that_takes_too_long_is_told_as_such(
    manager: AsyncStrategyManager, clock: FakeClock
) -> None:
    async def prove(strategy: Strategy, left_s: float) -> None:
        clock.advance(left_s)
        raise Refusal("silence")

    with pytest.raises(DetectionTimedOutError, match="blue: silence"):
        await manager.start(prove)


async def test_a_task_that_is_cancelled_while_it_detects_leaves_that_to_the_next_one(
    manager: AsyncStrategyManager, shared: StrategyManager
) -> None:
    begun = asyncio.Event()

    async def hang(strategy: Strategy, left_s: float) -> None:
        begun.set()
        await asyncio.Event().wait()

    leader = asyncio.create_task(manager.start(hang))
    await begun.wait()
    follower = asyncio.create_task(manager.start(accept))
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    ticket = await follower
    assert shared.open_tickets == (ticket,)


async def test_a_task_that_is_lost_in_the_middle_of_a_detection_does_not_block_the_next(
    manager: AsyncStrategyManager, shared: StrategyManager
) -> None:
    async def hang(strategy: Strategy, left_s: float) -> None:
        await asyncio.Event().wait()

    lost = manager.start(hang)
    lost.send(None)
    lost.close()
    assert (await manager.start(accept)).strategy is BLUE


async def test_tasks_wait_for_each_other_and_ask_once(
    manager: AsyncStrategyManager, shared: StrategyManager
) -> None:
    asked: list[Strategy] = []

    async def prove(strategy: Strategy, left_s: float) -> None:
        asked.append(strategy)
        await asyncio.sleep(0)

    on_blue(shared)
    shared.send(Reset())
    tickets: list[Ticket] = await asyncio.gather(*(manager.start(prove) for _ in range(20)))
    assert asked == [BLUE]
    assert sorted(ticket.query for ticket in tickets) == list(range(1, 21))
