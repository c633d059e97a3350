"""What managers tell reaches operators: handed on without a query waiting, and written as structured lines."""

from __future__ import annotations

import io
import json
import logging
import threading
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import QueryCompleted, StrategyAnnounced
from bluegreen.runtime.registry import forget, managed
from bluegreen.runtime.telemetry import RequestFailed, StoreBack, StoreLost, TelemetryEvent, UnlistedRefusal
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.observe.logging.logs import Logs, to_logger, to_stream, to_structlog
from bluegreen_adapters.observe.queue import Delivery

SCOPE = Scope("db.example:443", "observed")


def back(at_s: float = 0.0) -> StoreBack:
    return StoreBack(SCOPE, at_s, "redis")


class Held:
    """Takes what it is given, once it is let go."""

    def __init__(self) -> None:
        self.taken: list[TelemetryEvent] = []
        self.entered, self.let_go = threading.Event(), threading.Event()

    def __call__(self, batch: Any) -> None:
        self.entered.set()
        assert self.let_go.wait(60)
        self.taken.extend(batch)


def test_who_tells_does_not_wait_for_who_takes_and_what_does_not_fit_is_counted() -> None:
    held = Held()
    delivery = Delivery(held, limit=5, pause_s=0.0)
    delivery.put(back())
    assert held.entered.wait(60)
    for number in range(8):
        delivery.put(back(number))
    assert delivery.dropped == 3
    held.let_go.set()
    assert delivery.close()
    assert held.taken == [back(), *(back(number) for number in range(5))]


def test_what_is_told_is_handed_on_in_its_order_and_nothing_is_lost() -> None:
    taken: list[TelemetryEvent] = []
    delivery = Delivery(taken.extend, limit=100_000, pause_s=0.0)
    for number in range(5_000):
        delivery.put(back(number))
    assert delivery.close(30)
    assert [one.at_s for one in taken] == list(range(5_000))
    assert (delivery.dropped, delivery.failed) == (0, 0)


def test_a_flush_hands_on_what_waits_and_later_things_are_gathered_again() -> None:
    taken: list[TelemetryEvent] = []
    delivery = Delivery(taken.extend, pause_s=60.0)
    assert delivery.flush(0.0), "nothing was ever put"
    for number in range(3):
        for _ in range(500):
            delivery.put(back(number))
        assert delivery.flush(30)
        assert len(taken) == 500 * (number + 1)
    delivery.put(back())
    assert len(taken) == 1500, "it waits for others"
    assert delivery.close(30)
    assert len(taken) == 1501


def test_a_flush_does_not_wait_for_ever_for_who_takes() -> None:
    held = Held()
    delivery = Delivery(held, pause_s=0.0)
    delivery.put(back())
    assert held.entered.wait(60)
    assert not delivery.flush(0.01)
    held.let_go.set()
    assert delivery.flush(30)
    assert delivery.close(30)


def test_many_threads_lose_nothing_that_was_not_counted() -> None:
    taken: list[TelemetryEvent] = []
    delivery = Delivery(taken.extend, limit=50, pause_s=0.0)

    def tell() -> None:
        for _ in range(2_000):
            delivery.put(back())

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert delivery.close(30)
    assert abs(len(taken) + delivery.dropped - 8_000) <= 4  # `dropped` may be late by one for each thread


def test_a_taker_that_raises_harms_nobody_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[TelemetryEvent] = []

    def take(batch: Any) -> None:
        if len(taken) < 2:
            taken.extend(batch)
            raise OSError("no space left")
        taken.extend(batch)

    delivery = Delivery(take, pause_s=0.0)
    for number in range(200):
        delivery.put(back(number))
    assert delivery.close(30)
    assert len(taken) == 200
    assert delivery.failed >= 1
    assert [one.name for one in caplog.records] == ["bluegreen.observe"]


def test_several_takers_share_a_queue_and_one_that_raises_takes_nothing_from_the_others() -> None:
    taken: list[TelemetryEvent] = []

    def refuse(batch: Any) -> None:
        raise OSError("no space left")

    delivery = Delivery(refuse, taken.extend, pause_s=0.0)
    delivery.put(back())
    assert delivery.close(30)
    assert (taken, delivery.failed) == ([back()], 1)


def test_a_delivery_that_is_closed_takes_nothing_more_and_says_so() -> None:
    taken: list[TelemetryEvent] = []
    delivery = Delivery(taken.extend)
    assert delivery.close()
    delivery.put(back())
    assert (taken, delivery.dropped) == ([], 1)


