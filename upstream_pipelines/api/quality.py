"""/api/v1/customers/{slug}/quality: the newest score of each quality rule, and their course from upload to upload.

Not here: one upload in full (customer_uploads.py), the grades of the rules (configuration.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from upstream_pipelines.api.authentication import CanRead
from upstream_pipelines.api.bodies import JsonRoute
from upstream_pipelines.api.parameters import Page
from upstream_pipelines.api.problems import documented
from upstream_pipelines.quality.course import (
    CourseFilter,
    NewestRuleScore,
    Source,
    UploadScores,
    course_page,
    newest_scores,
)

router = APIRouter(prefix="/api/v1/customers/{slug}/quality", tags=["quality"], route_class=JsonRoute)


class CourseQuery(Page):
    """Which uploads, and which rule of them; what is not given does not narrow."""

    rule: str | None = Field(
        default=None, min_length=1, max_length=60, pattern=r"^[a-z_]+$",
        description="That rule alone of each upload; none where it was not looked at.",
    )  # fmt: skip
    source: Source | None = None
    since: datetime | None = Field(default=None, description="Received then or later; without a zone, UTC.")

    def filter(self) -> CourseFilter:
        """The same, for the domain."""
        return CourseFilter(**self.model_dump(include=set(CourseFilter.__dataclass_fields__)))


class CoursePage(BaseModel):
    """Judged uploads, the newest first; `next` is null on the last page."""

    uploads: list[UploadScores]
    next: str | None


@router.get("", summary="Newest score of each quality rule", responses=documented(401, 403, 404, 422, 429, 503))
def read_newest(acting: CanRead) -> list[NewestRuleScore]:
    """Of the newest upload, among the last 200 that were judged, in which the rule had rows to look at."""
    with acting.transaction() as conn:
        return newest_scores(conn, acting.customer_id)


@router.get("/uploads", summary="Quality by upload", responses=documented(401, 403, 404, 422, 429, 503))
def read_course(acting: CanRead, wanted: Annotated[CourseQuery, Query()]) -> CoursePage:
    """Score, dimensions and rules of each judged upload, the newest first."""
    with acting.transaction() as conn:
        uploads, mark = course_page(
            conn, acting.customer_id, wanted.filter(), after=wanted.after, limit=wanted.limit
        )
    return CoursePage(uploads=uploads, next=mark)
