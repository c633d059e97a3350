"""AsyncStrategyManager: the same scope, for asyncio.

It shares state, tickets and detection with the `StrategyManager` of its scope, so that threads and tasks of
one process switch together; only waiting is done by awaiting.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import Ending
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.registry import managed
from bluegreen.runtime.sansio import Call, Flow, run_async
from bluegreen.types import Scope, Strategy, Ticket


class AsyncStrategyManager:
    """The strategy machine of one scope, for tasks of any event loop.

    Args:
        scope: the cluster.
        settings: as in `managed`.
        manager: the manager to share; the one of the scope by default.

    >>> import asyncio
    >>> async def main():
    ...     manager = AsyncStrategyManager(Scope("db.example:443"), manager=StrategyManager(Scope("x:1")))
    ...     async def prove(strategy, seconds_left): pass
    ...     return (await manager.start(prove)).strategy
    >>> asyncio.run(main())
    <Strategy.BLUE: 'blue'>
    """

    def __init__(
        self, scope: Scope, settings: Settings | None = None, *, manager: StrategyManager | None = None
    ) -> None:
        self.shared = managed(scope, settings) if manager is None else manager

    async def start(
        self, prove: Callable[[Strategy, float], Awaitable[object]], session: object = None
    ) -> Ticket:
        """Start a query; like `StrategyManager.start`, with a `prove` that is awaited.

        A task that is cancelled while it detects leaves detection to the next one that waits.

        Raises:
            StrategyUnavailable: both strategies failed, now or within the cool-down.
            DetectionTimedOutError: no strategy was found within `detection_timeout_s`.
        """

        def proving(strategy: Strategy, left_s: float) -> Flow[None]:
            yield Call(prove, (strategy, left_s))

        ticket = self.shared.try_start(session)
        return ticket if ticket is not None else await run_async(self.shared.start_flow(proving, session))

    def end(self, event: Ending) -> bool:
        """End a ticket. Return whether it was open: ending it twice is harmless."""
        return self.shared.end(event)
