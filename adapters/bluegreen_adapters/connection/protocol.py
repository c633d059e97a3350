"""A wire protocol as data: what each method is for, where ids stand in messages, what a reply proves.

This module is pure: it knows no gRPC and does no I/O. A connector author describes a protocol here, and
`connection` does the rest. A description is checked when it is made, with all findings at once, and again when the
stub is made: then the messages are known (`Protocol.check_messages`).

    >>> protocol = Protocol("toy", methods={"login": Method(Role.AUTHENTICATE), "run": Method(Role.BEGIN)})
    >>> protocol.fault("UNKNOWN", "status: 456").value
    'wrong strategy'
    >>> protocol.kind("run")   # nothing else executes, so the begin does
    <Request.EXECUTE: 'execute'>
"""

from __future__ import annotations

import copy
import enum
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import attrs

from bluegreen.types import Strategy
from bluegreen_adapters.connection.evidence import (
    EVIDENCE,
    SCAN_LIMIT,
    Evidence,
    Fault,
    FormSet,
    ProtocolError,
    Request,
    StatusRule,
    check_evidence,
    is_tuple,
)
from bluegreen_adapters.sql.classifier import DEFAULT_CLASSIFIER, SqlClassifier, only_reads

__all__ = [
    "EVIDENCE",
    "Credentials",
    "Evidence",
    "Fault",
    "Metadata",
    "Method",
    "Probe",
    "Protocol",
    "ProtocolError",
    "Request",
    "Role",
    "SqlClassifier",
    "StatusRule",
    "only_reads",
    "read",
    "rewritten",
]

Metadata = tuple[tuple[str, str | bytes], ...]
"""gRPC metadata: pairs of key and value. A key may be repeated."""


class Role(enum.Enum):
    """Purpose of a method.

    - `AUTHENTICATE` opens a session.
    - `BEGIN` begins a query and brings its id.
    - `USE` needs the query, and so the stack that it is on.
    - `END` frees it.
    - `FREE` belongs to no query: any stack can answer.
    """

    AUTHENTICATE = "authenticate"
    BEGIN = "begin"
    USE = "use"
    END = "end"
    FREE = "free"


Effect = Literal["executed", "fetched", "cleared", "cancelled"]

_EFFECTS: Final[Mapping[Role, tuple[str | None, ...]]] = {
    Role.AUTHENTICATE: (None,),
    Role.BEGIN: (None, "executed"),
    Role.USE: (None, "executed", "fetched"),
    Role.END: ("cleared", "cancelled"),
    Role.FREE: (None,),
}
"""The effects that a method of each role may have."""


@attrs.frozen
class Method:
    """Description of one method.

    Args:
        role: what it is for.
        effect: what its success means to the query: `executed`, `fetched`, `cleared` or `cancelled`. A `BEGIN` with
            `executed` begins and executes in one request; it is never sent again while it may have taken effect.
        repeatable: whether sending it again after the transport failed does no harm. It says nothing about a request
            that executes.
        rows: response fields of which one is not empty if the response hands out rows.
        done: response field that is true if no further rows will come.

    Raises:
        ProtocolError: a value is wrong; `findings` has all that is.

    >>> Method(Role.USE, effect="excuted")
    Traceback (most recent call last):
    bluegreen_adapters.connection.evidence.ProtocolError: effect of a method with role USE must be one of None, \
'executed', 'fetched', got 'excuted'
    """

    role: Role
    effect: Effect | None = None
    repeatable: bool = False
    rows: tuple[str, ...] = ()
    done: str | None = None

    def __attrs_post_init__(self) -> None:
        findings: list[str] = []
        given: Any = self  # whatever was given: annotations are no promise
        if not isinstance(given.role, Role):
            findings.append(f"role must be one of {', '.join(map(str, Role))}, got {given.role!r}")
        elif given.effect not in _EFFECTS[given.role]:
            accepted = ", ".join(map(repr, _EFFECTS[given.role]))
            findings.append(
                f"effect of a method with role {given.role.name} must be one of {accepted}, got {given.effect!r}"
            )
        if not isinstance(given.repeatable, bool):
            findings.append(f"repeatable must be True or False, got {given.repeatable!r}")
        findings += _names("rows", given.rows)
        if given.done is not None and not isinstance(given.done, str):
            findings.append(f"done must be the name of a response field or None, got {given.done!r}")
        if (given.rows or given.done) and given.effect not in ("fetched", "executed"):
            findings.append(
                f"rows and done are for methods that fetch or execute, got effect {given.effect!r}"
            )
        if findings:
            raise ProtocolError(findings)


