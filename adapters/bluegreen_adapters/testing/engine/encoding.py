"""Bytes of results as connectors of the e6data protocol decode them.

Metadata is a row count and a list of columns in big-endian binary. A batch is one struct in thrift's
binary protocol. The few fields that the engine sends are written here directly: the connector's own
thrift classes are no interface for others, and packing a column at once is faster than going through them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import attrs

_STOP = b"\x00"
_BOOL, _I32, _I64, _STRING, _STRUCT, _LIST = 2, 8, 10, 11, 12, 15
_VECTOR_LONG, _VECTOR_STRING = 6, 7


@attrs.frozen
class Column:
    """Name and type of a result column; the type is the engine's word for it, e.g. `LONG` or `STRING`."""

    name: str
    type: str


RESULT_COLUMNS = (Column("n", "LONG"), Column("statement", "STRING"), Column("stack", "STRING"))
"""The columns of every result: row number, text of the statement, stack that served it."""


def metadata(rows: int, columns: Sequence[Column] = RESULT_COLUMNS) -> bytes:
    """Return the description of a result.

    Args:
        rows: rows in the whole result.
        columns: its columns, in order.

    >>> metadata(3, [Column("n", "LONG")]).hex(" ")
    '00 00 00 00 00 00 00 03 00 00 00 01 00 01 6e 00 04 4c 4f 4e 47 00 00 00 00'
    """
    parts = [struct.pack(">qi", rows, len(columns))]
    for column in columns:
        parts += [_short_text(column.name), _short_text(column.type), _short_text(""), _short_text("")]
    return b"".join(parts)


def batch(numbers: range, statement: str, stack: str) -> bytes:
    """Return one batch of rows `(n, statement, stack)`; no bytes at all if there is no row.

    Args:
        numbers: values of column `n`.
        statement: value of column `statement` in every row.
        stack: value of column `stack` in every row.

    >>> batch(range(0), "SELECT 1", "blue")
    b''
    """
    size = len(numbers)
    if size == 0:
        return b""
    longs = _field(_LIST, 1) + struct.pack(f">bi{size}q", _I64, size, *numbers) + _STOP
    vectors = (
        _vector(size, _VECTOR_LONG, bytes(size), _field(_STRUCT, 3) + longs, constant=False),
        _vector(size, _VECTOR_STRING, b"\x00", _constant_text(statement), constant=True),
        _vector(size, _VECTOR_STRING, b"\x00", _constant_text(stack), constant=True),
    )
    listed = struct.pack(">bi", _STRUCT, len(vectors)) + b"".join(vectors)
    return _field(_I32, 1) + struct.pack(">i", size) + _field(_LIST, 2) + listed + _STOP


def _short_text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw


def _field(kind: int, number: int) -> bytes:
    return struct.pack(">bh", kind, number)


def _constant_text(text: str) -> bytes:
    raw = text.encode()
    return _field(_STRUCT, 15) + _field(_STRING, 1) + struct.pack(">i", len(raw)) + raw + _STOP


def _vector(size: int, kind: int, nulls: bytes, data: bytes, *, constant: bool) -> bytes:
    return b"".join(
        (
            _field(_I32, 1) + struct.pack(">i", size),
            _field(_I32, 2) + struct.pack(">i", kind),
            _field(_LIST, 3) + struct.pack(">bi", _BOOL, len(nulls)) + nulls,
            _field(_STRUCT, 4) + data + _STOP,
            _field(_BOOL, 5) + (b"\x01" if constant else b"\x00"),
            _STOP,
        )
    )
