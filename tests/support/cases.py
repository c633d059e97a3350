"""Cases of the conformance suite: what happens and what must come of it, as data, read from YAML strictly.

A file is a list of cases. A step of a case is a mapping; one of its keys says what it is (`VERBS`), the others
are its arguments. A name that is not known is refused, wherever it stands.

    - name: a read survives its stack
      why: "machine, 3: nobody has seen a row, so it is run again"
      steps:
        - execute: read
        - phase: abrupt
        - fetch: all
          from: green
        - clear: true
      ends:
        executed: {read: 2}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import yaml

from bluegreen.config.settings import Settings, relaxed_bounds
from bluegreen_adapters.testing.engine import InjectedFault
from bluegreen_adapters.testing.engine.faults import CODES
from bluegreen_adapters.testing.engine.options import EngineOptions
from bluegreen_adapters.testing.engine.phases import PHASES, STRATEGIES, Conduct
from bluegreen_adapters.testing.engine.scenarios import script
from support.ways import CAPABILITIES, WAYS

STATEMENTS: Mapping[str, str] = {
    "read": "SELECT 1 /*+ rows(4) batch(2) */",
    "read 2": "SELECT 2 /*+ rows(4) batch(2) */",
    "read 3": "SELECT 3 /*+ rows(4) batch(2) */",
    "long": "SELECT 4 /*+ rows(12) batch(2) */",
    "empty": "SELECT 5 /*+ rows(0) */",
    "with": "WITH w AS (SELECT 1) SELECT * FROM w /*+ rows(2) */",
    "wrong": "SELECT 6 /*+ fail(no such column) */",
    "write": "INSERT INTO t VALUES (1)",
    "write 2": "INSERT INTO t VALUES (2)",
    "write 3": "INSERT INTO t VALUES (3)",
    "update": "UPDATE t SET n = 1",
    "with write": "WITH w AS (SELECT 1) INSERT INTO t SELECT * FROM w",
    "unclear": "CALL a_procedure(1)",
}
"""The statements of all cases. Their texts differ, so that executions can be told apart."""

RPCS: Mapping[str, tuple[str, ...]] = {
    "authenticate": ("authenticate",),
    "prepare": ("prepareStatement", "prepareStatementV2"),
    "execute": ("executeStatement", "executeStatementV2"),
    "describe": ("getResultMetadata",),
    "fetch": ("getNextResultBatch", "getNextResultBatchV2"),
    "status": ("status",),
    "explain": ("explain",),
    "explain_analyse": ("explainAnalyze",),
    "clear": ("clear", "clearOrCancelQuery"),
    "cancel": ("cancelQuery",),
    "schemas": ("getSchemaNames", "getSchemaNamesV2"),
    "tables": ("getTables", "getTablesV2"),
    "columns": ("getColumns", "getColumnsV2"),
    "catalogs": ("getCataloges",),
    "dry_run": ("dryRun", "dryRunV2"),
    "resume": ("cluster.resume",),
}
"""What an RPC is for, and the names that it has on the wire: ways differ in which of them they use."""

ASKS = ("schemas", "tables", "columns", "catalogs", "dry_run", "explain", "explain_analyse", "status")
"""Calls that ask something. The last three are about a query."""

ERRORS = ("lost", "unavailable", "down", "server", "connector")
"""Kinds of errors: `QueryLost`, `StrategyUnavailable`, the server's own answer, the connector's own error.

With `server`, `answer` names the gRPC status of that answer and its whole text.

