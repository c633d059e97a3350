"""What is told of a statement: nothing, a digest, or its text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bluegreen_adapters.connection.statement_logging import TEXT_LIMIT, loggable_statement, tell


@pytest.fixture(autouse=True)
def told_as_before() -> Iterator[None]:
    yield
    tell("nothing")


def test_a_digest_is_the_same_for_the_same_statement_only() -> None:
    tell()
    first, second = loggable_statement("SELECT 1"), loggable_statement("SELECT 2")
    assert (first, len(first or ""), first == second) == (
        loggable_statement("SELECT 1"),
        len("sha256:") + 64,
        False,
    )
    assert loggable_statement("\ud800") is not None, "what is no UTF-8 has one too"


def test_a_text_has_a_bound() -> None:
    tell("text")
    assert loggable_statement("x" * TEXT_LIMIT) == "x" * TEXT_LIMIT
    assert loggable_statement("x" * (TEXT_LIMIT + 1)) == "x" * TEXT_LIMIT + "..."


@pytest.mark.parametrize("how", ["nothing", "digest", "text"])
@pytest.mark.parametrize("statement", [None, 7, b"SELECT 1"])
def test_of_what_is_no_text_nothing_is_told(how: str, statement: object) -> None:
    tell(how)
    assert loggable_statement(statement) is None


@pytest.mark.parametrize("how", ["", "all", "TEXT"])
def test_what_is_not_accepted_is_named_with_what_is_and_changes_nothing(how: str) -> None:
    tell("text")
    with pytest.raises(ValueError, match=f"how is '{how}'; accepted: nothing, digest, text"):
        tell(how)
    assert loggable_statement("SELECT 1") == "SELECT 1"
