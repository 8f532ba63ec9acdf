"""/api/v1/customers/{slug}/reports: asking for the report of a period, what became of it, downloading its files.

Not here: what a report says and how it is made (reports/); runs of Dagster make them, a sensor asks for these.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import CanExport, CanRead, CanReport
from upstream_pipelines.api.once import OnceRoute
from upstream_pipelines.api.parameters import Page, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.reports.models import Format, checked_period, file_stem
from upstream_pipelines.reports.store import (
    ReportRun,
    ReportState,
    get_report,
    report_file,
    reports_page,
    request_report,
)

router = APIRouter(prefix="/api/v1/customers/{slug}/reports", tags=["reports"], route_class=OnceRoute)

MEDIA_TYPES: dict[Format, str] = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
}


class ReportPeriod(BaseModel):
    """Days from `from` to the day before `until` (UTC): 400 at most, and none after today."""

    first: date = Field(alias="from")
    until: date = Field(description="The day after the last one.")


class ReportFileView(BaseModel):
    """A file of a report that is kept."""

    format: Format
    byte_count: int
    sha256: str


class ReportView(BaseModel):
    """A report. `files` is empty until `state` is `success`, and again once they are kept no longer."""

    report_id: UUID
    first: date = Field(serialization_alias="from")
    until: date
    state: ReportState
    error_code: str | None = Field(description="Why it failed.")
    attempts: int = Field(description="How often it was begun: again after a run that was killed.")
    requested_by: str
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    files: list[ReportFileView]


class ReportsPage(BaseModel):
    """Reports, the newest first; `next` is null on the last page."""

    reports: list[ReportView]
    next: str | None


class ReportsQuery(Page):
    """Which reports; what is not given does not narrow."""

    state: ReportState | None = None


@router.post(
    "",
    status_code=202,
    summary="Ask for a report",
    responses=documented(400, 401, 403, 404, 408, 409, 413, 422, 429, 503),
)
def post_report(acting: CanReport, body: ReportPeriod, response: Response) -> ReportView:
    """It is made within a minute or so; `Location` says where its state is. Asked for again before it is made, it is the same
    report.
    """
    period = checked_period(body.first, body.until, datetime.now(UTC).date())
    with acting.transaction() as conn:
        report_id = request_report(conn, acting.actor, acting.customer, period)
        run = get_report(conn, acting.customer_id, report_id)
    response.headers["Location"] = f"/api/v1/customers/{acting.slug}/reports/{report_id}"
    return _view(run)


@router.get("", summary="Reports", responses=documented(401, 403, 404, 422, 429, 503))
def read_reports(acting: CanRead, wanted: Annotated[ReportsQuery, Query()]) -> ReportsPage:
    """Those that were asked for, the newest first."""
    with acting.transaction() as conn:
        runs, mark = reports_page(
            conn, acting.customer_id, state=wanted.state, after=wanted.after, limit=wanted.limit
        )
    return ReportsPage(reports=[_view(run) for run in runs], next=mark)


@router.get("/{report_id}", summary="A report", responses=documented(401, 403, 404, 422, 429, 503))
def read_report(acting: CanRead, report_id: UUID) -> ReportView:
    """Its state, and its files once they are there."""
    with acting.transaction() as conn, named("report"):
        return _view(get_report(conn, acting.customer_id, report_id))


_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {
            kind.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
            for kind in MEDIA_TYPES.values()
        },
    }
}


@router.get(
    "/{report_id}/files/{format}",
    summary="A file of a report",
    response_class=Response,
    responses=_FILE | documented(401, 403, 404, 409, 422, 429, 503),
)
def read_report_file(acting: CanExport, report_id: UUID, format: Format) -> Response:  # noqa: A002  as the path has it
    """409 while it is not made, or where it failed; 404 once its files are kept no longer. That it was taken is an act."""
    with acting.transaction() as conn, named("report with files"):
        kept = report_file(conn, acting.actor, acting.customer, report_id, format)
    name = f"{file_stem(acting.slug, kept.period)}.{format}"
    return Response(
        kept.content,
        media_type=MEDIA_TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _view(run: ReportRun) -> ReportView:
    return ReportView(
        report_id=run.report_id,
        first=run.period_from,
        until=run.period_until,
        state=run.state,
        error_code=run.error_code,
        attempts=run.attempts,
        # An operator's account is the platform's own business.
        requested_by=run.actor_name if run.actor_kind == "person" else run.actor_kind,
        requested_at=run.requested_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        files=[ReportFileView(**vars(file)) for file in run.files],
    )
