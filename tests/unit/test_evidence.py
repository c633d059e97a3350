"""What a reply proves: forms match whole messages only, and each pair of a fault and a request has one row."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen_adapters.connection import evidence
from bluegreen_adapters.connection.evidence import (
    EVIDENCE,
    FORM_LIMIT,
    SCAN_LIMIT,
    TRANSPORT_RULES,
    Evidence,
    Fault,
    ProtocolError,
    Request,
    StatusRule,
    check_evidence,
    check_form,
    rule_of_setting,
)
from bluegreen_adapters.e6data.protocol import PROTOCOL, STATUSES

# -- the table

ROWS = [
    (Fault.WRONG_STRATEGY, "login begin execute look fetch ask call", "no", "error_456", "refused"),
    (Fault.WRONG_STRATEGY, "end", "no", "error_456", "ended"),
    (Fault.NOT_AUTHENTICATED, "login", "no", "auth_failure", "elsewhere"),
    (Fault.NOT_AUTHENTICATED, "begin ask", "renew", "auth_failure", "elsewhere"),
    (Fault.NOT_AUTHENTICATED, "look end", "renew", None, "answer"),
    (Fault.NOT_AUTHENTICATED, "execute fetch call", "prove", None, "answer"),
    (Fault.GONE, "begin look fetch", "no", None, "refused"),
    (Fault.GONE, "execute", "no", None, "gone"),
    (Fault.GONE, "end", "no", None, "ended"),
    (Fault.GONE, "login", "no", "auth_failure", "elsewhere"),
    (Fault.GONE, "ask call", "no", None, "answer"),
    (Fault.SUSPECTED, "login", "no", "auth_failure", "elsewhere"),
    (Fault.SUSPECTED, "begin", "probe", None, "answer"),
    (Fault.SUSPECTED, "execute look fetch end ask call", "no", None, "answer"),
    (Fault.TRANSIENT, "login begin look ask", "backoff", "persistent_failure", "harmless"),
    (Fault.TRANSIENT, "fetch", "no", None, "harmless"),
    (Fault.TRANSIENT, "execute", "no", None, "ambiguous"),
    (Fault.TRANSIENT, "end", "backoff", "persistent_failure", "answer"),
    (Fault.TRANSIENT, "call", "no", None, "answer"),
    (Fault.AMBIGUOUS, "login", "no", "persistent_failure", "harmless"),
    (Fault.AMBIGUOUS, "execute", "no", None, "given_up"),
    (Fault.AMBIGUOUS, "look fetch", "no", None, "continue"),
    (Fault.AMBIGUOUS, "begin end ask call", "no", None, "answer"),
    (Fault.UNSUPPORTED, "execute look fetch end", "no", None, "continue"),
    (Fault.UNSUPPORTED, "login", "no", "auth_failure", "elsewhere"),
    (Fault.UNSUPPORTED, "begin ask call", "no", None, "answer"),
    (Fault.ANSWER, "login", "no", "auth_failure", "elsewhere"),
    (Fault.ANSWER, "begin execute look fetch end ask call", "no", None, "answer"),
]


@pytest.mark.parametrize(("fault", "requests", "again", "report", "then"), ROWS)
def test_row_says_what_follows(
    fault: Fault, requests: str, again: str, report: str | None, then: str
) -> None:
    for name in requests.split():
        row = PROTOCOL.verdict(fault, Request(name))
        assert (row.again, row.report, row.then) == (again, report, then), name
        assert row.why


def test_every_pair_is_named_above() -> None:
    named = [(fault, name) for fault, requests, *_ in ROWS for name in requests.split()]
    assert sorted(named, key=str) == sorted(((f, r.value) for f in Fault for r in Request), key=str)


def test_statement_that_may_have_run_is_never_sent_again_unproved() -> None:
    """Section "What a reply proves": the property behind the rows of EXECUTE."""
    for fault in Fault:
        row = PROTOCOL.verdict(fault, Request.EXECUTE)
        assert row.again in ("no", "prove")
        if fault is not Fault.WRONG_STRATEGY:  # refused at the gateway: without effect
            assert row.then not in ("refused", "harmless", "elsewhere")


def test_success_is_reported_only_if_a_stack_answered_or_is_gone() -> None:
    ended = {fault for fault in Fault if PROTOCOL.verdict(fault, Request.END).then == "ended"}
    assert ended == {Fault.WRONG_STRATEGY, Fault.GONE}


def test_findings_of_a_table_come_all_at_once() -> None:
    wrong: Any = Evidence(
        Fault.ANSWER, (Request.LOGIN, Request.EXECUTE), "sometimes", again="backoff", report="boo"
    )
    findings = check_evidence((*EVIDENCE, wrong))
    assert len([one for one in findings if "expected exactly one row, got 2" in one]) == 2
    assert any("then must be one of" in one for one in findings)
    assert any("report must be one of" in one for one in findings)
    assert any("again must be 'no' or 'prove'" in one for one in findings)
    assert len(check_evidence(EVIDENCE[1:])) == 7


def test_protocol_with_a_gap_in_its_table_is_refused() -> None:
    with pytest.raises(
        ProtocolError, match=r"e6data: WRONG_STRATEGY, LOGIN: expected exactly one row, got 0"
    ):
        attrs.evolve(PROTOCOL, evidence=EVIDENCE[1:])


# -- forms

FORMS = [
    ("UNKNOWN", "status: 456", Fault.WRONG_STRATEGY),
    ("INVALID_ARGUMENT", "Wrong strategy. Status: 456. Expected: green, Got: blue", Fault.WRONG_STRATEGY),
    ("INTERNAL", "Access denied", Fault.NOT_AUTHENTICATED),
    ("INTERNAL", "query blue-q-17 is not known to green", Fault.GONE),
    ("UNAVAILABLE", "status: 503, cluster is suspended", Fault.ANSWER),
    ("UNAVAILABLE", "Received http2 header with status: 503", Fault.TRANSIENT),
    ("UNKNOWN", "Received http2 header with status: 500", Fault.TRANSIENT),
    ("UNKNOWN", "Received http2 header with status: 413", Fault.ANSWER),
    ("INTERNAL", "Received RST_STREAM with error code 2", Fault.TRANSIENT),
    ("UNAVAILABLE", "GOAWAY received", Fault.TRANSIENT),
    ("DEADLINE_EXCEEDED", "", Fault.AMBIGUOUS),
    ("UNIMPLEMENTED", "Method not found!", Fault.UNSUPPORTED),
    ("RESOURCE_EXHAUSTED", "busy", Fault.ANSWER),
]


@pytest.mark.parametrize(("code", "details", "fault"), FORMS)
def test_known_form_means(code: str, details: str, fault: Fault) -> None:
    assert PROTOCOL.fault(code, details) is fault


def test_every_form_names_its_source() -> None:
    assert all(rule.source for rule in (*STATUSES, *TRANSPORT_RULES))


@given(before=st.text(max_size=30), after=st.text(max_size=30), form=st.sampled_from(FORMS[:4]))
def test_form_inside_a_longer_message_is_only_suspected(
    before: str, after: str, form: tuple[str, str, Fault]
) -> None:
    """An engine that quotes a gateway has executed the statement, and its text is the application's."""
    code, details, fault = form
    message = f"{before}{details}{after}"
    whole = message == details or (
        fault is not Fault.NOT_AUTHENTICATED and not before.strip() and not after.strip()
    )
    if PROTOCOL.fault(code, message) is not Fault.ANSWER:
        # A placeholder takes a word, so what stands directly beside one belongs to it.
        assert whole or "<" not in message
        assert not any(character.isspace() for character in before + after)
    for request in Request:
        row = PROTOCOL.judge(code, message, request)
        if PROTOCOL.fault(code, message) is Fault.ANSWER and request is not Request.LOGIN:
            assert (row.then, row.report) == ("answer", None)
            assert row.again == (
                "probe" if request is Request.BEGIN and row.fault is Fault.SUSPECTED else "no"
            )


