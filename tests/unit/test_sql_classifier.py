"""The SQL classifier: what can write is never taken for a read, and ordinary reads are recognised.

The statements are in `statements/`, separated by empty lines; a line with `##` begins a group.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import sqlglot
from hypothesis import example, given
from hypothesis import strategies as st
from sqlglot.errors import ErrorLevel, ParseError

from bluegreen_adapters.sql import allowlist
from bluegreen_adapters.sql import classifier as sql_classifier
from bluegreen_adapters.sql.classifier import (
    DEFAULT_CLASSIFIER,
    MAX_BYTES,
    MAX_DEPTH,
    SqlClassifier,
    only_reads,
)

STATEMENTS = Path(__file__).with_name("statements")

DIALECTS = (
    "athena", "bigquery", "clickhouse", "databricks", "duckdb", "hive", "mysql", "oracle", "postgres", "presto",
    "redshift", "snowflake", "spark", "sqlite", "starrocks", "teradata", "trino", "tsql",
)  # fmt: skip

NOT_RECOGNISED = {
    "SELECT * FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b) = 1": "Trino has no QUALIFY",
    "SELECT datediff(a, b), date_add(a, 7), add_months(a, 1), last_day(a) FROM t": "Trino's date_add has a unit",
}
"""Reads that the default classifier takes for writes, each with the reason."""


def load(name: str) -> list[str]:
    blocks = re.split(r"\n{2,}", (STATEMENTS / name).read_text(encoding="utf-8"))
    return [block.strip("\n") for block in blocks if block.strip() and not block.startswith("##")]


READS = load("reads.txt")
WRITES = load("writes.txt")
RECOGNISED = [read for read in READS if read not in NOT_RECOGNISED]
QUERIES = [read for read in RECOGNISED if not read.startswith(("SHOW", "DESC", "EXPLAIN"))]


def test_the_corpora_are_large_and_have_no_doubles() -> None:
    assert len(WRITES) >= 200
    assert len(READS) >= 150
    assert len(set(WRITES + READS)) == len(WRITES) + len(READS)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_can_write_is_a_write_in_every_dialect(dialect: str) -> None:
    classifier = SqlClassifier(dialect)
    assert [statement for statement in WRITES if classifier(statement)] == []


def test_what_can_write_is_a_write_for_the_default() -> None:
    assert [statement for statement in WRITES if only_reads(statement)] == []


def test_ordinary_reads_are_recognised() -> None:
    missed = {read for read in READS if not only_reads(read)}
    assert missed == set(NOT_RECOGNISED)
    assert len(missed) <= 0.05 * len(READS)


@pytest.mark.parametrize("dialect", ["databricks", "duckdb", "postgres", "snowflake", "spark"])
def test_most_ordinary_reads_are_recognised_in_other_dialects(dialect: str) -> None:
    classifier = SqlClassifier(dialect)
    missed = [read for read in READS if not classifier(read)]
    assert len(missed) <= 0.05 * len(READS), missed


# Properties. First what holds of any text, then what holds of a read that is changed.

_PIECES = st.sampled_from(
    [
        *sorted({piece for text in READS + WRITES for piece in re.findall(r"\w+|'[^']*'|\s+|\S", text)}),
        "\\",
        "\x00",
        "\u2028",
        "9" * 5000,
        "1e999",
        "�",
        "CASE WHEN ",
        "ARRAY[",
        "JOIN a ",
        "x -> ",
        "NOT ",
    ]
)


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_any_text_has_a_verdict(text: str) -> None:
    assert only_reads(text) in (True, False)
    assert only_reads(f"SELECT {text}") in (True, False)


@given(st.lists(_PIECES, max_size=25).map("".join), st.sampled_from(DIALECTS))
@example("SELECT regexp_extract(a'!', '(x)'AS, 1) FROM* ", "bigquery")
def test_any_words_have_a_verdict(text: str, dialect: str) -> None:
    assert SqlClassifier(dialect)(f"SELECT {text}") in (True, False)


def _places(statement: str) -> Iterator[int]:
    """Yield the positions between two words outside quotes and comments, behind the first word."""
    quoted = r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/"
    for match in re.finditer(rf"{quoted}|\w+|\s+|[^\w\s]", statement, re.DOTALL):
        if match.group().isspace() and match.start() > 0:
            yield match.end()  # behind the line's end, which may end a comment
    if "--" not in statement.rpartition("\n")[2]:
        yield len(statement)


_FRAGMENTS = (
    "; DELETE FROM t", "INTO t2", "FOR UPDATE", "charge_card(1)", "+ nextval('s')", ", charge_card(1)", "@x := 1",
    "/*! INTO t2 */", "/*+ set_var(x = 1) */", "INSERT INTO t VALUES (1)", "seq.NEXTVAL", "EXEC pay", "pay.lower(a)",
    "UNION SELECT charge_card(1)", "LOCK IN SHARE MODE", "{fn f()}", "$$a$$", "# x",
)  # fmt: skip


@given(st.data())
def test_a_writing_fragment_anywhere_makes_a_read_a_write(data: st.DataObject) -> None:
    read = data.draw(st.sampled_from(RECOGNISED))
    place = data.draw(st.sampled_from(list(_places(read))))
    changed = f"{read[:place].rstrip(';')} {data.draw(st.sampled_from(_FRAGMENTS))} {read[place:]}"
    assert not only_reads(changed), changed


@given(st.data())
def test_an_unknown_function_around_anything_makes_a_read_a_write(data: st.DataObject) -> None:
    """The tree is changed, so that every kind of place is reached: order, window, lambda, limit, interval, pivot."""
    tree = sqlglot.parse_one(data.draw(st.sampled_from(QUERIES)), read=DEFAULT_CLASSIFIER.dialect)
    nodes = [
        node
        for node in tree.walk()
        if isinstance(node, (sqlglot.exp.Column, sqlglot.exp.Literal, sqlglot.exp.Func, sqlglot.exp.Binary))
    ]
    if not nodes:
        return
    node = data.draw(st.sampled_from(nodes))
    call = sqlglot.exp.Anonymous(this="charge_card", expressions=[node.copy()])
    if node is tree or node.parent is None:
        return
    node.replace(call)
    # Some places take only a constant: there the writer drops the call, and what is left need not be a write.
    changed = tree.sql(dialect=DEFAULT_CLASSIFIER.dialect)
    assert "charge_card" not in changed.lower() or not only_reads(changed), changed


@given(
    st.integers(1, 2000),
    st.sampled_from(["(", "[", "ARRAY[", "abs(", "CASE WHEN ", "NOT ", "- ", "x IN (SELECT "]),
)
def test_deep_nesting_has_a_verdict(depth: int, opening: str) -> None:
    closing = {"(": ")", "[": "]"}.get(opening.strip()[-1], "")
    closing = ")" if "(" in opening else closing
    statement = f"SELECT {opening * depth}1{closing * depth}"
    assert only_reads(statement) in (True, False)
    assert depth <= MAX_DEPTH or not only_reads(statement)


# Limits.


def _never(*_: object) -> None:
    raise AssertionError("the parser was called")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM t WHERE id IN (" + ",".join(str(number) for number in range(700_000)) + ")",
        "SELECT " + "insertx updatey deletez " * 220_000,
        "/*a*/" * 40_000 + "/*" * 10_000,
        "SELECT 1" + " " * 1_000_000,
        "( " * 100_000 + "x",
        "--\n" * 350_000 + "SELECT 1",
        "SELECT '" + "é" * (MAX_BYTES // 2) + "'",
    ],
    ids=["list", "words", "comments", "spaces", "brackets", "lines", "encoded"],
)
def test_a_statement_over_the_limit_is_neither_cut_nor_parsed(statement: str) -> None:
    with (
        mock.patch.object(sql_classifier, "_parse", _never),
        mock.patch.object(sql_classifier, "_Scan", _never),
        mock.patch.object(sql_classifier, "_load", _never),
    ):
        assert not only_reads(statement)


def test_a_statement_at_the_limit_is_looked_at() -> None:
    statement = "SELECT '" + "x" * (MAX_BYTES - 9) + "'"
    assert len(statement) == MAX_BYTES
    assert only_reads(statement)
    assert not only_reads(statement + " ")


@pytest.mark.parametrize("opening", ["ARRAY[", "decimal(", "struct(", "date("])
def test_brackets_that_the_parser_reads_twice_are_never_parsed_when_deep(opening: str) -> None:
    """The parser doubles its work with each of them; 40 would take it longer than anybody waits."""
    closing = "]" if opening.endswith("[") else ")"
    with mock.patch.object(sql_classifier, "_parse", _never):
        assert not only_reads(f"SELECT {opening * 40}1{closing * 40}")
    assert only_reads("SELECT ARRAY[ARRAY[ARRAY[1]]]")


@pytest.mark.parametrize(
    "statement", ["DELETE FROM t", "SET x = 1", "", "SELECT a.f(1)", "SELECT 1; SELECT 2"]
)
def test_the_parser_is_not_asked_about_what_its_words_decide(statement: str) -> None:
    with mock.patch.object(sql_classifier, "_parse", _never):
        assert not only_reads(statement)


# The lexemes: texts that hold characters which a data file would lose.


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1\x00; DELETE FROM t",
        "SELECT '\x00'",
        "SELECT 1 -- x\rINTO t2",
        "SELECT 1 -- x\u2028INTO t2",
        "SELECT 1 -- x\x85INTO t2",
        "SELECT 1 -- x\x0bINTO t2",
        "SELECT 1 -- x\\\nINTO t2 FROM t",
        "SELECT 1\xa0INTO t2",
        "SELECT \u017fetval('s')",
        "SELECT '\ud800'",
        "\ufeffSELECT 1",
    ],
)
def test_characters_that_engines_read_differently_make_a_write(statement: str) -> None:
    assert not only_reads(statement)


def test_any_line_end_may_stand_between_words_and_end_a_comment() -> None:
    assert only_reads("SELECT 1 -- x\r\nFROM t\r\n")


def test_text_in_quotes_may_be_in_any_language() -> None:
    assert only_reads("SELECT 'grüße 你好', \"größe\" FROM t -- übersicht")


# Hints, names and settings.


def test_hints_of_the_test_engine_are_harmless_to_the_default_only() -> None:
    statement = "SELECT 1 /*+ rows(4) batch(2) sleep_ms(10) fail(no such table) */"
    assert only_reads(statement)
    assert not SqlClassifier()(statement)
    assert SqlClassifier(harmless_hints=["ROWS", "batch", "sleep_ms", "fail"])(statement)


def test_pure_functions_can_be_added_by_name() -> None:
    classifier = SqlClassifier(pure_functions=["Tax"])
    assert classifier("SELECT TAX(a) FROM t")
    assert not classifier("SELECT pay.tax(a) FROM t")
    assert not only_reads("SELECT tax(a) FROM t")


def test_an_unknown_dialect_is_an_error_of_the_setting() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        SqlClassifier("nosuch").preload()


def test_a_missing_parser_is_reported_with_its_extra() -> None:
    with (
        mock.patch.dict(sys.modules, {"sqlglot.dialects.dialect": None}),
        pytest.raises(ImportError, match=r"bluegreen\[grpc\]"),
    ):
        DEFAULT_CLASSIFIER.preload()


def test_preload_loads_what_the_first_statement_needs() -> None:
    DEFAULT_CLASSIFIER.preload()
    before = set(sys.modules)
    assert only_reads("SELECT lower(a) FROM t")
    assert {name for name in set(sys.modules) - before if name.startswith("sqlglot")} == set()


# The lists.


def test_no_list_allows_what_another_one_refuses() -> None:
    assert not allowlist.WRITING_WORDS & (allowlist.FUNCTIONS | allowlist.SYNTAX)
    assert allowlist.TABLE_FUNCTIONS <= allowlist.FUNCTIONS
    assert allowlist.TABLE_NODES <= allowlist.NODES


@pytest.mark.parametrize(
    "name",
    [
        "Command", "Insert", "Into", "Lock", "Hint", "NextValueFor", "ToFile", "ReadCSV", "ReadParquet",
        "GenerateText", "Secret",
        "QueryTransform", "Parameter", "SessionParameter", "DynamicIdentifier", "NetFunc", "SafeFunc",
        "Operator", "StoredProcedure",
        "WithTableHint", "FunctionSpecification", "Block", "ObjectIdentifier", "Seq4",
        "VectorSearch", "Heredoc",
    ],
)  # fmt: skip
def test_a_typed_node_that_can_write_is_on_no_list(name: str) -> None:
    assert name not in allowlist.NODES


def test_the_tree_alone_refuses_calls_and_statements_inside_a_select() -> None:
    """Without the check of the words: both checks stand on their own."""
    with mock.patch.object(sql_classifier, "_check_words", return_value=set()):
        for statement in (
            "SELECT charge_card(1)",
            "SELECT pay.lower(1)",
            "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            "SELECT * FROM t FOR UPDATE",
            "SELECT * INTO t2 FROM t",
            "SELECT seq.NEXTVAL",
            "SELECT * FROM charge_card(1)",
            "SELECT * FROM lower('x')",
            "WITH FUNCTION f(x INT) RETURNS INT RETURN x SELECT f(1)",
        ):
            assert not only_reads(statement), statement


# The log.


@pytest.mark.parametrize("dialect", ["trino", "snowflake", "tsql"])
def test_nothing_of_a_statement_is_logged(dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    classifier = SqlClassifier(dialect)
    for statement in (*WRITES, *READS):
        classifier(statement)
        # Also what the first checks keep from the parser: it falls back to commands, and says so.
        sql_classifier._parse(statement, sql_classifier._load(dialect))
    assert caplog.records == []


def test_what_the_application_does_with_the_parser_is_logged_as_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    only_reads("SELECT 1")
    sqlglot.parse_one("EXPLAIN SELECT 1")
    assert ["unsupported syntax" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    "error", [RecursionError, ValueError, IndexError, AttributeError, TypeError, KeyError, ParseError]
)
def test_an_error_of_the_parser_makes_a_write(error: type[Exception]) -> None:
    dialect = mock.Mock()
    dialect.parse.side_effect = error("odd")
    with mock.patch.object(sql_classifier, "_load", return_value=dialect):
        assert not only_reads("SELECT 1")
    dialect.parse.assert_called_once_with("SELECT 1", error_level=ErrorLevel.IMMEDIATE)
    assert only_reads("SELECT 1")
