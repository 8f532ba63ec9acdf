"""What payers did month by month, for people: sums of the activity that looks are made of. Not here: any judgement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from psycopg.rows import class_row

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)


@dataclass(frozen=True)
class PayerMonth:
    """A payer's lines submitted in a month (its first day): how many, how many of them were decided and denied by now, the
    share denied of those decided (0..1, None of none), and dollars. By first decisions, contractual adjustments and patient
    responsibility no denials, as drift counts.
    """

    payer: str
    month: date
    lines: int
    decided: int
    denied: int
    denied_share: float | None
    billed: Decimal
    allowed: Decimal
    paid: Decimal


def payer_months(
    conn: Connection, customer_id: int, *, first: date, last: date, payer: str | None = None, payers: int
) -> list[PayerMonth]:
    """Payers by their lines, the largest first, at most `payers` of them; each by month. Both days are inside."""
    values = {"customer_id": customer_id, "first": first, "last": last, "payer": payer, "payers": payers}
    with conn.cursor(row_factory=class_row(PayerMonth)) as cursor:
        return cursor.execute(QUERIES.payer_months, values).fetchall()
