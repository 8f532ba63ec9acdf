"""Merges received lines into claims: latest version wins, history kept, days to recount noted.

Not here: where the lines come from (ingest/), counting activity (drift/store.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

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
        _place(conn, key, customer)
        lines, last = conn.execute(QUERIES.count_lines, key).fetchone() or (0, 0)
        matched = conn.execute(QUERIES.match_lines, key).rowcount
        updated = _change(conn, key) if matched else 0
        # Lines that are stored already are no new ones; a file sent again in other bytes has no others.
        new = _add(conn, key, last) if matched < lines else 0
        finished = conn.execute(
            QUERIES.finish_upload, {**key, "lines": lines, "new": new, "updated": updated}
        ).fetchone()
        conn.execute("DROP TABLE placed, named, matched")
    return Merged(_one(finished), new, updated, lines - new - updated)


def _place(conn: Connection, key: dict[str, Any], customer: Customer) -> None:
    """Make the tables `placed` (keys of lines that are not their line_key) and `named` (names by spelling and code)."""
    placed = conn.execute(QUERIES.place_remittances, {**key, **_names(customer)}).rowcount
    if placed or conn.execute(QUERIES.place_repeats, key).rowcount:
        conn.execute(QUERIES.index_placed)
    conn.execute(QUERIES.name_lines, {**key, **_names(customer)})
    conn.execute("ANALYZE named")


def _change(conn: Connection, key: dict[str, Any]) -> int:
    """Write new versions of the stored lines that differ. Returns: how many."""
    conn.execute(QUERIES.index_matched)
    with _no_nested_loops(conn):
        conn.execute(QUERIES.make_incoming, key)
    conn.execute("ANALYZE incoming")
    conn.execute(QUERIES.keep_history)
    conn.execute(QUERIES.touch_days)
    updated = conn.execute(QUERIES.change_lines, key).rowcount
    conn.execute("DROP TABLE incoming")
    return updated


def _add(conn: Connection, key: dict[str, Any], last: int) -> int:
    """Insert the lines that are not stored, the last rows first. Returns: how many."""
    new = 0
    with _no_nested_loops(conn):
        for end in range(last, 0, -ADDED_ROWS):
            new += _one(conn.execute(QUERIES.add_lines, {**key, "after": end - ADDED_ROWS, "last": end}).fetchone())
    return new


@contextmanager
def _no_nested_loops(conn: Connection) -> Iterator[None]:
    """For joins within one upload. The planner knows no line of a new upload and expects one row of each side; a million
    lines against some thousand names in a nested loop would take hours.
    """
    conn.execute("SET LOCAL enable_nestloop = off")
    yield
    conn.execute("SET LOCAL enable_nestloop TO DEFAULT")


def apply_changed_mapping(conn: Connection, customer: Customer) -> int:
    """Give the stored claims the customer's aliases and groups when these changed since the last time.

    Returns: how many lines got another payer name or group.
    """
    digest = customer.configuration.naming_sha256()
    key = {"customer_id": customer.customer_id}
    with conn.transaction():
        if _one(conn.execute(QUERIES.select_applied_mapping, key).fetchone()) == digest:
            return 0
        changed = _one(conn.execute(QUERIES.apply_names, {**key, **_names(customer)}).fetchone())
        conn.execute(QUERIES.set_applied_mapping, {**key, "sha256": digest})
    return int(changed)


def claim_totals(conn: Connection, customer_id: int) -> ClaimTotals:
    """Counts of a customer's claims, for people."""
    return ClaimTotals(*(conn.execute(QUERIES.count_claims, {"customer_id": customer_id}).fetchone() or ()))


def payer_summary(conn: Connection, customer_id: int) -> list[tuple[Any, ...]]:
    """Rows of (payer, lines, paid, denied, pending, first and last submitted day), at most 50."""
    return conn.execute(QUERIES.summarise_payers, {"customer_id": customer_id}).fetchall()


def _names(customer: Customer) -> dict[str, Jsonb]:
    mapping = customer.configuration.mapping
    return {"aliases": Jsonb(dict(mapping.payer_aliases)), "groups": Jsonb(dict(mapping.groups()))}


def _one(row: tuple[Any, ...] | None) -> Any:
    if row is None:
        raise LookupError("the statement returns one row")
    return row[0]
