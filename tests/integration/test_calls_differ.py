"""Calls of the channels and interceptors, compared with gRPC's own, member by member and moment by moment.

A moment plays one call: it brings it to a point by events of the server, and returns what the call says there. It is
played on a stock channel and on one of ours, and both must say the same.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel, AsyncSwitchingInterceptor
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.grpc.interceptor import SwitchingInterceptor
from support import calls
from support.calls import (
    Told,
    Waiting,
    aio_asked,
    aio_final,
    asked,
    described,
    final,
    immediate,
    without_extras,
)
from support.stacks import Message, Stacks, Stub, fresh_link, serving

Facts = dict[str, Any]


class Plain(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """An interceptor that only hands on."""

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details, request)


class AioPlain(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


class AioPlainStreams(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(client_call_details, request)


# -- the ways in, and what each one is compared with


def stock(target: str) -> grpc.Channel:
    return grpc.insecure_channel(target)


def stock_with_plain(target: str) -> grpc.Channel:
    return grpc.intercept_channel(grpc.insecure_channel(target), Plain())


def switching(target: str) -> grpc.Channel:
    return SwitchingChannel(grpc.insecure_channel(target), fresh_link(target))


def plain_in_front(target: str) -> grpc.Channel:
    return grpc.intercept_channel(switching(target), Plain())


def plain_behind(target: str) -> grpc.Channel:
    return SwitchingChannel(stock_with_plain(target), fresh_link(target))


def interceptor(target: str) -> grpc.Channel:
    return grpc.intercept_channel(grpc.insecure_channel(target), SwitchingInterceptor(fresh_link(target)))


def plain_around_interceptor(target: str) -> grpc.Channel:
    chain = (Plain(), SwitchingInterceptor(fresh_link(target)), Plain())
    return grpc.intercept_channel(grpc.insecure_channel(target), *chain)


WAYS = {
    switching: stock,
    plain_behind: stock,
    plain_in_front: stock_with_plain,
    interceptor: stock_with_plain,
    plain_around_interceptor: stock_with_plain,
}


def aio_stock(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target)


def aio_stock_with_plain(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target, interceptors=[AioPlain(), AioPlainStreams()])


def aio_switching(target: str) -> grpc.aio.Channel:
    return AsyncSwitchingChannel(grpc.aio.insecure_channel(target), fresh_link(target))


def aio_plain_behind(target: str) -> grpc.aio.Channel:
    return AsyncSwitchingChannel(aio_stock_with_plain(target), fresh_link(target))


def aio_interceptor(target: str) -> grpc.aio.Channel:
    ours = AsyncSwitchingInterceptor(fresh_link(target))
    return grpc.aio.insecure_channel(target, interceptors=[ours, ours.streams])


def aio_plain_around_interceptor(target: str) -> grpc.aio.Channel:
    ours = AsyncSwitchingInterceptor(fresh_link(target))
    chain = [AioPlain(), ours, AioPlain(), AioPlainStreams(), ours.streams, AioPlainStreams()]
    return grpc.aio.insecure_channel(target, interceptors=chain)


AIO_WAYS = {
    aio_switching: aio_stock,
    aio_plain_behind: aio_stock,
    aio_interceptor: aio_stock_with_plain,
    aio_plain_around_interceptor: aio_stock_with_plain,
}


class Scene:
    """One way in to one server."""

    def __init__(self, stub: Stub, stacks: Stacks, channel: Any) -> None:
        self.stub, self.stacks, self.channel = stub, stacks, channel

    @property
    def given(self) -> Facts:
        """Arguments of each call: a stock channel needs the strategy."""
        return {"metadata": (("strategy", self.stacks.active),)}

    def switch(self) -> None:
        self.stacks.active = "green"


@contextmanager
def scene(way: Callable[[str], grpc.Channel]) -> Iterator[Scene]:
    stacks = Stacks()
    with serving(stacks) as target, way(target) as channel:
        made = Scene(Stub(channel), stacks, channel)
        made.stub.hello(Message(), **made.given)  # from here on the strategy is known
        yield made


@asynccontextmanager
async def aio_scene(way: Callable[[str], grpc.aio.Channel]) -> AsyncIterator[Scene]:
    stacks = Stacks()
    with serving(stacks) as target:
        async with way(target) as channel:
            made = Scene(Stub(channel), stacks, channel)
            await made.stub.hello(Message(), **made.given)
            yield made


# gRPC itself never answers this one for a call that was cancelled locally.
HANGS = ("debug_error_string",)
# Whether they have come before a call is ended on this side is up to the network.
ARRIVES = ("initial_metadata",)


# -- moments of calls for threads


def future_answered(scene: Scene) -> Facts:
    call = scene.stub.ask.future(Message(), **scene.given)
    told = Told(call).register()
    assert scene.stacks.entered.wait(60)
    facts: Facts = {"before": immediate(call)}
    waiting = Waiting(call, (*calls.EARLY, *calls.FINAL))
    scene.stacks.answer.set()
    facts["waited"] = waiting.facts()
    assert told.is_told.wait(60)
    return {**facts, "after": final(call), **told.facts()}


def future_refused(scene: Scene) -> Facts:
    scene.switch()
    return future_answered(scene)


def future_failed(scene: Scene) -> Facts:
    scene.stacks.fails_after = 0
    return future_answered(scene)


def future_cancelled(scene: Scene) -> Facts:
    call = scene.stub.ask.future(Message(), **scene.given)
    told = Told(call).register()
    assert scene.stacks.entered.wait(60)
    waiting = Waiting(call, [name for name in calls.FINAL if name not in HANGS])
    facts: Facts = {"cancel": call.cancel(), "at once": immediate(call), "waited": waiting.facts()}
    assert told.is_told.wait(60)
    assert scene.stacks.left.wait(60)
    return {**facts, "after": final(call, without=(*HANGS, *ARRIVES)), **told.facts()}


def future_timed_out(scene: Scene) -> Facts:
    call = scene.stub.ask.future(Message(), timeout=0.3, **scene.given)
    told = Told(call).register()
    facts: Facts = {"waited": Waiting(call, calls.FINAL).facts()}
    assert told.is_told.wait(60)
    return {**facts, "after": final(call, without=ARRIVES), **told.facts()}


def future_not_waited_for(scene: Scene) -> Facts:
    call = scene.stub.ask.future(Message(), timeout=60, **scene.given)
    facts: Facts = {"before": immediate(call)}
    for name in ("result", "exception", "traceback"):
        with pytest.raises(grpc.FutureTimeoutError):
            getattr(call, name)(timeout=0.01)
        with pytest.raises(grpc.FutureTimeoutError):
            getattr(call, name)(0)
    scene.stacks.answer.set()
    return {**facts, "result": described(call.result(timeout=60)), "after": final(call)}


def future_closed(scene: Scene) -> Facts:
    call = scene.stub.ask.future(Message(), **scene.given)
    told = Told(call).register()
    assert scene.stacks.entered.wait(60)
    scene.channel.close()
    facts: Facts = {"waited": Waiting(call, calls.FINAL).facts()}
    assert told.is_told.wait(60)
    return {**facts, "after": final(call, without=ARRIVES), **told.facts()}


def unary_answered(scene: Scene) -> Facts:
    scene.stacks.answer.set()
    message, call = scene.stub.ask.with_call(Message(), **scene.given)
    told = Told(call).register()
    plain = described(scene.stub.ask(Message(), **scene.given))
    return {"message": described(message), "after": final(call), "plain": plain, **told.facts()}


def unary_refused(scene: Scene) -> Facts:
    scene.switch()
    return unary_answered(scene)


def unary_failed(scene: Scene) -> Facts:
    scene.stacks.fails_after = 0
    scene.stacks.answer.set()
    facts: Facts = {}
    for way in (scene.stub.ask, scene.stub.ask.with_call):
        with pytest.raises(grpc.RpcError) as caught:
            way(Message(), **scene.given)
        facts[str(len(facts))] = final(caught.value)
    return facts


def unary_timed_out(scene: Scene) -> Facts:
    with pytest.raises(grpc.RpcError) as caught:
        scene.stub.ask(Message(), timeout=0.3, **scene.given)
    return final(caught.value, without=ARRIVES)


def stream_answered(scene: Scene) -> Facts:
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    assert scene.stacks.entered.wait(60)
    facts: Facts = {"before": immediate(call), "early": asked(call, "initial_metadata")}
    waiting = Waiting(call, calls.FINAL)
    scene.stacks.answer.set()
    facts["first"] = described(next(call))
    facts["between"] = immediate(call)
    facts["between early"] = asked(call, "initial_metadata")
    scene.stacks.go_on.set()
    try:
        facts["rest"] = [described(message) for message in call]
    except grpc.RpcError as error:
        facts["rest"] = described(error)
    facts["waited"] = waiting.facts()
    if not isinstance(facts["waited"]["result"], tuple):
        # gRPC hands out the last message or None, whichever thread comes first.
        facts["waited"]["result"] = "some result"
    assert told.is_told.wait(60)
    return {**facts, "after": final(call), "again": asked(call, "__next__"), **told.facts()}


def stream_refused(scene: Scene) -> Facts:
    scene.switch()
    return stream_answered(scene)


def stream_failed_between(scene: Scene) -> Facts:
    scene.stacks.fails_after = 1
    return stream_answered(scene)


def stream_failed_at_first(scene: Scene) -> Facts:
    scene.stacks.fails_after = 0
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    facts: Facts = {"early": asked(call, "initial_metadata")}
    scene.stacks.answer.set()
    facts["first"], facts["waited"] = asked(call, "next"), Waiting(call, calls.FINAL).facts()
    assert told.is_told.wait(60)
    return {**facts, "after": final(call), **told.facts()}


def stream_unread(scene: Scene) -> Facts:
    """Nobody reads, and the stream fails: the call says so nevertheless."""
    scene.stacks.fails_after = 0
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    facts: Facts = {"early": asked(call, "initial_metadata")}
    waiting = Waiting(call, calls.FINAL)
    scene.stacks.answer.set()
    facts["waited"] = waiting.facts()
    assert told.is_told.wait(60)
    return {**facts, "after": final(call), **told.facts()}


def stream_cancelled_at_first(scene: Scene) -> Facts:
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    assert scene.stacks.entered.wait(60)
    early = asked(call, "initial_metadata")
    waiting = Waiting(call, ["__next__", *(name for name in calls.FINAL if name not in HANGS)])
    facts: Facts = {
        "early": early,
        "cancel": call.cancel(),
        "at once": immediate(call),
        "waited": waiting.facts(),
    }
    assert told.is_told.wait(60)
    assert scene.stacks.left.wait(60)
    return {**facts, "after": final(call, without=HANGS), **told.facts()}


def stream_cancelled_between(scene: Scene) -> Facts:
    scene.stacks.answer.set()
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    facts: Facts = {"first": described(next(call)), "cancel": call.cancel(), "at once": immediate(call)}
    facts["next"] = asked(call, "next")
    assert told.is_told.wait(60)
    assert scene.stacks.left.wait(60)
    return {**facts, "after": final(call, without=HANGS), **told.facts()}


def stream_timed_out(scene: Scene) -> Facts:
    call = scene.stub.watch(Message(), timeout=0.3, **scene.given)
    told = Told(call).register()
    facts: Facts = {"next": asked(call, "next"), "waited": Waiting(call, calls.FINAL).facts()}
    assert told.is_told.wait(60)
    return {**facts, "after": final(call, without=ARRIVES), **told.facts()}


def stream_closed(scene: Scene) -> Facts:
    scene.stacks.answer.set()
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    facts: Facts = {"first": described(next(call))}
    scene.channel.close()
    facts["waited"] = Waiting(call, calls.FINAL).facts()
    assert told.is_told.wait(60)
    return {**facts, "after": final(call), "next": asked(call, "next"), **told.facts()}


def made_after_close(scene: Scene) -> Facts:
    scene.channel.close()
    facts: Facts = {}
    for name in ("__call__", "with_call", "future", "watch"):
        way = scene.stub.watch if name == "watch" else getattr(scene.stub.ask, name)
        try:
            call = way(Message(), **scene.given)
        except ValueError as error:
            facts[name] = ("raised at once", str(error)[:17])
        else:  # gRPC's interceptors make a call of the error
            with pytest.raises(ValueError, match="Cannot invoke RPC"):
                call.result()
            facts[name] = (call.done(), call.cancelled(), call.cancel())
    return facts


MOMENTS = [
    made_after_close,
    future_answered, future_refused, future_failed, future_cancelled, future_timed_out, future_not_waited_for,
    future_closed, unary_answered, unary_refused, unary_failed, unary_timed_out, stream_answered, stream_refused,
    stream_failed_between, stream_failed_at_first, stream_unread, stream_cancelled_at_first, stream_cancelled_between,
    stream_timed_out, stream_closed,
]  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", WAYS)
def test_a_call_says_what_grpc_says(
    way: Callable[[str], grpc.Channel], moment: Callable[[Scene], Facts]
) -> None:
    with scene(WAYS[way]) as reference:
        expected = moment(reference)
    with scene(way) as ours:
        assert without_extras(moment(ours), expected) == expected


# -- moments of asyncio calls


async def event(waited: Any) -> None:
    assert await asyncio.to_thread(waited.wait, 60)


def tasks_for(call: Any, names: tuple[str, ...]) -> dict[str, asyncio.Task[Any]]:
    """Begin to ask for what a call can only say at its end."""
    asking = {name: asyncio.create_task(aio_asked(call, name)) for name in names}
    if hasattr(call, "__await__"):
        asking["await"] = asyncio.create_task(aio_asked(call, "await"))
    return asking


async def answers(asking: dict[str, asyncio.Task[Any]]) -> Facts:
    return {name: await task for name, task in asking.items()}


async def aio_unary_answered(scene: Scene) -> Facts:
    call = scene.stub.ask(Message(), **scene.given)
    told = Told(call).register()
    await event(scene.stacks.entered)
    facts: Facts = {"before": immediate(call, calls.AIO_IMMEDIATE)}
    asking = tasks_for(call, (*calls.AIO_EARLY, *calls.AIO_FINAL))
    scene.stacks.answer.set()
    facts["waited"] = await answers(asking)
    return {**facts, "after": await aio_final(call), **told.facts()}


async def aio_unary_refused(scene: Scene) -> Facts:
    scene.switch()
    return await aio_unary_answered(scene)


async def aio_unary_failed(scene: Scene) -> Facts:
    scene.stacks.fails_after = 0
    return await aio_unary_answered(scene)


async def aio_unary_timed_out(scene: Scene) -> Facts:
    call = scene.stub.ask(Message(), timeout=0.3, **scene.given)
    told = Told(call).register()
    facts: Facts = {"waited": await answers(tasks_for(call, calls.AIO_FINAL))}
    return {**facts, "after": await aio_final(call, without=ARRIVES), **told.facts()}


async def aio_unary_cancelled(scene: Scene) -> Facts:
    call = scene.stub.ask(Message(), **scene.given)
    told = Told(call).register()
    await event(scene.stacks.entered)
    asking = tasks_for(call, calls.AIO_FINAL)
    await asyncio.sleep(0)  # the tasks ask
    facts: Facts = {"cancel": call.cancel(), "at once": immediate(call, calls.AIO_IMMEDIATE)}
    facts["told at once"] = told.facts()
    facts["waited"] = await answers(asking)
    await event(scene.stacks.left)
    return {**facts, "after": await aio_final(call, without=ARRIVES), **told.facts()}


async def aio_unary_cancelled_by_its_task(scene: Scene) -> Facts:
    call = scene.stub.ask(Message(), **scene.given)

    async def awaiting() -> Any:
        return await call

    task = asyncio.create_task(awaiting())
    await event(scene.stacks.entered)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await event(scene.stacks.left)
    return await aio_final(call, without=ARRIVES)


async def aio_unary_closed(scene: Scene) -> Facts:
    call = scene.stub.ask(Message(), **scene.given)
    await event(scene.stacks.entered)
    await scene.channel.close()
    call.cancel()  # older versions of gRPC do not end the call by themselves
    return await aio_final(call, without=ARRIVES)


async def read_on(call: Any, by_read: bool) -> Any:
    """Return the rest of the messages of a stream, or its error."""
    try:
        if not by_read:
            return [described(message) async for message in call]
        rest = []
        while (message := await call.read()) is not grpc.aio.EOF:
            rest.append(described(message))
        return rest
    except grpc.RpcError as error:
        return described(error)


async def first_of(call: Any, by_read: bool) -> Any:
    return described(await (call.read() if by_read else call.__aiter__().__anext__()))


async def played_stream(scene: Scene, by_read: bool) -> Facts:
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    await event(scene.stacks.entered)
    facts: Facts = {"before": immediate(call, calls.AIO_IMMEDIATE)}
    facts["early"] = await answers(tasks_for(call, calls.AIO_EARLY))
    asking = tasks_for(call, calls.AIO_FINAL)
    scene.stacks.answer.set()
    facts["first"] = await first_of(call, by_read)
    facts["between"] = immediate(call, calls.AIO_IMMEDIATE)
    scene.stacks.go_on.set()
    facts["rest"] = await read_on(call, by_read)
    facts["waited"] = await answers(asking)
    return {**facts, "after": await aio_final(call), **told.facts()}


async def aio_stream_read(scene: Scene) -> Facts:
    return await played_stream(scene, True)


async def aio_stream_iterated(scene: Scene) -> Facts:
    return await played_stream(scene, False)


async def aio_stream_refused(scene: Scene) -> Facts:
    scene.switch()
    return await played_stream(scene, False)


async def aio_stream_failed_between(scene: Scene) -> Facts:
    scene.stacks.fails_after = 1
    return await played_stream(scene, False)


async def aio_stream_failed_while_read(scene: Scene) -> Facts:
    scene.stacks.fails_after = 1
    return await played_stream(scene, True)


async def aio_stream_failed_at_first(scene: Scene) -> Facts:
    scene.stacks.fails_after = 0
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    facts: Facts = {"early": await answers(tasks_for(call, calls.AIO_EARLY))}
    scene.stacks.answer.set()
    facts["messages"] = await read_on(call, False)
    facts["waited"] = await answers(tasks_for(call, calls.AIO_FINAL))
    return {**facts, "after": await aio_final(call), **told.facts()}


async def aio_stream_unread(scene: Scene) -> Facts:
    """Nobody reads, and the stream fails: the call says so nevertheless."""
    scene.stacks.fails_after = 0
    call = scene.stub.watch(Message(), **scene.given)
    facts: Facts = {"early": await answers(tasks_for(call, calls.AIO_EARLY))}
    asking = tasks_for(call, calls.AIO_FINAL)
    scene.stacks.answer.set()
    return {**facts, "waited": await answers(asking), "after": await aio_final(call)}


async def aio_stream_cancelled_at_first(scene: Scene) -> Facts:
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    await event(scene.stacks.entered)
    early = await answers(tasks_for(call, calls.AIO_EARLY))
    reading = asyncio.create_task(aio_asked(call, "read"))
    asking = tasks_for(call, calls.AIO_FINAL)
    await asyncio.sleep(0)
    facts: Facts = {"early": early, "cancel": call.cancel(), "at once": immediate(call, calls.AIO_IMMEDIATE)}
    facts["waited"] = await answers({**asking, "read": reading})
    await event(scene.stacks.left)
    return {**facts, "after": await aio_final(call), **told.facts()}


async def aio_stream_cancelled_between(scene: Scene) -> Facts:
    scene.stacks.answer.set()
    call = scene.stub.watch(Message(), **scene.given)
    told = Told(call).register()
    facts: Facts = {"first": await first_of(call, True), "cancel": call.cancel()}
    facts["at once"] = immediate(call, calls.AIO_IMMEDIATE)
    await event(scene.stacks.left)
    return {**facts, "after": await aio_final(call), **told.facts()}


async def aio_stream_cancelled_by_its_reader(scene: Scene) -> Facts:
    call = scene.stub.watch(Message(), **scene.given)
    await event(scene.stacks.entered)
    await call.wait_for_connection()
    reading = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await event(scene.stacks.left)
    return await aio_final(call)


async def aio_stream_timed_out(scene: Scene) -> Facts:
    call = scene.stub.watch(Message(), timeout=0.3, **scene.given)
    facts: Facts = {"messages": await read_on(call, True)}
    return {**facts, "after": await aio_final(call, without=ARRIVES)}


async def aio_stream_read_and_iterated(scene: Scene) -> Facts:
    scene.stacks.answer.set()
    scene.stacks.go_on.set()
    facts: Facts = {}
    for by_read in (True, False):
        call = scene.stub.watch(Message(), **scene.given)
        facts[f"first {by_read}"] = await first_of(call, by_read)
        try:
            facts[f"other {by_read}"] = await first_of(call, not by_read)
        except grpc.aio.UsageError as error:
            facts[f"other {by_read}"] = str(error)
        call.cancel()
    return facts


async def aio_stream_closed(scene: Scene) -> Facts:
    scene.stacks.answer.set()
    call = scene.stub.watch(Message(), **scene.given)
    facts: Facts = {"first": await first_of(call, True)}
    await scene.channel.close()
    call.cancel()  # older versions of gRPC do not end the call by themselves
    return {**facts, "after": await aio_final(call)}


async def aio_made_after_close(scene: Scene) -> Facts:
    await scene.channel.close()
    raised = {}
    for way in (scene.stub.ask, scene.stub.watch):
        try:
            call = way(Message(), **scene.given)
            await (call if way is scene.stub.ask else call.read())
        except grpc.aio.UsageError as error:
            raised[str(len(raised))] = str(error)
    return raised


AIO_MOMENTS = [
    aio_made_after_close,
    aio_unary_answered, aio_unary_refused, aio_unary_failed, aio_unary_timed_out, aio_unary_cancelled,
    aio_unary_cancelled_by_its_task, aio_unary_closed, aio_stream_read, aio_stream_iterated, aio_stream_refused,
    aio_stream_failed_between, aio_stream_failed_while_read, aio_stream_failed_at_first, aio_stream_unread,
    aio_stream_cancelled_at_first, aio_stream_cancelled_between, aio_stream_cancelled_by_its_reader,
    aio_stream_timed_out, aio_stream_read_and_iterated, aio_stream_closed,
]  # fmt: skip


# Older versions of gRPC complain in a finalizer about an intercepted call on a closed channel.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <function InterceptedCall.__del__")
@pytest.mark.parametrize("moment", AIO_MOMENTS)
@pytest.mark.parametrize("way", AIO_WAYS)
async def test_an_asyncio_call_says_what_grpc_says(
    way: Callable[[str], grpc.aio.Channel], moment: Callable[[Scene], Awaitable[Facts]]
) -> None:
    async with aio_scene(AIO_WAYS[way]) as reference:
        expected = await moment(reference)
    async with aio_scene(way) as ours:
        assert without_extras(await moment(ours), expected) == expected


# -- every member is compared


def test_each_member_of_a_call_of_grpc_is_compared_and_there() -> None:
    known = {*calls.IMMEDIATE, *calls.REGISTERING, *calls.EARLY, *calls.FINAL, *calls.STEPPING}
    with scene(stock) as reference, scene(switching) as ours:
        for made in (reference, ours):
            made.stacks.answer.set()
        pairs = [
            (reference.stub.ask.future(Message(), **reference.given), ours.stub.ask.future(Message())),
            (reference.stub.watch(Message(), **reference.given), ours.stub.watch(Message())),
            (
                reference.stub.ask.with_call(Message(), **reference.given)[1],
                ours.stub.ask.with_call(Message())[1],
            ),
        ]
        for expected, call in pairs:
            members = calls.members_of(expected)
            assert set(members) == known
            assert set(members) <= set(calls.members_of(call))
            assert hasattr(type(call), "__iter__")
            call.cancel()


async def test_each_member_of_an_asyncio_call_of_grpc_is_compared_and_there() -> None:
    known = {
        *calls.AIO_IMMEDIATE,
        *calls.AIO_REGISTERING,
        *calls.AIO_EARLY,
        *calls.AIO_FINAL,
        *calls.AIO_STEPPING,
    }
    async with aio_scene(aio_stock) as reference, aio_scene(aio_switching) as ours:
        for method in ("ask", "watch"):
            expected = getattr(reference.stub, method)(Message(), **reference.given)
            call = getattr(ours.stub, method)(Message())
            members = calls.members_of(expected)
            assert {*members, "read"} == known
            assert set(members) <= set(calls.members_of(call))
            expected.cancel()
            call.cancel()


@pytest.mark.parametrize(
    ("ours", "stock"),
    [(SwitchingChannel, grpc.Channel), (AsyncSwitchingChannel, grpc.aio.Channel)],
)
def test_the_signatures_of_a_channel_are_those_of_grpc(ours: type, stock: type) -> None:
    methods = [name for name, member in vars(stock).items() if inspect.isfunction(member)]
    assert {"unary_unary", "unary_stream", "stream_unary", "stream_stream", "close"} <= set(methods)
    for name in methods:
        if name.startswith("_") and not name.startswith("__"):
            continue
        parameters = [inspect.signature(getattr(cls, name)).parameters.values() for cls in (ours, stock)]
        mine, theirs = ([(one.name, one.kind, one.default) for one in each] for each in parameters)
        assert mine == theirs, name


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
async def test_the_signatures_of_what_a_channel_makes_are_those_of_grpc(kind: str) -> None:
    def parameters(function: Any) -> list[tuple[str, Any, Any]]:
        return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]

    for stock_way, way in ((stock, switching), (aio_stock, aio_switching)):
        theirs, ours = (getattr(make("127.0.0.1:1"), kind)("/Stacks/ask") for make in (stock_way, way))
        for name in ("__call__", "with_call", "future"):
            if hasattr(theirs, name):
                assert parameters(getattr(ours, name)) == parameters(getattr(theirs, name)), name
