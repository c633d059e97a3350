"""The real `StrategyManager` with points where threads meet: its lock, its detections, its clock, its shared fields.

Nothing of it is replaced but what it is made of: the lock is one of the scheduler's, a detection's future says when
it is completed, and reads and writes of the fields that threads share are points. It also notes what cannot be
seen from outside: the steps that were asked for, and what was done while the lock was held.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import cache, partial
from typing import Any, Final, cast

import attrs

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.context import DETECTING
from bluegreen.machines.strategy.events import DetectionTimedOut
from bluegreen.runtime.detection import Detection
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Call, Flow, Wait
from bluegreen.runtime.telemetry import Record, Snapshot
from bluegreen.table.step import Step
from bluegreen.types import Scope, Strategy, Ticket
from selfcheck.interleaving.primitives import Clock, Collection, Landing, Lock, Shared, access
from selfcheck.interleaving.scheduler import Access, Halted, Scheduler

FIELDS: Final = ("_snapshot", "_detection", "_failures", "_armed", "_next_due_s", "_proved_s")
"""Fields that are replaced as a whole, and read without the lock."""


@attrs.define(eq=False)
class Asked:
    """One step that a manager was asked for.

    Args:
        event: what was sent.
        checked: whether the step was only to be taken if something still held under the lock.
        step: what was taken, or none.
        ticket: what the step issued.
        error: what was raised instead.
    """

    event: Any
    checked: bool
    step: Any = None
    ticket: Ticket | None = None
    error: BaseException | None = None


@attrs.define(eq=False)
class Notes:
    """What is noted while threads run.

    Args:
        asked: the steps that each thread asked for, in its order.
        records: what a follower of every step got, in the order in which it came.
        locked: what was done while its thread held the lock, and should not have been.
        led: the detection that each thread began last.
        proving: which threads have somebody to ask.
        detections: the most detections that were under way at a time.
        early: how many seconds before its time a detection was given up, for each that was.
    """

    asked: dict[int, list[Asked]] = attrs.field(factory=dict[int, list[Asked]])
    records: list[Record] = attrs.field(factory=list[Record])
    locked: list[str] = attrs.field(factory=list[str])
    led: dict[int, Detection] = attrs.field(factory=dict[int, Detection])
    proving: set[int] = attrs.field(factory=set[int])
    detections: int = 0
    early: list[float] = attrs.field(factory=list[float])


class _InstrumentedDetection(Detection):
    finished = cast(bool, Shared("finished", lambda detection: f"finished {detection.number}"))

    def __init__(self, scheduler: Scheduler, deadline_s: float, number: int) -> None:
        self.scheduler, self.number = scheduler, number
        super().__init__(deadline_s, Landing(scheduler, f"landing {number}"))

    @property
    def is_over(self) -> bool:
        """Whether it is over, for whoever only watches."""
        return bool(self.__dict__["finished"])


@cache
def _instrument_detection(kind: Any) -> Any:
    return type(
        f"Watched{kind.__name__}",
        (_InstrumentedDetection,) if kind is Detection else (_InstrumentedDetection, kind),
        {},
    )


class Watched(StrategyManager):
    """A manager that is watched; `watched` mixes it into the manager, or into one that is wrong on purpose."""

    def __init__(self, scheduler: Scheduler, settings: Settings) -> None:
        self.scheduler = scheduler
        self.notes = Notes()
        self.clock = Clock(scheduler)
        self.numbered = 0
        super().__init__(Scope("interleaved.example:443"), settings, clock=self.clock)
        self._tickets = Collection(scheduler, "tickets", self._tickets)
        self._abandoned = Collection(scheduler, "abandoned", self._abandoned)
        self._session_generations = Collection(scheduler, "epochs", self._session_generations)
        self.lock = Lock(scheduler)
        self._lock = cast(Any, self.lock)
        self.subscribe(self._recorded, every_step=True)
        self.subscribe(lambda _: self._user_code("an observer"))

    @property
    def remains(self) -> tuple[Snapshot, frozenset[Ticket]]:
        """What is left when nobody runs any more: the state, and the tickets that are open."""
        return self.snapshot, frozenset(self._tickets.copy().values())

    def asking(self, prove: Callable[[Strategy], None]) -> Callable[[Strategy, float], None]:
        """Return `prove` as `start` wants it, with points before and after, and a look at who else is asking."""

        def asked(strategy: Strategy, _: float) -> None:
            self.scheduler.point(access("asks", "the cluster", writes=True))
            self._user_code("a prove")
            thread = self.scheduler.running
            if thread is not None:
                self.notes.proving.add(thread)
            under_way = {
                id(detection)
                for detection in map(self.notes.led.get, self.notes.proving)
                if _goes_on(detection)
            }
            self.notes.detections = max(self.notes.detections, len(under_way))
            try:
                self.scheduler.point(access("is answered by", "the cluster", writes=True))
                prove(strategy)
            finally:
                self.notes.proving -= {thread}

        return asked

    def detect_or_wait(self, prove: Any, deadline_s: float) -> Flow[None]:
        """As in the manager, but the scheduler carries out the waiting."""
        flow: Generator[Any, Any, None] = super().detect_or_wait(prove, deadline_s)
        answer, error = None, None
        while True:
            try:
                command = flow.send(answer) if error is None else flow.throw(error)
            except StopIteration:
                return
            if isinstance(command, Wait):
                command = Call(self._wait, (command.future, command.timeout_s))
            answer, error = None, None
            try:
                answer = yield command
            except BaseException as raised:  # noqa: BLE001  whatever it is belongs to the flow
                error = raised

    def _wait(self, future: Future[None], timeout_s: float) -> bool:
        until_s = self.clock.now_s + timeout_s
        name = future.name if isinstance(future, Landing) else "a landing"
        waits = Access(f"waits for {name}", reads=frozenset({name, "clock"}))
        self.scheduler.point(waits, lambda: future.done() or self.clock.now_s >= until_s)
        return future.done()

    def _new_detection(self, deadline_s: float) -> Detection:
        self.numbered += 1
        make = _instrument_detection(cast(Any, type(super()._new_detection(deadline_s))))
        detection: Detection = make(self.scheduler, deadline_s, self.numbered)
        if self.scheduler.running is not None:
            self.notes.led[self.scheduler.running] = detection
        return detection

    def _apply(self, event: Any, session: object = None, *, still: Callable[[], bool] | None = None) -> Any:
        asked = Asked(event, still is not None)
        if self.scheduler.running is not None:
            self.notes.asked.setdefault(self.scheduler.running, []).append(asked)
        try:
            taken = super()._apply(event, session, still=still)
        except Halted:
            raise
        except BaseException as error:
            asked.error = error
            raise
        if taken is not None:
            asked.step, asked.ticket = taken
        return taken

    def _step(self, before: Snapshot, event: Any) -> Step:
        detection = self.__dict__["_detection"]
        if isinstance(event, DetectionTimedOut) and before.state == DETECTING and detection is not None:
            left_s = detection.deadline_s - self.clock.now_s
            if left_s > 0:
                self.notes.early.append(left_s)
        return super()._step(before, event)

    def _effect(self, effect: Any, before: Any, after: Any, taken: Any) -> Any:
        self._user_code(f"the effect {type(effect).__name__}")
        return super()._effect(effect, before, after, taken)

    def _recorded(self, record: Record) -> None:
        self._user_code("a follower")
        self.notes.records.append(record)

    def _user_code(self, what: str) -> None:
        """Note it if this thread holds the lock while `what` is done."""
        running = self.scheduler.running
        if running is not None and self.lock.holder == running:
            self.notes.locked.append(what)


def _goes_on(detection: Detection | None) -> bool:
    return isinstance(detection, _InstrumentedDetection) and not detection.is_over


def _named(name: str, _: Any) -> str:
    return name


def watched(kind: type[StrategyManager] = StrategyManager) -> type[Watched]:
    """Return a class that is `kind`, and is watched.

    >>> manager = watched()(Scheduler(0), Settings())
    >>> manager.start(manager.asking(lambda strategy: None)).strategy
    <Strategy.BLUE: 'blue'>
    """
    fields = {name: Shared(name, partial(_named, name.lstrip("_"))) for name in FIELDS}
    bases = (Watched,) if kind is StrategyManager else (Watched, kind)
    return cast("type[Watched]", type(f"Watched{kind.__name__}", bases, fields))
