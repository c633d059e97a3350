"""The calls that the test engine answers: what each is about, and what its answer says.

A perform function gets the stack, the request and the query that the request names, and returns the
fields of the response, or the problem. Requests are read by field name only, so any object with these
fields will do; the protocol's message classes stay in the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from bluegreen_adapters.testing.engine import encoding
from bluegreen_adapters.testing.engine.stacks import Problem, Stack, StackQuery

Role = Literal["authenticate", "begin", "execute", "use", "end", "free", "open"]
"""What a call is about.

`authenticate` opens a session; `begin` prepares a query; `execute`, `use` and `end` are about a query that
exists; `free` needs a session and no query; `open` needs neither.
"""

Fields = dict[str, Any]
Outcome = Fields | Problem
Perform = Callable[[Stack, Any, StackQuery], Outcome]

CHUNKS_PER_ENVELOPE = 2
"""How many batches one answer of getNextResultBatchV2 has at most."""

CATALOGS: Mapping[str, bool] = {"main": True, "lake": False}
"""The catalogs, and whether each is the default."""

TABLES: Mapping[str, tuple[str, ...]] = {"sales": ("customers", "orders"), "ops": ("events",)}
"""The tables of each schema, the same in every catalog."""

COLUMNS: Mapping[str, tuple[encoding.Column, ...]] = {
    "customers": (encoding.Column("id", "LONG"), encoding.Column("name", "STRING")),
    "orders": (
        encoding.Column("id", "LONG"),
        encoding.Column("customer", "LONG"),
        encoding.Column("total", "DOUBLE"),
    ),
    "events": (encoding.Column("at", "DATETIME"), encoding.Column("what", "STRING")),
}
"""The columns of each table."""


@attrs.frozen
class Handler:
    """One call: its name on the wire, its role, and what it does when it is let in."""

    name: str
    role: Role
    perform: Perform

    @property
    def has_query(self) -> bool:
        """Whether its requests name a query that exists."""
        return self.role in ("execute", "use", "end")


def _prepare(stack: Stack, request: Any, _: StackQuery) -> Outcome:
    query = stack.prepare(request.queryString)
    if isinstance(query, Problem):
        return query
    return {"queryId": query.id, "engineIP": stack.engine_ip}


def _execute(stack: Stack, _: Any, query: StackQuery) -> Outcome:
    return stack.execute(query) or {}


def _status(_: Stack, __: Any, query: StackQuery) -> Outcome:
    return {"status": query.executed, "rowCount": query.statement.rows}


def _metadata(_: Stack, __: Any, query: StackQuery) -> Outcome:
    return {"resultMetaData": encoding.metadata(query.statement.rows)}


def _batch(stack: Stack, query: StackQuery) -> bytes | Problem:
    numbers = stack.next_batch(query)
    if isinstance(numbers, Problem):
        return numbers
    return encoding.batch(numbers, query.statement.text, stack.strategy)


def _next(stack: Stack, _: Any, query: StackQuery) -> Outcome:
    batch = _batch(stack, query)
    return batch if isinstance(batch, Problem) else {"resultBatch": batch}


def _next_v2(stack: Stack, _: Any, query: StackQuery) -> Outcome:
    batches: list[bytes] = []
    while len(batches) < CHUNKS_PER_ENVELOPE and not (query.executed and query.exhausted):
        batch = _batch(stack, query)
        if isinstance(batch, Problem):
            return batch
        batches.append(batch)
    return {"resultBatches": batches, "endOfStream": query.exhausted}


def _explain(_: Stack, __: Any, query: StackQuery) -> Outcome:
    return {"explain": f"scan {query.statement.rows} rows"}


def _explain_analyze(_: Stack, __: Any, query: StackQuery) -> Outcome:
    return {
        "explainAnalyze": f"scanned {query.statement.rows} rows",
        "isCached": False,
        "parsingTime": 1,
        "queueingTime": 2,
    }


def _end(stack: Stack, request: Any, _: StackQuery) -> Outcome:
    return stack.end(request.queryId) or {}


def _schemas(_: Stack, __: Any, ___: StackQuery) -> Outcome:
    return {"schemas": list(TABLES)}


def _tables(_: Stack, request: Any, __: StackQuery) -> Outcome:
    return {"tables": list(TABLES.get(request.schema, ()))}


def _columns(_: Stack, request: Any, __: StackQuery) -> Outcome:
    columns = COLUMNS.get(request.table, ())
    return {"fieldInfo": [{"fieldName": column.name, "fieldType": column.type} for column in columns]}


def _catalogs(_: Stack, __: Any, ___: StackQuery) -> Outcome:
    return {"catalogResponses": [{"name": name, "isDefault": main} for name, main in CATALOGS.items()]}


def _planner(stack: Stack, _: Any, __: StackQuery) -> Outcome:
    return {"plannerIp": stack.engine_ip}


def _dry_run(_: Stack, __: Any, ___: StackQuery) -> Outcome:
    return {"dryrunValue": "valid"}


def _added(_: Stack, __: Any, ___: StackQuery) -> Outcome:
    return {"status": "success"}


def _nothing(_: Stack, __: Any, ___: StackQuery) -> Outcome:
    return {}


METHODS: Mapping[str, Handler] = {
    method.name: method
    for method in (
        Handler("authenticate", "authenticate", _nothing),
        Handler("identifyPlanner", "free", _planner),
        Handler("prepareStatement", "begin", _prepare),
        Handler("prepareStatementV2", "begin", _prepare),
        Handler("executeStatement", "execute", _execute),
        Handler("executeStatementV2", "execute", _execute),
        Handler("status", "use", _status),
        Handler("getDynamicParams", "use", _nothing),
        Handler("getResultMetadata", "use", _metadata),
        Handler("getNextResultBatch", "use", _next),
        Handler("getNextResultBatchV2", "use", _next_v2),
        Handler("explain", "use", _explain),
        Handler("explainAnalyze", "use", _explain_analyze),
        Handler("clear", "end", _end),
        Handler("cancelQuery", "end", _end),
        Handler("clearOrCancelQuery", "end", _end),
        Handler("getSchemaNames", "free", _schemas),
        Handler("getSchemaNamesV2", "free", _schemas),
        Handler("getTables", "free", _tables),
        Handler("getTablesV2", "free", _tables),
        Handler("getColumns", "free", _columns),
        Handler("getColumnsV2", "free", _columns),
        Handler("getCataloges", "open", _catalogs),
        Handler("dryRun", "free", _dry_run),
        Handler("dryRunV2", "free", _dry_run),
        Handler("setProps", "free", _nothing),
        Handler("addCatalogs", "free", _nothing),
        Handler("getAddCatalogsResponse", "free", _added),
        Handler("refreshCatalogs", "free", _nothing),
        Handler("healthCheck", "open", _nothing),
    )
}
"""All calls by name."""
