"""What the fuzz of `test_at_most_once` tries, and how it judges what came of it.

An `Example` is what one application does while a `Plan` holds. `run` carries it out over one way in, and returns what
each of the application's calls brought. `violations` is the oracle: it knows the plan, what the server counted and what
the application was told, and nothing of the code under test.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import grpc
import pytest
from e6data_python_connector.exceptions import OperationalError
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from bluegreen.errors import BluegreenError, QueryLost, StrategyUnavailable
from bluegreen.runtime import registry
from support.engine import quick
from support.programmable import (
    DENIED,
    ENDS,
    REFUSED,
    Answer,
    Fault,
    Plan,
    ProgrammableServer,
    Record,
    World,
    reads,
    unknown,
)
from support.relay import Relay
from support.ways import AnyConnection, Cursor, Way, causes

# -- what is tried

REFUSED_TOO = Answer("INVALID_ARGUMENT", "Wrong strategy. Status: 456. Expected: green, Got: blue")
SUSPENDED = Answer("UNAVAILABLE", "status: 503, cluster is suspended")
FORMS = (REFUSED, REFUSED_TOO, DENIED, SUSPENDED)
"""Answers whose whole text is one of the listed forms. They say that the request took no effect."""

HTTP = (
    Answer("UNAVAILABLE", "Received http2 header with status: 503"),
    Answer("UNKNOWN", "Received http2 header with status: 500"),
)
"""What gRPC makes of an answer of a proxy that is no gRPC. It says as little as a broken connection."""

PHRASES = {
    "status: 456": "UNKNOWN",
    "Wrong strategy. Status: 456. Expected: green, Got: blue": "INVALID_ARGUMENT",
    "Access denied": "INTERNAL",
    "not found": "INTERNAL",
    "status: 503": "UNAVAILABLE",
    "status: 503, cluster is suspended": "UNAVAILABLE",
    "query blue-q-1 is not known to blue": "INTERNAL",
    "query not found": "INTERNAL",
}
"""What the forms consist of, and the code that goes with each. No text of the corpus is one of them as a whole."""

SURROUNDINGS = (
    "line 1:8: Column '{}' cannot be resolved",
    "Cannot cast '{}' to INT",
    "Table lake.sales.{} does not exist",
    "user lacks privilege on table t: {}",
    "UDF charge_card failed: upstream said {} (request 7)",
    "Failed to read s3://lake/t/part-0.parquet: {}; 2 attempts",
    "Received http2 header with {} and no trailers",
    '{{"error": "{}", "sql": "SELECT 1"}}',
)
"""Messages of engines and of what is in front of them, with a place for a phrase."""

LONG = 6_000
TOO_LONG = 64 * 1024
"""A status text that is longer than what gRPC's clients accept by default: they make an error of their own of it."""

TRANSPORT = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RST")
CUT = ("RST", "DROP")
"""Instead of an answer: the stream is reset, or the connection is lost."""

AMBIGUOUS = (*TRANSPORT, *CUT)
"""Codes that do not say whether the request took effect."""

