"""A real gRPC server in this process with two stacks, of which a test decides what each request is answered.

It speaks the e6data protocol and counts what an outside observer can count: which stack each request reached, which
query of whom it named, whether it took effect, and how often each statement was executed.

    with ProgrammableServer() as server:
        server.begin(Plan(faults=(Fault("execute", Answer("INTERNAL", "boom"), after=True),)))
        ...                                     # use any way in, at server.address
        server.world.executions["INSERT INTO t VALUES (1)"]

All state belongs to one `Plan`; `begin` replaces all of it at once, so that servers and channels can be used again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import grpc
from e6data_python_connector.cluster_server import cluster_pb2
from e6data_python_connector.server import e6x_engine_pb2 as pb

from bluegreen_adapters.testing.engine.encoding import batch, metadata

ROLES: Mapping[str, str] = {
    "authenticate": "login",
    "prepareStatement": "prepare",
    "prepareStatementV2": "prepare",
    "executeStatement": "execute",
    "executeStatementV2": "execute",
    "getResultMetadata": "metadata",
    "getNextResultBatch": "fetch",
    "getNextResultBatchV2": "fetch",
    "status": "status",
    "clear": "clear",
    "clearOrCancelQuery": "clear",
    "cancelQuery": "cancel",
    "getSchemaNames": "schemas",
    "getSchemaNamesV2": "schemas",
    "identifyPlanner": "planner",
}
"""What each RPC is called in a plan."""

OF_A_QUERY = ("execute", "metadata", "fetch", "status", "clear", "cancel")
ENDS = ("clear", "cancel")
STACKS = ("blue", "green")
BATCH = 2
"""Rows in one batch."""

FOREIGN = 1000
"""Where ids collide, every id up to this number that is not ours is a query of somebody else's."""


@attrs.frozen
class Answer:
    """A status other than OK.

    Args:
        code: name of the gRPC status; `RST` resets the stream, and `DROP` the connections, instead of answering.
        text: its details.
    """

    code: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.text[:100]!r}"


REFUSED = Answer("UNKNOWN", "status: 456")
"""The gateway's refusal of the strategy."""

DENIED = Answer("INTERNAL", "Access denied")
"""The answer to a session that is not known."""


def unknown(query_id: str, stack: str) -> Answer:
    """Return the answer about a query that a stack does not have."""
    return Answer("INTERNAL", f"query {query_id} is not known to {stack}")


@attrs.frozen
class Fault:
    """What happens to some of the requests.

    Args:
        role: which kind of request, one of the values of `ROLES`.
        answer: what they are answered, or `expire`: the stack forgets its sessions first, or `forget`: its queries, or
            `empty`: a login is answered without a session.
        after: answer so after the request took its effect, which the client cannot see.
        skip: how many of these requests are spared first.
        count: how many are met then.
        stack: only those that reach this stack; none: any.
        user: only those of this user; none: anybody's.
    """

    role: str
    answer: Answer | str
    after: bool = False
    skip: int = 0
    count: int = 1
    stack: str | None = None
    user: str | None = None


@attrs.frozen
class Plan:
    """What the two stacks do while one example runs.

    Args:
        faults: what happens to single requests; of several that fit, the first one counts.
        rows: rows of each statement that reads.
        serving: stacks that accept new work in the beginning.
        announced_from: from this request on, blue announces green; none: never.
        refuses_new_from: from this request on, blue refuses new work; none: never.
        refuses_all_from: from this request on, blue is gone; none: never.
        colliding: both stacks number their queries from one, so that an id of ours is somebody else's on the other.
    """

    faults: tuple[Fault, ...] = ()
    rows: int = 3
    serving: tuple[str, ...] = STACKS
    announced_from: int | None = None
    refuses_new_from: int | None = None
    refuses_all_from: int | None = None
    colliding: bool = False


@attrs.define(eq=False)
class Query:
    """A query on one stack, and whose it is."""

    id: str
    stack: str
    text: str
    owner: str
    executions: int = 0
    handed: int = 0
    over: bool = False


@attrs.frozen
class Record:
    """One request and what it was answered.

    Args:
        role: which kind of request.
        stack: which stack it reached.
        user: whose it is.
        query: the id that it names.
        text: statement of that query, or the one that it begins.
        code: name of the status; `OK`, or `RST`.
        details: its details.
        fault: whether a fault decided it, instead of the stack.
    """

    role: str
    stack: str
    user: str
    query: str
    text: str
    code: str
    details: str
    fault: bool = False

    @property
    def ok(self) -> bool:
        """Whether the client was told that it succeeded."""
        return self.code == "OK"

    def __str__(self) -> str:
        return f"{self.role}@{self.stack} {self.query} -> {self.code} {self.details[:60]}".strip()


