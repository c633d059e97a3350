"""Settings are what section 6 of the specification says, and a value out of its range is never used."""

from __future__ import annotations

import math
import pickle
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen.config.settings import ENVIRONMENT_PREFIX, Settings, describe, relaxed_bounds
from bluegreen.errors import BluegreenError, SettingsError
from bluegreen.types import Strategy

DEFAULTS: dict[str, Any] = {
    "cache_ttl_s": 300,
    "retry_attempts": 3,
    "detection_timeout_s": 30,
    "logging_level": "INFO",
    "commit_when": "drained",
    "drain_timeout_s": 3600,
    "default_strategy": None,
    "replay": "reads",
    "failed_cooldown_s": 1,
    "probe_after_s": 2,
}

RANGES: dict[str, tuple[float, float, str]] = {
    "cache_ttl_s": (60, 1800, "60 to 1800 s"),
    "retry_attempts": (1, 10, "1 to 10"),
    "detection_timeout_s": (10, 120, "10 to 120 s"),
    "drain_timeout_s": (1, 86400, "1 to 86400 s"),
    "failed_cooldown_s": (0.1, 60, "0.1 to 60 s"),
    "probe_after_s": (0.5, 60, "0.5 to 60 s"),
}

CHOICES: dict[str, tuple[Any, ...]] = {
    "logging_level": ("DEBUG", "INFO", "WARNING", "ERROR"),
    "commit_when": ("drained", "first_safe_point"),
    "default_strategy": (None, Strategy.BLUE, Strategy.GREEN),
    "replay": ("never", "reads"),
}


def refused(**values: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        Settings(**values)
    return raised.value.findings


def test_there_are_no_other_settings_than_those_of_the_specification() -> None:
    assert [field.name for field in attrs.fields(Settings)] == [*DEFAULTS, "forms", "store"]
    assert {*RANGES, *CHOICES} == set(DEFAULTS)


def test_the_store_is_named_by_a_url() -> None:
    assert Settings(store="lmdb:///run/user/1000/bluegreen").store == "lmdb:///run/user/1000/bluegreen"
    assert refused(store="/run/bluegreen") == (
        "store is '/run/bluegreen'; accepted: a URL, for example memory:",
    )
    assert refused(store=7) == ("store is 7; accepted: a URL, for example memory:",)


REFUSED_BY_PROXY = "wrong_strategy UNAVAILABLE: upstream said: wrong stack (456)"
NO_SESSION = "session_refused *: who are you?"


def test_forms_are_a_list_in_code_and_lines_or_parts_of_text_elsewhere() -> None:
    expected = (REFUSED_BY_PROXY, NO_SESSION)
    assert Settings().forms == ()
    assert Settings(forms=expected).forms == expected
    assert Settings(forms=cast(Any, list(expected))).forms == expected
    for separator in (";;", " ;; ", "\n", "\n\n"):
        environment = {"BLUEGREEN_FORMS": separator.join(expected)}
        assert Settings.from_environment(environment).forms == expected
    assert Settings.from_environment({"BLUEGREEN_FORMS": ""}).forms == ()
    hash(Settings(forms=expected))


def test_every_form_that_is_wrong_is_a_finding() -> None:
    findings = refused(
        forms=(
            "wrong UNKNOWN: x",
            "answer OK: x",
            "answer *:",
            "answer *",
            "transport, *: x y",
            7,
            NO_SESSION,
        ),
        probe_after_s=0,
    )
    assert [finding.partition(" accepted: ")[0] for finding in findings] == [
        "probe_after_s is 0.0;",
        "forms has 'wrong UNKNOWN: x', whose meaning is 'wrong';",
        "forms has 'answer OK: x', whose code is 'OK';",
        "forms has 'answer *:', which has no text;",
        "forms has 'answer *', which is no form;",
        "forms has 'transport, *: x y', whose meaning is 'transport,';",
        "forms has 7, which is no text;",
    ]
    assert "wrong_strategy, session_refused, unknown_query, transport, answer" in findings[1]
    assert "*, CANCELLED, UNKNOWN, " in findings[2]
    assert refused(forms=7) == ("forms is 7; accepted: a list of MEANING CODE: TEXT",)


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_setting_has_the_default_of_the_specification(name: str) -> None:
    assert getattr(Settings(), name) == DEFAULTS[name]


@pytest.mark.parametrize("name", RANGES)
def test_both_ends_of_a_range_are_in_it_and_what_lies_beyond_is_refused_with_its_range(name: str) -> None:
    low, high, told = RANGES[name]
    step: float = 1 if name == "retry_attempts" else 0.001
    for inside in (low, high):
        assert getattr(Settings(**{name: inside}), name) == inside
    for beyond in (low - step, high + step, 0, -low):
        outside = beyond if name == "retry_attempts" else float(beyond)
        assert refused(**{name: outside}) == (f"{name} is {outside!r}; accepted: {told}",)


@pytest.mark.parametrize("name", RANGES)
@given(value=st.floats(allow_nan=False) | st.integers())
def test_a_number_is_either_in_its_range_and_kept_as_it_is_or_refused(name: str, value: float) -> None:
    low, high, _ = RANGES[name]
    fits = low <= value <= high and (name != "retry_attempts" or isinstance(value, int))
    if fits:
        assert getattr(Settings(**{name: value}), name) == value
    else:
        assert len(refused(**{name: value})) == 1


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**400, "soon", "", None, True, [60], b"60"],
    ids=lambda value: repr(value)[:5],
)
def test_what_is_no_number_is_refused_and_named(name: str, value: Any) -> None:
    (finding,) = refused(**{name: value})
    assert finding.startswith(f"{name} is ")
    assert finding.endswith(f"; accepted: {RANGES[name][2]}")


