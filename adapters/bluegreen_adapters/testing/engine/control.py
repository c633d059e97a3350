"""Commands to a running test engine: one JSON object a line, answered by one JSON object a line.

A command is `{"do": NAME, ...}` with the command's arguments; its answer is `{"ok": true, "value": ...}` or
`{"ok": false, "error": TEXT}`. A command that fails changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bluegreen_adapters.testing.engine.faults import InjectedFault
from bluegreen_adapters.testing.engine.gateway import Gateway
from bluegreen_adapters.testing.engine.phases import Phase, named, strategy_of


class EngineControl:
    """Carries out commands.

    Args:
        gateway: the engine that is commanded.
        enter: begins a phase; by default the gateway's own way.

    >>> from bluegreen_adapters.testing.engine.options import EngineOptions
    >>> commands = EngineControl(Gateway(EngineOptions()))
    >>> commands.answer('{"do": "phase", "name": "announce", "target": "green"}')
    '{"ok": true, "value": {"phase": "announce", "active": "blue", "origin": "blue", "target": "green"}}'
    """

    def __init__(self, gateway: Gateway, enter: Callable[[Phase], None] | None = None) -> None:
        self._gateway = gateway
        self._enter = enter or gateway.enter
        self.commands: Mapping[str, Callable[..., Any]] = {
            "phase": self._phase,
            "state": self._state,
            "fault": self._fault,
            "clear_faults": self._clear_faults,
            "revoke_token": gateway.revoke_token,
            "expire_sessions": self._expire_sessions,
            "running": self._running,
            "statistics": self._statistics,
            "executions": gateway.recorder.executions,
            "reset_statistics": self._reset_statistics,
        }

    def answer(self, line: str) -> str:
        """Carry out the command in this line and return the line that answers it."""
        try:
            command = json.loads(line)
            name = command.pop("do")
            act = self.commands.get(name)
            if act is None:
                raise ValueError(f"{name!r} is no command; accepted: {', '.join(self.commands)}, stop")
            value = act(**command)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"})
        return json.dumps({"ok": True, "value": value})

    def _phase(self, name: str, **arguments: Any) -> dict[str, str]:
        changes = {strategy: arguments.pop(strategy, None) for strategy in ("blue", "green")}
        phase = named(name, before=self._gateway.phase, **arguments)
        phase = phase.altered({strategy_of(key): change for key, change in changes.items() if change})
        self._enter(phase)
        return self._state()

    def _state(self) -> dict[str, str]:
        phase = self._gateway.phase
        return {"phase": phase.name, "active": phase.active, "origin": phase.origin, "target": phase.target}

    def _fault(self, **fields: Any) -> int:
        return self._gateway.faults.arm(InjectedFault(**fields))

    def _clear_faults(self) -> None:
        self._gateway.faults.clear()

    def _expire_sessions(self, strategy: str) -> int:
        return self._gateway.stacks[strategy_of(strategy)].expire_sessions()

    def _running(self, strategy: str) -> int:
        return self._gateway.running(strategy_of(strategy))

    def _statistics(self) -> dict[str, Any]:
        return self._gateway.statistics().to_json()

    def _reset_statistics(self) -> None:
        self._gateway.reset_statistics()


def fault_fields(fault: InjectedFault) -> dict[str, Any]:
    """Return a fault as the arguments of the command that arms it.

    >>> fault_fields(InjectedFault("silent", method="status"))["method"]
    ['status']
    """
    fields = attrs.asdict(fault)
    fields["method"] = None if fault.method is None else list(fault.method)
    return fields
