"""An event with fields that it does not have, or of another type."""

from __future__ import annotations

from bluegreen.machines.query import BatchFetched, Errored, Prepared
from bluegreen.machines.strategy.events import AuthSuccess, Error456, QueryCompleted, Reset, StrategyAnnounced
from bluegreen.types import Strategy, Ticket

Error456("blue", "7")  # mypy: arg-type; pyright: reportArgumentType
Error456(7, 7)  # mypy: arg-type; pyright: reportArgumentType
Error456(None, 7)  # mypy: arg-type; pyright: reportArgumentType
StrategyAnnounced("blue")  # mypy: call-arg; pyright: reportCallIssue
AuthSuccess(Strategy.BLUE, versoin=7)  # mypy: call-arg; pyright: reportCallIssue
Reset("blue")  # mypy: call-arg; pyright: reportCallIssue
QueryCompleted("blue")  # mypy: arg-type; pyright: reportArgumentType
Ticket("one", "blue", 7)  # mypy: arg-type; pyright: reportArgumentType
Prepared(7)  # mypy: arg-type; pyright: reportArgumentType
BatchFetched("rows")  # mypy: arg-type; pyright: reportArgumentType
Errored("perhaps")  # mypy: arg-type; pyright: reportArgumentType
Error456("blue", 7).state_version = 8  # mypy: misc; pyright: reportAttributeAccessIssue