def test_attempts_are_whole() -> None:
    assert refused(retry_attempts=2.5) == (
        "retry_attempts is 2.5, which is no whole number; accepted: 1 to 10",
    )
    assert refused(retry_attempts="2.5") == (
        "retry_attempts is '2.5', which is no number; accepted: 1 to 10",
    )


@pytest.mark.parametrize("name", CHOICES)
def test_each_choice_is_accepted_and_anything_else_is_refused_with_the_choices(name: str) -> None:
    for choice in CHOICES[name]:
        assert getattr(Settings(**{name: choice}), name) == choice
    told = ", ".join("none" if choice is None else str(choice) for choice in CHOICES[name])
    for wrong in ("purple", 7, ["drained"]):
        shown = "PURPLE" if name == "logging_level" and wrong == "purple" else wrong
        assert refused(**{name: wrong}) == (f"{name} is {shown!r}; accepted: {told}",)


def test_a_level_and_a_strategy_may_be_written_in_any_case() -> None:
    assert Settings(logging_level="debug").logging_level == "DEBUG"
    assert Settings(default_strategy="Green").default_strategy is Strategy.GREEN


@pytest.mark.parametrize("nothing", [None, "", "none", "None"])
def test_there_are_words_for_no_default_strategy(nothing: Any) -> None:
    assert Settings(default_strategy=nothing).default_strategy is None


def test_seconds_are_floats_however_they_are_given() -> None:
    for given_as in (60, 60.0, "60", "60.0", " 60 "):
        value = Settings(cache_ttl_s=given_as).cache_ttl_s  # type: ignore[arg-type]
        assert (value, type(value)) == (60.0, float)


def test_all_wrong_values_are_refused_at_once_in_the_order_of_the_settings() -> None:
    findings = refused(
        replay="writes", cache_ttl_s=5, retry_attempts=0, failed_cooldown_s=61, commit_when="now"
    )
    assert findings == (
        "cache_ttl_s is 5.0; accepted: 60 to 1800 s",
        "retry_attempts is 0; accepted: 1 to 10",
        "commit_when is 'now'; accepted: drained, first_safe_point",
        "replay is 'writes'; accepted: never, reads",
        "failed_cooldown_s is 61.0; accepted: 0.1 to 60 s",
    )


def test_a_refusal_is_a_value_error_of_this_library_with_one_line_for_each_finding() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings(cache_ttl_s=5, replay="writes")
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, BluegreenError)
    assert str(raised.value).splitlines() == list(raised.value.findings)


def test_an_unknown_setting_is_an_error_of_the_call() -> None:
    with pytest.raises(TypeError, match="cache_ttl"):
        Settings(cache_ttl=60)  # type: ignore[call-arg]


def test_settings_are_values() -> None:
    one, same, other = Settings(cache_ttl_s=60), Settings(cache_ttl_s="60"), Settings()  # type: ignore[arg-type]
    assert one == same != other
    assert hash(one) == hash(same)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.cache_ttl_s = 70  # type: ignore[misc]
    with pytest.raises(SettingsError):
        attrs.evolve(one, cache_ttl_s=1)


def test_settings_survive_pickling() -> None:
    settings = Settings(default_strategy=Strategy.GREEN)
    assert hash(settings) == hash(pickle.loads(pickle.dumps(settings)))
    assert pickle.loads(pickle.dumps(settings)) == settings


# Environment.


