"""Traces for OpenTelemetry: what happens to a query is an event of the span that the application has begun for it, and
a detection and a switch are spans of their own. It needs the API only: the application has the SDK.

>>> from bluegreen.runtime.telemetry import CacheMissed
>>> from bluegreen.types import Scope
>>> from opentelemetry.sdk.trace import TracerProvider
>>> tracer = TracerProvider().get_tracer("example")
>>> with tracer.start_as_current_span("report") as span:
...     Traces(tracer)(CacheMissed(Scope("db.example:443"), 1.5))
>>> [(one.name, dict(one.attributes)) for one in span.events]
[('bluegreen.cache_missed', {'bluegreen.scope': 'db.example:443'})]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from opentelemetry import trace
from opentelemetry.context import Context

from bluegreen.machines.strategy.context import PENDING
from bluegreen.runtime.telemetry import (
    CacheMissed,
    DetectionEnded,
    LossReported,
    QueryBegun,
    QueryReplayed,
    Record,
    RequestFailed,
    RequestRetried,
    TelemetryEvent,
)
from bluegreen.types import Scope
from bluegreen_adapters.observe.event_fields import log_entry
from bluegreen_adapters.observe.subscribe_all import follow_all

_EVENTS: Final = frozenset(
    (CacheMissed, LossReported, QueryBegun, QueryReplayed, RequestFailed, RequestRetried)
)


@attrs.frozen
class _Announced:
    """A switch that is under way: since when, and in which span of the application it was announced."""

    at_ns: int
    link: trace.Link | None


class Traces:
    """A witness that belongs into the thread or task of the query, since the current span is there: no `Delivery`.

    - `bluegreen detection` is a span within the one of the query that led it.
    - `bluegreen switch` reaches from an announcement to its commit, or to what came of it instead. It belongs to no
      query, and is linked to the span in which it was announced.
    - A request that failed or was sent again, a query that begins again, is lost or waits for a detection is an event
      of the current span, if that is recorded; of a gRPC future it is that of whoever made it.

    Args:
        tracer: what makes spans; by default one of the provider that the application has set.
    """

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        self._tracer = trace.get_tracer("bluegreen") if tracer is None else tracer
        self._announced: dict[Scope, _Announced] = {}
        self._last: dict[Scope, Record] = {}

    def follow_all(self) -> Callable[[], None]:
        """Witness each manager of this process, those that are new from now on too; returns what ends that."""
        return follow_all(self)

    def __call__(self, happening: TelemetryEvent) -> None:
        """Take note of what has happened here and now."""
        if isinstance(happening, Record):
            if happening.before.state != happening.step.state:  # seldom: most are starts and ends of queries
                self._stepped(happening)
        elif isinstance(happening, DetectionEnded):
            self._detected(happening)
        elif type(happening) in _EVENTS:
            span = trace.get_current_span()
            if span.is_recording():
                said = log_entry(happening)
                span.add_event(f"bluegreen.{said.event}", _attributes(said.fields))

    def _detected(self, ended: DetectionEnded) -> None:
        now_ns, found, last = time.time_ns(), ended.found, self._last.get(ended.scope)
        fields = {
            "scope": str(ended.scope),
            "strategy": None if found is None else found.value,
            "tried": [one.value for one in ended.tried],
            "followed": ended.followed,
            **({} if last is None else _of(last)),
        }
        span = self._tracer.start_span(
            "bluegreen detection", attributes=_attributes(fields), start_time=now_ns - int(ended.took_s * 1e9)
        )
        if found is None:
            span.set_status(trace.StatusCode.ERROR, "no strategy was found")
        span.end(now_ns)

    def _stepped(self, record: Record) -> None:
        now_ns, scope = time.time_ns(), record.scope
        self._last[scope] = record
        if record.step.state == PENDING:
            here = trace.get_current_span().get_span_context()
            self._announced[scope] = _Announced(now_ns, trace.Link(here) if here.is_valid else None)
            return
        began = self._announced.pop(scope, None) if record.before.state == PENDING else None
        if began is None:
            return
        before, after = record.before.context, record.step.context
        fields = {
            "scope": str(scope),
            "strategy": None if before.pending is None else before.pending.value,
            "previous": None if before.active is None else before.active.value,
            "committed": after.active is before.pending,
            **_of(record),
        }
        links = () if began.link is None else (began.link,)
        span = self._tracer.start_span(
            "bluegreen switch", Context(), attributes=_attributes(fields), links=links, start_time=began.at_ns
        )
        span.end(now_ns)


def _of(record: Record) -> dict[str, Any]:
    return {"state_version": record.step.context.state_version, "row": record.step.row.name}


def _attributes(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"bluegreen.{name}": value for name, value in fields.items() if value is not None}
