"""What a call says of itself, in a form in which calls of gRPC and of this library can be compared.

Members are listed by introspection of gRPC's own classes: one that a new version brings has no probe here, and the
test that compares it fails.
"""

from __future__ import annotations

import asyncio
import functools
import re
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final

import attrs
import grpc
import grpc.aio

from support.stacks import Message

# Members of a call for threads. Each one is in one of these lists.
IMMEDIATE: Final = (
    "cancelled", "done", "is_active", "running", "time_remaining",
)  # fmt: skip
"""They say how a call is now, and never wait."""
REGISTERING: Final = ("add_callback", "add_done_callback")
"""They want to be told of the end."""
EARLY: Final = ("initial_metadata",)
"""They wait for the server's first word, if the call is a stream."""
FINAL: Final = (
    "code",
    "debug_error_string",
    "details",
    "exception",
    "result",
    "traceback",
    "trailing_metadata",
)
"""They wait for the end."""
STEPPING: Final = ("cancel", "next")
"""They change the call."""

AIO_IMMEDIATE: Final = ("cancelled", "done", "time_remaining")
AIO_REGISTERING: Final = ("add_done_callback",)
AIO_EARLY: Final = ("initial_metadata", "wait_for_connection")
AIO_FINAL: Final = ("code", "debug_error_string", "details", "trailing_metadata")
AIO_STEPPING: Final = ("cancel", "read")


_REMOVED: Final = re.compile(r"Stream removed \((.*)\)")
"""Words that gRPC puts around the details of a call that is ended on this side, depending on who comes first."""


_RAISED: Final = (
    grpc.RpcError, grpc.FutureCancelledError, grpc.FutureTimeoutError, grpc.aio.UsageError, asyncio.CancelledError,
    NotImplementedError, StopIteration,
)  # fmt: skip
"""What a member of a call may raise."""


def members_of(call: Any) -> list[str]:
    """Return the public members of a call, without those that any exception has."""
    return sorted(
        name for name in dir(type(call)) if not name.startswith("_") and not hasattr(BaseException, name)
    )


def described(value: Any, name: str = "") -> Any:
    """Return what a member has returned or raised as a value that can be compared."""
    if isinstance(value, grpc.RpcError):
        return ("RpcError", value.code().name, described(value.details(), "details"))
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, grpc.StatusCode):
        return value.name
    if isinstance(value, Message):
        return value.row
    if isinstance(value, TracebackType):
        return "a traceback"
    if name == "details" and value is not None:
        return _REMOVED.sub(r"\1", value)
    if name == "debug_error_string":  # it tells ports and times
        return "said" if value else "nothing"
    if name == "time_remaining" and value is not None:
        return "some seconds" if value >= 0 else value
    if name.endswith("_metadata"):
        return None if value is None else tuple(pair for pair in tuple(value) if pair[0].startswith("x-"))
    return value


def asked(call: Any, name: str, *arguments: Any) -> Any:
    """Return what a member says."""
    try:
        return described(getattr(call, name)(*arguments), name)
    except _RAISED as error:
        return ("raised", described(error))


@attrs.define
class Told:
    """What callbacks have been told."""

    call: Any
    done: list[bool] = attrs.field(factory=list)
    plain: list[bool] = attrs.field(factory=list)
    is_told: threading.Event = attrs.field(factory=threading.Event)
    accepted: Any = None

    def register(self) -> Told:
        """Register callbacks, as far as the call takes them."""
        self.call.add_done_callback(self._on_done)
        if hasattr(self.call, "add_callback"):
            self.accepted = self.call.add_callback(lambda: self.plain.append(True))
        return self

    def _on_done(self, call: Any) -> None:
        self.done.append(call is self.call and call.done())
        self.is_told.set()

    def facts(self) -> dict[str, Any]:
        return {"told done": self.done, "told": self.plain, "accepted": self.accepted}


def immediate(call: Any, names: Iterable[str] = IMMEDIATE) -> dict[str, Any]:
    """Return what a call says of itself without waiting."""
    return {name: asked(call, name) for name in names if hasattr(call, name)}


class Waiting:
    """Threads that ask a call for what it can only say at its end."""

    def __init__(self, call: Any, names: Iterable[str]) -> None:
        self.answers: dict[str, Any] = {}
        self.threads = [
            threading.Thread(target=self._ask, args=(call, name), daemon=True)
            for name in names
            if hasattr(call, name)
        ]
        for thread in self.threads:
            thread.start()

    def _ask(self, call: Any, name: str) -> None:
        self.answers[name] = asked(call, name)

    def facts(self) -> dict[str, Any]:
        for thread in self.threads:
            thread.join(60)
        return self.answers


def _tell(told: list[Any], call: Any, *arguments: Any) -> None:
    told.append(arguments in ((), (call,)))


def final(call: Any, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a call that has ended says of itself: every member that it has."""
    facts: dict[str, Any] = {}
    for name in members_of(call):
        if name in without:
            continue
        if name in REGISTERING:
            told: list[Any] = []
            facts[name] = (asked(call, name, functools.partial(_tell, told, call)), told)
        else:
            facts[name] = asked(call, name)
    return facts


def without_extras(facts: Any, expected: Any) -> Any:
    """Return facts without those that `expected` does not have: a call of ours may have more members."""
    if isinstance(facts, dict) and isinstance(expected, dict):
        return {
            name: without_extras(fact, expected[name]) for name, fact in facts.items() if name in expected
        }
    return facts


async def aio_asked(call: Any, name: str) -> Any:
    """Return what a member of an asyncio call without arguments says."""
    try:
        value = getattr(call, name)() if name != "await" else call
        if asyncio.iscoroutine(value) or name == "await":
            value = await value
    except _RAISED as error:
        return ("raised", described(error))
    return "EOF" if value is grpc.aio.EOF else described(value, name)


async def aio_final(call: Any, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return what an asyncio call that has ended says of itself: every member that it has."""
    facts: dict[str, Any] = {}
    for name in members_of(call):
        if name in without:
            continue
        if name in AIO_REGISTERING:
            told: list[Any] = []
            call.add_done_callback(lambda given, told=told: told.append(given is call))
            facts[name] = told
        else:
            facts[name] = await aio_asked(call, name)
    if hasattr(call, "__await__"):
        facts["await"] = await aio_asked(call, "await")
    return facts
