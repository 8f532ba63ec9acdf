"""Measures what came beside what is usual, and puts what is not into the alert outbox, in one transaction.

Not here: what is measured and kept (quality/anomaly_store.py), what is usual (quality/usual.py), who hears of it (alerts/).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from upstream_pipelines.alerts.occurrences import unusual_entry
from upstream_pipelines.alerts.store import write_entries
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.ingest.uploads import upload_link
from upstream_pipelines.quality.anomalies import Verdict
from upstream_pipelines.quality.anomaly_store import Unusual, measure_days, measure_upload
from upstream_pipelines.quality.measured import BY_DAY
from upstream_pipelines.settings import Settings

_NEWS = timedelta(days=7)


def watch_upload(
    conn: Connection, settings: Settings, customer: Customer, upload_id: UUID, *, source: str, run_id: str
) -> list[Unusual]:
    """Measure an upload that was loaded, or was the same bytes again; a batch is left for its day. Returns: what is
    unusual about it.
    """
    if source == BY_DAY:
        return []
    with conn.transaction():
        found = measure_upload(conn, customer, upload_id, run_id)
        _tell(conn, settings, customer, found)
    return found


def watch_days(
    conn: Connection, settings: Settings, customer: Customer, today: date, run_id: str
) -> list[Unusual]:
    """Measure the days before today (UTC) whose batches were not measured yet. Returns: what is unusual about them, of which
    alerts tell the last week's alone: a release that begins to measure looks back on months.
    """
    with conn.transaction():
        found = measure_days(conn, customer, today, run_id)
        _tell(conn, settings, customer, [one for one in found if one.day is not None and one.day >= today - _NEWS])
    return found


def _tell(conn: Connection, settings: Settings, customer: Customer, found: Sequence[Unusual]) -> None:
    link = upload_link(settings, customer.slug, "upload_quality")
    entries = [
        unusual_entry(
            one.upload_id,
            one.source,
            one.rule,
            [_told(verdict) for verdict in one.verdicts],
            day=one.day,
            link=link,
        )
        for one in found
        if one.severity == "warning"
    ]
    write_entries(conn, customer.customer_id, entries)


def _told(verdict: Verdict) -> dict[str, Any]:
    usual = verdict.usual
    assert usual is not None
    return {
        "field": verdict.measure.field, "side": verdict.state, "amount": verdict.measure.amount,
        "of_rows": verdict.measure.of_rows, "usual": usual.usual, "low": usual.low, "high": usual.high,
        "history": usual.history,
    }  # fmt: skip
