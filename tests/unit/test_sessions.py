"""What is told of a stack that opens no session: enough to mend it, and nothing that somebody else has written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen_adapters.connection.protocol import Fault
from bluegreen_adapters.connection.requests import Failure
from bluegreen_adapters.connection.session_pool import describe_outcome

FAILED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "


def failure(details: str, code: str = "UNAVAILABLE") -> Failure:
    return Failure(code, details, RuntimeError())


@given(st.text(), st.text(), st.sampled_from(Fault))
def test_whatever_a_stack_says_no_more_than_known_words_of_it_are_told(
    before: str, after: str, fault: Fault
) -> None:
    for details in (before, f"{before}OPENSSL_internal:{after}"):
        said = describe_outcome(failure(details), fault)
        code, _, word = said.partition(", ")
        assert code in ("UNAVAILABLE", "456")
        assert len(word) <= 60
        assert set(word) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")


@pytest.mark.parametrize(
    ("details", "word"),
    [
        (
            "Tls handshake failed: SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired",
            "CERTIFICATE_VERIFY_FAILED",
        ),
        (
            "Ssl handshake failed: SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER",
            "WRONG_VERSION_NUMBER",
        ),
        (
            "Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification Check failed.",
            "Hostname Verification Check failed",
        ),
        ("Peer name 127.0.0.1 is not in peer certificate", "is not in peer certificate"),
    ],
)
def test_why_a_handshake_has_failed_is_told(details: str, word: str) -> None:
    assert describe_outcome(failure(FAILED + details), Fault.TRANSIENT) == f"UNAVAILABLE, {word}"


def test_a_server_that_answers_tells_of_no_handshake() -> None:
    answer = failure("OPENSSL_internal:CERTIFICATE_VERIFY_FAILED", "INTERNAL")
    assert describe_outcome(answer, Fault.ANSWER) == "INTERNAL"
    assert describe_outcome(answer, Fault.WRONG_STRATEGY) == "456"
