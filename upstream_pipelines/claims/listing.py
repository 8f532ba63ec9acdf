"""A customer's claim lines as it looks them up: pages of those that a filter leaves, and how many there are.

Not here: HTTP, what an event counts (drift/), sums by payer (drift/payer_summary.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.marks import page_of, read_mark
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)

Outcome = Literal["PAID", "DENIED", "PENDING", "OTHER"]


@dataclass(frozen=True)
class ClaimFilter:
    """Which lines; what is None does not narrow, days are inside. `payer` is the canonical name, whatever its letter case.

    `denial_code` with its group (CO-197) means that one, without (197) the reason under any group; any of those given.
    """

    payer: str | None = None
    cpt: str | None = None
    cpt_group: str | None = None
    outcome: Outcome | None = None
    denial_code: tuple[str, ...] | None = None
    submitted_from: date | None = None
    submitted_to: date | None = None
    decided_from: date | None = None
    decided_to: date | None = None
    upload_id: UUID | None = None


@dataclass(frozen=True)
class ClaimLine:
    """The latest version of a claim line, and the upload and row that it came from; amounts in dollars."""

    claim_key: UUID
    claim_id: str | None
    line_number: int | None
    payer: str
    payer_name: str
    cpt: str
    cpt_group: str
    modifiers: str | None
    service_date: date | None
    submitted_date: date
    decided_date: date | None
    payment_date: date | None
    outcome: Outcome
    billed_amount: Decimal | None
    allowed_amount: Decimal | None
    paid_amount: Decimal | None
    denial_reason_code: str | None
    denial_reason_text: str | None
    authorization_required: bool | None
    authorization_number: str | None
    authorization_obtained: bool | None
    diagnosis_codes: str | None
    units: Decimal | None
    provider_npi: str | None
    facility: str | None
    source: str
    upload_id: UUID
    source_row_number: int
    version: int
    first_seen_at: datetime
    decision_seen_at: datetime | None
    updated_at: datetime


def claims_page(
    conn: Connection, customer_id: int, wanted: ClaimFilter, *, after: str | None = None, limit: int
) -> tuple[list[ClaimLine], str | None]:
    """Lines by the day they were submitted, the newest first, at most `limit`, and the mark from which the next page goes
    on, None at the end.

    Raises:
        InvalidInputError: `after` is no mark of an earlier page.
    """
    day, key = read_mark(after, date.fromisoformat, UUID) if after is not None else (None, None)
    values = {**_values(customer_id, wanted), "after_day": day, "after_key": key, "limit": limit + 1}
    with conn.cursor(row_factory=class_row(ClaimLine)) as cursor:
        # Planned each time: which index is the right one depends on what is asked for.
        rows = cursor.execute(QUERIES.select_claims_page, values, prepare=False).fetchall()
    return page_of(rows, limit, lambda row: (row.submitted_date, row.claim_key))


def count_lines_of(conn: Connection, customer_id: int, wanted: ClaimFilter) -> int:
    """How many lines the filter leaves."""
    row = conn.execute(QUERIES.count_claims_of, _values(customer_id, wanted), prepare=False).fetchone()
    assert row is not None
    return int(row[0])


def _values(customer_id: int, wanted: ClaimFilter) -> dict[str, Any]:
    values = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    if wanted.denial_code is not None:
        # Letters and digits alone, so that none can be more of a pattern than itself.
        codes = (re.sub(r"[^A-Z0-9]", "", code.upper()) for code in wanted.denial_code)
        values["denial_code"] = f"^(CO|PR|OA|PI)?({'|'.join(codes)})$"
    return {"customer_id": customer_id, **values}
