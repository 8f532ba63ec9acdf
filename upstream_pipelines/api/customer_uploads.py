"""/api/v1/customers/{slug}/uploads: what came, what became of it, how good it was, which rows were rejected and why.

Not here: sending files and batches (uploads.py, webhook.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import Acting, CanExport, CanRead
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.api.parameters import Page, named
from upstream_pipelines.api.problems import documented
from upstream_pipelines.customers.audit import record
from upstream_pipelines.ingest.inbox import UploadStatus, upload_status
from upstream_pipelines.ingest.upload_pages import (
    RejectedRow,
    UploadFilter,
    UploadSource,
    UploadState,
    UploadSummary,
    rejected_as_csv,
    rejected_rows,
    uploads_page,
)
from upstream_pipelines.quality.measured import measures_of_upload
from upstream_pipelines.quality.report import QualityReport
from upstream_pipelines.quality.store import find_report, load_findings

router = APIRouter(prefix="/api/v1/customers/{slug}", tags=["uploads"], route_class=JsonRoute)

_ROWS = 1000


class UploadsQuery(Page):
    """Which uploads; what is not given does not narrow."""

    state: UploadState | None = None
    source: UploadSource | None = None
    since: datetime | None = Field(default=None, description="Received then or later; without a zone, UTC.")

    def filter(self) -> UploadFilter:
        """The same, for the domain."""
        return UploadFilter(**self.model_dump(include=set(UploadFilter.__dataclass_fields__)))


class UploadsPage(BaseModel):
    """Uploads, the newest first; `next` is null on the last page."""

    uploads: list[UploadSummary]
    next: str | None


class Finding(BaseModel):
    """What a quality rule found: rows it looked at, rows that broke it, numbers of some of these."""

    rule: str
    field: str
    severity: Literal["error", "warning", "info"]
    checked_rows: int
    failing_rows: int
    sample_row_numbers: list[int]


class Measure(BaseModel):
    """A figure of the upload, or of its day of batches (`whole_day`), beside what is usual for the customer.

    `amount` of `of_rows`; `usual`, `low` and `high` are rows or shares, null where nothing was compared.
    """

    whole_day: bool
    day: date
    rule: str
    field: str
    amount: int
    of_rows: int
    state: Literal["first", "learning", "off", "usual", "low", "high"]
    severity: Literal["warning", "info"] | None
    usual: float | None
    low: float | None
    high: float | None
    history: int | None = Field(description="So many earlier uploads it was compared with.")
    sample_row_numbers: list[int]


class UploadDetail(BaseModel):
    """An upload with its quality; `quality` is null where it was not judged, as one that could not be read."""

    upload: UploadStatus
    quality: QualityReport | None
    findings: list[Finding]
    measures: list[Measure]


@router.get("/uploads", summary="Uploads", responses=documented(401, 403, 404, 422, 429, 503))
def read_uploads(acting: CanRead, wanted: Annotated[UploadsQuery, Query()]) -> UploadsPage:
    """Files and batches, however they came, the newest first."""
    with acting.transaction() as conn:
        uploads, mark = uploads_page(
            conn, acting.customer_id, wanted.filter(), after=wanted.after, limit=wanted.limit
        )
    return UploadsPage(uploads=uploads, next=mark)


@router.get("/uploads/{upload_id}", summary="An upload", responses=documented(401, 403, 404, 422, 429, 503))
def read_customer_upload(acting: CanRead, upload_id: UUID) -> UploadDetail:
    """Status, counts, rejections by rule, the quality report, and how it compares with earlier uploads."""
    with acting.transaction() as conn, named("upload"):
        key = (acting.customer_id, upload_id)
        return UploadDetail(
            upload=upload_status(conn, *key),
            quality=find_report(conn, *key),
            findings=[Finding.model_validate(row) for row in load_findings(conn, *key)],
            measures=[Measure.model_validate(row) for row in measures_of_upload(conn, *key)],
        )


_CSV: dict[int | str, dict[str, Any]] = {
    200: {"description": "The rejected rows as CSV.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.get(
    "/uploads/{upload_id}/rejected.csv",
    summary="Rejected rows, as CSV",
    response_class=StreamingResponse,
    responses=_CSV | documented(401, 403, 404, 422, 429, 503),
)
def read_rejected(acting: CanExport, upload_id: UUID) -> StreamingResponse:
    """Row number in the file, field, rule and reason of each; no value of a row, for none is kept. That it was taken is an act."""
    with acting.transaction() as conn, named("upload"):
        upload_status(conn, acting.customer_id, upload_id)
        record(conn, acting.actor, "rejected_rows.exported", ("upload", upload_id), customer_id=acting.customer_id)
    return StreamingResponse(
        _pages(acting, upload_id),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{acting.slug}-{upload_id}-rejected.csv"'},
    )


def _pages(acting: Acting, upload_id: UUID) -> Iterator[str]:
    last: RejectedRow | None = None
    while True:
        with acting.transaction() as conn:
            rows = rejected_rows(conn, acting.customer_id, upload_id, after=last, limit=_ROWS)
        yield rejected_as_csv(rows, header=last is None)
        if len(rows) < _ROWS:
            return
        last = rows[-1]
