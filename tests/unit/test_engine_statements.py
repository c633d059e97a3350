"""Statements of the test engine: what writes, and what hints do."""

from __future__ import annotations

import pytest

from bluegreen_adapters.testing.engine.sql import parse, writes


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "  select 1",
        "(SELECT 1)",
        "-- INSERT\nSELECT 1",
        "/* DELETE */ SELECT 'INSERT INTO t'",
        "WITH x AS (SELECT 'drop') SELECT * FROM x",
        "SHOW TABLES",
        "DESCRIBE t",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "EXPLAIN ANALYZE SELECT 1",
    ],
)
def test_these_statements_read(text: str) -> None:
    assert not writes(text)


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t VALUES (1)",
        "",
        "-- SELECT 1",
        "/* SELECT */ DELETE FROM t",
        "SELECTED INTO t",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "EXPLAIN ANALYZE DELETE FROM t",
        "CALL f()",
        "'SELECT'",
    ],
)
def test_what_does_not_provably_read_writes(text: str) -> None:
    assert writes(text)


def test_a_read_has_three_rows_in_one_batch_unless_told_otherwise() -> None:
    statement = parse("SELECT 1")
    assert (statement.rows, statement.batches, statement.sleep_s, statement.fails) == (3, 1, 0.0, None)


def test_hints_steer_rows_batches_time_and_failure() -> None:
    statement = parse("/*+ rows(10) batch(4) */ SELECT 1 /*+ sleep_ms(20) fail(no such table) */")
    assert [list(statement.batch_range(n)) for n in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], []]
    assert statement.sleep_s == 0.02
    assert statement.fails == "no such table"


def test_a_write_has_no_rows_whatever_the_hint_says() -> None:
    statement = parse("INSERT INTO t VALUES (1) /*+ rows(10) */")
    assert (statement.rows, statement.batches, list(statement.batch_range(0))) == (0, 0, [])


def test_a_read_may_have_no_rows() -> None:
    assert parse("SELECT 1 /*+ rows(0) */").batches == 0


@pytest.mark.parametrize("hint", ["rows(x)", "rows(-1)", "batch(0)", "rows(99999999)", "sleep_ms(1.5)"])
def test_a_hint_outside_of_its_range_is_refused(hint: str) -> None:
    with pytest.raises(ValueError, match="accepted is a number from"):
        parse(f"SELECT 1 /*+ {hint} */")
