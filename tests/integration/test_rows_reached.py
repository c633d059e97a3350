"""Every row of a shipped table is one that production takes, and every effect is one that production carries out.

Scripts drive the adapters against the test engine and a store; the steps that they lead to are counted.
"""

from __future__ import annotations

import ast
import sys
from itertools import product
from pathlib import Path
from typing import Any, Final, get_args

import attrs
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

import bluegreen.machines.lease
import bluegreen.runtime
import bluegreen_adapters.connection
from bluegreen.machines.lease import LEASE, Grant
from bluegreen.machines.query import QUERY, QueryEffect
from bluegreen.machines.retry import RETRY, RetryEffect
from bluegreen.machines.store_sync import SHARING, SharingEffect
from bluegreen.machines.strategy.effects import Authenticate, StrategyEffect
from bluegreen.machines.strategy.events import Reset
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.machines.strategy.timers import TIMERS
from bluegreen.table.rows import RowKind
from bluegreen.table.table import Table
from bluegreen.verify.coverage.recorder import CoverageRecorder
from support import row_driver, wire_subjects
from support.engine import WRITE, until

pytestmark = [pytest.mark.integration, pytest.mark.unjournaled]

TABLES: Final[tuple[Table[Any, Any, Any], ...]] = (STRATEGY, QUERY, RETRY, SHARING, LEASE)
EFFECTS: Final[tuple[type[Any], ...]] = (
    *get_args(StrategyEffect),
    *get_args(QueryEffect),
    *get_args(RetryEffect),
    *get_args(SharingEffect),
    Grant,
)

UNREACHED: Final = {
    **{
        f"{state.name}.{timer.event.name}": "the timer does not run in this state, so its event does not come"
        for timer, state in product(TIMERS, STRATEGY.states)
        if state.name not in timer.states
        and not isinstance(timer.event, Reset)  # an operator sends that, too
    },
    **{
        f"{state.name}.detection_timed_out": "another thread must end the detection just when its time is over"
        for state in STRATEGY.states
        if "waits" not in state.tags
    },
    "Executing.exhausted": "the batch that ends a result is reported first",
    "Detecting.cooldown_ended[rolled back]": "the timer does not run while a rollback holds",
    "Stable.cooldown_ended[rolled back]": "the timer does not run while a rollback holds",
    "Executing.rows_handed_out": "it is sent only if the connector has received rows",
    "Fetching.rows_handed_out[!rows received]": "it is sent only if the connector has received rows",
    "Completed.prepared": "to end a query waits until it has begun again",
    "Failed.prepared": "to fail a query waits until it has begun again",
    "Apart.write_accepted": "another thread must meet a failure of the store while a write is under way",
    "Apart.write_refused": "another thread must meet a failure of the store while a write is under way",
    "Joined.record_read[same store & nothing new & decided since]": "another thread must decide during a write",
    "Free.lease_expired": "nobody looks at the time of a lease that nobody has",
}
"""Rows that the scripts do not take, by name, with the reason. Rows that forbid an event are not asked for at all:
production does not send what is forbidden, and unit tests take each of them."""

CARRIED_OUT_ELSEWHERE: Final[dict[type[Any], str]] = {
    Authenticate: "whoever has a connection reads the strategy off the context"
}
"""Effects whose fields nobody reads, with the reason."""


@attrs.frozen
class Driven:
    """What the scripts have led to.

    Args:
        recorder: the steps that were taken.
        read: fields of effects that production has read.
    """

    recorder: CoverageRecorder
    read: set[tuple[type[Any], str]]

    def untaken(self, table: Table[Any, Any, Any]) -> tuple[str, ...]:
        """Return the names of the rows that were not taken."""
        return self.recorder.tally(table).coverage().untaken

    def missed(self, table: Table[Any, Any, Any]) -> list[str]:
        """Return the names of those that should have been."""
        untaken = self.untaken(table)
        return [
            row.name
            for row in table.rows
            if row.name in untaken and row.outcome is not RowKind.FORBID and row.name not in UNREACHED
        ]


@pytest.fixture(scope="module")
def driven() -> Driven:
    found = Driven(CoverageRecorder(TABLES), set())
    with pytest.MonkeyPatch.context() as patched, found.recorder.installed():
        for cls in EFFECTS:
            _watch(patched, cls, found.read)
        with row_driver.rigs() as rig_of:
            row_driver.renewals(rig_of)
            row_driver.queries(rig_of)
            row_driver.collections(rig_of)
            row_driver.two_connections(rig_of)
            row_driver.late_answers(rig_of)
        row_driver.stores(60)
        row_driver.leases()
        with wire_subjects.connections() as connection_of:
            row_driver.walk(connection_of, lambda: found.missed(STRATEGY), runs=60)
    return found


def _watch(patched: pytest.MonkeyPatch, cls: type[Any], read: set[tuple[type[Any], str]]) -> None:
    """Note which fields of an effect are read where effects are carried out."""
    names = {field.name for field in attrs.fields(cls)}

    def watched(self: Any, name: str) -> Any:
        if name in names:
            module = str(sys._getframe(1).f_globals.get("__name__", ""))
            if module.startswith(("bluegreen.runtime.", "bluegreen_adapters.", "bluegreen.machines.lease")):
                read.add((cls, name))
        return object.__getattribute__(self, name)

    patched.setattr(cls, "__getattribute__", watched)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_of_a_shipped_table_is_taken_by_production(
    driven: Driven, table: Table[Any, Any, Any]
) -> None:
    assert driven.missed(table) == []


def test_every_exception_is_a_row_that_was_not_taken(driven: Driven) -> None:
    untaken = {name for table in TABLES for name in driven.untaken(table)}
    assert sorted(set(UNREACHED) - untaken) == []


@pytest.mark.parametrize("cls", EFFECTS, ids=lambda cls: cls.__name__)
def test_every_field_of_an_effect_is_read_by_what_carries_it_out(driven: Driven, cls: type[Any]) -> None:
    unread = [field.name for field in attrs.fields(cls) if (cls, field.name) not in driven.read]
    assert bool(unread) is (cls in CARRIED_OUT_ELSEWHERE), unread


@pytest.mark.parametrize("cls", EFFECTS, ids=lambda cls: cls.__name__)
def test_every_effect_has_code_that_carries_it_out(cls: type[Any]) -> None:
    assert (cls.__name__ in _handled()) is (cls not in CARRIED_OUT_ELSEWHERE)


def _handled() -> set[str]:
    """Return the names of classes that a `case` with code, or an `isinstance`, of the production code names."""
    folders = (bluegreen.runtime, bluegreen_adapters.connection)
    files = [file for package in folders for folder in package.__path__ for file in Path(folder).glob("*.py")]
    files.append(Path(bluegreen.machines.lease.__file__))
    found: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.match_case) and not all(isinstance(one, ast.Pass) for one in node.body):
                found |= _named(node.pattern)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                found |= _named(node.args[1])
    return found


def _named(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def test_authenticate_after_an_announcement_opens_a_session_there() -> None:
    """The effect has no field that anybody reads, so what it leads to is looked at."""
    with row_driver.rigs() as rig_of, rig_of() as rig:
        rig.held = rig.other.started(WRITE)
        rig.engine.reset_statistics()
        row_driver.announce(rig, "green")
        until(lambda: rig.engine.statistics().requests.get("authenticate", {}) == {"green": 1})
        assert rig.manager.state == "PendingTransition"
