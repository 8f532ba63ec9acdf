"""Merges received lines into claims: latest version wins, history kept, days to recount noted.

Not here: where the lines come from (ingest/), counting activity (drift/store.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from upstream_pipelines.claims.payer_names import FEWEST_LINES_OF_A_NAME, unnamed_payers
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)


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
        conn.execute(QUERIES.place_remittances, {**key, **_names(customer)})
        conn.execute(QUERIES.make_incoming, {**key, **_names(customer)})
        conn.execute("ANALYZE incoming")
        lines = _one(conn.execute(QUERIES.count_lines, key).fetchone())
        new, updated = conn.execute(QUERIES.count_incoming).fetchone() or (0, 0)
        conn.execute(QUERIES.keep_history)
        conn.execute(QUERIES.touch_days)
        conn.execute(QUERIES.merge_incoming, key)
        finished = conn.execute(
            QUERIES.finish_upload, {**key, "lines": lines, "new": new, "updated": updated}
        ).fetchone()
        conn.execute("DROP TABLE incoming, placed")
    return Merged(_one(finished), new, updated, lines - new - updated)


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
    """Rows of (payer, lines, paid, denied, pending, first and last submitted day), at most 50; payers of too few lines to be
    named are one row, the last.
    """
    rows = conn.execute(
        QUERIES.summarise_payers, {"customer_id": customer_id, "fewest": FEWEST_LINES_OF_A_NAME}
    ).fetchall()
    return [(name if name is not None else unnamed_payers(payers), *counts) for name, payers, *counts in rows]


def _names(customer: Customer) -> dict[str, Jsonb]:
    mapping = customer.configuration.mapping
    return {"aliases": Jsonb(dict(mapping.payer_aliases)), "groups": Jsonb(dict(mapping.groups()))}


def _one(row: tuple[Any, ...] | None) -> Any:
    if row is None:
        raise LookupError("the statement returns one row")
    return row[0]
