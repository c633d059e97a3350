"""The demo's parts: what it plays, how its application behaves, and how it counts."""

from __future__ import annotations

import io
import itertools
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from rich.console import Console

from bluegreen_adapters.testing.demo import command, report
from bluegreen_adapters.testing.demo.connections import RENEWED_AFTER, Slot, Ways
from bluegreen_adapters.testing.demo.results import Ledger, QueryResult, Run, Window
from bluegreen_adapters.testing.demo.runner import Progress
from bluegreen_adapters.testing.demo.schedule import KINDS, QUERIES, SWITCHES, Statement, schedule, statements
from bluegreen_adapters.testing.demo.stats import Figures, figures, findings, percentile
from bluegreen_adapters.testing.demo.worker import Worker, WorkerLog, ask, described
from bluegreen_adapters.testing.engine import SCRIPTS, Moment, Statistics, Vanished
from bluegreen_adapters.testing.engine.sql import parse
from bluegreen_adapters.testing.engine.statistics import Recorder

# -- the schedule


def test_every_kind_of_switch_is_one_that_the_engine_can_play() -> None:
    assert set(KINDS) <= set(SCRIPTS)


def test_twenty_switches_are_of_all_kinds_and_of_each_about_as_often() -> None:
    times = Counter(planned.kind for planned in schedule(SWITCHES, seed=1).switches)
    assert set(times) == set(KINDS)
    assert max(times.values()) - min(times.values()) <= 1


def test_the_same_seed_gives_the_same_schedule_and_another_one_another() -> None:
    assert schedule(20, seed=1) == schedule(20, seed=1)
    assert schedule(20, seed=1) != schedule(20, seed=2)


def test_a_switch_and_its_drain_are_over_before_the_next_one_begins() -> None:
    plan = schedule(20, seed=1)
    for one, next_one in itertools.pairwise(plan.switches):
        assert one.at_s + plan.grace_s + plan.drain_s < next_one.at_s
    assert plan.switches[-1].at_s + plan.grace_s + plan.drain_s < plan.ends_s <= plan.most_s


def test_a_schedule_without_a_switch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"switches=0; accepted: 1 or more"):
        schedule(0, seed=1)


def test_no_two_statements_of_a_run_have_the_same_text() -> None:
    texts = [
        statement.text for thread in range(8) for statement in itertools.islice(statements(1, thread), 1000)
    ]
    assert len(set(texts)) == len(texts)


def test_the_engine_understands_every_statement_as_the_demo_means_it() -> None:
    for statement in itertools.islice(statements(1, 0), 1000):
        understood = parse(statement.text)
        assert understood.writes == (statement.rows is None)
        assert understood.rows == (statement.rows or 0)
        assert understood.fails is None


def test_some_statements_write_some_take_time_and_some_need_several_batches() -> None:
    understood = [parse(statement.text) for statement in itertools.islice(statements(1, 0), 1000)]
    assert any(statement.writes for statement in understood)
    assert any(statement.writes and statement.sleep_s for statement in understood)
    assert any(not statement.writes and statement.sleep_s for statement in understood)
    assert {statement.batches for statement in understood} >= {0, 1, 3, 4}


ROWS = [(0, "SELECT 1", "blue"), (1, "SELECT 1", "blue")]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (ROWS, None),
        (ROWS[:1], "2 rows were due, 1 came: [0]"),
        (ROWS + ROWS, "2 rows were due, 4 came: [0, 1, 0, 1]"),
        (ROWS[::-1], "2 rows were due, 2 came: [1, 0]"),
        ([(0, "SELECT 2", "blue"), ROWS[1]], "the rows of another statement"),
        ([(0, "SELECT 1", "green"), ROWS[1]], "its rows come from 2 stacks"),
    ],
)
def test_rows_are_right_only_if_each_is_there_once_in_order_and_all_are_from_one_stack(
    rows: list[Any], complaint: str | None
) -> None:
    assert Statement("SELECT 1", rows=2).complaint(rows) == complaint


