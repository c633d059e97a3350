"""What `status` returns, as text and as tables. Whatever a process answers is shown as text, never as markup.

>>> print(plain([{"host": "h", "process": 7, "scopes": []}], []))
h process 7: no scope
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bluegreen.types import Strategy

Process = Mapping[str, Any]
_COLORS: Final = {"blue": "bright_blue", "green": "green"}
_TABLES_FROM: Final = 100
_FOLDED: Final = ("process", "scope", "id", "health", "by")
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"))


def plain(processes: Iterable[Process], troubles: Iterable[str], *, ages: bool = True) -> str:
    """Return it as lines, one for each scope and each open query that is listed.

    Args:
        processes: what processes have answered.
        troubles: who has not.
        ages: whether the lines say how long things last, and so differ each time.
    """
    lines = list[str]()
    for process in processes:
        lines += [_record(one) for one in process.get("records", ())]
        if "records" in process:
            continue
        name = _clean(f"{process.get('host')} process {process.get('process')}")
        lines += [] if process["scopes"] else [f"{name}: no scope"]
        for one in process["scopes"]:
            age = f" for {_age(one.get('age_s'))}" if ages else ""
            counts = ", ".join(f"{number} on {where}" for where, number in one.get("open", {}).items())
            moves = f", pending {one['pending']}" if one.get("pending") else ""
            lines.append(
                _clean(
                    f"{name}: {one.get('scope')}: {one.get('state')}{age}, new queries go to "
                    f"{one.get('new_queries_go_to') or 'nobody knows yet'}{moves}, "
                    f"state_version {one.get('state_version')}; "
                    f"open: {counts}; {_health(one)}"
                )
            )
            lines += [_clean(f"  {_query(ticket, ages=ages)}") for ticket in one.get("tickets", ())]
            if one.get("not_listed"):
                lines.append(f"  and {one['not_listed']} more")
    return "\n".join([*lines, *(_clean(f"not reached: {one}") for one in troubles)])


def render_status(processes: Iterable[Process], troubles: Iterable[str], width: int) -> RenderableType:
    """Return it as tables for a terminal: of scopes, of open queries, of records of a store.

    Args:
        processes: what processes have answered.
        troubles: who has not.
        width: how many columns the terminal has; where tables would be torn, it is the lines of `plain`.
    """
    if width < _TABLES_FROM:
        return Text(plain(processes, troubles))
    open_on = [f"on\n{where.value}" for where in Strategy]
    scopes = _table(
        "process", "scope", "state", "for", "active", "new\nqueries", "state\nversion", *open_on, "health"
    )
    queries = _table("process", "scope", "query", "on", "since", "for", "id")
    queries.title = "open queries, oldest first"
    records = _table("scope", "announced", "verified", "store_epoch", "by", "at")
    records.title = "what the store says"
    for process in processes:
        for one in process.get("records", ()):
            cells = (
                one.get("scope"),
                one.get("announced"),
                one.get("verified"),
                one.get("state_version"),
                one.get("who"),
            )
            records.add_row(*map(_cell, cells), _cell(_moment(one.get("at"))))
        name = f"{process.get('host')} {process.get('process')}"
        for one in process["scopes"]:
            healthy = Text(_clean(_health(one)), "green" if one.get("healthy") else "red")
            facts = (
                name,
                one.get("scope"),
                one.get("state"),
                _age(one.get("age_s")),
                one.get("active"),
                one.get("new_queries_go_to"),
                one.get("store_epoch"),
                *(one.get("open", {}).get(where.value) for where in Strategy),
            )
            scopes.add_row(*map(_cell, facts), healthy)
            for ticket in one.get("tickets", ()):
                since = _moment(ticket.get("since"))
                shown = (ticket.get("query"), ticket.get("strategy"), since, _age(ticket.get("age_s")))
                queries.add_row(
                    _cell(name), _cell(one.get("scope")), *map(_cell, shown), _cell(ticket.get("query_id"))
                )
            if one.get("not_listed"):
                queries.add_row(_cell(name), _cell(one.get("scope")), _cell(f"and {one['not_listed']} more"))
    tables: list[RenderableType] = [one for one in (scopes, queries, records) if one.row_count]
    tables += [Text(_clean(f"not reached: {one}"), "red") for one in troubles]
    return Group(*(tables or [Text("no scope")]))


def _table(*columns: str) -> Table:
    """A table in which nothing is left out: what does not fit goes on in the next line."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name not in _FOLDED, vertical="top")
    return table


def _record(one: Mapping[str, Any]) -> str:
    verified = f", verified {one['verified']}" if one.get("verified") else ""
    return _clean(
        f"store: {one.get('scope')}: announced {one.get('announced') or 'nothing'}{verified}, "
        f"store_epoch {one.get('store_epoch')}, by {one.get('who') or 'nobody'}, {_moment(one.get('at'))}"
    )


def _query(ticket: Mapping[str, Any], *, ages: bool) -> str:
    named = f" ({ticket['query_id']})" if ticket.get("query_id") else ""
    age = f", for {_age(ticket.get('age_s'))}" if ages else ""
    return f"query {ticket.get('query')}{named} on {ticket.get('strategy')} since {_moment(ticket.get('since'))}{age}"


def _health(one: Mapping[str, Any]) -> str:
    if one.get("healthy"):
        return "healthy"
    wrong = [f"{check}: {reason}" for check, reason in one.get("checks", {}).items() if reason != "ok"]
    return f"not healthy: {'; '.join(wrong)}"


def _cell(value: object) -> Text:
    text = _clean("-" if value in (None, "") else str(value))
    return Text(text, _COLORS.get(text, ""))


def _age(seconds: object) -> str:
    if not isinstance(seconds, (int, float)):
        return "-"
    for unit_s, name in _UNITS:
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f}{name}"
    return f"{seconds:.1f}s"


def _moment(at_s: object) -> str:
    if not isinstance(at_s, (int, float)) or not 0 < at_s < 1e11:
        return "never"
    return f"{datetime.fromtimestamp(at_s).astimezone():%Y-%m-%d %H:%M:%S}"


def _clean(text: str) -> str:
    """Return text without what could move a cursor or begin a line: who answers may be anybody."""
    return "".join(one if one.isprintable() else "?" for one in text[:2000])
