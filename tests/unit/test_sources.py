"""Where settings come from, in which order, and what is said about those that are wrong."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bluegreen.cli.config import config
from bluegreen.config.loader import configured
from bluegreen.config.settings import CHANGEABLE, Settings
from bluegreen.errors import SettingsError
from bluegreen.machines.strategy.events import QueryCompleted
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.telemetry import Reconfigured, TelemetryEvent
from support.clock import FakeClock
from support.managing import BLUE, SCOPE, Cluster, on_blue, query

if sys.version_info < (3, 11):
    pytest.importorskip("tomli")


def refused(folder: Path, environment: dict[str, str] | None = None, **code: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        configured(environment or {}, folder, **code)
    return raised.value.findings


def test_code_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default(
    tmp_path: Path,
) -> None:
    file = tmp_path / "bluegreen.toml"
    file.write_text("cache_ttl_s = 61\nretry_attempts = 4\nreplay = 'never'\n")
    environment = {"BLUEGREEN_CACHE_TTL_S": "62", "BLUEGREEN_RETRY_ATTEMPTS": "5"}
    found = configured(environment, tmp_path, cache_ttl_s=63)
    settings = found.settings
    assert (settings.cache_ttl_s, settings.retry_attempts, settings.replay, settings.store) == (
        63, 5, "never", "memory:",
    )  # fmt: skip
    assert [found.origins[name] for name in ("cache_ttl_s", "retry_attempts", "replay", "store")] == [
        "code", "environment: BLUEGREEN_RETRY_ATTEMPTS", f"file: {file}", "default",
    ]  # fmt: skip


def test_the_project_file_counts_where_there_is_no_file_of_our_own(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.bluegreen]\nreplay = 'never'\n")
    assert configured({}, tmp_path).settings.replay == "never"
    (tmp_path / "bluegreen.toml").write_text("replay = 'reads'\n")
    assert configured({}, tmp_path).settings.replay == "reads"


def test_a_project_file_without_our_table_is_not_even_parsed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("this is = no TOML [")
    assert configured({}, tmp_path).settings == Settings()


def test_the_environment_names_a_file_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("cache_ttl_s = 61\n")
    assert configured({"BLUEGREEN_CONFIG": str(file)}, "/").settings.cache_ttl_s == 61
    assert refused(tmp_path, {"BLUEGREEN_CONFIG": "/no/such.toml"}) == (
        "BLUEGREEN_CONFIG is '/no/such.toml'; accepted: the path of a file that is there",
    )


def test_every_value_that_is_wrong_is_told_at_once_with_where_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "bluegreen.toml"
    file.write_text("cache_ttl_s = 5\ncolour = 'red'\n")
    findings = refused(tmp_path, {"BLUEGREEN_REPLAY": "always", "BLUEGREEN_SPEED": "9"}, retry_attempts=99)
    assert len(findings) == 5
    assert findings[0].startswith("colour names no setting; accepted: cache_ttl_s, ")
    assert findings[0].endswith(f"(file: {file})")
    assert findings[1].startswith("BLUEGREEN_SPEED names no setting")
    assert findings[2:] == (
        f"cache_ttl_s is 5.0; accepted: 60 to 1800 s (file: {file})",
        "retry_attempts is 99; accepted: 1 to 10 (code)",
        "replay is 'always'; accepted: never, reads (environment: BLUEGREEN_REPLAY)",
    )


@pytest.mark.parametrize("content", [b"replay = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_a_finding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bluegreen.toml").write_bytes(content)
    (finding,) = refused(tmp_path)
    assert str(tmp_path / "bluegreen.toml") in finding


def test_a_manager_without_settings_has_those_that_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bluegreen.toml").write_text("cache_ttl_s = 61\n")
    monkeypatch.chdir(tmp_path)
    assert StrategyManager(SCOPE).settings.cache_ttl_s == 61


# The command.


def shown(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(config, ["show", *arguments])
    return done.exit_code, done.output


def test_the_command_shows_each_value_and_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLUEGREEN_STORE", "redis://user:s3cret@host:6379/0")
    code, text = shown()
    assert code == 0
    assert "cache_ttl_s = 300.0 (default)" in text.splitlines()
    assert "store = redis://***@host:6379/0 (environment: BLUEGREEN_STORE)" in text.splitlines()
    code, text = shown("--json")
    assert json.loads(text)["default_strategy"] == {"value": "none", "from": "default"}
    assert "s3cret" not in text


def test_forms_stand_in_a_file_as_a_list_and_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bluegreen.toml"
    file.write_text("forms = ['transport *: no route', 'answer INTERNAL: status: 456']\n")
    monkeypatch.setenv("BLUEGREEN_CONFIG", str(file))
    expected = f"forms = transport *: no route;; answer INTERNAL: status: 456 (file: {file})"
    assert expected in shown()[1].splitlines()
    file.write_text("forms = []\n")
    assert f"forms = none (file: {file})" in shown()[1].splitlines()
    file.write_text("forms = ['transport', 'answer OK: x']\n")
    code, text = shown()
    assert code == 1
    assert [line.partition(", ")[0] for line in text.splitlines()] == [
        "forms has 'transport'", "forms has 'answer OK: x'",
    ]  # fmt: skip
    assert text.count(f"(file: {file})") == 2


def test_the_command_tells_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLUEGREEN_REPLAY", "always")
    assert shown() == (1, "replay is 'always'; accepted: never, reads (environment: BLUEGREEN_REPLAY)\n")


# At run time.


def test_times_limits_and_the_level_are_changed_at_run_time_and_told() -> None:
    clock, happened = FakeClock(), list[TelemetryEvent]()
    manager = on_blue(StrategyManager(SCOPE, Settings(), clock=clock))
    manager.observe(happened.append)
    manager.reconfigure(cache_ttl_s=60, retry_attempts=5, logging_level="debug")
    assert (manager.settings.cache_ttl_s, manager.settings.retry_attempts) == (60, 5)
    assert manager.snapshot.context.settings is manager.settings
    (told,) = [one for one in happened if isinstance(one, Reconfigured)]
    assert told.changes == {
        "cache_ttl_s": (300.0, 60.0), "retry_attempts": (3, 5), "logging_level": ("INFO", "DEBUG"),
    }  # fmt: skip
    clock.advance(61)
    cluster = Cluster(BLUE)
    manager.end(QueryCompleted(manager.start(cluster.prove)))
    assert cluster.asked == [BLUE]  # the cache has expired by the new time


def test_a_change_of_nothing_is_not_told() -> None:
    happened = list[TelemetryEvent]()
    manager = StrategyManager(SCOPE, Settings())
    manager.observe(happened.append)
    manager.reconfigure(cache_ttl_s=300)
    assert happened == []


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"cache_ttl_s": 5}, "cache_ttl_s is 5.0; accepted: 60 to 1800 s"),
        ({"replay": "never"}, f"replay cannot be changed at run time; accepted: {', '.join(CHANGEABLE)}"),
        ({"colour": 1}, f"colour cannot be changed at run time; accepted: {', '.join(CHANGEABLE)}"),
    ],
)
def test_a_change_that_is_wrong_changes_nothing(changes: dict[str, Any], finding: str) -> None:
    manager = on_blue(StrategyManager(SCOPE, Settings()))
    ticket = query(manager)
    with pytest.raises(SettingsError) as raised:
        manager.reconfigure(retry_attempts=7, **changes)
    assert raised.value.findings == (finding,)
    assert manager.settings == Settings()
    assert manager.end(QueryCompleted(ticket))


def test_the_new_level_holds_for_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    manager = StrategyManager(SCOPE, Settings(logging_level="ERROR"))
    on_blue(manager)
    assert caplog.records == []
    manager.reconfigure(logging_level="INFO")
    assert "settings changed" in caplog.text