def _names(field: str, value: Any) -> list[str]:
    """Return what is wrong with a tuple of field names."""
    if isinstance(value, str):
        return [f"{field} must be a tuple of names, got {value!r}: write ({value!r},)"]
    if not is_tuple(value):
        return [f"{field} must be a tuple of names, got {value!r}"]
    return [f"{field} must hold names, got {one!r}" for one in value if not isinstance(one, str) or not one]


@attrs.frozen
class Probe:
    """A read-only request that shows whether a stack serves, and whether a session is alive.

    Args:
        method: bare name of an RPC that the stub has. It must change nothing.
        request: makes its message; called with the session's id, or None if the connection has no session.
        as_begin: whether a stack refuses it whenever it refuses begins. A stack that drains often answers requests of
            other kinds; then a login decides, for connections that have one.
    """

    method: str
    request: Callable[[str | None], Any]
    as_begin: bool = True


ProbeCall = Callable[[Strategy, str | None], Any]
"""A probe that is no RPC: called with (strategy, session id), returns True if the stack serves, False if it refuses;
under asyncio it returns an awaitable of that."""


@attrs.frozen
class Protocol:
    """A wire protocol. The defaults are the names of the e6data protocol.

    Args:
        name: for messages.
        methods: by bare name, without the service.
        statuses: the known forms of refusals; the first rule that matches decides. Transport errors come after them.
            What matches nothing is the server's own answer, which goes to the application unchanged.
        session: field of requests and responses with the session id.
        query: field with the query id.
        engine: field with the engine's address.
        announcement: response field with the announced strategy.
        statement: request field of `BEGIN` methods with the statement's text.
        strategy_key: metadata key with the strategy.
        engine_key: metadata key with the engine's address.
        proof_keys: metadata keys, in lower case, that prove who the application is. Their values are never kept: a
            request that is sent again takes them from the one on whose behalf that happens.
        unknown: what a method is taken for that `methods` does not list.
        evidence: what follows from which reply; one row for each fault and kind of request.
        probe: decides suspected refusals, and shows that a session is dead. Without one a login decides about a
            stack, and nothing about a session.
        classifier: decides whether the SQL in `statement` only reads; `SqlClassifier` has dialects, and takes names of
            further functions that only read.
        reads: whether the request of a begin only reads, for requests that are no SQL; called with the message.
            None: the
            classifier decides.
        refusal_mark: what makes a reply worth reporting if it contains this and is no known form.
        queries: False for a protocol without queries, such as that of a control plane.

    Raises:
        ProtocolError: the description is wrong; `findings` has everything that is.
    """

    name: str
    methods: Mapping[str, Method]
    statuses: tuple[StatusRule, ...] = (StatusRule(Fault.WRONG_STRATEGY, form="status: 456"),)
    session: str = "sessionId"
    query: str = "queryId"
    engine: str = "engineIP"
    announcement: str = "new_strategy"
    statement: str = "queryString"
    strategy_key: str = "strategy"
    engine_key: str = "plannerip"
    proof_keys: tuple[str, ...] = ("authorization",)
    unknown: Method = Method(Role.FREE)
    evidence: tuple[Evidence, ...] = attrs.field(default=EVIDENCE, repr=False)
    probe: Probe | ProbeCall | None = None
    classifier: SqlClassifier = DEFAULT_CLASSIFIER
    reads: Callable[[Any], bool] | None = None
    refusal_mark: str = "456"
    queries: bool = True
    # Derived, so that a reply is looked up and never searched for.
    _forms: FormSet = attrs.field(init=False, eq=False, repr=False)
    _verdicts: Mapping[tuple[Fault, Request], Evidence] = attrs.field(init=False, eq=False, repr=False)
    _kinds: Mapping[str, Request] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        findings = self._findings()
        if findings:
            raise ProtocolError([f"{self.name}: {finding}" for finding in findings])
        object.__setattr__(self, "_forms", FormSet(tuple(self.statuses)))
        verdicts = {(row.fault, request): row for row in self.evidence for request in row.requests}
        object.__setattr__(self, "_verdicts", verdicts)
        known = self.methods.values()
        object.__setattr__(
            self, "_kinds", {name: _kind(method, known) for name, method in self.methods.items()}
        )

    def _findings(self) -> list[str]:
        """Return what is wrong with the description, as far as it can be seen without messages."""
        findings: list[str] = []
        given: Any = self  # whatever was given: annotations are no promise
        for field in (
            "session",
            "query",
            "engine",
            "announcement",
            "statement",
            "strategy_key",
            "engine_key",
            "name",
        ):
            value = getattr(given, field)
            if not isinstance(value, str) or not value:
                findings.append(f"{field} must be a name, got {value!r}")
        for name, method in given.methods.items():
            if not isinstance(method, Method):
                findings.append(f"methods[{name!r}] must be a Method, got {method!r}")
            if not isinstance(name, str) or not name or "/" in name:
                bare = str(name).rsplit("/", 1)[-1]
                findings.append(f"methods must have bare names, got {name!r}: write {bare!r}")
        known = [method for method in given.methods.values() if isinstance(method, Method)]
        if given.queries and not any(method.role is Role.BEGIN for method in known):
            findings.append(
                "no method has role BEGIN, so no query can begin: declare one, or pass queries=False"
            )
        if not is_tuple(given.statuses) or not all(isinstance(one, StatusRule) for one in given.statuses):
            findings.append(f"statuses must be a tuple of StatusRule, got {given.statuses!r}")
        findings += _names("proof_keys", given.proof_keys)
        keys: list[tuple[str, Any]] = [("strategy_key", given.strategy_key), ("engine_key", given.engine_key)]
        keys += [("proof_keys", key) for key in given.proof_keys] if is_tuple(given.proof_keys) else []
        for field, key in keys:
            if isinstance(key, str) and not _KEY.fullmatch(key):
                findings.append(
                    f"{field} must be lower case (a-z, 0-9, '_', '-', '.') as gRPC metadata is, got {key!r}"
                )
        findings += check_evidence(given.evidence)
        if isinstance(given.probe, Probe):
            probed = given.methods.get(given.probe.method)
            if isinstance(probed, Method) and _kind(probed, known) not in (Request.ASK, Request.CALL):
                findings.append(
                    f"probe must be a request without effect that belongs to no query, got {given.probe.method!r}"
                )
        return findings

    def kind(self, name: str) -> Request:
        """Return the kind of request that the method with this bare name sends."""
        found = self._kinds.get(name)
        return _kind(self.unknown, self.methods.values()) if found is None else found

    def method(self, path: str) -> tuple[str, Method]:
        """Return the bare name of a method and what it does, from `/Service/method`."""
        name = path.rsplit("/", 1)[-1]
        return name, self.methods.get(name, self.unknown)

    def fault(self, code: str, details: str) -> Fault:
        """Return what a status means, by its whole message."""
        return self._forms.classify(code, details)

    def judge(self, code: str, details: str, request: Request) -> Evidence:
        """Return the one row that says what follows from a status in reply to a kind of request."""
        fault = self._forms.classify(code, details)
        if fault is Fault.ANSWER and self._forms.suspected(details) is not None:
            fault = Fault.SUSPECTED
        return self._verdicts[fault, request]

    def verdict(self, fault: Fault, request: Request) -> Evidence:
        """Return the row of a fault and a kind of request."""
        return self._verdicts[fault, request]

    def suspected(self, details: str) -> Fault:
        """Return the refusal that a message contains; `ANSWER` if it contains none."""
        return self._forms.suspected(details) or Fault.ANSWER

    def is_marked(self, details: str) -> bool:
        """Return whether a message has the mark of a refusal near its beginning."""
        return bool(self.refusal_mark) and self.refusal_mark in details[:SCAN_LIMIT]

    def with_forms(self, rules: Iterable[StatusRule]) -> Protocol:
        """Return this protocol with further forms; they are asked before its own."""
        added = tuple(rules)
        return attrs.evolve(self, statuses=(*added, *self.statuses)) if added else self

    def only_reads(self, request: Any) -> bool:
        """Return whether the statement of a begin provably only reads. What is not provably a read is a write."""
        if self.reads is not None:
            return self.reads(request)
        statement = read(request, self.statement)
        return isinstance(statement, str) and self.classifier.only_reads(statement)

    @property
    def authenticator(self) -> str | None:
        """The name of the method that opens a session, if there is one."""
        return next((name for name, method in self.methods.items() if method.role is Role.AUTHENTICATE), None)

    @property
    def freeing(self) -> tuple[str, ...]:
        """Names of the methods that free a dropped query, the best one first."""
        ends = {name: method.effect for name, method in self.methods.items() if method.role is Role.END}
        return tuple(sorted(ends, key=lambda name: ends[name] != "cleared"))

    def check_messages(self, path: str, request: Any, response: Any, *, stream: bool = False) -> None:
        """Check that the messages of a method have the fields that this description names.

        Args:
            path: `/Service/method`.
            request, response: the message classes; what has no descriptor is not checked.
            stream: whether the method answers with a stream.

        Raises:
            ProtocolError: fields are missing; each finding names the field, the message and the setting.
        """
        name, method = self.method(path)
        if name not in self.methods:
            return
        sent, got = _fields(request), _fields(response)
        needed: list[tuple[str, str, frozenset[str] | None, str]] = []
        if method.role is Role.AUTHENTICATE:
            needed.append(("session", self.session, got, "response"))
        if method.role is Role.BEGIN:
            if not stream:  # the ticket of a stream without id is held until the stream has ended
                needed.append(("query", self.query, got, "response"))
            if self.reads is None:
                needed.append(("statement", self.statement, sent, "request"))
        if method.role in (Role.USE, Role.END):
            needed.append(("query", self.query, sent, "request"))
        needed += [("rows", field, got, "response") for field in method.rows]
        if method.done is not None:
            needed.append(("done", method.done, got, "response"))
        findings = [
            f"{self.name}: the {side} of {name} has no field {field!r} ({setting}); it has: "
            + (", ".join(sorted(have)) or "none")
            for setting, field, have, side in needed
            if have is not None and field not in have
        ]
        if findings:
            raise ProtocolError(findings)

    def routed(
        self, metadata: Iterable[tuple[str, str | bytes]], strategy: Strategy, engine: str | None
    ) -> Metadata:
        """Return `metadata` with the strategy put in place, and with this engine's address or none at all.

        An application's address is never kept: it may be of the other stack, left over from the query before. What a
        server calls one, but has spaces, control characters or no end, is left out: it must not become a header.
        """
        ours = (self.strategy_key, self.engine_key)
        kept = [(key, value) for key, value in metadata if key.lower() not in ours]
        if engine and _ADDRESS.fullmatch(engine):
            kept.append((self.engine_key, engine))
        return (*kept, (self.strategy_key, strategy.value))


