"""Counts the days again that uploads or changed names touched: the activity, codes and prices that looks are made of.

Not here: which days those are (claims/merge.py, claims/naming.py), reading them for a look (reading.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import NamedTuple

import psycopg

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.db.second import SecondConnection

QUERIES = load_queries(__package__)
# Lines of the touched days from which on the second connection pays. Of fewer it is not opened: of ten thousand customers
# with a small file each, every one would wait for it.
FEWEST_FOR_TWO = 50_000
# In so many parts two connections count each table's days: by halves the one waited for the other for a twelfth of the time.
PARTS = 8
# Class of the advisory locks on counts, beside those on claims (7306) and on reports (7307).
LOCK_CLASS = 7308


@dataclass(frozen=True)
class Refreshed:
    """How many days were counted again."""

    submitted_days: int
    decided_days: int


@dataclass(frozen=True)
class ActivityTotals:
    """Size and span of a customer's activity."""

    rows: int
    lines: int
    payers: int
    first_day: date | None
    last_day: date | None


def refresh_activity(conn: Connection, customer_id: int) -> Refreshed:
    """Count the touched days again, in one transaction, and with many lines some of the days in the second's.

    Killed between their commits, all days are still noted as touched, and are counted again. One count of a customer after the
    other; days that a merge is noting are left to the count after it.
    """
    key = {"customer_id": customer_id}
    with SecondConnection(conn) as second, conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s, %s::int)", (LOCK_CLASS, customer_id))
        submitted, decided = (
            sorted(row[0] for row in conn.execute(QUERIES.take_touched_days, {**key, "kind": kind}))
            for kind in ("submitted", "decided")
        )
        many = {**key, "days": submitted, "most": FEWEST_FOR_TWO}
        if submitted and conn.execute(QUERIES.has_more_lines, many).fetchone() == (True,) and second.opens():
            conn.execute(QUERIES.hold_counted_tables)
            parts = _parts(submitted, decided, PARTS)
            other = second.start(partial(_count, customer_id=customer_id, parts=parts))
            _count(conn, customer_id, parts)
            other.result()
        else:
            _count(conn, customer_id, _parts(submitted, decided, 1))
        second.commit()
    return Refreshed(len(submitted), len(decided))


class _Part(NamedTuple):
    """Days of one of the three tables: what deletes their counts, what counts them."""

    delete: str
    insert: str
    days: Sequence[date]


def _parts(submitted: Sequence[date], decided: Sequence[date], each: int) -> deque[_Part]:
    """Each table's days in so many parts, of days that follow one another, since their lines stand together."""
    tables = (
        (QUERIES.delete_activity, QUERIES.insert_activity, submitted),
        (QUERIES.delete_prices, QUERIES.insert_prices, decided),
        (QUERIES.delete_codes, QUERIES.insert_codes, submitted),
    )
    return deque(
        _Part(delete, insert, part)
        for delete, insert, days in tables
        for part in (days[len(days) * k // each : len(days) * (k + 1) // each] for k in range(each))
        if part
    )


def _count(conn: Connection, customer_id: int, parts: deque[_Part]) -> None:
    """Count parts until none is left; several connections may take them from one queue."""
    # Counted in hash tables: sorting a million lines by six columns took two thirds of the time, on disk with 4 MB.
    conn.execute("SET LOCAL work_mem = '64MB'; SET LOCAL enable_sort = off")
    # The first is idle while it waits for the second; many servers end a session that is idle in its transaction.
    conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    while parts:
        try:
            part = parts.popleft()
        except IndexError:  # the other has taken the last one
            return
        values = {"customer_id": customer_id, "days": part.days}
        try:
            conn.execute(part.delete, values)
            # Planned for its days: of days that it does not know the planner expects ten.
            conn.execute(part.insert, values, prepare=False)
        except psycopg.Error:
            parts.clear()  # the other need not count what will be rolled back
            raise


def activity_totals(conn: Connection, customer_id: int) -> ActivityTotals:
    """Size and span of a customer's activity, for people."""
    return ActivityTotals(*(conn.execute(QUERIES.count_activity, {"customer_id": customer_id}).fetchone() or ()))
