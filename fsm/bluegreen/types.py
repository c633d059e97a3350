"""The words that every other module uses: strategy, scope, ticket.

All values here are frozen: they may be shared between threads, tasks and processes without a lock.
"""

from __future__ import annotations

import enum

import attrs

from bluegreen.errors import UnknownStrategy


class Strategy(str, enum.Enum):
    """One of the two deployments of a cluster.

    A member is also its wire name, so it can be put into a request as it is.

    >>> Strategy.parse("GREEN")
    <Strategy.GREEN: 'green'>
    >>> Strategy.BLUE.other
    <Strategy.GREEN: 'green'>
    """

    BLUE = "blue"
    GREEN = "green"

    @classmethod
    def parse(cls, value: object) -> Strategy:
        """Return the strategy that `value` names, whatever its case.

        Raises:
            UnknownStrategy: `value` is neither `blue` nor `green`; nothing was changed.

        Source: spec, section 1, "strategy".
        """
        if isinstance(value, Strategy):
            return value
        if isinstance(value, str):
            found = _BY_NAME.get(value.lower())
            if found is not None:
                return found
        raise UnknownStrategy(value)

    @property
    def other(self) -> Strategy:
        """The strategy that this one is not."""
        return Strategy.GREEN if self is Strategy.BLUE else Strategy.BLUE

    def __str__(self) -> str:
        return self.value


_BY_NAME = {member.value: member for member in Strategy}


def parse_strategy(value: str) -> Strategy:
    """`Strategy.parse` as the converter of every field that holds a strategy; the checkers see what it takes."""
    return Strategy.parse(value)


def optional_strategy(value: object) -> Strategy | None:
    """Like `Strategy.parse`, but `None`, the empty string and `none` stand for no strategy at all."""
    if value is None or (isinstance(value, str) and value.lower() in ("", "none")):
        return None
    return Strategy.parse(value)


@attrs.frozen
class Scope:
    """One cluster: what switches together. Two scopes never share anything.

    Args:
        target: address of the gateway, `host:port`.
        cluster: name of the cluster behind that address; empty if the address has only one.

    >>> str(Scope("db.example:443", "sales"))
    'db.example:443/sales'
    """

    target: str
    cluster: str = ""

    def __str__(self) -> str:
        return f"{self.target}/{self.cluster}" if self.cluster else self.target


@attrs.frozen
class Ticket:
    """What a query holds from its start to its end. Every RPC of the query uses what stands here.

    Args:
        query: number of the query within its scope, from 1.
        strategy: where the query runs; never changes (invariant I2).
        state_version: version of the scope's machine when the query started.
        session: whatever the connection keeps beside it; opaque to the machine.
        started_s: when the query started, by the manager's clock.

    Source: spec, section 1, "ticket".
    """

    query: int
    strategy: Strategy = attrs.field(converter=parse_strategy)
    state_version: int
    session: object = attrs.field(default=None, eq=False, repr=False)
    started_s: float = attrs.field(default=0.0, eq=False)
