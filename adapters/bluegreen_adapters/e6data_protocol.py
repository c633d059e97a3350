"""The wire protocol of e6data as data, as connector 3.0 speaks it."""

from __future__ import annotations

from typing import Final

from bluegreen_adapters.protocol import Fault, Method, Protocol, Role, StatusRule

_BEGIN: Final = Method(Role.BEGIN, repeatable=True)
_EXECUTE: Final = Method(Role.USE, effect="executed")
_LOOK: Final = Method(Role.USE, repeatable=True)
_ASK: Final = Method(Role.FREE, repeatable=True)

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
    statuses=(
        StatusRule(Fault.WRONG_STRATEGY, ("UNKNOWN", "INVALID_ARGUMENT"), r"status:\s*456\b"),
        StatusRule(Fault.NOT_AUTHENTICATED, ("INTERNAL",), r"access denied"),
        StatusRule(Fault.GONE, ("INTERNAL",), r"\bquery\b.*\bnot (known|found)\b"),
        StatusRule(Fault.ANSWER, ("UNAVAILABLE",), r"status:\s*503\b"),  # suspended: the connector resumes it
    ),
)
"""The e6data protocol, as connector 3.0 speaks it."""

CLUSTER_PROTOCOL: Final = Protocol(
    name="e6data cluster",
    methods={"status": _ASK, "resume": Method(Role.FREE)},
    statuses=PROTOCOL.statuses,
)
"""What the connector's cluster managers ask, to wake a suspended cluster. There are no sessions."""
