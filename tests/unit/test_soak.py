"""What a soak makes of what happened: stalls near switches, what is left, and the verdict."""

from __future__ import annotations

import itertools
import json
from typing import Any

import attrs
import pytest

from bluegreen_adapters.testing.demo.results import QueryResult, Run, Vitals, Window
from bluegreen_adapters.testing.demo.schedule import KINDS, LONG_MIX, PROBE, probes, schedule, statements
from bluegreen_adapters.testing.demo.worker import living, resident
from bluegreen_adapters.testing.engine.sql import parse
from bluegreen_adapters.testing.engine.statistics import Moment, Statistics
from bluegreen_adapters.testing.soak.assessment import FEW, assess, caveats
from bluegreen_adapters.testing.soak.latency import ANNOUNCED, SAMPLES, TAIL_S, UNANNOUNCED, stalls

NOTHING = Statistics(
    requests={},
    with_token={},
    refused={},
    errors={},
    misrouted=0,
    offences=(),
    authentications={},
    reads_executed=0,
    writes_executed=0,
    executed_twice={},
    reads_repeated={},
    lost_allowed=frozenset(),
    vanished=(),
    open_sessions={},
    open_queries={"blue": 0, "green": 0},
    faults=(),
    timeline=(Moment(0.0, "steady", "blue"),),
)


def probe(number: int, began_s: float, latency_s: float, **changes: Any) -> QueryResult:
    return QueryResult(f"{PROBE} {number}", False, began_s, began_s + latency_s, **changes)


QUIET = QueryResult("SELECT 1", False, 0.0, 0.1)
SWITCH = Window("graceful", 50.0, 50.0)
BOTH_ENDS = (Vitals(0.0, None, 0, 0), Vitals(9.0, None, 0, 0))


def a_run(*outcomes: QueryResult, windows: tuple[Window, ...] = (SWITCH,), **changes: Any) -> Run:
    known = {"vitals": BOTH_ENDS, **changes}
    return Run((QUIET, *outcomes), windows, known.pop("statistics", NOTHING), {}, **known)


def vitals(count: int, resident_mb: float, *, first_s: float = 0.0) -> list[Vitals]:
    return [Vitals(first_s + n, int(resident_mb * 1e6), 0) for n in range(count)]


# -- what is asked


def test_probes_are_look_ups_of_one_shape_and_no_two_have_the_same_text() -> None:
    asked = [statement for thread in range(3) for statement in itertools.islice(probes(thread), 100)]
    assert len({statement.text for statement in asked}) == len(asked)
    assert {(parse(statement.text).rows, parse(statement.text).batches) for statement in asked} == {(3, 1)}
    assert all(statement.text.startswith(PROBE) for statement in asked)


def test_the_long_queries_are_no_probes_and_all_of_them_take_time() -> None:
    for statement in itertools.islice(statements(1, 0, LONG_MIX), 500):
        understood = parse(statement.text)
        assert understood.sleep_s or statement.pause_s
        assert understood.writes == (statement.rows is None)
        assert not statement.text.startswith(PROBE)


def test_ten_minutes_hold_more_than_three_hundred_switches_at_the_period_of_the_command() -> None:
    from bluegreen_adapters.testing.soak.command import LEAD_S, PERIOD_S

    plan = schedule(round(600 / PERIOD_S), 1, lead_s=LEAD_S, period_s=PERIOD_S, least_queries=0)
    assert len(plan.switches) >= 300
    assert plan.ends_s - LEAD_S == pytest.approx(600, abs=PERIOD_S)
    assert plan.least_queries == 0


# -- stalls