def test_a_write_that_returns_rows_is_wrong() -> None:
    assert Statement("INSERT", rows=None).complaint([]) is None
    assert Statement("INSERT", rows=None).complaint(ROWS) == "a write returned rows"


# -- the application


class FakeCursor:
    def __init__(self, connection: FakeConnection) -> None:
        self.connection = connection
        self.pages: Iterator[list[Any]] = iter(())

    def execute(self, text: str) -> None:
        self.connection.executed(text)
        rows = parse(text).rows
        self.pages = iter([[(n, text, "blue") for n in range(rows)]])

    def fetchall(self) -> list[Any]:
        return [row for page in self.pages for row in page]

    def fetchmany(self, _: int) -> list[Any]:
        return next(self.pages, [])

    def close(self) -> None:
        self.connection.cursors_closed += 1


class FakeConnection:
    def __init__(self, executed: Callable[[str], None] = lambda text: None) -> None:
        self.executed = executed
        self.closed = threading.Event()
        self.cursors_closed = 0

    def cursor(self) -> FakeCursor:
        return FakeCursor(self)

    def close(self) -> None:
        self.closed.set()


class Connector:
    """Opens fake connections and keeps them."""

    def __init__(self, executed: Callable[[str], None] = lambda text: None) -> None:
        self.executed = executed
        self.opened: list[FakeConnection] = []

    def __call__(self) -> FakeConnection:
        self.opened.append(FakeConnection(self.executed))
        return self.opened[-1]

    @property
    def closed(self) -> list[bool]:
        return [connection.closed.is_set() for connection in self.opened]


def used(slot: Slot, *, failed: bool = False) -> Any:
    connection = slot.taken()
    slot.given_back(connection, failed=failed)
    return connection


def test_a_connection_is_kept_as_long_as_nothing_fails() -> None:
    slot = Slot(connector := Connector())
    assert used(slot) is used(slot)
    assert connector.closed == [False]


def test_after_a_failure_the_connection_is_closed_and_another_one_opened() -> None:
    slot = Slot(connector := Connector())
    used(slot, failed=True)
    used(slot)
    assert connector.closed == [True, False]


def test_a_shared_connection_that_failed_is_closed_only_when_nobody_uses_it_any_more() -> None:
    slot = Slot(connector := Connector())
    first, second = slot.taken(), slot.taken()
    slot.given_back(first, failed=True)
    assert connector.closed == [False]
    assert slot.taken() is connector.opened[1]
    slot.given_back(second, failed=True)
    assert connector.closed == [True, False]


def test_a_connection_that_churns_is_renewed_every_few_queries() -> None:
    slot = Slot(connector := Connector(), RENEWED_AFTER)
    for _ in range(2 * RENEWED_AFTER + 1):
        used(slot)
    assert connector.closed == [True, True, False]


def test_a_connection_that_cannot_even_be_closed_is_replaced() -> None:
    slot = Slot(connector := Connector())
    connector_close = used(slot)
    connector_close.close = lambda: (_ for _ in ()).throw(RuntimeError("closed twice"))
    used(slot, failed=True)
    assert used(slot) is connector.opened[1]


def test_eight_threads_share_keep_and_churn_connections() -> None:
    slots = Ways.of(8).slots(Connector())
    assert len(slots) == 8
    assert len(set(map(id, slots))) == 7


@pytest.mark.parametrize("threads", range(1, 12))
def test_every_thread_has_a_way_to_use_its_connection(threads: int) -> None:
    assert len(Ways.of(threads).slots(Connector())) == threads


@pytest.mark.parametrize("page", [None, 3])
def test_a_query_is_fetched_whole_or_page_by_page_and_its_cursor_closed(page: int | None) -> None:
    connection = FakeConnection()
    statement = Statement("SELECT 1 /*+ rows(3) */", rows=3, page=page)
    rows: list[Any] = []
    ask(connection, statement, rows)
    assert statement.complaint(rows) is None
    assert connection.cursors_closed == 1


class GrpcError(Exception):
    def code(self) -> Any:
        return threading.current_thread()  # anything with a name

    def details(self) -> str:
        return "status: 456"


