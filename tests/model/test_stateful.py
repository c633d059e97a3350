"""State machines of Hypothesis: the manager and both channels are held against the table, event by event."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from bluegreen.strategy import STRATEGY
from bluegreen.verify.profiles import chosen
from bluegreen.verify.stateful import state_machine_for
from support.subjects import ARGUMENTS, BusyManager

EFFORT = chosen().effort

ManagerMachine = state_machine_for(STRATEGY, BusyManager, name="ManagerMachine", arguments=ARGUMENTS)


@pytest.mark.unjournaled
def test_the_manager_does_what_the_table_says_and_every_row_is_taken() -> None:
    run_state_machine_as_test(ManagerMachine, settings=EFFORT.in_memory())
    coverage = ManagerMachine.tally.coverage()
    print(coverage, ManagerMachine.tally.steps)
    assert (coverage.untaken, coverage.one_way) == ((), ())
