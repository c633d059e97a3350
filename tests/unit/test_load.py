"""When a thread of the load begins what it asks."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen_adapters.testing.demo import worker
from bluegreen_adapters.testing.demo.schedule import probes
from support.clock import FakeClock


class Slot:
    """A connection whose queries take so many seconds, one after the other."""

    def __init__(self, clock: FakeClock, takes_s: list[float]) -> None:
        self._clock = clock
        self._takes_s = takes_s

    def taken(self) -> Any:
        self._clock.advance(self._takes_s.pop(0))
        raise ConnectionError("nobody answers")

    def given_back(self, connection: Any, *, failed: bool) -> None:
        raise AssertionError("there was no connection")


class Stop:
    """An event that is set once there is nothing left to ask; waiting moves the clock."""

    def __init__(self, clock: FakeClock, left: list[float]) -> None:
        self._clock = clock
        self._left = left

    def wait(self, timeout_s: float) -> bool:
        self._clock.advance(timeout_s)
        return not self._left


@pytest.mark.parametrize(
    ("takes_s", "began_s"),
    [
        ([0.25, 0.25, 0.25], [0.5, 1.5, 2.5]),
        ([1.75, 0.25, 0.25], [0.5, 2.5, 3.5]),
        ([0.25, 3.25, 0.25], [0.5, 1.5, 5.5]),
    ],
)
def test_a_thread_with_a_pace_keeps_it_whatever_its_queries_take(
    monkeypatch: pytest.MonkeyPatch, takes_s: list[float], began_s: list[float]
) -> None:
    clock, out = FakeClock(0.0), io.StringIO()
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(worker, "AFTER_ERROR_S", 0.0)
    left = list(takes_s)
    slot: Any = Slot(clock, left)
    stop: Any = Stop(clock, left)
    one = worker.Worker(
        1, slot, asked=probes(1), first_s=0.5, every_s=1.0, stop=stop, journal=worker.WorkerLog(out), started_s=0.0,
    )  # fmt: skip
    one.run()
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["began"][3] for line in told if "began" in line] == began_s
