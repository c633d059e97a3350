"""A flow is driven to its end by a thread or by a task, and sees what its commands answer and raise."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any

import attrs
import pytest

from bluegreen.runtime.sansio import Call, Flow, Sleep, Wait, run, run_async


@attrs.frozen
class Ask:
    """A command that the module does not know."""

    question: str


class Fault(Exception):
    """What a command raises here."""


def drive_in_thread(flow: Flow[Any], perform: Callable[[Any], Any] | None = None) -> Any:
    return run(flow, perform)


def drive_in_task(flow: Flow[Any], perform: Callable[[Any], Any] | None = None) -> Any:
    async def performing(command: Any) -> Any:
        assert perform is not None
        return perform(command)

    return asyncio.run(run_async(flow, None if perform is None else performing))


@pytest.fixture(params=[drive_in_thread, drive_in_task])
def drive(request: pytest.FixtureRequest) -> Any:
    """Both drivers: a flow cannot tell which one it is driven by."""
    return request.param


def calling(drive: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as the driver wants it: asyncio awaits what it returns."""
    if drive is drive_in_thread:
        return function

    async def awaited(*args: Any) -> Any:
        return function(*args)

    return awaited


def test_the_result_of_a_flow_is_what_it_returns(drive: Any) -> None:
    def flow() -> Flow[int]:
        yield Sleep(0)
        return 7

    assert drive(flow()) == 7


def test_a_flow_that_yields_nothing_ends_at_once(drive: Any) -> None:
    def flow() -> Flow[str]:
        return "done"
        yield

    assert drive(flow()) == "done"


def test_a_call_answers_with_its_result(drive: Any) -> None:
    def flow() -> Flow[Any]:
        first = yield Call(calling(drive, divmod), (17, 5))
        second = yield Call(calling(drive, lambda: first[0] + first[1]))
        return first, second

    assert drive(flow()) == ((3, 2), 5)


def test_other_commands_are_carried_out_by_whoever_drives(drive: Any) -> None:
    def flow() -> Flow[list[Any]]:
        return [(yield Ask("one")), (yield Ask("two"))]

    assert drive(flow(), lambda command: command.question.upper()) == ["ONE", "TWO"]


def test_a_command_that_nobody_carries_out_is_an_error_at_its_yield(drive: Any) -> None:
    def flow() -> Flow[str]:
        try:
            yield Ask("anybody?")
        except TypeError as error:
            return str(error)
        return "somebody"

    assert drive(flow()) == "nobody carries out Ask(question='anybody?')"


def test_what_a_command_raises_is_raised_at_its_yield_and_can_be_handled_there(drive: Any) -> None:
    def fail() -> None:
        raise Fault("bang")

    def flow() -> Flow[str]:
        try:
            yield Call(calling(drive, fail))
        except Fault as fault:
            answer = yield Call(calling(drive, str), (fault,))
            return f"handled {answer}"
        return "not raised"

    assert drive(flow()) == "handled bang"


def test_what_a_flow_does_not_handle_comes_out_after_its_finally(drive: Any) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise Fault("bang")

    def flow() -> Flow[None]:
        try:
            yield Call(calling(drive, fail))
        finally:
            seen.append("finally")

    with pytest.raises(Fault, match="bang"):
        drive(flow())
    assert seen == ["finally"]


def test_what_a_flow_itself_raises_comes_out(drive: Any) -> None:
    def flow() -> Flow[None]:
        yield Sleep(0)
        raise Fault("of its own")

    with pytest.raises(Fault, match="of its own"):
        drive(flow())


def test_a_wait_for_what_is_done_already_is_true_at_once(drive: Any) -> None:
    future: Future[None] = Future()
    future.set_result(None)

    def flow() -> Flow[bool]:
        return (yield Wait(future, 60))

    assert drive(flow()) is True


