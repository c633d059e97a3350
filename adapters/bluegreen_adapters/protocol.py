"""A wire protocol as data: what each method is for, where ids stand in messages, what a status means.

This module is pure: it knows no gRPC and does no I/O. A connector author describes a protocol here, and
`link.py` does the rest.

    >>> protocol = Protocol("toy", methods={"login": Method(Role.AUTHENTICATE), "run": Method(Role.BEGIN)})
    >>> protocol.fault("UNKNOWN", "status: 456, wrong strategy").value
    'wrong strategy'
"""

from __future__ import annotations

import copy
import enum
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import attrs

from bluegreen.vocabulary import Strategy

Metadata = tuple[tuple[str, str | bytes], ...]
"""gRPC metadata: pairs of key and value."""


class Role(enum.Enum):
    """What a method is for.

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


class Fault(enum.Enum):
    """What a status means to the machines.

    - `WRONG_STRATEGY`: the gateway refused the request; it took no effect.
    - `NOT_AUTHENTICATED`: the session is not, or no longer, accepted; the request took no effect.
    - `GONE`: the stack does not know the query, so it has been taken down and is up again: nothing but the
      query is lost.
    - `TRANSIENT`: the transport failed; whether the request took effect is unknown.
    - `AMBIGUOUS`: the request was given up; the same is unknown.
    - `UNSUPPORTED`: the server does not know this method; nothing else is wrong.
    - `ANSWER`: the server's own answer, which is the application's.
    """

    WRONG_STRATEGY = "wrong strategy"
    NOT_AUTHENTICATED = "not authenticated"
    GONE = "query gone"
    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"
    UNSUPPORTED = "unsupported"
    ANSWER = "answer"


@attrs.frozen
class StatusRule:
    """A status that means `fault`: one of `codes` (none: any), with details in which `pattern` is found.

    Args:
        codes: names of gRPC status codes, such as `UNAVAILABLE`.
        pattern: a regular expression; case does not matter.
    """

    fault: Fault
    codes: tuple[str, ...] = ()
    pattern: str = ""

    def matches(self, code: str, details: str) -> bool:
        """Whether a status is meant."""
        return (not self.codes or code in self.codes) and bool(
            re.search(self.pattern, details, re.IGNORECASE)
        )


@attrs.frozen
class Method:
    """What one method does.

    Args:
        role: what it is for.
        effect: what its success means to the query: `executed`, `fetched`, `cleared` or `cancelled`.
        repeatable: whether sending it again after the transport failed does no harm.
        rows: response fields of which one is not empty if the response hands out rows.
        done: response field that is true if no further rows will come.
    """

    role: Role
    effect: Literal["executed", "fetched", "cleared", "cancelled"] | None = None
    repeatable: bool = False
    rows: tuple[str, ...] = ()
    done: str | None = None


_TRANSPORT: Final = (
    StatusRule(Fault.TRANSIENT, ("UNAVAILABLE",)),
    StatusRule(Fault.AMBIGUOUS, ("DEADLINE_EXCEEDED", "CANCELLED")),
    StatusRule(Fault.UNSUPPORTED, ("UNIMPLEMENTED",)),
)


@attrs.frozen
class Protocol:
    """A wire protocol. The defaults are the names of the e6data protocol.

    Args:
        name: for messages.
        methods: by bare name, without the service.
        statuses: the first rule that matches decides; transport errors come after them, and what matches
            nothing is the server's own answer, which goes to the application.
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
    """

    name: str
    methods: Mapping[str, Method]
    statuses: tuple[StatusRule, ...] = (StatusRule(Fault.WRONG_STRATEGY, pattern=r"status:\s*456\b"),)
    session: str = "sessionId"
    query: str = "queryId"
    engine: str = "engineIP"
    announcement: str = "new_strategy"
    statement: str = "queryString"
    strategy_key: str = "strategy"
    engine_key: str = "plannerip"
    proof_keys: tuple[str, ...] = ("authorization",)
    unknown: Method = Method(Role.FREE)

    def method(self, path: str) -> tuple[str, Method]:
        """Return the bare name of a method and what it does, from `/Service/method`."""
        name = path.rsplit("/", 1)[-1]
        return name, self.methods.get(name, self.unknown)

    def fault(self, code: str, details: str) -> Fault:
        """Return what a status means."""
        for rule in (*self.statuses, *_TRANSPORT):
            if rule.matches(code, details):
                return rule.fault
        return Fault.ANSWER

    @property
    def authenticator(self) -> str | None:
        """The name of the method that opens a session, if there is one."""
        return next((name for name, method in self.methods.items() if method.role is Role.AUTHENTICATE), None)

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


def read(message: Any, field: str) -> Any:
    """Return a field of a message, or none if the message has no such field."""
    return getattr(message, field, None)


def rewritten(message: Any, fields: Mapping[str, Any]) -> Any:
    """Return a copy of `message` with those of `fields` that it has and whose value is not none."""
    changes = {name: value for name, value in fields.items() if value is not None and hasattr(message, name)}
    if not changes:
        return message
    changed = copy.deepcopy(message)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


_ADDRESS: Final = re.compile(r"[!-~]{1,255}")

# What stands in `/*! ... */` is a comment to some servers, and a statement to others.
_LEADING: Final = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*(?!!).*?\*/|\()+", re.DOTALL)
_READING: Final = re.compile(r"(select|values|show|describe|desc|with)\b", re.IGNORECASE)
_WRITING: Final = re.compile(
    r"\b(insert|update|delete|merge|into|upsert|create|drop|alter|truncate|call|grant|revoke|lock|nextval|set)\b",
    re.IGNORECASE,
)


def only_reads(statement: str) -> bool:
    """Whether a statement provably only reads. What is not provably a read is a write.

    It begins like a query, is a single statement, and contains no word that writes, not even in a string:
    to take a read for a write costs a replay that nobody gets; the opposite costs data.

    >>> only_reads("SELECT 1"), only_reads("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x")
    (True, False)

    Source: spec, section 3.
    """
    leading = _LEADING.match(statement)
    text = statement[leading.end() :] if leading else statement
    single = ";" not in text.rstrip().rstrip(";")
    return bool(_READING.match(text)) and single and not _WRITING.search(text)


Credentials = Callable[[], tuple[Any, Metadata]]
"""Returns the request that opens a session, and its metadata."""
