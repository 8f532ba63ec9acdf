"""Counts and ages of the whole platform, over all customers and of none by name.

Belongs here: reading them, within a time limit. Not here: the form they are told in (api/metrics.py, status.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)
# With 10,000 customers, 300,000 uploads and as many looks it takes 0.2 to 1.4 s on two busy cores; what takes longer than this
# is a database in trouble, which is not to be asked more.
_MOST_MILLISECONDS = 5000


@dataclass(frozen=True)
class Total:
    """One figure: its name, up to two labels, and a count or seconds."""

    name: str
    first: str | None
    second: str | None
    value: float


def read_totals(conn: Connection) -> Sequence[Total]:
    """All of them, in one statement; works as upstream_api and as upstream_pipeline.

    Raises:
        psycopg.errors.QueryCanceled: it took more than five seconds.
    """
    with conn.transaction(), conn.cursor(row_factory=class_row(Total)) as cursor:
        limit_time(conn)
        return cursor.execute(QUERIES.totals).fetchall()


def limit_time(conn: Connection) -> None:
    """End each statement of this transaction that takes too long."""
    conn.execute(QUERIES.limit_time, {"milliseconds": _MOST_MILLISECONDS})
