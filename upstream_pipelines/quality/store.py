"""Stores and reads quality reports and findings. Not here: making them (report.py, claims/judge.py)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pandas as pd
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.quality.report import QualityReport, with_duplicates

_PACKAGE = "upstream_pipelines.quality"


def save_report(
    conn: Connection, customer_id: int, upload_id: UUID, report: QualityReport, findings: pd.DataFrame
) -> None:
    """Write the report and all findings of an upload, in one transaction; an earlier run's are replaced.

    findings: as `Judge.findings()` gives them.
    """
    queries = load_queries(_PACKAGE)
    key = {"customer_id": customer_id, "upload_id": upload_id}
    with conn.transaction():
        _write(conn, customer_id, upload_id, report)
        conn.execute(queries.delete_findings, key)
        conn.execute(queries.insert_findings, {**key, "findings": Jsonb(findings.to_dict("records"))})


def note_duplicates(conn: Connection, customer_id: int, upload_id: UUID, duplicates: int) -> QualityReport:
    """Score an upload's report again with the duplicates that its merge found; returns it."""
    report = with_duplicates(load_report(conn, customer_id, upload_id), duplicates)
    _write(conn, customer_id, upload_id, report)
    return report


def _write(conn: Connection, customer_id: int, upload_id: UUID, report: QualityReport) -> None:
    conn.execute(
        load_queries(_PACKAGE).save_report,
        {
            "customer_id": customer_id,
            "upload_id": upload_id,
            "score": report.score,
            "dimensions": Jsonb(report.dimensions),
            "summary": Jsonb(report.summary),
        },
    )


def load_report(conn: Connection, customer_id: int, upload_id: UUID) -> QualityReport:
    """The report of one upload.

    Raises:
        NotFoundError: this customer has no such upload, or it has no report yet.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            load_queries(_PACKAGE).load_report, {"customer_id": customer_id, "upload_id": upload_id}
        ).fetchone()
    if row is None:
        raise NotFoundError(
            f"There is no quality report of upload {upload_id}. It is written when the upload was judged; look at "
            "the upload's status."
        )
    return QualityReport.model_validate(row)


def load_findings(conn: Connection, customer_id: int, upload_id: UUID) -> list[dict[str, Any]]:
    """The findings of one upload: rule, field, severity, checked_rows, failing_rows, sample_row_numbers."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            load_queries(_PACKAGE).findings_of_upload, {"customer_id": customer_id, "upload_id": upload_id}
        ).fetchall()


def latest_findings(conn: Connection, customer_id: int) -> list[dict[str, Any]]:
    """What the latest run found, per rule over its uploads; empty where nothing was judged yet.

    Returns: rule, field, severity, checked_rows, failing_rows, samples (a list of upload_id, file_name
        and at most ten row numbers for each upload with failing rows).
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(load_queries(_PACKAGE).latest_findings, {"customer_id": customer_id}).fetchall()
