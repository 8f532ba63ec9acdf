"""From one id to everything that came of it: the request, its upload or report, runs, looks, alerts, deliveries.

Belongs here: finding what an id names, and reading the chain. Not here: the reading order and its words (timeline.py),
Dagster's own word on a run (defs/run_states.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import dict_row

from upstream_pipelines.alerts.notices import drift_subject
from upstream_pipelines.alerts.occurrences import run_subject, unusual_subject
from upstream_pipelines.alerts.store import alerts_about
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError, NotFoundError
from upstream_pipelines.ingest.uploads import rejections
from upstream_pipelines.operations.timeline import (
    Entry,
    RunState,
    entries_of_alert,
    entries_of_looks,
    entries_of_report,
    entries_of_runs,
    entries_of_upload,
    in_order,
)
from upstream_pipelines.quality.rules import STREAM_RULES

QUERIES = load_queries(__package__)

# A sender may give a day's requests one id, a message may carry 50 alerts: more than this nobody reads at once. Of reports, too.
MOST_UPLOADS = 20
# A look sees an upload from the day after it came (from its own days on where it came on the customer's first day), and a
# change is confirmed within a few more. What is opened later has other uploads behind it.
LOOKS_FOLLOW = timedelta(days=7)

# Ids are shown by their first eight digits; fewer would name strangers.
_BEGINS = re.compile(r"[0-9a-f]{8,32}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)

Kind = Literal["request", "upload", "report", "run", "alert", "delivery"]


@dataclass(frozen=True)
class Trace:
    """All that came of an id, in one reading order by time.

    `uploads`: by column name, each with `slug` and its `rejections` (rule, field, rows, row numbers); no file's name, which
    may be a person's. `more_uploads`: whether there are others than the first `MOST_UPLOADS`. `reports`, `more_reports`: the same of
    reports, without who asked for them.
    """

    asked: str
    kind: Kind
    uploads: tuple[Mapping[str, Any], ...]
    more_uploads: bool
    reports: tuple[Mapping[str, Any], ...]
    more_reports: bool
    entries: tuple[Entry, ...]

    @property
    def run_ids(self) -> list[str]:
        """The Dagster runs that had to do with it."""
        return sorted({entry.run_id for entry in self.entries if entry.run_id})

    def with_runs(self, states: Mapping[str, RunState]) -> Trace:
        """With Dagster's word on each run."""
        return replace(self, entries=in_order([*self.entries, *entries_of_runs(self.run_ids, states)]))


@dataclass(frozen=True)
class _Named:
    """What an id led to: uploads and reports by customer, and alerts and events that belong to neither."""

    kind: Kind
    uploads: Sequence[tuple[int, str, UUID]] = ()
    reports: Sequence[tuple[int, str, UUID]] = ()
    customer_id: int | None = None
    subjects: Sequence[UUID] = ()
    event_ids: Sequence[UUID] = ()


def trace(conn: Connection, asked: str) -> Trace:
    """Everything that came of a request, an upload, a report, a run, an alert or a delivery (role upstream_pipeline).

    `asked`: a request's id as it was answered; or another id, or the first eight digits and more of one.

    Raises:
        NotFoundError: no id of these kinds is this or begins so.
        ConflictError: more than one begins so.
    """
    named = _find(conn, asked.strip())
    shown = named.uploads[:MOST_UPLOADS]
    summaries: list[Mapping[str, Any]] = []
    entries: list[Entry] = []
    alerts: dict[str, dict[str, Any]] = {}
    for customer_id, slug, upload_id in shown:
        upload, runs, looks = _chain(conn, customer_id, upload_id)
        summary = {"slug": slug, **upload}
        summaries.append(summary)
        entries += [*entries_of_upload(summary, runs), *entries_of_looks(looks)]
        subjects = {
            upload_id,
            *(unusual_subject(upload_id, rule.name) for rule in STREAM_RULES),
            *(run_subject(run["run_id"]) for run in runs),
            *_event_subjects(event for look in looks for event in look["opened"]),
        }
        alerts |= {alert["alert_id"]: alert for alert in alerts_about(conn, customer_id, sorted(subjects))}
    reports: list[Mapping[str, Any]] = []
    for customer_id, slug, report_id in named.reports[:MOST_UPLOADS]:
        report, further = _report(conn, customer_id, report_id)
        reports.append({"slug": slug, **report})
        entries += entries_of_report(report, further)
        told_of = [run_subject(run_id) for run_id in (*report["earlier_runs"], report["run_id"]) if run_id]
        alerts |= {alert["alert_id"]: alert for alert in alerts_about(conn, customer_id, told_of)}
    if named.customer_id is not None:
        key = {"customer_id": named.customer_id, "event_ids": list(named.event_ids)}
        with conn.cursor(row_factory=dict_row) as cursor:
            entries += entries_of_looks(cursor.execute(QUERIES.looks_of_events, key).fetchall())
        alerts |= {alert["alert_id"]: alert for alert in alerts_about(conn, named.customer_id, named.subjects)}
    told: set[str] = set()
    # The first alert of a message is told with it.
    for alert in sorted(alerts.values(), key=lambda alert: (alert["created_at"], alert["alert_id"])):
        entries += entries_of_alert(alert, told)
    # Several uploads before one look share it.
    return Trace(
        asked, named.kind, tuple(summaries), len(named.uploads) > len(shown), tuple(reports), len(named.reports) > len(reports),
        in_order(set(entries)),
    )  # fmt: skip


