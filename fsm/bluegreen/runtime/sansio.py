"""Flows: what threads and asyncio have in common, written once.

A flow is a generator that decides, and yields commands for everything that takes time. A driver carries
the commands out: `run` by blocking, `run_async` by awaiting. Whatever a command raises is raised in the
flow at its `yield`, so that `try` and `finally` in a flow mean what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import attrs

T = TypeVar("T")
Flow = Generator[Any, Any, T]
Wakers = dict[object, Callable[[], None]]

_wakers: weakref.WeakKeyDictionary[Future[Any], Wakers] = weakref.WeakKeyDictionary()
"""Who in which event loop waits for a future; each future has one callback that wakes all of them."""


@attrs.frozen
class Wait:
    """Wait until `future` is done, `timeout_s` seconds at most; the answer is whether it is done."""

    future: Future[Any]
    timeout_s: float


@attrs.frozen
class Sleep:
    """Pause for `delay_s` seconds."""

    delay_s: float


@attrs.frozen
class Call:
    """Call `function` with `args`; under asyncio, await what it returns. The answer is its result."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()


def run(flow: Flow[T], perform: Callable[[Any], Any] | None = None, answer: Any = None) -> T:
    """Drive `flow` to its end in this thread, and return its result.

    Args:
        perform: carries out the commands that are not of this module.
        answer: the answer to the command at which the flow stands, if it has been begun.
    """
    error: BaseException | None = None
    try:
        while True:
            command = flow.send(answer) if error is None else flow.throw(error)
            answer, error = None, None
            try:
                answer = _block(command, perform)
            except BaseException as raised:  # noqa: BLE001  whatever it is belongs to the flow
                error = raised
    except StopIteration as stop:
        result: T = stop.value
        return result


def _block(command: Any, perform: Callable[[Any], Any] | None) -> Any:
    if isinstance(command, Wait):
        return bool(wait([command.future], max(command.timeout_s, 0)).done)
    if isinstance(command, Sleep):
        return time.sleep(command.delay_s)
    if isinstance(command, Call):
        return command.function(*command.args)
    if perform is None:
        raise TypeError(f"nobody carries out {command!r}")
    return perform(command)


async def run_async(
    flow: Flow[T], perform: Callable[[Any], Awaitable[Any]] | None = None, answer: Any = None
) -> T:
    """Drive `flow` to its end in this task, and return its result. A cancellation is raised in the flow."""
    error: BaseException | None = None
    try:
        while True:
            command = flow.send(answer) if error is None else flow.throw(error)
            answer, error = None, None
            try:
                answer = await _await(command, perform)
            except BaseException as raised:  # noqa: BLE001  whatever it is belongs to the flow
                error = raised
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _await(command: Any, perform: Callable[[Any], Awaitable[Any]] | None) -> Any:
    if isinstance(command, Wait):
        return await _done(command.future, command.timeout_s)
    if isinstance(command, Sleep):
        return await asyncio.sleep(command.delay_s)
    if isinstance(command, Call):
        return await command.function(*command.args)
    if perform is None:
        raise TypeError(f"nobody carries out {command!r}")
    return await perform(command)


async def _done(future: Future[Any], timeout_s: float) -> bool:
    """Wait for a future that another thread, or another loop, may complete; never cancel it.

    `asyncio.wrap_future` was rejected: cancelling its waiter would cancel the future for everybody. One
    callback for each waiter was rejected too: a future cannot take it back when the waiter has gone.
    """
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile, and its waiters with it
            loop.call_soon_threadsafe(waiter.set_result, None)

    wakers = _wakers_of(future)
    wakers[waiter] = wake
    try:
        if not future.done():  # otherwise it may have looked at its wakers already
            await asyncio.wait([waiter], timeout=max(timeout_s, 0))
    finally:
        wakers.pop(waiter, None)
    return future.done()


def _wakers_of(future: Future[Any]) -> Wakers:
    mine: Wakers = {}
    wakers = _wakers.setdefault(future, mine)
    if wakers is mine:

        def wake_all(_: object) -> None:
            for wake in mine.copy().values():
                wake()

        future.add_done_callback(wake_all)
    return wakers
