"""The base classes of gRPC under names that type checkers and the interpreter both accept.

The stubs declare them generic; the classes themselves cannot be subscripted.
"""

from __future__ import annotations

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
