"""The base classes of gRPC under names that type checkers and the interpreter both accept.

The stubs declare them generic; the classes themselves cannot be subscripted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

if TYPE_CHECKING:
    FutureBase: TypeAlias = grpc.Future[Any]
    UnaryUnaryBase: TypeAlias = grpc.UnaryUnaryMultiCallable[Any, Any]
    UnaryStreamBase: TypeAlias = grpc.UnaryStreamMultiCallable[Any, Any]
else:
    FutureBase = grpc.Future
    UnaryUnaryBase = grpc.UnaryUnaryMultiCallable
    UnaryStreamBase = grpc.UnaryStreamMultiCallable
