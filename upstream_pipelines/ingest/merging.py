"""Takes staged uploads into claims, oldest first, and puts their files away.

Not here: the merge itself (claims/merge.py), changed names of stored claims (claims/naming.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from upstream_pipelines.alerts.store import write_quality_alert, write_refused_alert
from upstream_pipelines.claims.merge import merge_upload, take_back_halves
from upstream_pipelines.claims.naming import apply_changed_mapping
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.second import SecondConnection
from upstream_pipelines.ingest.unusual import watch_days, watch_upload
from upstream_pipelines.ingest.uploads import QUERIES, customer_lock, finish_file, upload_link
from upstream_pipelines.observability.tracing import span
from upstream_pipelines.quality.measured import BY_DAY
from upstream_pipelines.quality.report import QualityReport
from upstream_pipelines.quality.store import load_findings, note_duplicates
from upstream_pipelines.settings import Settings

# Lines from which on it pays to look at the table again before activity is counted: it takes as long as 30,000 lines do.
_ANALYZE_FROM = 100_000


@dataclass(frozen=True)
class MergeTotals:
    """What one call did, in uploads and lines; `renamed` lines got another payer name or CPT group."""

    uploads: int
    new: int
    updated: int
    duplicates: int
    renamed: int


def merge_staged(conn: Connection, settings: Settings, customer: Customer, run_id: str) -> MergeTotals:
    """Merge every staged upload of a customer that is not merged yet.

    Each upload is merged whole or by the next run: killed in between, what a second connection has committed alone is taken
    back before anything is merged.
    """
    new = updated = duplicates = 0
    with customer_lock(conn, customer.customer_id):
        take_back_halves(conn, customer.customer_id)
        renamed = apply_changed_mapping(conn, customer)
        key = {"customer_id": customer.customer_id, "run_id": run_id}
        staged = conn.execute(QUERIES.select_staged_uploads, key).fetchall()
        for upload_id, source, request_id in staged:
            with (
                span(
                    "merge upload", request_id=request_id, upload_id=upload_id, run_id=run_id, customer=customer.slug,
                    source=source,
                ) as traced,
                SecondConnection(conn) as second,
                conn.transaction(),
            ):  # fmt: skip
                merged = merge_upload(conn, second, customer, upload_id)
                report = note_duplicates(conn, customer.customer_id, upload_id, merged.duplicates)
                link = upload_link(settings, customer.slug, "upload_quality")
                _tell_of_failed_rules(
                    conn, customer.customer_id, upload_id, source,
                    None if merged.status == "failed" else report, link,
                )  # fmt: skip
                watch_upload(conn, settings, customer, upload_id, source=source, run_id=run_id)
                conn.execute(
                    QUERIES.end_step, {**key, "upload_id": upload_id, "step": "merge", "outcome": "merged"}
                )
                traced.set(
                    outcome=merged.status, new=merged.new, updated=merged.updated, duplicates=merged.duplicates
                )
                second.commit()
            finish_file(conn, settings, customer, upload_id, "failed" if merged.status == "failed" else "done")
            new, updated = new + merged.new, updated + merged.updated
            duplicates += merged.duplicates
            structlog.get_logger().info(
                "upload merged",
                customer=customer.slug,
                upload_id=str(upload_id),
                run_id=run_id,
                **({"request_id": request_id} if request_id else {}),
                status=merged.status,
                new=merged.new,
                updated=merged.updated,
                duplicates=merged.duplicates,
            )
        if new >= _ANALYZE_FROM:
            conn.execute("SELECT analyze_claims()")
        if any(source == BY_DAY for _, source, _ in staged):
            # The first batches of a day have the days before measured; where none come, the daily look does.
            watch_days(conn, settings, customer, datetime.now(UTC).date(), run_id)
    return MergeTotals(len(staged), new, updated, duplicates, renamed)


def _tell_of_failed_rules(  # noqa: PLR0917  what an alert is made of
    conn: Connection, customer_id: int, upload_id: UUID, source: str, report: QualityReport | None, link: str
) -> None:
    """Put the upload into the alert outbox when rules of the severity error failed; rules decide who hears of it.

    `report`: None where no row came through.
    """
    failed = [
        finding["rule"]
        for finding in load_findings(conn, customer_id, upload_id)
        if finding["severity"] == "error" and finding["failing_rows"]
    ]
    if report is None:
        write_refused_alert(conn, customer_id, upload_id, source, "all_rows_rejected", link, failed)
    elif failed:
        rows = report.summary["rejected"], report.summary["rows"]
        write_quality_alert(conn, customer_id, upload_id, report.score, failed, link, rows=rows)
