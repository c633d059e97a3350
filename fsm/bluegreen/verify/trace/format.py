"""The lines of a journal: what is written of each step, so that whoever reads it can take the step again.

A journal is a text of JSON objects, one a line, of four kinds:

- `first_line`: a process begins to write.
- `opened`: from here on the steps of one manager are in it; where the machine stands, and its settings.
- a record: one step that changed something. Its numbers come first: `sequence`, the versions, the ticket that
  it issued or ended. What follows in `step` is the same for the same step of another query.
- `closed`: the process writes no more; how many lines it wrote.

Every line ends with `crc`, a check sum of the line up to there and of all lines since `first_line`. It finds what
went wrong by accident or by a careless edit. It is no signature: who can write the file can compute it anew.

    >>> text = first_line(41, 1700000000.0)
    >>> line, crc = sealed(text, 0)
    >>> line
    b'{"journal":"begun","format":1,"process":41,"at":1700000000.0,"crc":"e9bbf32a"}\\n'
"""

from __future__ import annotations

import json
import zlib
from functools import lru_cache
from typing import Any, Final

import attrs

from bluegreen.config.settings import Settings, without_credentials
from bluegreen.machines.strategy.context import COUNTS, Context
from bluegreen.runtime.telemetry import Record, Snapshot
from bluegreen.table.rows import Row
from bluegreen.table.step import Step
from bluegreen.types import Scope, Strategy, Ticket

FORMAT: Final = 1
"""The version of this format, which stands in `first_line`."""

FORMER_ROWS: Final = {
    "Detecting.auth_failure[fresh & untried & !others served & another untried]":
        "Detecting.auth_failure[fresh & untried & another untried]",
    "Detecting.auth_failure[fresh & untried & !others served & !another untried]":
        "Detecting.auth_failure[fresh & untried & !another untried]",
    "Stable.query_started[!alone]": "Stable.query_started",
    "Stable.auth_failure[fresh & is active & !others served & verified]":
        "Stable.auth_failure[fresh & is active & verified]",
    "Stable.auth_failure[fresh & is active & !others served & !verified]":
        "Stable.auth_failure[fresh & is active & !verified]",
    "Stable.persistent_failure[fresh & is active & !others served & verified]":
        "Stable.persistent_failure[fresh & is active & verified]",
    "Stable.persistent_failure[fresh & is active & !others served & !verified]":
        "Stable.persistent_failure[fresh & is active & !verified]",
    "Detecting.cooldown_ended[!rolled back]": "Detecting.cooldown_ended",
    "Stable.cooldown_ended[!rolled back]": "Stable.cooldown_ended",
    "PendingTransition.strategy_announced[fresh & is active & !rolled back]":
        "PendingTransition.strategy_announced[fresh & is active]",
    "PendingTransition.query_started[!alone]": "PendingTransition.query_started",
    "PendingTransition.auth_failure[fresh & is pending & !others served]":
        "PendingTransition.auth_failure[fresh & is pending]",
    "PendingTransition.persistent_failure[fresh & is pending & !others served]":
        "PendingTransition.persistent_failure[fresh & is pending]",
}  # fmt: skip
"""For rows that were narrowed: the name under which older journals have what they do. So these can still be read."""

KNOWN_LIMIT: Final = 1024
"""How many steps `Short` remembers; then all of them are forgotten."""

_WORD: Final[dict[Any, str]] = {None: "null", True: "true", False: "false"} | {
    strategy: f'"{strategy.value}"' for strategy in Strategy
}
_quoted: Final = lru_cache(maxsize=1024)(json.dumps)


def sealed(text: str, crc: int) -> tuple[bytes, int]:
    """Return a line with its check sum, as it is written, and the check sum with which the next line goes on.

    Args:
        text: an object without its closing brace.
        crc: the check sum of the line before; 0 for `first_line`.
    """
    data = text.encode()
    crc = zlib.crc32(data, crc)
    return b'%b,"crc":"%08x"}\n' % (data, crc), crc


def first_line(process: int, at: float) -> str:
    """Return the line that a process begins with: its id, and seconds since 1970."""
    return f'{{"journal":"begun","format":{FORMAT},"process":{process},"at":{at!r}'


def closed(lines: int) -> str:
    """Return the line that a process ends with: how many lines came before it."""
    return f'{{"journal":"closed","lines":{lines}'


def opened(manager: int, scope: Scope, snapshot: Snapshot, settings: Settings) -> str:
    """Return the line after which the steps of a manager follow.

    Args:
        manager: its number within the journal, since a scope may get another manager.
        snapshot: where it stands; its first record is one later.
    """
    values = {**attrs.asdict(settings), "store": without_credentials(settings.store)}
    chosen = json.dumps(values, separators=(",", ":"))
    return (
        f'{{"journal":"opened","manager":{manager},"scope":{_quoted(str(scope))},"sequence":{snapshot.sequence},'
        f'"version":{snapshot.context.state_version},"at":{situation(snapshot.state, snapshot.context)},'
        f'"settings":{chosen}'
    )


def recorded(manager: int, record: Record) -> str:
    """Return the line of one step. Pure.

    Args:
        manager: the number of the record's manager within the journal.
    """
    before = record.before
    step = stepped(before.state, before.context, record.event, record.step)
    ticket = record.ticket or getattr(record.event, "ticket", None)
    return _join(_beginning(manager, record.scope), record, ticket, step)


def _beginning(manager: int, scope: Scope) -> str:
    return f'{{"scope":{_quoted(str(scope))},"manager":{manager},"sequence":'