def test_an_error_is_described_in_one_line_with_its_status_if_it_has_one() -> None:
    assert described(ValueError()) == "ValueError: "
    assert described(ValueError("one\ntwo")) == "ValueError: one"
    assert described(GrpcError()) == "GrpcError: MainThread: status: 456"


def worker(connector: Connector, stop: threading.Event) -> tuple[Worker, io.StringIO]:
    said = io.StringIO()
    made = Worker(
        0, Slot(connector), asked=statements(1, 0), stop=stop, journal=WorkerLog(said), started_s=0.0
    )
    return made, said


def heard(said: io.StringIO) -> Ledger:
    ledger = Ledger()
    for line in said.getvalue().splitlines():
        facts = json.loads(line)
        if "began" in facts:
            ledger.began(*facts["began"])
        else:
            ledger.ended(*facts["ended"])
    return ledger


def test_the_application_tells_of_every_query_and_goes_on_after_an_error() -> None:
    stop = threading.Event()
    numbers = itertools.count(1)

    def executed(_: str) -> None:
        number = next(numbers)
        if number == 5:
            stop.set()
        if number in (2, 5):
            raise ConnectionError("the stack has gone")

    connector = Connector(executed)
    made, said = worker(connector, stop)
    made.run()
    ledger = heard(said)
    assert made.queries == len(ledger.outcomes) == 5
    assert [outcome.error for outcome in ledger.outcomes] == [
        None, "ConnectionError: the stack has gone", None, None, "ConnectionError: the stack has gone",
    ]  # fmt: skip
    assert ledger.failed == 2
    assert not any(outcome.wrong for outcome in ledger.outcomes)
    assert connector.closed == [True, True]


def test_a_query_that_never_answers_is_ended_by_closing_its_connection() -> None:
    stop, stuck = threading.Event(), threading.Event()

    def executed(_: str) -> None:
        stuck.set()
        assert connector.opened[0].closed.wait(60)
        stop.set()
        raise ConnectionError("closed")

    connector = Connector(executed)
    made, said = worker(connector, stop)
    made.start()
    assert stuck.wait(60)
    made.bounded(float("inf"))
    assert connector.closed == [False]
    made.bounded(0.0)
    made.join(60)
    assert [outcome.error for outcome in heard(said).outcomes] == ["ConnectionError: closed"]


def test_a_query_that_never_came_back_is_counted_as_failed() -> None:
    ledger = Ledger()
    ledger.began(0, "SELECT 1", False, 1.0)
    ledger.began(1, "SELECT 2", False, 1.0)
    ledger.ended(1, 1.5, None, None)
    ledger.all_ended(5.0, "it never came back")
    assert ledger.outcomes == [
        QueryResult("SELECT 2", False, 1.0, 1.5),
        QueryResult("SELECT 1", False, 1.0, 5.0, "it never came back"),
    ]
    assert ledger.failed == 1


# -- the figures


def statistics(**changes: Any) -> Statistics:
    counted = {"timeline": (Moment(10.0, "steady", "blue"),), **changes}
    return attrs.evolve(Recorder().snapshot(), **counted)


def counted(
    *outcomes: QueryResult,
    windows: tuple[Window, ...] = (),
    executions: dict[str, int] | None = None,
    **of: Any,
) -> Figures:
    return figures(Run(outcomes, windows, statistics(**of), executions or {}))


def vanished(text: str, at_s: float, **changes: Any) -> Vanished:
    """A query that vanished so many seconds after the load began."""
    gone = Vanished(text, "blue", writes=False, executed=True, handed_rows=True, at_s=10.0 + at_s)
    return attrs.evolve(gone, **changes)


FAILED = QueryResult("SELECT 1", False, 1.0, 2.0, "gone")


def test_a_failure_that_the_engine_does_not_excuse_must_not_happen() -> None:
    found = counted(FAILED)
    assert (found.failed, found.lost_as_allowed) == (1, 0)
    assert found.samples == {"gone": 1}


