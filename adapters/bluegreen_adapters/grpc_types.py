"""The base classes of gRPC under names that type checkers and the interpreter both accept, and an ended call.

The stubs declare them generic; the classes themselves cannot be subscripted.
"""

# ruff: noqa: ARG002, D102 - the methods of a call are those of `grpc.Future` and `grpc.Call`

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio

if TYPE_CHECKING:
    FutureBase: TypeAlias = grpc.Future[Any]
    UnaryUnaryBase: TypeAlias = grpc.UnaryUnaryMultiCallable[Any, Any]
    UnaryStreamBase: TypeAlias = grpc.UnaryStreamMultiCallable[Any, Any]
    AioUnaryUnaryBase: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[Any, Any]
    AioUnaryStreamBase: TypeAlias = grpc.aio.UnaryStreamMultiCallable[Any, Any]
    AioUnaryUnaryCallBase: TypeAlias = grpc.aio.UnaryUnaryCall[Any, Any]
    AioUnaryStreamCallBase: TypeAlias = grpc.aio.UnaryStreamCall[Any, Any]
else:
    FutureBase = grpc.Future
    UnaryUnaryBase = grpc.UnaryUnaryMultiCallable
    UnaryStreamBase = grpc.UnaryStreamMultiCallable
    AioUnaryUnaryBase = grpc.aio.UnaryUnaryMultiCallable
    AioUnaryStreamBase = grpc.aio.UnaryStreamMultiCallable
    AioUnaryUnaryCallBase = grpc.aio.UnaryUnaryCall
    AioUnaryStreamCallBase = grpc.aio.UnaryStreamCall


class Ended(FutureBase, grpc.Call):
    """A call that has ended well, with the message that the application is to see.

    `real` is the call that brought it, or none if it was answered without one.
    """

    def __init__(self, message: Any, real: Any) -> None:
        self._message, self._real = message, real

    def result(self, timeout: float | None = None) -> Any:
        return self._message

    def exception(self, timeout: float | None = None) -> None:
        return None

    def traceback(self, timeout: float | None = None) -> None:
        return None

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        fn(self)

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any:
        return None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def initial_metadata(self) -> Any:
        return self._real.initial_metadata() if self._real is not None else ()

    def trailing_metadata(self) -> Any:
        return self._real.trailing_metadata() if self._real is not None else ()

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    def details(self) -> str:
        return ""
