"""RPCs that a channel or an interceptor sends in the background, on behalf of a flow that does not wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from bluegreen_adapters.connection.requests import Failure, Reply, Send
from bluegreen_adapters.grpc.aio import AsyncSwitchingChannel, AsyncSwitchingInterceptor
from bluegreen_adapters.grpc.channel import SwitchingChannel
from bluegreen_adapters.grpc.interceptor import SwitchingInterceptor
from support.stacks import Message, Stacks, Stub, fresh_link, serving

METADATA = (("strategy", "blue"),)


@contextmanager
def by_channel(target: str) -> Iterator[tuple[Stub, Any]]:
    with SwitchingChannel(grpc.insecure_channel(target), fresh_link(target)) as channel:
        yield Stub(channel), channel.port


@contextmanager
def by_interceptor(target: str) -> Iterator[tuple[Stub, Any]]:
    interceptor = SwitchingInterceptor(fresh_link(target))
    with grpc.intercept_channel(grpc.insecure_channel(target), interceptor) as channel:
        yield Stub(channel), interceptor._port


@pytest.mark.parametrize("way", [by_channel, by_interceptor])
def test_launched_rpc_is_answered_later(way: Any) -> None:
    stacks = Stacks()
    with serving(stacks) as target, way(target) as (stub, port):
        stacks.answer.set()
        stub.ask(Message())  # an interceptor learns by this how to send it
        stacks.answer.clear()
        outcome = port.launch(Send("ask", Message(), METADATA, 60))
        assert not outcome.done()
        stacks.answer.set()
        answer = outcome.result(60)
        assert isinstance(answer, Reply)
        assert answer.message.row == "answer"
        refused = port.launch(Send("ask", Message(), (("strategy", "green"),), 60)).result(60)
        assert isinstance(refused, Failure)
        assert refused.details == "status: 456"


@pytest.mark.parametrize("way", [by_channel, by_interceptor])
def test_unknown_method_is_not_launched(way: Any) -> None:
    with way("127.0.0.1:1") as (_, port), pytest.raises(LookupError, match="clear was not made"):
        port.launch(Send("clear", Message(), METADATA, 60))


def test_nothing_is_launched_on_a_closed_channel() -> None:
    with by_channel("127.0.0.1:1") as (_, port):
        port.channel.close()
        assert port.launch(Send("ask", Message(), METADATA, 60)) is None


def test_interceptor_launches_by_one_thread_for_each_method() -> None:
    """Many RPCs to a stack that does not answer take one thread, and delay no other method."""
    stacks = Stacks()
    with serving(stacks) as target, by_interceptor(target) as (stub, port):
        stacks.answer.set()
        stub.ask(Message())
        port.stubs["other"] = port.stubs["ask"]
        stacks.answer.clear()
        held = [port.launch(Send("ask", Message(), METADATA, 60)) for _ in range(20)]
        launching = [one for one in threading.enumerate() if one.name.startswith("bluegreen-launch")]
        assert [(one.name, one.daemon) for one in launching] == [("bluegreen-launch-ask", True)]
        refused = port.launch(Send("other", Message(), (("strategy", "green"),), 60))
        assert refused.result(60).details == "status: 456"
        assert not any(one.done() for one in held)
        stacks.answer.set()
        assert {one.result(60).message.row for one in held} == {"answer"}
        launching[0].join(60)
        assert port.launch(Send("ask", Message(), METADATA, 60)).result(60).message.row == "answer"


def test_launched_rpc_that_cannot_be_sent_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    def broken(details: Any, request: Any) -> Any:
        raise RuntimeError("an interceptor behind is broken")

    with by_interceptor("127.0.0.1:1") as (_, port), caplog.at_level("DEBUG", logger="bluegreen.grpc"):
        port.stubs["ask"] = ("/Stacks/ask", broken)
        outcome = port.launch(Send("ask", Message(), METADATA, 60))
        for one in threading.enumerate():
            if one.name == "bluegreen-launch-ask":
                one.join(60)
        assert outcome.cancelled()
    assert "ask failed in the background: <class 'RuntimeError'>" in caplog.text


async def test_asyncio_channel_and_interceptor_launch_by_a_task() -> None:
    stacks = Stacks()
    stacks.answer.set()
    with serving(stacks) as target:
        interceptor = AsyncSwitchingInterceptor(fresh_link(target))
        ours = AsyncSwitchingChannel(grpc.aio.insecure_channel(target), fresh_link(target))
        theirs = grpc.aio.insecure_channel(target, interceptors=[interceptor])
        for channel, port in ((ours, ours.port), (theirs, interceptor._port)):
            async with channel:
                await Stub(channel).ask(Message())
                outcome = port.launch(Send("ask", Message(), METADATA, 60))
                assert outcome is not None
                assert not outcome.done()
                answer = await asyncio.wrap_future(outcome)
                assert isinstance(answer, Reply)
                assert answer.message.row == "answer"
                with pytest.raises(LookupError, match="clear was not made"):
                    port.launch(Send("clear", Message(), METADATA, 60))
