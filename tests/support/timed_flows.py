"""Many calls at once over one fake clock, without I/O: the time of each command passes, and nothing else takes any."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from concurrent.futures import Future
from typing import Any

import attrs

from bluegreen.runtime.sansio import Sleep, Wait
from bluegreen_adapters.connection.requests import Launch, Send
from support.clock import FakeClock
from support.flow_cluster import FlowCluster, failure

NEVER = float("inf")


@attrs.define(eq=False)
class _Running:
    """One call: where it stands, and when it goes on at the latest."""

    flow: Generator[Any, Any, Any]
    starts_s: float
    command: Any = None
    until_s: float = NEVER


@attrs.frozen
class Ended:
    """How a call ended: what it returned or raised, and after how many seconds."""

    result: Any
    seconds: float


@attrs.define
class TimedFlows:
    """Drives calls to a cluster in which some stacks are silent: requests there are never answered.

    Args:
        cluster: answers at once what is sent to the other stacks.
        clock: the clock of the managers.
        silent: names of stacks.
    """

    cluster: FlowCluster
    clock: FakeClock
    silent: set[str] = attrs.field(factory=set)

    def run(self, flows: Mapping[float, Generator[Any, Any, Any]]) -> list[Ended]:
        """Drive calls to their ends; each begins after so many seconds as its key says."""
        began_s = self.clock()
        calls = [_Running(flow, began_s + after_s) for after_s, flow in flows.items()]
        for call in calls:
            call.until_s = call.starts_s
        ended: dict[int, Ended] = {}
        while len(ended) < len(calls):
            number, call = min(
                ((number, call) for number, call in enumerate(calls) if number not in ended),
                key=lambda one: (self._goes_on_s(one[1]), one[0]),
            )
            due_s = self._goes_on_s(call)
            assert due_s < NEVER, f"{call.command} never ends"
            self.clock.advance(max(due_s - self.clock(), 0.0))
            try:
                self._go_on(call)
            except StopIteration as stop:
                ended[number] = Ended(stop.value, self.clock() - call.starts_s)
            except Exception as error:  # noqa: BLE001  whatever the application gets is the result
                ended[number] = Ended(error, self.clock() - call.starts_s)
        return [ended[number] for number in range(len(calls))]

    def _goes_on_s(self, call: _Running) -> float:
        is_done = isinstance(call.command, Wait) and call.command.future.done()
        return self.clock() if is_done else call.until_s

    def _go_on(self, call: _Running) -> None:
        call.command = call.flow.send(None if call.command is None else self._answer(call.command))
        call.until_s = self.clock() + self._takes_s(call.command)

    def _is_silent(self, send: Send) -> bool:
        return dict(send.metadata).get("strategy") in self.silent

    def _takes_s(self, command: Any) -> float:
        if isinstance(command, Wait):
            return max(command.timeout_s, 0.0)
        if isinstance(command, Sleep):
            return command.delay_s
        if isinstance(command, Send) and self._is_silent(command):
            return NEVER if command.timeout_s is None else command.timeout_s
        return 0.0

    def _answer(self, command: Any) -> Any:
        if isinstance(command, Send) and self._is_silent(command):
            return failure("DEADLINE_EXCEEDED")
        if isinstance(command, Launch) and self._is_silent(command.send):
            return Future[Any]()  # nobody ever answers it
        return self.cluster.answer(command)