@pytest.mark.parametrize("timeout_s", [0, -1])
def test_a_wait_whose_time_is_over_is_false_and_leaves_the_future_alone(drive: Any, timeout_s: float) -> None:
    future: Future[None] = Future()

    def flow() -> Flow[bool]:
        return (yield Wait(future, timeout_s))

    assert drive(flow()) is False
    assert not future.cancelled()
    future.set_result(None)


def test_a_wait_ends_when_another_thread_completes_the_future(drive: Any) -> None:
    future: Future[None] = Future()
    began: list[bool] = []

    def begin() -> None:
        began.append(True)
        Thread(target=future.set_result, args=(None,)).start()

    def flow() -> Flow[bool]:
        yield Call(calling(drive, begin))
        return (yield Wait(future, 60))

    assert drive(flow()) is True
    assert began == [True]


def test_a_failed_future_is_done_too_and_its_error_is_not_raised(drive: Any) -> None:
    future: Future[None] = Future()
    future.set_exception(Fault("not the waiter's"))

    def flow() -> Flow[bool]:
        return (yield Wait(future, 60))

    assert drive(flow()) is True


def test_a_pause_in_a_thread_is_a_pause_of_that_many_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)

    def flow() -> Flow[None]:
        yield Sleep(2.5)

    run(flow())
    assert pauses == [2.5]


async def test_a_pause_in_a_task_is_a_pause_of_that_many_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    def flow() -> Flow[None]:
        yield Sleep(2.5)

    await run_async(flow())
    assert pauses == [2.5]


async def test_a_flow_that_has_begun_goes_on_with_the_answer_that_it_waits_for() -> None:
    def flow() -> Flow[list[Any]]:
        return [(yield Ask("one")), (yield Ask("two"))]

    for drive_on in (run, run_async):
        begun = flow()
        assert next(begun) == Ask("one")
        if drive_on is run:
            assert run(begun, lambda _: "second", "first") == ["first", "second"]
        else:

            async def second(_: Any) -> str:
                return "second"

            assert await run_async(begun, second, "first") == ["first", "second"]


async def test_a_cancellation_is_raised_in_the_flow_at_its_yield() -> None:
    future: Future[None] = Future()
    seen: list[str] = []
    began = asyncio.Event()

    def flow() -> Flow[None]:
        began.set()
        try:
            yield Wait(future, 60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(run_async(flow()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
    assert not future.cancelled()


async def test_one_future_wakes_every_task_that_waits_for_it_and_one_that_left_harms_nobody() -> None:
    future: Future[None] = Future()
    began = [asyncio.Event() for _ in range(5)]

    def flow(number: int) -> Flow[bool]:
        began[number].set()
        return (yield Wait(future, 60))

    tasks = [asyncio.create_task(run_async(flow(number))) for number in range(5)]
    for event in began:
        await event.wait()
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    Thread(target=future.set_result, args=(None,)).start()
    assert await asyncio.gather(*tasks[1:]) == [True] * 4


def test_tasks_of_several_loops_wait_for_one_future() -> None:
    future: Future[None] = Future()
    answers: list[bool] = []

    def flow() -> Flow[bool]:
        return (yield Wait(future, 60))

    threads = [Thread(target=lambda: answers.append(asyncio.run(run_async(flow())))) for _ in range(3)]
    for thread in threads:
        thread.start()
    future.set_result(None)
    for thread in threads:
        thread.join(60)
    assert answers == [True] * 3


def test_a_future_that_completes_after_the_loop_has_ended_wakes_nobody_and_raises_nothing() -> None:
    future: Future[None] = Future()

    def flow() -> Flow[bool]:
        return (yield Wait(future, 0))

    assert asyncio.run(run_async(flow())) is False
    future.set_result(None)


def test_what_waited_for_a_future_is_not_kept_when_the_future_is_gone() -> None:
    def flow(awaited: Future[None]) -> Flow[bool]:
        return (yield Wait(awaited, 0))

    future: Future[None] = Future()
    assert asyncio.run(run_async(flow(future))) is False
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None
