"""State machines of Hypothesis: the manager and both channels are held against the table, event by event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    CacheInvalidated,
    ConnectionOpened,
    DetectionTimedOut,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.types import Strategy
from bluegreen.verify.hypothesis.profiles import chosen
from bluegreen.verify.hypothesis.stateful import StateMachine, state_machine_for
from support.subjects import ARGUMENTS, BusyManager
from support.telling import tell

pytestmark = [pytest.mark.unjournaled, pytest.mark.timeout(3600)]

PROFILE = chosen()
CHANNELS = ("threads", "asyncio")


def told(what: str, machine: type[StateMachine], runs: int, beyond: Mapping[str, str]) -> None:
    """Print at the end of the test run what was taken, and what was not.

    Args:
        beyond: rows that cannot be taken here, with the reasons.
    """
    coverage, tally = machine.tally.coverage(), machine.tally
    tell(f"{what}: {runs:,} runs, {tally.steps:,} steps; {coverage}; {len(tally.pairs)} pairs of rows")
    for why in dict.fromkeys(beyond.values()):
        names = [name for name in coverage.untaken if beyond.get(name) == why]
        tell(f"    cannot be taken: {len(names)} ({why}): {', '.join(names)}")
    missed = [name for name in coverage.untaken if name not in beyond]
    if missed:
        tell(f"    missed: {len(missed)}: {', '.join(missed)}")


ManagerMachine = state_machine_for(STRATEGY, BusyManager, name="ManagerMachine", arguments=ARGUMENTS)


def test_the_manager_does_what_the_table_says_and_every_row_is_taken() -> None:
    run_state_machine_as_test(ManagerMachine, settings=PROFILE.effort.in_memory())
    told("manager", ManagerMachine, PROFILE.effort.runs, {})
    coverage = ManagerMachine.tally.coverage()
    assert (coverage.untaken, coverage.one_way) == ((), ())


BLUE, GREEN = Strategy.BLUE, Strategy.GREEN
HOLDS_A_WRITE = ((AuthSuccess, BLUE), (QueryStarted,), (QueryStarted,), (QueryCompleted, 1))
"""Blue serves; one query reads, and the other one has written: no failure can make that one begin anew."""

RARE: tuple[tuple[tuple[Any, ...], ...], ...] = (
    (*HOLDS_A_WRITE, (CacheInvalidated,), (Error456, BLUE), (StrategyAnnounced, BLUE), (Error456, BLUE)),
    (
        *HOLDS_A_WRITE, (CacheInvalidated,), (Error456, GREEN),
        (StrategyAnnounced, GREEN), (PersistentFailure, BLUE), (Error456, BLUE),
    ),
    (
        (AuthSuccess, BLUE), (QueryStarted,), (QueryStarted,), (QueryStarted,), (StrategyAnnounced, GREEN),
        (QueryFailed, 0), (QueryCancelled, 0), (QueryCompleted, 0),
    ),
    (*HOLDS_A_WRITE, (CacheInvalidated,), (StrategyAnnounced, BLUE), (PersistentFailure, BLUE)),
    (
        *HOLDS_A_WRITE, (StrategyAnnounced, GREEN), (DrainTimedOut,),
        (PersistentFailure, BLUE), (Error456, BLUE),
    ),
    # A login, or a query, that is denied outside of a detection, or late.
    ((AuthSuccess, BLUE), (AuthFailure, BLUE)),
    (
        (PersistentFailure, GREEN), (DetectionTimedOut,), (AuthFailure, GREEN), (StrategyAnnounced, GREEN),
        (PersistentFailure, GREEN),
    ),
    (
        (DetectionTimedOut,), (Reset,), (DetectionTimedOut,), (AuthSuccess, GREEN), (RollbackRequested,),
        (AuthFailure, BLUE),
    ),
    (
        (ConnectionOpened,), (DetectionTimedOut,), (AuthFailure, GREEN), (StrategyAnnounced, GREEN),
        (StrategyAnnounced, BLUE),
    ),
    ((StrategyAnnounced, GREEN), (RollbackRequested,), (AuthFailure, BLUE)),
)  # fmt: skip
"""Runs that chance seldom finds, because a query has to be held while nothing routes: classes of events, each
with the strategy that it names, or with which of the open tickets."""


def played(machine: type[StateMachine], events: tuple[tuple[Any, ...], ...]) -> None:
    """Send these events to a subject, as a program does that was pasted."""
    state = machine()
    state.begin(arguments={"settings": Settings(retry_attempts=1)})
    try:
        for cls, *about in events:
            if not about:
                state.send(event=cls())
            elif isinstance(about[0], Strategy):
                state.send(event=cls(about[0], state.context.state_version))
            else:
                ends = [event for event in state.candidates() if isinstance(event, cls)]
                state.send(event=ends[about[0]])
    finally:
        state.teardown()


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("kind", CHANNELS)
def test_a_channel_does_what_the_table_says_and_every_row_is_taken_that_a_wire_can_bring_about(
    kind: str,
) -> None:
    wires: Any = pytest.importorskip("support.wire_subjects", reason='needs the extra "e6data"')
    with wires.OPENERS[kind]() as connection:
        machine = state_machine_for(STRATEGY, connection, name="ChannelMachine", arguments=wires.ARGUMENTS)
        run_state_machine_as_test(machine, settings=PROFILE.effort.on_a_wire())
        by_chance = len(machine.tally.rows)
        for events in RARE:
            played(machine, events)
    tell(
        f"channel of {kind}: {by_chance} rows by chance, {len(machine.tally.rows)} with what is written down"
    )
    beyond = wires.beyond()
    told(f"channel of {kind}", machine, PROFILE.effort.wire_runs, beyond)
    assert {row.name for row in machine.tally.rows} & set(beyond) == set()
    if PROFILE.name != "dev":
        assert set(machine.tally.coverage().untaken) == set(beyond)


@pytest.mark.integration
@pytest.mark.parametrize("kind", CHANNELS)
def test_a_channel_that_sends_a_query_elsewhere_is_noticed_by_the_servers_record(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires: Any = pytest.importorskip("support.wire_subjects", reason='needs the extra "e6data"')
    from bluegreen_adapters.connection.protocol import Protocol

    routed = Protocol.routed

    def always_blue(self: Any, metadata: Any, strategy: Strategy, engine: Any) -> Any:
        return routed(self, metadata, Strategy.BLUE, engine)

    monkeypatch.setattr(Protocol, "routed", always_blue)
    with wires.OPENERS[kind]() as connection:
        machine = state_machine_for(STRATEGY, connection, name="ChannelMachine", arguments=wires.ARGUMENTS)
        phases = [Phase.generate]
        few = settings(max_examples=60, stateful_step_count=10, phases=phases, database=None)
        with pytest.raises(AssertionError, match=r"blue|green"):
            run_state_machine_as_test(machine, settings=few)
