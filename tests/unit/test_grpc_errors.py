"""Errors of a link as errors of gRPC: what they are, what they say, and that they can be copied."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc._channel import _InactiveRpcError

from bluegreen.errors import DetectionTimedOutError, QueryLost, StrategyUnavailable
from bluegreen.runtime.sansio import Flow, run
from bluegreen_adapters.grpc.errors import as_aio_error, as_call_error, raising
from support.calls import members_of

LOST = QueryLost("q-1", "blue", 3, "its stack is gone")
ERRORS = [
    (LOST, grpc.StatusCode.ABORTED),
    (StrategyUnavailable("db:443", "both failed", {"blue": "456"}), grpc.StatusCode.UNAVAILABLE),
    (DetectionTimedOutError("db:443", "no answer"), grpc.StatusCode.UNAVAILABLE),
]
both = pytest.mark.parametrize("convert", [as_call_error, as_aio_error])


@both
@pytest.mark.parametrize(("plain", "code"), ERRORS)
def test_converted_error_keeps_name_facts_and_message(
    convert: Callable[[Any], Any], plain: Exception, code: Any
) -> None:
    error = convert(plain)
    assert isinstance(error, type(plain))
    assert isinstance(error, grpc.RpcError)
    assert isinstance(error, grpc.aio.AioRpcError) is (convert is as_aio_error)
    assert (type(error).__name__, type(error).__module__) == (type(plain).__name__, "bluegreen.errors")
    assert (str(error), repr(error), vars(error)) == (str(plain), repr(plain), vars(plain))
    assert (error.code(), error.details(), error.debug_error_string()) == (code, str(plain), str(plain))
    assert (len(error.initial_metadata()), len(error.trailing_metadata())) == (0, 0)


@both
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
@pytest.mark.parametrize(("plain", "code"), ERRORS)
def test_converted_error_can_be_copied(
    convert: Callable[[Any], Any], copied: Callable[[Any], Any], plain: Exception, code: Any
) -> None:
    error = convert(plain)
    again = copied(error)
    assert type(again) is type(error)
    assert (again.args, vars(again), str(again), again.code()) == (error.args, vars(error), str(error), code)


@both
def test_converted_error_is_not_converted_again(convert: Callable[[Any], Any]) -> None:
    error = convert(LOST)
    assert convert(error) is error


def test_error_of_one_api_is_converted_for_the_other() -> None:
    error = as_aio_error(as_call_error(LOST))
    assert isinstance(error, grpc.aio.AioRpcError)
    assert (error.query, error.code()) == ("q-1", grpc.StatusCode.ABORTED)


def test_error_for_threads_is_the_call_that_has_failed() -> None:
    error = as_call_error(LOST)
    assert set(members_of(_InactiveRpcError.__new__(_InactiveRpcError))) <= set(members_of(error))
    assert (error.done(), error.running(), error.is_active()) == (True, False, False)
    assert (error.cancel(), error.cancelled(), error.add_callback(lambda: None)) == (False, False, False)
    assert (error.exception(), error.time_remaining()) == (error, None)
    assert error.traceback() is not None
    with pytest.raises(QueryLost) as caught:
        error.result()
    assert caught.value is error
    told: list[Any] = []
    error.add_done_callback(told.append)
    assert told == [error]


def test_flow_raises_converted_error_with_its_cause_only() -> None:
    def lost() -> Flow[None]:
        yield from ()
        raise LOST from KeyError("the answer")

    with pytest.raises(QueryLost) as caught:
        run(raising(lost(), as_call_error))
    assert isinstance(caught.value, grpc.Call)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__context__ is None


def test_flow_raises_other_errors_as_they_are() -> None:
    def closed() -> Flow[None]:
        yield from ()
        raise ValueError("closed")

    with pytest.raises(ValueError, match="closed") as caught:
        run(raising(closed(), as_call_error))
    assert type(caught.value) is ValueError
