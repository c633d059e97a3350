"""The little SQL that the test engine understands.

Any text is a statement. It writes, unless it provably reads. A hint in a comment steers it, e.g.
`SELECT 1 /*+ rows(10) batch(4) sleep_ms(20) */`.
"""

from __future__ import annotations

import functools
import re

import attrs

_COMMENT_OR_STRING = re.compile(r"/\*.*?\*/|--[^\n]*|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", re.DOTALL)
_HINTS = re.compile(r"/\*\+(.*?)\*/", re.DOTALL)
_HINT = re.compile(r"(\w+)\s*\(([^)]*)\)")
_FIRST_WORD = re.compile(r"[\s(]*([A-Za-z]+)")
_WRITING_WORD = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|CREATE|DROP|ALTER|TRUNCATE)\b", re.IGNORECASE)

READS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN"})
"""First words of statements that read."""

DEFAULT_ROWS = 3
MAX_ROWS = 1_000_000


@attrs.frozen
class ParsedStatement:
    """A statement and what it will do.

    Args:
        text: the text as it was prepared.
        writes: whether it has an effect that happens again when it is executed again.
        rows: how many rows it yields; a write yields none.
        batch: rows per batch, at least 1.
        sleep_s: seconds that its execution takes.
        fails: message of the error that its execution ends with, or none.
    """

    text: str
    writes: bool
    rows: int
    batch: int
    sleep_s: float = 0.0
    fails: str | None = None

    @property
    def batches(self) -> int:
        """How many batches have rows in them.

        >>> parse("SELECT 1 /*+ rows(10) batch(4) */").batches
        3
        """
        return -(-self.rows // self.batch)

    def batch_range(self, number: int) -> range:
        """The values of column `n` in batch `number`, from 0; empty behind the last one.

        >>> parse("SELECT 1 /*+ rows(10) batch(4) */").batch_range(2)
        range(8, 10)
        """
        start = min(number * self.batch, self.rows)
        return range(start, min(start + self.batch, self.rows))


def writes(text: str) -> bool:
    """Whether a statement with this text writes.

    Comments and quoted text are skipped. `WITH` and `EXPLAIN` read only if no writing word follows.

    >>> writes("-- a note\\n select 'INSERT'"), writes("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x")
    (False, True)
    """
    bare = _COMMENT_OR_STRING.sub(" ", text)
    word = _FIRST_WORD.match(bare)
    if word is None:
        return True
    first = word.group(1).upper()
    if first not in READS:
        return True
    if first == "EXPLAIN" and not re.match(r"\s*EXPLAIN\s+ANALY[SZ]E\b", bare, re.IGNORECASE):
        return False
    return first in ("WITH", "EXPLAIN") and _WRITING_WORD.search(bare) is not None


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> ParsedStatement:
    """Return what a statement with this text will do.

    Raises:
        ValueError: a hint has a value that is no number, or one outside of its range.

    >>> statement = parse("SELECT 1 /*+ rows(10) batch(4) sleep_ms(20) */")
    >>> statement.writes, statement.rows, statement.batch, statement.sleep_s, statement.fails
    (False, 10, 4, 0.02, None)
    """
    hints: dict[str, str] = {}
    for block in _HINTS.findall(text):
        hints.update((name.lower(), value.strip()) for name, value in _HINT.findall(block))
    writing = writes(text)
    rows = 0 if writing else _number(hints, "rows", DEFAULT_ROWS, 0, MAX_ROWS)
    return ParsedStatement(
        text=text,
        writes=writing,
        rows=rows,
        batch=_number(hints, "batch", max(rows, 1), 1, MAX_ROWS),
        sleep_s=_number(hints, "sleep_ms", 0, 0, 3_600_000) / 1000,
        fails=hints.get("fail"),
    )


def _number(hints: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    given = hints.get(name)
    if given is None:
        return default
    if not given.isdigit() or not low <= int(given) <= high:
        raise ValueError(f"hint {name}({given}): accepted is a number from {low} to {high}")
    return int(given)
