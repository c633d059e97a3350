"""Our errors as classes that are also the e6data connector's, so that the handlers of its users work."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from e6data_python_connector.exceptions import OperationalError
from grpc._channel import _InactiveRpcError  # pyright: ignore[reportPrivateUsage]  what the connector catches

from bluegreen.errors import QueryLost, StrategyUnavailable


class Lost(QueryLost, OperationalError):  # type: ignore[misc]  # the connector has no types
    """`QueryLost`, for those who catch the connector's `OperationalError`."""


class Unavailable(StrategyUnavailable, OperationalError, _InactiveRpcError):  # type: ignore[misc]
    """`StrategyUnavailable`, for those who catch the connector's `OperationalError` or gRPC's errors.

    The connector closes its channel for good if authenticating fails with anything but a gRPC error.
    """

    def __init__(self, scope: object, reason: str, failures: Mapping[str, str] | None = None) -> None:
        # Not by `super`: gRPC's own `__init__` is next in line, and wants the state of a call.
        plain = StrategyUnavailable(scope, reason, failures)
        for name, fact in vars(plain).items():
            setattr(self, name, fact)
        self.args = plain.args

    def code(self) -> grpc.StatusCode:
        """Return `UNAVAILABLE`."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """Return the message."""
        return str(self)

    def debug_error_string(self) -> str:
        """Return the message."""
        return str(self)

    def initial_metadata(self) -> tuple[()]:
        """Return nothing: there was no call."""
        return ()

    def trailing_metadata(self) -> tuple[()]:
        """Return nothing: there was no call."""
        return ()

    def __repr__(self) -> str:
        return StrategyUnavailable.__repr__(self)

    def __str__(self) -> str:
        return StrategyUnavailable.__str__(self)


class RowsDiscarded(Unavailable):
    """The query has begun again, so the rows that its cursor has collected are void. `fetching` catches it."""