class World:
    """Everything that is known of both stacks while one plan holds.

    Attributes:
        records: all requests in the order in which they were answered.
        executions: how often each statement took effect, on both stacks together.
        trespasses: requests that named a query of somebody else's.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records: list[Record] = []
        self.executions: Counter[str] = Counter()
        self.trespasses: list[str] = []
        self.sessions: dict[str, dict[str, str]] = {stack: {} for stack in STACKS}
        self.queries: dict[str, dict[str, Query]] = {stack: {} for stack in STACKS}
        self.ever: dict[tuple[str, str], Query] = {}
        self.requests = 0
        self._faults = list(plan.faults)
        self._met = [0] * len(plan.faults)
        self._numbers = dict.fromkeys(STACKS, 0)
        self._session_number = 0

    def open(self, stack: str | None = None) -> list[Query]:
        """Return the queries that a stack, or both, still hold."""
        held = [self.queries[name] for name in STACKS if stack in (None, name)]
        return [query for queries in held for query in queries.values() if not query.over]

    def arm(self, *faults: Fault) -> None:
        """Add faults that hold from now on."""
        self._met += [0] * len(faults)
        self._faults += faults

    def expire(self, user: str) -> None:
        """End the sessions of one user, on both stacks."""
        for sessions in self.sessions.values():
            for session in [one for one, whose in sessions.items() if whose == user]:
                del sessions[session]

    def of(self, user: str) -> list[Record]:
        """Return the requests of one user."""
        return [record for record in self.records if record.user == user]

    def serve(self, method: str, request: Any, named: str, token: str, response: Any) -> Answer | None:
        """Carry out a request; return none and fill `response`, or what it is answered instead."""
        role = ROLES[method]
        self.requests += 1
        stack = named if named in STACKS else "blue"
        session = getattr(request, "sessionId", "")
        user = token or getattr(request, "user", "") or self._user_of(session)
        query_id = getattr(request, "queryId", "")
        known = self.ever.get((stack, query_id))
        text = getattr(request, "queryString", "") or (known.text if known else "")
        if self._gone(role, stack, query_id):
            return self._log(REFUSED, role, stack, user, query_id, text)
        fault = self._fault(role, stack, user)
        if fault is not None:
            if fault.answer == "expire":
                self.sessions[stack].clear()
            elif fault.answer == "forget":
                self.queries[stack].clear()
            elif not fault.after and isinstance(fault.answer, Answer):
                return self._log(fault.answer, role, stack, user, query_id, text, fault=True)
        if fault is None or fault.answer != "empty":
            answer = self._work(role, stack, user, session, token, request, response)
        else:
            answer = None
        if fault is not None and fault.after and answer is None and isinstance(fault.answer, Answer):
            return self._log(fault.answer, role, stack, user, query_id, text, fault=True)
        announced = self.plan.announced_from
        if (
            answer is None
            and stack == "blue"
            and announced is not None
            and self.requests >= announced
            and hasattr(response, "new_strategy")
        ):
            response.new_strategy = "green"
        return self._log(answer, role, stack, user, query_id or getattr(response, "queryId", ""), text)

    def _log(
        self,
        answer: Answer | None,
        role: str,
        stack: str,
        user: str,
        query_id: str,
        text: str,
        *,
        fault: bool = False,
    ) -> Answer | None:
        code, details = ("OK", "") if answer is None else (answer.code, answer.text)
        self.records.append(Record(role, stack, user, query_id, text, code, details, fault))
        return answer

    def _user_of(self, session: str) -> str:
        # A session says whose it was even when it has expired: ids are never given twice.
        return session.split("/", 1)[1] if "/" in session else ""

    def _gone(self, role: str, stack: str, query_id: str) -> bool:
        plan = self.plan
        new = role not in OF_A_QUERY
        if stack not in plan.serving:
            return True
        if stack != "blue":
            return False
        if plan.refuses_all_from is not None and self.requests >= plan.refuses_all_from:
            return True
        return new and plan.refuses_new_from is not None and self.requests >= plan.refuses_new_from

    def _fault(self, role: str, stack: str, user: str) -> Fault | None:
        struck = None
        for number, fault in enumerate(self._faults):
            if fault.role != role or fault.stack not in (None, stack) or fault.user not in (None, user):
                continue
            self._met[number] += 1
            if struck is None and fault.skip < self._met[number] <= fault.skip + fault.count:
                struck = fault
        return struck

    def _work(
        self, role: str, stack: str, user: str, session: str, token: str, request: Any, response: Any
    ) -> Answer | None:
        if role == "login":
            self._session_number += 1
            response.sessionId = f"{stack}-{self._session_number}/{user}"
            self.sessions[stack][response.sessionId] = user
            return None
        if not token and session not in self.sessions[stack]:
            return DENIED
        if role == "prepare":
            self._numbers[stack] += 1
            number = self._numbers[stack]
            query_id = f"q-{number}" if self.plan.colliding else f"{stack}-q-{number}"
            query = Query(query_id, stack, request.queryString, user)
            self.queries[stack][query_id] = self.ever[(stack, query_id)] = query
            response.queryId, response.engineIP = query_id, f"engine-{stack}"
            return None
        if role in OF_A_QUERY:
            return self._of_query(role, stack, user, request, response)
        if role == "schemas":
            response.schemas.extend(("sales", "ops"))
        return None

    def _of_query(self, role: str, stack: str, user: str, request: Any, response: Any) -> Answer | None:
        query_id = request.queryId
        query = self.queries[stack].get(query_id)
        if query is None or query.owner != user:
            number = query_id.rsplit("-", 1)[-1]
            foreign = query is not None or (
                self.plan.colliding
                and (stack, query_id) not in self.ever
                and number.isdigit()
                and int(number) <= FOREIGN
            )
            if not foreign:
                return unknown(query_id, stack)
            # The stack does as it is told: it has no means to know that this is a mistake.
            self.trespasses.append(f"{role} of {query_id} on {stack} by {user}")
            return None
        if query.over and role not in ENDS:
            return unknown(query_id, stack)
        if role == "execute":
            query.executions += 1
            query.handed = 0
            self.executions[query.text] += 1
        elif role == "metadata":
            response.resultMetaData = metadata(self._rows(query))
        elif role == "status":
            response.rowCount = self._rows(query)
        elif role in ENDS:
            query.over = True
        elif role == "fetch":
            self._fetch(query, response)
        return None

    def _rows(self, query: Query) -> int:
        return self.plan.rows if reads(query.text) else 0

    def _fetch(self, query: Query, response: Any) -> None:
        start = min(query.handed, self._rows(query))
        numbers = range(start, min(start + BATCH, self._rows(query)))
        query.handed = numbers.stop
        chunk = batch(numbers, query.text, query.stack)
        if isinstance(response, pb.GetNextResultBatchV2Response):
            if chunk:
                response.resultBatches.append(chunk)
            response.endOfStream = numbers.stop >= self._rows(query)
        else:
            response.resultBatch = chunk


def reads(text: str) -> bool:
    """Whether a statement of the corpus is one that reads; the corpus marks those that do not."""
    return "/* writes */" not in text


class ProgrammableServer:
    """The server. A context manager; `begin` starts with an empty world.

    Attributes:
        world: what holds now.
        before: called with the name and the message of each RPC before it is served, without a lock.
        drop: what drops the connections of its clients.
    """

    def __init__(self, threads: int = 6) -> None:
        self.world = World(Plan())
        self.before: Callable[[str, Any], None] | None = None
        self.drop: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._threads = threads
        self._server = self._started()

    host = "127.0.0.1"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.host}:{self.port}"

    def begin(self, plan: Plan) -> World:
        """Forget everything, and go by this plan from now on."""
        with self._lock:
            self.world = World(plan)
            return self.world

    def stop(self) -> None:
        """Stop."""
        self._server.stop(None).wait()

    def __enter__(self) -> ProgrammableServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _started(self) -> grpc.Server:
        server = grpc.server(
            ThreadPoolExecutor(self._threads, thread_name_prefix="programmable"),
            options=(("grpc.so_reuseport", 0), ("grpc.max_metadata_size", 256 * 1024)),
        )
        service = pb.DESCRIPTOR.services_by_name["QueryEngineService"]
        handlers = {name: self._handler(service.methods_by_name[name]) for name in ROLES}
        cluster = {
            name: grpc.unary_unary_rpc_method_handler(
                lambda request, context, answer=answer: answer(status="active"),
                request_deserializer=request.FromString,
                response_serializer=answer.SerializeToString,
            )
            for name, request, answer in (
                ("status", cluster_pb2.ClusterStatusRequest, cluster_pb2.ClusterStatusResponse),
                ("resume", cluster_pb2.ResumeRequest, cluster_pb2.ResumeResponse),
            )
        }
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(service.full_name, handlers),
                grpc.method_handlers_generic_handler("ClusterService", cluster),
            )
        )
        self.port = server.add_insecure_port(f"{self.host}:0")
        server.start()
        return server

    def _handler(self, method: Any) -> Any:
        name = method.name
        request_class, response_class = (
            getattr(pb, kind.name) for kind in (method.input_type, method.output_type)
        )

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            if self.before is not None:
                self.before(name, request)
            named, token = "", ""
            for key, value in context.invocation_metadata():
                if key == "strategy":
                    named = str(value).lower()
                elif key == "authorization":
                    token = str(value).removeprefix("Bearer ")
            response = response_class()
            with self._lock:
                answer = self.world.serve(name, request, named, token, response)
            if answer is None:
                return response
            if answer.code == "RST":
                context.cancel()
                return response
            if answer.code == "DROP":
                assert self.drop is not None
                self.drop()
                context.abort(grpc.StatusCode.DATA_LOSS, "nobody is there to read this")
            context.abort(getattr(grpc.StatusCode, answer.code), answer.text)
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_class.FromString,
            response_serializer=response_class.SerializeToString,
        )
