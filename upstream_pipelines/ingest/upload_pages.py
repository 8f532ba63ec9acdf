"""A customer's uploads as its people look them up: pages of them, and the rejected rows of one as CSV.

Reads only. Not here: one upload's status (inbox.py), its quality (quality/).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

from upstream_pipelines.csv_lines import CsvLines
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.marks import page_of, read_mark
from upstream_pipelines.db.queries import load_queries

QUERIES = load_queries(__package__)

UploadState = Literal["received", "processing", "success", "partial", "failed"]
UploadSource = Literal["csv", "webhook", "x12_835"]


@dataclass(frozen=True)
class UploadFilter:
    """Which uploads; what is None does not narrow. Received at `since` or later."""

    state: UploadState | None = None
    source: UploadSource | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class UploadSummary:
    """An upload in a list: counts are lines, `seconds` the time of loading, instants in UTC. `rows` is None where they were not
    counted: it waits, or was refused before all of it was read.
    """

    upload_id: UUID
    source: UploadSource
    file_name: str
    byte_count: int
    status: UploadState
    duplicate_of: UUID | None
    rows: int | None
    accepted: int
    rejected: int
    duplicates: int
    updated: int
    warnings: int
    seconds: float | None
    error_code: str | None
    received_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class RejectedRow:
    """Why a row was rejected: its number in the file, the field, the rule and the reason; no value of it."""

    row_number: int
    field: str
    rule: str
    reason: str


def uploads_page(
    conn: Connection, customer_id: int, wanted: UploadFilter, *, after: str | None = None, limit: int
) -> tuple[list[UploadSummary], str | None]:
    """Uploads, the newest first, at most `limit`, and the mark from which the next page goes on, None at the end.

    Raises:
        InvalidInputError: `after` is no mark of an earlier page.
    """
    at, upload_id = read_mark(after, datetime.fromisoformat, UUID) if after is not None else (None, None)
    values = {
        "customer_id": customer_id, **vars(wanted), "after_at": at, "after_id": upload_id, "limit": limit + 1,
    }  # fmt: skip
    with conn.cursor(row_factory=class_row(UploadSummary)) as cursor:
        rows = cursor.execute(QUERIES.select_uploads_page, values).fetchall()
    return page_of(rows, limit, lambda row: (row.received_at, row.upload_id))


def rejected_rows(
    conn: Connection, customer_id: int, upload_id: UUID, *, after: RejectedRow | None, limit: int
) -> list[RejectedRow]:
    """Rejected rows of an upload in the order of the file, from after that one on; a row stands there once for each rule."""
    values = {
        "customer_id": customer_id, "upload_id": upload_id, "limit": limit,
        "row_number": after.row_number if after is not None else -1,
        "field": after.field if after is not None else "", "rule": after.rule if after is not None else "",
    }  # fmt: skip
    with conn.cursor(row_factory=class_row(RejectedRow)) as cursor:
        return cursor.execute(QUERIES.select_rejected_rows, values).fetchall()


def rejected_as_csv(rows: Sequence[RejectedRow], *, header: bool) -> str:
    """Rejected rows as lines of CSV, guarded: what a spreadsheet would take for a formula has an apostrophe before it."""
    text = io.StringIO()
    lines = CsvLines(text)
    if header:
        lines.write(field.name for field in fields(RejectedRow))
    for row in rows:
        lines.write(astuple(row))
    return text.getvalue()
