"""Whether it is told which statement a query runs. It is not, unless the application asks; then as a digest.

A digest tells queries apart and finds those of a statement that is known. It hides no statement that can be guessed.

>>> loggable_statement("SELECT 1") is None
True
>>> tell()
>>> loggable_statement("SELECT 1")
'sha256:e004ebd5b5532a4b85984a62f8ad48a81aa3460c1ca07701f386135d72cdecf5'
>>> tell("text"); loggable_statement("SELECT 1")
'SELECT 1'
>>> tell("nothing")

Source: business logic, "Security Considerations", data_protection.
"""

from __future__ import annotations

import hashlib
from typing import Final

HOW: Final = ("nothing", "digest", "text")

TEXT_LIMIT: Final = 10_000
"""How many characters of a text are told; then it ends with an ellipsis."""

_how = "nothing"


def tell(how: str = "digest") -> None:
    """Tell of each query that begins from now on, in this process, which statement it runs: a `QueryBegun`.

    Args:
        how: `digest`: the SHA-256 of its UTF-8; `text`: what the application sent; `nothing`: no more.

    Raises:
        ValueError: `how` is none of these.
    """
    global _how  # noqa: PLW0603  once for the process
    if how not in HOW:
        raise ValueError(f"how is {how!r}; accepted: {', '.join(HOW)}")
    _how = how


def is_told() -> bool:
    """Whether anything is told of statements."""
    return _how != "nothing"


def loggable_statement(statement: object) -> str | None:
    """Return what may be told of a statement; none: nothing may, or it is no text."""
    if not is_told() or not isinstance(statement, str):
        return None
    if _how == "digest":
        return f"sha256:{hashlib.sha256(statement.encode(errors='surrogatepass')).hexdigest()}"
    return statement if len(statement) <= TEXT_LIMIT else f"{statement[:TEXT_LIMIT]}..."