def test_a_probe_belongs_to_the_class_of_each_switch_that_it_met_and_else_it_is_steady() -> None:
    windows = (Window("graceful", 1.0, 2.0), Window("abrupt", 10.0, 10.0))
    measured = stalls(
        a_run(
            probe(1, 0.0, 9.9),  # before the first switch, and still under way in it
            probe(2, 1.5, 0.030),
            probe(3, 2.0 + TAIL_S, 0.040),
            probe(4, 2.1 + TAIL_S, 0.005),
            probe(5, 10.1, 0.050),
            probe(6, 20.0, 0.007),
            windows=windows,
            round_trip_s=0.001,
        )
    )
    assert (measured.steady_samples, measured.steady_p999_ms) == (2, 7.0)
    assert (measured.announced.samples, measured.announced.p999_ms) == (3, 9900.0)
    assert (measured.unannounced.samples, measured.unannounced.p999_ms) == (1, 50.0)
    assert (measured.announced.limit_ms, measured.unannounced.limit_ms) == (17.0, 34.0)


def test_what_is_begun_before_the_first_switch_is_not_steady() -> None:
    windows = (Window("graceful", 5.0, 6.0),)
    measured = stalls(a_run(probe(1, 0.1, 2.0), probe(2, 9.0, 0.01), windows=windows))
    assert (measured.steady_samples, measured.steady_p999_ms) == (1, 10.0)


def test_other_queries_and_failed_probes_are_no_samples() -> None:
    other = QueryResult("SELECT * FROM orders", False, 9.0, 9.5)
    failed = probe(1, 9.0, 0.5, error="QueryLost")
    assert stalls(a_run(other, failed, windows=(Window("abrupt", 8.9, 9.0),))).unannounced.samples == 0


def test_a_probe_that_had_to_be_run_again_is_left_out_of_the_announced_class_only() -> None:
    again = attrs.evolve(NOTHING, reads_repeated={f"{PROBE} 1": 2})
    cases = (
        ("announced_abrupt", (0, 1), (0, 0)),
        ("graceful", (1, 0), (0, 0)),  # there nothing vanishes, so nothing has to be run again
        ("abrupt", (0, 0), (1, 0)),
    )
    for kind, announced, unannounced in cases:
        measured = stalls(a_run(probe(1, 1.0, 0.1), windows=(Window(kind, 1.0, 1.0),), statistics=again))
        assert (measured.announced.samples, measured.announced.left_out) == announced
        assert (measured.unannounced.samples, measured.unannounced.left_out) == unannounced


def _stalled(samples: int, latency_s: float) -> Run:
    steady = [probe(n, 100.0 + n, 0.010) for n in range(SAMPLES)]
    slow = [probe(n, 1.0, latency_s) for n in range(samples)]
    return a_run(*steady, *slow, windows=(Window("graceful", 1.0, 2.0),))


def test_a_stall_beyond_the_limit_is_a_finding_if_there_are_enough_samples() -> None:
    assert assess(_stalled(SAMPLES, 0.019)).findings() == []
    (finding,) = assess(_stalled(SAMPLES, 0.021)).findings()
    assert finding == "announced switches: 99.9 % of the queries within 21.0 ms, allowed are 20.0 ms"


def test_each_kind_that_is_played_has_a_limit_and_what_has_none_is_named() -> None:
    assert sorted((*ANNOUNCED, *UNANNOUNCED)) == sorted(KINDS)
    with pytest.raises(ValueError, match="switches of outage have no limit; those that have: graceful, "):
        stalls(a_run(windows=(Window("outage", 1.0, 2.0),)))


def test_the_worst_of_each_kind_is_told() -> None:
    windows = (Window("graceful", 1.0, 1.0), Window("double", 5.0, 5.0), Window("rollback", 9.0, 9.0))
    measured = stalls(a_run(probe(1, 1.0, 0.01), probe(2, 1.1, 0.02), probe(3, 5.0, 0.03), windows=windows))
    assert measured.announced.worst_of_ms == {"graceful": 20.0, "double": 30.0}
    assert measured.unannounced.worst_of_ms == {}