`down` is what a running read gets when both stacks are out of reach: `StrategyUnavailable`, since no session can
be opened for it. Where no session is opened at all, it may be the transport's error too.
"""


class CaseError(ValueError):
    """A case says something that cannot be understood."""


def _one_of(*accepted: str) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in accepted:
            raise CaseError(f"{attribute.name}: {value!r}; accepted: {', '.join(accepted)}")

    return check


def _optional(check: Any) -> Any:
    return attrs.validators.optional(check)


_stack = _one_of(*STRATEGIES)
_statement = _one_of(*STATEMENTS)
_true = _one_of(True)  # type: ignore[arg-type]


def _conduct(_: object, attribute: attrs.Attribute[Any], value: Mapping[str, Any]) -> None:
    try:
        Conduct(**value)
    except (TypeError, ValueError) as error:
        raise CaseError(f"{attribute.name}: {error}") from None


# -- what happens at the engine


@attrs.frozen
class Phase:
    """A phase begins. `variant` has options of the preset."""

    phase: str = attrs.field(validator=_one_of(*PHASES))
    active: str | None = attrs.field(default=None, validator=_optional(_stack))
    target: str | None = attrs.field(default=None, validator=_optional(_stack))
    blue: dict[str, Any] | None = attrs.field(default=None, validator=_optional(_conduct))
    green: dict[str, Any] | None = attrs.field(default=None, validator=_optional(_conduct))
    variant: dict[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen
class Switch:
    """A whole switch is played, from its first phase to its last."""

    switch: str

    def __attrs_post_init__(self) -> None:
        try:
            script(self.switch)
        except ValueError as error:
            raise CaseError(str(error)) from None


@attrs.frozen
class Arm:
    """A fault is armed. `rpc` says which RPCs it meets, `statement` is one of `STATEMENTS`."""

    fault: dict[str, Any]

    def __attrs_post_init__(self) -> None:
        self.armed()

    def armed(self) -> InjectedFault:
        """Return the fault."""
        fields = dict(self.fault)
        rpcs = fields.pop("rpc", None)
        names = [rpcs] if isinstance(rpcs, str) else rpcs or []
        if unknown := [name for name in names if name not in RPCS]:
            raise CaseError(f"rpc: {unknown[0]!r}; accepted: {', '.join(RPCS)}")
        if "statement" in fields:
            if fields["statement"] not in STATEMENTS:
                raise CaseError(f"statement: {fields['statement']!r}; accepted: {', '.join(STATEMENTS)}")
            fields["statement"] = STATEMENTS[fields["statement"]]
        method = [wire for name in names for wire in RPCS[name]] or None
        try:
            return InjectedFault(method=method, **fields)
        except (TypeError, ValueError) as error:
            raise CaseError(f"fault: {error}") from None


@attrs.frozen
class Disarm:
    """All faults are disarmed."""

    disarm: bool = attrs.field(validator=_true)


@attrs.frozen
class Expire:
    """Every session of a stack expires."""

    expire: str = attrs.field(validator=_stack)


@attrs.frozen
class Hold:
    """A way that fetches ahead gets no answer to fetch number `hold` of a query until the next phase, so
    that it has no more rows than the others when that phase begins."""

    hold: int


# -- what the application does


def _by(value: str) -> tuple[str, str]:
    connection, _, cursor = value.partition(".")
    return connection, cursor or "c"


def _by_given(_: object, attribute: attrs.Attribute[Any], value: str) -> None:
    if not all(part.isidentifier() for part in value.split(".")) or value.count(".") > 1:
        raise CaseError(f"{attribute.name}: {value!r}; accepted is a connection, or connection.cursor")


def _answer_given(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    match value:
        case None:
            return
        case [code, str()] if code in CODES:
            return
    raise CaseError(f"{attribute.name}: {value!r}; accepted is a list of a gRPC status and the whole text")


@attrs.frozen(kw_only=True)
class _Act:
    """`by` names connection and cursor, which are opened when they are first named. `raises` is the kind of
    error that is expected, `says` a regular expression that its message contains, `answer` the status and the
    whole text of the server's own answer. `patient` repeats the call as long as it says that no strategy can be
    used: until a cool-down is over. `requests` is what the call takes fewer requests than, if that is not the
    usual number."""

    by: str = attrs.field(default="a", validator=_by_given)
    raises: str | None = attrs.field(default=None, validator=_optional(_one_of(*ERRORS)))
    says: str | None = None
    answer: list[str] | None = attrs.field(default=None, validator=_answer_given)
    patient: bool = False
    requests: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.answer is not None and self.raises != "server":
            raise CaseError(f"answer: {self.answer!r} without `raises: server`")

    @property
    def connection(self) -> str:
        """The name of the connection."""
        return _by(self.by)[0]

    @property
    def cursor(self) -> str:
        """The name of the cursor."""
        return _by(self.by)[1]


@attrs.frozen
class Open(_Act):
    """A connection is opened; `by` has its name."""

    open: bool = attrs.field(validator=_true)


@attrs.frozen
class Execute(_Act):
    """A statement is executed on a cursor."""

    execute: str = attrs.field(validator=_statement)


@attrs.frozen
class Fetch(_Act):
    """Rows are fetched: so many, or all that are left; all come from one stack, in order, without a gap."""

    fetch: int | str
    source: str | None = attrs.field(default=None, validator=_optional(_stack))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.fetch != "all" and not (isinstance(self.fetch, int) and self.fetch > 0):
            raise CaseError(f"fetch: {self.fetch!r}; accepted: all, or a number from 1")
        if (self.source is None) == (self.raises is None):
            raise CaseError("fetch: either `from` or `raises` says what is expected")


@attrs.frozen
class Query(_Act):
    """A statement is executed, all its rows are fetched, and it is cleared."""

    query: str = attrs.field(validator=_statement)
    source: str | None = attrs.field(default=None, validator=_optional(_stack))


@attrs.frozen
class Clear(_Act):
    """The query of a cursor is ended."""

    clear: bool = attrs.field(validator=_true)


@attrs.frozen
class Cancel(_Act):
    """The query of a cursor is cancelled."""

    cancel: bool = attrs.field(validator=_true)


@attrs.frozen
class Ask(_Act):
    """One of `ASKS`; the answer is always the same, whatever stack it comes from."""

    ask: str = attrs.field(validator=_one_of(*ASKS))


@attrs.frozen
class Close(_Act):
    """A cursor or a connection is closed."""

    close: str = attrs.field(validator=_one_of("cursor", "connection"))


@attrs.frozen
class LetGo(_Act):
    """A cursor or a connection is dropped without being closed, and garbage is collected."""

    let_go: str = attrs.field(validator=_one_of("cursor", "connection"))


# -- what is seen in between


@attrs.frozen
class Believes:
    """What the manager of the scope believes now."""

    believes: dict[str, Any]

    def __attrs_post_init__(self) -> None:
        unknown = set(self.believes) - {"state", "active", "pending", "tickets"}
        if unknown:
            raise CaseError(
                f"believes: {', '.join(sorted(unknown))}; accepted: state, active, pending, tickets"
            )


Step = (
    Phase | Switch | Arm | Disarm | Expire | Hold | Open | Execute | Fetch | Query | Clear | Cancel | Ask | Close
    | LetGo | Believes
)  # fmt: skip

VERBS: Mapping[str, Any] = {
    attrs.fields(kind)[0].name if not issubclass(kind, _Act) else attrs.fields(kind)[-1].name: kind
    for kind in (Phase, Switch, Arm, Disarm, Expire, Hold, Open, Execute, Clear, Cancel, Ask, Close, LetGo, Believes)
} | {"fetch": Fetch, "query": Query}  # fmt: skip
"""The key that says what a step is, and the step."""


@attrs.frozen
class Ends:
    """What must hold when all is over. Always: nothing was misrouted, and no ticket is open.

    Args:
        executed: how often each statement was executed: exactly so, and no other statement.
        authentications: how many sessions each stack opened at most; by default one for each connection.
        open_queries: queries that each stack still holds; none by default. `any` where ways differ.
        active: the stack that the manager takes for the active one.
        requests: how many requests of a kind each stack got, exactly.
    """

    executed: dict[str, int]
    authentications: dict[str, int] | None = None
    open_queries: dict[str, Any] = attrs.field(factory=dict[str, Any])
    active: str | None = attrs.field(default=None, validator=_optional(_stack))
    requests: dict[str, dict[str, int]] = attrs.field(factory=dict[str, Any])

    def __attrs_post_init__(self) -> None:
        for name, given, accepted in (
            ("executed", self.executed, STATEMENTS),
            ("authentications", self.authentications or {}, STRATEGIES),
            ("open_queries", self.open_queries, STRATEGIES),
            ("requests", self.requests, RPCS),
        ):
            if unknown := [key for key in given if key not in accepted]:
                raise CaseError(f"{name}: {unknown[0]!r}; accepted: {', '.join(accepted)}")


@attrs.frozen
class Case:
    """One case.

    Args:
        name: its name; no other case has it.
        why: the rule that it checks.
        steps: what happens.
        ends: what must hold then.
        needs: capabilities that it needs beyond those that follow from its steps.
        not_for: ways that it does not apply to, and why.
        engine: options of the engine that differ from the usual ones.
        settings: settings that differ from the usual ones of tests.
    """

    name: str
    why: str
    steps: tuple[Step, ...]
    ends: Ends
    needs: frozenset[str] = frozenset()
    not_for: Mapping[str, str] = attrs.field(factory=dict[str, str])
    engine: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    settings: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    def __attrs_post_init__(self) -> None:
        if unknown := self.needs - set(CAPABILITIES):
            raise CaseError(f"needs: {', '.join(sorted(unknown))}; accepted: {', '.join(CAPABILITIES)}")
        if unknown := set(self.not_for) - set(WAYS):
            raise CaseError(f"not_for: {', '.join(sorted(unknown))}; accepted: {', '.join(WAYS)}")
        try:
            EngineOptions(**self.engine)
            with relaxed_bounds():
                Settings(**self.settings)
        except (TypeError, ValueError) as error:
            raise CaseError(str(error)) from None

    def inapplicable(self, way: str) -> str | None:
        """Return why this case does not apply to a way, or none if it does."""
        lacks = WAYS[way].lacks
        if WAYS[way].absent is not None:
            return WAYS[way].absent
        for need in sorted(self.needs, key=lambda need: (need != "queries", need)):
            if need in lacks:
                return f"no {need}: {lacks[need]}"
        return self.not_for.get(way)


# -- from YAML


_KEYWORDS: Mapping[str, str] = {"source": "from"}
"""Fields whose key is no name in Python."""


def step_of(data: Any) -> Step:
    """Return one step.

    Raises:
        CaseError: it is no step.
    """
    if not isinstance(data, dict):
        raise CaseError(f"{data!r} is no step: a mapping is")
    verbs = [key for key in data if key in VERBS]
    if len(verbs) != 1:
        raise CaseError(f"{data!r}: one of these keys says what a step is: {', '.join(VERBS)}")
    return _made(VERBS[verbs[0]], data)


def _made(kind: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise CaseError(f"{data!r} is no {kind.__name__}: a mapping is")
    fields = {_KEYWORDS.get(field.name, field.name): field for field in attrs.fields(kind)}
    if unknown := [str(key) for key in data if key not in fields]:
        raise CaseError(f"{kind.__name__} has no {', '.join(unknown)}; accepted: {', '.join(fields)}")
    missing = [key for key, field in fields.items() if field.default is attrs.NOTHING and key not in data]
    if missing:
        raise CaseError(f"{kind.__name__} needs {', '.join(missing)}")
    return kind(**{fields[key].name: value for key, value in data.items()})


def case_of(data: Any) -> Case:
    """Return one case.

    Raises:
        CaseError: it is no case; the message names it if it has a name.
    """
    if not isinstance(data, dict):
        raise CaseError(f"{data!r} is no case: a mapping is")
    try:
        fields = dict(data)
        steps = tuple(step_of(step) for step in fields.get("steps", ()))
        fields["steps"] = steps
        if "ends" in fields:
            fields["ends"] = _made(Ends, fields["ends"])
        fields["needs"] = frozenset(fields.get("needs", ())) | needs_of(steps)
        return _made(Case, fields)
    except CaseError as error:
        raise CaseError(f"{data.get('name', 'a case without a name')}: {error}") from None


def needs_of(steps: Sequence[Step]) -> frozenset[str]:
    """Return the capabilities that follow from the steps of a case."""
    needs = {"queries"}
    live: set[tuple[str, str]] = set()
    for step in steps:
        needs |= _needed(step, live)
        if isinstance(step, Execute | Query):
            me = (step.connection, step.cursor)
            if me in live and isinstance(step, Execute):
                needs.add("reuse")
            if any(
                connection == step.connection and (connection, cursor) != me for connection, cursor in live
            ):
                needs.add("cursors")
            if isinstance(step, Query) and me in live:
                needs.add("cursors")
            if isinstance(step, Execute) and step.raises is None:
                live.add(me)
        if isinstance(step, Clear | Close | LetGo) or (isinstance(step, _Act) and step.raises is not None):
            live.discard((step.connection, step.cursor))
    return frozenset(needs)


def _needed(step: Step, live: set[tuple[str, str]]) -> set[str]:
    match step:
        case Cancel():
            return {"cancel"}
        case Ask(ask="explain" | "explain_analyse"):
            return {"explain"}
        case Ask():
            return {step.ask}
        case LetGo(let_go="cursor"):
            return {"let_go"}
        case Expire() | Arm(fault={"action": "access_denied"}) | Arm(fault={"rpc": "authenticate"}):
            return {"session"}
        case _:
            return set()


def read_cases(path: Path) -> tuple[Case, ...]:
    """Return the cases of a file.

    Raises:
        CaseError: a case cannot be understood, or two have one name.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(data, list):
        raise CaseError(f"{path.name}: a list of cases is expected")
    cases = tuple(case_of(item) for item in data)
    names = [case.name for case in cases]
    if len(set(names)) != len(names):
        raise CaseError(f"{path.name}: a name is used twice")
    return cases


def all_cases(folder: Path) -> tuple[Case, ...]:
    """Return the cases of all files in a folder; each has a name of its own.

    Raises:
        CaseError: a case cannot be understood, or two have one name.
    """
    cases = [case for path in sorted(folder.glob("*.yaml")) for case in read_cases(path)]
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise CaseError(f"{case.name}: the name is used twice")
        seen.add(case.name)
    return tuple(cases)
