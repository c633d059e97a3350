"""Runs one case of the conformance suite over one way in.

The runner is an application that knows no strategies: it executes, fetches and asks, and compares what comes
of it with what the case says. Every row is checked: it is the next one of its statement, and all come from one
stack.
"""

from __future__ import annotations

import functools
import gc
import re
import time
from collections.abc import Callable
from typing import Any

import attrs
import grpc
from e6data_python_connector.exceptions import OperationalError

from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen_adapters.testing.engine import EngineProcess, Statistics
from bluegreen_adapters.testing.engine.sql import parse
from support.cases import (
    RPCS,
    STATEMENTS,
    Arm,
    Ask,
    Believes,
    Cancel,
    Case,
    Clear,
    Close,
    Disarm,
    Execute,
    Expire,
    Fetch,
    Hold,
    LetGo,
    Open,
    Phase,
    Query,
    Step,
    Switch,
    _Act,
)
from support.engine import fresh, quick, until
from support.ways import AnyConnection, Cursor, Way, causes, manager_of

REQUESTS_PER_CALL = 10
"""A call of the application takes fewer requests than this, whatever happens; fetched batches come on top."""

ANSWERS: dict[str, Any] = {
    "schemas": ["sales", "ops"],
    "tables": ["customers", "orders"],
    "columns": ["id", "customer", "total"],
    "catalogs": ["main", "lake"],
    "dry_run": "valid",
}
"""What every stack answers."""


class Mismatch(AssertionError):
    """What came of a case is not what it says."""


def expect(condition: object, told: str) -> None:
    """Raise `Mismatch` if a condition does not hold."""
    if not condition:
        raise Mismatch(told)


@attrs.define
class _Reading:
    """A cursor, the statement that it runs, and how many rows of it have been seen."""

    cursor: Cursor
    statement: str = ""
    seen: int = 0


@attrs.define
class _Connected:
    connection: AnyConnection
    cursors: dict[str, _Reading] = attrs.field(factory=dict[str, _Reading])


def run(case: Case, way: Way, engine: EngineProcess) -> None:
    """Run a case over a way in. The process must know nothing before (`forgetting.nothing_known`).

    Raises:
        Mismatch: something came of it that the case does not say.
    """
    _Run(case, way, fresh(engine)).run()


