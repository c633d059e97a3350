"""Evidence: the forms of known refusals, and the table of what follows from a reply.

Two steps lead from a status to a decision, and both are data:

1. `StatusRule` names the forms by which a gateway is known to refuse. A form is the **whole** message. An engine's
   error that merely contains such a text is the application's answer, since the request may have taken effect.
   `FormSet.classify` returns the `Fault` that a status means.
2. `EVIDENCE` has exactly one row for each pair of a fault and a kind of request. The row says whether the request may
   be sent again on the same stack, what is reported to the strategy machine, and what the query machine is told.

When evidence is missing, the request is taken to have had its effect.

This module is pure. Matching looks at a bounded prefix of a message, in time that is linear in it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args

import attrs

from bluegreen.config.reply_forms import ANY_CODE, CODES, parse_form
from bluegreen.errors import BluegreenError

FORM_LIMIT: Final = 512
"""Longest form, and longest message that can be one, in characters."""

SCAN_LIMIT: Final = 4096
"""How many characters of a message are searched for a form that it merely contains."""


class ProtocolError(BluegreenError, ValueError):
    """A description of a protocol is wrong. `findings` has one line for each mistake."""

    def __init__(self, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))

    def __reduce__(self) -> tuple[type[ProtocolError], tuple[tuple[str, ...]]]:
        return type(self), (self.findings,)


class Fault(enum.Enum):
    """Meaning of a status.

    - `WRONG_STRATEGY`: the gateway refused the strategy. The request took no effect.
    - `NOT_AUTHENTICATED`: the session is not accepted, or no longer.
    - `GONE`: the stack does not know the query.
    - `SUSPECTED`: a message contains a form of one of the first two without being one.
    - `TRANSIENT`: the transport failed. It is unknown whether the request took effect.
    - `AMBIGUOUS`: the request was given up (deadline, cancellation). The same is unknown.
    - `UNSUPPORTED`: the server does not have this method. Nothing else is wrong.
    - `ANSWER`: the server's own answer, which is the application's.
    """

    WRONG_STRATEGY = "wrong strategy"
    NOT_AUTHENTICATED = "not authenticated"
    GONE = "query gone"
    SUSPECTED = "suspected refusal"
    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"
    UNSUPPORTED = "unsupported"
    ANSWER = "answer"


class Request(enum.Enum):
    """Kind of a request, as evidence is concerned.

    - `LOGIN` opens a session.
    - `BEGIN` begins a query and executes nothing.
    - `EXECUTE` executes a statement, with or without a begin of its own.
    - `LOOK` needs the query and may be repeated.
    - `FETCH` needs the query and must not be repeated: an answer that is lost may hold rows.
    - `END` frees the query.
    - `ASK` belongs to no query and may be repeated.
    - `CALL` belongs to no query and must not be repeated.
    """

    LOGIN = "login"
    BEGIN = "begin"
    EXECUTE = "execute"
    LOOK = "look"
    FETCH = "fetch"
    END = "end"
    ASK = "ask"
    CALL = "call"


Again = Literal["no", "backoff", "renew", "prove", "probe"]
"""Whether the request is sent again on the same stack, before anything else is decided.

- `no`: it is not.
- `backoff`: after a pause, while attempts are left, if the method is declared repeatable.
- `renew`: after the session has been renewed.
- `prove`: as `renew`, but only after a read-only request in the old session has shown that this is really dead.
- `probe`: it is not; a probe on the same stack decides whether the suspicion holds.
"""

Report = Literal["error_456", "auth_failure", "persistent_failure"]
"""Event of the strategy machine. It is sent once nothing more is tried on the same stack."""

Then = Literal[
    "answer", "elsewhere", "refused", "harmless", "ambiguous", "given_up", "gone", "ended", "continue"
]
"""Consequence for the query and for the application.

