"""Reads whole columns: a statement gives one row of arrays, and each becomes a NumPy array without a Python object a value.

`SELECT array_agg(day) AS day, ... FROM ...` for thousands of rows and more. COPY hands over a message a row, and its CSV has to be
parsed: of 330,000 rows 0.6 s of this process where arrays take 0.15 (`python benchmarks/look.py`). Not here: any statement.
"""

from __future__ import annotations

from typing import Any, ClassVar, LiteralString

import numpy as np
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from upstream_pipelines.db.engine import Connection

MISSING_DAY = 2**31 - 1  # what 'infinity'::date is sent as: the day of what has none
_EPOCH = 10_957  # days from 1970-01-01 to PostgreSQL's first day, 2000-01-01
_HEADER = 20  # bytes before the values of an array of one dimension


class _Values(Loader):
    """An array of values of equal width, as PostgreSQL sends it: each behind its length."""

    format = Format.BINARY
    value: ClassVar[str]
    width: ClassVar[int]

    def load(self, data: Buffer) -> np.ndarray[Any, Any]:
        dimensions, missing = np.frombuffer(data, ">i4", 2)
        if dimensions == 0:
            return np.empty(0, self.value[1:])
        if missing:
            raise ValueError("A column read as an array holds NULL. Let the statement give a value in its place.")
        pairs = np.frombuffer(data, [("length", ">i4"), ("value", self.value)], offset=_HEADER)
        return pairs["value"].astype(self.value[1:])


class _Integers(_Values):
    value = ">i4"


class _LongIntegers(_Values):
    value = ">i8"


class _Doubles(_Values):
    value = ">f8"


class _Days(_Values):
    value = ">i4"

    def load(self, data: Buffer) -> np.ndarray[Any, Any]:
        days = super().load(data)
        known = (days.astype(np.int64) + _EPOCH).astype("datetime64[D]")
        known[days == MISSING_DAY] = np.datetime64("NaT")
        return known.astype("datetime64[s]")


_LOADERS: dict[str, type[_Values]] = {
    "int4": _Integers,
    "int8": _LongIntegers,
    "float8": _Doubles,
    "date": _Days,
}


def read_columns(conn: Connection, statement: LiteralString, values: dict[str, Any]) -> dict[str, Any]:
    """The columns of a statement that gives one row of arrays, by their names.

    Returns: integer, double and date arrays as NumPy's (dates as datetime64[s], 'infinity' as NaT), texts as a list; of no
    rows at all, whose `array_agg` is NULL, empty ones.

    Raises:
        ValueError: a number or a day is NULL.
    """
    with conn.cursor(binary=True) as cursor:
        for name, loader in _LOADERS.items():
            known = conn.adapters.types[name]
            cursor.adapters.register_loader(known.array_oid, loader)
        row = cursor.execute(statement, values).fetchone()
        assert row is not None
        assert cursor.description is not None
        return {
            column.name: _empty(column.type_code, cursor) if found is None else found
            for column, found in zip(cursor.description, row, strict=True)
        }


def _empty(array: int, cursor: Any) -> Any:
    return cursor.adapters.get_loader(array, Format.BINARY)(array, cursor).load(bytes(12))
