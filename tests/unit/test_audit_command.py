"""`bluegreen audit`: what it shows, what it hands on, and what it says of an audit that was changed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bluegreen.machines.strategy.events import StrategyAnnounced
from bluegreen.runtime.telemetry import StoreLost
from bluegreen.types import Scope, Strategy
from bluegreen_adapters.observe.audit.cli import audit as command
from bluegreen_adapters.observe.audit.reader import COLUMNS
from bluegreen_adapters.observe.audit.writer import AuditWriter
from support.auditing import DAY_S, NOON_S, SCOPE, lost, observed, paths, queries, refused, tell
from support.clock import FakeClock

OTHER = Scope("other.example:443")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two processes' files: one wrote at noon and a day later, the other one in between."""
    place = tmp_path / "audit"
    clock = FakeClock(NOON_S)
    manager, told = observed()
    one, other = AuditWriter(place, clock=clock), AuditWriter(place, clock=clock)
    queries(manager, 2)
    one([*told, refused()])
    told.clear()
    clock.advance(DAY_S / 2)
    other([lost("q-7", "=HYPERLINK(1)", OTHER), StoreLost(OTHER, 1.0, "redis", "gone\x1b[2J")])
    clock.advance(DAY_S / 2)
    manager.send(StrategyAnnounced(Strategy.GREEN, manager.state_version))
    tell(one, told)
    one.close()
    other.close()
    return place


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])


def events(*arguments: Any) -> list[str]:
    """The names of what is shown."""
    result = run("show", *arguments)
    assert result.exit_code == 0, result.output
    return [line.split()[2] for line in result.output.splitlines()]


def test_verify_says_that_all_is_right_and_exits_with_0(folder: Path) -> None:
    result = run("verify", folder)
    assert result.exit_code == 0
    assert "6 steps: right" in result.output


def test_verify_names_file_and_line_of_what_is_wrong_and_exits_with_1(folder: Path) -> None:
    path = paths(folder, "errors")[0]
    path.write_bytes(path.read_bytes().replace(b"wrong strategy", b"right strategy"))
    result = run("verify", folder)
    assert result.exit_code == 1
    assert f"{path.name}:2: its hash is wrong" in result.output
    told = json.loads(run("verify", folder, "--json").output)
    assert (told["good"], told["findings"][0]["line"]) == (False, 2)


def test_verify_takes_a_gap_for_a_finding_if_it_is_asked_to(folder: Path) -> None:
    manager, told = observed(OTHER)
    queries(manager, 2)
    audit = AuditWriter(folder)
    audit([*told[:1], *told[2:]])
    audit.close()
    assert run("verify", folder).exit_code == 0
    strict = run("verify", folder, "--strict")
    assert strict.exit_code == 1
    assert "1 missing" in strict.output


def test_show_has_what_all_processes_wrote_in_the_order_of_time(folder: Path) -> None:
    shown = run("show", folder).output.splitlines()
    assert [line.split()[0] for line in shown] == sorted(line.split()[0] for line in shown)
    assert events(folder, "--kind", "changes", "--kind", "errors") == [
        "auth_success",
        *["query_started", "query_completed"] * 2,
        "request_failed",
        "query_lost",
        "store_lost",
        "strategy_announced",
    ]


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        (("--scope", str(OTHER), "--kind", "errors"), ["query_lost", "store_lost"]),
        (("--query", "q-7"), ["query_lost"]),
        (("--query", "2", "--scope", str(SCOPE)), ["query_started", "query_completed"]),
        (("--event", "strategy_announced"), ["strategy_announced"]),
        (("--since", "2026-11-28", "--kind", "errors"), ["query_lost", "store_lost"]),
        (("--since", "2026-11-28T01:00Z", "--kind", "changes"), ["strategy_announced"]),
        (("--until", "2026-11-27T14:00+02:00", "--kind", "errors"), ["request_failed"]),
        (("--event", "opened"), ["opened", "opened"]),
        (("--scope", "nobody:1"), []),
    ],
)
def test_show_has_what_is_wanted_and_nothing_else(
    folder: Path, chosen: tuple[str, ...], shown: list[str]
) -> None:
    assert events(folder, *chosen) == shown


def test_show_puts_nothing_on_a_terminal_that_is_not_printable(folder: Path) -> None:
    output = run("show", folder).output
    assert "\x1b" not in output
    assert "gone" in output


def test_show_as_json_has_the_lines_as_they_are(folder: Path) -> None:
    shown = run("show", folder, "--json", "--kind", "errors").output.splitlines()
    written = [line for path in paths(folder, "errors") for line in path.read_text().splitlines()]
    assert set(shown) < set(written)
    assert [json.loads(line)["audit"] for line in shown] == ["request_failed", "query_lost", "store_lost"]


def test_export_writes_one_row_of_each_line_and_no_cell_is_a_formula(folder: Path, tmp_path: Path) -> None:
    printed = run("export", folder).output
    assert run("export", folder, "--to", tmp_path / "audit.csv").exit_code == 0
    assert (tmp_path / "audit.csv").read_text() == printed.replace("\r\n", "\n")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert tuple(rows[0]) == COLUMNS
    assert [row["event"] for row in rows if row["kind"] == "errors"] == [
        "request_failed",
        "query_lost",
        "store_lost",
    ]
    (row,) = (row for row in rows if row["event"] == "query_lost")
    assert (row["reason"], row["query_id"], row["strategy"]) == ("'=HYPERLINK(1)", "q-7", "blue")
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    (row,) = (row for row in rows if row["event"] == "strategy_announced")
    assert (row["before"], row["after"], row["pending"]) == ("Stable", "PendingTransition", "green")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify", "/nowhere/at/all"), "'/nowhere/at/all' does not exist"),
        (("show", ".", "--since", "soon"), "'soon' is no time; accepted: 2026-11-27"),
        (("show", ".", "--kind", "news"), "'news' is not one of 'changes', 'errors', 'performance'"),
        (("export", ".", "--to", "/nowhere/at/all"), "No such file or directory"),
    ],
)
def test_what_is_not_accepted_is_named_with_what_is(
    folder: Path, arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = run(*arguments)
    assert result.exit_code != 0
    assert message in result.output


@pytest.mark.parametrize("name", ["verify", "show", "export"])
def test_a_folder_without_an_audit_is_told_from_one_that_is_right(tmp_path: Path, name: str) -> None:
    result = run(name, tmp_path)
    assert result.exit_code == 2
    assert f"no audit is in {tmp_path}" in result.output


def test_a_torn_line_is_left_out_of_what_is_shown(folder: Path) -> None:
    path = paths(folder, "errors")[0]
    path.write_bytes(path.read_bytes()[:-20])
    assert "query_lost" in events(folder, "--kind", "errors")
