"""The wire protocol of e6data as data, as connector 3.0 speaks it."""

from __future__ import annotations

import importlib
from typing import Any, Final

from bluegreen_adapters.connection.protocol import Fault, Method, Probe, Protocol, Role, StatusRule

_BEGIN: Final = Method(Role.BEGIN, repeatable=True)
_EXECUTE: Final = Method(Role.USE, effect="executed")
_LOOK: Final = Method(Role.USE, repeatable=True)
_ASK: Final = Method(Role.FREE, repeatable=True)

STATUSES: Final = (
    StatusRule(Fault.WRONG_STRATEGY, ("UNKNOWN",), "status: 456",
               source="connector: compared for equality with OAuth, asyncio and in the cluster manager"),
    StatusRule(Fault.WRONG_STRATEGY, ("INVALID_ARGUMENT",), "Wrong strategy. Status: 456. Expected: <s>, Got: <s>",
               source="the vendor's mock server"),
    StatusRule(Fault.NOT_AUTHENTICATED, ("INTERNAL",), "Access denied",
               source="connector: contained in the details, in its retry decorator"),
    StatusRule(Fault.ANSWER, ("UNAVAILABLE",), "status: 503, cluster is suspended",
               source="connector: compared for equality with OAuth and asyncio; the connector resumes the cluster"),
    StatusRule(Fault.GONE, ("INTERNAL",), "query <id> is not known to <s>",
               source="assumption: the test engine's own text"),
)  # fmt: skip
"""The forms that are known of the gateway. The setting `forms` adds more."""


def _schema_names(session_id: str | None) -> Any:
    """Return a request that only reads, and that the connector itself sends in a session."""
    messages = importlib.import_module("e6data_python_connector.server.e6x_engine_pb2")
    return messages.GetSchemaNamesRequest(sessionId=session_id or "")


PROTOCOL: Final = Protocol(
    name="e6data",
    methods={
        "authenticate": Method(Role.AUTHENTICATE, repeatable=True),
        "prepareStatement": _BEGIN,
        "prepareStatementV2": _BEGIN,
        "executeStatement": _EXECUTE,
        "executeStatementV2": _EXECUTE,
        "status": _LOOK,
        "getResultMetadata": _LOOK,
        "getDynamicParams": _LOOK,
        "explain": _LOOK,
        "explainAnalyze": _LOOK,
        "getNextResultBatch": Method(Role.USE, effect="fetched", rows=("resultBatch",)),
        "getNextResultBatchV2": Method(
            Role.USE, effect="fetched", rows=("resultBatches",), done="endOfStream"
        ),
        "clear": Method(Role.END, effect="cleared", repeatable=True),
        "clearOrCancelQuery": Method(Role.END, effect="cleared", repeatable=True),
        "cancelQuery": Method(Role.END, effect="cancelled", repeatable=True),
        "identifyPlanner": _ASK,
        "getSchemaNames": _ASK,
        "getSchemaNamesV2": _ASK,
        "getTables": _ASK,
        "getTablesV2": _ASK,
        "getColumns": _ASK,
        "getColumnsV2": _ASK,
        "getCataloges": _ASK,
        "dryRun": _ASK,
        "dryRunV2": _ASK,
        "analyzeQuery": _ASK,
        "healthCheck": _ASK,
        "getAddCatalogsResponse": _ASK,
    },
    statuses=STATUSES,
    probe=Probe("getSchemaNames", _schema_names, as_begin=False),
)
"""The e6data protocol, as connector 3.0 speaks it."""

CLUSTER_PROTOCOL: Final = Protocol(
    name="e6data cluster",
    methods={"status": _ASK, "resume": Method(Role.FREE)},
    statuses=STATUSES,
    queries=False,
)
"""What the connector's cluster managers ask, to wake a suspended cluster. There are no sessions."""
