"""The audit: what is written of what happens, in which files, and what stays of it when a disk or a process fails."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bluegreen.machines.strategy.events import QueryCompleted, StrategyAnnounced
from bluegreen.runtime.telemetry import (
    DetectionEnded,
    LockWaited,
    Record,
    StoreBack,
    StoreLost,
    UnlistedRefusal,
)
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.observe.audit.verifier import verify
from bluegreen_adapters.observe.audit.writer import AuditWriter
from bluegreen_adapters.observe.queue import Delivery
from support.auditing import DAY_S, NOON_S, SCOPE, lost, observed, paths, queries, refused, said, tell
from support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON_S)


def kinds(folder: Path, kind: str) -> list[str]:
    return [one.get("audit") or one.get("journal") or "step" for one in said(folder, kind)]


def test_each_step_that_changed_something_is_a_line_that_the_table_takes(
    tmp_path: Path, clock: FakeClock
) -> None:
    manager, told = observed()
    queries(manager, 5)
    manager.send(StrategyAnnounced(Strategy.GREEN, manager.state_version))
    audit = AuditWriter(tmp_path, clock=clock)
    steps = sum(isinstance(one, Record) for one in told)
    tell(audit, told)
    audit.close()
    found = verify(tmp_path)
    assert (found.ok, found.records, found.gaps, found.open) == (True, steps, (), 0)
    assert kinds(tmp_path, "changes") == ["opened", *["step"] * steps]
    assert {one["time"] for one in said(tmp_path)} == {"2026-11-27T12:00:00.000Z"}


def test_of_changes_alone_each_is_written_with_where_the_machine_stood_and_the_table_takes_it(
    tmp_path: Path, clock: FakeClock
) -> None:
    manager, told = observed()
    queries(manager, 5)
    manager.send(StrategyAnnounced(Strategy.GREEN, manager.state_version))
    queries(manager, 5)
    audit = AuditWriter(tmp_path, steps="changes", clock=clock)
    tell(audit, told)
    audit.close()
    assert [one["step"]["event"]["name"] for one in said(tmp_path) if "step" in one] == [
        "auth_success",
        "strategy_announced",
        "query_completed",
    ]
    found = verify(tmp_path)
    assert (found.ok, found.records, found.gaps) == (True, 3, ())


def test_errors_and_lost_queries_have_files_of_their_own_and_so_have_replays_and_stores(
    tmp_path: Path, clock: FakeClock
) -> None:
    audit = AuditWriter(tmp_path, clock=clock)
    nothing = DetectionEnded(SCOPE, 3.0, 0.5, tuple(Strategy), None, {"blue": "456"})
    audit(
        [
            refused(), UnlistedRefusal(SCOPE, 1.0, Strategy.BLUE, "execute", "INTERNAL"), lost(),
            StoreLost(SCOPE, 1.0, "redis", "away"), StoreBack(SCOPE, 2.0, "redis"), nothing,
        ]
    )  # fmt: skip
    audit.close()
    assert kinds(tmp_path, "errors") == [
        "request_failed",
        "unlisted_refusal",
        "query_lost",
        "store_lost",
        "store_back",
        "detection_ended",
    ]
    assert paths(tmp_path, "changes") == []
    assert verify(tmp_path).ok


@pytest.mark.unjournaled
def test_a_correction_is_kept_with_the_changes_and_the_steps_after_it_go_on_from_there(
    tmp_path: Path, clock: FakeClock
) -> None:
    manager, told = observed()
    manager.start(lambda strategy, left_s: None)
    manager._tickets.clear()
    manager.repair()
    manager.start(lambda strategy, left_s: None)
    audit = AuditWriter(tmp_path, clock=clock)
    audit(told)
    audit.close()
    (corrected,) = [line for line in said(tmp_path) if line.get("audit") == "corrected"]
    assert corrected["check"] == "query_mapping_integrity"
    assert corrected["correction"] == "cleanup_stale_mappings"
    assert kinds(tmp_path, "changes").count("opened") == 2
    assert verify(tmp_path).ok
    assert paths(tmp_path, "errors") == []


def test_records_that_threads_hand_over_in_any_order_are_written_in_the_order_of_their_steps(
    tmp_path: Path, clock: FakeClock
) -> None:
    manager, told = observed()
    queries(manager, 10)
    audit = AuditWriter(tmp_path, clock=clock)
    first, *others = told
    audit([first])
    for three in zip(*[iter(others)] * 4, strict=False):
        audit(three[::-1])
    audit(others[len(others) // 4 * 4 :])
    audit.close()
    found = verify(tmp_path)
    assert (found.ok, found.records, found.gaps) == (True, 21, ())
    assert kinds(tmp_path, "changes").count("opened") == 1


def test_steps_that_never_come_are_a_gap_after_a_second_and_what_follows_is_held_against_the_table(
    tmp_path: Path, clock: FakeClock
) -> None:
    manager, told = observed()
    queries(manager, 10)
    audit = AuditWriter(tmp_path, clock=clock)
    audit(told[:5])
    audit(told[8:])
    assert "gap" not in kinds(tmp_path, "changes")
    clock.advance(1.0)
    audit([refused()])
    found = verify(tmp_path)
    assert (found.ok, found.records, found.missing) == (True, 18, 3)
    (gap,) = found.gaps
    assert gap.what == f"3 missing: steps 6 to 8 of {SCOPE} were not handed over"
    audit(told[5:8])  # they do come, in the end
    audit.close()
    assert (verify(tmp_path).ok, verify(tmp_path).records) == (True, 21)


def test_what_waits_for_a_step_that_is_missing_is_written_when_the_audit_is_closed(
    tmp_path: Path, clock: FakeClock
) -> None:
    manager, told = observed()
    queries(manager, 3)
    audit = AuditWriter(tmp_path, clock=clock)
    audit(told[:2])
    audit(told[3:])
    audit.close()
    assert (verify(tmp_path).records, verify(tmp_path).missing) == (6, 1)


def test_after_settings_were_changed_the_manager_is_opened_anew_with_them(
    tmp_path: Path, clock: FakeClock
) -> None:
    manager, told = observed()
    queries(manager, 2)
    manager.reconfigure(retry_attempts=7)
    queries(manager, 2)
    audit = AuditWriter(tmp_path, clock=clock)
    tell(audit, told)
    audit.close()
    opened = [one for one in said(tmp_path) if one.get("journal") == "opened"]
    assert [one["settings"]["retry_attempts"] for one in opened] == [3, 7]
    (changed,) = (one for one in said(tmp_path) if one.get("audit") == "reconfigured")
    assert changed["changes"] == {"retry_attempts": ["3", "7"]}
    found = verify(tmp_path)
    assert (found.ok, found.records, found.gaps) == (True, 9, ())


def test_two_managers_of_one_scope_at_a_time_leave_no_gap(tmp_path: Path, clock: FakeClock) -> None:
    (old, told), (new, told_too) = observed(), observed()
    queries(old, 20)
    queries(new, 3)
    audit = AuditWriter(tmp_path, clock=clock)
    for batch in itertools.zip_longest(told, told_too):
        audit([one for one in batch if one is not None])
        clock.advance(2.0)
    audit.close()
    found = verify(tmp_path)
    assert (found.ok, found.records, found.gaps) == (True, 48, ())


def test_the_credentials_of_a_store_are_in_no_line(tmp_path: Path, clock: FakeClock) -> None:
    manager, told = observed(store="redis://me:secret@db.example:6379/0?password=secret")
    queries(manager, 1)
    audit = AuditWriter(tmp_path, clock=clock)
    tell(audit, told)
    audit.close()
    assert verify(tmp_path).ok
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_what_happened_in_a_minute_is_one_line_of_each_scope(tmp_path: Path, clock: FakeClock) -> None:
    manager, told = observed()
    queries(manager, 4)
    other = Scope("other.example:443")
    audit = AuditWriter(tmp_path, clock=clock)
    tell(audit, told)
    found = DetectionEnded(SCOPE, 3.0, 0.5, (Strategy.BLUE,), Strategy.BLUE, {})
    audit([found, DetectionEnded(SCOPE, 3.0, 0.25, (Strategy.BLUE,), Strategy.BLUE, {}), refused()])
    audit([LockWaited(other, 1.0, 0.125)])
    assert paths(tmp_path, "performance") == []
    clock.advance(60.0)
    audit([LockWaited(other, 1.0, 0.5)])
    first, second = said(tmp_path, "performance")
    assert (first["scope"], first["minute"], first["queries"]) == (str(SCOPE), "2026-11-27T12:00:00.000Z", 4)
    assert (first["detections"], first["detection_sum_s"], first["detection_max_s"]) == (2, 0.75, 0.5)
    assert (first["request_failures"], first["wrong_strategy"]) == (1, 1)
    assert (second["scope"], second["lock_waits"], second["lock_wait_max_s"]) == (str(other), 1, 0.125)
    audit.close()
    assert said(tmp_path, "performance")[2]["lock_wait_sum_s"] == 0.5


# -- files


def test_another_file_begins_when_one_is_full_or_a_day_is_over_and_each_follows_the_one_before(
    tmp_path: Path, clock: FakeClock
) -> None:
    manager, told = observed()
    audit = AuditWriter(tmp_path, clock=clock, file_bytes=10_000)
    for _ in range(10):
        queries(manager, 10)
        tell(audit, told)
    full = len(paths(tmp_path, "changes"))
    assert full >= 5
    clock.advance(DAY_S / 2)
    queries(manager, 1)
    tell(audit, told)
    assert len(paths(tmp_path, "changes")) == full + 1
    audit.close()
    found = verify(tmp_path)
    assert (found.ok, found.records, found.open) == (True, 203, 0)


def test_each_kind_is_kept_as_long_as_it_has_to_be_and_no_longer(tmp_path: Path, clock: FakeClock) -> None:
    manager, told = observed()
    audit = AuditWriter(tmp_path, clock=clock)
    for _ in range(100):
        queries(manager, 1)
        audit([*told, refused()])
        told.clear()
        clock.advance(DAY_S)
    audit.close()
    kept = {kind: len(paths(tmp_path, kind)) for kind in ("changes", "errors", "performance")}
    assert kept["changes"] in (90, 91)
    assert kept["errors"] in (30, 31)
    assert kept["performance"] in (7, 8)
    assert len(list(tmp_path.glob("*.head"))) == sum(kept.values())
    found = verify(tmp_path)
    assert found.ok, str(found)
    assert found.pruned >= 9 + 69 + 90


def test_a_file_goes_with_its_last_line_and_not_a_day_earlier(tmp_path: Path, clock: FakeClock) -> None:
    audit = AuditWriter(tmp_path, clock=clock)
    audit([refused()])
    clock.advance(3_600.0)
    audit([refused()])
    audit.close()
    later = AuditWriter(tmp_path, clock=clock)
    clock.advance(30 * DAY_S)
    later.prune()
    assert len(paths(tmp_path, "errors")) == 1
    clock.advance(1.0)
    assert later.prune() == 1
    assert len(paths(tmp_path, "errors")) == 0
    later.close()
    assert kinds(tmp_path, "changes") == ["pruned", "pruned"]  # what was measured has gone before


def test_old_files_are_removed_at_the_start_and_once_an_hour(tmp_path: Path, clock: FakeClock) -> None:
    def old() -> None:
        one = AuditWriter(tmp_path, clock=lambda: NOON_S - 31 * DAY_S)
        one([refused()])
        one.close()

    old()
    audit = AuditWriter(tmp_path, clock=clock)
    audit([refused()])
    assert len(paths(tmp_path, "errors")) == 1
    old()
    clock.advance(3_599.0)
    audit([refused()])
    assert len(paths(tmp_path, "errors")) == 2
    clock.advance(1.0)
    audit([refused()])
    assert len(paths(tmp_path, "errors")) == 1
    audit.close()


def test_a_file_that_somebody_writes_is_not_removed_however_old_it_is(
    tmp_path: Path, clock: FakeClock
) -> None:
    writing = AuditWriter(tmp_path, clock=lambda: NOON_S - 1_000 * DAY_S)
    writing([refused()])
    audit = AuditWriter(tmp_path, clock=clock)
    assert audit.prune() == 0
    writing.close()
    assert audit.prune() == 2
    audit.close()


def test_who_writes_a_file_that_was_removed_begins_another_one(tmp_path: Path, clock: FakeClock) -> None:
    manager, told = observed()
    audit = AuditWriter(tmp_path, clock=clock)
    tell(audit, told)
    for path in tmp_path.iterdir():
        path.unlink()
    queries(manager, 1)
    tell(audit, told)
    audit.close()
    assert kinds(tmp_path, "changes") == ["opened", "step", "step"]
    (missing,) = verify(tmp_path).findings
    assert "is missing, and no line says that it was removed" in missing.what


def test_two_audits_of_one_process_write_different_files(tmp_path: Path, clock: FakeClock) -> None:
    one, two = AuditWriter(tmp_path, clock=clock), AuditWriter(tmp_path, clock=clock)
    one([refused()])
    two([refused()])
    one.close()
    two.close()
    assert len(paths(tmp_path, "errors")) == 2
    assert verify(tmp_path).ok


def test_nobody_but_its_owner_may_read_an_audit(tmp_path: Path, clock: FakeClock) -> None:
    audit = AuditWriter(tmp_path / "new", clock=clock)
    audit([refused()])
    audit.close()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o077 for path in (tmp_path / "new").iterdir()] == [0] * 4


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_writes_files_of_its_own_from_its_own_beginning(tmp_path: Path) -> None:
    manager, told = observed()
    ticket = manager.try_start()
    assert ticket is not None
    audit = AuditWriter(tmp_path)
    tell(audit, told)
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            queries(manager, 3)
            tell(audit, told)
            audit.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    manager.end(QueryCompleted(ticket))
    tell(audit, told)
    audit.close()
    assert sorted(
        json.loads(path.read_bytes().splitlines()[0])["process"] for path in paths(tmp_path, "changes")
    ) == sorted([pid, os.getpid()])
    found = verify(tmp_path)
    assert (found.ok, found.records, found.gaps, found.open) == (True, 9, (), 0)


# -- what fails


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_and_counted_and_as_soon_as_there_is_room_a_line_says_what_is_missing(
    small_disk: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    manager, told = observed()
    audit = AuditWriter(small_disk / "audit", clock=clock)
    fill = small_disk / "fill"
    for number in range(30):
        queries(manager, 10)
        if number == 5:
            fill.write_bytes(bytes(980_000))
        if number == 20:
            fill.unlink()
        tell(audit, told)
        if number == 19:
            assert audit.trouble is not None
            assert "No space left on device" in audit.trouble
    assert audit.dropped > 0
    assert audit.trouble is None
    found = verify(small_disk / "audit")
    assert found.ok, str(found)
    assert found.missing == audit.dropped
    assert found.records + found.missing == 601
    assert found.torn == ()
    assert [one.levelname for one in caplog.records if one.name == "bluegreen.observe"] == ["ERROR"]
    assert "No space left on device" in caplog.text
    audit.close()


@pytest.mark.unjournaled  # its journal would meet the limit too
def test_a_limit_of_the_size_of_files_ends_one_and_begins_another(tmp_path: Path, clock: FakeClock) -> None:
    manager, told = observed()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    audit = AuditWriter(tmp_path, clock=clock)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
    try:
        for _ in range(20):
            queries(manager, 10)
            tell(audit, told)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    audit.close()
    found = verify(tmp_path)
    assert found.ok, str(found)
    assert 0 < found.missing == audit.dropped
    assert found.records + found.missing == 401
    assert len(paths(tmp_path, "changes")) > 5


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path, clock: FakeClock) -> None:
    folder = tmp_path / "audit"
    audit = AuditWriter(folder, clock=clock)
    folder.rmdir()
    audit([refused()])
    assert audit.dropped == 1
    folder.mkdir()
    audit([refused()])
    audit.close()
    assert kinds(folder, "errors") == ["gap", "request_failed"]


def test_what_a_delivery_has_dropped_is_a_gap(tmp_path: Path, clock: FakeClock) -> None:
    audit, entered, go_on = AuditWriter(tmp_path, clock=clock), threading.Event(), threading.Event()

    def take(batch: Any) -> None:
        entered.set()
        assert go_on.wait(60)
        audit(batch)

    delivery = Delivery(take, limit=5, pause_s=0.0)
    audit.fed_by(delivery)
    delivery.put(refused())
    assert entered.wait(60)
    for _ in range(12):
        delivery.put(refused())
    go_on.set()
    assert delivery.close(30)
    audit.close()
    found = verify(tmp_path)
    assert (found.missing, delivery.dropped) == (7, 7)
    assert kinds(tmp_path, "errors") == ["request_failed"] * 6


def test_an_audit_that_is_closed_takes_nothing_more_and_may_be_closed_again(
    tmp_path: Path, clock: FakeClock
) -> None:
    audit = AuditWriter(tmp_path, clock=clock)
    audit.close()
    audit([refused()])
    audit.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": "some"}, "steps is 'some'; accepted: all, changes"),
        ({"file_bytes": 0}, "file_bytes is 0; accepted: 1 or more"),
        ({"retention_days": {"errors": 0}}, r"retention_days\['errors'\] is 0; accepted: .*above 0"),
        ({"retention_days": {"news": 1}}, r"retention_days\['news'\] is 1; accepted: changes, errors, perf"),
    ],
)
def test_what_is_not_accepted_is_named_with_what_is(tmp_path: Path, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AuditWriter(tmp_path, **given)