def _kind(method: Method, known: Iterable[Method]) -> Request:
    """Return the kind of request that a method sends, in a protocol that has `known` methods."""
    role, executes = method.role, method.effect == "executed"
    if role is Role.AUTHENTICATE:
        return Request.LOGIN
    if role is Role.BEGIN:
        # Something must execute. If nothing says that it does, assume that the begin does.
        return (
            Request.EXECUTE if executes or all(one.effect != "executed" for one in known) else Request.BEGIN
        )
    if role is Role.USE:
        return Request.EXECUTE if executes else Request.LOOK if method.repeatable else Request.FETCH
    if role is Role.END:
        return Request.END
    return Request.ASK if method.repeatable else Request.CALL


def _fields(message: Any) -> frozenset[str] | None:
    """Return the names of a message's fields; None: they cannot be told."""
    descriptor = getattr(message, "DESCRIPTOR", None)
    return None if descriptor is None else frozenset(field.name for field in descriptor.fields)


def read(message: Any, field: str) -> Any:
    """Return a field of a message, or None if the message has no such field."""
    return getattr(message, field, None)


def blank_request(sample: Any, method: str) -> Any:
    """Return an empty request of a method; None: it cannot be told what its message is.

    Args:
        sample: a request of the same service, whose file describes the service.
        method: bare name.
    """
    descriptor = getattr(sample, "DESCRIPTOR", None)
    services = () if descriptor is None else descriptor.file.services_by_name.values()
    for service in services:
        if method in service.methods_by_name:
            # Here, since the commands of operators load this module where no protobuf is installed.
            from google.protobuf.message_factory import GetMessageClass

            return GetMessageClass(service.methods_by_name[method].input_type)()
    return None


def rewritten(message: Any, fields: Mapping[str, Any], *, in_place: bool = False) -> Any:
    """Return `message` with those of `fields` that it has and whose value is not None: a copy, or changed in place."""
    changes = {name: value for name, value in fields.items() if value is not None and hasattr(message, name)}
    if not changes:
        return message
    changed = message if in_place else copy.deepcopy(message)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


_ADDRESS: Final = re.compile(r"[!-~]{1,255}")
_KEY: Final = re.compile(r"[a-z0-9_.-]{1,255}")

Credentials = Callable[[], tuple[Any, Metadata]]
"""Returns the request that opens a session, and its metadata."""
