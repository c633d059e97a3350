"""The settings of a scope: validated values, from code or from the environment."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, cast

import attrs

from bluegreen.config.reply_forms import parse_form
from bluegreen.errors import SettingsError, UnknownStrategy
from bluegreen.types import Strategy, optional_strategy

ENVIRONMENT_PREFIX: Final = "BLUEGREEN_"
CONFIG_VARIABLE: Final = "BLUEGREEN_CONFIG"
"""Names a file of settings, see `bluegreen.config.loader`; it is no setting itself."""

CHANGEABLE: Final = (
    "cache_ttl_s", "retry_attempts", "detection_timeout_s", "logging_level", "drain_timeout_s", "failed_cooldown_s",
    "probe_after_s",
)  # fmt: skip
"""What may be changed at run time: times, limits and the level. The others are part of what was verified of a scope."""

_BETWEEN_FORMS: Final = re.compile(r";;|\n")
"""Separates forms where a setting is text, as in the environment: `;;` or the end of a line."""

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:")

_relaxed: ContextVar[bool] = ContextVar("bluegreen_relaxed_bounds", default=False)


@contextmanager
def relaxed_bounds() -> Generator[None, None, None]:
    """Accept any positive number for every numeric setting while this context is open: for tests only.

    >>> with relaxed_bounds():
    ...     Settings(detection_timeout_s=0.5).detection_timeout_s
    0.5
    """
    token = _relaxed.set(True)
    try:
        yield
    finally:
        _relaxed.reset(token)


def _number(text: Any, kind: Callable[[Any], Any]) -> Any:
    """Turn what the environment holds into a number; leave what is none for the validator to name."""
    if isinstance(text, str):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def _whole(value: Any) -> Any:
    return _number(value, int)


def _seconds(value: Any) -> Any:
    number = _number(value, float)
    if isinstance(number, bool) or not isinstance(number, int):
        return number
    try:
        return float(number)
    except OverflowError:  # an integer beyond every range: the validator names it
        return number


def _strategy(value: Any) -> Any:
    try:
        return optional_strategy(value)
    except UnknownStrategy:
        return value


def _between(default: float, low: float, high: float, unit: str, convert: Callable[[Any], Any]) -> Any:
    return cast(Any, attrs.field)(
        default=default, converter=convert, metadata={"low": low, "high": high, "unit": unit}
    )


def _one_of(default: Any, *choices: Any, convert: Callable[[Any], Any] | None = None) -> Any:
    return cast(Any, attrs.field)(default=default, converter=convert, metadata={"choices": choices})


def _url(default: str) -> Any:
    return cast(Any, attrs.field)(default=default, metadata={"url": "a URL, for example memory:"})


def _several(value: Any) -> Any:
    """Turn a list into a tuple, and text as the environment holds it as well; leave the rest for the validator."""
    if isinstance(value, str):
        return tuple(part.strip() for part in _BETWEEN_FORMS.split(value) if part.strip())
    given: Any = value
    return tuple(given) if isinstance(value, list) else given


def _forms() -> Any:
    return cast(Any, attrs.field)(
        default=(), converter=_several, metadata={"forms": "a list of MEANING CODE: TEXT"}
    )


def without_credentials(text: str) -> str:
    """Return the URL of a store as it may be shown: neither a password nor an option of it.

    >>> without_credentials("redis://user:secret@db.example:6379/0?password=secret")
    'redis://***@db.example:6379/0?***'
    """
    scheme, there, rest = text.partition("://")
    if not there:
        return text
    place, asked, _ = rest.partition("?")
    host, slash, path = place.partition("/")
    _, at, host = host.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{host}{slash}{path}{'?***' if asked else ''}"


def _accepted(rule: Mapping[str, Any]) -> str:
    if "choices" in rule:
        return ", ".join("none" if choice is None else str(choice) for choice in rule["choices"])
    if "url" in rule:
        return str(rule["url"])
    if "forms" in rule:
        return str(rule["forms"])
    return f"{rule['low']:g} to {rule['high']:g}{rule['unit']}"


def _findings(name: str, value: Any, rule: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with `value`."""
    if "forms" not in rule:
        found = _finding(name, value, rule)
        return [] if found is None else [found]
    given: Any = value
    if not isinstance(value, tuple):
        return [f"{name} is {value!r}; accepted: {_accepted(rule)}"]
    return [f"{name} has {form!r}, {why}" for form in given if (why := _wrong(form))]


def _wrong(form: Any) -> str | None:
    """Return what is wrong with a form, or none."""
    if not isinstance(form, str):
        return "which is no text; accepted: MEANING CODE: TEXT"
    try:
        parse_form(form)
    except ValueError as error:
        return str(error)
    return None


def _finding(name: str, value: Any, rule: Mapping[str, Any]) -> str | None:
    """Return what is wrong with `value`, or none."""
    if "url" in rule:
        named = isinstance(value, str) and _SCHEME.match(value)
        return None if named else f"{name} is {value!r}; accepted: {_accepted(rule)}"
    if "choices" in rule:
        if value in rule["choices"]:
            return None
        return f"{name} is {value!r}; accepted: {_accepted(rule)}"
    low, high, unit, allowed = rule["low"], rule["high"], rule["unit"], _accepted(rule)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or (isinstance(value, float) and math.isnan(value)):
        return f"{name} is {value!r}, which is no number; accepted: {allowed}"
    if not unit and not isinstance(value, int):
        return f"{name} is {value!r}, which is no whole number; accepted: {allowed}"
    if _relaxed.get() and 0 < value < float("inf"):
        return None
    return None if low <= value <= high else f"{name} is {value!r}; accepted: {allowed}"


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


