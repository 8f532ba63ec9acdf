"""Counts the days again that uploads or changed names touched: the activity, codes and prices that looks are made of.

Not here: which days those are (claims/merge.py, claims/naming.py), reading them for a look (reading.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.db.second import SecondConnection

QUERIES = load_queries(__package__)
# Lines of the touched days from which on the second connection pays. Of fewer it is not opened: of ten thousand customers
# with a small file each, every one would wait for it.
FEWEST_FOR_TWO = 50_000
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
    """Count the touched days again, in one transaction, and with many lines the later halves of the days in the second's.

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
            # Halves, since lines of neighbouring days stand together: of every other day each would read all pages.
            at, of_decided = len(submitted) // 2, len(decided) // 2
            other = second.start(
                partial(_count, customer_id=customer_id, submitted=submitted[at:], decided=decided[of_decided:])
            )
            _count(conn, customer_id, submitted[:at], decided[:of_decided])
            other.result()
        else:
            _count(conn, customer_id, submitted, decided)
        second.commit()
    return Refreshed(len(submitted), len(decided))


def _count(conn: Connection, customer_id: int, submitted: Sequence[date], decided: Sequence[date]) -> None:
    key = {"customer_id": customer_id}
    # Counted in hash tables: sorting a million lines by six columns took two thirds of the time, on disk with 4 MB.
    conn.execute("SET LOCAL work_mem = '64MB'; SET LOCAL enable_sort = off")
    # The first is idle while it waits for the second; many servers end a session that is idle in its transaction.
    conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    if submitted:
        conn.execute(QUERIES.delete_activity, {**key, "days": submitted})
        conn.execute(QUERIES.insert_activity, {**key, "days": submitted})
        conn.execute(QUERIES.delete_codes, {**key, "days": submitted})
        conn.execute(QUERIES.insert_codes, {**key, "days": submitted})
    if decided:
        conn.execute(QUERIES.delete_prices, {**key, "days": decided})
        conn.execute(QUERIES.insert_prices, {**key, "days": decided})


def activity_totals(conn: Connection, customer_id: int) -> ActivityTotals:
    """Size and span of a customer's activity, for people."""
    return ActivityTotals(*(conn.execute(QUERIES.count_activity, {"customer_id": customer_id}).fetchone() or ()))
