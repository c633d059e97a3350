"""Two stacks as plain values, and connections of several users to them, for flows that are driven without I/O."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

import attrs

from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Call, Sleep, Wait
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.protocol import Fault, Method, Probe, Protocol, Role, StatusRule
from bluegreen_adapters.connection.query import Rpc, StreamHold
from bluegreen_adapters.connection.requests import Blank, Failure, Launch, Outcome, Reply, Send


@attrs.define
class Message:
    """A message of any method, in both directions."""

    sessionId: str = ""
    queryId: str = ""
    engineIP: str = ""
    queryString: str = ""
    user: str = ""
    rows: str = ""
    new_strategy: str = ""


PROTOCOL = Protocol(
    "toy",
    methods={
        "login": Method(Role.AUTHENTICATE, repeatable=True),
        "begin": Method(Role.BEGIN, repeatable=True),
        "execute": Method(Role.USE, effect="executed"),
        "look": Method(Role.USE, repeatable=True),
        "fetch": Method(Role.USE, effect="fetched", rows=("rows",)),
        "clear": Method(Role.END, effect="cleared", repeatable=True),
        "cancel": Method(Role.END, effect="cancelled", repeatable=True),
        "names": Method(Role.FREE, repeatable=True),
        "change": Method(Role.FREE),
    },
    statuses=(
        StatusRule(Fault.WRONG_STRATEGY, ("UNKNOWN",), "status: 456"),
        StatusRule(Fault.NOT_AUTHENTICATED, ("INTERNAL",), "Access denied"),
        StatusRule(Fault.GONE, ("INTERNAL",), "query <id> is not known"),
    ),
    probe=Probe("names", lambda session_id: Message(sessionId=session_id or ""), as_begin=False),
)


class StatusError(Exception):
    """What a driver raises for a status."""


def failure(code: str, details: str = "") -> Failure:
    """Return a status as a driver gives it to a flow."""
    return Failure(code, details, StatusError(code, details))


REFUSED = failure("UNKNOWN", "status: 456")
DENIED = failure("INTERNAL", "Access denied")
UNAVAILABLE = failure("UNAVAILABLE", "down")


@attrs.frozen
class Request:
    """A request that reached a stack: (method, strategy, user, query id)."""

    method: str
    strategy: str
    user: str
    query_id: str


class FlowCluster:
    """Both stacks serve everybody, unless `hook` says otherwise.

    Attributes:
        hook: called with each request; an outcome that it returns is the answer.
        requests: what reached a stack, in order.
        executed: statements by how often they were executed.
        open: the queries of each stack that have begun and were not ended.
    """

    def __init__(self) -> None:
        self.hook: Callable[[Request], Outcome | None] = lambda _: None
        self.requests: list[Request] = []
        self.executed: dict[str, int] = {}
        self.open: dict[str, dict[str, str]] = {"blue": {}, "green": {}}
        self.announces = ""
        self.dead: set[str] = set()  # ids of sessions that are not accepted any more
        self.colliding = False
        self._numbers = itertools.count(1)

    def connect(self, manager: StrategyManager, user: str, protocol: Protocol = PROTOCOL) -> FlowConnection:
        """Return a connection of a user."""
        return FlowConnection(
            self, Connection(manager, protocol, credentials=lambda: (Message(user=user), ()))
        )

    def connect_with_token(self, manager: StrategyManager, protocol: Protocol = PROTOCOL) -> FlowConnection:
        """Return a connection without a login: a token travels with each request."""
        return FlowConnection(self, Connection(manager, protocol))

    def answer(self, command: Any) -> Any:
        """Carry out a command; nothing ever waits, and no time passes."""
        if isinstance(command, Send):
            return self.outcome(command)
        if isinstance(command, Launch):
            launched: Future[Outcome] = Future()
            launched.set_result(self.outcome(command.send))
            return launched
        if isinstance(command, Blank):
            return Message()
        if isinstance(command, Call):
            return command.function(*command.args)
        assert isinstance(command, (Wait, Sleep)), command
        return command.future.done() if isinstance(command, Wait) else None

    def outcome(self, send: Send) -> Outcome:
        """Return what a stack answers."""
        strategy, message = str(dict(send.metadata)["strategy"]), send.request
        user = message.user or message.sessionId.partition("/")[0]
        request = Request(send.method, strategy, user, message.queryId)
        self.requests.append(request)
        hooked = self.hook(request)
        if hooked is not None:
            return hooked
        reply = Message(new_strategy=self.announces)
        if send.method == "login":
            reply.sessionId = f"{user}/{strategy}-{next(self._numbers)}"
            return Reply(reply)
        if message.sessionId in self.dead:
            return DENIED
        queries = self.open[strategy]
        if send.method == "begin":
            number = len(queries) + 1 if self.colliding else next(self._numbers)
            reply.queryId, reply.engineIP = f"q-{number}", f"engine-{strategy}"
            queries[reply.queryId] = message.queryString
        elif message.queryId and message.queryId not in queries:
            return failure("INTERNAL", f"query {message.queryId} is not known")
        elif send.method == "execute":
            statement = queries[message.queryId]
            self.executed[statement] = self.executed.get(statement, 0) + 1
        elif send.method == "fetch":
            reply.rows = strategy
        elif send.method in ("clear", "cancel"):
            del queries[message.queryId]
        return Reply(reply)

    def run(self, flow: Generator[Any, Any, Any]) -> Any:
        """Drive a flow to its end; what a command raises is raised in the flow, as every driver does."""
        answer, error = None, None
        try:
            while True:
                command = flow.send(answer) if error is None else flow.throw(error)
                answer, error = None, None
                try:
                    answer = self.answer(command)
                except LookupError as raised:
                    error = raised
        except StopIteration as stop:
            return stop.value

    def strategies(self, method: str, user: str) -> list[str]:
        """Return the stacks that a user's requests of one method reached, in order."""
        return [one.strategy for one in self.requests if (one.method, one.user) == (method, user)]


class FlowConnection:
    """A connection of one user, with the calls that a driver makes."""

    def __init__(self, cluster: FlowCluster, link: Connection) -> None:
        self.cluster, self.link = cluster, link

    def call(self, name: str, query: Any = "", *, stream: StreamHold | None = None, **fields: Any) -> Any:
        """Carry out one RPC."""
        message = Message(queryId=query, **fields)
        rpc = Rpc(
            name,
            self.link.protocol.methods[name],
            message,
            state_version=self.link.manager.state_version,
            stream=stream,
        )
        return self.cluster.run(self.link.call(rpc))

    def begin(self, statement: str = "SELECT 1") -> Any:
        """Begin a query and return its id as the application holds it."""
        return self.call("begin", queryString=statement).queryId

    def query(self, statement: str = "SELECT 1") -> str:
        """Run a query to its end; return the stack that its rows came from."""
        query = self.begin(statement)
        self.call("execute", query)
        rows = self.call("fetch", query).rows
        self.call("clear", query)
        return str(rows)