PLAIN_CODES = (
    "UNKNOWN", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
"""Codes of answers of the server's own."""

OF_THE_USER = ("UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED")
"""Codes that refuse the user, whom the other stack may accept."""

STATEMENTS = (
    "SELECT 1",
    "SELECT count(*) FROM t WHERE a = 1",
    "WITH x AS (SELECT 1 AS a) SELECT a FROM x",
    "SHOW TABLES",
    "INSERT INTO t VALUES (1) /* writes */",
    "UPDATE t SET a = 1 /* writes */",
    "SELECT charge_card(1) /* writes */",
    "SELECT nextval('s') /* writes */",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x /* writes */",
    "EXPLAIN ANALYZE DELETE FROM t /* writes */",
    "CALL book(1) /* writes */",
    "SELECT 1 AS a INTO t /* writes */",
)
"""Statements; those that can write are marked for the server, in a comment that says nothing to a parser."""


def _placed(phrase: str, surrounding: str, position: str, case: str, size: int) -> str:
    phrase = {"as it is": phrase, "upper": phrase.upper(), "lower": phrase.lower(), "title": phrase.title()}[
        case
    ]
    filler = "the engine failed in stage 3 of 7"
    text = {
        "embedded": surrounding.format(phrase),
        "front": f"{phrase} {filler}",
        "middle": f"{filler} {phrase} {filler}",
        "end": f"{filler} {phrase}",
        "repeated": f"{phrase} {phrase}",
        "lines": f"{phrase}\n{filler}\n{phrase}",
    }[position]
    missing = size - len(text)
    if missing <= 0:
        return text
    padding = (filler + " ") * (missing // len(filler) + 1)
    if position in ("front", "lines"):
        return text + padding
    return padding + text if position == "end" else padding[: missing // 2] + text + padding[: missing // 2]


POSITIONS = ("embedded", "front", "middle", "end", "repeated", "lines")
CASES = ("as it is", "upper", "lower", "title")

_PLACED: tuple[tuple[str, str], ...] = (
    *(
        (phrase, _placed(phrase, surrounding, "embedded", case, 0))
        for phrase in PHRASES
        for surrounding in SURROUNDINGS
        for case in CASES
    ),
    *(
        (phrase, _placed(phrase, "", position, case, 0))
        for phrase in PHRASES
        for position in POSITIONS[1:]
        for case in CASES
    ),
    *(
        (phrase, _placed(phrase, "", position, "as it is", size))
        for phrase in PHRASES
        for position in POSITIONS[1:]
        for size in (LONG, TOO_LONG)
    ),
)

CORPUS: tuple[str, ...] = ("", "division by zero", "the statement failed", *(text for _, text in _PLACED))
"""Texts of the server's own: each phrase in every surrounding, position and case, short and long."""

LOOKALIKES = tuple(
    Answer(PHRASES[phrase], text) for phrase, text in _PLACED if PHRASES[phrase] != "UNAVAILABLE"
)
"""The server's own errors that are most like a refusal: the code is right, and only the text is not."""

ROLES_MET = (
    "login",
    "prepare",
    "execute",
    "execute",
    "execute",
    "metadata",
    "fetch",
    "status",
    "clear",
    "cancel",
)
OFTEN = ("INTERNAL", "UNKNOWN", "INVALID_ARGUMENT")
"""Codes that the forms have."""

_TIMES = tuple(
    {"skip": skip, "count": count, "stack": stack}
    for stack in (None, None, None, "blue", "green")
    for skip in (0, 0, 1)
    for count in (1, 1, 2, 99)
)


def _fault(role: str, answer: Answer | str, after: bool, times: dict[str, Any]) -> Fault:
    tells = isinstance(answer, str) or answer in FORMS  # such an answer says that nothing was done
    return Fault(role, answer, after and not tells, **times)


def faults(roles: tuple[str, ...] = ROLES_MET, cuts: tuple[str, ...] = ()) -> st.SearchStrategy[Fault]:
    """Faults: which request, before or after its effect, and what it is answered."""
    if cuts:
        cut = st.builds(Answer, st.sampled_from(cuts))
        return st.builds(_fault, st.sampled_from(roles), cut, st.booleans(), st.sampled_from(_TIMES))
    codes = st.sampled_from((*OFTEN * len(PLAIN_CODES), *PLAIN_CODES))
    plain = st.builds(Answer, codes, st.sampled_from(CORPUS))
    transport = st.builds(Answer, st.sampled_from(TRANSPORT), st.sampled_from(CORPUS)) | st.sampled_from(HTTP)
    certain = st.sampled_from((*FORMS, "expire", "forget"))
    return st.builds(
        _fault,
        st.sampled_from(roles),
        st.sampled_from(LOOKALIKES) | st.sampled_from(LOOKALIKES) | plain | transport | certain,
        st.booleans(),
        st.sampled_from(_TIMES),
    )


def _plan(switch: tuple[int | None, int | None, int | None], **given: Any) -> Plan:
    announced, new, gone = switch
    return Plan(announced_from=announced, refuses_new_from=new, refuses_all_from=gone, **given)


def plans(met: st.SearchStrategy[Fault]) -> st.SearchStrategy[Plan]:
    """Plans: some of these faults, and at most one switch."""
    switches = st.sampled_from(
        [(None, None, None)] * 12
        + [(announced, None, None) for announced in (1, 3, 5, 7)]
        + [(None, new, None) for new in (1, 3, 5)]
        + [(None, None, gone) for gone in range(1, 9)]
        + [(announced, announced + 2, announced + 4) for announced in (1, 3, 5)]
    )
    return st.builds(
        _plan,
        switches,
        faults=st.lists(met, min_size=1, max_size=3).map(tuple),
        rows=st.sampled_from((0, 1, 3, 4)),
        serving=st.sampled_from((("blue", "green"),) * 4 + (("green",), ("blue",))),
        colliding=st.booleans(),
    )


@attrs.frozen
class Example:
    """What the application does: it executes one statement, looks at it, and ends it."""

    statement: str
    steps: tuple[str, ...]
    end: str | None
    plan: Plan


_STEPS = tuple(
    steps for size in range(4) for steps in itertools.product(("fetchone", "fetchall", "status"), repeat=size)
)


def examples(roles: tuple[str, ...] = ROLES_MET, cuts: tuple[str, ...] = ()) -> st.SearchStrategy[Example]:
    """Examples.

    Args:
        roles: kinds of requests that faults meet.
        cuts: how the connection is lost; then faults do nothing else.
    """
    return st.builds(
        Example,
        statement=st.sampled_from(STATEMENTS),
        steps=st.sampled_from(_STEPS),
        end=st.sampled_from(("clear", "clear", "cancel", None)),
        plan=plans(faults(roles, cuts)),
    )


# -- how it is carried out

RAISED = (grpc.RpcError, BluegreenError, OperationalError, DBAPIError, ValueError, RuntimeError)
"""What an application has to expect. Anything else ends the example, and is a finding."""


@attrs.frozen
class Call:
    """One call of the application.

    Args:
        name: `execute`, `fetchone`, `fetchall`, `status`, `clear` or `cancel`.
        result: what it returned.
        error: what it raised, or none.
        records: the requests that reached the server meanwhile.
        before: those that reached it earlier.
    """

    name: str
    result: Any
    error: BaseException | None
    records: tuple[Record, ...]
    before: tuple[Record, ...]


def _called(world: World, name: str, call: Callable[[], Any]) -> Call:
    start = len(world.records)
    result, error = None, None
    try:
        result = call()
    except RAISED as raised:
        error = raised
    records = tuple(world.records)
    return Call(name, result, error, records[start:], records[:start])


def _calls(world: World, cursor: Cursor, way: Way, example: Example) -> Iterator[Call]:
    executed = _called(world, "execute", lambda: cursor.execute(example.statement))
    yield executed
    if executed.error is None:
        for step in example.steps:
            if step not in way.lacks:
                done = _called(world, step, getattr(cursor, step))
                yield done
                if done.error is not None:
                    break
    if example.end is not None and example.end not in way.lacks and cursor.query_id is not None:
        yield _called(world, example.end, getattr(cursor, example.end))


class Harness:
    """Runs examples over one way in. Servers and connections are used again; what is known of the cluster is not.

    Args:
        server: the server.
        way: the way in.
        relay: what is in front of the server, if anything is.
    """

    def __init__(self, server: ProgrammableServer, way: Way, relay: Relay | None = None) -> None:
        self._server, self.way = server, way
        self._address: Any = relay or server
        # gRPC's channels share a socket: while this one is open, the others need not connect.
        self._keeper: AnyConnection | None = None
        self.runs = 0
        self.executions = 0
        self.faults = 0

    def run(self, example: Example) -> tuple[World, list[Call]]:
        """Carry out an example; return what the server counted, and each call of the application."""
        if self._keeper is None:
            self._server.begin(Plan())
            self._keeper = self.way.open(
                self._address, quick(detection_timeout_s=30.0, logging_level="ERROR")
            )
            self._keeper.cursor().execute(STATEMENTS[0])
        world = self._server.begin(example.plan)
        for scope in registry.scopes():
            registry.forget(scope)
        with self.way.open(
            self._address, quick(detection_timeout_s=30.0, logging_level="ERROR")
        ) as connection:
            calls = list(_calls(world, connection.cursor(), self.way, example))
        self.runs += 1
        self.executions += sum(world.executions.values())
        self.faults += sum(record.fault for record in world.records)
        return world, calls

    def close(self) -> None:
        """Close what is open."""
        self._server.begin(Plan())
        if self._keeper is not None:
            self._keeper.close()


@contextmanager
def no_pauses() -> Iterator[None]:
    """Let every pause of the product and of the connector be over at once; other threads still get their turn.

    What is read from a file anew each time a connection is opened is kept, too.
    """
    sleep, aio_sleep = time.sleep, asyncio.sleep

    async def aio_paused(delay: float, result: Any = None) -> Any:
        return await aio_sleep(0, result)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "sleep", lambda seconds: sleep(0))
        patched.setattr(asyncio, "sleep", aio_paused)
        patched.setattr(importlib.metadata, "version", functools.cache(importlib.metadata.version))
        yield


# -- how it is judged


def is_form(record: Record) -> bool:
    """Whether the whole text of an answer is one of the listed forms."""
    answer = Answer(record.code, record.details)
    return answer in FORMS or answer == unknown(record.query, record.stack)


def says_gone(record: Record) -> bool:
    """Whether an answer says that the stack does not have the query any more."""
    answer = Answer(record.code, record.details)
    return answer in (REFUSED, REFUSED_TOO, unknown(record.query, record.stack))


def is_plain(record: Record) -> bool:
    """Whether an answer is the server's own error: neither a form, nor one that says nothing about the effect."""
    proxy = Answer(record.code, record.details) in HTTP
    return not record.ok and record.code not in AMBIGUOUS and not proxy and not is_form(record)


def _grpc_error(error: BaseException) -> bool:
    return isinstance(error, grpc.RpcError) and not isinstance(error, BluegreenError)


def _told(error: BaseException) -> tuple[str, str]:
    return error.code().name, error.details() or ""  # type: ignore[attr-defined]


def _was_answered(error: BaseException, records: tuple[Record, ...]) -> bool:
    """Whether an error is what the server answered, with status and text, or what gRPC makes of that."""
    code, details = _told(error)
    for record in records:
        if (code, details) == (record.code, record.details):
            return True
        if record.code in CUT and code in ("CANCELLED", "UNKNOWN", "INTERNAL", "UNAVAILABLE"):
            return True
        if len(record.details) > LONG * 1.2 and code in ("RESOURCE_EXHAUSTED", record.code):
            return True
    return False


_BEGUN = ("prepare", "execute")
SENT_BY = {
    "execute": (*_BEGUN, "metadata"),
    "fetchone": (*_BEGUN, "metadata", "fetch"),
    "fetchall": (*_BEGUN, "metadata", "fetch"),
    "status": (*_BEGUN, "status"),
    "clear": ("clear",),
    "cancel": ("cancel",),
}
"""Which requests each call of the application brings about."""


def violations(way: Way, example: Example, world: World, calls: list[Call]) -> list[str]:
    """Return what must not have happened, each with a word in front that says which promise was broken."""
    found: list[str] = []
    if not reads(example.statement) and world.executions[example.statement] > 1:
        found.append(f"twice: {example.statement!r} was executed {world.executions[example.statement]} times")
    found += [f"foreign: {trespass}" for trespass in world.trespasses]
    for call in calls:
        found += _judged(way, example, call)
    return found


def _judged(way: Way, example: Example, call: Call) -> Iterator[str]:
    if call.error is not None:
        yield from _error_judged(way, call, call.error)
    elif call.name == "execute":
        yield from _execute_judged(example, call)
    elif call.name in ENDS:
        if not way.ends_by_itself:  # otherwise it closes cursors, and keeps to itself that this failed
            yield from _end_judged(call)
    elif call.name in ("fetchone", "fetchall"):
        yield from _rows_judged(example, call)
    yield from _repetition_judged(way, call)


def _error_judged(way: Way, call: Call, error: BaseException) -> Iterator[str]:
    everything = (*call.before, *call.records)
    # Where rows are fetched ahead, requests of other kinds come in between.
    plain = [
        record
        for number, record in enumerate(call.records)
        if is_plain(record)
        and record.role in SENT_BY[call.name]
        and not _begun_anew(way, record, call.records[number + 1 :])
    ]
    for cause in causes(error):
        if isinstance(cause, (QueryLost, StrategyUnavailable)):
            if plain:
                yield f"hidden: {call.name} raised {error!r:.200} instead of {plain[-1]}"
            break
        if _grpc_error(cause):
            if not _was_answered(cause, everything):
                yield f"changed: {call.name} raised {_told(cause)!r:.200}, which no stack answered"
            break
    if not any(not record.ok for record in everything):
        yield f"invented: {call.name} raised {error!r:.200}, and no stack answered with an error"


def _execute_judged(example: Example, call: Call) -> Iterator[str]:
    executes = [record for record in call.records if record.role == "execute"]
    if not any(record.ok and record.text == example.statement for record in executes):
        yield "success: execute succeeded, and no stack told so"
    for role in ("execute", "metadata"):
        last = [record for record in call.records if record.role == role][-1:]
        if last and is_plain(last[0]):
            yield f"success: execute succeeded in spite of {last[0]}"


def _end_judged(call: Call) -> Iterator[str]:
    everything = (*call.before, *call.records)
    answered = any(record.ok and record.role in ENDS for record in everything)
    queries = [record for record in everything if record.role not in ("login", "prepare")]
    gone = any(says_gone(record) for record in queries)
    if not answered and not gone:
        yield f"success: {call.name} succeeded, and no stack told so: {', '.join(map(str, call.records))}"


def _rows_judged(example: Example, call: Call) -> Iterator[str]:
    rows = [] if call.result is None else call.result if isinstance(call.result, list) else [call.result]
    numbers = [row[0] for row in rows]
    if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        yield f"rows: {call.name} returned rows {numbers}"
    if call.name == "fetchall":
        wanted = example.plan.rows if reads(example.statement) else 0
        if numbers and numbers[-1] + 1 != wanted:
            yield f"rows: the last row of {wanted} is number {numbers[-1]}"
    if len({row[2] for row in rows}) > 1:
        yield f"rows: {call.name} returned rows of both stacks"


def _repetition_judged(way: Way, call: Call) -> Iterator[str]:
    for number, record in enumerate(call.records):
        if not is_plain(record) or record.role not in _BEGUN:
            continue
        later = call.records[number + 1 :]
        again = [
            one for one in later if one.role == "prepare" or (one.role, record.role) == ("execute", "execute")
        ]
        # The other stack may accept a user, a probe may show that it was the gateway, a connector may begin anew.
        refused = [one for one in later if one.role in ("login", "schemas") and not one.ok]
        begin = record.role == "prepare" and (
            record.code in OF_THE_USER or refused or repeated_by_connector(way, record)
        )
        if again and not begin:
            yield f"repeated: after {record}: {', '.join(map(str, later))}"


def _begun_anew(way: Way, record: Record, later: tuple[Record, ...]) -> bool:
    """Whether the connector was given this answer and began the query anew, so that it reports a later one."""
    prepared_again = any(one.role == "prepare" for one in later)
    return record.role == "prepare" and prepared_again and repeated_by_connector(way, record)


def repeated_by_connector(way: Way, record: Record) -> bool:
    """Whether the connector itself begins a query anew: its asyncio code goes by a part of the text."""
    return way.name in ("aio", "aio-v2") and record.code == "UNKNOWN" and REFUSED.text in record.details
