"""Whatever a server answers, and whenever: no write twice, no success for what did not run, no foreign query touched.

Hypothesis chooses the status, its text, the request and the moment of each fault, the statement, the switch and what
the application does. A real server with two stacks counts. `support.proving` has the corpus and the oracle.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import attrs
import grpc
import pytest
from e6data_python_connector.server import e6x_engine_pb2 as pb
from hypothesis import HealthCheck, Phase, find, given, settings

from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.verify.hypothesis.profiles import chosen
from bluegreen_adapters import e6data
from bluegreen_adapters.connection import protocol
from bluegreen_adapters.e6data import PROTOCOL
from support.forgetting import nothing_known
from support.programmable import REFUSED, Answer, Fault, Plan, ProgrammableServer, Record, World
from support.proving import Call, Example, Harness, examples, no_pauses, violations
from support.relay import Relay
from support.telling import tell
from support.ways import WAYS, Way, decoders_kept, over

pytestmark = [
    pytest.mark.integration,
    pytest.mark.unjournaled,  # each example has a manager of its own
    pytest.mark.timeout(3600),
]
if chosen().name != "dev":
    pytestmark.append(pytest.mark.slow)

SHARES = {
    "sync": 4_000,
    "oauth": 3_500,
    "channel": 3_500,
    "interceptor": 3_500,
    "channel-aio": 1_500,
    "interceptor-aio": 1_500,
    "aio": 1_000,
    "sync-v2": 750,
    "aio-v2": 500,
    "pool": 150,
    "sqlalchemy": 100,
}
"""How many examples each way in gets in the `ci` profile: 20,000 in all, fewer where one takes longer."""

DIVISOR = {"dev": 40, "ci": 1, "nightly": 1}
FACTOR = {"dev": 1, "ci": 1, "nightly": 5}


def runs_of(name: str) -> int:
    """Return how many examples a way in gets in the profile that is chosen."""
    profile = chosen().name
    return max(SHARES[name] * FACTOR[profile] // DIVISOR[profile], 10)


def tried(runs: int) -> settings:
    """Return settings for so many examples; what is slow is the machine."""
    return settings(
        max_examples=runs,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.function_scoped_fixture,
            HealthCheck.filter_too_much,
        ],
    )


@pytest.fixture(scope="module")
def server() -> Iterator[ProgrammableServer]:
    with ProgrammableServer() as programmable, decoders_kept():
        yield programmable


@pytest.fixture
def harness(server: ProgrammableServer, way: Way) -> Iterator[Harness]:
    with nothing_known(), no_pauses():
        one = Harness(server, way)
        try:
            yield one
        finally:
            one.close()


def test_shares_add_up_to_twenty_thousand_runs() -> None:
    assert sum(SHARES.values()) == 20_000
    assert set(SHARES) == set(WAYS) - {"cluster"}


def held(harness: Harness, example: Example) -> None:
    """Carry out an example, and assert that nothing happened that must not."""
    world, calls = harness.run(example)
    found = violations(harness.way, example, world, calls)
    if found:
        found += [f"  {call.name}: {call.error!r:.300} {list(map(str, call.records))}" for call in calls]
    assert not found, "\n".join(found)


@over(*SHARES)
def test_faults_never_double_a_write_or_hide_an_answer(harness: Harness, way: Way) -> None:
    """The promises hold for every example."""

    @tried(runs_of(way.name))
    @given(examples())
    def hold(example: Example) -> None:
        held(harness, example)

    try:
        hold()
    finally:
        tell(
            f"at most once, {way.name}: {harness.runs} runs, {harness.executions} executions,"
            f" {harness.faults} requests met by a fault"
        )


@over(*SHARES)
def test_answer_that_makes_the_connector_begin_anew_is_not_hidden(harness: Harness, way: Way) -> None:
    """The asyncio connector reports what its second beginning met, all others the engine's error."""
    lookalike = Answer("UNKNOWN", "line 1:8: Column 'status: 456' cannot be resolved")
    faults = (
        Fault("login", lookalike, count=1),
        Fault("prepare", lookalike, count=1),
        Fault("prepare", Answer("UNAVAILABLE"), count=99),
    )
    held(harness, Example("SELECT 1", (), "clear", Plan(faults=faults)))


class Contains(protocol.Protocol):
    """A protocol description that is wrong on purpose: a text that contains a form is taken for it."""

    def fault(self, code: str, details: str) -> protocol.Fault:
        for rule in self.statuses:
            if code in rule.codes and rule.form.split(" <")[0].lower() in details.lower():
                return rule.fault
        return super().fault(code, details)

    def judge(self, code: str, details: str, request: protocol.Request) -> protocol.Evidence:
        return self.verdict(self.fault(code, details), request)


