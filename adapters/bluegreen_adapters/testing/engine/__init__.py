"""A blue/green test engine: a real gRPC server with two stacks, to test connectors against.

`EngineProcess` starts it in a process of its own, moves it through the phases of a switch, injects faults
and tells what happened. It speaks the e6data protocol, and needs the extra `e6data`, but only in its own
process: importing this package imports neither grpcio nor the connector.

    with EngineProcess() as engine:
        connection = connect(host=engine.host, port=engine.port, username="user@example.com",
                             password="secret", ...)
        engine.switch("graceful")
        assert engine.statistics().misrouted == 0
"""

from __future__ import annotations

from bluegreen_adapters.testing.engine.client import EngineError, EngineProcess
from bluegreen_adapters.testing.engine.faults import InjectedFault
from bluegreen_adapters.testing.engine.options import EngineOptions
from bluegreen_adapters.testing.engine.phases import PHASES, Conduct, Phase
from bluegreen_adapters.testing.engine.scenarios import SCRIPTS, ScenarioStep
from bluegreen_adapters.testing.engine.statistics import Moment, Offence, Statistics, Vanished

__all__ = [
    "PHASES",
    "SCRIPTS",
    "Conduct",
    "EngineError",
    "EngineOptions",
    "EngineProcess",
    "InjectedFault",
    "Moment",
    "Offence",
    "Phase",
    "ScenarioStep",
    "Statistics",
    "Vanished",
]
