"""How a test engine is set up."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

import attrs

from bluegreen_adapters.testing.engine.phases import Strategy, strategy_of
from bluegreen_adapters.testing.engine.stacks import Problem

REFUSALS: dict[str, Problem] = {
    "unknown": Problem("UNKNOWN", "status: 456", refusal=True),
    "invalid_argument": Problem(
        "INVALID_ARGUMENT", "Wrong strategy. Status: 456. Expected: this, Got: other", refusal=True
    ),
    "unlisted": Problem(
        "UNKNOWN", "This stack is being redeployed (status: 456), try the next one", refusal=True
    ),
}
"""The forms that status 456 takes: the two that are known, and one that no list has."""


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _path(value: str | os.PathLike[str] | None) -> str | None:
    return None if value is None else os.fspath(value)


@attrs.frozen(kw_only=True)
class EngineOptions:
    """How the test engine is set up.

    Args:
        active: the stack that serves at the start.
        user, password: whom authenticate accepts.
        tokens: bearer tokens that authorise calls without a session.
        colliding_ids: both stacks number their queries `q-1`, `q-2`, ..., so that ids of one mean
            something to the other.
        rotate_sessions: every response carries another session id; the last 64 stay valid.
        certificate, key: paths of a certificate chain and of its private key, both PEM: the engine serves TLS.
            Both or neither.
        refusal: form of status 456: `unknown` is UNKNOWN with `status: 456`; `invalid_argument` is
            INVALID_ARGUMENT with `Status: 456` in a longer sentence.
        port: port to listen on at the loopback address; 0 takes a free one.
        max_seconds: the engine ends by itself after so many seconds.

    Raises:
        ValueError: an option is outside of its range.

    >>> EngineOptions(active="green").user
    'user@example.com'
    """

    active: Strategy = attrs.field(default="blue", converter=strategy_of)
    user: str = "user@example.com"
    password: str = "secret"
    tokens: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    colliding_ids: bool = False
    rotate_sessions: bool = False
    certificate: str | None = attrs.field(default=None, converter=_path)
    key: str | None = attrs.field(default=None, converter=_path)
    refusal: Literal["unknown", "invalid_argument"] = attrs.field(
        default="unknown", validator=attrs.validators.in_(tuple(REFUSALS))
    )
    port: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.le(65535)])
    max_seconds: float = attrs.field(default=3600.0, validator=attrs.validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            given, missing = ("key", "certificate") if self.certificate is None else ("certificate", "key")
            raise ValueError(
                f"{given}={getattr(self, given)!r} without a {missing}; accepted: both or neither"
            )
