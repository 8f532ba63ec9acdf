"""A customer's activity out of the database, as columns for a detector or as frames. Not here: counting it (store.py)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, LiteralString

import numpy as np
import pandas as pd

from upstream_pipelines.db.columns import read_columns
from upstream_pipelines.db.engine import Connection, standing_still
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.activity import Activity
from upstream_pipelines.drift.facts import TEXTS, Columns

QUERIES = load_queries(__package__)
ROWS_A_SLICE = 100_000


def read_activity(conn: Connection, customer_id: int) -> Activity:
    """A customer's activity, prices and codes, the same frames as `drift.activity.activity_from_claims` makes."""
    activity, prices, codes = map(_frame, activity_columns(conn, customer_id))
    age = activity["decision_age"].to_numpy(dtype=np.int64)
    activity["decision_age"] = pd.arrays.IntegerArray(age, age < 0)
    return Activity(activity, prices, codes)


def activity_columns(conn: Connection, customer_id: int) -> tuple[Columns, Columns, Columns]:
    """The same as arrays of columns, for a detector alone; all of one moment, for an upload may be counted meanwhile."""
    with standing_still(conn):
        return (
            _in_slices(conn, customer_id, QUERIES.activity_columns, QUERIES.activity_slice_end),
            _in_slices(conn, customer_id, QUERIES.price_columns, QUERIES.price_slice_end),
            _in_slices(conn, customer_id, QUERIES.code_columns, QUERIES.code_slice_end),
        )


def _in_slices(conn: Connection, customer_id: int, columns: LiteralString, slice_end: LiteralString) -> Columns:
    """Whole columns, read by days: of a million rows at once the server made arrays of 1.6 GB, and of ten million none at all."""
    parts: list[dict[str, Any]] = []
    since: date | None = date.min
    while since is not None:
        key = {"customer_id": customer_id, "since": since, "rows": ROWS_A_SLICE}
        row = conn.execute(slice_end, key).fetchone()
        # A day of more rows is a slice of its own.
        until = None if row is None else max(row[0], since + timedelta(days=1))
        parts.append(read_columns(conn, columns, {**key, "until": until or date.max}))
        since = until
    if len(parts) == 1:
        return parts[0]
    return {
        name: np.concatenate(
            [np.asarray(part[name], dtype=object if isinstance(part[name], list) else None) for part in parts]
        )
        for name in parts[0]
    }


def _frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    # Told: of no rows the texts would be of another type.
    arrays = {name: pd.array(values, dtype="str") if name in TEXTS else values for name, values in columns.items()}
    return pd.DataFrame(arrays, copy=False)