def test_wrong_description_is_found_to_double_a_write(server: ProgrammableServer) -> None:
    """The oracle can fail: it finds a write that runs twice with forms matched by "contains", and only then."""
    given_fields = {
        field.name: getattr(PROTOCOL, field.name) for field in attrs.fields(protocol.Protocol) if field.init
    }

    def doubled(example: Example, described: protocol.Protocol) -> bool:
        patched.setattr(e6data, "PROTOCOL", described)
        world, calls = harness.run(example)
        return any(found.startswith("twice") for found in violations(harness.way, example, world, calls))

    def only_by_contains(example: Example) -> bool:
        return doubled(example, Contains(**given_fields)) and not doubled(example, PROTOCOL)

    with nothing_known(), no_pauses(), pytest.MonkeyPatch.context() as patched:
        harness = Harness(server, WAYS["channel"])
        try:
            found = find(
                examples(roles=("execute",)),
                only_by_contains,
                settings=settings(tried(5_000), report_multiple_bugs=False),
                random=Random(1),
            )
        finally:
            harness.close()
    assert found.plan.faults, "it takes an answer that is no form"
    tell(f"at most once, forms matched by 'contains': a write runs twice after {harness.runs} runs: {found}")


def _record(role: str, answer: Answer | None = None, query: str = "blue-q-1", stack: str = "blue") -> Record:
    code, details = ("OK", "") if answer is None else (answer.code, answer.text)
    return Record(role, stack, "user", query, "SELECT 1", code, details)


def _call(name: str, *records: Record, result: object = None, error: BaseException | None = None) -> Call:
    return Call(name, result, error, records, ())


class _Status(grpc.RpcError):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def code(self) -> grpc.StatusCode:
        return getattr(grpc.StatusCode, self._answer.code)  # type: ignore[no-any-return]

    def details(self) -> str:
        return self._answer.text


_BOOM = Answer("INTERNAL", "boom")
_RAN = (_record("prepare"), _record("execute"), _record("metadata"))


@pytest.mark.parametrize(
    ("promise", "call"),
    [
        ("hidden", _call("execute", _record("execute", _BOOM), error=QueryLost("q", "blue", 1, "gone"))),
        ("hidden", _call("execute", _record("prepare", _BOOM), error=StrategyUnavailable("scope", "none"))),
        ("changed", _call("execute", _record("execute", _BOOM), error=_Status(Answer("INTERNAL", "bang")))),
        ("changed", _call("execute", _record("execute", _BOOM), error=_Status(Answer("UNKNOWN", "boom")))),
        ("invented", _call("status", _record("status"), error=QueryLost("q", "blue", 1, "gone"))),
        ("success", _call("execute", _record("prepare"))),
        ("success", _call("execute", _record("prepare"), _record("execute", _BOOM))),
        ("success", _call("execute", *_RAN[:2], _record("metadata", _BOOM))),
        ("success", _call("clear")),
        ("success", _call("clear", _record("clear", _BOOM))),
        ("success", _call("cancel", _record("cancel", Answer("UNAVAILABLE", "down")))),
        ("repeated", _call("execute", _record("execute", _BOOM), *_RAN)),
        ("repeated", _call("execute", _record("prepare", _BOOM), *_RAN)),
        ("rows", _call("fetchall", result=[(0, "s", "blue"), (2, "s", "blue")])),
        ("rows", _call("fetchall", result=[(0, "s", "blue")])),
        ("rows", _call("fetchall", result=[(0, "s", "blue"), (1, "s", "green"), (2, "s", "green")])),
    ],
)
def test_each_broken_promise_is_found(promise: str, call: Call) -> None:
    found = violations(WAYS["channel"], Example("SELECT 1", (), None, Plan()), World(Plan()), [call])
    assert {told.split(":")[0] for told in found} == {promise}, found


@pytest.mark.parametrize(
    "call",
    [
        _call("execute", *_RAN),
        _call("execute", _record("execute", _BOOM), error=_Status(_BOOM)),
        _call("execute", _record("execute", REFUSED), *_RAN),
        _call(
            "execute", _record("execute", Answer("UNAVAILABLE", "down")), error=QueryLost("q", "blue", 1, "x")
        ),
        _call("clear", _record("clear")),
        _call("clear", _record("clear", REFUSED)),
        _call("fetchall", result=[(0, "s", "blue"), (1, "s", "blue"), (2, "s", "blue")]),
    ],
)
def test_kept_promises_are_no_finding(call: Call) -> None:
    assert violations(WAYS["channel"], Example("SELECT 1", (), None, Plan()), World(Plan()), [call]) == []


