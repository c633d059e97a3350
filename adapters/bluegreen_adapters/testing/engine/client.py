"""The test engine as its user sees it: a process that is started, commanded and asked.

Needs neither grpcio nor the connector in the process that uses it; the engine's own process does.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, cast

import attrs

from bluegreen.errors import BluegreenError
from bluegreen_adapters.testing.engine.control import fault_fields
from bluegreen_adapters.testing.engine.faults import InjectedFault
from bluegreen_adapters.testing.engine.options import EngineOptions
from bluegreen_adapters.testing.engine.phases import Strategy
from bluegreen_adapters.testing.engine.scenarios import ScenarioStep, script
from bluegreen_adapters.testing.engine.statistics import Statistics

_DRAIN_POLL_S = 0.005
_STOP_TIMEOUT_S = 5.0
_STOP = b'{"do": "stop"}\n'


class EngineError(BluegreenError):
    """The test engine could not be started, has ended, or refused a command; the message says which."""


class EngineProcess:
    """A test engine in a process of its own. A context manager; every method is safe to call from any thread.

    The engine never outlives its user: it ends when `stop` is called, when the `with` block ends, when the
    process that started it ends in whatever way, and after `max_seconds` at the latest.

    Args:
        options: fields of `EngineOptions`, e.g. `active="green"` or `colliding_ids=True`.

    Attributes:
        port: the port it listens on, at the loopback address.
        options: how it is set up.

    Raises:
        EngineError: it did not start; the message says why, and names the extra if that is missing.
        TypeError, ValueError: an option is unknown, or outside of its range.

    >>> with EngineProcess() as engine:
    ...     engine.phase("announce", target="green")
    ...     engine.statistics().misrouted
    0
    """

    def __init__(self, **options: Any) -> None:
        self.options = EngineOptions(**options)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._stopped = False
        # A file, not a pipe: nobody has to read it for the engine to go on.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process ends
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bluegreen_adapters.testing.engine", *_arguments(self.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": _python_path()},
        )
        ready = self._read()
        if "error" in ready:
            self._end()
            raise EngineError(str(ready["error"]))
        self.port: int = ready["port"]

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def host(self) -> str:
        """The loopback address."""
        return "127.0.0.1"

    @property
    def pid(self) -> int:
        """Id of the engine's process."""
        return self._process.pid

    @property
    def active(self) -> Strategy:
        """The stack that new work belongs on now."""
        return cast(Strategy, self._command("state")["active"])

    # -- control

    def phase(
        self,
        name: str,
        *,
        active: str | None = None,
        target: str | None = None,
        blue: Mapping[str, Any] | None = None,
        green: Mapping[str, Any] | None = None,
        **variant: Any,
    ) -> None:
        """Begin a phase. It holds when this returns.

        Args:
            name: one of `phases.PHASES`.
            active: the stack that the switch starts from.
            target: the stack that it leads to. One of the two is enough; if neither is given, the phase
                continues the switch that is under way.
            blue, green: fields of that stack's `Conduct` that differ from the preset, e.g.
                `{"new": "silent"}`.
            variant: options of the preset, e.g. `announces=False` or `unavailable=True`.

        Raises:
            EngineError: there is no such phase, stack or option; the phase is what it was.
        """
        given = {"active": active, "target": target, "blue": blue, "green": green}
        named = {key: value for key, value in given.items() if value is not None}
        self._command("phase", name=name, **named, **variant)

    def switch(self, kind: str, *, grace_s: float = 0.3, drain_s: float | None = None) -> Strategy:
        """Play a whole switch away from the active stack, and return the stack that is active then.

        Args:
            kind: one of `scripts.Kind`.
            grace_s: seconds that the switch takes.
            drain_s: seconds that it then waits at most for running queries to end, before their stack is
                taken down; none is as long as `grace_s`. What runs longer is lost.

        Raises:
            ValueError: there is no such switch; nothing was changed.
            EngineError: the engine has ended.
        """
        steps = script(kind)
        origin: Strategy = self.active
        target: Strategy = "green" if origin == "blue" else "blue"
        for step in steps:
            old, new = (target, origin) if step.back else (origin, target)
            self.phase(step.phase, active=old, target=new, **step.variant)
            if step.share > 0:
                time.sleep(step.share * grace_s)
            self._drain(step, old, new, grace_s if drain_s is None else drain_s)
        self.phase("steady", active=self.active)
        return self.active

    def fault(self, fault: InjectedFault | None = None, **fields: Any) -> int:
        """Arm a fault, given as a `InjectedFault` or by its fields, and return its number.

        Raises:
            TypeError, ValueError: a field is unknown, or outside of its range.
        """
        armed = InjectedFault(**fields) if fault is None else attrs.evolve(fault, **fields)
        return cast(int, self._command("fault", **fault_fields(armed)))

    def clear_faults(self) -> None:
        """Disarm all faults."""
        self._command("clear_faults")

    def revoke_token(self, token: str) -> bool:
        """Accept a bearer token no more, and return whether it was accepted until now."""
        return cast(bool, self._command("revoke_token", token=token))

    def expire_sessions(self, strategy: str) -> int:
        """Let every session of a stack expire, and return how many that were. Queries stay."""
        return cast(int, self._command("expire_sessions", strategy=strategy))

    # -- questions

    def running(self, strategy: str) -> int:
        """How many queries of a stack are executed and have not ended."""
        return cast(int, self._command("running", strategy=strategy))

    def statistics(self) -> Statistics:
        """Return a picture of all counts since the last reset."""
        return Statistics.from_json(self._command("statistics"))

    def executions(self) -> dict[str, int]:
        """How often each statement was executed since the last reset, by its text."""
        return cast("dict[str, int]", self._command("executions"))

    def reset_statistics(self) -> None:
        """Count from zero again."""
        self._command("reset_statistics")

    # -- end

    def stop(self) -> None:
        """End the engine and wait until it has ended. Stopping again does nothing.

        In a child that was forked from the process that started the engine, it does nothing either.
        """
        if os.getpid() == self._owner:
            with self._lock:
                self._end()

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _drain(self, step: ScenarioStep, origin: Strategy, target: Strategy, wait_s: float) -> None:
        if step.drains is None:
            return
        stack = origin if step.drains == "origin" else target
        deadline_s = time.monotonic() + wait_s
        while self.running(stack) > 0 and time.monotonic() < deadline_s:
            time.sleep(_DRAIN_POLL_S)

    def _command(self, name: str, /, **arguments: Any) -> Any:
        line = json.dumps({"do": name, **arguments}).encode() + b"\n"
        with self._lock:
            if self._stopped:
                raise EngineError("the test engine has been stopped")
            pipe = self._process.stdin
            assert pipe is not None
            try:
                pipe.write(line)
                pipe.flush()
            except OSError:
                raise self._died() from None
            answer = self._read()
        if not answer.get("ok"):
            raise EngineError(f"{name} was refused: {answer.get('error')}")
        return answer["value"]

    def _read(self) -> dict[str, Any]:
        pipe = self._process.stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise self._died()
        return cast("dict[str, Any]", json.loads(line))

    def _died(self) -> EngineError:
        told = self._end()
        reason = f"; it said: {told[-2000:]}" if told else ""
        return EngineError(f"the test engine has ended with exit status {self._process.returncode}{reason}")

    def _end(self) -> str:
        """End the process if it has not ended, close every file, and return what it said on stderr."""
        if self._stopped:
            return ""
        self._stopped = True
        process = self._process
        if process.stdin is not None:
            # Told as well as closed: a child forked meanwhile has the pipe open too. If the engine is gone
            # already, what is still in the buffer has nowhere to go.
            with contextlib.suppress(OSError):
                process.stdin.write(_STOP)
                process.stdin.flush()
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        with self._stderr as stderr:
            stderr.seek(0)
            return stderr.read().decode(errors="replace").strip()


def _arguments(options: EngineOptions) -> list[str]:
    arguments: list[str] = []
    for field in attrs.fields(EngineOptions):
        value = getattr(options, field.name)
        flag = "--" + field.name.replace("_", "-")
        if field.name == "tokens":
            arguments += [part for token in value for part in ("--token", token)]
        elif value is True:
            arguments.append(flag)
        elif value is not False and value is not None:
            arguments += [flag, str(value)]
    return arguments


def _python_path() -> str:
    # The whole path, so that the engine finds what this process finds: in a checkout, a wheel or a test run.
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
