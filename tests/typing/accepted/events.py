"""Events, steps and machines, as they are meant to be used."""

from __future__ import annotations

from bluegreen.machines.query import QUERY, Errored, Prepared, QueryContext
from bluegreen.machines.retry import RETRY, Attempts, TransientError
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import AuthSuccess, Error456, QueryCompleted, Reset, StrategyAnnounced
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.step import Step, explain, may, step
from bluegreen.table.transitions_facade import Machine
from bluegreen.types import Strategy, Ticket

ticket = Ticket(1, "blue", 0)
taken: Step = step(STRATEGY, "Detecting", Context.initial(), AuthSuccess("blue", 0))
step(STRATEGY, taken.state, taken.context, StrategyAnnounced(Strategy.GREEN, 1))
step(STRATEGY, "Stable", Context(active=Strategy.BLUE), QueryCompleted(ticket))
step(QUERY, "Started", QueryContext(ticket), Prepared("q-1"))
step(QUERY, "Started", QueryContext(ticket), Errored("execute"))
step(RETRY, "Trying", Attempts(), TransientError())

allowed: bool = may(STRATEGY, "Stable", Context(), Reset())
told: str = explain(STRATEGY, "Stable", Context(), Error456("green", state_version=3))
strategy: Strategy = Error456("green", 3).strategy

machine = Machine(STRATEGY, Context.initial())
after: Step = machine.send(AuthSuccess("blue", 0))