def _chain(
    conn: Connection, customer_id: int, upload_id: UUID
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """An upload, its attempts, and the looks after it."""
    key = {"customer_id": customer_id, "upload_id": upload_id}
    with conn.cursor(row_factory=dict_row) as cursor:
        upload = cursor.execute(QUERIES.traced_upload, key).fetchone()
        if upload is None:
            raise NotFoundError(f"Upload {upload_id} was deleted while it was read.")
        runs = cursor.execute(QUERIES.runs_of_upload, key).fetchall()
        looks: list[dict[str, Any]] = []
        since = upload["finished_at"]
        if since is not None and upload["accepted"]:  # else there is nothing that a look could see
            span = {"customer_id": customer_id, "since": since, "until": since + LOOKS_FOLLOW}
            looks = cursor.execute(QUERIES.looks_since, span).fetchall()
    return upload | {"rejections": rejections(conn, customer_id, upload_id)}, runs, looks


def _report(conn: Connection, customer_id: int, report_id: UUID) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A report, and who asked for it again."""
    key = {"customer_id": customer_id, "report_id": report_id}
    with conn.cursor(row_factory=dict_row) as cursor:
        report = cursor.execute(QUERIES.traced_report, key).fetchone()
        further = cursor.execute(QUERIES.further_asks_of_report, key).fetchall()
    if report is None:
        raise NotFoundError(f"Report {report_id} was deleted while it was read.")
    return report, further


def _event_subjects(events: Iterable[Mapping[str, Any]]) -> list[UUID]:
    """Whatever the cause was when it was told."""
    ids = [UUID(event["event_id"]) for event in events]
    return [subject for event in ids for subject in (drift_subject(event, "payer"), drift_subject(event, "data"))]


def _find(conn: Connection, asked: str) -> _Named:
    digits = asked.replace("-", "").casefold()
    request_ids = {asked, asked.upper()} if _ULID.fullmatch(asked.upper()) else {asked}
    if len(digits) == 32 and _BEGINS.fullmatch(digits):
        # A UUID is written with or without its dashes; it was kept as it was sent.
        request_ids |= {digits, str(UUID(digits)), digits.upper(), str(UUID(digits)).upper()}
    limit = {"limit": MOST_UPLOADS + 1}
    sent = {"request_ids": sorted(request_ids), **limit}
    uploads = conn.execute(QUERIES.uploads_of_request, sent).fetchall()
    reports = conn.execute(QUERIES.reports_of_request, sent).fetchall()
    if uploads or reports:
        return _Named("request", uploads, reports)
    if not _BEGINS.fullmatch(digits):
        raise _unknown(asked)
    span = {"low": UUID(digits.ljust(32, "0")), "high": UUID(digits.ljust(32, "f"))}
    found = conn.execute(QUERIES.find_ids, span).fetchall()
    if len(found) > 1:
        raise ConflictError(f"More than one id begins with {asked}. Give more of it.")
    if not found:
        if len(digits) == 32:
            uploads, reports = _of_run(conn, str(UUID(digits)))
            if uploads or reports:
                return _Named("run", uploads, reports)
        raise _unknown(asked)
    kind, customer_id, slug, id_ = found[0]
    if kind == "upload":
        return _Named("upload", [(customer_id, slug, id_)])
    if kind == "report":
        return _Named("report", reports=[(customer_id, slug, id_)])
    return _behind_alerts(conn, kind, customer_id, slug, id_)


def _of_run(conn: Connection, run_id: str) -> tuple[list[tuple[int, str, UUID]], list[tuple[int, str, UUID]]]:
    """Uploads that a run took, and reports that it has begun."""
    run: dict[str, Any] = {"run_id": run_id, "limit": MOST_UPLOADS + 1}
    return conn.execute(QUERIES.uploads_of_run, run).fetchall(), conn.execute(
        QUERIES.reports_of_run, run
    ).fetchall()


def _behind_alerts(
    conn: Connection, kind: Literal["alert", "delivery"], customer_id: int, slug: str, id_: UUID
) -> _Named:
    with conn.cursor(row_factory=dict_row) as cursor:
        key = {"customer_id": customer_id, "id": id_, "limit": MOST_UPLOADS + 1}
        alerts = cursor.execute(QUERIES.subjects_of_alerts, key).fetchall()
    uploads = [(customer_id, slug, UUID(alert["upload_id"])) for alert in alerts if alert["upload_id"]]
    reports: list[tuple[int, str, UUID]] = []
    for run_id in (alert["run_id"] for alert in alerts if alert["run_id"]):
        # Of a failed sweep each customer's alert has the run's id and its own name after it.
        taken, begun = _of_run(conn, run_id.partition("/")[0])
        uploads += taken
        reports += begun
    return _Named(
        kind,
        list(dict.fromkeys(uploads)),
        list(dict.fromkeys(reports)),
        customer_id,
        [alert["subject_id"] for alert in alerts],
        [UUID(alert["event_id"]) for alert in alerts if alert["event_id"]],
    )


def _unknown(asked: str) -> NotFoundError:
    return NotFoundError(
        f"There is no request, upload, report, run, alert or delivery {asked!r}. A request that was refused, or answered again for its "
        "Idempotency-Key, has a line in the API's log (logs/api.log) and no upload or report of its own."
    )
