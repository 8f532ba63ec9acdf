"""Merges received lines into claims: latest version wins, history kept, days to recount noted.

Not here: where the lines come from (ingest/), changed names of stored lines (naming.py), counting activity (drift/store.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from upstream_pipelines.claims.naming import names_of
from upstream_pipelines.claims.payer_names import FEWEST_LINES_OF_A_NAME, unnamed_payers
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)

# Rows inserted by one statement; sorted by key they take 25 MB, so that 64 MB sort them in memory (4 MB do not).
ADDED_ROWS = 100_000
_MEMORY = "SET LOCAL work_mem = '64MB'"


@dataclass(frozen=True)
class Merged:
    """What a merge did, in lines; `duplicates` are lines that changed nothing."""

    status: str
    new: int
    updated: int
    duplicates: int


@dataclass(frozen=True)
class ClaimTotals:
    """A customer's claims: lines, undecided lines, payers, first and last submitted day."""

    lines: int
    undecided: int
    payers: int
    first_day: date | None
    last_day: date | None


def merge_upload(conn: Connection, customer: Customer, upload_id: UUID) -> Merged:
    """Merge one staged upload and finish it, in one transaction.

    Call it under the customer's lock: two merges of one customer must not pass each other.
    """
    key = {"customer_id": customer.customer_id, "upload_id": upload_id}
    with conn.transaction():
        conn.execute(_MEMORY)
        lines, last, unnatural = conn.execute(QUERIES.count_lines, key).fetchone() or (0, 0, 0)
        _place(conn, key, customer, unnatural)
        stored = conn.execute(QUERIES.settle_stored, key).rowcount
        updated = _change(conn, key) if stored else 0
        # A file sent again in other bytes holds nothing else.
        new = _add(conn, key, last) if stored < lines else 0
        finished = conn.execute(
            QUERIES.finish_upload, {**key, "lines": lines, "new": new, "updated": updated}
        ).fetchone()
        conn.execute("DROP TABLE placed, named, settled")
    return Merged(_one(finished), new, updated, lines - new - updated)


def _place(conn: Connection, key: dict[str, Any], customer: Customer, unnatural: int) -> None:
    """Make the tables `placed` (keys of lines that are not their line_key) and `named` (names by spelling and code)."""
    placed = conn.execute(QUERIES.place_remittances, {**key, **names_of(customer)}).rowcount
    if unnatural and not placed:
        placed = conn.execute(QUERIES.place_repeats, key).rowcount
    if placed:
        conn.execute(QUERIES.index_placed)
    with _in_hash_tables(conn):
        conn.execute(QUERIES.name_lines, {**key, **names_of(customer)})
    conn.execute("ANALYZE named")


def _change(conn: Connection, key: dict[str, Any]) -> int:
    """Write new versions of the stored lines that differ. Returns: how many."""
    conn.execute("ANALYZE settled")
    with _in_hash_tables(conn):
        conn.execute(QUERIES.make_incoming, key)
    conn.execute("ANALYZE incoming")
    conn.execute(QUERIES.keep_history)
    conn.execute(QUERIES.touch_days)
    updated = conn.execute(QUERIES.change_lines, key).rowcount
    conn.execute("DROP TABLE incoming")
    return updated


def _add(conn: Connection, key: dict[str, Any], last: int) -> int:
    """Insert the lines that are not settled. Returns: how many."""
    new = 0
    with _in_hash_tables(conn):
        conn.execute(QUERIES.settle_replaced, key)
        conn.execute(QUERIES.index_settled)
        for after in range(0, last, ADDED_ROWS):
            rows = {"after": after, "last": after + ADDED_ROWS}
            new += _one(conn.execute(QUERIES.add_lines, {**key, **rows}).fetchone())
    return new


@contextmanager
def _in_hash_tables(conn: Connection) -> Iterator[None]:
    """For joins and groups within one upload. The planner knows no line of a new upload and expects one: it would join a
    million lines with some thousand names in a nested loop, which takes hours, and sort them to group them.
    """
    conn.execute("SET LOCAL enable_nestloop = off; SET LOCAL enable_sort = off")
    yield
    conn.execute("SET LOCAL enable_nestloop TO DEFAULT; SET LOCAL enable_sort TO DEFAULT")


def claim_totals(conn: Connection, customer_id: int) -> ClaimTotals:
    """Counts of a customer's claims, for people."""
    return ClaimTotals(*(conn.execute(QUERIES.count_claims, {"customer_id": customer_id}).fetchone() or ()))


def payer_summary(conn: Connection, customer_id: int) -> list[tuple[Any, ...]]:
    """Rows of (payer, lines, paid, denied, pending, first and last submitted day), at most 50; payers of too few lines to be
    named are one row, the last.
    """
    rows = conn.execute(
        QUERIES.summarise_payers, {"customer_id": customer_id, "fewest": FEWEST_LINES_OF_A_NAME}
    ).fetchall()
    return [(name if name is not None else unnamed_payers(payers), *counts) for name, payers, *counts in rows]


def _one(row: tuple[Any, ...] | None) -> Any:
    if row is None:
        raise LookupError("the statement returns one row")
    return row[0]