def _join(beginning: str, record: Record, ticket: Ticket | None, step: str) -> str:
    return f'{beginning}{record.sequence},"at_s":{record.at_s:.6f}{_versions(record)}{_ticket(ticket)},"step":{step}'


def _versions(record: Record) -> str:
    version = getattr(record.event, "state_version", "null")
    return (
        f',"version":{{"before":{record.before.context.state_version},"after":{record.step.context.state_version},'
        f'"event":{version}}},"ticket":'
    )


class Short:
    """The lines of the steps of one manager, for who writes them all: what `recorded` makes, but shorter.

    A step that only starts or ends a query is the same as the one before at which as many were open: a step is a pure
    function of what stands in its line, and nothing else has changed since. In its place then stands the number that
    it has among the steps that were written whole. `Whole` undoes that.

    Args:
        manager: the number of the manager within the journal.
        scope: its scope.
    """

    def __init__(self, manager: int, scope: Scope) -> None:
        self._begins = _beginning(manager, scope)
        self._known: dict[tuple[int, ...], tuple[str, str]] = {}
        self._whole = 0

    def of(self, record: Record) -> str:
        """Return the line of the step that follows the one of the last call; the first may be any."""
        (state, before, _), event, step = record.before, record.event, record.step
        after = step.context
        ticket = record.ticket or getattr(event, "ticket", None)
        if ticket is None or after.state_version != before.state_version or step.state != state:
            self._known.clear()
            return self._in_full(record, ticket)
        key = (
            id(step.row), before.open_blue, before.open_green, after.open_blue, after.open_green, ticket.state_version,
            ticket.strategy is Strategy.BLUE,
        )  # fmt: skip
        around = self._known.get(key)
        if around is not None:
            return f'{self._begins}{record.sequence},"at_s":{record.at_s:.6f}{around[0]}{ticket.query}{around[1]}'
        counted = attrs.evolve(before, open_blue=after.open_blue, open_green=after.open_green)
        if counted != after or len(self._known) >= KNOWN_LIMIT:
            self._known.clear()
        line = self._in_full(record, ticket)
        if counted == after:
            begins, ends = _ticket(ticket).split(str(ticket.query), 1)
            self._known[key] = f"{_versions(record)}{begins}", f'{ends},"step":{self._whole}'
        return line

    def _in_full(self, record: Record, ticket: Ticket | None) -> str:
        self._whole += 1
        step = stepped(record.before.state, record.before.context, record.event, record.step)
        return _join(self._begins, record, ticket, step)


class Whole:
    """Undoes what `Short` does: it needs the lines of a journal from where their managers were opened."""

    def __init__(self) -> None:
        self._steps: dict[str, list[str]] = {}

    def of(self, text: str) -> str:
        """Return the line of a step as `recorded` makes it.

        Raises:
            ValueError: it names a step that was not written before it.
        """
        begins, _, step = text.rpartition(',"step":')
        steps = self._steps.setdefault(begins.partition('"manager":')[2].partition(",")[0], [])
        if step.startswith("{"):
            steps.append(step)
            return text
        if not step.isdecimal() or not 0 < int(step) <= len(steps):
            raise ValueError(f"step is {step}, and {len(steps)} were written whole before it")
        return f'{begins},"step":{steps[int(step) - 1]}'


def stepped(state: str, context: Context, event: Any, step: Step) -> str:
    """Return the part of a record's line that the table decides, the versions aside."""
    strategy, alone = getattr(event, "strategy", None), getattr(event, "alone", None)
    told = "" if strategy is None else f',"strategy":{_WORD[strategy]}'
    # Written only where it says something: so lines are as they were before there were these fields.
    if alone is not None:
        told += f',"alone":{_WORD[alone]}'
    if getattr(event, "served_since", False):
        told += ',"served_since":true'
    effects = ",".join([_quoted(type(effect).__name__) for effect in step.effects])
    return (
        f'{{"before":{situation(state, context)},"event":{{"name":{_quoted(event.name)}{told}}},'
        f'"row":{_row(step.row)},"after":{situation(step.state, step.context)},"effects":[{effects}]}}'
    )


def formerly(step: str, row: Row) -> str:
    """Return the part of a record's line that `stepped` has made as older journals have it."""
    former = FORMER_ROWS.get(row.name)
    return step if former is None else step.replace(f'"row":{_row(row)}', f'"row":{json.dumps(former)}')


@lru_cache(maxsize=256)  # of a version there are few, and another version's do not come again
def situation(state: str, context: Context) -> str:
    """Return a state and a context, without its version and its settings.

    What is counted in a row, and a rollback, stand in it only if there is any, so that older journals can be read.
    """
    counts = "".join(f',"{name}":{count}' for name in COUNTS if (count := getattr(context, name)))
    rolled_back = ',"rolled_back":true' if context.rolled_back else ""
    untried = ",".join([_WORD[strategy] for strategy in context.untried])
    return (
        f'{{"state":{_quoted(state)},"active":{_WORD[context.active]},"pending":{_WORD[context.pending]},'
        f'"previous":{_WORD[context.previous]},"untried":[{untried}],'
        f'"held_down":{_WORD[context.held_down]},"open_blue":{context.open_blue},'
        f'"open_green":{context.open_green},"verified":{_WORD[context.verified]},'
        f'"proved":{_WORD[context.proved]}{counts}{rolled_back}}}'
    )


def _ticket(ticket: Ticket | None) -> str:
    if ticket is None:
        return "null"
    return f'{{"query":{ticket.query},"strategy":{_WORD[ticket.strategy]},"version":{ticket.state_version}}}'


@lru_cache(maxsize=1024)
def _row(row: Row) -> str:
    return json.dumps(row.name)