def test_a_read_that_had_handed_out_rows_when_its_stack_vanished_is_lost_as_allowed() -> None:
    found = counted(FAILED, vanished=(vanished("SELECT 1", 1.5),))
    assert (found.failed, found.lost_as_allowed) == (0, 1)
    assert found.samples == {}


def test_a_read_that_had_handed_out_nothing_must_survive_its_stack() -> None:
    found = counted(FAILED, vanished=(vanished("SELECT 1", 1.5, handed_rows=False),))
    assert (found.failed, found.lost_as_allowed) == (1, 0)


def test_read_whose_rows_the_application_had_not_seen_must_survive_once() -> None:
    unseen, gone = attrs.evolve(FAILED, seen=False), vanished("SELECT 1", 1.5)
    found = counted(unseen, vanished=(gone,))
    assert (found.failed, found.lost_as_allowed) == (1, 0)
    again = counted(unseen, vanished=(vanished("SELECT 1", 1.2), gone))
    assert (again.failed, again.lost_as_allowed) == (0, 1)


@pytest.mark.parametrize(("executed", "allowed"), [(True, 1), (False, 0)])
def test_a_write_may_be_lost_with_its_stack_only_once_it_was_accepted(executed: bool, allowed: int) -> None:
    gone = vanished("INSERT", 1.5, writes=True, handed_rows=False, executed=executed)
    found = counted(QueryResult("INSERT", True, 1.0, 2.0, "gone"), vanished=(gone,))
    assert (found.failed, found.lost_as_allowed) == (1 - allowed, allowed)


def test_a_query_that_had_failed_before_its_stack_vanished_is_not_excused_by_that() -> None:
    found = counted(FAILED, vanished=(vanished("SELECT 1", 2.001),))
    assert (found.failed, found.lost_as_allowed) == (1, 0)


def test_an_error_that_calls_itself_a_loss_is_a_failure_all_the_same() -> None:
    assert counted(attrs.evolve(FAILED, error="Lost: query lost as the spec allows")).failed == 1


def test_a_write_that_was_reported_done_and_was_never_executed_is_wrong() -> None:
    done = QueryResult("INSERT", True, 1.0, 2.0)
    assert counted(done).wrong == 1
    assert counted(done, executions={"INSERT": 1}).wrong == 0


def test_a_read_with_wrong_rows_is_wrong_and_told() -> None:
    found = counted(attrs.evolve(FAILED, error=None, wrong="the rows of another statement"))
    assert (found.wrong, found.samples) == (1, {"the rows of another statement": 1})


def test_what_the_engine_has_seen_twice_or_misrouted_is_counted() -> None:
    found = counted(executed_twice={"INSERT": 2, "INSERT 2": 3}, misrouted=4)
    assert (found.executed_twice, found.misrouted) == (2, 4)


def test_a_run_without_any_query_has_figures_too() -> None:
    found = counted()
    assert (found.queries, found.p50_ms, found.worst_stall_ms) == (0, 0.0, 0.0)


def test_the_worst_stall_is_the_slowest_query_that_a_switch_met_failed_or_not() -> None:
    slow_elsewhere = QueryResult("SELECT 1", False, 5.0, 9.0)
    met = QueryResult("SELECT 2", False, 0.5, 1.0, "gone")
    found = counted(slow_elsewhere, met, windows=(Window("abrupt", 1.0, 2.0),))
    assert found.worst_stall_ms == 500.0
    assert found.switches == 1


def test_latencies_are_of_queries_that_succeeded() -> None:
    latencies = [QueryResult(f"SELECT {n}", False, 0.0, n / 1000) for n in range(1, 101)]
    found = counted(*latencies, attrs.evolve(FAILED, ended_s=100.0))
    assert (found.p50_ms, found.p99_ms) == (50.0, 99.0)


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


STOCK = attrs.evolve(counted(), switches=SWITCHES, queries=QUERIES, failed=7)
OURS = attrs.evolve(STOCK, failed=0, lost_as_allowed=3)


