"""The statistics of the test engine tell what happened, and survive the way through JSON."""

from __future__ import annotations

import json

from bluegreen_adapters.testing.engine.phases import named
from bluegreen_adapters.testing.engine.stacks import Stack, StackQuery
from bluegreen_adapters.testing.engine.statistics import SAMPLE_LIMIT, Offence, Recorder, Statistics


def query(stack: Stack, text: str, *, executed: bool = False, handed: int = 0) -> StackQuery:
    made = stack.prepare(text)
    assert isinstance(made, StackQuery)
    made.executions = int(executed)
    made.handed = handed
    return made


def test_requests_and_refusals_are_counted_by_method_and_strategy() -> None:
    recorder = Recorder()
    recorder.request("status", "blue")
    recorder.request("status", "green", token=True)
    recorder.request("status", "green")
    recorder.refused("status", "green")
    recorder.error("status", "UNAVAILABLE")
    seen = recorder.snapshot()
    assert seen.requests == {"status": {"blue": 1, "green": 2}}
    assert seen.with_token == {"status": {"green": 1}}
    assert seen.refused == {"status": {"green": 1}}
    assert seen.errors == {"status": {"UNAVAILABLE": 1}}
    assert (seen.total_requests, seen.total_refused) == (3, 1)


def test_only_writes_that_ran_more_than_once_were_executed_twice() -> None:
    recorder = Recorder()
    for text, writes in (("w", True), ("w", True), ("v", True), ("r", False), ("r", False), ("r", False)):
        recorder.executed(text, writes=writes)
    seen = recorder.snapshot()
    assert seen.executed_twice == {"w": 2}
    assert seen.reads_repeated == {"r": 3}
    assert (seen.writes_executed, seen.reads_executed) == (3, 3)
    assert recorder.executions() == {"w": 2, "v": 1, "r": 3}


def test_what_may_be_lost_is_writes_accepted_and_reads_that_handed_out_rows() -> None:
    recorder, stack = Recorder(), Stack("blue")
    query(stack, "SELECT 'prepared'")
    query(stack, "SELECT 'executed'", executed=True)
    query(stack, "SELECT 'handed'", executed=True, handed=1)
    query(stack, "INSERT 'prepared'")
    query(stack, "INSERT 'executed'", executed=True)
    recorder.vanished("blue", stack.forget())
    seen = recorder.snapshot()
    assert len(seen.vanished) == 5
    assert seen.lost_allowed == {"SELECT 'handed'", "INSERT 'executed'"}


def test_every_misrouted_request_is_counted_and_the_first_ones_are_told() -> None:
    recorder = Recorder()
    for number in range(SAMPLE_LIMIT + 5):
        recorder.offence(Offence("status", "blue", "no strategy", query_id=str(number)))
    seen = recorder.snapshot()
    assert seen.misrouted == SAMPLE_LIMIT + 5
    assert [offence.query_id for offence in seen.offences] == [str(n) for n in range(SAMPLE_LIMIT)]


def test_a_snapshot_survives_json_and_later_counting() -> None:
    recorder, stack = Recorder(), Stack("green")
    recorder.request("status", "blue")
    recorder.offence(Offence("status", "", "no strategy"))
    recorder.authenticated("blue")
    recorder.phase(named("cutover", target="green"), 1.5)
    query(stack, "INSERT 1", executed=True)
    recorder.vanished("green", stack.forget())
    seen = recorder.snapshot(open_sessions={"blue": 1}, open_queries={"blue": 2}, faults=[3])
    assert Statistics.from_json(json.loads(json.dumps(seen.to_json()))) == seen
    recorder.request("status", "blue")
    assert seen.total_requests == 1


def test_reset_counts_from_zero() -> None:
    recorder = Recorder()
    recorder.request("status", "blue")
    recorder.allow_loss("x")
    recorder.reset()
    assert recorder.snapshot() == Recorder().snapshot()
