"""Errors of this library as errors of gRPC: what the application of a channel gets.

A link raises plain errors, such as `QueryLost`. Middleware of gRPC (interceptors, retry policies, tracing) asks each
error for its code and its details, and gRPC's own asyncio calls fail if an error is no `AioRpcError`. So the channels
raise classes that are derived from both: `as_call_error` for threads, `as_aio_error` for asyncio. A derived class
keeps the name, the attributes and the message of the plain one, and instances of it can be pickled.

Codes, and why these:

- `StrategyUnavailable` and `DetectionTimedOutError`: UNAVAILABLE. Nothing has been executed, and a retry may find
  service again. DEADLINE_EXCEEDED would tell the application that its own deadline has passed.
- `QueryLost`: ABORTED, "retry at a higher level" in gRPC's words. The RPC itself must not be sent again, as a retry
  policy does for UNAVAILABLE; the application decides whether to run the whole query again.
"""

# ruff: noqa: ARG002, D102 - the methods of an error are those of `grpc.Call`, `grpc.Future` and `AioRpcError`

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import grpc
import grpc.aio

from bluegreen.errors import BluegreenError, QueryLost, StrategyUnavailable
from bluegreen.runtime.sansio import Flow
from bluegreen_adapters.grpc.base_types import FutureBase

T = TypeVar("T")

RAISED = (QueryLost, StrategyUnavailable)
"""The errors of a link that reach the application as errors of gRPC."""


class CallError(grpc.RpcError, grpc.Call, FutureBase):
    """Error with a status, for threads. It is also the call that has failed, as gRPC's own error is."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, details)
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def debug_error_string(self) -> str:
        return self.details()

    def initial_metadata(self) -> Any:
        return ()

    def trailing_metadata(self) -> Any:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any:
        return None

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> Any:
        raise self

    def exception(self, timeout: float | None = None) -> Any:
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        return traceback_of(self)

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        fn(self)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False


def traceback_of(error: BaseException) -> Any:
    """Return a traceback of an error that may never have been raised, as gRPC does."""
    try:
        raise error
    except type(error):
        return sys.exc_info()[2]


class _Derived:
    """What the derived classes have in common. It comes first in their method resolution order."""

    _plain: ClassVar[type[BluegreenError]]
    """The class of this library that the class is derived from."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.ABORTED if isinstance(self, QueryLost) else grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return str(self)

    def debug_error_string(self) -> str:
        return str(self)

    # gRPC's errors describe the status of a call; ours keep their message.
    __str__ = BaseException.__str__
    __repr__ = BaseException.__repr__


class _ForThreads(_Derived, CallError):
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (_ForThreads, self._plain, self.args, self.__dict__)


class _ForAsyncio(_Derived, grpc.aio.AioRpcError):
    def initial_metadata(self) -> Any:
        return grpc.aio.Metadata()

    def trailing_metadata(self) -> Any:
        return grpc.aio.Metadata()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (_ForAsyncio, self._plain, self.args, self.__dict__)


_Base = type[_ForThreads] | type[_ForAsyncio]

_classes: dict[tuple[_Base, type[BluegreenError]], Any] = {}
"""The derived classes, one for each plain class and API."""


def _derived(base: _Base, plain: type[BluegreenError]) -> Any:
    known = _classes.get((base, plain))
    if known is None:
        # Named like the plain class, also in tracebacks; so pickling needs `_rebuild`.
        facts = {"_plain": plain, "__module__": plain.__module__, "__doc__": plain.__doc__}
        # Two threads may make it at once: one of the two classes is kept.
        known = _classes.setdefault((base, plain), type(plain.__name__, (base, plain), facts))
    return known


def _rebuild(base: _Base, plain: type[BluegreenError], args: tuple[Any, ...], facts: dict[str, Any]) -> Any:
    cls = _derived(base, plain)
    # Not by `__init__`: gRPC's one takes other arguments, and so may that of the plain class.
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


def _converted(base: _Base, error: BluegreenError) -> Any:
    if isinstance(error, _Derived) and issubclass(
        type(error), base
    ):  # converted by a channel behind this one
        return error
    converted = _rebuild(base, type(error), error.args, error.__dict__)
    converted.__cause__ = error.__cause__
    return converted.with_traceback(error.__traceback__)


if TYPE_CHECKING:
    Convert = Callable[[BluegreenError], BluegreenError]


def as_call_error(error: BluegreenError) -> Any:
    """Return an error of a link as one that is also `grpc.RpcError`, `grpc.Call` and `grpc.Future`.

    >>> error = as_call_error(QueryLost("q-1", "blue", 3, "its stack is gone"))
    >>> type(error).__name__, error.code().name, error.query, isinstance(error, grpc.RpcError)
    ('QueryLost', 'ABORTED', 'q-1', True)
    """
    return _converted(_ForThreads, error)


def as_aio_error(error: BluegreenError) -> Any:
    """Return an error of a link as one that is also `grpc.aio.AioRpcError`.

    >>> error = as_aio_error(StrategyUnavailable("db:443", "both strategies failed"))
    >>> type(error).__name__, error.code().name, isinstance(error, grpc.aio.AioRpcError)
    ('StrategyUnavailable', 'UNAVAILABLE', True)
    """
    return _converted(_ForAsyncio, error)


def raising(flow: Flow[T], convert: Convert) -> Flow[T]:
    """Drive `flow`, and raise the errors of a link as those of gRPC."""
    try:
        return (yield from flow)
    except RAISED as error:
        converted = convert(error)
    # Outside the handler: otherwise the plain error, with all its frames, would be the context of this one.
    raise converted from converted.__cause__
