"""What can be reached from an object, by the garbage collector's own view, and in which of it a text stands."""

from __future__ import annotations

import asyncio
import gc
import logging
import types
from collections.abc import Iterator
from typing import Any

import attrs
from google.protobuf.message import Message

OUT_OF_BOUNDS = (
    type,
    types.ModuleType,
    types.FrameType,
    types.CodeType,
    logging.Logger,
    logging.Handler,
    asyncio.AbstractEventLoop,
)
"""What leads anywhere: to every module, and to every caller's variables."""

OURS = "bluegreen"
CONNECTOR = "e6data_python_connector"


@attrs.frozen
class Found:
    """An object, and the types of those by which it was reached."""

    value: Any
    path: tuple[str, ...]


def reached(*roots: Any) -> Iterator[Found]:
    """Yield what can be reached from `roots` without crossing an object of the connector, nearest first."""
    waiting = [Found(root, (_name(root),)) for root in roots]
    seen = {id(root) for root in roots}
    for found in waiting:  # it grows
        yield found
        for value in _referents(found.value):
            if id(value) not in seen and not _out_of_bounds(value):
                seen.add(id(value))
                waiting.append(Found(value, (*found.path, _name(value))))


def ours(*roots: Any) -> list[Any]:
    """Return the objects of this library among those."""
    return [found.value for found in reached(*roots) if type(found.value).__module__.startswith(OURS)]


def holding(text: str, *roots: Any) -> list[str]:
    """Return the paths to what holds a text: strings, bytes and messages."""
    return [" > ".join(found.path) for found in reached(*roots) if _holds(found.value, text)]


def _holds(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return text in value
    if isinstance(value, (bytes, bytearray)):
        return text.encode() in value
    return isinstance(value, Message) and text.encode() in value.SerializeToString()


def _referents(value: Any) -> list[Any]:
    if isinstance(value, types.FunctionType):  # without its module's variables
        return [value.__closure__, value.__defaults__, value.__kwdefaults__]
    return gc.get_referents(value)


def _out_of_bounds(value: Any) -> bool:
    if isinstance(value, OUT_OF_BOUNDS):
        return True
    return type(value).__module__.startswith(CONNECTOR) and not isinstance(value, Message)


def _name(value: Any) -> str:
    return type(value).__qualname__
