"""A cooperative scheduler: real threads, of which exactly one runs at a time, and which switch only at points.

A thread that comes to a point says what it is about to touch, and whoever explores says who goes on. Between two
points code runs as it is. So a run is decided by the numbers of the threads that went on, one for each point.

>>> scheduler = Scheduler(2)
>>> said: list[str] = []
>>> def body(name: str) -> Callable[[], None]:
...     def run() -> None:
...         for word in ("begins", "ends"):
...             scheduler.point(Access("speaks", writes=frozenset({"air"})))
...             said.append(f"{name} {word}")
...     return run
>>> ended = scheduler.run([body("a"), body("b")], taking((0, 1, 0, 1, 1, 0)))
>>> said
['a begins', 'b begins', 'b ends', 'a ends']
>>> scheduler.close()
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import attrs

STEPS_LIMIT: Final = 5_000
"""How many points a run may pass; one that passes more does not end."""
BLOCKED_S: Final = 60.0
"""How long the scheduler waits for a run of some milliseconds before it says that a thread hangs elsewhere."""


class Access(NamedTuple):
    """What a thread touches next: two accesses of which one writes what the other one touches do not commute.

    Args:
        text: what is done, for people.
        reads: names of what is looked at.
        writes: names of what may be changed.
        frees: it makes the same kind of access possible for others, so that it never races with one.
    """

    text: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    frees: bool = False

    def conflicts(self, other: Access) -> bool:
        """Whether the order of the two makes a difference."""
        return not (
            self.writes.isdisjoint(other.writes)
            and self.writes.isdisjoint(other.reads)
            and self.reads.isdisjoint(other.writes)
        )


class Moment(NamedTuple):
    """One point that was passed: who went on and with what, who could have, and what each was about to do."""

    thread: int
    access: Access
    able: tuple[int, ...]
    nexts: tuple[Access | None, ...]


@attrs.frozen
class Ended:
    """How a run ended.

    Args:
        moments: the points, in order.
        waiting: what each thread that did not come to its end was about to do.
        given_up: whether whoever chooses ended the run.
    """

    moments: tuple[Moment, ...]
    waiting: dict[int, Access]
    given_up: bool = False


Choose = Callable[["int | None", Sequence[int], "tuple[Access | None, ...]"], "int | None"]
"""(who went on last, who can go on, what each is about to do) -> who goes on; none ends the run there."""


def going_on(last: int | None, able: Sequence[int]) -> int:
    """Who goes on if nothing else is said: the same thread as before, or the first one that can."""
    return last if last is not None and last in able else able[0]


def taking(schedule: Sequence[int]) -> Choose:
    """Return what takes a schedule. Where the schedule names nobody who can go on, nobody is preempted."""
    left = iter(schedule)

    def choose(last: int | None, able: Sequence[int], _: object) -> int:
        wanted = next(left, None)
        return wanted if wanted is not None and wanted in able else going_on(last, able)

    return choose


class Halted(BaseException):
    """Raised in a thread whose run has ended without it."""


_BEGIN: Final = Access("comes in")


@attrs.define(eq=False)
class _Worker:
    number: int
    gate: threading.Lock
    body: Callable[[], None] | None = None
    next: Access | None = None
    ready: Callable[[], bool] | None = None


class Scheduler:
    """Some threads that take turns; they stay for one run after the other, until `close`.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self.running: int | None = None
        self._closed = False
        self._ended = threading.Lock()
        self._ended.acquire()
        self._workers = [_Worker(number, threading.Lock()) for number in range(threads)]
        self._choose: Choose = taking(())
        self._moments: list[Moment] = []
        self._waiting: dict[int, Access] = {}
        self._given_up = False
        self._fault: BaseException | None = None
        for worker in self._workers:
            worker.gate.acquire()
            threading.Thread(target=self._work, args=(worker,), daemon=True).start()

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def now(self) -> int:
        """How many points the run has passed."""
        return len(self._moments)

    def run(self, bodies: Sequence[Callable[[], None]], choose: Choose) -> Ended:
        """Run one body in each thread, from the first point to the last.

        Raises:
            RuntimeError: a thread waits for something that is no point; the scheduler is of no more use.

        What a body raises is raised here; the run has ended then.
        """
        self._moments, self._waiting, self._given_up, self._fault = [], {}, False, None
        self._choose = choose
        for worker, body in zip(self._workers, bodies, strict=True):
            worker.body, worker.next, worker.ready = body, _BEGIN, None
        self._pass_on(None)
        if not self._ended.acquire(timeout=BLOCKED_S):
            raise RuntimeError("a thread waits for something that is no point of the scheduler")
        if self._fault is not None:
            raise self._fault
        return Ended(tuple(self._moments), self._waiting, self._given_up)

    def point(self, access: Access, ready: Callable[[], bool] | None = None) -> None:
        """Come to a point: return when it is this thread's turn to do what it says. Elsewhere than in a run: at once.

        Args:
            ready: whether it can be done; without it, always.

        Raises:
            Halted: the run has ended.
        """
        number = self.running
        if number is None:
            return
        me = self._workers[number]
        me.next, me.ready = access, ready
        if not self._pass_on(me):
            me.gate.acquire()
            if self.running is None:
                raise Halted

    def amend(self, access: Access) -> None:
        """Say that what this thread has just done touched less than it said at the point."""
        if self.running is not None:
            self._moments[-1] = self._moments[-1]._replace(access=access)

    def close(self) -> None:
        """Let the threads go."""
        self._closed = True
        for worker in self._workers:
            worker.gate.release()

    def _work(self, worker: _Worker) -> None:
        while True:
            worker.gate.acquire()
            if self._closed:
                return
            try:
                if self.running is not None and worker.body is not None:
                    worker.body()
            except Halted:
                pass
            except BaseException as fault:  # noqa: BLE001  it is raised where the run was asked for
                self._fault = self._fault or fault
            worker.body = worker.next = None
            if self.running is None:
                self._unwind()
            else:
                self._pass_on(None)

    def _pass_on(self, me: _Worker | None) -> bool:
        """Let somebody go on; return whether that is the caller."""
        able = [one.number for one in self._workers if one.next and (one.ready is None or one.ready())]
        nexts = tuple(one.next for one in self._workers)
        chosen = None
        if able and self._fault is None and len(self._moments) < STEPS_LIMIT:
            try:
                chosen = self._choose(self.running, able, nexts)
            except Exception as fault:  # noqa: BLE001  as above
                self._fault = fault
            self._given_up = chosen is None
        if chosen is None:
            self._waiting = {one.number: one.next for one in self._workers if one.next}
            self.running = None
            self._unwind()
            return False
        worker = self._workers[chosen]
        assert worker.next is not None
        self._moments.append(Moment(chosen, worker.next, tuple(able), nexts))
        self.running = chosen
        if worker is me:
            return True
        worker.gate.release()
        return False

    def _unwind(self) -> None:
        """The run is over: end who is left, one after the other."""
        for worker in self._workers:
            if worker.body is not None:
                worker.gate.release()
                return
        self._ended.release()