- `answer`: the query fails; the application gets the server's own status and text.
- `elsewhere`: nothing was begun; the query may begin on the other stack, else as `answer`.
- `refused`: the request took no effect at the gateway (`refused_456`); the query may begin again.
- `harmless`: the transport failed, and nothing that counts can have happened; the query may begin again.
- `ambiguous`: the transport failed, and the statement may have been executed.
- `given_up`: as `ambiguous` for a statement that can write; a read is not replayed for a caller that has gone.
- `gone`: the stack does not know the query that it is to execute; it may have been executed.
- `ended`: the query is not on its stack any more; to end it has succeeded.
- `continue`: the application gets the answer, and the query goes on as if nothing had happened.
"""


@attrs.frozen
class Evidence:
    """One row: what follows from a fault of some kinds of requests.

    Args:
        fault: what the status means.
        requests: kinds of requests for which the row holds.
        then: consequence for the query.
        again: whether the request is sent again on the same stack first.
        report: event of the strategy machine; None: none.
        why: reason, for readers.
    """

    fault: Fault
    requests: tuple[Request, ...]
    then: Then
    again: Again = "no"
    report: Report | None = None
    why: str = ""


_R = Request
_OF_QUERY: Final = (_R.LOOK, _R.FETCH)

EVIDENCE: Final[tuple[Evidence, ...]] = (
    # The gateway's refusal of the strategy: no request took effect, whatever it was for.
    Evidence(Fault.WRONG_STRATEGY, (_R.LOGIN, _R.BEGIN, _R.EXECUTE, *_OF_QUERY, _R.ASK, _R.CALL), "refused",
             report="error_456", why="refused at the gateway, so without effect"),
    Evidence(Fault.WRONG_STRATEGY, (_R.END,), "ended", report="error_456",
             why="its stack is gone, and the query with it"),
    # Session refused.
    Evidence(Fault.NOT_AUTHENTICATED, (_R.LOGIN,), "elsewhere", report="auth_failure",
             why="this connection is not accepted here"),
    Evidence(Fault.NOT_AUTHENTICATED, (_R.BEGIN, _R.ASK), "elsewhere", again="renew", report="auth_failure",
             why="nothing was begun; sessions that are opened and then refused are no use"),
    Evidence(Fault.NOT_AUTHENTICATED, (_R.LOOK, _R.END), "answer", again="renew", why="repeatable in a new session"),
    Evidence(Fault.NOT_AUTHENTICATED, (_R.EXECUTE, _R.FETCH, _R.CALL), "answer", again="prove",
             why="the text may be an engine's, and the request may have taken effect"),
    # Unknown query.
    Evidence(Fault.GONE, (_R.BEGIN, *_OF_QUERY), "refused",
             why="its stack has restarted; the query machine says what may be repeated"),
    Evidence(Fault.GONE, (_R.EXECUTE,), "gone", why="the stack may have restarted after it was executed"),
    Evidence(Fault.GONE, (_R.END,), "ended", why="the stack has answered: the query is not there"),
    Evidence(Fault.GONE, (_R.LOGIN,), "elsewhere", report="auth_failure",
             why="a login names no query: an answer like any other"),
    Evidence(Fault.GONE, (_R.ASK, _R.CALL), "answer", why="a query that was never begun here"),
    # A text that contains a form without being one. Only a begin without effect is probed.
    Evidence(Fault.SUSPECTED, (_R.LOGIN,), "elsewhere", report="auth_failure",
             why="the other stack decides: that this user is refused here once more would prove nothing about others"),
    Evidence(Fault.SUSPECTED, (_R.BEGIN,), "answer", again="probe",
             why="the gateway may word its refusal differently"),
    Evidence(Fault.SUSPECTED, (_R.EXECUTE, *_OF_QUERY, _R.END, _R.ASK, _R.CALL), "answer",
             why="only the whole form counts"),
    # The transport.
    Evidence(Fault.TRANSIENT, (_R.LOGIN, _R.BEGIN, _R.LOOK, _R.ASK), "harmless", again="backoff",
             report="persistent_failure", why="sent twice, it does no harm"),
    Evidence(Fault.TRANSIENT, (_R.FETCH,), "harmless",
             why="executes nothing; the query machine looks at the rows handed out"),
    Evidence(Fault.TRANSIENT, (_R.EXECUTE,), "ambiguous", why="it may have been executed"),
    Evidence(Fault.TRANSIENT, (_R.END,), "answer", again="backoff", report="persistent_failure",
             why="no stack has answered, so nothing is reported as done"),
    Evidence(Fault.TRANSIENT, (_R.CALL,), "answer", why="it may have taken effect"),
    # The caller, or the server on its behalf, has given up.
    Evidence(Fault.AMBIGUOUS, (_R.LOGIN,), "harmless", report="persistent_failure", why="the stack is silent"),
    Evidence(Fault.AMBIGUOUS, (_R.EXECUTE,), "given_up", why="it may have been executed"),
    Evidence(Fault.AMBIGUOUS, _OF_QUERY, "continue", why="the query itself goes on"),
    Evidence(Fault.AMBIGUOUS, (_R.BEGIN, _R.END, _R.ASK, _R.CALL), "answer",
             why="the caller does not wait for another attempt"),
    # A method that this server does not have.
    Evidence(Fault.UNSUPPORTED, (_R.EXECUTE, *_OF_QUERY, _R.END), "continue", why="the query itself goes on"),
    Evidence(Fault.UNSUPPORTED, (_R.LOGIN,), "elsewhere", report="auth_failure", why="this stack opens no session"),
    Evidence(Fault.UNSUPPORTED, (_R.BEGIN, _R.ASK, _R.CALL), "answer", why="the server's own answer"),
    # Everything else.
    Evidence(Fault.ANSWER, (_R.LOGIN,), "elsewhere", report="auth_failure",
             why="this connection is not accepted here"),
    Evidence(Fault.ANSWER, (_R.BEGIN, _R.EXECUTE, *_OF_QUERY, _R.END, _R.ASK, _R.CALL), "answer",
             why="the server's own answer"),
)  # fmt: skip
"""What follows from which reply; one row decides. `EVIDENCE.md` explains it."""


def check_evidence(rows: tuple[Evidence, ...]) -> list[str]:
    """Return what is wrong with an evidence table: pairs without a row or with several, values that are none.

    >>> check_evidence(EVIDENCE)
    []
    """
    findings: list[str] = []
    seen: dict[tuple[Fault, Request], int] = {}
    for row in rows:
        for name, value, accepted in (("then", row.then, get_args(Then)), ("again", row.again, get_args(Again)),
                                      ("report", row.report, (None, *get_args(Report)))):  # fmt: skip
            if value not in accepted:
                findings.append(
                    f"{row.fault.name}: {name} must be one of {_placeholders_in(accepted)}, got {value!r}"
                )
        for request in row.requests:
            seen[row.fault, request] = seen.get((row.fault, request), 0) + 1
    for fault in Fault:
        for request in Request:
            count = seen.get((fault, request), 0)
            if count != 1:
                findings.append(f"{fault.name}, {request.name}: expected exactly one row, got {count}")
    # What makes a write run twice must not be declared at all.
    findings += [
        f"{row.fault.name}, EXECUTE: again must be 'no' or 'prove', got {row.again!r}"
        for row in rows
        if Request.EXECUTE in row.requests and row.again in ("backoff", "renew", "probe")
    ]
    return findings


def _placeholders_in(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


# Forms. A placeholder such as `<id>` stands for one word. A word has no spaces, so that a form matches in one pass,
# and cannot swallow a sentence of an engine.
_PLACEHOLDER: Final = re.compile(r"<([a-z0-9_]{1,20})>")
_WORD: Final = r"[^\s<>]{1,128}"
_KINDS: Final = {"5xx": r"5\d\d"}
"""Placeholders that stand for something narrower than a word."""


def _pattern(form: str) -> str:
    """Return a regular expression for a form: literal text, and one word for each placeholder."""
    parts = _PLACEHOLDER.split(form)  # literal, name, literal, name, ..., literal
    return "".join(
        re.escape(part) if at % 2 == 0 else _KINDS.get(part, _WORD) for at, part in enumerate(parts)
    )


def check_form(form: object) -> list[str]:
    """Return what is wrong with the text of a form.

    >>> check_form("query <id> is not known"), len(check_form("<id>")), len(check_form(7))
    ([], 1, 1)
    """
    if not isinstance(form, str):
        return [f"form must be a string, got {form!r}"]
    if len(form) > FORM_LIMIT:
        return [f"form must have at most {FORM_LIMIT} characters, got {len(form)}"]
    rest = _PLACEHOLDER.sub("", form)
    if "<" in rest or ">" in rest:
        return [
            f"form {form!r}: a placeholder must look like <id>: lower-case letters and digits in angle brackets"
        ]
    if form and not _PLACEHOLDER.sub("", form).strip():
        return [f"form {form!r} must have text beside its placeholders: it would match any word"]
    if re.search(r">\s*<|>[^\s<>]<", form):
        return [f"form {form!r}: text must stand between two placeholders"]
    return []


def is_tuple(value: object) -> bool:
    """Return whether a value is a tuple, whatever it holds; a checker goes on to take it for what it was declared."""
    return isinstance(value, tuple)


def _check_codes(codes: Any) -> list[str]:
    """Return what is wrong with the codes of a rule."""
    if not is_tuple(codes):
        return [f"codes must be a tuple of status names, got {codes!r}: write ({codes!r},)"]
    accepted = ", ".join(CODES)
    return [
        f"code {code!r} is no gRPC status: expected one of {accepted}" for code in codes if code not in CODES
    ]


@attrs.frozen
class StatusRule:
    """A status that means `fault`: one of `codes`, and `form` as the whole message.

    Args:
        fault: what it means.
        codes: names of gRPC status codes; empty: any error.
        form: the whole message. `<word>` in it stands for one word without spaces, for example
            `query <id> is not known`. Empty: any message, for a gateway that uses a code for nothing else.
        source: where the form is known from.

    Raises:
        ProtocolError: a value is wrong.

    >>> rule = StatusRule(Fault.WRONG_STRATEGY, ("UNKNOWN",), "status: 456")
    >>> rule.matches("UNKNOWN", "status: 456"), rule.matches("UNKNOWN", "sink refused row 7, status: 456")
    (True, False)
    """

    fault: Fault
    codes: tuple[str, ...] = ()
    form: str = ""
    source: str = ""
    _whole: re.Pattern[str] | None = attrs.field(init=False, default=None, eq=False, repr=False)
    _core: re.Pattern[str] | None = attrs.field(init=False, default=None, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        findings: list[str] = []
        given: Any = self  # whatever was given: annotations are no promise
        if not isinstance(given.fault, Fault):
            findings.append(f"fault must be a Fault, got {given.fault!r}")
        findings += _check_codes(given.codes)
        findings += check_form(given.form)
        if not findings and not given.codes and not given.form:
            findings.append("a rule must have codes or a form: this one would match every error")
        if findings:
            raise ProtocolError(findings)
        if self.form:
            pattern = _pattern(self.form)
            object.__setattr__(self, "_whole", re.compile(pattern))
            object.__setattr__(self, "_core", re.compile(pattern, re.IGNORECASE))

    def has_code(self, code: str) -> bool:
        """Return whether the rule is about this status."""
        return not self.codes or code in self.codes

    def matches(self, code: str, details: str) -> bool:
        """Return whether a status is meant: its whole message is the form."""
        if not self.has_code(code):
            return False
        if self._whole is None:
            return True
        return len(details) <= FORM_LIMIT and self._whole.fullmatch(details) is not None

    def is_contained(self, details: str) -> bool:
        """Return whether the first `SCAN_LIMIT` characters of a message contain the form, in any case of letters."""
        return self._core is not None and self._core.search(details[:SCAN_LIMIT]) is not None


TRANSPORT_RULES: Final = (
    StatusRule(Fault.TRANSIENT, ("UNAVAILABLE",), source="gRPC status codes: the service is unavailable"),
    StatusRule(Fault.TRANSIENT, ("UNKNOWN",), "Received http2 header with status: <5xx>",
               source="gRPC core, HTTP 500 of a proxy (502 to 504 are UNAVAILABLE)"),
    StatusRule(Fault.TRANSIENT, ("UNKNOWN",), "Stream removed", source="gRPC core, a connection that is reset"),
    StatusRule(Fault.TRANSIENT, ("INTERNAL",), "Received RST_STREAM with error code <code>",
               source="gRPC core, RST_STREAM of HTTP/2"),
    StatusRule(Fault.TRANSIENT, ("INTERNAL",), "RST_STREAM closed stream. HTTP/2 error code: <code>",
               source="gRPC Java"),
    StatusRule(Fault.AMBIGUOUS, ("DEADLINE_EXCEEDED", "CANCELLED"), source="gRPC status codes"),
    StatusRule(Fault.UNSUPPORTED, ("UNIMPLEMENTED",), source="gRPC status codes"),
)  # fmt: skip
"""Statuses that the transport itself makes. They come after those of a protocol."""

_SUSPECTS: Final = (Fault.WRONG_STRATEGY, Fault.NOT_AUTHENTICATED)

SETTING_FAULTS: Final[Mapping[str, Fault]] = {
    "wrong_strategy": Fault.WRONG_STRATEGY,
    "session_refused": Fault.NOT_AUTHENTICATED,
    "unknown_query": Fault.GONE,
    "transport": Fault.TRANSIENT,
    "answer": Fault.ANSWER,
}
"""Meanings by the names that the setting `forms` uses."""


def rule_of_setting(text: str) -> StatusRule:
    """Return the rule that one entry of the setting `forms` describes: `MEANING CODE: message`.

    Raises:
        ValueError: the entry is malformed; a `ProtocolError` if only its message is.

    >>> rule_of_setting("wrong_strategy UNKNOWN: stack <name> is retired").matches("UNKNOWN", "stack blue is retired")
    True
    """
    form = parse_form(text)
    codes = () if form.code == ANY_CODE else (form.code,)
    return StatusRule(SETTING_FAULTS[form.meaning], codes, form.text, source="setting forms")


@attrs.frozen
class FormSet:
    """The rules of a protocol in the order in which they are asked: first its own, then those of the transport.

    >>> forms = FormSet((StatusRule(Fault.WRONG_STRATEGY, ("UNKNOWN",), "status: 456"),))
    >>> forms.classify("UNKNOWN", "status: 456"), forms.classify("UNAVAILABLE", "")
    (<Fault.WRONG_STRATEGY: 'wrong strategy'>, <Fault.TRANSIENT: 'transient'>)
    """

    rules: tuple[StatusRule, ...]

    def classify(self, code: str, details: str) -> Fault:
        """Return what a status means, by its whole message."""
        for rule in (*self.rules, *TRANSPORT_RULES):
            if rule.matches(code, details):
                return rule.fault
        return Fault.ANSWER

    def suspected(self, details: str) -> Fault | None:
        """Return the refusal that a message contains without being its form, or None.

        The status does not matter: a gateway that words a refusal differently may choose another one.
        """
        for rule in self.rules:
            if rule.fault in _SUSPECTS and rule.is_contained(details):
                return rule.fault
        return None
