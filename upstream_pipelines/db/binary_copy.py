"""Rows of an arrow table as PostgreSQL's binary COPY, whole columns at once.

Of CSV, PostgreSQL reads every uuid, day and amount out of its digits: COPY of a block took 0.20 to 0.29 s, binary it takes 0.09 to
0.13. The format: each field is its length (int32, -1: null) and its value in network byte order.
Not here: which table (ingest/line_writer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: What COPY ... WITH (FORMAT binary) begins and ends with: signature, no flags, no extension; minus one in the place of a row.
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_NULL = pa.scalar(b"\xff\xff\xff\xff", pa.binary())
_NOTHING = pa.scalar(b"", pa.binary())
# Days of arrow begin with 1970, those of PostgreSQL with 2000.
_DAYS_BEFORE_2000 = 10_957
# A numeric is written in digits of four decimals.
_BASE, _DECIMALS, _NEGATIVE = 10_000, 4, 0x4000
_MOST_PRECISION = 18  # of an amount in 64 bits

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class BinaryRows:
    """Rows of a table, between HEADER and TRAILER, and the columns in the order in which they are written."""

    columns: tuple[str, ...]
    content: pa.Buffer


def binary_rows(table: pa.Table) -> BinaryRows:
    """The rows of a table, first the columns of one length that hold no null: these are put together as one. Each joined by itself,
    a row took 1.5 us instead of 0.6.

    table: at least one row; columns of the types bool, int16, int32, int64, date32, string, fixed-size binary of 16 bytes (uuid),
        decimal128 of at most 18 digits with at most four after the point (numeric); the database's columns are of just these.

    Raises:
        TypeError: a column is of another type.
        OverflowError: an amount has more digits than its type, which arrow does not look at.
        pyarrow.ArrowCapacityError: they take 2 GB.
    """
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    texts = [name for name, column in columns.items() if pa.types.is_string(column.type)]
    gaps = [name for name, column in columns.items() if name not in texts and column.null_count]
    full = [name for name in columns if name not in texts and name not in gaps]
    fields = [_bytes(_with_lengths([_values(columns[name]) for name in full], table.num_rows))]
    for name in gaps:
        written = _bytes(_with_lengths([_values(columns[name])], table.num_rows))
        fields.append(pc.if_else(columns[name].is_valid(), written, _NULL))
    for name in texts:
        lengths = pc.fill_null(pc.binary_length(columns[name]), -1).to_numpy(zero_copy_only=False)
        fields += [_bytes(_big_endian(lengths, 4)), pc.fill_null(columns[name].cast(pa.binary()), _NOTHING)]
    count = pa.scalar(len(columns).to_bytes(2, "big"), pa.binary())
    rows = pc.binary_join_element_wise(count, *fields, _NOTHING)
    return BinaryRows((*full, *gaps, *texts), rows.buffers()[2])


def _with_lengths(values: Sequence[Bytes], rows: int) -> Bytes:
    """Values of some columns side by side, each behind its length."""
    written = np.empty((rows, sum(4 + column.shape[1] for column in values)), dtype=np.uint8)
    at = 0
    for column in values:
        size = column.shape[1]
        written[:, at : at + 4] = np.frombuffer(size.to_bytes(4, "big"), dtype=np.uint8)
        written[:, at + 4 : at + 4 + size] = column
        at += 4 + size
    return written


def _values(column: Any) -> Bytes:
    """A row of bytes a value, whatever where it is null."""
    kind = column.type
    if pa.types.is_decimal(kind) and kind.precision <= _MOST_PRECISION and 0 <= kind.scale <= _DECIMALS:
        least, most = (abs(bound or 0) for bound in pc.min_max(column).as_py().values())
        if max(least, most) >= 10 ** (kind.precision - kind.scale):
            raise OverflowError(f"an amount has more digits than {kind}")
        return _numerics(_stored(column, 16).view("<i8")[:, 0], kind.precision, kind.scale)
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return _stored(column, 16)
    if pa.types.is_boolean(kind):
        flags: npt.NDArray[np.bool_] = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
        return flags.view(np.uint8)[:, None]
    if pa.types.is_date32(kind):
        return _big_endian(_stored(column, 4).view("<i4")[:, 0] - _DAYS_BEFORE_2000, 4)
    if pa.types.is_signed_integer(kind) and kind.bit_width > 8:
        size = kind.bit_width // 8
        return _big_endian(_stored(column, size).view(f"<i{size}")[:, 0], size)
    raise TypeError(f"binary COPY is not written of {kind}")


def _numerics(units: npt.NDArray[np.int64], precision: int, scale: int) -> Bytes:
    """Amounts in units of their last decimal as numerics of one length each; PostgreSQL takes the leading zeros off."""
    whole, part = np.divmod(np.abs(units), 10**scale)
    before = max(1, -(-(precision - scale) // _DECIMALS))
    digits = np.empty((len(units), 4 + before + 1), dtype=">u2")
    digits[:, 0], digits[:, 1] = before + 1, before - 1  # how many, and the weight of the first
    digits[:, 2], digits[:, 3] = np.where(units < 0, _NEGATIVE, 0), scale
    for place in range(before):
        digits[:, 4 + place] = whole // _BASE ** (before - 1 - place) % _BASE
    digits[:, -1] = part * 10 ** (_DECIMALS - scale)
    return digits.view(np.uint8)


def _stored(column: Any, size: int) -> Bytes:
    """The bytes of a column of values of one size, as arrow stores them."""
    content = np.frombuffer(
        column.buffers()[1], dtype=np.uint8, count=len(column) * size, offset=column.offset * size
    )
    return content.reshape(-1, size)


def _big_endian(numbers: npt.NDArray[Any], size: int) -> Bytes:
    return numbers.astype(f">i{size}").view(np.uint8).reshape(-1, size)


def _bytes(rows: Bytes) -> Any:
    """Rows of bytes of one length as an arrow array."""
    count, size = rows.shape
    offsets = np.arange(count + 1, dtype=np.int32) * size
    return pa.BinaryArray.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(rows)])