@attrs.frozen(kw_only=True, cache_hash=True)
class Settings:
    """The settings of one scope. A value out of its range is an error that names it, never a silent clamp.

    Args:
        cache_ttl_s: how long an adopted strategy is trusted without any proof, 60 to 1800 seconds.
        retry_attempts: how often one request of the application is sent again because of transport errors, over both
            stacks together, 1 to 10.
        detection_timeout_s: how long a call of the application waits at most for a strategy and a session there, 10 to
            120 seconds. The time that its requests take does not count.
        logging_level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        commit_when: `drained`: the pending strategy becomes active once no ticket is open on the old one;
            `first_safe_point`: at the first safe point.
        drain_timeout_s: how long a transition waits for the old strategy's tickets, 1 to 86400 seconds.
        default_strategy: what to fall back to if a detection times out in which it has not refused: none, `blue` or
            `green`.
        replay: `reads`: a query that only reads, and of which the application has no row, is run again when its
            stack vanishes; `never`: nothing is replayed after it was executed.
        failed_cooldown_s: three times, 0.1 to 60 seconds. The longest for which a scope in Failed refuses at once:
            after the first failure it is 50 ms, and it doubles with each further one. The shortest for which a strategy
            that was announced and then refused is held down: it doubles with each refusal in a row, up to 64 times. And
            after how long a connection opens one more session ahead of time, if it has opened a few at once.
        probe_after_s: how long a stack may take to answer a probe, which finds out whether it serves, 0.5 to 60
            seconds.
        forms: replies whose meaning the protocol does not list, each as `MEANING CODE: TEXT`, see `forms`. In the
            environment they are separated by `;;` or by ends of lines.
        store: URL of the store that processes share, see `bluegreen_adapters.stores`; `memory:` shares nothing.

    Raises:
        SettingsError: with one finding for each value that is wrong.

    Source: spec, section 6.

    >>> Settings(cache_ttl_s=60).cache_ttl_s
    60.0
    >>> Settings(cache_ttl_s=5)
    Traceback (most recent call last):
    bluegreen.errors.SettingsError: cache_ttl_s is 5.0; accepted: 60 to 1800 s
    """

    cache_ttl_s: float = _between(300, 60, 1800, " s", _seconds)
    retry_attempts: int = _between(3, 1, 10, "", _whole)
    detection_timeout_s: float = _between(30, 10, 120, " s", _seconds)
    logging_level: str = _one_of("INFO", "DEBUG", "INFO", "WARNING", "ERROR", convert=_upper)
    commit_when: str = _one_of("drained", "drained", "first_safe_point")
    drain_timeout_s: float = _between(3600, 1, 86400, " s", _seconds)
    default_strategy: Strategy | None = _one_of(None, None, Strategy.BLUE, Strategy.GREEN, convert=_strategy)
    replay: str = _one_of("reads", "never", "reads")
    failed_cooldown_s: float = _between(1, 0.1, 60, " s", _seconds)
    probe_after_s: float = _between(2, 0.5, 60, " s", _seconds)
    forms: tuple[str, ...] = _forms()
    store: str = _url("memory:")

    def __attrs_post_init__(self) -> None:
        findings = [
            found
            for field in attrs.fields(Settings)
            for found in _findings(field.name, getattr(self, field.name), field.metadata)
        ]
        if findings:
            raise SettingsError(findings)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read `BLUEGREEN_<NAME>` for every setting; `overrides` win over the environment.

        Args:
            environment: what to read, `os.environ` by default.

        Raises:
            SettingsError: a value is wrong, or a `BLUEGREEN_` variable names no setting.

        >>> Settings.from_environment({"BLUEGREEN_REPLAY": "never"}).replay
        'never'
        """
        source = os.environ if environment is None else environment
        names = {field.name for field in attrs.fields(cls)}
        given = {
            key[len(ENVIRONMENT_PREFIX) :].lower(): value
            for key, value in source.items()
            if key.startswith(ENVIRONMENT_PREFIX) and key != CONFIG_VARIABLE
        }
        known = ", ".join(ENVIRONMENT_PREFIX + name.upper() for name in sorted(names))
        findings = [
            f"{ENVIRONMENT_PREFIX}{name.upper()} names no setting; accepted: {known}"
            for name in sorted(given)
            if name not in names
        ]
        values: dict[str, Any] = {name: value for name, value in given.items() if name in names}
        try:
            settings = cls(**{**values, **overrides})
        except SettingsError as error:
            raise SettingsError([*findings, *error.findings]) from None
        if findings:
            raise SettingsError(findings)
        return settings


def describe() -> list[tuple[str, str, str]]:
    """Return (name, default, accepted) of every setting, for documentation."""
    rows: list[tuple[str, str, str]] = []
    for field in attrs.fields(Settings):
        default = "none" if field.default in (None, ()) else str(field.default)
        rows.append((field.name, default, _accepted(field.metadata)))
    return rows