def test_only_a_prefix_is_looked_at() -> None:
    assert PROTOCOL.suspected("x" * (SCAN_LIMIT - 20) + "status: 456") is Fault.WRONG_STRATEGY
    assert PROTOCOL.suspected("x" * SCAN_LIMIT + "status: 456") is Fault.ANSWER
    assert PROTOCOL.is_marked("x" * SCAN_LIMIT + "456") is False
    assert PROTOCOL.fault("UNKNOWN", "status: 456" + " " * FORM_LIMIT) is Fault.ANSWER


class Counted(str):
    """A message that counts how many characters are taken from it."""

    taken = 0

    def __getitem__(self, key: Any) -> str:
        part = super().__getitem__(key)
        Counted.taken += len(part)
        return part


def test_long_message_is_classified_by_its_prefix_alone() -> None:
    """64 KB of text that almost match cost as much as 4 KB of them."""
    Counted.taken = 0
    for request in Request:
        assert PROTOCOL.judge("UNKNOWN", Counted("status: 45" * 6554), request).fault is Fault.ANSWER
    assert 0 < Counted.taken <= SCAN_LIMIT * len(STATUSES) * len(Request)


@pytest.mark.parametrize(
    "form", [7, None, "<id>", " <id> ", "<Id> is gone", "a > b", "<a> <b>", "x" * (FORM_LIMIT + 1)]
)
def test_form_that_matches_anything_or_nothing_is_refused(form: Any) -> None:
    assert check_form(form)
    with pytest.raises(ProtocolError):
        StatusRule(Fault.GONE, ("INTERNAL",), form)


