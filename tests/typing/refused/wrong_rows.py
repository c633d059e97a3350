"""Rows that say too little, or something else than they should."""

from __future__ import annotations

from typing import ClassVar

import attrs

from bluegreen.table.table import Fact, State, Table, go, ignore, stay


@attrs.frozen
class Pushed:
    name: ClassVar[str] = "pushed"


fresh = Fact("fresh", (True, False), lambda _, __: True)

go("Shut", Pushed, why="it opens")  # mypy: call-arg; pyright: reportCallIssue
go("Shut", Pushed, "Open")  # mypy: call-arg; pyright: reportCallIssue
stay("Shut", Pushed, guard=fresh, why="a fact is no guard")  # mypy: arg-type; pyright: reportArgumentType
stay("Shut", Pushed, guard="fresh", why="a text is no guard")  # mypy: arg-type; pyright: reportArgumentType
stay("Shut", Pushed, update="paint", why="text, no reducer")  # mypy: arg-type; pyright: reportArgumentType
ignore("Shut", Pushed, update=max, why="it changes nothing")  # mypy: call-arg; pyright: reportCallIssue
both = fresh & fresh  # mypy: operator; pyright: reportOperatorIssue
State("Shut", holds=True)  # mypy: arg-type; pyright: reportArgumentType
Table(name="door", initial="Shut", states=(), events=())  # mypy: call-arg; pyright: reportCallIssue
