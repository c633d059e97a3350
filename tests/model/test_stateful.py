"""State machines of Hypothesis: the manager and both channels are held against the table, event by event."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bluegreen.strategy import STRATEGY
from bluegreen.verify.profiles import chosen
from bluegreen.verify.stateful import StateMachine, state_machine_for
from bluegreen.vocabulary import Strategy
from support.subjects import ARGUMENTS, BusyManager
from support.telling import tell

pytestmark = [pytest.mark.unjournaled, pytest.mark.timeout(3600)]

PROFILE = chosen()
CHANNELS = ("threads", "asyncio")


def told(what: str, machine: type[StateMachine], runs: int) -> None:
    """Print what was taken at the end of the test run."""
    coverage, tally = machine.tally.coverage(), machine.tally
    tell(f"{what}: {runs:,} runs, {tally.steps:,} steps; {coverage}; {len(tally.pairs)} pairs of rows")
    for name in coverage.untaken:
        tell(f"    not taken: {name}")


ManagerMachine = state_machine_for(STRATEGY, BusyManager, name="ManagerMachine", arguments=ARGUMENTS)


def test_the_manager_does_what_the_table_says_and_every_row_is_taken() -> None:
    run_state_machine_as_test(ManagerMachine, settings=PROFILE.effort.in_memory())
    told("manager", ManagerMachine, PROFILE.effort.runs)
    coverage = ManagerMachine.tally.coverage()
    assert (coverage.untaken, coverage.one_way) == ((), ())


@pytest.mark.integration
@pytest.mark.parametrize("kind", CHANNELS)
def test_a_channel_does_what_the_table_says_and_every_row_is_taken_that_a_wire_can_bring_about(
    kind: str,
) -> None:
    wires: Any = pytest.importorskip("support.wire_subjects", reason='needs the extra "e6data"')
    with wires.OPENERS[kind]() as connection:
        machine = state_machine_for(STRATEGY, connection, name="ChannelMachine", arguments=wires.ARGUMENTS)
        run_state_machine_as_test(machine, settings=PROFILE.effort.on_a_wire())
    told(f"channel of {kind}", machine, PROFILE.effort.wire_runs)
    beyond = wires.beyond()
    assert {row.name for row in machine.tally.rows} & set(beyond) == set()
    if PROFILE.name != "dev":
        assert set(machine.tally.coverage().untaken) == set(beyond)


@pytest.mark.integration
@pytest.mark.parametrize("kind", CHANNELS)
def test_a_channel_that_sends_a_query_elsewhere_is_noticed_by_the_servers_record(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wires: Any = pytest.importorskip("support.wire_subjects", reason='needs the extra "e6data"')
    from bluegreen_adapters.protocol import Protocol

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