def test_doubled_writes_and_foreign_queries_are_found() -> None:
    """The server counts these two itself: it has both stacks and knows whose each query is."""
    world = World(Plan(colliding=True))
    response = pb.PrepareStatementResponse()
    login = pb.AuthenticateResponse()
    world.serve("authenticate", pb.AuthenticateRequest(user="me"), "blue", "", login)
    session = login.sessionId
    write = "INSERT INTO t VALUES (1) /* writes */"
    world.serve(
        "prepareStatement",
        pb.PrepareStatementRequest(sessionId=session, queryString=write),
        "blue",
        "",
        response,
    )
    execute = pb.ExecuteStatementRequest(sessionId=session, queryId=response.queryId)
    for _ in range(2):
        assert world.serve("executeStatement", execute, "blue", "", pb.ExecuteStatementResponse()) is None
    world.serve("authenticate", pb.AuthenticateRequest(user="me"), "green", "", login)
    clear = pb.ClearRequest(sessionId=login.sessionId, queryId=response.queryId)
    assert world.serve("clear", clear, "green", "", pb.ClearResponse()) is None
    found = violations(WAYS["channel"], Example(write, (), None, Plan()), world, [])
    assert [told.split(":")[0] for told in found] == ["twice", "foreign"], found


INSERT = "INSERT INTO t VALUES (1) /* writes */"
MENTIONS_456 = Answer("INTERNAL", "Table lake.sales.status: 456 does not exist")
DOWN = Answer("UNAVAILABLE", "the stack is down")

FOUND = {
    "error of the metadata mentions 456": Example(
        INSERT, (), "clear", Plan((Fault("metadata", MENTIONS_456),))
    ),
    "error after a write mentions an unknown query": Example(
        INSERT,
        (),
        "clear",
        Plan((Fault("execute", Answer("INTERNAL", "Cannot cast 'query not found'"), after=True),)),
    ),
    "error after a write mentions a refused session": Example(
        INSERT, (), None, Plan((Fault("execute", Answer("INTERNAL", "UDF: Access denied (7)"), after=True),))
    ),
    "begin is refused for good with a text that mentions a session": Example(
        "SELECT 1",
        (),
        None,
        Plan((Fault("prepare", Answer("INTERNAL", "Access denied: no SELECT"), count=99),)),
    ),
    "clear fails with a text that mentions 456": Example(
        "SELECT 1", (), "clear", Plan((Fault("clear", MENTIONS_456),))
    ),
    "cancel reaches no stack": Example("SELECT 1", (), "cancel", Plan((Fault("cancel", DOWN, count=99),))),
    "clear reaches no stack": Example("SELECT 1", (), "clear", Plan((Fault("clear", DOWN, count=99),))),
    "cancel after a replay that found no stack": Example(
        "SELECT 1",
        (),
        "cancel",
        Plan((Fault("execute", DOWN, count=2),), serving=("blue",), refuses_new_from=4, colliding=True),
    ),
    "replayed execute is not implemented": Example(
        "SELECT 1",
        ("fetchall",),
        "clear",
        Plan((Fault("fetch", "forget"), Fault("execute", Answer("UNIMPLEMENTED", "no such method"), skip=1))),
    ),
    "function that writes, and its stack goes": Example(
        "SELECT charge_card(1) /* writes */", ("status", "fetchall"), "clear", Plan(refuses_all_from=6)
    ),
}
"""What was found once, as small as it got."""


@over("sync", "oauth", "aio", "channel", "interceptor", "interceptor-aio")
@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_stays_mended(harness: Harness, name: str, way: Way) -> None:
    held(harness, FOUND[name])


DROPPED = ("sync", "oauth", "aio", "channel", "interceptor", "channel-aio", "interceptor-aio")


@over(*DROPPED)
def test_lost_connections_never_double_a_write(server: ProgrammableServer, way: Way) -> None:
    """The same when the transport fails because every connection is reset, before or after the effect."""

    @tried(max(runs_of(way.name) // 8, 40))
    @given(examples(cuts=("DROP", "DROP", "RST")))
    def hold(example: Example) -> None:
        held(harness, example)

    with nothing_known(), no_pauses(), Relay(server.port) as relay, pytest.MonkeyPatch.context() as patched:
        patched.setattr(server, "drop", relay.cut)
        harness = Harness(server, way, relay)
        try:
            hold()
        finally:
            harness.close()
            tell(f"at most once, {way.name}, connections lost: {harness.runs} runs, {relay.cuts} cuts")
