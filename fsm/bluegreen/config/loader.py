"""Where settings come from: code, before the environment, before a file, before the default.

The file is what `BLUEGREEN_CONFIG` names, else `bluegreen.toml`, else the table `[tool.bluegreen]` of `pyproject.toml`,
in the working directory. Its keys are the names of settings.

>>> found = configured({"BLUEGREEN_REPLAY": "never"}, folder="/", cache_ttl_s=600)
>>> found.settings.replay, found.origins["replay"], found.origins["cache_ttl_s"], found.origins["store"]
('never', 'environment: BLUEGREEN_REPLAY', 'code', 'default')

Source: spec, section 6; business logic, "Configuration Management".
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from bluegreen.config.settings import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, Settings
from bluegreen.errors import SettingsError

FILE: Final = "bluegreen.toml"
PROJECT: Final = "pyproject.toml"
_TABLE: Final = "[tool.bluegreen]"
_NAMES: Final = tuple(field.name for field in attrs.fields(Settings))


@attrs.frozen
class Configured:
    """Settings, and for each of them where its value comes from."""

    settings: Settings
    origins: Mapping[str, str]


def configured(
    environment: Mapping[str, str] | None = None, folder: str | os.PathLike[str] | None = None, **code: Any
) -> Configured:
    """Return the settings that hold, and where each comes from.

    Args:
        environment: what to read, `os.environ` by default.
        folder: where a file is looked for, the working directory by default.
        code: settings that win over everything.

    Raises:
        SettingsError: with one finding for each value that is wrong and for each name that is none, in whatever source,
            and where that stands.
    """
    environment = os.environ if environment is None else environment
    findings: list[str] = []
    values: dict[str, Any] = {}
    origins = dict.fromkeys(_NAMES, "default")
    for origin, name, value, told in (
        *_of_file(environment, Path(folder or "."), findings),
        *_of_environment(environment),
        *(("code", name, value, name) for name, value in code.items()),
    ):
        if name in origins:
            values[name], origins[name] = value, origin
        else:
            findings.append(f"{told} names no setting; accepted: {', '.join(_NAMES)} ({origin})")
    try:
        settings = Settings(**values)
    except SettingsError as error:
        findings += [f"{one} ({origins[one.split(' ', 1)[0]]})" for one in error.findings]
        raise SettingsError(findings) from None
    if findings:
        raise SettingsError(findings)
    return Configured(settings, origins)


Given = tuple[str, str, Any, str]
"""A value as it was given: where, the name of the setting, the value, and the name as it stands there."""


def _of_environment(environment: Mapping[str, str]) -> list[Given]:
    return [
        (f"environment: {key}", key[len(ENVIRONMENT_PREFIX) :].lower(), value, key)
        for key, value in sorted(environment.items())
        if key.startswith(ENVIRONMENT_PREFIX) and key != CONFIG_VARIABLE
    ]


def _of_file(environment: Mapping[str, str], folder: Path, findings: list[str]) -> list[Given]:
    named = environment.get(CONFIG_VARIABLE)
    for path in [Path(named)] if named else [folder / FILE, folder / PROJECT]:
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            findings.append(f"{path} cannot be read: {error}")
            return []
        if path.name == PROJECT and _TABLE not in text:
            continue
        return [(f"file: {path}", *given) for given in _parsed(path, text, findings)]
    if named:
        findings.append(f"{CONFIG_VARIABLE} is {named!r}; accepted: the path of a file that is there")
    return []


def _parsed(path: Path, text: str, findings: list[str]) -> list[tuple[str, Any, str]]:
    parser = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    if importlib.util.find_spec(parser) is None:
        findings.append(f"{path} cannot be read without {parser}: pip install {parser}")
        return []
    toml = importlib.import_module(parser)
    try:
        table = toml.loads(text)
    except toml.TOMLDecodeError as error:
        findings.append(f"{path} is no TOML: {error}")
        return []
    if path.name == PROJECT:
        table = table["tool"]["bluegreen"]
    return [(name, value, name) for name, value in table.items()]