def test_without_enough_samples_there_is_no_verdict_and_that_is_said() -> None:
    few = assess(_stalled(SAMPLES - 1, 0.5))
    assert few.findings() == []
    assert any(told.startswith("announced switches: 999 probes against 1,000") for told in caveats(few))


# -- what is left


def test_memory_is_compared_after_the_warm_up_and_at_the_end() -> None:
    grown = [*vitals(20, 10.0), *vitals(20, 50.0), *vitals(60, 56.0)]
    grown = [BOTH_ENDS[0], *grown, BOTH_ENDS[1]]
    leaks = assess(a_run(vitals=tuple(grown))).leaks
    assert (leaks.memory_before_mb, leaks.memory_after_mb, leaks.memory_kept) == (50.0, 56.0, False)
    assert assess(a_run(vitals=(*BOTH_ENDS, *vitals(40, 50.0), *vitals(60, 54.0)))).findings() == []
    assert assess(a_run(vitals=tuple(grown))).findings() == ["memory grew from 50.0 to 56.0 MB"]


def test_too_few_samples_of_memory_give_no_verdict() -> None:
    short = assess(a_run(vitals=tuple(vitals(FEW - 1, 50.0))))
    assert short.leaks.memory_before_mb is None
    assert "memory: not enough samples for a verdict" in caveats(short)


@pytest.mark.parametrize("seen", [(), BOTH_ENDS[:1], tuple(vitals(50, 50.0))])
def test_a_process_that_did_not_tell_what_is_left_is_a_finding(seen: tuple[Vitals, ...]) -> None:
    assert assess(a_run(vitals=seen)).findings() == [
        "what is left was not counted: the process did not report at its end"
    ]


def test_what_is_left_open_or_alive_is_a_finding() -> None:
    left = (Vitals(0.0, 1, 0, 0), Vitals(9.0, 1, 2, 3))
    still = attrs.evolve(NOTHING, open_queries={"blue": 0, "green": 4})
    assert assess(a_run(vitals=left, statistics=still)).findings() == [
        "tickets still open: 2",
        "queries still open on the engine: 4",
        "links, sessions and queries still alive: 3",
    ]


def test_a_run_in_which_nothing_happened_is_no_success() -> None:
    nothing = ["nothing was measured: no switch, or no query"]
    assert assess(a_run(windows=())).findings() == nothing
    assert assess(Run((), (SWITCH,), NOTHING, {}, vitals=BOTH_ENDS)).findings() == nothing


def test_too_few_steady_probes_give_no_verdict_either() -> None:
    run = _stalled(SAMPLES, 9.0)
    few = attrs.evolve(run, outcomes=run.outcomes[2:])
    assert not assess(few).stalls.announced.enough
    assert assess(few).findings() == []


@pytest.mark.parametrize(
    ("run", "finding"),
    [
        (a_run(probe(1, 0.0, 1.0, error="E")), "queries that must survive and failed: 1"),
        (a_run(probe(1, 0.0, 1.0, wrong="rows")), "wrong results: 1"),
        (a_run(statistics=attrs.evolve(NOTHING, misrouted=2)), "misrouted RPCs: 2"),
        (a_run(statistics=attrs.evolve(NOTHING, executed_twice={"I": 2})), "writes executed twice: 1"),
        (a_run(crashes=1), "crashes of the process: 1"),
    ],
)
def test_each_loss_is_a_finding(run: Run, finding: str) -> None:
    assert assess(run).findings() == [finding]
    assert json.loads(json.dumps(assess(run).to_json()))["findings"] == [finding]


def test_the_process_knows_its_memory_and_what_is_alive_in_it() -> None:
    held = resident()
    assert held is None or held > 1_000_000
    pytest.importorskip("grpc", reason='needs the extra: pip install "bluegreen[grpc]"')
    from bluegreen.types import Strategy
    from bluegreen_adapters.connection.session_pool import Session

    before = living()
    session = Session(Strategy.BLUE, "s", 0)
    assert living() == before + 1
    del session
    assert living() == before
