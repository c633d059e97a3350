"""Classifier that decides whether an SQL statement only reads. What it cannot prove to be a read can write.

To take a read for a write costs a replay. The opposite costs data. So a statement must pass each of these checks:

1. **Size**: at most 64 KiB. The check looks at nothing but the length.
2. **Lexemes**: `_Scan` cuts the text into words, quoted text, numbers and signs, and refuses what two engines cut
   differently. Otherwise a server could run what this module takes for a comment or a string. Each name before
   an opening parenthesis must be on a list, and no word outside quotes may be on the list of writing words.
3. **Form**: `SHOW`, `DESCRIBE` and `EXPLAIN` follow prefix rules. The rest of an `EXPLAIN` goes on as a statement.
4. **Tree**: sqlglot must parse all of the text as one `SELECT` or `VALUES`, or as set operations of them. Each
   node's class and each function must be on a list of `sql_allowlist.py`. Intos, locks, hints and writing CTEs are
   on none.

Checks 2 and 4 are independent of each other: a fault of the parser, or a wrong dialect, is not enough for a
write to pass.

The text alone cannot show that a view, a column or an operator calls a function that writes. Such a statement passes.

This module is pure. It imports sqlglot when `SqlClassifier.preload` or the first statement needs it; that takes a
fraction of a second, so call `preload` when a connection is made.

>>> only_reads("SELECT count(*) FROM orders WHERE day > current_date - INTERVAL '7' DAY")
True
>>> only_reads("SELECT charge_card(1)"), only_reads("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x")
(False, False)
"""

from __future__ import annotations

import enum
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from bluegreen_adapters.sql.allowlist import (
    FUNCTIONS,
    NODES,
    SEQUENCE_COLUMNS,
    SYNTAX,
    TABLE_FUNCTIONS,
    TABLE_NODES,
    TYPE_WORDS,
    WRITING_WORDS,
)

if TYPE_CHECKING:
    from sqlglot.dialects.dialect import Dialect

MAX_BYTES: Final = 64 * 1024
"""Length of the longest statement that is looked at, in bytes of UTF-8."""

MAX_DEPTH: Final = 48
"""How deep brackets may nest. The parser recurses, and the stack of the calling thread has an end."""

MAX_WORK: Final = 60_000
"""How many lexemes the parser may visit. After the name of a type it reads what is in brackets as a type, and
then once more
as a value. So each such bracket doubles the visits, and `ARRAY[ARRAY[ARRAY[...` would take hours.
"""

E6DATA_DIALECT: Final = "trino"
"""sqlglot's dialect that is closest to e6data's SQL.

sqlglot has none for e6data. Like Trino's, its strings have single quotes, its identifiers double quotes, and
its functions are
mostly Trino's. Spark's dialect would take `"a"` for a string. Where e6data differs (`//` begins a comment, a
backslash
escapes a quote), the scan refuses the text, whatever the dialect.
"""

ENGINE_HINTS: Final = frozenset({"rows", "batch", "sleep_ms", "fail"})
"""Hints of the test engine in `bluegreen_adapters.testing.engine`. They say how an answer comes, and mean nothing to a
database."""


