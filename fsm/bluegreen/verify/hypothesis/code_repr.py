"""Values as code that can be pasted: what Hypothesis prints of a failing run is to be a program.

>>> from bluegreen.machines.strategy.events import Error456
>>> as_code(Error456("blue", 3))
'Error456(strategy=Strategy.BLUE, state_version=3)'
>>> imports([Error456("blue", 3)])
('from bluegreen.machines.strategy.events import Error456', 'from bluegreen.types import Strategy')
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs

_PLAIN: Final = (str, int, float, type(None))


class CodeRepr:
    """A value that is printed as code."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return as_code(self.value)


def bare(value: Any) -> Any:
    """Return a value that may be shown: what Hypothesis draws is, what was pasted is not."""
    return value.value if isinstance(value, CodeRepr) else value


def as_code(value: Any) -> str:
    """Return an expression for a value: classes of attrs and data classes, enumerations, what Python itself has.

    Fields that have their default are left out. Of anything else it is the `repr`.
    """
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    kind = _kind(value)
    fields = _fields(value)
    if fields is not None:
        inside = ", ".join(f"{name}={as_code(one)}" for name, one in fields.items())
        return f"{type(value).__name__}({inside})"
    if kind is tuple:
        return f"({''.join(f'{as_code(one)}, ' for one in value).strip()})"
    if kind is list:
        return f"[{', '.join(map(as_code, value))}]"
    if kind is dict:
        return f"{{{', '.join(f'{as_code(key)}: {as_code(one)}' for key, one in value.items())}}}"
    return repr(value)


def imports(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the lines that import what the code of `values` names."""
    names: dict[str, set[str]] = {}
    for value in values:
        for cls in _classes(value):
            names.setdefault(cls.__module__, set()).add(cls.__name__)
    return tuple(
        f"from {module} import {', '.join(sorted(found))}"
        for module, found in sorted(names.items())
        if module not in ("builtins", "__main__")
    )


def _fields(value: Any) -> dict[str, Any] | None:
    """The arguments that make the value again, without those that have their default."""
    cls = _kind(value)
    if attrs.has(cls):
        return {
            field.alias or field.name: getattr(value, field.name)
            for field in attrs.fields(cls)
            if field.init and not _is_default(field.default, getattr(value, field.name))
        }
    if dataclasses.is_dataclass(cls):
        return {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(cls)
            if field.init and not _is_default(field.default, getattr(value, field.name))
        }
    return None


def _kind(value: object) -> type[Any]:
    """The class of a value, which stays whatever it is for the type checkers."""
    return type(value)


def _is_default(default: Any, value: Any) -> bool:
    return isinstance(value, _PLAIN) and isinstance(default, _PLAIN) and default == value


def _classes(value: Any) -> Iterator[type[Any]]:
    if isinstance(value, enum.Enum):
        yield type(value)
        return
    kind = _kind(value)
    fields = _fields(value)
    inside: Iterable[Any] = ()
    if fields is not None:
        yield kind
        inside = fields.values()
    elif kind in (tuple, list):
        inside = value
    elif kind is dict:
        inside = (*value, *value.values())
    for one in inside:
        yield from _classes(one)