def test_every_setting_can_come_from_the_environment() -> None:
    environment = {
        "BLUEGREEN_CACHE_TTL_S": "120",
        "BLUEGREEN_RETRY_ATTEMPTS": "5",
        "BLUEGREEN_DETECTION_TIMEOUT_S": "12.5",
        "BLUEGREEN_LOGGING_LEVEL": "warning",
        "BLUEGREEN_COMMIT_WHEN": "first_safe_point",
        "BLUEGREEN_DRAIN_TIMEOUT_S": "60",
        "BLUEGREEN_DEFAULT_STRATEGY": "GREEN",
        "BLUEGREEN_REPLAY": "never",
        "BLUEGREEN_FAILED_COOLDOWN_S": "0.5",
        "BLUEGREEN_PROBE_AFTER_S": "0.75",
        "PATH": "/bin",
    }
    assert Settings.from_environment(environment) == Settings(
        cache_ttl_s=120,
        retry_attempts=5,
        detection_timeout_s=12.5,
        logging_level="WARNING",
        commit_when="first_safe_point",
        drain_timeout_s=60,
        default_strategy=Strategy.GREEN,
        replay="never",
        failed_cooldown_s=0.5,
        probe_after_s=0.75,
    )
    assert {name for name in environment if name.startswith(ENVIRONMENT_PREFIX)} == {
        ENVIRONMENT_PREFIX + name.upper() for name in DEFAULTS
    }


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLUEGREEN_CACHE_TTL_S", "77")
    assert Settings.from_environment().cache_ttl_s == 77


def test_an_empty_environment_means_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_what_is_given_in_code_wins_over_the_environment() -> None:
    settings = Settings.from_environment({"BLUEGREEN_CACHE_TTL_S": "120"}, cache_ttl_s=60)
    assert settings.cache_ttl_s == 60


def test_a_variable_that_names_no_setting_is_refused_together_with_every_wrong_value() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment(
            {
                "BLUEGREEN_CACHE_TTL": "60",
                "BLUEGREEN_TYPO": "1",
                "BLUEGREEN_REPLAY": "writes",
                "BLUEGREEN_CACHE_TTL_S": "x",
            }
        )
    findings = raised.value.findings
    assert [finding.partition(" ")[0] for finding in findings] == [
        "BLUEGREEN_CACHE_TTL",
        "BLUEGREEN_TYPO",
        "cache_ttl_s",
        "replay",
    ]
    assert "BLUEGREEN_CACHE_TTL_S" in findings[0].partition("accepted: ")[2]


def test_a_variable_that_names_no_setting_is_refused_when_all_values_are_right() -> None:
    with pytest.raises(
        SettingsError, match=r"^BLUEGREEN_TYPO names no setting; accepted: BLUEGREEN_CACHE_TTL_S, "
    ):
        Settings.from_environment({"BLUEGREEN_TYPO": "1", "BLUEGREEN_REPLAY": "never"})


# Test mode.


def test_test_mode_accepts_any_positive_number_and_nothing_else() -> None:
    with relaxed_bounds():
        settings = Settings(
            cache_ttl_s=0.01, retry_attempts=1000, detection_timeout_s=1e9, failed_cooldown_s=1e-9
        )
        assert (settings.cache_ttl_s, settings.retry_attempts) == (0.01, 1000)
        for wrong in (0, -1, math.inf, math.nan, "x"):
            assert len(refused(cache_ttl_s=wrong)) == 1
        assert len(refused(retry_attempts=1.5)) == 1
        assert len(refused(replay="writes")) == 1


def test_test_mode_ends_with_its_block_even_if_that_raises() -> None:
    with pytest.raises(ZeroDivisionError), relaxed_bounds():
        raise ZeroDivisionError
    assert len(refused(cache_ttl_s=1)) == 1


def test_test_mode_can_be_nested() -> None:
    with relaxed_bounds():
        with relaxed_bounds():
            pass
        assert Settings(cache_ttl_s=1).cache_ttl_s == 1
    assert len(refused(cache_ttl_s=1)) == 1


def test_the_description_for_the_documentation_is_that_of_the_specification() -> None:
    assert describe() == [
        ("cache_ttl_s", "300", "60 to 1800 s"),
        ("retry_attempts", "3", "1 to 10"),
        ("detection_timeout_s", "30", "10 to 120 s"),
        ("logging_level", "INFO", "DEBUG, INFO, WARNING, ERROR"),
        ("commit_when", "drained", "drained, first_safe_point"),
        ("drain_timeout_s", "3600", "1 to 86400 s"),
        ("default_strategy", "none", "none, blue, green"),
        ("replay", "reads", "never, reads"),
        ("failed_cooldown_s", "1", "0.1 to 60 s"),
        ("probe_after_s", "2", "0.5 to 60 s"),
        ("forms", "none", "a list of MEANING CODE: TEXT"),
        ("store", "memory:", "a URL, for example memory:"),
    ]