def _lowered(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


_NO_NAMES: Final[frozenset[str]] = frozenset()


@attrs.frozen
class SqlClassifier:
    """Decides for statements of one SQL dialect whether they only read. Threads may share an instance.

    Args:
        dialect: sqlglot's name of the dialect.
        pure_functions: names of functions of your own that only compute. Case does not matter.
        harmless_hints: names of hints that may stand in a comment like `/*+ rows(4) batch(2) */`. A hint with
        any other
            name means that the statement can write.

    >>> SqlClassifier("spark").only_reads("SELECT `a`, tax(b) FROM t")
    False
    >>> SqlClassifier("spark", pure_functions=["tax"]).only_reads("SELECT `a`, tax(b) FROM t")
    True
    """

    dialect: str = E6DATA_DIALECT
    pure_functions: frozenset[str] = attrs.field(default=_NO_NAMES, converter=_lowered)
    harmless_hints: frozenset[str] = attrs.field(default=_NO_NAMES, converter=_lowered)

    def preload(self) -> None:
        """Import the parser and parse one small statement, so that the first real one does not wait for that.

        Raises:
            ImportError: sqlglot is not installed.
            ValueError: sqlglot has no dialect of this name.
        """
        _parse("SELECT 1", _load(self.dialect))

    def only_reads(self, statement: str) -> bool:
        """Return True if `statement` provably only reads.

        Raises:
            ImportError: sqlglot is not installed.
            ValueError: sqlglot has no dialect of this name.
        """
        # The number of characters comes first: it costs the same for 5 MB as for 5 bytes.
        if len(statement) > MAX_BYTES:
            return False
        try:
            if len(statement.encode()) > MAX_BYTES:
                return False
            scan = _Scan(statement, self.harmless_hints)
            return self._has_reading_form(scan)
        except (_CanWrite, UnicodeEncodeError):
            return False

    __call__ = only_reads

    def _has_reading_form(self, scan: _Scan) -> bool:
        first = scan.lexemes[0].lower if scan.lexemes else ""
        if first == "show":
            return scan.is_plain and _is_show(scan.lexemes)
        if first in ("describe", "desc"):
            if _explained(scan.lexemes) is None:
                return scan.is_plain and _is_describe(scan.lexemes)
            first = "explain"
        if first == "explain":
            rest = _explained(scan.lexemes)
            return rest is not None and self._is_query(scan, rest)
        return self._is_query(scan, 0)

    def _is_query(self, scan: _Scan, start: int) -> bool:
        """Return True if the lexemes from number `start` on are one query that only reads."""
        lexemes = scan.lexemes[start:]
        if not lexemes or lexemes[0].lower not in _QUERY_STARTS:
            return False
        # Names that call nothing and stand before a parenthesis all the same: `AS t (a, b)`. The tree confirms them.
        named = _check_words(lexemes, self.pure_functions)
        tree = _parse(scan.text_from(lexemes[0]), _load(self.dialect))
        if tree is None or type(tree).__name__ not in _QUERIES:
            return False
        return named <= _check_tree(tree, FUNCTIONS | self.pure_functions)


class _CanWrite(Exception):
    """The statement is not provably a read. Never leaves this module."""


# 1. Lexemes.


@attrs.frozen
class _Lexeme:
    """A piece of a statement: a word, a number, quoted text or one sign."""

    kind: str
    text: str
    start: int

    @property
    def lower(self) -> str:
        """The text in lower case; quoted text is never equal to a word, since it has its quotes."""
        return self.text.lower()


# Each alternative begins with characters of its own and repeats one class, so the scan is linear. A line of ASCII is
# meant by every class: Java upper-cases the letters U+0131 and U+017F to I and S, so an engine can read INTO in them.
_LEXEME: Final = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_$]))
    | (?P<quote>['"`])
    | (?P<comment>--|/\*)
    | (?P<sign>[()\[\],.+\-*/%<>=!|&^~?:;])
    """,
    re.VERBOSE,
)

# Characters that an engine may take for the end of the text, or of a line.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_END: Final = re.compile(r"[\r\x85\u2028\u2029]")
_HINTS: Final = re.compile(r"(?:\s*([A-Za-z_]+)\s*\([^()]*\))+\s*")
_HINT_NAME: Final = re.compile(r"([A-Za-z_]+)\s*\(")

_LITERAL_PREFIXES: Final = frozenset({"b", "date", "e", "n", "r", "time", "timestamp", "x"})
"""Words that may touch the quote of a string: `DATE'2026-01-01'`. Oracle's `q` and the standard's `U&` change
what ends it."""

_OPENING: Final = {"(": ")", "[": "]"}
_ENDS: Final = {"end": "case", "on": "join", "using": "join"}
_PREFIXES: Final = frozenset(
    {"+", "-", "~", "not", "distinct", "interval", "date", "prior", "binary", "case", "when", "->"}
)
_NOTHING: Final = _Lexeme("", "", 0)


class _Scan:
    """A statement cut into lexemes, in time linear in its length.

    Raises:
        _CanWrite: engines differ in how they read the text, or a comment can be executed.
    """

    def __init__(self, text: str, harmless_hints: frozenset[str]) -> None:
        self.lexemes: list[_Lexeme] = []
        # The text with spaces instead of comments: the parser sees what this scan saw.
        self._parts: list[str] = []
        self._hints = harmless_hints
        self._has_comments = False
        self._has_semicolon = False
        # Three quotes in a row begin another kind of string in BigQuery, and end none in the others.
        if _CONTROL.search(text) or "'''" in text or '"""' in text:
            raise _CanWrite
        self._cut(text)
        self._check_nesting()
        self._has_line_ends = "\n" in text.strip() or "\r" in text.strip()

    @property
    def is_plain(self) -> bool:
        """True if the statement is one line without comments and semicolon."""
        return not (self._has_comments or self._has_semicolon or self._has_line_ends)

    def text_from(self, lexeme: _Lexeme) -> str:
        """Return the text from a lexeme on, without comments and without the semicolon at the end."""
        return "".join(self._parts)[lexeme.start :]

    def _cut(self, text: str) -> None:
        position = 0
        while position < len(text):
            match = _LEXEME.match(text, position)
            if match is None:  # also `@`, `#`, `$`, `{`, `\` and every letter that is not ASCII
                raise _CanWrite
            kind = match.lastgroup or ""
            end = match.end()
            if kind == "quote":
                end = _end_of_quoted(text, position)
                self._check_prefix(text, position)
            elif kind == "comment":
                end = self._end_of_comment(text, position)
            elif match.group() == ";":
                # One semicolon may end the statement. Behind it there is nothing, not even a comment.
                if text[end:].strip(" \t\r\n"):
                    raise _CanWrite
                self._has_semicolon = True
                return
            piece = text[position:end]
            if kind == "comment":
                # A space for each character, so that positions stay what they were.
                piece = " " * len(piece)
            elif kind != "space":
                self.lexemes.append(_Lexeme(kind, piece, position))
            self._parts.append(piece)
            position = end

    def _check_prefix(self, text: str, position: int) -> None:
        before = text[position - 1 : position]
        if before == "&":
            raise _CanWrite
        # The word or number that touches the quote is the last lexeme.
        if (before.isalnum() or before in ("_", "$")) and before:
            last = self.lexemes[-1]
            if last.lower not in _LITERAL_PREFIXES:
                raise _CanWrite

    def _end_of_comment(self, text: str, start: int) -> int:
        self._has_comments = True
        if text.startswith("--", start):
            # Without a space behind it, MySQL reads `1--f()` as a difference, and Oracle reads `--+` as a hint.
            if text[start + 2 : start + 3] not in ("", " ", "\t", "\n", "\r", "-"):
                raise _CanWrite
            end = text.find("\n", start)
            end = len(text) if end < 0 else end
            body = text[start:end]
            if body.startswith("---") and body.strip("-").strip():
                raise _CanWrite
            # Spark goes on with the comment after a backslash. Others end it at signs that are no line feed.
            if _LINE_END.search(body.removesuffix("\r")) or body.rstrip("\r").endswith("\\"):
                raise _CanWrite
            return end
        end = text.find("*/", start + 2)
        body = text[start + 2 : end]
        # Some engines nest comments, and some do not.
        if end < 0 or "/*" in body:
            raise _CanWrite
        if body.startswith("+"):
            self._check_hints(body[1:])
        # `/*!` and `/*M!` hold code; a sign of any other kind may mean something to somebody.
        elif body[:2].lower() == "m!" or not (
            body[:1] in ("", "*", "-", "=", "_") or body[0].isspace() or body[0].isalnum()
        ):
            raise _CanWrite
        return end + 2

    def _check_hints(self, body: str) -> None:
        if (
            not _HINTS.fullmatch(body)
            or not {name.lower() for name in _HINT_NAME.findall(body)} <= self._hints
        ):
            raise _CanWrite

    def _check_nesting(self) -> None:
        """Refuse brackets that do not match, and what would take the parser too much time or stack."""
        expected: list[str] = []  # what closes each open bracket
        doubled: list[bool] = []  # for each of them: the parser reads its contents twice
        work, prefixes = 0, 0
        unended = {"case": 0, "join": 0}  # expressions and joins that nest without brackets
        before = _NOTHING
        for lexeme in self.lexemes:
            word = lexeme.lower
            if word in _OPENING:
                expected.append(_OPENING[word])
                doubled.append(before.lower in TYPE_WORDS)
            elif word in (")", "]"):
                if not expected or expected.pop() != word:
                    raise _CanWrite
                doubled.pop()
            if word in unended:
                unended[word] += 1
            elif word in _ENDS and unended[_ENDS[word]]:
                unended[_ENDS[word]] -= 1
            prefixes = prefixes + 1 if word in _PREFIXES else 0
            work += 1 << sum(doubled)
            if max(len(expected) + sum(unended.values()), prefixes) > MAX_DEPTH or work > MAX_WORK:
                raise _CanWrite
            before = lexeme
        if expected:
            raise _CanWrite


def _end_of_quoted(text: str, start: int) -> int:
    """Return the position behind the quoted text that begins at `start`. A doubled quote stands for one."""
    quote = text[start]
    position = start + 1
    while True:
        end = text.find(quote, position)
        # In some engines a backslash escapes the quote, in others it does not.
        if end < 0 or text[end - 1] == "\\":
            raise _CanWrite
        if text[end + 1 : end + 2] != quote:
            return end + 1
        position = end + 2


def _check_words(lexemes: Sequence[_Lexeme], pure_functions: frozenset[str]) -> set[str]:
    """Refuse writing words and calls of unknown functions. Return the names that only the tree can explain."""
    named: set[str] = set()
    for before, lexeme, after in zip((_NOTHING, *lexemes), lexemes, (*lexemes[1:], _NOTHING), strict=False):
        calls = after.text == "("
        if lexeme.kind == "word":
            word = lexeme.lower
            is_known = calls and (word in FUNCTIONS or word in SYNTAX or word in pure_functions)
            is_qualified = before.text == "."
            if is_known and not is_qualified:
                pass
            # A qualified name is never a built-in function: `pay.lower(1)`.
            elif (
                (calls and is_qualified)
                or word in SEQUENCE_COLUMNS
                or (word in WRITING_WORDS and not is_qualified)
            ):
                raise _CanWrite
            elif calls:
                named.add(word)
            # `TRANSFORM (...) USING 'command'` runs the command on the servers of Hive and Spark.
            if word == "using" and after.kind == "quote":
                raise _CanWrite
        elif (
            (lexeme.kind == "quote" and lexeme.lower[1:-1] in SEQUENCE_COLUMNS and lexeme.text[0] != "'")
            or (calls and (lexeme.kind != "sign" or lexeme.text in (")", "]")))
            or (lexeme.text + after.text in (":=", "//") and lexeme.start + 1 == after.start)
        ):
            raise _CanWrite
    return named


# 2. Forms that are no queries.

_QUERY_STARTS: Final = frozenset({"select", "with", "values", "("})
_EXPLAIN_WORDS: Final = frozenset({"codegen", "cost", "extended", "formatted", "logical", "verbose"})
_EXPLAIN_OPTIONS: Final = frozenset(
    [
        ",",
        "costs",
        "distributed",
        "false",
        "format",
        "generic_plan",
        "graphviz",
        "io",
        "json",
        "logical",
        "off",
        "on",
        "settings",
        "summary",
        "text",
        "true",
        "type",
        "validate",
        "verbose",
        "xml",
        "yaml",
    ]
)
_EXPLAIN_FORMATS: Final = frozenset({"json", "tabular", "text", "traditional", "tree"})

_DESCRIBED: Final = frozenset(
    [
        "catalog",
        "database",
        "detail",
        "extended",
        "formatted",
        "function",
        "history",
        "input",
        "namespace",
        "output",
        "schema",
        "table",
        "view",
    ]
)
_SHOWN: Final = frozenset(
    [
        "all",
        "catalogs",
        "columns",
        "create",
        "current",
        "databases",
        "external",
        "fields",
        "functions",
        "grants",
        "index",
        "indexes",
        "keys",
        "materialized",
        "namespaces",
        "partitions",
        "role",
        "roles",
        "schemas",
        "session",
        "stats",
        "tables",
        "tblproperties",
        "terse",
        "user",
        "users",
        "views",
        "warehouses",
    ]
)


def _explained(lexemes: Sequence[_Lexeme]) -> int | None:
    """Return the number of the lexeme at which the statement behind `EXPLAIN` or `DESCRIBE` begins; None if
    there is none.

    The options before it are on lists. None of them makes the server run the statement, as `ANALYZE` does.
    """
    words = [lexeme.lower for lexeme in lexemes]
    position = 1
    if words[0] != "explain":
        position += words[1:2] == ["query"]
    elif words[1:2] == ["("] and words[2:3] and words[2] not in _QUERY_STARTS:
        end = words.index(")")
        if not _EXPLAIN_OPTIONS.issuperset(words[2:end]):
            return None
        position = end + 1
    else:
        while words[position : position + 1] and words[position] in _EXPLAIN_WORDS:
            position += 1
        if words[position : position + 2] == ["format", "="] and _EXPLAIN_FORMATS.issuperset(
            words[position + 2 :][:1]
        ):
            position += 3
        elif words[position : position + 1] == ["using"] and _EXPLAIN_FORMATS.issuperset(
            words[position + 1 :][:1]
        ):
            position += 2
    return position if words[position : position + 1] and words[position] in _QUERY_STARTS else None


def _is_show(lexemes: Sequence[_Lexeme]) -> bool:
    """Return True for `SHOW`, a thing that can be shown, and then only names, strings and dots."""
    if len(lexemes) < 2 or lexemes[1].lower not in _SHOWN:
        return False
    return all(
        lexeme.kind == "quote"
        or lexeme.text == "."
        or (lexeme.kind == "word" and lexeme.lower not in WRITING_WORDS)
        for lexeme in lexemes[2:]
    )


def _is_describe(lexemes: Sequence[_Lexeme]) -> bool:
    """Return True for `DESCRIBE`, words that say what is described, and one name, which may have dots."""
    position = 1
    while (
        position < len(lexemes) - 1
        and lexemes[position].lower in _DESCRIBED
        and lexemes[position + 1].text != "."
    ):
        position += 1
    name = lexemes[position:]
    return len(name) % 2 == 1 and all(
        lexeme.text == "."
        if number % 2
        else lexeme.kind == "quote" or (lexeme.kind == "word" and lexeme.lower not in WRITING_WORDS)
        for number, lexeme in enumerate(name)
    )


# 3. The tree.

_QUERIES: Final = frozenset({"Except", "Intersect", "Select", "Subquery", "Union", "Values"})
_LOGGER: Final = logging.getLogger("sqlglot")


class _Silence(logging.Filter):
    """Filter that drops what the parser logs while this module uses it: its messages show parts of statements.

    It goes by thread, so what the application itself does with sqlglot in other threads is logged as before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  logging calls it
        """Return False, so that the record is dropped, in a thread that is inside `_parse`."""
        return not getattr(self.here, "is_parsing", False)


_SILENCE: Final = _Silence()


def _load(dialect: str) -> Dialect:
    try:
        from sqlglot.dialects.dialect import Dialect
    except ImportError as error:
        raise ImportError(
            "sqlglot is required to decide whether a statement only reads: pip install 'bluegreen[grpc]'"
        ) from error
    return Dialect.get_or_raise(dialect)


def _parse(text: str, dialect: Dialect) -> Any:
    """Return the tree of the one statement in `text`; None if the parser takes it for anything else."""
    from sqlglot.errors import ErrorLevel, SqlglotError

    # Adding a filter twice has no effect. It is done each time since an application can remove it.
    _LOGGER.addFilter(_SILENCE)
    _SILENCE.here.is_parsing = True
    try:
        trees = dialect.parse(text, error_level=ErrorLevel.IMMEDIATE)
    # The only wide `except` of the adapters. The parser promises SqlglotError, and on odd text raises what its code
    # happens to run into: RecursionError (a RuntimeError) for deep nesting, AttributeError, TypeError,
    # LookupError and
    # ValueError for missing parts and odd numbers. A bug of the parser makes the statement one that can write.
    except (
        SqlglotError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ):
        return None
    finally:
        _SILENCE.here.is_parsing = False
    return trees[0] if len(trees) == 1 else None


def _check_tree(tree: Any, functions: frozenset[str]) -> set[str]:
    """Refuse a tree with a node that is on no list. Return the names of its tables' aliases that have columns."""
    import sqlglot

    # The names are re-exported in a way that type checkers do not follow.
    exp: Any = sqlglot.exp  # pyright: ignore[reportPrivateImportUsage]

    aliases: set[str] = set()
    for node in _walk(tree, exp.Expression):
        name = type(node).__name__
        if name not in NODES:
            raise _CanWrite
        if name == "Identifier":
            if node.name.lower() in SEQUENCE_COLUMNS:
                raise _CanWrite
        elif name == "Anonymous":
            _check_call(node, functions)
        elif name in ("Table", "Lateral"):
            _check_source(node.this)
        elif name == "TableAlias" and node.args.get("columns"):
            # `FROM t f(1)`: the parser takes even a number for a column's name.
            if not all(_names_column(column) for column in node.args["columns"]):
                raise _CanWrite
            aliases.add(node.name.lower())
        # A function of a schema, or of an object: `pay.lower(1)`.
        elif name == "Dot" and isinstance(node.expression, exp.Func):
            raise _CanWrite
        # The input function of a type that somebody has defined can do anything.
        if name == "DataType" and getattr(node.this, "name", "") == "USERDEFINED":
            raise _CanWrite
    return aliases


def _walk(tree: Any, node_type: Any) -> Iterator[Any]:
    """Yield all nodes of a tree. Refuse a node with an argument that this function does not look into.

    It keeps its own stack, since trees can be deeper than Python recurses.
    """
    values: list[Any] = [tree]
    while values:
        value = values.pop()
        if isinstance(value, node_type):
            yield value
            values.extend(value.args.values())
        elif isinstance(value, (list, tuple)):
            values.extend(cast("Sequence[Any]", value))
        elif value is not None and not isinstance(value, (str, int, float, enum.Enum)):
            raise _CanWrite


def _names_column(column: Any) -> bool:
    return type(column).__name__ in ("ColumnDef", "Identifier") and not column.name[:1].isdigit()


def _check_call(node: Any, functions: frozenset[str]) -> None:
    """Refuse the call of a function without a class, unless its name is on the list. `TABLE(...)` goes by what
    is in it."""
    if not isinstance(node.this, str):
        raise _CanWrite
    if node.this.lower() == "table":
        for argument in node.expressions:
            _check_source(argument)
    elif node.this.lower() not in functions:
        raise _CanWrite


def _check_source(source: Any) -> None:
    """Refuse what stands after `FROM` or `LATERAL` if it is neither a name, nor a query, nor a table function
    on a list."""
    name = type(source).__name__
    if name == "Anonymous":
        if str(source.this).lower() not in TABLE_FUNCTIONS | {"table"}:
            raise _CanWrite
    elif name not in TABLE_NODES and name not in ("Dot", "Identifier", "Subquery"):
        raise _CanWrite


DEFAULT_CLASSIFIER: Final = SqlClassifier(harmless_hints=ENGINE_HINTS)
"""The classifier for e6data. It also knows the hints of the test engine, which takes its place in tests and demos."""

only_reads: Final = DEFAULT_CLASSIFIER.only_reads
preload: Final = DEFAULT_CLASSIFIER.preload
