"""Calls that are repaired, for which a session is opened, and that their application cancels or lets go."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import StrategyUnavailable
from bluegreen.runtime.manager import StrategyManager
from bluegreen.types import Scope
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.query import Rpc
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel, AsyncSwitchingInterceptor
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.grpc.interceptor import SwitchingInterceptor
from support.calls import Told
from support.engine import until
from support.stacks import PROTOCOL, Message, Stacks, Stub, serving


class Recording(Connection):
    """A link that records which streams are said to have ended, and which to have been let go."""

    __slots__ = ("dropped", "over")

    def __init__(self, target: str) -> None:
        super().__init__(StrategyManager(Scope(target), Settings()), PROTOCOL)
        self.over: list[str] = []
        self.dropped: list[str] = []

    def ended(self, rpc: Rpc) -> None:
        if rpc.stream is not None:
            self.over.append(rpc.name)
        super().ended(rpc)

    def let_go(self, rpc: Rpc) -> None:
        if rpc.stream is not None:
            self.dropped.append(rpc.name)
        super().let_go(rpc)


class Scene:
    def __init__(self, stacks: Stacks, channel: Any, link: Recording) -> None:
        self.stacks, self.channel, self.link, self.stub = stacks, channel, link, Stub(channel)

    def switch_to_a_silent_stack(self) -> None:
        """Let the other stack serve, and let it not answer the login that the next call needs."""
        self.stacks.asked_in.clear()
        self.stacks.active, self.stacks.silent_logins = "green", True


def by_channel(target: str, link: Connection) -> grpc.Channel:
    return SwitchingChannel(grpc.insecure_channel(target), link)


def by_interceptor(target: str, link: Connection) -> grpc.Channel:
    return grpc.intercept_channel(grpc.insecure_channel(target), SwitchingInterceptor(link))


@contextmanager
def scene(way: Callable[[str, Connection], grpc.Channel]) -> Iterator[Scene]:
    stacks = Stacks()
    with serving(stacks) as target:
        link = Recording(target)
        with way(target, link) as channel:
            yield Scene(stacks, channel, link)
            stacks.let_in.set()


@pytest.fixture(params=[by_channel, by_interceptor])
def made(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with scene(request.param) as made:
        made.stub.login(Message())
        yield made


def open_tickets(made: Scene) -> int:
    return len(made.link.manager.open_tickets)


# -- threads


@pytest.mark.parametrize("method", ["ask", "watch"])
def test_call_that_needs_a_session_is_there_before_it_is_open(made: Scene, method: str) -> None:
    made.switch_to_a_silent_stack()
    made.stacks.answer.set()
    made.stacks.go_on.set()
    call = made.stub.ask.future(Message()) if method == "ask" else made.stub.watch(Message())
    assert made.stacks.asked_in.wait(60)
    assert not call.done()
    made.stacks.let_in.set()
    if method == "ask":
        assert call.result(60).row == "answer"
    else:
        assert [message.row for message in call] == ["first", "second"]
    assert open_tickets(made) == 0


@pytest.mark.parametrize("method", ["ask", "watch"])
def test_call_is_cancelled_while_it_is_repaired(made: Scene, method: str) -> None:
    made.switch_to_a_silent_stack()
    call = made.stub.ask.future(Message()) if method == "ask" else made.stub.watch(Message())
    told = Told(call).register()
    assert made.stacks.asked_in.wait(60)
    assert call.cancel()
    assert open_tickets(made) == 0
    with pytest.raises(grpc.FutureCancelledError):
        call.result(60)
    assert (call.code(), call.cancelled(), call.cancel()) == (grpc.StatusCode.CANCELLED, True, False)
    made.stacks.let_in.set()
    assert told.is_told.wait(60)
    until(lambda: told.plain == [True])
    assert told.done == [True]
    made.stacks.answer.set()
    assert made.stub.ask(Message()).row == "answer"  # the connection goes on


def test_session_whose_opener_is_cancelled_is_opened_for_the_next_one(made: Scene) -> None:
    made.switch_to_a_silent_stack()
    made.stacks.answer.set()
    first = made.stub.ask.future(Message())
    assert made.stacks.asked_in.wait(60)
    second = made.stub.ask.future(Message())
    first.cancel()
    made.stacks.let_in.set()
    assert second.result(60).row == "answer"
    assert open_tickets(made) == 0


@pytest.mark.parametrize("method", ["ask", "watch"])
def test_channel_that_is_closed_ends_a_call_that_is_repaired(method: str) -> None:
    with scene(by_channel) as made:
        made.stub.login(Message())
        made.switch_to_a_silent_stack()
        call = made.stub.ask.future(Message()) if method == "ask" else made.stub.watch(Message())
        told = Told(call).register()
        assert made.stacks.asked_in.wait(60)
        made.channel.close()
        with pytest.raises(grpc.RpcError):
            call.result(60)
        assert (call.code(), call.cancelled()) == (grpc.StatusCode.CANCELLED, False)
        assert told.is_told.wait(60)
        until(lambda: open_tickets(made) == 0)
        assert told.done == [True]


def test_stream_is_read_and_cancelled_by_other_threads_than_the_caller(made: Scene) -> None:
    made.stacks.answer.set()
    call = made.stub.watch(Message())
    rows: list[str] = []
    ended = threading.Event()

    def read() -> None:
        try:
            for message in call:
                rows.append(message.row)
                ended.set()
        except grpc.RpcError as error:
            rows.append(error.code().name)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert ended.wait(60)
    assert call.cancel()
    reader.join(60)
    assert rows == ["first", "CANCELLED"]
    assert made.stacks.left.wait(60)


@pytest.mark.parametrize("read", [0, 1])
def test_stream_that_is_let_go_ends_on_its_stack(made: Scene, read: int) -> None:
    made.stacks.answer.set()
    call = made.stub.watch(Message())
    for _ in range(read):
        next(call)
    assert made.stacks.entered.wait(60)
    del call
    gc.collect()
    assert made.stacks.left.wait(60)
    assert made.link.dropped == ["watch"]
    until(lambda: open_tickets(made) == 0)


def test_link_is_told_when_a_stream_has_ended(made: Scene) -> None:
    made.stacks.answer.set()
    call = made.stub.watch(Message())
    next(call)
    assert made.link.over == []
    made.stacks.go_on.set()
    assert [message.row for message in call] == ["second"]
    assert made.link.over
    made.link.over.clear()
    call = made.stub.watch(Message())
    next(call)
    call.cancel()
    assert made.link.over


def test_future_fails_with_an_error_that_is_a_call(made: Scene) -> None:
    made.stacks.active = "none"
    future = made.stub.ask.future(Message())
    with pytest.raises(StrategyUnavailable) as caught:
        future.result(60)
    error: Any = caught.value
    assert isinstance(error, grpc.RpcError)
    assert (type(error).__name__, error.code()) == ("StrategyUnavailable", grpc.StatusCode.UNAVAILABLE)
    assert (future.code(), future.details()) == (grpc.StatusCode.UNAVAILABLE, str(error))
    assert future.exception() is error
    for plain in (made.stub.ask, made.stub.ask.with_call):
        with pytest.raises(StrategyUnavailable) as caught:
            plain(Message())
        assert isinstance(caught.value, grpc.RpcError)


def test_plain_interceptor_in_front_gets_an_error_of_ours_as_a_call() -> None:
    codes: list[Any] = []

    class Counting(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
            call = continuation(client_call_details, request)
            call.add_done_callback(lambda ended: codes.append(ended.code()))
            return call

    with scene(by_channel) as made:
        made.stub.login(Message())
        made.stacks.active = "none"
        stub = Stub(grpc.intercept_channel(made.channel, Counting()))
        with pytest.raises(StrategyUnavailable):
            stub.ask(Message())
        with pytest.raises(StrategyUnavailable):
            stub.ask.future(Message()).result(60)
    assert codes == [grpc.StatusCode.UNAVAILABLE] * 2


# -- asyncio


def aio_by_channel(target: str, link: Connection) -> grpc.aio.Channel:
    return AsyncSwitchingChannel(grpc.aio.insecure_channel(target), link)


def aio_by_interceptor(target: str, link: Connection) -> grpc.aio.Channel:
    ours = AsyncSwitchingInterceptor(link)
    return grpc.aio.insecure_channel(target, interceptors=[ours, ours.streams])


aio_ways = pytest.mark.parametrize("way", [aio_by_channel, aio_by_interceptor])


@asynccontextmanager
async def aio_scene(way: Callable[[str, Connection], grpc.aio.Channel]) -> AsyncIterator[Scene]:
    stacks = Stacks()
    with serving(stacks) as target:
        link = Recording(target)
        async with way(target, link) as channel:
            made = Scene(stacks, channel, link)
            await made.stub.login(Message())
            yield made
            stacks.let_in.set()


async def event(waited: threading.Event) -> None:
    assert await asyncio.to_thread(waited.wait, 60)


@aio_ways
@pytest.mark.parametrize("method", ["ask", "watch"])
async def test_asyncio_call_is_cancelled_while_it_is_repaired(way: Any, method: str) -> None:
    async with aio_scene(way) as made:
        made.switch_to_a_silent_stack()
        call = getattr(made.stub, method)(Message())
        told = Told(call).register()
        await event(made.stacks.asked_in)
        assert call.cancel()
        assert (call.done(), call.cancelled(), told.done) == (True, True, [True])
        with pytest.raises(asyncio.CancelledError):
            await (call if method == "ask" else call.read())
        assert await call.code() is grpc.StatusCode.CANCELLED
        await asyncio.sleep(0)
        assert open_tickets(made) == 0
        made.stacks.silent_logins = False
        made.stacks.answer.set()
        assert (await made.stub.ask(Message())).row == "answer"
    assert told.done == [True]


@aio_ways
async def test_asyncio_error_of_ours_is_one_of_grpc(way: Any) -> None:
    async with aio_scene(way) as made:
        made.stacks.active = "none"
        for method in ("ask", "watch"):
            call = getattr(made.stub, method)(Message())
            told = Told(call).register()
            with pytest.raises(StrategyUnavailable) as caught:
                await (call if method == "ask" else call.read())
            error: Any = caught.value
            assert isinstance(error, grpc.aio.AioRpcError)
            assert (type(error).__name__, error.code()) == (
                "StrategyUnavailable",
                grpc.StatusCode.UNAVAILABLE,
            )
            assert (await call.code(), await call.details()) == (grpc.StatusCode.UNAVAILABLE, str(error))
            assert (call.done(), call.cancelled(), told.done) == (True, False, [True])
            assert await call.trailing_metadata() == grpc.aio.Metadata()


@aio_ways
async def test_asyncio_link_is_told_when_a_stream_has_ended(way: Any) -> None:
    async with aio_scene(way) as made:
        made.stacks.answer.set()
        call = made.stub.watch(Message())
        assert (await call.read()).row == "first"
        assert made.link.over == []
        made.stacks.go_on.set()
        assert (await call.read()).row == "second"
        assert await call.read() is grpc.aio.EOF
        assert made.link.over
        made.link.over.clear()
        call = made.stub.watch(Message())
        await call.read()
        call.cancel()
        assert made.link.over


@pytest.mark.parametrize("read", [0, 1])
async def test_asyncio_stream_that_is_let_go_ends_on_its_stack(read: int) -> None:
    async with aio_scene(aio_by_channel) as made:
        made.stacks.answer.set()
        call = made.stub.watch(Message())
        for _ in range(read):
            await call.read()
        await event(made.stacks.entered)
        del call
        gc.collect()
        await event(made.stacks.left)
        assert made.link.dropped == ["watch"]


async def test_asyncio_stream_that_is_iterated_holds_itself() -> None:
    async with aio_scene(aio_by_channel) as made:
        made.stacks.answer.set()
        made.stacks.go_on.set()
        rows = []
        async for message in made.stub.watch(Message()):
            gc.collect()
            rows.append(message.row)
        assert rows == ["first", "second"]


async def test_asyncio_channel_that_is_closed_ends_a_call_that_is_repaired() -> None:
    async with aio_scene(aio_by_channel) as made:
        made.switch_to_a_silent_stack()
        call = made.stub.ask(Message())
        await event(made.stacks.asked_in)
        await made.channel.close()
        assert await call.code() is grpc.StatusCode.CANCELLED
        with pytest.raises(asyncio.CancelledError):
            await call
        assert open_tickets(made) == 0
