"""Stores and reads quality reports and findings. Not here: making them (report.py, payer_names.py, claims/judge.py)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pandas as pd
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from upstream_pipelines.claims.judge import SAMPLE_ROWS
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import NotFoundError
from upstream_pipelines.quality.payer_names import RULE, Suggestion, suggest_aliases
from upstream_pipelines.quality.report import QualityReport, with_duplicates
from upstream_pipelines.quality.rules import active_rules

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
    report = find_report(conn, customer_id, upload_id)
    if report is None:
        raise NotFoundError(
            f"There is no quality report of upload {upload_id}. It is written when the upload was judged; look at "
            "the upload's status."
        )
    return report


def find_report(conn: Connection, customer_id: int, upload_id: UUID) -> QualityReport | None:
    """The report of one upload; None where it was not judged (yet), or is not this customer's."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            load_queries(_PACKAGE).load_report, {"customer_id": customer_id, "upload_id": upload_id}
        ).fetchone()
    return QualityReport.model_validate(row) if row is not None else None


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


def note_payer_spellings(conn: Connection, customer: Customer, upload_id: UUID) -> list[Suggestion]:
    """Find the payers of an upload that look like another spelling of a known one, and keep that as a finding of it.

    Known are the payers of the customer's activity, those of the upload itself, and those that its aliases lead to. A
    customer that has switched the rule off gets nothing.
    """
    queries, mapping = load_queries(_PACKAGE), customer.configuration.mapping
    rule = next((rule for rule in active_rules(mapping.quality) if rule.name == RULE), None)
    if rule is None:
        return []
    key = {"customer_id": customer.customer_id, "upload_id": upload_id}
    sent: dict[str, int] = dict(conn.execute(queries.payers_of_upload, key).fetchall())
    known: dict[str, int] = dict(conn.execute(queries.known_payers, key).fetchall())
    for name, lines in sent.items():
        tidy = " ".join(name.split())
        known[tidy] = max(known.get(tidy, 0), lines)
    found = suggest_aliases(sent, known, mapping.payer_aliases)
    alike = {suggestion.spelling for suggestion in found}
    payers = [name for name in sent if " ".join(name.split()) in alike]
    rows = conn.execute(
        queries.first_rows_of_payers, {**key, "payers": payers, "limit": SAMPLE_ROWS if payers else 0}
    ).fetchall()
    conn.execute(
        queries.replace_finding,
        {
            **key,
            "rule": rule.name,
            "field": "payer",
            "severity": rule.severity,
            "checked_rows": sum(sent.values()),
            "failing_rows": sum(sent[name] for name in payers),
            "sample_row_numbers": [number for (number,) in rows],
        },
    )
    return found


def stored_payer_spellings(conn: Connection, customer: Customer) -> list[Suggestion]:
    """The same over all stored claims of a customer; nothing is written."""
    rows = conn.execute(load_queries(_PACKAGE).stored_payers, {"customer_id": customer.customer_id}).fetchall()
    sent: dict[str, int] = {}
    known: dict[str, int] = {}
    for spelling, name, lines in rows:
        sent[spelling] = sent.get(spelling, 0) + lines
        known[name] = known.get(name, 0) + lines
    return suggest_aliases(sent, known, customer.configuration.mapping.payer_aliases)
