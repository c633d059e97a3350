"""Forms of replies: what a reply means whose whole text is known, as a setting adds them to those of a protocol.

A form is written as `MEANING CODE: TEXT`. The code is the name of a gRPC status, or `*` for any.

>>> parse_form("wrong_strategy UNKNOWN: status: 456")
Form(meaning='wrong_strategy', code='UNKNOWN', text='status: 456')

Source: spec, section 8.1.
"""

from __future__ import annotations

from typing import Final

import attrs

MEANINGS: Final = ("wrong_strategy", "session_refused", "unknown_query", "transport", "answer")
"""What a reply can mean:

- `wrong_strategy`: the gateway's refusal of the strategy; the request took no effect.
- `session_refused`: the stack does not accept the session.
- `unknown_query`: the stack does not know the query.
- `transport`: the request may not have got through.
- `answer`: the server's own answer, which goes to the application as it is.
"""

ANY_CODE: Final = "*"

CODES: Final = (
    "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""The names of the gRPC statuses of errors."""


@attrs.frozen
class Form:
    """A reply that is recognised by its whole text.

    Args:
        meaning: one of `MEANINGS`.
        code: one of `CODES`, or `*` for any.
        text: the whole message, without space around it.
    """

    meaning: str
    code: str
    text: str


def parse_form(text: str) -> Form:
    """Return the form that `text` is.

    Raises:
        ValueError: it is none; says why.
    """
    head, separator, message = text.partition(":")
    words = head.split()
    if not separator or len(words) != 2:
        raise ValueError("which is no form; accepted: MEANING CODE: TEXT")
    meaning, code = words
    if meaning not in MEANINGS:
        raise ValueError(f"whose meaning is {meaning!r}; accepted: {', '.join(MEANINGS)}")
    if code != ANY_CODE and code not in CODES:
        raise ValueError(f"whose code is {code!r}; accepted: {ANY_CODE}, {', '.join(CODES)}")
    if not message.strip():
        raise ValueError("which has no text; accepted: the whole message of the reply")
    return Form(meaning, code, message.strip())