def test_a_forked_child_tells_only_what_happened_in_it() -> None:
    held = Held()
    delivery = Delivery(held, pause_s=0.0)
    delivery.put(back(1.0))
    assert held.entered.wait(60)
    delivery.put(back(2.0))
    delivery.after_fork()  # as in a child, where the thread is not
    held.let_go.set()
    delivery.put(back(3.0))
    assert delivery.close(30)
    assert back(3.0) in held.taken
    assert back(2.0) not in held.taken


def test_a_limit_below_one_is_refused_with_what_is_accepted() -> None:
    with pytest.raises(ValueError, match="limit is 0; accepted: 1 or more"):
        Delivery(print, limit=0)


def lines_of(*happenings: TelemetryEvent) -> list[dict[str, Any]]:
    text = io.StringIO()
    Logs(to_stream(text))(happenings)
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_each_change_of_strategy_is_a_line_at_info_with_its_row_and_its_epochs() -> None:
    found: list[TelemetryEvent] = []
    manager = managed(SCOPE, Settings())
    stop = manager.observe(found.append)
    try:
        manager.start(lambda strategy, seconds_left: None)
        manager.send(StrategyAnnounced(Strategy.GREEN, manager.state_version))
        changes = [one for one in lines_of(*found) if one["event"] == "strategy_changed"]
    finally:
        stop()
        forget(SCOPE)
    assert [(one["before"], one["after"], one["active"], one["pending"]) for one in changes] == [
        ("Detecting", "Stable", "blue", None),
        ("Stable", "PendingTransition", "blue", "green"),
    ]
    assert {one["level"] for one in changes} == {"INFO"}
    assert [one["state_version"] for one in changes] == [1, 2]
    assert all(one["scope"] == str(SCOPE) and one["row"] for one in changes)


def test_a_scope_says_nothing_below_its_level_and_everything_from_there_on() -> None:
    lost = StoreLost(SCOPE, 0.0, "redis", "no answer")
    try:
        managed(SCOPE, Settings(logging_level="ERROR"))
        assert lines_of(back(), lost) == []
        managed(SCOPE).reconfigure(logging_level="WARNING")
        assert [one["event"] for one in lines_of(back(), lost)] == ["store_lost"]
    finally:
        forget(SCOPE)


def test_starts_and_ends_of_queries_are_lines_at_debug_only() -> None:
    found: list[TelemetryEvent] = []
    manager = managed(SCOPE, Settings())
    stop = manager.observe(found.append)
    try:
        manager.end(QueryCompleted(manager.start(lambda strategy, seconds_left: None)))
        assert "stepped" not in [one["event"] for one in lines_of(*found)]
        manager.reconfigure(logging_level="DEBUG")
        steps = [one for one in lines_of(*found) if one["event"] == "stepped"]
    finally:
        stop()
        forget(SCOPE)
    assert [(one["event_name"], one["query"], one["ticket_strategy"]) for one in steps] == [
        ("query_started", 1, "blue"),
        ("query_completed", 1, "blue"),
    ]


def test_a_456_that_matches_no_form_is_a_warning_with_the_method_and_the_status() -> None:
    (line,) = lines_of(UnlistedRefusal(SCOPE, 0.0, Strategy.BLUE, "execute", "INTERNAL"))
    assert (line["event"], line["level"]) == ("unlisted_refusal", "WARNING")
    assert (line["strategy"], line["method"], line["code"]) == ("blue", "execute", "INTERNAL")


def test_repetitions_are_written_now_and_then_and_what_is_left_out_is_counted() -> None:
    def refused(at_s: float) -> RequestFailed:
        return RequestFailed(SCOPE, at_s, Strategy.BLUE, "execute", "wrong strategy", "UNKNOWN")

    lines = lines_of(*(refused(0.0) for _ in range(1_000)), refused(60.0))
    assert len(lines) == 21
    assert lines[-1]["left_out"] == 980
    assert all("left_out" not in line for line in lines[:-1])


@given(text=st.text(max_size=40))
def test_no_text_breaks_a_line(text: str) -> None:
    stream = io.StringIO()
    Logs(to_stream(stream))([StoreLost(SCOPE, 0.0, "redis", text)])
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue()[:-1].isprintable()
    assert json.loads(stream.getvalue())["reason"] == text


def test_a_logger_of_the_application_gets_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bluegreen.events"):
        Logs(to_logger())([back()])
    (record,) = caplog.records
    assert record.message.startswith("store_back {")
    assert record.__dict__["bluegreen"]["store"] == "redis"


def test_structlog_gets_the_event_and_the_fields() -> None:
    with structlog.testing.capture_logs() as captured:
        Logs(to_structlog())([back()])
    assert captured == [
        {"event": "store_back", "log_level": "info", "at_s": 0.0, "scope": str(SCOPE), "store": "redis"}
    ]
