"""A table that stands whatever is found wrong with it: to be drawn, to be explored, to see who else notices.

>>> from bluegreen.machines.retry import RETRY
>>> Unchecked("lost", "Nowhere", RETRY.states, RETRY.events, RETRY.rows).findings[0].kind
'unknown state'
"""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from bluegreen.errors import TableError
from bluegreen.table.rows import TableFinding
from bluegreen.table.table import Table

C = TypeVar("C")
E = TypeVar("E")
F = TypeVar("F")


@attrs.frozen(eq=False)
class Unchecked(Table[C, E, F], Generic[C, E, F]):
    """A table that keeps what is found wrong with it in `findings`, where `Table` would be refused.

    In a cell with a gap, an overlap, or a row that leads nowhere, `row` raises `KeyError`.
    """

    findings: tuple[TableFinding, ...] = attrs.field(init=False, default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        try:
            super().__attrs_post_init__()
        except TableError as refused:
            found: tuple[TableFinding, ...] = tuple(
                one for one in refused.findings if isinstance(one, TableFinding)
            )
            object.__setattr__(self, "findings", found)
