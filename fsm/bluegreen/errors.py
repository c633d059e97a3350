"""Everything that bluegreen raises. One root, and a subclass only where a caller would catch it apart.

Every fact of a message is also an attribute, and every error can be pickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn


class BluegreenError(Exception):
    """The root of all errors of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[BluegreenError], args: tuple[Any, ...], facts: dict[str, Any]) -> BluegreenError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


_SHOWN = 60
"""Characters of somebody else's text that a message shows."""


def _display(value: object) -> str:
    """Return a value as it may stand in a message: on one line, without control characters, and not for ever."""
    if isinstance(value, (str, bytes)) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]!r}... ({len(value)} {'characters' if isinstance(value, str) else 'bytes'})"
    return repr(value)


class UnknownStrategy(BluegreenError, ValueError):
    """A value that should name a strategy names none."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(f"{_display(value)} is no strategy; accepted: 'blue', 'green' (in any case)")


class SettingsError(BluegreenError, ValueError):
    """Settings were refused. `findings` has one line for each value that is wrong."""

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))


class TableError(BluegreenError, ValueError):
    """A table of rows is not a machine. `findings` has all the reasons at once."""

    def __init__(self, table: str, findings: Sequence[object]) -> None:
        self.table = table
        self.findings = tuple(findings)
        lines = "\n".join(f"  {number}. {finding}" for number, finding in enumerate(self.findings, 1))
        plural = "finding" if len(self.findings) == 1 else "findings"
        super().__init__(f"table {table!r} is refused, {len(self.findings)} {plural}:\n{lines}")


class GuardError(BluegreenError):
    """A fact has a value that its declaration does not list; the event changed nothing."""

    def __init__(self, fact: str, value: object, declared: Sequence[object], state: str, event: str) -> None:
        self.fact, self.value, self.declared = fact, value, tuple(declared)
        self.state, self.event = state, event
        super().__init__(
            f"{event} in {state}: fact {fact!r} is {value!r}; declared: {', '.join(map(repr, declared))}"
        )


class EventForbidden(BluegreenError):
    """An event that its state does not accept; nothing was changed.

    Attributes:
        event: name of the event.
        state: the state that refused it, which is still the state.
        reason: the `why` of the row.
        accepted: names of the events that this state accepts.
    """

    def __init__(self, event: str, state: str, reason: str, accepted: Sequence[str]) -> None:
        self.event, self.state, self.reason, self.accepted = event, state, reason, tuple(accepted)
        super().__init__(
            f"{event} is forbidden in {state}: {reason}; accepted: {', '.join(accepted) or 'nothing'}"
        )


class StrategyUnavailable(BluegreenError):
    """Neither strategy can be used now. The scope tries again after its cool-down.

    Attributes:
        scope: the cluster.
        failures: what each strategy answered when it was last tried.
    """

    def __init__(self, scope: object, reason: str, failures: Mapping[str, str] | None = None) -> None:
        self.scope, self.reason, self.failures = scope, reason, dict(failures or {})
        told = "; ".join(f"{name}: {answer}" for name, answer in self.failures.items())
        super().__init__(f"{scope}: {reason}" + (f" ({told})" if told else ""))


class DetectionTimedOutError(StrategyUnavailable):
    """No strategy was found within `detection_timeout_s`."""


class Refusal(BluegreenError):
    """What a caller's `prove` raises if a strategy does not accept it; detection then tries the other one.

    Attributes:
        reason: what the strategy answered, for messages: `status 456`, `UNAVAILABLE`.
        wrong_strategy: true for a 456, false for any other refusal.
        answered: false if the strategy was silent until the time for it was over. That is no refusal: the detection
            goes on with the other strategy, and may still fall back to this one.
    """

    def __init__(self, reason: str, *, wrong_strategy: bool = True, answered: bool = True) -> None:
        self.reason, self.wrong_strategy, self.answered = reason, wrong_strategy, answered
        super().__init__(reason)


class QueryLost(BluegreenError):
    """A query cannot be finished where it began, and must not be run again.

    Attributes:
        query: the query's id as the application knows it, or none if it has none yet.
        strategy: where it ran.
        state_version: version of the machine when it started.
        reason: why it cannot be finished, and why it is not replayed.
    """

    def __init__(self, query: str | None, strategy: str, version: int, reason: str) -> None:
        self.query, self.strategy, self.state_version, self.reason = query, strategy, version, reason
        super().__init__(
            f"query {query or '(no id yet)'} on {strategy} (version {version}) is lost: {reason}"
        )


class ScopeConflict(BluegreenError, ValueError):
    """A scope exists already, with other settings than the ones asked for."""

    def __init__(self, scope: object, differing: Sequence[str]) -> None:
        self.scope, self.differing = scope, tuple(differing)
        super().__init__(
            f"{scope} is already managed with other settings ({', '.join(differing)}); "
            "one scope has one manager: pass the same settings, or none"
        )


class StoreError(BluegreenError):
    """A store of shared state does not answer, not in time, or with something that is no record.

    Attributes:
        store: the store, without credentials.
        reason: what is wrong with it.
    """

    def __init__(self, store: str, reason: str) -> None:
        self.store, self.reason = store, reason
        super().__init__(f"{store}: {reason}")


def unreachable(value: NoReturn) -> NoReturn:
    """Mark a branch that the type checkers have proved dead: a union that is not exhausted is their error."""
    raise AssertionError(f"unhandled value {value!r}")