def test_all_findings_of_a_rule_come_at_once() -> None:
    codes: Any = ("UNAVAILBLE", "OK")
    fault: Any = "gone"
    with pytest.raises(ProtocolError) as caught:
        StatusRule(fault, codes, "<id>")
    assert len(caught.value.findings) == 4
    assert pickle.loads(pickle.dumps(caught.value)).findings == caught.value.findings


def test_rule_for_every_error_is_refused() -> None:
    with pytest.raises(ProtocolError, match="would match every error"):
        StatusRule(Fault.GONE)


def test_form_of_a_setting_comes_before_those_of_the_protocol() -> None:
    protocol = PROTOCOL.with_forms([rule_of_setting("answer UNKNOWN: status: 456")])
    assert protocol.fault("UNKNOWN", "status: 456") is Fault.ANSWER
    assert PROTOCOL.with_forms([]) is PROTOCOL


# -- the page about it

PAGE = Path(evidence.__file__).with_name("EVIDENCE.md")


def forms_table(rules: Iterable[StatusRule]) -> list[str]:
    return [
        f"| {rule.fault.value} | {', '.join(rule.codes) or 'any'} | {shown_form(rule)} | {rule.source} |"
        for rule in rules
    ]


def shown_form(rule: StatusRule) -> str:
    return f"`{rule.form}`" if rule.form else "any"


def rows_table() -> list[str]:
    return [
        f"| {row.fault.value} | {', '.join(request.value for request in row.requests)} | {row.again} "
        f"| {row.report or '-'} | {row.then} | {row.why} |"
        for row in EVIDENCE
    ]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("forms", forms_table(STATUSES)),
        ("transport", forms_table(TRANSPORT_RULES)),
        ("evidence", rows_table()),
    ],
    ids=["forms", "transport", "evidence"],
)
def test_page_has_the_tables_that_the_code_has(block: str, expected: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = text.partition(f"<!-- {block} -->\n")[2].partition(f"\n<!-- /{block} -->")[0]
    assert shown.splitlines()[2:] == expected