def test_nothing_speaks_against_a_run_that_lost_only_what_it_may() -> None:
    assert findings(STOCK, OURS) == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"failed": 1}, "with bluegreen, queries that must survive and failed: 1"),
        ({"wrong": 2}, "with bluegreen, wrong results: 2"),
        ({"executed_twice": 1}, "with bluegreen, writes executed twice: 1"),
        ({"misrouted": 1}, "with bluegreen, misrouted RPCs: 1"),
        ({"crashes": 1}, "with bluegreen, crashes of the process: 1"),
        ({"switches": 19}, "too short for a verdict: 19 of 20 switches"),
        ({"queries": 2999}, "too short for a verdict: 2,999 of 3,000 queries"),
    ],
)
def test_each_fault_of_ours_speaks_against_it(changes: dict[str, int], finding: str) -> None:
    assert findings(STOCK, attrs.evolve(OURS, **changes)) == [finding]


def test_a_run_in_which_the_stock_connector_lost_nothing_proves_nothing() -> None:
    assert findings(attrs.evolve(STOCK, failed=0), OURS) == [
        "the stock connector lost nothing either: these switches prove nothing"
    ]


# -- what is shown


def printed(stock: Figures, ours: Figures, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    report.show(console, stock, ours, findings(stock, ours))
    shown: Any = console.file
    return str(shown.getvalue())


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_has_every_figure_of_both_and_fits(width: int) -> None:
    shown = printed(STOCK, OURS, width)
    assert max(map(len, shown.splitlines())) <= width
    for label, _, _ in report.ROWS:
        assert label in shown
    assert "3,000 queries saw 20 switches" in shown


def test_what_failed_with_ours_is_told_below_the_table() -> None:
    shown = printed(STOCK, attrs.evolve(OURS, failed=2, samples={"Lost: [bold]not markup": 2}))
    assert "   2 x Lost: [bold]not markup" in shown
    assert "with bluegreen, queries that must survive and failed: 2" in shown


def test_without_a_terminal_the_progress_is_one_line_for_each_switch() -> None:
    console = Console(file=(out := io.StringIO()), width=80, force_terminal=False)
    with report.LiveProgress(console, 2) as progress:
        progress.show("stock", Progress(None, 0, 5))
        progress.show("stock", Progress("abrupt", 0, 9))
        progress.show("stock", Progress(None, 1, 10, 1))
        progress.show("stock", Progress(None, 1, 20, 1))
        progress.show("stock", Progress(None, 2, 30, 1))
    assert out.getvalue() == (
        "stock: 1/2 switches, 10 queries, 1 errors\nstock: 2/2 switches, 30 queries, 1 errors\n"
    )


def test_the_json_has_the_figures_of_both_and_the_findings() -> None:
    data = json.loads(report.as_json(STOCK, OURS, ["too short"], threads=8, seed=1))
    assert data["stock"]["failed"] == 7
    assert data["bluegreen"] == OURS.to_json()
    assert (data["findings"], data["threads"], data["seed"]) == (["too short"], 8, 1)


# -- the command


def refused() -> str:
    said = CliRunner().invoke(command.demo)
    assert said.exit_code == 1
    assert said.stdout == ""
    return said.stderr


@pytest.mark.parametrize(
    "module", ["grpc", "bluegreen_adapters.e6data", "e6data_python_connector.e6data_grpc"]
)
def test_without_the_connector_the_demo_says_in_one_line_which_extra_is_missing(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever was imported before is imported anew, so that what is missing is missed in any order of tests.
    for name in list(sys.modules):
        if name.startswith(("bluegreen_adapters.e6data", "bluegreen_adapters.grpc_")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("bluegreen_adapters.e6data", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    assert refused() == f"Error: {command.MISSING}\n"


def test_with_another_version_of_the_connector_the_demo_says_which_are_supported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9.9")
    assert "9.9.9" in refused()


def test_the_demo_names_the_extra_when_the_distribution_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    said = refused()
    assert said.count("\n") == 1
    assert 'pip install "bluegreen[e6data]"' in said
