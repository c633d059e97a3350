"""Structured log lines of what managers tell, through `logging` or through structlog.

>>> import io
>>> from bluegreen.runtime.telemetry import StoreBack
>>> from bluegreen.types import Scope
>>> text = io.StringIO()
>>> logs = Logs(to_stream(text))
>>> logs([StoreBack(Scope("db.example:443"), 1.5, "redis")])
>>> import json
>>> json.loads(text.getvalue())["event"]
'store_back'

Source: business logic, "Monitoring and Alerting", strategy_transition_logging.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, TextIO

import attrs

from bluegreen.config.settings import Settings
from bluegreen.runtime.rate_limit import TokenBucket
from bluegreen.runtime.registry import managers
from bluegreen.runtime.telemetry import Record, TelemetryEvent
from bluegreen.types import Scope
from bluegreen_adapters.observe.event_fields import LogEntry, changes, log_entry

Say = Callable[[int, str, Mapping[str, Any]], object]
"""(level, event, fields): writes one line."""

_BURST: Final = 20
"""How many lines that say the same are written at once."""

_EACH_S: Final = 60.0
"""After how many seconds one more is."""

_KINDS_LIMIT: Final = 1_000
"""How many kinds of lines are told apart; the one that was met longest ago is forgotten first."""

_LEVEL: Final = str(attrs.fields(Settings).logging_level.default)


class Logs:
    """Writes a line for each happening that has the level of its scope: the `take` of a `Delivery`.

    Lines that differ only in their query are repetitions: after 20 at once there is one a minute, with
    `left_out`, how many are not there. A change of strategy is such a line too, by its row.

    Args:
        say: writes a line: `to_stream`, `to_logger` or `to_structlog` make one.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._kinds: OrderedDict[tuple[Any, ...], TokenBucket] = OrderedDict()

    def __call__(self, happenings: Sequence[TelemetryEvent]) -> None:
        """Write the lines of what has happened."""
        levels = {manager.scope: manager.settings.logging_level for manager in managers()}
        scope: Scope | None = None
        least = logging.DEBUG
        for happening in happenings:
            if happening.scope is not scope:
                scope = happening.scope
                least = getattr(logging, levels.get(scope, _LEVEL))
            if type(happening) is Record and least > logging.DEBUG and not changes(happening):
                continue  # the one that there are most of: no line need be made to find out
            line = log_entry(happening)
            if line.level < least:
                continue
            left_out = self._allowed(happening, line)
            if left_out is not None:
                fields = {**line.fields, "left_out": left_out} if left_out else line.fields
                self._say(line.level, line.event, {"at_s": happening.at_s, **fields})

    def _allowed(self, happening: TelemetryEvent, line: LogEntry) -> int | None:
        if isinstance(happening, Record):
            kind: tuple[Any, ...] = (happening.scope, happening.step.row.name)
        else:
            fields = line.fields
            kind = (
                happening.scope,
                line.event,
                fields.get("strategy"),
                fields.get("code"),
                hash(fields.get("statement")),  # it may be long
            )
        allowance = self._kinds.setdefault(kind, TokenBucket(_BURST))
        self._kinds.move_to_end(kind)
        if len(self._kinds) > _KINDS_LIMIT:
            self._kinds.popitem(last=False)
        return allowance.use(happening.at_s, _EACH_S)


def to_stream(stream: TextIO) -> Say:
    """Return what writes each line as one JSON object to `stream`; control characters are escaped."""

    def say(level: int, event: str, fields: Mapping[str, Any]) -> None:
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = {"at": at, "level": logging.getLevelName(level), "event": event, **fields}
        stream.write(json.dumps(line, default=str) + "\n")
        stream.flush()

    return say


def to_logger(logger: logging.Logger | None = None) -> Say:
    """Return what hands each line to `logging`: the fields are `record.bluegreen`, and in the message as JSON.

    Args:
        logger: `bluegreen.events` by default.
    """
    target = logging.getLogger("bluegreen.events") if logger is None else logger

    def say(level: int, event: str, fields: Mapping[str, Any]) -> None:
        target.log(level, "%s %s", event, json.dumps(fields, default=str), extra={"bluegreen": fields})

    return say


def to_structlog(logger: Any = None) -> Say:
    """Return what hands each line to structlog, which the application has configured.

    Args:
        logger: `structlog.get_logger("bluegreen")` by default.
    """
    import structlog

    target = structlog.get_logger("bluegreen") if logger is None else logger

    def say(level: int, event: str, fields: Mapping[str, Any]) -> None:
        target.log(level, event, **fields)

    return say