class _Run:
    def __init__(self, case: Case, way: Way, engine: EngineProcess) -> None:
        self.case, self.way, self.engine = case, way, engine
        self.connected: dict[str, _Connected] = {}
        self.opened = 0
        self.held: int | None = None

    def run(self) -> None:
        try:
            for number, step in enumerate(self.case.steps, 1):
                try:
                    self.take(step)
                except Mismatch as error:
                    raise Mismatch(f"step {number}, {step}: {error}") from error
        finally:
            for name in list(self.connected):
                self.connected.pop(name).connection.close()
        self.check_ends()

    # -- steps

    def take(self, step: Step) -> None:
        """Carry out one step."""
        if isinstance(step, _Act):
            self.act(step)
            return
        engine = self.engine
        match step:
            case Phase():
                self.wait_until_held()
                given = {name: getattr(step, name) for name in ("active", "target", "blue", "green")}
                engine.phase(step.phase, **given, **step.variant)
            case Switch(kind):
                engine.switch(kind, grace_s=0.03, drain_s=0.0)
            case Arm():
                engine.fault(step.armed())
            case Disarm():
                engine.clear_faults()
            case Expire(stack):
                engine.expire_sessions(stack)
            case Hold(number):
                if self.way.fetches_ahead:
                    self.held = engine.fault(action="silent", method=RPCS["fetch"], nth=number, count=1)
            case Believes(believes):
                self.check_belief(believes)

    def wait_until_held(self) -> None:
        """Wait until the fetch that is to be held has arrived: the phase that now begins lets it go."""
        held, self.held = self.held, None
        if held is not None:
            until(lambda: self.engine.statistics().faults[held] == 1)

    def act(self, step: _Act) -> None:
        """Carry out a call of the application, and compare its outcome."""
        call: Callable[[], None] = functools.partial(self.carry_out, step)
        before = self.engine.statistics().total_requests
        error = self.outcome(call)
        if step.patient and error is not None:
            attempts: list[BaseException | None] = []

            def repeated() -> bool:
                attempts.append(self.outcome(call))
                return _kind(attempts[-1]) != "unavailable"

            until(repeated)
            error = attempts[-1]
            before = self.engine.statistics().total_requests
        self.compare(step, error)
        spent = self.engine.statistics().total_requests - before
        calls = 2 if self.way.ends_by_itself else 1  # it clears in the same call
        usual = calls * REQUESTS_PER_CALL + (self.batches(step) if error is None else 0)
        most = step.requests or usual
        expect(spent < most, f"{spent} requests for one call; expected: fewer than {most}")
        if error is not None:
            self.give_up(step)

    def batches(self, step: _Act) -> int:
        """Return how many requests more a call takes because it fetches."""
        match step:
            case Fetch():
                return parse(STATEMENTS[self.reading(step).statement]).batches + 1
            case Query():
                return parse(STATEMENTS[step.query]).batches + 1
            case _:
                return 0

    def outcome(self, call: Callable[[], None]) -> Exception | None:
        """Return the error that a call ends with, or none."""
        try:
            call()
        except Mismatch:
            raise
        except Exception as error:  # noqa: BLE001  it is compared with what the case says
            return error
        return None

    def compare(self, step: _Act, error: Exception | None) -> None:
        """Compare the outcome of a call with what the case says."""
        if step.raises is None:
            if error is not None:
                raise Mismatch(f"it raised {error!r}, {_kind(error)}") from error
            return
        if error is None:
            if isinstance(step, Clear) and self.way.ends_by_itself:
                return
            raise Mismatch(f"it raised nothing; expected: {step.raises}")
        if _kind(error) not in self.accepted(step.raises):
            raise Mismatch(f"it raised {error!r}, {_kind(error)}; expected: {step.raises}") from error
        if step.says is not None and not any(re.search(step.says, str(each)) for each in causes(error)):
            raise Mismatch(f"it said {str(error)!r}; expected: {step.says}") from error
        if step.answer is not None:
            self.compare_answer(step.answer, error)
        if _kind(error) in ("lost", "unavailable") and self.way.of_connector:
            expect(isinstance(error, OperationalError), f"{error!r} is no OperationalError")

    def compare_answer(self, answer: list[str], error: Exception) -> None:
        """Compare the server's own answer, its status and its whole text."""
        call: Any = next(each for each in causes(error) if isinstance(each, grpc.RpcError))
        given = [call.code().name, call.details()]
        if given != answer:
            raise Mismatch(f"the server's answer was {given}; expected: {answer}") from error

    def accepted(self, kind: str) -> tuple[str, ...]:
        """Return the kinds of errors that a case accepts over this way."""
        if kind != "down":
            return (kind,)
        return ("server", "unavailable") if "session" in self.way.lacks else ("unavailable",)

    def give_up(self, step: _Act) -> None:
        """After an error the application closes the cursor, and takes another one.

        A way whose close sends a request may be told that no stack has answered.
        """
        connected = self.connected.get(step.connection)
        reading = connected.cursors.pop(step.cursor, None) if connected is not None else None
        error = self.outcome(reading.cursor.close) if reading is not None else None
        if error is not None and _kind(error) != "server":
            raise Mismatch(f"closing the cursor raised {error!r}, {_kind(error)}") from error

    def carry_out(self, step: _Act) -> None:
        """Make one call."""
        match step:
            case Open():
                self.connection(step)
            case Execute(execute=statement):
                reading = self.reading(step)
                reading.statement, reading.seen = statement, 0
                reading.cursor.execute(STATEMENTS[statement])
            case Fetch():
                self.fetch(self.reading(step), None if step.fetch == "all" else int(step.fetch), step.source)
            case Query():
                self.query(step)
            case Clear():
                self.reading(step).cursor.clear()
            case Cancel():
                self.reading(step).cursor.cancel()
            case Ask():
                self.ask(step)
            case Close(close="cursor"):
                self.connected[step.connection].cursors.pop(step.cursor).cursor.close()
            case Close():
                self.connected.pop(step.connection).connection.close()
            case LetGo(let_go="cursor"):
                del self.connected[step.connection].cursors[step.cursor]
                gc.collect()
            case LetGo():
                del self.connected[step.connection]
                gc.collect()

    def query(self, step: Query) -> None:
        """Execute, fetch all rows, clear, close."""
        reading = _Reading(self.connection(step).connection.cursor(), step.query)
        try:
            reading.cursor.execute(STATEMENTS[step.query])
            self.fetch(reading, None, step.source)
            reading.cursor.clear()
        finally:
            reading.cursor.close()

    def fetch(self, reading: _Reading, size: int | None, source: str | None) -> None:
        """Fetch rows, and check each."""
        text = STATEMENTS[reading.statement]
        cursor = reading.cursor
        rows = cursor.fetchall() if size is None else cursor.fetchmany(size)
        statement = parse(text)
        left = statement.rows - reading.seen
        wanted = left if size is None else min(size, left)
        numbers = [row[0] for row in rows]
        expect(
            numbers == list(range(reading.seen, reading.seen + wanted)),
            f"rows {numbers}; expected: {wanted} rows from {reading.seen}",
        )
        expect(all(row[1] == text for row in rows), f"rows of another statement than {text!r}: {rows}")
        stacks = {row[2] for row in rows}
        expect(not rows or stacks == {source}, f"rows from {stacks}; expected: {source}")
        reading.seen += len(rows)

    def ask(self, step: Ask) -> None:
        """Ask, and check the answer."""
        if step.ask in ANSWERS:
            connection = self.connection(step).connection
            answer = (
                connection.dry_run("SELECT 1") if step.ask == "dry_run" else getattr(connection, step.ask)()
            )
            wanted = ANSWERS[step.ask]
        else:
            reading = self.reading(step)
            count = parse(STATEMENTS[reading.statement]).rows
            answer = getattr(reading.cursor, step.ask)()
            plans = {"explain": f"scan {count} rows", "explain_analyse": f"scanned {count} rows"}
            wanted = plans.get(step.ask, count)
        expect(answer == wanted, f"the answer was {answer!r}; expected: {wanted!r}")

    def connection(self, step: _Act) -> _Connected:
        """Return the connection of a step; the first step that names it opens it."""
        connected = self.connected.get(step.connection)
        if connected is None:
            connection = self.way.open(self.engine, quick(**self.case.settings))
            self.opened += 1
            connected = self.connected[step.connection] = _Connected(connection)
        return connected

    def reading(self, step: _Act) -> _Reading:
        """Return the cursor of a step; the first step that names it opens it."""
        connected = self.connection(step)
        reading = connected.cursors.get(step.cursor)
        if reading is None:
            reading = connected.cursors[step.cursor] = _Reading(connected.connection.cursor())
        return reading

    # -- checks

    def check_belief(self, believes: dict[str, Any]) -> None:
        """Compare what the manager believes."""
        manager = manager_of(self.engine)
        seen = {
            "state": manager.state,
            "active": manager.active,
            "pending": manager.pending,
            "tickets": len(manager.open_tickets),
        }
        seen = {name: str(seen[name]) if name == "state" else seen[name] for name in believes}
        expect(seen == believes, f"the manager believes {seen}; expected: {believes}")

    def check_ends(self) -> None:
        """Check what must hold when all is over."""
        ends, statistics = self.case.ends, self.engine.statistics()
        manager = manager_of(self.engine)
        expect(manager.open_tickets == (), f"open tickets: {manager.open_tickets}")
        expect(statistics.misrouted == 0, f"misrouted: {statistics.offences}")
        executed = {text: ends.executed[name] for name, text in STATEMENTS.items() if name in ends.executed}
        seen = self.engine.executions()
        expect(seen == {text: times for text, times in executed.items() if times}, f"executed: {seen}")
        self.check_authentications(statistics)
        self.check_open_queries()
        if ends.active is not None:
            expect(manager.active == ends.active, f"active: {manager.active}; expected: {ends.active}")
        for rpc, times in ends.requests.items():
            got: dict[str, int] = {}
            for method in RPCS[rpc]:
                for stack, number in statistics.requests.get(method, {}).items():
                    got[stack] = got.get(stack, 0) + number
            expect(got == times, f"requests, {rpc}: {got}; expected: {times}")

    def check_open_queries(self) -> None:
        """Check what the stacks still hold; what was let go is freed in the background."""

        def wrong() -> list[str]:
            found = self.engine.statistics().open_queries.items()
            wanted = ends.open_queries
            return [
                f"{number} queries left open on {stack}; expected: {wanted.get(stack, 0)}"
                for stack, number in found
                if wanted.get(stack, 0) not in ("any", number)
            ]

        ends, deadline_s = self.case.ends, time.monotonic() + 20
        while (findings := wrong()) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        expect(not findings, ", ".join(findings))

    def check_authentications(self, statistics: Statistics) -> None:
        """Check that no stack was asked for more sessions than needed."""
        given = self.case.ends.authentications
        for stack, number in statistics.authentications.items():
            most = self.opened if given is None else given.get(stack, 0)
            expect(number <= most, f"{number} authentications on {stack}; expected: {most} at most")


def _kind(error: BaseException | None) -> str | None:
    """Return which of `cases.ERRORS` an error is, or none."""
    if error is None:
        return None
    chain = list(causes(error))
    for kind, classes in (
        ("lost", QueryLost),
        ("unavailable", StrategyUnavailable),
        ("server", grpc.RpcError),
    ):
        if any(isinstance(each, classes) for each in chain):
            return kind
    return "connector"
